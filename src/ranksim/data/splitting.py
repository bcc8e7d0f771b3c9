"""Split rows into training, validation and test: random, by group, by time or by column."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranksim.data.cells import RaiseForRows, raise_for_rows
from ranksim.exceptions import DataError

PARTS = ("train", "val", "test")
PART_NAMES = {name: name for name in PARTS} | dict.fromkeys(("valid", "validation", "dev"), "val")
PART_NAMES |= {"training": "train", "testing": "test"}  # common spellings in tables
PART_TITLES = {"train": "training", "val": "validation", "test": "test"}
MAX_PER_BIN = 30  # default of the held-out samples per label bin, as published

By = Literal["random", "group", "time"]


class Split(NamedTuple):
    """Positions of the samples in each part, ascending."""

    train: NDArray[np.int64]
    val: NDArray[np.int64]
    test: NDArray[np.int64]

    @classmethod
    def from_index(cls, index: NDArray[np.int64]) -> Split:
        """Create a split from the index of each sample's part in ``PARTS``; others are not used."""
        return cls(*(np.flatnonzero(index == part) for part in range(len(PARTS))))


def balanced_split(bins: NDArray[np.int64], *, max_per_bin: int, seed: int) -> Split:
    """Draw validation and test sets that are balanced over the label.

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
    val, test = [], []
    for label in np.unique(bins):
        rows = rng.permutation(np.flatnonzero(bins == label))
        k = min(len(rows) // 3, max_per_bin)
        val.append(rows[:k])
        test.append(rows[k : 2 * k])
    held_out = np.concatenate(val + test) if val else np.empty(0, dtype=np.int64)
    train = np.setdiff1d(np.arange(len(bins)), held_out)
    return Split(train, *(np.sort(np.concatenate(part)) if part else train for part in (val, test)))


def split_rows(
    bins: NDArray[np.int64],
    *,
    by: By,
    balanced: bool,
    max_per_bin: int | None,
    seed: int,
    groups: Sequence[Hashable] | None = None,
    times: NDArray[np.float64] | None = None,
    shares: tuple[float, float] = (0.15, 0.15),
) -> Split:
    """Split rows into training, validation and test.

    - ``random``, balanced: :func:`balanced_split`; rows of one of the ``groups`` stay together and
      count once, in the bin of the first row.
    - ``random``, not balanced: by ``shares``; rows of one group stay together.
    - ``group``: whole groups in random order, so that the parts come close to their shares.
    - ``time``: the last rows are test, the rows before them validation; equal times stay together.

    If balanced by group or time, see :func:`balance_held_out`: the other samples are not used, so
    that groups stay whole and time stays in order.

    Args:
        bins: label bin of each row, int64 ``(N,)``.
        by: the rule.
        balanced: whether validation and test are balanced over the label.
        max_per_bin: largest number of samples of a label bin in each held-out part (default 30).
        seed: seed of the random order.
        groups: group of each row.
        times: time of each row, float64 ``(N,)``.
        shares: fractions of the rows for validation and test.

    Raises:
        DataError: a part would be empty.
        ValueError: the arguments do not fit together.
    """
    val, test = shares
    if not (val > 0 and test > 0 and val + test < 1):
        raise ValueError(
            f"shares must be positive and sum to less than 1, got {val!r} and {test!r}"
        )
    if max_per_bin is not None and max_per_bin < 1:
        raise ValueError(f"max_per_bin must be at least 1, got {max_per_bin!r}")
    for name, values in (("groups", groups), ("times", times)):
        if values is not None and len(values) != len(bins):
            raise ValueError(f"{name} must have one value per row, {len(bins)}, got {len(values)}")
        if values is None and name == f"{by}s":
            raise ValueError(f"{name} are required to split by {by}")
    if times is not None and by == "time":
        split = _split_by_time(np.asarray(times, dtype=np.float64), shares)
    else:
        units = np.arange(len(bins)) if groups is None else factorize(groups)
        if by == "random" and balanced:
            _, first = np.unique(units, return_index=True)
            unit_split = balanced_split(
                bins[first], max_per_bin=max_per_bin or MAX_PER_BIN, seed=seed
            )
            split = Split(*(np.flatnonzero(np.isin(units, part)) for part in unit_split))
            return require_nonempty_parts(split, "the label bins have too few samples")
        split = _split_by_group(units, shares, seed)
    return balance_held_out(split, bins, max_per_bin=max_per_bin, seed=seed) if balanced else split


def balance_held_out(
    split: Split, bins: NDArray[np.int64], *, max_per_bin: int | None, seed: int
) -> Split:
    """Keep at most ``max_per_bin`` random samples of each label bin in validation, and in test.

    The default is the median count of the non-empty bins of the held-out parts, at most 30.

    Example:
        >>> split = Split(np.arange(4), np.arange(4, 9), np.arange(9, 12))
        >>> bins = np.array([0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 1])
        >>> [len(part) for part in balance_held_out(split, bins, max_per_bin=2, seed=0)]
        [4, 3, 3]
    """
    if max_per_bin is None:
        counts = np.concatenate([np.bincount(bins[part]) for part in (split.val, split.test)])
        max_per_bin = min(MAX_PER_BIN, max(1, int(np.median(counts[counts > 0]))))
    rng = np.random.default_rng(seed)
    parts = []
    for part in (split.val, split.test):
        rows = rng.permutation(part)
        order = np.argsort(bins[rows], kind="stable")
        _, first, count = np.unique(bins[rows][order], return_index=True, return_counts=True)
        rank_in_bin = np.arange(len(rows)) - np.repeat(first, count)
        parts.append(np.sort(rows[order][rank_in_bin < max_per_bin]))
    return Split(split.train, *parts)


def split_by_column(
    values: Sequence[Any], *, raise_for_rows: RaiseForRows = raise_for_rows
) -> Split:
    """Return the split that a column specifies: train, val (or valid, validation, dev) and test.

    Example:
        >>> split_by_column(["train", "Test", "dev", "train"]).train.tolist()
        [0, 3]
    """
    parts = [PART_NAMES.get(str(value).strip().lower()) for value in values]
    raise_for_rows(
        [row for row, part in enumerate(parts) if part is None],
        "the value of the split column is not train, val or test",
        "correct these values",
    )
    names = np.array(parts, dtype=object)
    split = Split(*(np.flatnonzero(names == name) for name in PARTS))
    return require_nonempty_parts(split, "the split column assigns no rows to it")


def reject_shared_samples(
    inputs: Sequence[Hashable], split: Split, *, raise_for_rows: RaiseForRows = raise_for_rows
) -> None:
    """Raise a DataError if samples with equal inputs are in two parts of the user's split."""
    ids = factorize(inputs)
    for name, part, earlier in (
        ("val", split.val, split.train),
        ("test", split.test, np.concatenate([split.train, split.val])),
    ):
        raise_for_rows(
            part[np.isin(ids[part], ids[earlier])].tolist(),
            f"this {PART_TITLES[name]} sample also occurs in another part, with equal inputs",
            "keep every sample in one part, so that no training sample is evaluated",
        )


