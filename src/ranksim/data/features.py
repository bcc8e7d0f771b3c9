"""Convert table columns to feature vectors for a network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from ranksim._utils.storage import validate_types
from ranksim.data.batch import BatchDataset
from ranksim.data.data_report import DataReport
from ranksim.data.table import (
    DAY,
    Floats,
    Ints,
    Table,
    is_missing,
    parse_numbers,
    parse_seconds,
    read_numbers,
    read_seconds,
)
from ranksim.exceptions import DataError

Kind = Literal["number", "category"]
MAX_CATEGORIES = 50  # values of a column with a feature each
_MAJORITY = 0.9  # share of the values that decides the kind of a column
_MIN_IDS = 10  # values that a column needs to be recognized as an identifier
_MAX_DEVIATIONS = 1e6  # clip: keeps features finite in float32


@dataclass(frozen=True)
class NumberColumn:
    """A standardizing encoder for a numeric column, or for a date column (in days)."""

    name: str
    dates: bool
    median: float  # replaces missing values
    mean: float
    deviation: float  # 0 if all training values are equal
    indicator: bool  # a feature for missing values, if training rows have some

    @classmethod
    def fit(cls, name: str, values: Floats, *, dates: bool) -> NumberColumn:
        """Fit the encoder to training values (NaN means missing; not all may be missing)."""
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
        """Names of the features that this column produces."""
        return [self.name] * (self.deviation > 0) + [f"{self.name} missing"] * self.indicator

    def __call__(self, table: Table) -> Floats:
        """Encode the column of this name as features, float64 ``(N, F)``."""
        numbers = _read_column(table, self.name, self.dates)
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


@dataclass(frozen=True)
class CategoryColumn:
    """A one-hot encoder for a categorical column."""

    name: str
    values: tuple[str, ...]  # the most frequent names, with a feature each
    other: bool  # a feature for all others, if training rows contain some
    missing: bool  # a feature for missing values, if training rows have some

    @classmethod
    def fit(cls, name: str, values: list[Any]) -> CategoryColumn:
        """Fit the encoder: the most frequent training values become categories, ties by name."""
        counts = Counter(str(value).strip() for value in values if not is_missing(value))
        ranked = sorted(counts, key=lambda value: (-counts[value], value))
        frequent = tuple(sorted(ranked[:MAX_CATEGORIES]))
        missing = any(map(is_missing, values))
        return cls(name, frequent, len(ranked) > MAX_CATEGORIES, missing)

    @property
    def features(self) -> list[str]:
        """Names of the features that this column produces."""
        names = [f"{self.name} = {value}" for value in self.values]
        return names + [f"{self.name} other"] * self.other + [f"{self.name} missing"] * self.missing

    def __call__(self, table: Table) -> Floats:
        """Encode the column of this name, float64 ``(N, F)``; unknown values become all zeros."""
        values = table.column(self.name)
        encoded = np.zeros((len(values), len(self.features)))
        position = {value: k for k, value in enumerate(self.values)}
        other = len(position) if self.other else None
        missing = len(position) + self.other if self.missing else None
        for row, value in enumerate(values):
            column = missing if is_missing(value) else position.get(str(value).strip(), other)
            if column is not None:
                encoded[row, column] = 1.0
        return encoded


@dataclass(frozen=True)
class TableFeatures:
    """An encoder that converts table columns to F features, fitted on the training rows.

    - Numbers are standardized. The median replaces missing values; if training rows have missing
      values, an indicator is added.
    - ISO dates are encoded like numbers, in days.
    - Text and booleans are one-hot encoded: a feature for each of the 50 most frequent values, one
      for all others and for unknown values, and one for missing values. The last two exist only
      if training rows need them; otherwise such a value is encoded as zeros.
    - Columns with a single value, and texts that almost never repeat, such as identifiers, are
      dropped.

    A column is numeric, or a date, if at least 90 % of its training values are, so that a typo in
    one row is reported with its line and does not turn the column into categories.
    """

    columns: tuple[NumberColumn | CategoryColumn, ...]
    dropped: dict[str, str] = field(default_factory=dict)  # the reason for each dropped column

    @classmethod
    def fit(
        cls,
        table: Table,
        names: Iterable[str],
        train: Ints,
        *,
        kinds: Mapping[str, Kind] | None = None,
    ) -> TableFeatures:
        """Fit an encoder to each column on rows ``train``; ``kinds`` overrides inferred kinds."""
        encodings: list[NumberColumn | CategoryColumn] = []
        dropped: dict[str, str] = {}
        for name in names:
            encoding = _fit_column(table, name, train, (kinds or {}).get(name))
            if isinstance(encoding, str):
                dropped[name] = encoding
            else:
                encodings.append(encoding)
        if not encodings:
            reasons = "; ".join(f"{name!r}: {reason}" for name, reason in dropped.items())
            raise DataError(
                f"No input column can be used ({reasons or 'none was given'}): choose other "
                "input columns."
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

    def __call__(self, table: Table) -> NDArray[np.float32]:
        """Encode all rows of a table as features, float32 ``(N, F)``."""
        parts = [column(table) for column in self.columns]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def describe(self, table: Table) -> DataReport:
        """Report which columns are encoded and how, and the missing values of a table."""
        numbers = [each for each in self.columns if isinstance(each, NumberColumn)]
        columns: dict[str, Any] = {
            "numbers": [each.name for each in numbers if not each.dates],
            "dates": [each.name for each in numbers if each.dates],
            "categories": {
                each.name: len(each.values)
                for each in self.columns
                if isinstance(each, CategoryColumn)
            },
            "left_out": dict(self.dropped),
        }
        missing = {each.name: sum(map(is_missing, table.column(each.name))) for each in numbers}
        filled = {name: count for name, count in missing.items() if count}
        return DataReport(columns={k: v for k, v in columns.items() if v}, filled=filled)

    def to_dict(self) -> dict[str, Any]:
        """Return the fitted encoders as JSON-compatible values."""
        columns = [
            {"kind": "number" if isinstance(column, NumberColumn) else "category", **vars(column)}
            for column in self.columns
        ]
        return {"columns": columns, "dropped": dict(self.dropped)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TableFeatures:
        """Recreate the fitted encoders from the result of :meth:`to_dict`."""
        encodings: list[NumberColumn | CategoryColumn] = []
        for column in content["columns"]:
            fields: dict[str, Any] = {
                k: tuple(v) if k == "values" else v for k, v in column.items()
            }
            encoding = NumberColumn if fields.pop("kind") == "number" else CategoryColumn
            encodings.append(validate_types(encoding(**fields)))
        return validate_types(cls(tuple(encodings), dict(content["dropped"])))


class VectorDataset(BatchDataset):
    """A data set of feature vectors, float32 ``(N, F)``, and labels, float64 ``(N,)``."""

    def __init__(self, features: ArrayLike | Tensor, labels: ArrayLike | Tensor) -> None:
        self.features = torch.as_tensor(features, dtype=torch.float32)
        self.labels = torch.as_tensor(labels, dtype=torch.float64)

    def get_inputs(self, index: Tensor) -> tuple[Tensor, ...]:
        return (self.features.index_select(0, index),)


def _fit_column(
    table: Table, name: str, train: Ints, kind: Kind | None
) -> NumberColumn | CategoryColumn | str:
    """Fit an encoder to a column, or return the reason why the column is dropped."""
    training = table.take(train).column(name)
    present = [value for value in training if not is_missing(value)]
    if not present:
        return "all its training values are missing"
    is_number, is_date = kind == "number", False
    if kind is None:
        is_number = 1 - parse_numbers(present).text.mean() >= _MAJORITY
        n_dates = sum(parse_seconds(value) is not None for value in present)
        is_date = not is_number and n_dates / len(present) >= _MAJORITY
    encoding: NumberColumn | CategoryColumn
    if is_number or is_date:
        values = _read_column(table, name, is_date, hint=", or pass the column as a category")
        encoding = NumberColumn.fit(name, values[train], dates=is_date)
        is_constant = not encoding.features
    else:
        distinct = len({str(value).strip() for value in present})
        if distinct >= _MAJORITY * len(present) and len(present) >= _MIN_IDS and kind is None:
            return "its texts almost never repeat"
        encoding = CategoryColumn.fit(name, training)
        is_constant = len(encoding.features) < 2
    return "all its values are equal" if is_constant else encoding


def _read_column(table: Table, name: str, are_dates: bool, hint: str = "") -> Floats:
    """Read a column as numbers, or its dates as days since 1970; missing cells become NaN."""
    if are_dates:
        return read_seconds(table, name, hint=hint) / DAY
    return read_numbers(table, name, missing="nan", hint=hint)
