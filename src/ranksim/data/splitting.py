"""Split samples into training, validation and test: at random, by group, time or column."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_count, format_value
from ranksim.data.arrow_cells import count_cells, map_cells
from ranksim.data.cells import parse_boolean
from ranksim.data.data_report import PART_TITLES
from ranksim.data.table import Floats, Ints, Table
from ranksim.exceptions import DataError, UsageError

PARTS = tuple(PART_TITLES)
UNUSED = "unused"  # part of the rows that are left out
PART_NAMES = {name: name for name in (*PARTS, UNUSED)}
# common spellings in tables
PART_NAMES |= dict.fromkeys(("valid", "validation", "dev", "devel", "development"), "val")
PART_NAMES |= {"training": "train", "testing": "test"}
CALIBRATION = "calibration"  # samples of validation that calibrate intervals, where asked for
CALIBRATION_NAMES = (CALIBRATION, "calib", "cal")
PART_NAMES |= dict.fromkeys(CALIBRATION_NAMES, "val")
_MARKED_NAMES = PART_NAMES | dict.fromkeys(("holdout", "hold_out", "held_out", "heldout"), "test")
_MARKED_NAMES.pop(UNUSED)
_MARK = re.compile(
    rf"(?:(?:is|in|for|use)_?)?(?P<part>{'|'.join(_MARKED_NAMES)})(?:_?(?:set|mask|flag|split|idx))?"
)
MAX_PER_BIN = 30  # default of the held-out samples per label bin, as published
_SHARE = 0.15  # of the samples for validation, and for test

# Zero-shot protocols
PROTOCOLS = ("extrapolation", "interpolation", "blindspot")
TEST_PER_BIN = 50  # default of the test samples per bin
_MIN_COUNT = {"extrapolation": 1.0, "interpolation": 2.5, "blindspot": 2.8}  # × per_bin
_MIN_BINS = 10  # test bins that the bells need
_HEIGHT = 3137 / 50  # × per_bin: peak of the bell, more than any bin of AgeDB contains
_VAL_SHARE = 0.109  # of the samples drawn for training
# centers and width as fractions of the range of the test bins, and height
_BELLS = {
    "extrapolation": ((0.493,), 0.1043, _HEIGHT),
    "interpolation": ((0.0909, 1.0909), 0.1309, _HEIGHT / 2),
}
_GAP_CENTER, _GAP_HALF_WIDTH = 0.566, 0.066


class Split(NamedTuple):
    """The ascending positions of the training, validation and test samples."""

    train: Ints
    val: Ints
    test: Ints

    @classmethod
    def from_index(cls, index: Ints) -> Split:
        """Create a split from 0 (train), 1 (val) or 2 (test) per sample; ignore other values."""
        return cls(*(np.flatnonzero(index == part) for part in range(len(PARTS))))


def balanced_split(bins: Ints, *, max_per_bin: int, seed: int) -> Split:
    """Draw validation and test sets that are balanced across label bins.

    The samples of each label bin are shuffled; the first k = min(n // 3, max_per_bin) are used for
    validation, the next k for test, and the rest for training.

    Args:
        bins: label bin of each sample, int64 ``(N,)``.
        max_per_bin: largest number of samples of one bin in validation, and in test.
        seed: seed of the shuffle.

    Example:
        >>> split = balanced_split(np.array([0] * 9 + [1] * 4 + [2]), max_per_bin=2, seed=0)
        >>> [len(part) for part in split]
        [8, 3, 3]

    References:
        Yang et al., "Delving into Deep Imbalanced Regression", ICML 2021, appendix on the DIR data
        sets.
    """
    rng = np.random.default_rng(seed)
    part_of = np.zeros(len(bins), dtype=np.int64)
    for label in np.unique(bins):
        rows = rng.permutation(np.flatnonzero(bins == label))
        k = min(len(rows) // 3, max_per_bin)
        part_of[rows[:k]], part_of[rows[k : 2 * k]] = 1, 2
    return Split.from_index(part_of)


def split_rows(
    bins: Ints,
    *,
    by: Literal["random", "group", "time"],
    balanced: bool,
    max_per_bin: int | None,
    seed: int,
    groups: Sequence[Hashable] | Ints | None = None,
    times: Floats | None = None,
) -> Split:
    """Split rows randomly, by group or by time, given the label bin ``(N,)`` of each row.

    - ``random``, balanced: :func:`balanced_split`; rows of one of the ``groups`` stay together and
      count once, in the bin of the first row.
    - ``random``, not balanced: 15 % validation and 15 % test; groups stay together.
    - ``group``: whole groups in random order, so that the parts come close to these shares.
    - ``time``: the last rows are test, the rows before them validation; equal times stay together.

    If balanced by group or time, :func:`balance_held_out` leaves samples out, so that groups stay
    whole and time stays in order.
    """
    if by == "time":
        assert times is not None
        split = _split_by_time(times)
    else:
        units = np.arange(len(bins)) if groups is None else factorize(groups)
        if by == "random" and balanced:
            _, first = np.unique(units, return_index=True)
            limit = max_per_bin or MAX_PER_BIN
            unit_split = balanced_split(bins[first], max_per_bin=limit, seed=seed)
            split = Split(*(np.flatnonzero(np.isin(units, part)) for part in unit_split))
            return require_nonempty_parts(split, *_explain_empty_part(bins[first], len(bins)))
        split = _split_by_group(units, seed, "distinct sample" if by == "random" else "group")
    return balance_held_out(split, bins, max_per_bin=max_per_bin, seed=seed) if balanced else split


def _explain_empty_part(bins: Ints, count: int) -> tuple[str, str]:
    """Return why a balanced split of distinct samples has an empty part, and what to do.

    Args:
        bins: label bin of each distinct sample.
        count: number of all samples, of which equal ones stay in one part.
    """
    reasons, noun = [], "sample"
    if len(bins) < count:
        noun = "distinct sample"
        reasons.append(
            f"only {len(bins):,} of {count:,} samples are distinct, and equal ones stay in one part"
        )
    if len(bins) < len(PARTS):
        return reasons[0] if reasons else f"there are only {len(bins)}", "use more data"
    reasons.append(f"no label bin has more than {format_count(int(np.bincount(bins).max()), noun)}")
    return "; ".join(reasons), "use wider label bins with --bin-width, or --no-balanced"


def balance_held_out(split: Split, bins: Ints, *, max_per_bin: int | None, seed: int) -> Split:
    """Subsample validation and test to at most ``max_per_bin`` samples per label bin.

    The default is the median count of the non-empty bins of the held-out parts, at most 30.
    """
    if max_per_bin is None:
        counts = np.concatenate([np.bincount(bins[part]) for part in (split.val, split.test)])
        max_per_bin = min(MAX_PER_BIN, max(1, int(np.median(counts[counts > 0]))))
    rng = np.random.default_rng(seed)
    parts = []
    for part in (split.val, split.test):
        rows = rng.permutation(part)
        used = [rows[bins[rows] == label][:max_per_bin] for label in np.unique(bins[rows])]
        parts.append(np.sort(np.concatenate(used)))
    return Split(split.train, *parts)


def parse_part(value: Any) -> str:
    """Return the part that a cell names, ``train``, ``val``, ``test`` or ``unused``, or ``""``."""
    return PART_NAMES.get(str(value).strip().lower(), "")


def read_parts(table: Table, name: str) -> NDArray[np.str_]:
    """Read the part of each row, ``train``, ``val``, ``test`` or ``unused``, ``(N,)``.

    The column names the parts, or marks the rows of one as ``is_test`` does; then further columns
    that mark parts are read, too.
    """
    values = table.column(name)
    if marks_part(name, values):
        return _read_marks(table, name)
    parts = map_cells(values, parse_part, np.str_)
    if len(wrong := np.flatnonzero(parts == "")):
        problem = f"column {name!r} is not train, val or test, but {format_value(values[wrong[0]])}"
        remedy = f"correct these values, or write {UNUSED} to leave rows out"
        table.raise_for_rows(wrong, problem, remedy)
    return parts


def find_marked_part(name: str) -> str:
    """Return the part that a column of booleans marks by its name, such as ``is_test``, or ``""``.

    Example:
        >>> [find_marked_part(name) for name in ("is_test", "isTrain", "Val mask", "is_red")]
        ['test', 'train', 'val', '']
    """
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[\s.-]+", "_", name.strip()).lower()
    match = _MARK.fullmatch(words)
    return _MARKED_NAMES[match["part"]] if match else ""


def marks_part(name: str, values: Sequence[Any]) -> bool:
    """Return True for booleans, some of them true and others not, that mark a part by name."""
    if not find_marked_part(name):
        return False
    return {*map(parse_boolean, count_cells(values)[0])} == {True, False}


def _read_marks(table: Table, name: str) -> NDArray[np.str_]:
    """Read the part of each row from all columns that mark the rows of one part.

    Rows without a mark belong to the part that has no column, training before test before
    validation, and are unused if all have one.
    """
    names = [each for each in table.names if each != name and table.names.count(each) == 1]
    columns: dict[str, str] = {}  # by part
    for each in (name, *names):
        part = find_marked_part(each)
        if part and part not in columns and marks_part(each, table.column(each)):
            columns[part] = each
    rest = next((part for part in ("train", "test", "val") if part not in columns), UNUSED)
    masks = {
        part: map_cells(table.column(each), lambda value: parse_boolean(value) is True, np.bool_)
        for part, each in columns.items()
    }
    repeated = np.flatnonzero(np.sum(list(masks.values()), axis=0) > 1)
    listed = " and ".join(map(repr, columns.values()))
    table.raise_for_rows(
        repeated.tolist(),
        f"columns {listed} mark this row twice",
        "correct them, or write train, val and test into one column",
    )
    parts = np.full(table.n_rows, rest, dtype="<U6")
    for part, mask in masks.items():
        parts[mask] = part
    return parts


def split_by_column(table: Table, name: str, *, needs_val: bool = True) -> Split:
    """Read a split from a column with values such as train, val, validation, dev and test.

    Rows with the value ``unused`` belong to no part. Without ``needs_val``, validation may be
    empty; :func:`draw_validation` then draws it.
    """
    parts = read_parts(table, name)
    split = Split(*(np.flatnonzero(parts == part) for part in PARTS))
    reason = f"column {name!r} of {table.name} assigns no rows to it"
    require_nonempty_parts(split if needs_val else split._replace(val=split.train), reason)
    return split


def draw_validation(
    split: Split,
    bins: Ints,
    *,
    balanced: bool,
    max_per_bin: int | None,
    seed: int,
    groups: Sequence[Hashable] | Ints | None = None,
    times: Floats | None = None,
) -> Split:
    """Draw validation from the training samples of a split without validation.

    With ``times``, these are the latest 15 % of the training samples. Otherwise they are drawn
    like those of :func:`split_rows`, and samples of one of the ``groups`` stay together.
    """
    train, part_of = split.train, np.zeros(len(split.train), dtype=np.int64)
    count = round(_SHARE * len(train))
    reasons: tuple[str, ...] = ("it is drawn from the training samples",)
    if times is not None:
        first = np.sort(times[train])[max(len(train) - count, 0) :][:1]
        part_of[times[train] >= first] = 1
    else:
        if groups is None:
            units = np.arange(len(train))
        elif isinstance(groups, np.ndarray):
            units = factorize(groups[train])
        else:
            units = factorize([groups[row] for row in train])
        _, first_rows, sizes = np.unique(units, return_index=True, return_counts=True)
        order = np.random.default_rng(seed).permutation(len(sizes))
        if balanced:
            limit = max_per_bin or MAX_PER_BIN
            drawn = balanced_split(bins[train][first_rows], max_per_bin=limit, seed=seed).val
        else:
            drawn = order[np.cumsum(sizes[order]) <= count]
        part_of[np.isin(units, drawn)] = 1
        if balanced and not part_of.any():
            reasons = _explain_empty_part(bins[train][first_rows], len(train))
    drawn_split = Split(train[part_of == 0], train[part_of == 1], split.test)
    return require_nonempty_parts(drawn_split, *reasons)


def draw_validation_units(split: Split, units: Ints, *, seed: int) -> Split:
    """Draw whole units, such as groups, from the training samples for validation.

    They are drawn at random, so that validation comes close to 15 % of these samples; if every
    unit is larger, it is the one whose size is nearest.

    Args:
        split: without validation.
        units: number of the unit of each sample ``(N,)``.
        seed: seed of the order.
    """
    train = split.train
    _, index, sizes = np.unique(units[train], return_inverse=True, return_counts=True)
    goal = remaining = round(_SHARE * len(train))
    drawn: list[int] = []
    for unit in np.random.default_rng(seed).permutation(len(sizes)).tolist():
        if sizes[unit] <= remaining:
            drawn.append(unit)
            remaining -= sizes[unit]
    if not drawn and len(sizes) > 1:
        drawn = [int(np.argmin(np.abs(sizes - goal)))]
    is_val = np.isin(index, drawn)
    reason = "validation is drawn from whole groups or days outside the test fold"
    return require_nonempty_parts(Split(train[~is_val], train[is_val], split.test), reason)


def draw_calibration(
    units: Ints, bins: Ints | None, *, seed: int, times: Floats | None = None
) -> NDArray[np.bool_]:
    """Choose half of the validation samples for the calibration of intervals.

    With ``times``, it is the later half, which is nearest to the test samples. With label bins, it
    is every second unit in the order of the bins, random within each, so that both halves have the
    same labels. Otherwise units are drawn at random until half of the samples are reached.

    Args:
        units: number of the distinct sample, group or day of each validation sample ``(N,)``, whose
            samples stay together.
        bins: label bin of each sample ``(N,)``, or None.
        seed: seed of the order.
        times: ``(N,)``.

    Returns:
        A mask of the samples that calibrate intervals ``(N,)``.

    Example:
        >>> draw_calibration(np.arange(6), np.array([0, 0, 0, 0, 1, 1]), seed=0).tolist()
        [True, False, False, True, False, True]
    """
    half = len(units) // 2
    if times is not None:
        return np.asarray(times >= np.sort(times)[half:][:1])
    _, first, index, sizes = np.unique(
        units, return_index=True, return_inverse=True, return_counts=True
    )
    rng = np.random.default_rng(seed)
    order, is_drawn = rng.permutation(len(sizes)), np.zeros(len(sizes), dtype=np.bool_)
    if bins is None:
        is_drawn[order[np.cumsum(sizes[order]) - sizes[order] < half]] = True
    else:
        order = order[np.argsort(bins[first[order]], kind="stable")]
        is_drawn[order[int(rng.integers(min(2, max(len(order), 1)))) :: 2]] = True
    return np.asarray(is_drawn[index])


def draw_folds(units: Ints, bins: Ints | None, *, count: int, seed: int) -> Ints:
    """Draw the folds of a cross-validation; samples of one unit stay together.

    With label bins, the units of each bin, that of their first sample, are shuffled and dealt in
    turn to the folds, so that each fold has its share of every bin. Without, each unit, largest
    first and shuffled before, goes to the smallest fold.

    Args:
        units: number of the group, or of the distinct sample, of each sample, from 0 ``(N,)``.
        bins: label bin of each sample ``(N,)``, or None.
        count: number of folds.
        seed: seed of the shuffle.

    Returns:
        The fold of each sample, from 0, int64 ``(N,)``.

    Example:
        >>> draw_folds(np.arange(6), np.array([0, 0, 0, 1, 1, 1]), count=3, seed=0).tolist()
        [1, 2, 0, 0, 2, 1]
    """
    rng = np.random.default_rng(seed)
    _, first, sizes = np.unique(units, return_index=True, return_counts=True)
    order, folds = rng.permutation(len(sizes)), np.zeros(len(sizes), dtype=np.int64)
    if bins is not None:
        dealt = order[np.argsort(bins[first[order]], kind="stable")]
        folds[dealt] = np.arange(len(dealt)) % count
    else:
        totals = np.zeros(count, dtype=np.int64)
        for unit in order[np.argsort(-sizes[order], kind="stable")]:
            folds[unit] = np.argmin(totals)
            totals[folds[unit]] += sizes[unit]
    return folds[units]


def find_shared_samples(ids: Ints, split: Split) -> tuple[Ints, Ints]:
    """Return the positions of training and of validation samples that equal one of a later part.

    Equal samples have equal ``ids`` ``(N,)``. The test set is the last part: a validation sample is
    returned if it equals a test sample.
    """
    held_out = np.concatenate([split.val, split.test])
    train = split.train[np.isin(ids[split.train], ids[held_out])]
    return train, split.val[np.isin(ids[split.val], ids[split.test])]


def drop_samples(split: Split, train: Ints, val: Ints) -> Split:
    """Return the split without these training and validation samples."""
    reduced = Split(np.setdiff1d(split.train, train), np.setdiff1d(split.val, val), split.test)
    return require_nonempty_parts(reduced, "all its samples also occur in a later part")


def reject_shared_samples(table: Table, ids: Ints, split: Split) -> None:
    """Raise a DataError if a split puts rows with equal ``ids`` into two different parts."""
    held_out = {"val": (split.val, split.train), "test": (split.test, np.concatenate(split[:2]))}
    for name, (part, earlier) in held_out.items():
        table.raise_for_rows(
            part[np.isin(ids[part], ids[earlier])],
            f"this {PART_TITLES[name]} sample also occurs in another part, with equal inputs",
            "keep every sample in one part, or leave the others out with --drop-shared",
        )


def factorize(values: Sequence[Hashable] | Ints) -> Ints:
    """Encode values as integers from 0 in order of first occurrence."""
    if isinstance(values, np.ndarray):
        _, first, index = np.unique(values, return_index=True, return_inverse=True)
        order = np.empty(len(first), dtype=np.int64)
        order[np.argsort(first, kind="stable")] = np.arange(len(first))
        return order[index]
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)


def require_nonempty_parts(
    split: Split, reason: str, remedy: str = "use more data or another split"
) -> Split:
    """Return the split; raise a DataError if training, validation or test is empty."""
    for name, part in zip(PARTS, split, strict=True):
        if not len(part):
            raise DataError(f"The {PART_TITLES[name]} set has no samples ({reason}): {remedy}.")
    return split


def _require_three(count: int, noun: str) -> None:
    if count < len(PARTS):
        raise DataError(
            f"{format_count(count, noun)} cannot be split into training, validation and test: use "
            f"data with at least three {noun}s, or another split."
        )


def _split_by_group(units: Ints, seed: int, noun: str) -> Split:
    """Split whole groups at random, as close as possible to 15 % validation and 15 % test."""
    sizes = np.bincount(units)
    _require_three(len(sizes), noun)
    part_of = np.zeros(len(sizes), dtype=np.int64)  # of each group: index into PARTS
    remaining = dict.fromkeys((2, 1), round(_SHARE * len(units)))
    for group in np.random.default_rng(seed).permutation(len(sizes)).tolist():
        for part in remaining:
            if sizes[group] <= remaining[part]:
                part_of[group], remaining[part] = part, remaining[part] - sizes[group]
                break
    for part in remaining:
        candidates, is_empty = np.flatnonzero(part_of == 0), part not in part_of
        if len(candidates) == 1:  # training keeps its last group
            if not is_empty:
                continue
            candidates = np.flatnonzero(part_of == 3 - part)  # take from the other held-out part
        group = candidates[np.argmin(np.abs(sizes[candidates] - remaining[part]))]
        if is_empty or abs(sizes[group] - remaining[part]) < remaining[part]:
            part_of[group] = part
    return Split.from_index(part_of[units])


def _split_by_time(times: Floats) -> Split:
    moments, position, counts = np.unique(times, return_inverse=True, return_counts=True)
    _require_three(len(moments), "different time")
    ends = np.cumsum(counts)  # rows up to each moment
    last = len(moments) - 1
    first_test = 2 + int(np.argmin(np.abs(ends[1:last] - (1 - _SHARE) * len(times))))
    first_val = 1 + int(np.argmin(np.abs(ends[: first_test - 1] - (1 - 2 * _SHARE) * len(times))))
    return Split.from_index((position >= first_val).astype(np.int64) + (position >= first_test))


def zero_shot_split(bins: Ints, protocol: str, *, seed: int, per_bin: int = TEST_PER_BIN) -> Split:
    """Draw a zero-shot split: a uniform test set with labels that are rare or absent in training.

    The rule is inferred from the published AgeDB files, whose ages it reproduces (Puetz et al.,
    Artificial Intelligence Review, 2026). The test bins are all label bins with at least
    ``per_bin`` samples (``extrapolation``), or the longest run of neighboring bins with at least
    2.5 (``interpolation``) or 2.8 (``blindspot``) times as many. ``per_bin`` samples of each test
    bin are used for test. From the remaining samples within their range, training uses

    - extrapolation: at most a bell-shaped count around the middle, so both ends are missing;
    - interpolation: at most two bells at the ends, so the middle is rare;
    - blindspot: all samples except those of a few bins just above the middle.

    10.9 % of them are used for validation. Unlike in the published files, no image is repeated.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(
            f"Protocol {protocol!r} does not exist: choose one of {', '.join(PROTOCOLS)}."
        )
    counts = np.bincount(bins)
    test_bins = _choose_test_bins(counts, protocol, per_bin)
    labels = np.arange(test_bins[0], test_bins[-1] + 1)
    n_test = np.where(np.isin(labels, test_bins), per_bin, 0)
    n_train = np.minimum(counts[labels] - n_test, _limit_counts(labels, protocol, per_bin))
    rng = np.random.default_rng(seed)
    test, train = [], []
    for label, first, count in zip(labels, n_test, n_train, strict=True):
        rows = rng.permutation(np.flatnonzero(bins == label))
        test.append(rows[:first])
        train.append(rows[first : first + count])
    rows = rng.permutation(np.concatenate(train))
    n_val = round(_VAL_SHARE * len(rows))
    return Split(*(np.sort(part) for part in (rows[n_val:], rows[:n_val], np.concatenate(test))))


def _choose_test_bins(counts: Ints, protocol: str, per_bin: int) -> Ints:
    min_count = int(np.ceil(_MIN_COUNT[protocol] * per_bin))
    bins, kind = np.flatnonzero(counts >= min_count), "label bins"
    if protocol != "extrapolation":
        bins = max(np.split(bins, np.flatnonzero(np.diff(bins) > 1) + 1), key=len)
        kind = "neighboring label bins"
    if len(bins) < _MIN_BINS:
        raise UsageError(
            f"Protocol {protocol} needs {_MIN_BINS} {kind} with at least {min_count} samples each, "
            f"but the data has {len(bins)}: use more data, or a split without a protocol."
        )
    return bins


def _limit_counts(bins: Ints, protocol: str, per_bin: int) -> Ints:
    """Return the maximum number of training samples for each bin."""
    position = (bins - bins[0]) / (bins[-1] - bins[0])
    if protocol == "blindspot":
        is_gap = np.abs(position - _GAP_CENTER) <= _GAP_HALF_WIDTH
        return np.where(is_gap, 0, np.iinfo(np.int64).max)
    centers, width, height = _BELLS[protocol]
    bells = np.sum([np.exp(-(((position - c) / width) ** 2) / 2) for c in centers], axis=0)
    limits: Ints = np.floor(height * per_bin * bells).astype(np.int64)
    return limits
