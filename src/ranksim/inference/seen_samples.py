"""Hashes of the samples that a model was trained, validated or tested on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_count
from ranksim._utils.storage import read_arrays, write_arrays
from ranksim.data.data_report import format_share
from ranksim.data.splitting import PARTS
from ranksim.data.table import Ints
from ranksim.exceptions import DataError
from ranksim.training.adapters import DataAdapter
from ranksim.user_data.split_plan import SplitPlan

SAMPLES = "samples.npz"
_LEARNED = PARTS[:2]  # the weights are fitted to the one, and chosen by the other


@dataclass(frozen=True, eq=False)
class SampleParts:
    """The part of each sample of a model's data, found by a hash of its inputs.

    Args:
        hashes: ascending, uint64 ``(K,)``.
        parts: position in :data:`ranksim.data.splitting.PARTS` of each hash, int64 ``(K,)``.
    """

    hashes: NDArray[np.uint64]
    parts: Ints

    @classmethod
    def from_plan(cls, plan: SplitPlan, adapter: DataAdapter) -> SampleParts:
        """Hash the samples of a plan as a model reads them; equal ones belong to the first part."""
        plan = replace(plan, table=adapter.spell_as_trained(plan.table))
        hashes = plan.hash_samples(adapter.columns)
        members = np.concatenate(plan.split)
        parts = np.repeat(np.arange(len(PARTS)), [len(part) for part in plan.split])
        distinct, first = np.unique(hashes[members], return_index=True)
        return cls(distinct, parts[first])

    def find_parts(self, hashes: NDArray[np.uint64]) -> list[str]:
        """Return ``train``, ``val`` or ``test`` for each hash ``(N,)``, or ``""`` if it is new."""
        position = np.searchsorted(self.hashes, hashes).clip(0, len(self.hashes) - 1)
        is_known = self.hashes[position] == hashes
        index = np.where(is_known, self.parts[position], len(PARTS))
        return [(*PARTS, "")[k] for k in index]

    def write(self, path: Path) -> None:
        """Write the hashes and parts to a file."""
        write_arrays(path, {"hashes": self.hashes, "parts": self.parts})


def read_sample_parts(path: Path) -> SampleParts | None:
    """Read the file of :meth:`SampleParts.write`; return None if an older model has none."""
    if not path.is_file():
        return None
    arrays = read_arrays(path)
    if arrays is None or arrays.keys() != {"hashes", "parts"}:
        raise DataError(f"{path} is damaged: copy the model again, or fit it again.")
    return SampleParts(arrays["hashes"], arrays["parts"])


def are_held_out(parts: Sequence[Any]) -> NDArray[np.bool_]:
    """Return which samples ``(N,)`` a model was neither trained nor validated on."""
    return np.array([part not in _LEARNED for part in parts], dtype=np.bool_)


def count_parts(parts: Sequence[Any]) -> dict[str, int]:
    """Count the samples of each part, and those that are new to the model."""
    names = {name: name for name in PARTS} | {"new": ""}
    return {title: sum(part == name for part in parts) for title, name in names.items()}


def describe_parts(counts: dict[str, int]) -> str | None:
    """Describe how many samples were used to train the model; None if there is none."""
    total = sum(counts.values())
    if not counts["train"] and not counts["val"]:
        return None
    held_out = total - counts["train"] - counts["val"]
    return (
        f"{format_share(counts['train'], total)} of {format_count(total, 'sample')} were trained "
        f"on, {counts['val']:,} chose the best epoch, {held_out:,} are held out"
    )