def factorize(values: Sequence[Hashable]) -> NDArray[np.int64]:
    """Number values from 0 in order of first occurrence; equal values get the same number.

    Example:
        >>> factorize([("a", 1), ("b", 1), ("a", 1)]).tolist()
        [0, 1, 0]
    """
    numbers: dict[Hashable, int] = {}
    return np.array([numbers.setdefault(value, len(numbers)) for value in values], dtype=np.int64)


def require_nonempty_parts(split: Split, reason: str) -> Split:
    """Return the split, or raise a DataError that names the first empty part."""
    for name, part in zip(PARTS, split, strict=True):
        if not len(part):
            raise DataError(
                f"The {PART_TITLES[name]} part has no samples ({reason}): use more data or another "
                "split."
            )
    return split


def _require_three(count: int, noun: str) -> None:
    if count < len(PARTS):
        raise DataError(
            f"{count} {noun}{'s' * (count != 1)} cannot be split into training, validation and "
            f"test: use data with at least three {noun}s, or another split."
        )


def _split_by_group(units: NDArray[np.int64], shares: tuple[float, float], seed: int) -> Split:
    """Assign random groups while they fit, then at most one per part if it improves its share."""
    sizes = np.bincount(units)
    _require_three(len(sizes), "group")
    val, test = shares
    part_of = np.zeros(len(sizes), dtype=np.int64)  # of each group: index into PARTS
    remaining = {2: round(test * len(units)), 1: round(val * len(units))}
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


def _split_by_time(times: NDArray[np.float64], shares: tuple[float, float]) -> Split:
    if not np.isfinite(times).all():
        raise ValueError("times must be finite")
    moments, position, counts = np.unique(times, return_inverse=True, return_counts=True)
    _require_three(len(moments), "different time")
    val, test = shares
    ends = np.cumsum(counts)  # rows up to each moment
    last = len(moments) - 1
    first_test = 2 + int(np.argmin(np.abs(ends[1:last] - (1 - test) * len(times))))
    first_val = 1 + int(np.argmin(np.abs(ends[: first_test - 1] - (1 - test - val) * len(times))))
    return Split.from_index((position >= first_val).astype(np.int64) + (position >= first_test))
