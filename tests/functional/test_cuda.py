"""What the CUDA path does beside its results, which test_paths.py holds against the oracle."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from ranksim.functional._kernels import chunked, reference
from ranksim.functional._kernels.triton import triton_term
from tests.helpers.compiled import CAPABILITIES

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"


def arguments(size=9, width=130, anchors=None):
    torch.manual_seed(size)
    features = torch.randn(size, width, dtype=torch.float64, device=DEVICE)
    labels = torch.randint(0, 9, (size, 1), device=DEVICE)
    settings = (100.0, 2.0, "min", "neg_l1", False, True)
    return features, labels, None, None, anchors or size, *settings


@pytest.mark.parametrize("anchors", [1, 9, 16])
def test_one_anchor_a_program_as_on_a_gpu(monkeypatch, anchors):
    monkeypatch.setattr(triton_term, "_INTERPRETED", 1)
    given = arguments(16, 7, anchors)
    for got, wanted in zip(
        triton_term.compute_term(*given), reference.compute_term(*given), strict=True
    ):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("width", [63, 64, 129, 256, 300])
def test_shares_of_the_width_add_up(width):
    given = arguments(9, width)
    for got, wanted in zip(
        triton_term.compute_term(*given), reference.compute_term(*given), strict=True
    ):
        torch.testing.assert_close(got, wanted)


def test_more_samples_than_fit_are_sorted(monkeypatch):
    handed_on, term = [], chunked.compute_term

    def sort(*given):
        handed_on.append(given)
        return term(*given)

    monkeypatch.setattr(chunked, "compute_term", sort)
    monkeypatch.setattr(triton_term, "LARGEST", 8)
    given = arguments(8)
    triton_term.compute_term(*given)
    assert not handed_on
    given = arguments(9)
    for got, wanted in zip(
        triton_term.compute_term(*given), reference.compute_term(*given), strict=True
    ):
        torch.testing.assert_close(got, wanted)
    assert len(handed_on) == 1


def test_what_is_missing_is_named(monkeypatch):
    def said(capability=(9, 0), hip=None, compiler="gcc"):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.version, "hip", hip)
        monkeypatch.setattr(shutil, "which", lambda name: name if name == compiler else None)
        monkeypatch.delenv("CC", raising=False)
        triton_term.missing.cache_clear()
        return triton_term.missing(torch.device("cuda", 0))

    assert said() == said(compiler="clang") == ""
    assert said((7, 5)) == "Triton needs a compute capability of 8.0, this GPU has 7.5"
    assert said(hip="6.4") == "its kernels are for NVIDIA's GPUs"
    assert said(compiler=None) == "Triton needs a C compiler"
    triton_term.missing.cache_clear()


def test_the_kernels_compile_for_gpus_that_are_not_here(tmp_path):
    """The very launches of a batch, compiled to machine code: what an interpreter cannot see."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.helpers.compiled"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    for kernel in ("anchor_rows", "anchor_weights"):
        for capability in CAPABILITIES:
            assert any(line.startswith(f"{kernel} {capability} ") for line in lines)


def test_the_library_imports_no_triton():
    code = "import sys, ranksim.functional; print('triton' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
