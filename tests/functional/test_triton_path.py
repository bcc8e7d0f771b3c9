"""The CUDA implementation beyond its results, which test_paths.py compares with the oracle."""

import os
import shutil
import subprocess
import sys

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed")

from ranksim.functional._kernels import RankSimInputs, RankSimParams, reference, triton_term
from tests.helpers.compiled import CAPABILITIES

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
PARAMS = RankSimParams(100.0, 2.0, "min", "neg_l1", False)


def make_inputs(size=9, width=130, anchors=None):
    torch.manual_seed(size)
    features = torch.randn(size, width, dtype=torch.float64, device=DEVICE)
    labels = torch.randint(0, 9, (size, 1), device=DEVICE)
    return RankSimInputs(features, labels, None, None, anchors or size)


def assert_equals_reference(inputs):
    result = triton_term.compute_term(inputs, PARAMS, True)
    torch.testing.assert_close(result, reference.compute_term(inputs, PARAMS, True))


@pytest.mark.parametrize("anchors", [1, 9])
def test_one_anchor_per_program_as_on_a_gpu(monkeypatch, anchors):
    monkeypatch.setattr(triton_term, "_INTERPRETED_ROWS", 1)
    assert_equals_reference(make_inputs(9, 7, anchors))


@pytest.mark.parametrize("width", [63, 64, 129, 256, 300])
def test_partial_products_add_up(width):
    assert_equals_reference(make_inputs(9, width))


def test_large_batches_are_sorted_by_the_reference(monkeypatch):
    calls, compute_term = [], reference.compute_term

    def record_call(*arguments):
        calls.append(arguments)
        return compute_term(*arguments)

    monkeypatch.setattr(reference, "compute_term", record_call)
    monkeypatch.setattr(triton_term, "MAX_SAMPLES", 8)
    triton_term.compute_term(make_inputs(8), PARAMS, True)
    assert not calls
    triton_term.compute_term(make_inputs(9), PARAMS, True)
    assert len(calls) == 1


def test_unsupported_reason_names_what_is_missing(monkeypatch):
    def reason(capability=(9, 0), hip=None, compiler="gcc"):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
        monkeypatch.setattr(torch.version, "hip", hip)
        monkeypatch.setattr(shutil, "which", lambda name: name if name == compiler else None)
        monkeypatch.delenv("CC", raising=False)
        triton_term.unsupported_reason.cache_clear()
        return triton_term.unsupported_reason(torch.device("cuda", 0))

    assert reason() == reason(compiler="clang") == ""
    assert reason((7, 5)) == "Triton needs a compute capability of 8.0, this GPU has 7.5"
    assert "NVIDIA" in reason(hip="6.4")
    assert reason(compiler=None) == "Triton needs a C compiler"
    triton_term.unsupported_reason.cache_clear()


@pytest.mark.slow
def test_kernels_compile_for_gpus(tmp_path):
    """Compile the launches of a batch to machine code, which the interpreter does not do."""
    environment = os.environ | {"TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "tests.helpers.compiled"]
    process = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr[-2000:]
    lines = process.stdout.splitlines()
    for kernel in ("anchor_rows", "anchor_weights"):
        for capability in CAPABILITIES:
            assert any(line.startswith(f"{kernel} {capability} ") for line in lines)


@pytest.mark.slow
def test_importing_the_library_does_not_import_triton():
    code = "import sys, ranksim.functional; print('triton' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"
