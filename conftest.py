"""Settings that must precede imports, the compiled CPU path, and garbage collection.

Triton's kernels run in its interpreter where there is no GPU. Each Lightning trainer searches all
installed packages for plugins; the first search serves all.
"""

import contextlib
import functools
import gc
import importlib.metadata
import importlib.util
import os

import pytest
import torch

from ranksim.functional._kernels.cpu.compile import compile_libraries, library_path

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

importlib.metadata.entry_points = functools.cache(importlib.metadata.entry_points)

kernels = "src/ranksim/functional/_kernels"
missing = importlib.util.find_spec("triton") is None
collect_ignore_glob = [f"{kernels}/triton/*.py"] if missing else []


def pytest_configure(config: pytest.Config) -> None:
    """Compile ``term.c`` if it changed since the package was installed."""
    is_worker = hasattr(config, "workerinput")  # of xdist
    if not is_worker and not library_path("baseline").exists():
        with contextlib.suppress(FileNotFoundError):  # no compiler: the reference is used
            compile_libraries()


def pytest_collection_finish() -> None:
    """Leave what all tests share out of garbage collection, and collect less often."""
    gc.freeze()
    gc.set_threshold(20_000)
