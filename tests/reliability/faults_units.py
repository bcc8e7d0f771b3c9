"""Flipped bits in each kind of file, read by the function that owns the format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ranksim._utils.storage import (
    digest_arrays,
    read_arrays,
    read_verified_json,
    with_digest,
    write_arrays,
    write_json,
)
from ranksim.data.text import TextSamples
from ranksim.datasets.base import Benchmark
from ranksim.evaluation.predictions import read_predictions, write_predictions
from ranksim.exceptions import DataError
from ranksim.imbalance import LabelBins
from ranksim.training.resume import read_training_checkpoint, save_checkpoint


def measure(draw: np.random.Generator, folder: Path, flips: int) -> list[dict[str, Any]]:
    """Write each kind of file, flip single bits, and check that reading notices.

    Args:
        draw: generator of contents and bits.
        folder: folder for the files.
        flips: flipped bits per kind.
    """
    arrays = {"features": draw.normal(size=(40, 8)).astype(np.float32), "n": np.arange(9)}
    content = {"runs": draw.normal(size=30).tolist(), "rows": {"a": "vanilla"}, "command": "x"}
    state = {
        "state_dict": {"w": torch.from_numpy(draw.normal(size=(30, 8)))},
        "step": 7,
        "seconds": 1.5,
        "name": "last",
    }
    labels = np.round(draw.gamma(2, 3, 60))
    parts = [TextSamples(([""] * 60,), labels)] * 3
    benchmark = Benchmark("user", *parts, LabelBins.uniform(0.0, 50.0, 50))
    write_arrays(folder / "a.npz", arrays)
    write_json(folder / "a.json", with_digest(content))
    save_checkpoint(state, folder / "a.ckpt")
    preds = labels + draw.normal(size=60)
    write_predictions(folder / "a.parquet", benchmark, "rule", np.arange(60), preds)
    kinds: dict[str, tuple[str, Callable[[Path], Any]]] = {
        "arrays of a cache": ("a.npz", lambda path: digest_arrays(_require(read_arrays(path)))),
        "records, results and notes": ("a.json", lambda path: json.dumps(read_verified_json(path))),
        "checkpoints": ("a.ckpt", lambda path: _to_lists(read_training_checkpoint(path))),
        "test predictions": (
            "a.parquet",
            lambda path: _to_lists(vars(_require(read_predictions(path)))),
        ),
    }
    return [
        _flip_bits(f"flipped bit in {file}, read directly", folder / name, read, draw, flips)
        for file, (name, read) in kinds.items()
    ]


def _flip_bits(
    check: str, path: Path, read: Callable[[Path], Any], draw: np.random.Generator, flips: int
) -> dict[str, Any]:
    original, expected, failures, detected = path.read_bytes(), read(path), [], 0
    for _ in range(flips):
        position, bit = int(draw.integers(len(original))), int(draw.integers(8))
        content = bytearray(original)
        content[position] ^= 1 << bit
        path.write_bytes(content)
        try:
            if read(path) != expected:
                failures.append(f"byte {position} bit {bit} was not detected")
        except (ValueError, DataError):
            detected += 1
        except Exception as error:
            failures.append(f"byte {position} bit {bit}: {type(error).__name__}")
    path.write_bytes(original)
    note = "; ".join(failures[:3]) or f"{flips - detected} of them change nothing that is read"
    return {"check": check, "cases": flips, "failures": len(failures), "note": note}


def _require(value: Any) -> Any:
    if value is None:
        raise ValueError("missing or damaged")
    return value


def _to_lists(value: Any) -> Any:
    """Convert arrays and tensors to lists that can be compared."""
    if isinstance(value, dict):
        return {key: _to_lists(each) for key, each in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | torch.Tensor) else value
