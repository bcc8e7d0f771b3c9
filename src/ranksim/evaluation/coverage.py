"""Prediction intervals of the methods of a sweep: coverage, width and interval score by region."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ranksim.evaluation.intervals import aggregate_by_cluster, bootstrap
from ranksim.evaluation.predictions import Predictions
from ranksim.evaluation.summary import ReadPredictions, Record, method_key
from ranksim.evaluation.views import ViewCounts
from ranksim.metrics import REGION_NAMES, SHOT_NAMES, ShotRegions, covers, interval_score
from ranksim.metrics.distributions import Distribution
from ranksim.metrics.shot_regions import extend_regions
from ranksim.uncertainty import Band, LabelShift, RegionConformal

Floats = NDArray[np.float64]
Score = Literal["residual", "scale", "quantiles"]
WAYS: Mapping[str, float | None] = {"split": math.inf, "region": None}  # shrinkage by way
LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9, 0.95)  # of the pictures
MAIN_WAY = "region"
_AS_IS = "as_is"  # the view of labels as in the data


def find_score(distribution: Distribution | None) -> Score:
    """Return what scores a calibration sample: quantiles or a scale, if they are predicted."""
    if distribution is None:
        return "residual"
    return "quantiles" if distribution.scale is None else "scale"


def make_band(preds: Floats, distribution: Distribution | None, level: float) -> Band:
    """Return the band of predictions ``(N,)``: of quantiles, of a scale, or of the residual alone.

    The quantiles are those at (1 − ℓ) / 2 and (1 + ℓ) / 2.
    """
    if distribution is None:
        return Band.from_predictions(preds)
    if distribution.scale is not None:
        return Band.from_predictions(preds, distribution.scale)
    lower, upper = distribution.at_levels(preds, ((1 - level) / 2, (1 + level) / 2)).T
    return Band.from_quantiles(lower, upper)


def mask_predicted(regions: ShotRegions, preds: Floats) -> dict[str, NDArray[np.bool_]]:
    """Return a mask by region of predictions ``(N,)``; those beyond all labels are few-shot."""
    return extend_regions(regions, preds).masks(preds)


def name_regions(regions: ShotRegions, preds: Floats) -> NDArray[np.str_]:
    """Return the shot region of each prediction, ``(N,)``."""
    masks = mask_predicted(regions, preds)
    return np.select([masks[name] for name in SHOT_NAMES], SHOT_NAMES, "")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Predictions of calibration samples, from which intervals of new predictions follow.

    Args:
        labels: of the calibration samples ``(n,)``.
        preds: ``(n,)``.
        regions: shot regions of the training labels.
        distribution: their scale or quantiles, if the method predicts them.
        shift: density ratios of labels, if new samples have others.
    """

    labels: Floats
    preds: Floats
    regions: ShotRegions
    distribution: Distribution | None = None
    shift: LabelShift | None = None

    def predict(
        self,
        preds: Floats,
        level: float,
        distribution: Distribution | None = None,
        *,
        shrinkage: float | None = None,
    ) -> tuple[Floats, Floats]:
        """Return the lower and upper ends ``(N,)`` of the intervals of new predictions ``(N,)``.

        Args:
            preds: in the unit of the label.
            level: coverage, between 0 and 1.
            distribution: their scale or quantiles, if the calibration samples have them.
            shrinkage: of the threshold of a predicted region, see
                :class:`ranksim.uncertainty.RegionConformal`; infinite: one threshold for all.
        """
        fitted = RegionConformal.fit(
            make_band(self.preds, self.distribution, level),
            self.labels,
            name_regions(self.regions, self.preds),
            shrinkage=shrinkage,
            shift=self.shift,
        )
        band = make_band(preds, distribution, level)
        return fitted.predict(band, level, name_regions(self.regions, preds))


@dataclass(frozen=True, eq=False)
class CalibratedRun:
    """Test predictions of a run, and the predictions of its calibration samples."""

    test: Predictions
    calibration: Predictions

    def calibrate(self, regions: ShotRegions, shift: LabelShift | None = None) -> Calibration:
        """Return the calibration of intervals, with density ratios of labels if they shift."""
        calibration = self.calibration
        assert calibration.labels is not None
        return Calibration(
            *(calibration.labels, calibration.preds, regions, calibration.distribution, shift)
        )

    def without_distribution(self) -> CalibratedRun:
        """Return the run without scales and quantiles."""
        parts = (replace(each, distribution=None) for each in (self.test, self.calibration))
        return CalibratedRun(*parts)


