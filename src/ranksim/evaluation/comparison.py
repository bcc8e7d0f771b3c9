"""Compare every method with the baseline, with intervals over seeds and test samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ranksim.evaluation import intervals
from ranksim.evaluation.predictions import Predictions
from ranksim.evaluation.record import RunRecord
from ranksim.evaluation.summary import Record, method_key, paired_scores

BASELINE = "vanilla"
Floats = NDArray[np.float64]
ERRORS: Mapping[str, Callable[[Floats], Floats]] = {"mae": np.abs, "mse": np.square}
_LEVEL = 0.95
_UNKNOWN = dict.fromkeys(("ci_samples", "ci_total", "ci_adjusted", "seeds_needed"))

ReadPredictions = Callable[[str, int], Predictions | None]  # by method and seed


def choose_baseline(summary: Sequence[Record]) -> str:
    """Return ``vanilla`` if it has a row, else the first row."""
    rows = [row["method"] for row in summary]
    return BASELINE if BASELINE in rows else rows[0]


def add_comparison(
    summary: Sequence[Record],
    records: Sequence[RunRecord],
    baseline: str,
    read: ReadPredictions | None,
) -> None:
    """Add the differences from the baseline to every other row of a summary, in place.

    ``vs_baseline`` holds ``method``, the common ``seeds``, and in ``test`` for each region and
    score the result of :func:`paired_difference`. Errors also have, ``None`` without predictions:

    - ``ci_samples``: 95 %, test samples (or their groups) resampled, of the mean over seeds;
    - ``ci_total``: 95 %, over two or more seeds and samples (see :class:`TwoWayInterval`);
    - ``ci_adjusted``: the same at 1 - 0.05/m, for m compared methods, with three or more seeds;
    - ``seeds_needed``: seeds at which ``ci_adjusted`` would exclude zero, other things equal.
    """
    base = next(method_key(row) for row in summary if row["method"] == baseline)
    comparisons: dict[str, Record] = {}
    for key in dict.fromkeys(map(method_key, summary)):
        if key != base:
            seeds, scores = paired_scores(records, base, key)
            for effects in scores.values():
                for metric in ERRORS:
                    effects[metric] |= _UNKNOWN
            comparisons[key] = {"method": baseline, "seeds": seeds, "test": scores}
    if read is not None:
        _add_sample_intervals(comparisons, base, read)
    for row in summary:
        if method_key(row) in comparisons:
            row["vs_baseline"] = comparisons[method_key(row)]


def _add_sample_intervals(
    comparisons: Mapping[str, Record], base: str, read: ReadPredictions
) -> None:
    """Read all predictions, and add the intervals of methods that have all, of equal samples."""
    seeds = {seed for comparison in comparisons.values() for seed in comparison["seeds"]}
    before = {seed: read(base, seed) for seed in seeds}
    first = next((preds for preds in before.values() if preds is not None), None)
    if first is None:
        return
    errors = {}  # before and after by method, (S, N, 2)
    for key, comparison in comparisons.items():
        pairs = [(before[seed], read(key, seed)) for seed in comparison["seeds"]]
        complete = [
            np.stack([old.errors, new.errors], axis=1)
            for old, new in pairs
            if old is not None
            and new is not None
            and np.array_equal(old.rows, first.rows)
            and np.array_equal(new.rows, first.rows)
        ]
        if complete and len(complete) == len(pairs):
            errors[key] = np.stack(complete)
    for region, mask in first.regions.items():
        groups = None if first.groups is None else first.groups[mask]
        in_region = {
            key: pairs[:, mask]
            for key, pairs in errors.items()
            if region in comparisons[key]["test"]
        }
        effects = {key: comparisons[key]["test"][region] for key in in_region}
        _add_intervals(effects, in_region, groups, 1 - (1 - _LEVEL) / len(comparisons))


def _add_intervals(
    effects: Mapping[str, Record],
    errors: Mapping[str, Floats],
    groups: NDArray[np.int64] | None,
    adjusted: float,
) -> None:
    """Add the intervals of one region, from errors before and after ``(S, n, 2)`` by method."""
    changes = {
        (key, metric): intervals.aggregate_by_cluster(
            size(pairs[..., 1]) - size(pairs[..., 0]), groups
        )
        for key, pairs in errors.items()
        for metric, size in ERRORS.items()
        if pairs.size and np.isfinite(pairs).all()
    }
    changes = {key: change for key, change in changes.items() if change.shape[1] > 1}
    if not changes:
        return
    means = np.stack([change.mean(axis=0) for change in changes.values()], axis=1)
    lows, highs = intervals.bootstrap(means)
    for ((key, metric), change), low, high in zip(changes.items(), lows, highs, strict=True):
        effect = effects[key][metric]
        effect["ci_samples"] = [float(low), float(high)]
        if len(change) < 2:
            continue
        interval = intervals.TwoWayInterval.from_differences(change)
        effect["ci_total"] = interval.ends(_LEVEL)
        if len(change) >= intervals.MIN_SEEDS:
            effect["ci_adjusted"] = interval.ends(adjusted)
        effect["seeds_needed"] = interval.seeds_needed(adjusted)
