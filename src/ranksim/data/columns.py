"""One column of anyone's table to the numbers that a network reads."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.data.cells import RowErrorFactory, parse_finite_numbers, parse_finite_seconds
from ranksim.data.table import is_missing

CATEGORIES = 50  # values of a column that have a feature of their own
_FAR = 1e6  # deviations; float32 and training gain nothing beyond
_DAY = 86_400.0


@dataclass(frozen=True)
class NumberColumn:
    """A column of numbers, or of ISO dates, which become days.

    Args:
        name: of the column.
        dates: whether it holds dates.
        median: stands in for missing values.
        mean: of the training rows.
        deviation: of the training rows; 0 where all are equal, and the number tells nothing.
        indicator: whether training rows miss any, so that missing is a feature.
    """

    name: str
    dates: bool
    median: float
    mean: float
    deviation: float
    indicator: bool

    @classmethod
    def fit(cls, name: str, values: NDArray[np.float64], *, dates: bool) -> NumberColumn:
        """By training values, NaN where missing; at least one is there."""
        missing = np.isnan(values)
        k = np.count_nonzero(~missing)
        low, high = np.sort(values[~missing])[[(k - 1) // 2, k // 2]] / 2
        median = float(low + high)  # halves first: sums of huge values would overflow
        filled = np.where(missing, median, values)
        unit = float(np.abs(filled).max()) or 1.0  # and so would squares
        deviation = 0.0 if filled.min() == filled.max() else unit * float((filled / unit).std())
        mean = unit * float((filled / unit).mean())
        return cls(name, dates, median, mean, deviation, bool(missing.any()))

    @property
    def features(self) -> list[str]:
        return [self.name] * (self.deviation > 0) + [f"{self.name} missing"] * self.indicator

    def __call__(self, values: list[Any], refuse: RowErrorFactory) -> NDArray[np.float64]:
        """``(N, features)``."""
        read = self.read(values, refuse)
        missing = np.isnan(read)
        columns = []
        if self.deviation > 0:
            filled = np.where(missing, self.median, read)
            with np.errstate(over="ignore"):
                scaled = (filled / 2 - self.mean / 2) / self.deviation * 2
            columns.append(scaled.clip(-_FAR, _FAR))
        if self.indicator:
            columns.append(missing.astype(np.float64))
        return np.stack(columns, axis=1)

    def read(self, values: list[Any], refuse: RowErrorFactory) -> NDArray[np.float64]:
        """Values as numbers, NaN where missing."""
        if self.dates:
            return parse_finite_seconds(values, self.name, refuse) / _DAY
        return parse_finite_numbers(values, self.name, refuse)


@dataclass(frozen=True)
class CategoryColumn:
    """A column of names, each of the frequent ones a feature, 0 or 1.

    Args:
        name: of the column.
        values: the names that have a feature of their own.
        other: whether training rows hold further ones, which share a feature with unknown ones.
        missing: whether training rows miss any.
    """

    name: str
    values: tuple[str, ...]
    other: bool
    missing: bool

    @classmethod
    def fit(cls, name: str, values: list[Any]) -> CategoryColumn:
        """By training values; the most frequent have a feature, equal counts by name."""
        counts = Counter(str(value).strip() for value in values if not is_missing(value))
        ranked = sorted(counts, key=lambda value: (-counts[value], value))
        missing = any(is_missing(value) for value in values)
        return cls(name, tuple(sorted(ranked[:CATEGORIES])), len(ranked) > CATEGORIES, missing)

    @property
    def features(self) -> list[str]:
        """Names of its features; what training never missed or knew has none."""
        named = [f"{self.name} = {value}" for value in self.values]
        return named + [f"{self.name} other"] * self.other + [f"{self.name} missing"] * self.missing

    def __call__(self, values: list[Any], refuse: RowErrorFactory) -> NDArray[np.float64]:
        """``(N, features)``; what training never saw is all zeros."""
        place = {value: i for i, value in enumerate(self.values)}
        made = np.zeros((len(values), len(self.features)))
        for row, value in enumerate(values):
            if is_missing(value):
                column = len(place) + self.other if self.missing else None
            else:
                column = place.get(str(value).strip(), len(place) if self.other else None)
            if column is not None:
                made[row, column] = 1.0
        return made
