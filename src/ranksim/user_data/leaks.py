"""Find columns that contain the target: copies, monotone functions, parts of a sum, outcomes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ranksim.data.cells import is_missing, parse_seconds, to_canonical_text
from ranksim.data.number_format import MAJORITY, NumberFormat
from ranksim.data.table import Floats, parse_numbers
from ranksim.user_data.identifiers import is_calendar, is_time_name

_MIN_ROWS = 20  # of a copy or monotone function, of which five differ from the others
_MIN_DIFFERENT = 5
_MIN_ROUNDED, _MIN_ROUNDED_ROWS = 10, 50  # different values, and rows, of a rounded function
_MIN_SHARE = 0.05  # of the rows in which the column has a value
_MIN_OUTCOME_ROWS = 50
_MIN_SCORE = 0.99  # R² of a tree that reads the column alone
_MIN_FIRST_SCORE = 0.9  # of the first fold, to look at the others
_FOLDS = 5
_LEAF_SIZES = (1, 5)
_MAX_RESIDUAL = 1e-3  # of a sum, relative to the target: the rounding of its parts
_MAX_WEIGHTED = 3  # parts of a sum with different weights
_MAX_PARTS = 24
_MAX_MISSING = 0.2  # share of a column that may be part of a sum


@dataclass(frozen=True, eq=False)
class ColumnValues:
    """The values of a column: numbers with NaN for missing ones, or codes of names ``(N,)``."""

    values: Floats
    is_category: bool = False


@dataclass(frozen=True)
class Leak:
    """A column, or several that form a sum, that contain the target.

    Args:
        kind: ``copy``; ``monotone`` function; part of a ``sum``; or ``outcome``, which predicts the
            target alone.
        names: of the columns, several for a sum.
        weights: of the parts of a sum.
        constant: that is added to the sum.
        is_repeated: whether each value of an outcome occurs in two rows or more on average, as
            the name of a group does.
    """

    kind: Literal["copy", "monotone", "sum", "outcome"]
    names: tuple[str, ...]
    weights: tuple[float, ...] = ()
    constant: float = 0.0
    is_repeated: bool = False


def read_values(cells: Sequence[Any], number_format: NumberFormat | None) -> ColumnValues | None:
    """Return the numbers or names of a column; None for dates, lists and structs.

    ``number_format`` is None for a column of names.
    """
    if number_format is not None:
        parsed = parse_numbers(cells, number_format)
        if parsed.text.mean() <= 1 - MAJORITY:
            return None if is_calendar(parsed.values) else ColumnValues(parsed.values)
    present = [cell for cell in cells if not is_missing(cell)]
    if not all(isinstance(cell, str | bool | int | float) for cell in present):
        return None
    first = present[:_MIN_ROWS]
    if 2 * sum(parse_seconds(cell) is not None for cell in first) > len(first):
        return None
    codes: dict[str, int] = {}
    cells = list(cells)
    texts = ("" if is_missing(cell) else to_canonical_text(cell) for cell in cells)
    numbers = [codes.setdefault(text, len(codes)) for text in texts]
    return ColumnValues(np.array(numbers, dtype=np.float64), is_category=True)


@np.errstate(over="ignore", invalid="ignore")  # differences and squares of huge values
def find_column_leaks(columns: Mapping[str, ColumnValues], labels: Floats) -> list[Leak]:
    """Return the columns that contain the labels ``(N,)``, alone or as parts of a sum.

    Rows are in the order of the table. A column of increasing times may predict a slow trend alone.
    """
    kinds = {
        name: None if _is_time(name, column) else classify_leak(column, labels)
        for name, column in columns.items()
    }
    leaks = [
        Leak(kind, (name,), is_repeated=_is_repeated(columns[name].values))
        for name, kind in kinds.items()
        if kind is not None
    ]
    numbers = [
        name for name, column in columns.items() if kinds[name] is None and not column.is_category
    ]
    for weights in find_sums([columns[name].values for name in numbers], labels):
        means = [np.nanmean(columns[numbers[k]].values) for k in weights]
        constant = labels.mean() - np.dot(means, [*weights.values()])
        is_zero = abs(constant) <= _MAX_RESIDUAL * labels.std()
        names = tuple(numbers[k] for k in weights)
        leaks.append(Leak("sum", names, tuple(weights.values()), 0.0 if is_zero else constant))
    return leaks


def _is_repeated(values: Floats) -> bool:
    return 2 * len(np.unique(values)) <= len(values)


def _is_time(name: str, column: ColumnValues) -> bool:
    """Return True for a column with the name of a time whose numbers never decrease."""
    return (
        is_time_name(name) and not column.is_category and bool((np.diff(column.values) >= 0).all())
    )


def classify_leak(
    column: ColumnValues, labels: Floats
) -> Literal["copy", "monotone", "outcome"] | None:
    """Return the kind of leak of a column that contains the labels ``(N,)`` alone, or None."""
    values = column.values
    known = ~np.isnan(values)
    if not column.is_category and known.sum() >= max(_MIN_ROWS, _MIN_SHARE * len(values)):
        x, y = values[known], labels[known]
        if is_monotone(x, y):
            return "copy" if np.allclose(x, y, rtol=1e-9, atol=0) else "monotone"
    if column.is_category and is_renamed(values, labels):
        return "copy"
    ranks = np.unique(labels, return_inverse=True)[1].astype(np.float64)
    for scale in (labels, ranks):  # few large labels decide R² of a skewed target
        if score_column(values, scale, is_category=column.is_category) > _MIN_SCORE:
            return "outcome"
    return None


def is_monotone(values: Floats, labels: Floats) -> bool:
    """Return True if values are a monotone function of labels ``(N,)``.

    Equal labels then have equal values, in the same or in the reverse order. Either different
    labels have different values (Spearman's correlation is 1 or −1), and at least 20 rows are
    known, of which five differ from the most frequent label; or the values are rounded, and at
    least ten differ among 50 rows.
    """
    _, y, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(y) < _MIN_ROWS or len(y) - counts.max() < _MIN_DIFFERENT:
        return False
    x = np.unique(values, return_inverse=True)[1]
    if (x == y).all() or (x == y.max() - y).all():
        return True
    if len(y) < _MIN_ROUNDED_ROWS or x.max() + 1 < _MIN_ROUNDED:
        return False
    function = np.zeros(len(counts), dtype=np.int64)
    function[y] = x  # a value of each label, in their order
    steps = np.diff(function)
    return bool((function[y] == x).all() and ((steps >= 0).all() or (steps <= 0).all()))


def is_renamed(values: Floats, labels: Floats) -> bool:
    """Return True if each name has one label and each label one name, all in many rows ``(N,)``."""
    _, y, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(y) - counts.max() < _MIN_DIFFERENT or len(y) < max(_MIN_ROWS, 2 * len(counts)):
        return False
    x = np.unique(values, return_inverse=True)[1]
    n_pairs = len(np.unique(x * len(counts) + y))
    return bool(n_pairs == len(counts) == x.max() + 1)


def score_column(values: Floats, labels: Floats, *, is_category: bool = False) -> float:
    """Return R² of a tree that predicts labels ``(N,)`` from one column, cross-validated.

    Leaves have one training value, or about five training rows if that is better; a missing value
    is a value of its own. Each name of a category is a leaf. Returns 0 for few rows, and where the
    first fold already shows that the column predicts little.
    """
    x = np.where(np.isnan(values), -np.inf, values)
    if len(labels) < _MIN_OUTCOME_ROWS or np.ptp(labels) == 0 or (x == x[0]).all():
        return 0.0
    folds = np.random.default_rng(0).permutation(len(labels)) % _FOLDS
    scores = []
    for leaf_size in (1,) if is_category else _LEAF_SIZES:
        preds = np.empty(len(labels))
        for fold in range(_FOLDS):
            train, test = folds != fold, folds == fold
            if is_category:
                preds[test] = _predict_names(x[train], labels[train], x[test])
            else:
                preds[test] = predict_tree(x[train], labels[train], x[test], leaf_size)
            if fold == 0 and _score(preds[test], labels[test]) < _MIN_FIRST_SCORE:
                break  # most columns
        else:
            scores.append(_score(preds, labels))
    return max(scores, default=0.0)


def _score(preds: Floats, labels: Floats) -> float:
    """Return R² of predictions ``(N,)``."""
    spread = float(((labels - labels.mean()) ** 2).sum())
    return 1 - float(((preds - labels) ** 2).sum()) / spread if spread > 0 else 0.0


def predict_tree(x: Floats, y: Floats, new: Floats, leaf_size: int = 1) -> Floats:
    """Predict labels of ``new`` values by a regression tree on one column, grown to the leaves.

    With leaves of one row, it predicts the mean label of the nearest training value.
    """
    values, index, counts = np.unique(x, return_inverse=True, return_counts=True)
    leaf = (np.cumsum(counts) - counts) // leaf_size  # of each value, in their order
    leaf = np.unique(leaf, return_inverse=True)[1]
    sums = np.bincount(leaf[index], weights=y)
    means = sums / np.bincount(leaf[index])
    first = np.flatnonzero(np.diff(leaf, prepend=-1))  # value of each leaf
    last = np.append(first[1:], len(values)) - 1
    borders = values[last[:-1]] / 2 + values[first[1:]] / 2
    predictions: Floats = means[np.searchsorted(borders, new, side="left")]
    return predictions


def _predict_names(x: Floats, y: Floats, new: Floats) -> Floats:
    """Predict labels by the mean label of the same name; of an unknown name, that of all."""
    names, index = np.unique(x, return_inverse=True)
    means = np.bincount(index, weights=y) / np.bincount(index)
    place = np.minimum(np.searchsorted(names, new), len(names) - 1)
    return np.where(names[place] == new, means[place], y.mean())


def find_sums(columns: Sequence[Floats], labels: Floats) -> list[dict[int, float]]:
    """Return sets of columns whose weighted sum equals the labels ``(N,)``, plus a constant.

    Each set maps positions of columns to weights, and no column of it can be left out. Sets of more
    than three columns need weights of equal size, as in a total of months. Where one part of a set
    can be replaced by other columns, the set with these is returned, too. A missing value counts as
    zero, or else its row is left out.
    """
    usable = [
        k
        for k, values in enumerate(columns)
        if np.isnan(values).mean() <= _MAX_MISSING and np.nanmin(values) < np.nanmax(values)
    ]
    if not usable:
        return []
    matrix = np.stack([columns[k] for k in usable], axis=1)
    is_missing_row = np.isnan(matrix).any(axis=1)
    readings = [(np.nan_to_num(matrix), labels)]
    if is_missing_row.any():
        readings.append((matrix[~is_missing_row], labels[~is_missing_row]))
    sums: dict[frozenset[int], dict[int, float]] = {}
    for parts, total in readings:
        equation = _SumEquation.reduce(parts, total)
        if equation is None:
            continue
        everything = list(range(len(usable)))
        first = equation.find_parts(everything)
        others = [equation.find_parts([j for j in everything if j != part]) for part in first]
        for weights in filter(_is_sum, (first, *others)):
            named = {usable[j]: weight for j, weight in weights.items()}
            sums.setdefault(frozenset(named), named)
    return list(sums.values())


def _is_sum(weights: Mapping[int, float]) -> bool:
    """Return True for a few parts, or for many with weights of equal size."""
    sizes = np.abs([*weights.values()])
    if len(sizes) <= _MAX_WEIGHTED:
        return len(sizes) > 0
    return len(sizes) <= _MAX_PARTS and bool(sizes.max() <= 1.01 * sizes.min())


@dataclass(frozen=True, eq=False)
class _SumEquation:
    """The least-squares problem of a sum, reduced to P equations by a QR decomposition."""

    factors: Floats  # (P, P), of the columns with mean 0 and deviation 1
    right: Floats  # (P,)
    rest: float  # squared residual that no weights explain
    scales: Floats  # (P,), deviations of the columns
    total: float  # squared deviation of the labels

    @classmethod
    def reduce(cls, columns: Floats, labels: Floats) -> _SumEquation | None:
        """Return the equations; None if the labels are equal, or the rows too few."""
        n_rows, n_columns = columns.shape
        if n_rows < _MIN_ROWS + 2 * n_columns or np.ptp(labels) == 0:
            return None
        with np.errstate(over="ignore", invalid="ignore"):
            centered = columns - columns.mean(axis=0)
            scales = centered.std(axis=0)
            scales = np.where(scales > 0, scales, 1.0)
            y = labels - labels.mean()
            total = float(y @ y)
            orthogonal, factors = np.linalg.qr(centered / scales)
            right = orthogonal.T @ y
        if not np.isfinite(factors).all() or not np.isfinite(total):
            return None
        rest = max(total - float(right @ right), 0.0)
        return cls(factors, right, rest, scales, total)

    def solve(self, columns: Sequence[int]) -> Floats | None:
        """Return the weights of columns ``(K,)`` if their sum equals the labels, otherwise None."""
        if not len(columns):
            return None
        factors = self.factors[:, columns]
        weights: Any = np.linalg.lstsq(factors, self.right, rcond=None)[0]
        residual = self.rest + float(((factors @ weights - self.right) ** 2).sum())
        return weights if residual <= _MAX_RESIDUAL**2 * self.total else None

    def find_parts(self, columns: Sequence[int]) -> dict[int, float]:
        """Return columns of which none can be left out, with their weights; empty if no sum."""
        parts, weights = list(columns), self.solve(columns)
        if weights is None:
            return {}
        sizes = dict(zip(columns, np.abs(weights).tolist(), strict=True))
        large = [k for k in columns if sizes[k] > _MAX_RESIDUAL * max(sizes.values())]
        if self.solve(large) is not None:
            parts = large
        for part in sorted(parts, key=sizes.__getitem__):
            fewer = [k for k in parts if k != part]
            if self.solve(fewer) is not None:
                parts = fewer
        final = self.solve(parts)
        assert final is not None
        return dict(zip(parts, (final / self.scales[parts]).tolist(), strict=True))