def add_coverage(
    summary: Sequence[Record],
    read: ReadPredictions,
    read_calibration: ReadPredictions,
    regions: ShotRegions,
    level: float,
    counts: ViewCounts | None = None,
) -> None:
    """Add ``intervals`` to rows with predictions of calibration samples, in place.

    It holds ``level``, ``score`` (see :func:`find_score`), and by way the scores of
    :func:`score_intervals`, averaged over seeds: ``split``, one threshold for all; ``region``, one
    by predicted region; ``residual``, like ``split`` without the scale or quantiles of the method.
    ``as_is`` weights samples as in the data, if the test set is balanced. ``curve`` has coverage
    and width by predicted region at further levels, and ``ensemble`` the scores of the mean
    prediction of all seeds.

    Args:
        summary: rows.
        read: reads the test predictions of a method and a seed.
        read_calibration: reads the predictions of its calibration samples.
        regions: shot regions of the training labels.
        level: coverage.
        counts: of the test views.
    """
    done: dict[str, Record | None] = {}
    for row in summary:
        key = method_key(row)
        if key not in done:
            runs = [
                CalibratedRun(test, calibration)
                for seed in row["seeds"]
                if (test := read(key, seed)) is not None
                and (calibration := read_calibration(key, seed)) is not None
            ]
            is_complete = bool(runs) and len(runs) == len(row["seeds"])
            done[key] = describe_intervals(runs, regions, level, counts) if is_complete else None
        if done[key] is not None:
            row["intervals"] = done[key]


def describe_intervals(
    runs: Sequence[CalibratedRun], regions: ShotRegions, level: float, counts: ViewCounts | None
) -> Record:
    """Return the scores of the intervals of a method."""
    first = runs[0]
    score = find_score(first.calibration.distribution)
    described: Record = {
        "level": level,
        "score": score,
        "calibration": len(first.calibration),
        "ways": {
            way: score_intervals(runs, regions, level, shrinkage=shrinkage)
            for way, shrinkage in WAYS.items()
        },
        "curve": _draw_curve(runs, regions),
    }
    if score != "residual":
        plain = [run.without_distribution() for run in runs]
        described["ways"]["residual"] = score_intervals(plain, regions, level, shrinkage=math.inf)
    if counts is not None and counts.main_view == "balanced":
        described[_AS_IS] = _score_as_is(runs, regions, level, counts)
    if len(runs) > 1:
        described["ensemble"] = score_intervals([average_runs(runs)], regions, level)
    return described


def average_runs(runs: Sequence[CalibratedRun]) -> CalibratedRun:
    """Return the mean predictions of runs with several seeds, and their mean distributions."""
    test, calibration = ([getattr(run, part) for run in runs] for part in ("test", "calibration"))
    return CalibratedRun(_average(test), _average(calibration))


def _average(tables: Sequence[Predictions]) -> Predictions:
    preds = np.mean([table.preds for table in tables], axis=0)
    distribution = Distribution.mean([table.distribution for table in tables])
    return replace(tables[0], preds=preds, distribution=distribution)


def _score_as_is(
    runs: Sequence[CalibratedRun], regions: ShotRegions, level: float, counts: ViewCounts
) -> Record | None:
    """Return the scores of intervals calibrated and tested with labels as in the data."""
    labels = runs[0].test.labels
    weights = None if labels is None else counts.weights(labels)
    if weights is None:
        return None
    shift = make_shift(runs[0].calibration.labels, counts.edges, counts.rows)
    return score_intervals(runs, regions, level, shift=shift, weights=weights[_AS_IS])


def make_shift(labels: Floats | None, edges: Floats, rows: NDArray[Any]) -> LabelShift:
    """Return the density ratios of the data's rows ``(K,)`` to calibration labels ``(n,)``."""
    assert labels is not None
    shift = LabelShift(edges, np.ones(len(rows)))
    calibration = np.bincount(shift.find_bins(labels), minlength=len(rows))
    return LabelShift.from_counts(edges, rows, calibration)


def score_intervals(
    runs: Sequence[CalibratedRun],
    regions: ShotRegions,
    level: float,
    *,
    shrinkage: float | None = None,
    shift: LabelShift | None = None,
    weights: Floats | None = None,
) -> Record:
    """Return the scores of intervals by ``predicted`` and by ``true`` region, over all runs.

    Each region has ``n``, samples per run, ``coverage`` with its 95 % bootstrap interval ``ci``
    over test samples (or their groups), ``width`` and ``score`` (see
    :func:`ranksim.metrics.interval_score`), which are None if an interval is infinite.
    """
    masks: dict[str, list[dict[str, NDArray[np.bool_]]]] = {"predicted": [], "true": []}
    columns: list[NDArray[np.float64]] = []
    for run in runs:
        test, fitted = run.test, run.calibrate(regions, shift)
        lower, upper = fitted.predict(test.preds, level, test.distribution, shrinkage=shrinkage)
        labels = test.labels
        assert labels is not None
        scores = interval_score(lower, upper, labels, level)
        columns.append(np.stack([covers(lower, upper, labels), upper - lower, scores]))
        masks["predicted"].append(mask_predicted(regions, test.preds))
        masks["true"].append(test.regions)
    test = runs[0].test
    groups = np.arange(len(test)) if test.groups is None else test.groups
    weight = np.tile(np.ones(len(test)) if weights is None else weights, len(runs))
    return _score_regions(
        np.concatenate(columns, axis=1), masks, weight, np.tile(groups, len(runs))
    )


