"""Imports run downward only, and what is imported at the top is what ARCHITECTURE promises."""

import ast
import sys
from pathlib import Path

import pytest

import ranksim

ROOT = Path(ranksim.__file__).parent
# the layers, lowest first; a package may import those of lower layers alone
LAYERS = (
    ("exceptions",),
    ("_utils",),
    ("functional", "imbalance", "losses", "metrics", "models"),
    ("data",),
    ("datasets",),
    ("training",),
    ("evaluation",),
    ("experiments",),
    ("inference",),
    ("integrations",),
    ("sklearn", "cli"),
)
WITHIN = {"losses": {"functional"}, "metrics": {"functional", "imbalance"}}  # of one layer
PACKAGES = {name for layer in LAYERS for name in layer}


def lower(package):
    """Packages that a package may import."""
    place = next(k for k, layer in enumerate(LAYERS) if package in layer)
    below = {name for layer in LAYERS[:place] for name in layer}
    return below | {package} | WITHIN.get(package, set())


LIGHT = {"functional", "losses", "imbalance", "models"}  # torch and numpy alone


def imports(path):
    """Modules imported anywhere in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module


@pytest.mark.parametrize("package", sorted(PACKAGES))
def test_imports_run_downward(package):
    files = list((ROOT / package).rglob("*.py")) or [ROOT / f"{package}.py"]
    for path in files:
        used = {name.split(".")[1] for name in imports(path) if name.startswith("ranksim.")}
        assert used <= lower(package), path


@pytest.mark.parametrize("package", sorted(LIGHT))
def test_the_library_imports_torch_and_numpy_alone(package):
    for path in (ROOT / package).rglob("*.py"):
        outside = {name.split(".")[0] for name in imports(path)} - set(sys.stdlib_module_names)
        if path.parent.name == "triton":
            outside -= {"triton"}
        assert outside <= {"torch", "numpy", "ranksim"}, path


def test_every_package_has_a_layer():
    names = {path.stem for path in ROOT.iterdir() if not path.stem.startswith("__")}
    assert names - {"py"} == PACKAGES
