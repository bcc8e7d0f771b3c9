"""Every method against the baseline: differences with intervals over seeds and test samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import MIN_SEEDS
from ranksim.evaluation.intervals import TwoWayInterval, aggregate_by_cluster, bootstrap
from ranksim.evaluation.predictions import Predictions
from ranksim.evaluation.record import RunRecord
from ranksim.evaluation.summary import Record, paired_scores

BASELINE = "vanilla"
ERRORS: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "mae": np.abs,
    "mse": np.square,
}
_LEVEL = 0.95
_KINDS = ("ci_samples", "ci_total", "ci_adjusted")
_UNKNOWN = dict.fromkeys((*_KINDS, "seeds_needed"))

Read = Callable[[str, int], Predictions | None]


def choose_baseline(summary: Sequence[Record]) -> str:
    """``vanilla`` where it has a row, else the first row."""
    rows = [row["method"] for row in summary]
    return BASELINE if BASELINE in rows else rows[0]


def method_key(row: Record) -> str:
    """The method that a row reports."""
    return str(row.get("alias_of", row["method"]))


def add_comparison(
    summary: Sequence[Record], records: Sequence[RunRecord], baseline: str, read: Read | None
) -> None:
    """Give each row of a summary but the baseline's its differences from the baseline.

    ``vs_baseline`` holds ``method``, the ``seeds`` that both have, and in ``test`` for each region and
    score what :func:`paired_difference` says. Errors have besides

    - ``ci_samples``: 95 %, test samples drawn with replacement within the
      region, of the difference averaged over seeds;
    - ``ci_total``: 95 %, over seeds and samples (see :class:`TwoWayInterval`);
    - ``ci_adjusted``: the same at 1 − 0.05/m, for m methods compared;
    - ``seeds_needed``: seeds for which ``ci_adjusted`` would leave out zero if all else stayed,

    ``ci_adjusted`` with three seeds or more, ``ci_total`` and ``seeds_needed`` with two, else ``None``;
    ``ci_samples`` too with one sample or predictions that are gone. Where samples belong to groups,
    those are what is drawn and counted.

    Args:
        summary: of :func:`ranksim.evaluation.summary.summarise`.
        records: one a run.
        baseline: its row.
        read: predictions of a method and a seed; ``None`` leaves them out.
    """
    base = next(method_key(row) for row in summary if row["method"] == baseline)
    compared = {method_key(row): row for row in summary if method_key(row) != base}
    found: dict[str, Record] = {}
    for key in compared:
        seeds, scores = paired_scores(records, base, key)
        for effects in scores.values():
            for metric in ERRORS:
                effects[metric] |= _UNKNOWN
        found[key] = {"method": baseline, "seeds": seeds, "test": scores}
    if read is not None:
        differences, first = _differences(found, base, read)
        if first is not None:
            for region, mask in first.regions.items():
                groups = None if first.groups is None else first.groups[mask]
                own = {key: errors[:, mask] for key, errors in differences.items()}
                _add_intervals(found, region, own, groups)
    for row in summary:
        if method_key(row) in found:
            row["vs_baseline"] = found[method_key(row)]


def _differences(
    found: Mapping[str, Record], base: str, read: Read
) -> tuple[dict[str, NDArray[np.float64]], Predictions | None]:
    """For each method errors before and after, ``(S, N, 2)``; and predictions of these samples.

    Methods whose predictions are gone, or of other samples, are left out.
    """
    every = {seed for each in found.values() for seed in each["seeds"]}
    before = {seed: read(base, seed) for seed in every}
    first = next((each for each in before.values() if each is not None), None)
    if first is None:
        return {}, None
    differences = {}
    for key, each in found.items():
        pairs = [(before[seed], read(key, seed)) for seed in each["seeds"]]
        whole = [
            np.stack([old.prediction - old.label, new.prediction - new.label], axis=1)
            for old, new in pairs
            if old is not None
            and new is not None
            and np.array_equal(old.index, first.index)
            and np.array_equal(new.index, first.index)
        ]
        if whole and len(whole) == len(pairs):
            differences[key] = np.stack(whole)
    return differences, first


def _add_intervals(
    found: Mapping[str, Record],
    region: str,
    errors: Mapping[str, NDArray[np.float64]],
    groups: NDArray[np.int64] | None,
) -> None:
    """Intervals of one region, from errors before and after ``(S, n, 2)`` by method."""
    changes = {
        (key, metric): aggregate_by_cluster(size(each[..., 1]) - size(each[..., 0]), groups)
        for key, each in errors.items()
        for metric, size in ERRORS.items()
        if region in found[key]["test"] and each.size and np.isfinite(each).all()
    }
    changes = {which: change for which, change in changes.items() if change.shape[1] > 1}
    if not changes:
        return
    drawn = zip(
        *bootstrap(np.stack([d.mean(axis=0) for d in changes.values()], axis=1)), strict=True
    )
    for ((key, metric), change), (low, high) in zip(changes.items(), drawn, strict=True):
        effect = found[key]["test"][region][metric]
        effect["ci_samples"] = [float(low), float(high)]
        if len(change) < 2:
            continue
        crossed, sure = TwoWayInterval.of(change), 1 - (1 - _LEVEL) / len(found)
        levels = {"ci_total": _LEVEL} | ({"ci_adjusted": sure} if len(change) >= MIN_SEEDS else {})
        for kind, level in levels.items():
            half = crossed.half(level)
            effect[kind] = [crossed.mean - half, crossed.mean + half]
        effect["seeds_needed"] = crossed.seeds_needed(sure)
