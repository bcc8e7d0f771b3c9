"""Splits beyond one holdout: training on all samples, and the folds of a cross-validation."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from ranksim._utils.formatting import format_count
from ranksim.data.binning import choose_label_bins, choose_shot_regions
from ranksim.data.days import read_days
from ranksim.data.spec import SeriesSpec
from ranksim.data.splitting import (
    PARTS,
    UNUSED,
    Split,
    balance_held_out,
    draw_folds,
    draw_validation,
    draw_validation_units,
    drop_samples,
    factorize,
    find_shared_samples,
    read_parts,
)
from ranksim.data.table import Ints, read_groups
from ranksim.exceptions import DataError
from ranksim.user_data.sample_split import number_read_samples
from ranksim.user_data.sample_weights import read_sample_weights
from ranksim.user_data.split_plan import SplitPlan, make_all_forecasts

_BALANCED_OUT = "to balance validation and test"  # reasons of rows that are left out of a split
_SHARED = "equal to validation or test samples (--drop-shared)"


def train_on_all(plan: SplitPlan) -> SplitPlan:
    """Return the plan with all usable samples as training samples.

    These are the samples of all parts, those that were left out only to balance validation and
    test, and, of a series, the windows across the boundaries of parts. Rows marked as unused and
    samples of weight 0 stay out. Label bins, thresholds and counts of the regions follow all of
    them. Validation and test are those of the plan, and thus part of the training.
    """
    held_out = [plan.rows[part] for part in plan.split[1:]]
    if isinstance(plan.options, SeriesSpec):
        plan, usable = _take_all_windows(plan, plan.options)
    else:
        usable = find_usable(plan)
    if plan.weights is not None:
        usable = usable[plan.weights[usable] > 0]
    val, test = (np.flatnonzero(np.isin(plan.rows, rows)) for rows in held_out)
    return _with_split(plan, Split(usable, val, test), len(usable))


def find_usable(plan: SplitPlan) -> Ints:
    """Return the positions of the samples that no split column marks as unused."""
    if plan.options.split is None:
        return np.arange(len(plan.rows))
    parts = read_parts(plan.table.take(plan.rows), plan.options.split)
    return np.flatnonzero(parts != UNUSED)


def _take_all_windows(plan: SplitPlan, options: SeriesSpec) -> tuple[SplitPlan, Ints]:
    """Return the plan with all windows of its series, and the positions of the usable ones."""
    readings, windows, usable = make_all_forecasts(plan.table, options, plan.inputs)
    rows, labels = readings.rows[windows.target_rows], windows.labels
    weights = plan.weights
    if options.weights is not None:
        weights = read_sample_weights(plan.table, options.weights, rows)
    bins = choose_label_bins(labels, options)
    plan = replace(plan, rows=rows, labels=labels, windows=windows, weights=weights, bins=bins)
    return plan, usable


def _with_split(plan: SplitPlan, split: Split, count: int) -> SplitPlan:
    """Return the plan with another split of ``count`` samples, and the regions that follow it."""
    regions, many, few = choose_shot_regions(plan.bins, plan.labels[split.train], plan.options)
    counts = [len(part) for part in split]
    left_out = dict(plan.report.rows.get("left_out", {}))
    for reason in (_BALANCED_OUT, _SHARED):
        left_out.pop(reason, None)
    described = plan.report.split | dict(zip(PARTS, counts, strict=True))
    rows = {"used": count} | ({"left_out": left_out} if left_out else {})
    return replace(
        plan,
        split=split,
        many=many,
        few=few,
        named=dict(regions.named),
        facts=plan.facts | {"counts": counts, "bins": len(plan.bins), "many": many, "few": few},
        report=replace(plan.report, rows=rows, split=described),
    )


class Folds(NamedTuple):
    """The folds of a cross-validation.

    Args:
        numbers: fold of each sample, from 0, ``(N,)``.
        units: number of the distinct sample, group or day of each sample, which stays in one fold.
    """

    numbers: Ints
    units: Ints


def assign_folds(plan: SplitPlan, count: int) -> Folds:
    """Draw the folds of the samples of a plan with the seed of its split.

    In a random split, equal samples stay together and every fold has its share of each label bin
    (of all samples at once with ``--no-balanced``); otherwise groups or days stay whole.

    Raises:
        UsageError: the data cannot be divided into folds.
        DataError: there are fewer distinct samples, groups or days than folds.
    """
    options, table = plan.options, plan.table.take(plan.rows)
    options.check_folds()
    by, bins = options.split_method, None
    if by == "random":
        noun, units = "distinct sample", number_read_samples(table, options, plan.inputs)
        bins = plan.bins.digitize(plan.labels)
        bins = bins if options.balanced else np.zeros_like(bins)
    else:
        noun, units = ("day" if by == "day" else "group"), _read_units(plan)
    size = len(np.unique(units))
    if size < count:
        raise DataError(
            f"{format_count(size, noun)} cannot be divided into {count} folds: use a smaller "
            "--cross-validate, or more data."
        )
    return Folds(draw_folds(units, bins, count=count, seed=options.seed), units)


def _read_units(plan: SplitPlan) -> Ints:
    """Return the number of the group or day of each sample ``(N,)``."""
    options, table = plan.options, plan.table.take(plan.rows)
    if options.split_method == "day":
        assert options.time is not None
        return factorize(read_days(table, options.time).tolist())
    assert options.group is not None
    return factorize(read_groups(table, options.group))


def make_fold(plan: SplitPlan, folds: Folds, number: int) -> SplitPlan:
    """Return the plan whose test samples are one fold.

    Validation is drawn from the other folds, as for a given split without validation, or as whole
    groups or days; samples of weight 0 are not trained on.

    Args:
        plan: of the split options.
        folds: the result of :func:`assign_folds`.
        number: of the fold, from 0.
    """
    options, bins = plan.options, plan.bins.digitize(plan.labels)
    is_random, is_test = options.split_method == "random", folds.numbers == number
    empty = np.zeros(0, dtype=np.int64)
    split = Split(np.flatnonzero(~is_test), empty, np.flatnonzero(is_test))
    limit = options.max_per_bin
    if is_random:
        split = draw_validation(
            split,
            bins,
            balanced=options.balanced,
            max_per_bin=limit,
            seed=options.seed,
            groups=folds.units,
        )
    else:
        split = draw_validation_units(split, folds.units, seed=options.seed)
        if options.balanced:
            val = balance_held_out(split, bins, max_per_bin=limit, seed=options.seed).val
            split = split._replace(val=val)
    if options.drop_shared:
        ids = number_read_samples(plan.table.take(plan.rows), options, plan.inputs)
        split = drop_samples(split, *find_shared_samples(ids, split))
    if plan.weights is not None:
        split = split._replace(train=split.train[plan.weights[split.train] > 0])
    return _with_split(plan, split, len(plan.rows))
