"""Imports run downward only, and what is imported at the top is what ARCHITECTURE promises."""

import ast
from pathlib import Path

import pytest

import ranksim

ROOT = Path(ranksim.__file__).parent
# each part, and the parts below it that it may import
BELOW = {
    "errors": set(),
    "functional": set(),
    "balance": set(),
    "losses": {"functional"},
    "metrics": {"functional", "balance", "errors"},
    "models": {"errors"},
    "data": {"balance", "metrics", "errors"},
    "training": {"functional", "losses", "balance", "metrics", "models", "data", "errors"},
    "report": {"balance", "metrics", "errors"},
    "bench": {"balance", "losses", "metrics", "models", "data", "training", "report", "errors"},
    "cli": {"bench", "errors"},
    "sklearn": {"balance", "metrics", "models", "data", "training", "bench", "errors"},
}
LIGHT = {"functional", "losses", "balance", "models", "errors"}  # torch and numpy alone
TRITON = {"cuda.py", "triton_rows.py"}  # of functional/kernels: imported where there is a GPU


def imports(path):
    """Modules imported anywhere in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


@pytest.mark.parametrize("part", BELOW)
def test_imports_run_downward(part):
    files = [ROOT / "errors.py"] if part == "errors" else list((ROOT / part).rglob("*.py"))
    assert files
    for path in files:
        used = {name.split(".")[1] for name in imports(path) if name.startswith("ranksim.")}
        assert used <= BELOW[part] | {part}, path


@pytest.mark.parametrize("part", sorted(LIGHT - {"errors"}))
def test_the_library_imports_torch_and_numpy_alone(part):
    import sys

    for path in (ROOT / part).rglob("*.py"):
        outside = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names)
        if path.parent.name == "kernels" and path.name in TRITON:
            outside -= {"triton"}
        assert outside <= {"torch", "numpy", "ranksim"}, path


def test_every_part_is_known():
    parts = {path.name for path in ROOT.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert parts == set(BELOW) - {"errors"}
