"""Find rows that equal another one in all columns but one, to within a thousandth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_count
from ranksim.data.data_report import DataReport, format_share
from ranksim.data.splitting import Split

_RESOLUTION = 1e-3  # of the deviation of a column; smaller differences are none
_MAX_CHANCE = 0.1  # share of the near-duplicates that columns of few values would have by chance
_MAX_SHARE = 0.05  # of the held-out samples, above it a warning
_MIN_COLUMNS = 3
_MAX_SAMPLE = 5_000  # rows from which the distribution of a column is estimated

Features = NDArray[np.float32]  # of a table, (N, F)
Hashes = NDArray[np.uint64]  # of its columns, (N, C)


def report_near_duplicates(features: Features, widths: Sequence[int], split: Split) -> DataReport:
    """Report held-out samples with a near-duplicate among the training samples of a split.

    Args:
        features: of all samples ``(N, F)``.
        widths: number of features of each column ``(C,)``.
        split: positions of the samples.
    """
    held_out = np.concatenate([split.val, split.test])
    hashes = hash_columns(features, widths)
    is_near = find_near_duplicates(hashes[held_out], hashes[split.train])
    if not is_near.any() or is_coarse(hashes, is_near.mean()):
        return DataReport()
    count = format_share(int(is_near.sum()), len(held_out))
    text = (
        f"{count} of the validation and test samples equal a training sample in all columns but "
        "at most one"
    )
    remedy = "if they are the same object, keep it in one part with --group"
    if is_near.mean() > _MAX_SHARE:
        return DataReport(warnings=[f"{text}: {remedy}."])
    return DataReport(notes={"Similar samples": f"{text}; {remedy}"})


def report_near_rows(features: Features, widths: Sequence[int]) -> DataReport:
    """Report rows ``(N, F)`` that are near-duplicates of another one."""
    hashes = hash_columns(features, widths)
    is_near = has_near_duplicate(hashes)
    if not is_near.any() or is_coarse(hashes, is_near.mean()):
        return DataReport()
    text = (
        f"{format_count(int(is_near.sum()), 'row')} of {len(is_near):,} equal another row in all "
        "columns but one; if they are the same object, keep it in one part with --group"
    )
    return DataReport(notes={"Similar rows": text})


def hash_columns(features: Features, widths: Sequence[int]) -> Hashes:
    """Return a hash of each column of each row ``(N, C)``; close values have equal ones.

    Values are rounded to a thousandth of the deviation of a feature, or of its middle half where
    this is smaller, as outliers increase the deviation.
    """
    rng = np.random.default_rng(0)
    hashes = np.empty((len(features), len(widths)), dtype=np.uint64)
    for k, end in enumerate(np.cumsum(widths)):
        values = features[:, end - widths[k] : end].astype(np.float64)
        low, high = np.percentile(_sample(values), (25, 75), axis=0)
        deviation = values.std(axis=0)
        middle = (high - low) / 1.35  # the deviation of normally distributed values
        deviation = np.where((middle > 0) & (middle < deviation), middle, deviation)
        step = np.where(deviation > 0, _RESOLUTION * deviation, 1.0)
        places = np.rint(values / step).clip(-(2.0**62), 2.0**62).astype(np.int64)
        factors = rng.integers(2**64, size=widths[k], dtype=np.uint64) | np.uint64(1)
        hashes[:, k] = (places.view(np.uint64) * factors).sum(axis=1)  # modulo 2**64
    return hashes


def _sample(rows: NDArray[Any]) -> NDArray[Any]:
    """Return some thousand rows, evenly spaced."""
    return rows[:: len(rows) // _MAX_SAMPLE + 1]


def find_near_duplicates(hashes: Hashes, others: Hashes) -> NDArray[np.bool_]:
    """Return which rows ``(N, C)`` equal one of the others in all columns, or all but one."""
    half = hashes.shape[1] // 2
    near, near_others = np.zeros(len(hashes), np.bool_), np.zeros(len(others), np.bool_)
    for columns in (slice(half), slice(half, None)):  # such rows are equal in one of the halves
        part, other_part = hashes[:, columns].sum(axis=1), others[:, columns].sum(axis=1)
        near |= np.isin(part, other_part)
        near_others |= np.isin(other_part, part)
    rows, candidates = np.flatnonzero(near), others[near_others]
    whole, other_whole = hashes[rows].sum(axis=1), candidates.sum(axis=1)
    is_near = np.isin(whole, other_whole)
    for column, other in zip(hashes[rows].T, candidates.T, strict=True):
        is_near |= np.isin(whole - column, other_whole - other)
    near[rows] = is_near
    return near


def has_near_duplicate(hashes: Hashes) -> NDArray[np.bool_]:
    """Return which rows ``(N, C)`` equal another one in all columns but one.

    Rows that equal another one in all columns are compared once.
    """
    first, row = np.unique(hashes.sum(axis=1), return_index=True, return_inverse=True)[1:]
    distinct, half = hashes[first], hashes.shape[1] // 2
    candidates = _repeats(distinct[:, :half].sum(axis=1)) | _repeats(distinct[:, half:].sum(axis=1))
    rows = np.flatnonzero(candidates)
    whole, is_near = distinct[rows].sum(axis=1), np.zeros(len(rows), np.bool_)
    for column in distinct[rows].T:
        is_near |= _repeats(whole - column)
    candidates[rows] = is_near
    return candidates[row]


def _repeats(hashes: Hashes) -> NDArray[np.bool_]:
    """Return which hashes ``(N,)`` occur again."""
    index, counts = np.unique(hashes, return_inverse=True, return_counts=True)[1:]
    mask: NDArray[np.bool_] = counts[index] > 1
    return mask


def is_coarse(hashes: Hashes, share: float) -> bool:
    """Return True if rows of independent columns would have many such near-duplicates by chance.

    Columns of few values, as in a planned experiment, make rows that are equal but for a column
    common. ``share`` is that of the rows with a near-duplicate.
    """
    n_rows, n_columns = hashes.shape
    if n_columns < _MIN_COLUMNS:
        return True
    equal = np.empty(n_columns)  # probability that two rows are equal in a column
    for k, column in enumerate(_sample(hashes).T):
        counts = np.unique(column, return_counts=True)[1]
        equal[k] = (counts * (counts - 1)).sum() / max(len(column) * (len(column) - 1), 1)
    chance = sum(np.prod(np.delete(equal, k)) for k in range(n_columns))
    return bool(n_rows * chance > _MAX_CHANCE * share)
