"""Compare methods seed by seed, with confidence intervals by region and test view."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from ranksim.evaluation.intervals import (
    MIN_SEEDS,
    TwoWayInterval,
    aggregate_by_cluster,
    bootstrap,
    count_effective,
)
from ranksim.evaluation.predictions import Predictions
from ranksim.evaluation.record import RunRecord
from ranksim.evaluation.summary import (
    ERRORS,
    Floats,
    ReadPredictions,
    Record,
    is_fitted_once,
    method_key,
    pair_runs,
    paired_difference,
    paired_scores,
    results_by_seed,
)
from ranksim.evaluation.views import ViewCounts

_LEVEL = 0.95
_UNKNOWN = dict.fromkeys(("ci_samples", "ci_total", "ci_adjusted", "seeds_needed"))
Pair = tuple[str, str]  # keys of the reference and of the method compared with it


@dataclass(frozen=True, eq=False)
class Scope:
    """The test samples of a region, or all of them weighted as a test view.

    Args:
        part: ``test`` for a region, ``views`` for a view.
        name: of the region or view.
        mask: its test samples, bool ``(N,)``.
        groups: group of each of its n samples, ``(n,)``, or None.
        weights: of its samples, ``(n,)`` with mean one, or None for equal ones.
    """

    part: str
    name: str
    mask: NDArray[np.bool_]
    groups: NDArray[np.int64] | None
    weights: Floats | None = None


def add_comparison(
    summary: Sequence[Record],
    records: Sequence[RunRecord],
    baseline: str,
    read: ReadPredictions | None,
    counts: ViewCounts | None = None,
) -> None:
    """Add ``vs_baseline``, the differences from the baseline, to every other row, in place.

    See :func:`compare_pairs`; the baseline is the reference of all methods.
    """
    base = next(method_key(row) for row in summary if row["method"] == baseline)
    pairs = [(base, key) for key in dict.fromkeys(map(method_key, summary)) if key != base]
    comparisons = compare_pairs(pairs, records, read, counts)
    for row in summary:
        if (pair := (base, method_key(row))) in comparisons:
            row["vs_baseline"] = {**comparisons[pair], "method": baseline}


def compare_pairs(
    pairs: Sequence[Pair],
    records: Sequence[RunRecord],
    read: ReadPredictions | None,
    counts: ViewCounts | None = None,
    *,
    num_comparisons: int | None = None,
) -> dict[Pair, Record]:
    """Compare each method with its reference, seed by seed.

    A comparison holds the reference, ``method``, the common ``seeds``, and in ``test`` for each
    region and score the result of :func:`paired_difference`; with ``counts``, ``views`` holds the
    same for each test view. Errors also have, ``None`` without predictions:

    - ``ci_samples``: 95 %, test samples (or their groups) resampled, of the mean over seeds;
    - ``ci_total``: 95 %, over two or more seeds and samples (see :class:`TwoWayInterval`);
    - ``ci_adjusted``: the same at 1 - 0.05/m, for m comparisons, with three or more seeds;
    - ``seeds_needed``: seeds at which ``ci_adjusted`` would exclude zero, other things equal.

    A method that does not depend on its seed is fitted once and compared with every seed of the
    other. If neither depends on it, all intervals are over samples alone, and ``fitted_once`` is
    true. ``num_comparisons`` is m, by default the number of pairs.
    """
    comparisons: dict[Pair, Record] = {}
    for base, key in pairs:
        seeds, scores = paired_scores(records, base, key)
        for effects in scores.values():
            for metric in ERRORS:
                effects[metric] |= _UNKNOWN
        comparisons[base, key] = {"method": base, "seeds": seeds, "test": scores}
        if all(is_fitted_once(results_by_seed(records, name)) for name in (base, key)):
            comparisons[base, key]["fitted_once"] = True
    if read is not None and pairs:
        errors, first = _read_errors(pairs, records, read)
        adjusted = 1 - (1 - _LEVEL) / (num_comparisons or len(pairs))
        for scope in _list_scopes(first, counts) if first is not None else ():
            _compare_in_scope(comparisons, errors, scope, adjusted)
    return comparisons


def add_ensemble_changes(
    summary: Sequence[Record],
    read: ReadPredictions,
    counts: ViewCounts | None,
    error: str,
    num_comparisons: int,
) -> None:
    r"""Add ``ensemble_change``, what the mean prediction of all seeds changes, to rows, in place.

    Per region (``test``) and view (``views``) it holds the mean over the test samples of

    .. math::  |\bar y_i - y_i| - \frac{1}{S} \sum_s |\hat y_{si} - y_i| \le 0

    (of squares for the MSE), the ``relative`` change, and the intervals ``ci_total`` (95 %) and
    ``ci_adjusted`` (at 1 - 0.05/m) over test samples. It is never positive, as sizes are convex.
    """
    adjusted, size = 1 - (1 - _LEVEL) / num_comparisons, ERRORS[error]
    rows, errors, first = [], [], None
    for row in summary:
        runs = [read(method_key(row), seed) for seed in row["seeds"]] if row.get("ensemble") else []
        complete = [run for run in runs if run is not None]
        first = first or next(iter(complete), None)
        if first is not None and complete and np.array_equal(complete[0].rows, first.rows):
            rows.append(row)
            errors.append(np.stack([run.errors for run in complete]))
    if first is None:
        return
    for row in rows:
        row["ensemble_change"] = {"test": {}, "views": {}}
    singles = np.stack([size(each).mean(axis=0) for each in errors])
    changes = np.stack([size(each.mean(axis=0)) for each in errors]) - singles
    for scope in _list_scopes(first, counts):
        if not scope.mask.any() or not np.isfinite(changes[:, scope.mask]).all():
            continue
        change = aggregate_by_cluster(changes[:, scope.mask], scope.groups, scope.weights)
        if change.shape[1] < 2:
            continue
        bases = np.average(singles[:, scope.mask], axis=1, weights=scope.weights)
        ends = {name: np.stack(bootstrap(change.T, level), axis=1).tolist()
                for name, level in (("ci_total", _LEVEL), ("ci_adjusted", adjusted))}  # fmt: skip
        for k, (row, base) in enumerate(zip(rows, bases.tolist(), strict=True)):
            mean = float(change[k].mean())
            effect = {"mean": mean, "relative": mean / base if base else None}
            effect |= {name: intervals[k] for name, intervals in ends.items()}
            row["ensemble_change"][scope.part][scope.name] = {error: effect}


def _read_errors(
    pairs: Sequence[Pair], records: Sequence[RunRecord], read: ReadPredictions
) -> tuple[dict[Pair, Floats], Predictions | None]:
    """Return the errors of reference and method, ``(S, N, 2)``, of pairs with all predictions.

    Also returns the first predictions; the others must be of the same rows.
    """
    read_once = cache(read)
    runs = {pair: pair_runs(records, *pair) for pair in pairs}
    before = (read_once(pair[0], old) for pair, seeds in runs.items() for old, _ in seeds.values())
    first = next((preds for preds in before if preds is not None), None)
    errors = {}
    for (base, key), seeds in runs.items():
        couples = [(read_once(base, old), read_once(key, new)) for old, new in seeds.values()]
        complete = [
            np.stack([old.errors, new.errors], axis=1)
            for old, new in couples
            if first is not None
            and old is not None
            and new is not None
            and np.array_equal(old.rows, first.rows)
            and np.array_equal(new.rows, first.rows)
        ]
        if complete and len(complete) == len(couples):
            errors[base, key] = np.stack(complete)
    return errors, first


def _list_scopes(preds: Predictions, counts: ViewCounts | None) -> Iterator[Scope]:
    """Yield the regions of the test samples, and the test views if their weights are known."""
    groups = preds.groups
    for region, mask in preds.regions.items():
        yield Scope("test", region, mask, None if groups is None else groups[mask])
    if counts is None or preds.labels is None:
        return
    everything = np.ones(len(preds), dtype=bool)
    for view, weights in (counts.weights(preds.labels) or {}).items():
        yield Scope("views", view, everything, groups, weights)


def _compare_in_scope(
    comparisons: Mapping[Pair, Record], errors: Mapping[Pair, Floats], scope: Scope, adjusted: float
) -> None:
    """Add the intervals of one region, or the scores and intervals of one view."""
    in_scope = {pair: values[:, scope.mask] for pair, values in errors.items()}
    if scope.part == "views":
        for pair, values in in_scope.items():
            views = comparisons[pair].setdefault("views", {})
            views[scope.name] = _compare_weighted(values, scope.weights)
    else:
        in_scope = {
            pair: values
            for pair, values in in_scope.items()
            if scope.name in comparisons[pair]["test"]
        }
    effects = {pair: comparisons[pair][scope.part][scope.name] for pair in in_scope}
    _add_intervals(effects, in_scope, scope, adjusted)
    _add_fixed_intervals(comparisons, in_scope, scope, adjusted)


def _compare_weighted(errors: Floats, weights: Floats | None) -> Record:
    """Return the differences of the weighted errors ``(S, n, 2)`` over seeds, without intervals."""
    assert weights is not None
    effects = {}
    for metric, size in ERRORS.items():
        before, after = np.einsum("snk,n->ks", size(errors), weights / len(weights)).tolist()
        effects[metric] = paired_difference(before, after, larger_is_better=False) | _UNKNOWN
    return effects


def _change(errors: Floats, metric: str, scope: Scope) -> Floats:
    """Return the change of the error of each sample or group, ``(S, G)``."""
    size = ERRORS[metric]
    change = size(errors[..., 1]) - size(errors[..., 0])
    return aggregate_by_cluster(change, scope.groups, scope.weights)


def _add_fixed_intervals(
    comparisons: Mapping[Pair, Record], errors: Mapping[Pair, Floats], scope: Scope, adjusted: float
) -> None:
    """Add ``ci_total`` and ``ci_adjusted``, over samples alone, of methods that need no seeds."""
    effects = {
        (pair, metric): effect
        for pair in errors
        for metric in ERRORS
        if comparisons[pair].get("fitted_once")
        and (effect := comparisons[pair][scope.part][scope.name][metric])["ci_samples"] is not None
    }
    if not effects:
        return
    changes = [_change(errors[pair], metric, scope)[0] for pair, metric in effects]
    lows, highs = bootstrap(np.stack(changes, axis=1), adjusted)
    for effect, low, high in zip(effects.values(), lows, highs, strict=True):
        effect["ci_total"] = effect["ci_samples"]
        effect["ci_adjusted"] = [float(low), float(high)]


def _add_intervals(
    effects: Mapping[Pair, Record], errors: Mapping[Pair, Floats], scope: Scope, adjusted: float
) -> None:
    """Add the intervals of one region or view; ``errors`` are of both methods ``(S, n, 2)``."""
    changes = {
        (pair, metric): _change(values, metric, scope)
        for pair, values in errors.items()
        for metric in ERRORS
        if values.size and np.isfinite(values).all()
    }
    changes = {key: change for key, change in changes.items() if change.shape[1] > 1}
    if not changes:
        return
    num_effective = count_effective(scope.weights, scope.groups)
    means = np.stack([change.mean(axis=0) for change in changes.values()], axis=1)
    lows, highs = bootstrap(means)
    for ((pair, metric), change), low, high in zip(changes.items(), lows, highs, strict=True):
        effect = effects[pair][metric]
        effect["ci_samples"] = [float(low), float(high)]
        if len(change) < 2:
            continue
        interval = TwoWayInterval.from_differences(change, num_effective)
        effect["ci_total"] = interval.ends(_LEVEL)
        if len(change) >= MIN_SEEDS:
            effect["ci_adjusted"] = interval.ends(adjusted)
        effect["seeds_needed"] = interval.seeds_needed(adjusted)
