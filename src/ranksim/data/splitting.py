"""Splits of anyone's rows: at random, by group, by time, or as a column says."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ranksim.data.balanced_split import PART_NAMES, PART_TITLES, PARTS, Split, balanced_split
from ranksim.data.cells import RowErrorFactory, make_row_error
from ranksim.exceptions import DataError

By = Literal["random", "group", "time"]
CAP = 30  # held-out samples of a label bin, where nothing else is said: the published figure


def split_rows(
    bins: NDArray[np.int64],
    *,
    by: By,
    balanced: bool,
    cap: int | None,
    seed: int,
    groups: Sequence[Hashable] | None = None,
    times: NDArray[np.float64] | None = None,
    val: float = 0.15,
    test: float = 0.15,
) -> Split:
    """Deal rows to training, validation and test.

    - ``random``, balanced: the published rule (:func:`ranksim.data.balanced_split`), which gives
      k = min(n // 3, cap) samples of each label bin to validation and as many to test.
    - ``random``, not balanced: by their shares. With ``groups``, which are then rows of equal
      inputs (:func:`group_equal_rows`), equal rows stay together in both; the rule counts each once,
      in the bin of its first row.
    - ``group``: whole groups, drawn so that the parts come near to their shares of the rows.
    - ``time``: the last rows are test, those before them validation; equal times stay together.

    Balanced by group or time, a held-out part keeps at most ``cap`` samples of each label bin. The
    others go to no part, so that groups stay whole and time stays in order.

    Args:
        bins: the label bin of each row, int64 ``(N,)``.
        by: what decides.
        balanced: whether validation and test are balanced over the label.
        cap: most held-out samples of a label bin in each part. None: 30, and by group or time the
            median count of the bins that a held-out part has samples of, if that is less.
        seed: fixes the draw.
        groups: which rows stay together, N of them.
        times: when each row is from, float64 ``(N,)``.
        val: share of validation among the rows.
        test: that of test.

    Returns:
        Ascending positions of each part.

    Raises:
        DataError: a part stays empty.
        ValueError: shares that leave nothing to train on, or groups or times are not as many as
            rows, or missing where they decide.

    Example:
        >>> split = split_rows(np.zeros(8, dtype=np.int64), by="time", balanced=False, cap=None,
        ...                    seed=0, times=np.arange(8.0), val=0.25, test=0.25)
        >>> [part.tolist() for part in split]
        [[0, 1, 2, 3], [4, 5], [6, 7]]
    """
    if not (val > 0 and test > 0 and val + test < 1):
        raise ValueError(f"need val > 0, test > 0 and val + test < 1, got {val!r} and {test!r}")
    if cap is not None and cap < 1:
        raise ValueError(f"cap must be at least 1, got {cap!r}")
    for name, given in (("groups", groups), ("times", times)):
        if given is not None and len(given) != len(bins):
            raise ValueError(f"{name} must be as many as rows, {len(bins)}, got {len(given)}")
    if by == "time":
        if times is None:
            raise ValueError("times must be given to split by time")
        split = _by_time(np.asarray(times, dtype=np.float64), val, test)
    elif by == "group" and groups is None:
        raise ValueError("groups must be given to split by group")
    elif by == "random" and balanced:
        units = np.arange(len(bins)) if groups is None else factorize(groups)
        return require_nonempty_parts(
            _by_rule(bins, units, cap or CAP, seed), "label bins are too small"
        )
    else:
        units = np.arange(len(bins)) if groups is None else factorize(groups)
        split = _by_group(units, val, test, seed)
    return balance_held_out(split, bins, cap=cap, seed=seed) if balanced else split


def balance_held_out(split: Split, bins: NDArray[np.int64], *, cap: int | None, seed: int) -> Split:
    """Keep at most ``cap`` drawn samples of each label bin in validation, and in test.

    Args:
        split: positions of the samples.
        bins: the label bin of each sample, int64 ``(N,)``.
        cap: None: the median count of the bins that a held-out part has samples of, at most 30.
        seed: fixes the draw.

    Example:
        >>> split = Split(np.arange(4), np.arange(4, 9), np.arange(9, 12))
        >>> bins = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1])
        >>> [len(part) for part in balance_held_out(split, bins, cap=2, seed=0)]
        [4, 3, 3]
    """
    if cap is None:
        counts = np.concatenate([np.bincount(bins[part]) for part in (split.val, split.test)])
        cap = min(CAP, max(1, int(np.median(counts[counts > 0]))))
    draw = np.random.default_rng(seed)
    kept = []
    for part in (split.val, split.test):
        rows = draw.permutation(part)
        order = np.argsort(bins[rows], kind="stable")
        _, first, count = np.unique(bins[rows][order], return_index=True, return_counts=True)
        place = np.arange(len(rows)) - np.repeat(first, count)  # of a row among those of its bin
        kept.append(np.sort(rows[order][place < cap]))
    return Split(split.train, *kept)


def split_by_column(values: Sequence[Any], *, refuse: RowErrorFactory = make_row_error) -> Split:
    """The split that a column gives: train, val (or valid, validation, dev) and test.

    Args:
        values: the part of each row, in any case.
        refuse: raises an error that names rows.

    Raises:
        DataError: a value that is no part, or a part without a row.

    Example:
        >>> split_by_column(["train", "Test", "dev", "train"]).train.tolist()
        [0, 3]
    """
    parts = [PART_NAMES.get(str(value).strip().lower()) for value in values]
    refuse(
        [row for row, part in enumerate(parts) if part is None],
        "the column of the split holds none of train, val and test",
        "correct these values",
    )
    of = np.array(parts, dtype=object)
    split = Split(*(np.flatnonzero(of == name) for name in PARTS))
    return require_nonempty_parts(split, "the column of the split gives it none")


def group_equal_rows(rows: Sequence[tuple[Hashable, ...]]) -> NDArray[np.int64]:
    """A number for each row, the same for rows that are equal.

    Example:
        >>> group_equal_rows([("a", 1), ("b", 1), ("a", 1)]).tolist()
        [0, 1, 0]
    """
    return factorize(rows)


def reject_shared_samples(
    rows: Sequence[tuple[Hashable, ...]], split: Split, *, refuse: RowErrorFactory = make_row_error
) -> None:
    """Refuse a given split that has the very same sample in two parts.

    Args:
        rows: all inputs of each sample.
        split: positions of each part.
        refuse: raises an error that names rows.

    Raises:
        DataError: rows of validation or test whose inputs also stand in a part before it.
    """
    seen = factorize(rows)
    for name, part, before in (
        ("val", split.val, split.train),
        ("test", split.test, np.concatenate([split.train, split.val])),
    ):
        refuse(
            part[np.isin(seen[part], seen[before])].tolist(),
            f"this {PART_TITLES[name]} sample also stands in another part, with equal inputs",
            "keep every sample in one part, so that none is tested that was trained on",
        )


def factorize(values: Sequence[Hashable]) -> NDArray[np.int64]:
    """Values to whole numbers from 0, in the order of their first occurrence."""
    first: dict[Hashable, int] = {}
    return np.array([first.setdefault(value, len(first)) for value in values], dtype=np.int64)


def require_nonempty_parts(split: Split, why: str) -> Split:
    """The split, if no part of it is empty."""
    for name, part in zip(PARTS, split, strict=True):
        if not len(part):
            raise DataError(
                f"The {PART_TITLES[name]} part holds no sample ({why}): use more data, or another "
                "split."
            )
    return split


def _by_rule(bins: NDArray[np.int64], units: NDArray[np.int64], cap: int, seed: int) -> Split:
    """The published rule over units of rows."""
    _, first = np.unique(units, return_index=True)
    dealt = balanced_split(bins[first], cap=cap, seed=seed)
    return Split(*(np.flatnonzero(np.isin(units, part)) for part in dealt))


def _by_group(units: NDArray[np.int64], val: float, test: float, seed: int) -> Split:
    """Held-out parts take groups in a drawn order while these fit; then one that brings nearer."""
    sizes = np.bincount(units)
    if len(sizes) < len(PARTS):
        raise DataError(
            f"{len(sizes)} group{'s' * (len(sizes) != 1)} cannot be dealt to training, validation "
            "and test: use data of at least three, or another split."
        )
    part = np.zeros(len(sizes), dtype=np.int64)  # of each group: 0 training, 1 or 2 held out
    left = {2: round(test * len(units)), 1: round(val * len(units))}
    for group in np.random.default_rng(seed).permutation(len(sizes)).tolist():
        for place in left:
            if sizes[group] <= left[place]:
                part[group], left[place] = place, left[place] - sizes[group]
                break
    for place in left:
        free, empty = np.flatnonzero(part == 0), place not in part
        if len(free) == 1:  # training keeps its last group
            if not empty:
                continue
            free = np.flatnonzero(part == 3 - place)  # the other held-out part has all the others
        group = free[np.argmin(np.abs(sizes[free] - left[place]))]
        if empty or abs(sizes[group] - left[place]) < left[place]:
            part[group] = place
    return Split(*(np.flatnonzero(part[units] == place) for place in range(len(PARTS))))


def _by_time(times: NDArray[np.float64], val: float, test: float) -> Split:
    if not np.isfinite(times).all():
        raise ValueError("times must be finite")
    moments, place, counts = np.unique(times, return_inverse=True, return_counts=True)
    if len(moments) < len(PARTS):
        raise DataError(
            f"{len(moments)} different time{'s' * (len(moments) != 1)} cannot be dealt to "
            "training, validation and test: use data of at least three, or another split."
        )
    ends = np.cumsum(counts)  # rows up to each moment
    last = len(moments) - 1
    testing = 2 + int(np.argmin(np.abs(ends[1:last] - (1 - test) * len(times))))
    validating = 1 + int(np.argmin(np.abs(ends[: testing - 1] - (1 - test - val) * len(times))))
    part = (place >= validating).astype(np.int64) + (place >= testing)
    return Split(*(np.flatnonzero(part == name) for name in range(len(PARTS))))
