"""Triton's kernels run in its interpreter where there is no GPU; said before they are imported."""

import importlib.util
import os

import torch

if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")

kernels = "src/ranksim/functional/_kernels"
missing = importlib.util.find_spec("triton") is None
collect_ignore_glob = [f"{kernels}/triton/*.py"] if missing else []
