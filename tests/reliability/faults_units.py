"""Flipped bits in each kind of file, through the function that reads it."""

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
from ranksim.training.resume import AtomicCheckpointIO, read_training_checkpoint


def measure(draw: np.random.Generator, folder: Path, flips: int) -> list[dict[str, Any]]:
    """Write each kind, flip one bit at a time, read: the same content, or a refusal.

    Args:
        draw: of contents and bits.
        folder: for the files.
        flips: of each kind.
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
    benchmark = Benchmark("own", *parts, LabelBins.uniform(0.0, 50.0, 50))
    write_arrays(folder / "a.npz", arrays)
    write_json(folder / "a.json", with_digest(content))
    AtomicCheckpointIO().save_checkpoint(state, folder / "a.ckpt")
    guess = labels + draw.normal(size=60)
    write_predictions(folder / "a.parquet", benchmark, "rule", np.arange(60), guess)
    kinds: dict[str, tuple[str, Callable[[Path], Any]]] = {
        "arrays of a cache": ("a.npz", lambda path: digest_arrays(_there(read_arrays(path)))),
        "records, results and notes": ("a.json", lambda path: json.dumps(read_verified_json(path))),
        "checkpoints": ("a.ckpt", lambda path: _plain(read_training_checkpoint(path))),
        "test predictions": (
            "a.parquet",
            lambda path: _plain(vars(_there(read_predictions(path)))),
        ),
    }
    return [
        _flipped(f"flipped bit in {what}, read alone", folder / name, read, draw, flips)
        for what, (name, read) in kinds.items()
    ]


def _flipped(
    what: str, path: Path, read: Callable[[Path], Any], draw: np.random.Generator, flips: int
) -> dict[str, Any]:
    whole, expected, wrong, seen = path.read_bytes(), read(path), [], 0
    for _ in range(flips):
        at, bit = int(draw.integers(len(whole))), int(draw.integers(8))
        content = bytearray(whole)
        content[at] ^= 1 << bit
        path.write_bytes(content)
        try:
            if read(path) != expected:
                wrong.append(f"byte {at} bit {bit} went unseen")
        except (ValueError, DataError):
            seen += 1
        except Exception as error:
            wrong.append(f"byte {at} bit {bit}: {type(error).__name__}")
    path.write_bytes(whole)
    note = "; ".join(wrong[:3]) or f"{flips - seen} of them change nothing that is read"
    return {"what": what, "tried": flips, "failed": len(wrong), "note": note}


def _there(value: Any) -> Any:
    if value is None:
        raise ValueError("not as it was written")
    return value


def _plain(value: Any) -> Any:
    """Of arrays and tensors in tables, what can be compared."""
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | torch.Tensor) else value
