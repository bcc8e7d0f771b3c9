"""What made a result: versions, commit and machine."""

from __future__ import annotations

import platform
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import ranksim

_RECORDED = ("torch", "numpy", "lightning", "torchmetrics", "nltk")


@cache
def collect_provenance() -> dict[str, Any]:
    """Versions, commit and machine, without anything that names a user."""
    return {
        "versions": {
            "ranksim": ranksim.__version__,
            "python": platform.python_version(),
            **{name: metadata.version(name) for name in _RECORDED},
        },
        "commit": _commit(),
        "machine": {"system": platform.system(), "processor": _processor()},
    }


def _commit() -> str | None:
    """The commit of a checkout that ranksim runs from, ``-dirty`` with changes in ``src``."""
    root = Path(__file__).resolve().parents[3]
    git = shutil.which("git")
    if git is None or not (root / ".git").exists():
        return None

    def ask(*words: str) -> str:
        told = subprocess.run([git, "-C", str(root), *words], capture_output=True, text=True)
        return told.stdout.strip()

    commit = ask("rev-parse", "HEAD")
    return f"{commit}-dirty" if commit and ask("status", "--porcelain", "src") else commit or None


def _processor() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
