"""Convert table columns to the feature vectors that a network reads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ranksim._utils.schema import validate_types
from ranksim.data.batch import BatchDataset
from ranksim.data.cells import (
    RaiseForRows,
    is_missing,
    parse_finite_numbers,
    parse_finite_seconds,
    parse_numbers,
    parse_seconds,
    raise_for_rows,
)
from ranksim.exceptions import DataError

Kind = Literal["number", "category"]
MAX_CATEGORIES = 50  # values of a column with a feature each
_MAJORITY = 0.9  # share of the values that decides the kind of a column
_MIN_IDS = 10  # values that a column needs to be recognized as an identifier
_MAX_DEVIATIONS = 1e6  # clip: keeps features finite in float32
_DAY = 86_400.0  # seconds


@dataclass(frozen=True)
class NumberColumn:
    """Encoding of a column of numbers, or of ISO dates, which become days."""

    name: str
    dates: bool
    median: float  # replaces missing values
    mean: float
    deviation: float  # 0 if all training values are equal
    indicator: bool  # a feature for missing values, if training rows have some

    @classmethod
    def fit(cls, name: str, values: NDArray[np.float64], *, dates: bool) -> NumberColumn:
        """Compute the encoding from training values, NaN if missing; at least one is not."""
        missing = np.isnan(values)
        k = np.count_nonzero(~missing)
        low, high = np.sort(values[~missing])[[(k - 1) // 2, k // 2]] / 2
        median = float(low + high)  # halved first, as sums of huge values would overflow
        filled = np.where(missing, median, values)
        unit = float(np.abs(filled).max()) or 1.0  # squares of huge values would overflow, too
        deviation = 0.0 if filled.min() == filled.max() else unit * float((filled / unit).std())
        mean = unit * float((filled / unit).mean())
        return cls(name, dates, median, mean, deviation, bool(missing.any()))

    @property
    def features(self) -> list[str]:
        """Names of the features."""
        return [self.name] * (self.deviation > 0) + [f"{self.name} missing"] * self.indicator

    def __call__(self, values: list[Any], raise_for_rows: RaiseForRows) -> NDArray[np.float64]:
        """Encode cells as ``(N, features)``."""
        numbers = self.parse(values, raise_for_rows)
        missing = np.isnan(numbers)
        columns = []
        if self.deviation > 0:
            filled = np.where(missing, self.median, numbers)
            with np.errstate(over="ignore"):
                scaled = (filled / 2 - self.mean / 2) / self.deviation * 2
            columns.append(scaled.clip(-_MAX_DEVIATIONS, _MAX_DEVIATIONS))
        if self.indicator:
            columns.append(missing.astype(np.float64))
        return np.stack(columns, axis=1)

    def parse(self, values: list[Any], raise_for_rows: RaiseForRows) -> NDArray[np.float64]:
        """Parse cells as numbers, or days since 1970; NaN if missing."""
        if self.dates:
            return parse_finite_seconds(values, self.name, raise_for_rows) / _DAY
        return parse_finite_numbers(values, self.name, raise_for_rows)


@dataclass(frozen=True)
class CategoryColumn:
    """One-hot encoding of a column of names."""

    name: str
    values: tuple[str, ...]  # the most frequent names, with a feature each
    other: bool  # a feature for all others, if training rows contain some
    missing: bool  # a feature for missing values, if training rows have some

    @classmethod
    def fit(cls, name: str, values: list[Any]) -> CategoryColumn:
        """Select the most frequent training values; equal counts are sorted by name."""
        counts = Counter(str(value).strip() for value in values if not is_missing(value))
        ranked = sorted(counts, key=lambda value: (-counts[value], value))
        missing = any(is_missing(value) for value in values)
        frequent = tuple(sorted(ranked[:MAX_CATEGORIES]))
        return cls(name, frequent, len(ranked) > MAX_CATEGORIES, missing)

    @property
    def features(self) -> list[str]:
        """Names of the features."""
        names = [f"{self.name} = {value}" for value in self.values]
        return names + [f"{self.name} other"] * self.other + [f"{self.name} missing"] * self.missing

    def __call__(self, values: list[Any], raise_for_rows: RaiseForRows) -> NDArray[np.float64]:
        """Encode cells as ``(N, features)``; a value without a feature becomes all zeros."""
        position = {value: k for k, value in enumerate(self.values)}
        encoded = np.zeros((len(values), len(self.features)))
        for row, value in enumerate(values):
            if is_missing(value):
                column = len(position) + self.other if self.missing else None
            else:
                column = position.get(str(value).strip(), len(position) if self.other else None)
            if column is not None:
                encoded[row, column] = 1.0
        return encoded


@dataclass(frozen=True)
class TableFeatures:
    """Encoding of table columns as features, fitted on training rows.

    - Numbers are standardized. The median replaces missing values; if training rows have missing
      values, an indicator is added.
    - ISO dates are encoded like numbers, in days.
    - Text and booleans are one-hot encoded: a feature for each of the 50 most frequent values, one
      for all others and for unknown values, and one for missing values. The last two exist only
      if training rows need them; otherwise such a value is encoded as zeros.
    - Columns with a single value, and texts that almost never repeat, such as identifiers, are
      dropped.

    A column is numeric, or a date, if at least 90 % of its training values are, so that a typo in
    one row is reported with its line and does not turn the column into categories. Computed in
    float64.

    Example:
        >>> table = {"size": ["1", "3", ""], "kind": ["a", "b", "a"], "unit": ["m", "m", "m"]}
        >>> features = TableFeatures.fit(table, np.array([0, 1, 2]))
        >>> features.names
        ['size', 'size missing', 'kind = a', 'kind = b']
        >>> features.dropped
        {'unit': 'all its values are equal'}
        >>> features({"size": ["2"], "kind": ["c"]}).tolist()
        [[0.0, 0.0, 0.0, 0.0]]
    """

    columns: tuple[NumberColumn | CategoryColumn, ...]
    dropped: dict[str, str] = field(default_factory=dict)  # the reason for each dropped column

    @classmethod
    def fit(
        cls,
        columns: Mapping[str, list[Any]],
        train: NDArray[np.int64],
        *,
        kinds: Mapping[str, Kind] | None = None,
        raise_for_rows: RaiseForRows = raise_for_rows,
    ) -> TableFeatures:
        """Fit the encoding on training rows only.

        Args:
            columns: cells by column name: text, numbers, booleans or dates.
            train: positions of the training rows.
            kinds: kinds of columns that should not be inferred from their values.
            raise_for_rows: raises the error for text or infinite numbers in a numeric column.
        """
        encodings: list[NumberColumn | CategoryColumn] = []
        dropped: dict[str, str] = {}
        for name, values in columns.items():
            encoding = _fit_column(name, values, train, (kinds or {}).get(name), raise_for_rows)
            if isinstance(encoding, str):
                dropped[name] = encoding
            else:
                encodings.append(encoding)
        if not encodings:
            reasons = "; ".join(f"{name!r}: {reason}" for name, reason in dropped.items())
            raise DataError(
                f"No input column can be used ({reasons or 'there are none'}): choose other "
                "features."
            )
        return cls(tuple(encodings), dropped)

    @property
    def names(self) -> list[str]:
        """Names of the F features."""
        return [name for column in self.columns for name in column.features]

    @property
    def width(self) -> int:
        """Number of features, F."""
        return len(self.names)

    def __call__(
        self,
        columns: Mapping[str, list[Any]],
        *,
        raise_for_rows: RaiseForRows = raise_for_rows,
    ) -> NDArray[np.float32]:
        """Encode rows as features, float32 ``(N, F)``."""
        absent = [column.name for column in self.columns if column.name not in columns]
        if absent:
            raise DataError(
                f"The data has no column {', '.join(map(repr, absent))}, which the model needs: "
                "use data with the columns that it was trained on."
            )
        parts = [column(columns[column.name], raise_for_rows) for column in self.columns]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        columns = [
            {"kind": "number" if isinstance(column, NumberColumn) else "category", **vars(column)}
            for column in self.columns
        ]
        return {"columns": columns, "dropped": dict(self.dropped)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TableFeatures:
        """Create an encoding from the result of :meth:`to_dict`."""
        encodings: list[NumberColumn | CategoryColumn] = []
        for column in content["columns"]:
            fields: dict[str, Any] = {
                k: tuple(v) if k == "values" else v for k, v in column.items() if k != "kind"
            }
            encoding = NumberColumn if column["kind"] == "number" else CategoryColumn
            encodings.append(validate_types(encoding(**fields)))
        return validate_types(cls(tuple(encodings), dict(content["dropped"])))


class VectorDataset(BatchDataset):
    """Feature vectors, float32 ``(N, F)``, and labels, float64 ``(N,)``."""

    def __init__(self, features: ArrayLike, labels: ArrayLike) -> None:
        self.features = torch.from_numpy(np.asarray(features, dtype=np.float32))
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.float64))

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        return (self.features.index_select(0, index),)


def _fit_column(
    name: str,
    values: list[Any],
    train: NDArray[np.int64],
    kind: Kind | None,
    raise_for_rows: RaiseForRows,
) -> NumberColumn | CategoryColumn | str:
    """Return the encoding of a column, or the reason why it is dropped."""
    training = [values[row] for row in train]
    present = [value for value in training if not is_missing(value)]
    if not present:
        return "all its training values are missing"
    is_number = 1 - parse_numbers(present).text.mean() >= _MAJORITY
    is_number = kind == "number" or (kind is None and bool(is_number))
    is_date = kind is None and not is_number and _date_share(present) >= _MAJORITY
    if is_number or is_date:

        def raise_with_hint(rows: Iterable[int], problem: str, remedy: str) -> None:
            raise_for_rows(rows, problem, f"{remedy}, or pass the column as a category")

        parser = NumberColumn(name, is_date, 0.0, 0.0, 0.0, False)
        numbers = NumberColumn.fit(
            name, parser.parse(values, raise_with_hint)[train], dates=is_date
        )
        return numbers if numbers.features else "all its values are equal"
    distinct = len({str(value).strip() for value in present})
    if distinct >= _MAJORITY * len(present) and len(present) >= _MIN_IDS and kind is None:
        return "its texts almost never repeat"
    category = CategoryColumn.fit(name, training)
    return category if len(category.features) > 1 else "all its values are equal"


def _date_share(values: list[Any]) -> float:
    return sum(parse_seconds(value) is not None for value in values) / len(values)
