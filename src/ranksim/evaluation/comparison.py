"""Compare every method with the baseline, with intervals over seeds and test samples."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ranksim.evaluation.intervals import (
    MIN_SEEDS,
    TwoWayInterval,
    aggregate_by_cluster,
    bootstrap,
)
from ranksim.evaluation.predictions import Predictions
from ranksim.evaluation.record import RunRecord
from ranksim.evaluation.summary import Record, method_key, paired_scores

BASELINE = "vanilla"
ERRORS: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "mae": np.abs,
    "mse": np.square,
}
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
    """Add the differences from the baseline to every other row of a summary.

    ``vs_baseline`` holds ``method``, the common ``seeds``, and in ``test`` for each region and
    score the result of :func:`paired_difference`. Errors also have

    - ``ci_samples``: 95 %, test samples of the region resampled, of the difference averaged over
      seeds;
    - ``ci_total``: 95 %, over seeds and samples (see :class:`TwoWayInterval`);
    - ``ci_adjusted``: the same at 1 - 0.05/m, for m compared methods;
    - ``seeds_needed``: seeds at which ``ci_adjusted`` would exclude zero, other things equal.

    ``ci_adjusted`` needs three seeds, ``ci_total`` and ``seeds_needed`` two; ``ci_samples`` needs
    two samples and the predictions; else they are ``None``. If samples belong to groups, groups
    are resampled and counted.

    Args:
        summary: of :func:`ranksim.evaluation.summary.summarize`.
        records: one per run.
        baseline: the name of its row.
        read: returns the predictions of a method and a seed; ``None``: compare over seeds only.
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
        errors, first = _read_errors(comparisons, base, read)
        for region, mask in first.regions.items() if first is not None else ():
            groups = first.groups[mask] if first is not None and first.groups is not None else None
            in_region = {key: pairs[:, mask] for key, pairs in errors.items()}
            _add_intervals(comparisons, region, in_region, groups)
    for row in summary:
        if method_key(row) in comparisons:
            row["vs_baseline"] = comparisons[method_key(row)]


def _read_errors(
    comparisons: Mapping[str, Record], base: str, read: ReadPredictions
) -> tuple[dict[str, NDArray[np.float64]], Predictions | None]:
    """Read the errors before and after by method, ``(S, N, 2)``, and predictions with regions.

    Methods whose predictions are missing, or of other samples, are left out.
    """
    seeds = {seed for comparison in comparisons.values() for seed in comparison["seeds"]}
    before = {seed: read(base, seed) for seed in seeds}
    first = next((preds for preds in before.values() if preds is not None), None)
    if first is None:
        return {}, None
    errors = {}
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
    return errors, first


def _add_intervals(
    comparisons: Mapping[str, Record],
    region: str,
    errors: Mapping[str, NDArray[np.float64]],
    groups: NDArray[np.int64] | None,
) -> None:
    """Add the intervals of one region, from errors before and after ``(S, n, 2)`` by method."""
    changes = {
        (key, metric): aggregate_by_cluster(size(pairs[..., 1]) - size(pairs[..., 0]), groups)
        for key, pairs in errors.items()
        for metric, size in ERRORS.items()
        if region in comparisons[key]["test"] and pairs.size and np.isfinite(pairs).all()
    }
    changes = {key: change for key, change in changes.items() if change.shape[1] > 1}
    if not changes:
        return
    lows, highs = bootstrap(np.stack([d.mean(axis=0) for d in changes.values()], axis=1))
    adjusted = 1 - (1 - _LEVEL) / len(comparisons)
    for ((key, metric), change), low, high in zip(changes.items(), lows, highs, strict=True):
        effect = comparisons[key]["test"][region][metric]
        effect["ci_samples"] = [float(low), float(high)]
        if len(change) < 2:
            continue
        interval = TwoWayInterval.from_differences(change)
        levels = {"ci_total": _LEVEL}
        if len(change) >= MIN_SEEDS:
            levels["ci_adjusted"] = adjusted
        for name, level in levels.items():
            half = interval.half_width(level)
            effect[name] = [interval.mean - half, interval.mean + half]
        effect["seeds_needed"] = interval.seeds_needed(adjusted)
