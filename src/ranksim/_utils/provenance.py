"""Record the provenance of results: software versions, git commit and machine."""

from __future__ import annotations

import importlib
import platform
import re
import shutil
import subprocess
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_PACKAGES = ("torch", "numpy", "lightning", "torchmetrics", "nltk")


@cache
def collect_provenance() -> dict[str, Any]:
    """Return software versions, git commit and machine, without data that identifies a user."""
    package = importlib.import_module("ranksim")  # for type checkers, it imports all others
    return {
        "versions": {
            "ranksim": package.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _PACKAGES if find_spec(name)},
        },
        "commit": find_commit(),
        "machine": {"system": platform.system(), "processor": _find_processor()},
    }


def find_commit() -> str | None:
    """Return the git commit of the source checkout, with ``-dirty`` if ``src`` was changed."""
    root = Path(__file__).resolve().parents[3]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None

    def run_git(*args: str) -> str:
        command = [git, "-C", str(root), *args]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    commit = run_git("rev-parse", "HEAD")
    dirty = "-dirty" if commit and run_git("status", "--porcelain", "src") else ""
    return commit + dirty or None


def _find_processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text(encoding="utf-8", errors="replace") if cpuinfo.is_file() else ""
    model = re.search(r"^model name[^:\n]*:(.*)", text, re.MULTILINE)
    return model[1].strip() if model else platform.processor() or platform.machine()
