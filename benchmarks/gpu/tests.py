"""Part 7: the tests of the paths for a GPU, where pytest is installed."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.gpu.figures import Figure, Settings

ROOT = Path(__file__).resolve().parents[2]
FILES = ("tests/functional/test_paths.py", "tests/functional/test_triton_path.py")


def measure(settings: Settings) -> Iterator[Figure]:
    """Yield the numbers of tests and failures; raise an error if there are failures."""
    selection = "triton and no_gradient" if settings.smoke else "triton or CUDA"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    # conftest.py and the checks of warnings need packages and versions of development
    command += ["--noconftest", "-o", "addopts=--import-mode=importlib"]
    command += ["-o", "filterwarnings=default", "-m", "not slow", "-k", selection, *FILES]
    output = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout
    counts = {word: int(number) for number, word in re.findall(r"(\d+) ([a-z]+)[,\s]", output)}
    failures = counts.get("failed", 0) + counts.get("error", 0) + counts.get("errors", 0)
    yield Figure("pytest", "passed", counts.get("passed", 0), at_least=1)
    yield Figure("pytest", "failures", failures, at_most=0)
    if failures or not counts.get("passed"):
        lines = [line for line in output.splitlines() if line.startswith(("FAILED", "ERROR", "E "))]
        raise AssertionError((lines or output.splitlines()[-1:] or ["pytest printed nothing"])[0])