def score_new_intervals(
    predictions: Predictions, saved: Calibration, level: float, true: Mapping[str, Any]
) -> Record:
    """Return the scores of the intervals of labeled new samples, see :func:`describe_intervals`.

    Args:
        predictions: with labels and ends of intervals.
        saved: the calibration of these intervals.
        level: their coverage.
        true: a mask by region of the labels, ``(N,)`` each.
    """
    lower, upper, labels = predictions.lower, predictions.upper, predictions.labels
    assert lower is not None
    assert upper is not None
    assert labels is not None
    scores = interval_score(lower, upper, labels, level)
    values = np.stack([covers(lower, upper, labels), upper - lower, scores])
    masks = {"predicted": [mask_predicted(saved.regions, predictions.preds)], "true": [dict(true)]}
    rows = np.arange(len(labels))
    cells = _score_regions(values, masks, np.ones(len(labels)), rows)
    count = len(saved.labels)
    return {"level": level, "calibration": count, "ways": {MAIN_WAY: cells}}


def _score_regions(
    values: Floats,
    masks: Mapping[str, Sequence[Mapping[str, NDArray[np.bool_]]]],
    weight: Floats,
    groups: NDArray[np.int64],
) -> Record:
    """Return the scores of intervals by kind of region and region.

    Args:
        values: coverage, width and score of the intervals of all runs, ``(3, N)``.
        masks: by kind, a mask by region for each run.
        weight: of the samples ``(N,)``.
        groups: of dependent samples ``(N,)``.
    """
    described: Record = {}
    for by, masks_of_runs in masks.items():
        described[by] = {}
        for name in _list_regions(masks_of_runs[0]):
            mask = np.concatenate([each[name] for each in masks_of_runs])
            if mask.any():
                cell = _score_cell(values[:, mask], weight[mask], groups[mask])
                count = round(int(mask.sum()) / len(masks_of_runs), 1)
                described[by][name] = cell | {"n": count}
    return described


def _list_regions(masks: Mapping[str, NDArray[np.bool_]]) -> list[str]:
    named = [name for name in masks if name not in REGION_NAMES]
    return ["all", *SHOT_NAMES, "zero", *named]


def _score_cell(values: Floats, weight: Floats, groups: NDArray[np.int64]) -> Record:
    """Return coverage, width and score of intervals, whose values are ``(3, n)``."""
    weight = weight / weight.mean() if weight.any() else np.ones_like(weight)
    coverage, width, score = (
        float((row * weight).mean()) if np.isfinite(row).all() else None for row in values
    )
    total = aggregate_by_cluster(values[:1], groups, weight)
    interval = None
    if total.shape[1] > 1:
        low, high = bootstrap(total.T)
        interval = [max(float(low[0]), 0.0), min(float(high[0]), 1.0)]
    return {
        "coverage": coverage,
        "ci": interval,
        "width": width,
        "score": score,
    }


def _draw_curve(runs: Sequence[CalibratedRun], regions: ShotRegions) -> Record:
    """Return coverage and mean width by predicted region at several levels."""
    names = ("all", *SHOT_NAMES)
    curve: Record = {"levels": list(LEVELS)}
    curve |= {part: {name: [] for name in names} for part in ("coverage", "width")}
    for level in LEVELS:
        covered, width, masks = [], [], []
        for run in runs:
            test, fitted = run.test, run.calibrate(regions)
            lower, upper = fitted.predict(test.preds, level, test.distribution)
            assert test.labels is not None
            covered.append(covers(lower, upper, test.labels))
            width.append(upper - lower)
            masks.append(mask_predicted(regions, test.preds))
        for name in names:
            mask = np.concatenate([each[name] for each in masks])
            share, mean = (
                float(np.concatenate(each)[mask].mean()) if mask.any() else math.nan
                for each in (covered, width)
            )
            curve["coverage"][name].append(share if math.isfinite(share) else None)
            curve["width"][name].append(mean if math.isfinite(mean) else None)
    return curve


def list_coverage(described: Record) -> list[Record]:
    """Return the scores of the intervals of a method as rows, by way, kind of region and region.

    The way ``as_is`` is ``region`` with labels as in the data, and ``ensemble`` that of the mean
    prediction of all seeds.
    """
    ways = {
        **described["ways"],
        **{k: described[k] for k in (_AS_IS, "ensemble") if k in described},
    }
    rows = []
    for way, scores in ways.items():
        for by, cells in (scores or {}).items():
            for region, cell in cells.items():
                low, high = cell["ci"] or (math.nan, math.nan)
                ends = {"coverage_low": low, "coverage_high": high}
                numbers = {k: math.inf if cell[k] is None else cell[k] for k in ("width", "score")}
                start = {"way": way, "by": by, "region": region, "samples": cell["n"]}
                rows.append({**start, "coverage": cell["coverage"], **ends, **numbers})
    return rows
