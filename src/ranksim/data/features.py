"""Columns of anyone's table to the numbers that a network reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.utils.data import Dataset

from ranksim._utils.schema import validate_types
from ranksim.data.batch import Batch
from ranksim.data.cells import RowErrorFactory, make_row_error, parse_seconds
from ranksim.data.columns import CategoryColumn, NumberColumn
from ranksim.data.table import is_missing, parse_numbers
from ranksim.exceptions import DataError

Kind = Literal["number", "category"]
_MOSTLY = 0.9  # of the values: what a column is taken for, or told apart as an id
_FEW = 10  # values, with fewer of which no column is taken for an id


@dataclass(frozen=True)
class TableFeatures:
    """What the training rows of a table say of its columns, applied to any rows.

    - Numbers: the median stands in for missing ones, a feature says so where training rows miss
      any, and they are standardised by mean and deviation.
    - ISO dates: the same, in days.
    - Text and booleans: a feature for each of the 50 most frequent values; the rest share one,
      which unknown values belong to as well; missing has its own. A feature is there only where
      training rows need it: otherwise an unknown or missing value is all zeros.
    - A column all whose values are equal is left out, and so is a text that nearly never repeats,
      such as an id.

    A column is taken for numbers, or dates, where at least 90 % of its training values are, so that
    a slip in one row is refused by its line and not taken for a category. Computed in float64.

    Args:
        columns: those that are read, in their order.
        dropped: why each other one is left out.

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
    dropped: dict[str, str] = field(default_factory=dict)

    @classmethod
    def fit(
        cls,
        columns: Mapping[str, list[Any]],
        train: NDArray[np.int64],
        *,
        kinds: Mapping[str, Kind] | None = None,
        refuse: RowErrorFactory = make_row_error,
    ) -> TableFeatures:
        """Decide by training rows alone.

        Args:
            columns: the inputs, by name: text, numbers, booleans, dates; missing where ``""``,
                ``None``, NaN or one of the words for it.
            train: positions of the training rows.
            kinds: what a column is, where its values do not decide.
            refuse: raises an error that names rows.

        Raises:
            DataError: text or an infinity among numbers, or no column is left.
        """
        made: list[NumberColumn | CategoryColumn] = []
        dropped: dict[str, str] = {}
        for name, values in columns.items():
            found = _column(name, values, train, (kinds or {}).get(name), refuse)
            if isinstance(found, str):
                dropped[name] = found
            else:
                made.append(found)
        if not made:
            why = "; ".join(f"{name!r}: {reason}" for name, reason in dropped.items())
            raise DataError(
                f"No column is left to learn from ({why or 'none was given'}): give other features."
            )
        return cls(tuple(made), dropped)

    @property
    def names(self) -> list[str]:
        """Names of the F features."""
        return [name for column in self.columns for name in column.features]

    @property
    def width(self) -> int:
        """Their number F."""
        return len(self.names)

    def __call__(
        self, columns: Mapping[str, list[Any]], *, refuse: RowErrorFactory = make_row_error
    ) -> NDArray[np.float32]:
        """Features of any rows, float32 ``(N, F)``.

        Raises:
            DataError: a column is missing, or holds text or an infinity where numbers were.
        """
        absent = [column.name for column in self.columns if column.name not in columns]
        if absent:
            raise DataError(
                f"The data has no column {', '.join(map(repr, absent))}, which the model reads: "
                "give data with the columns that it was trained on."
            )
        parts = [column(columns[column.name], refuse) for column in self.columns]
        return np.concatenate(parts, axis=1).astype(np.float32)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        columns = [
            {"kind": kind, **vars(column)}
            for column in self.columns
            for kind in ("number" if isinstance(column, NumberColumn) else "category",)
        ]
        return {"columns": columns, "dropped": dict(self.dropped)}

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> TableFeatures:
        """What :meth:`as_dict` made."""
        made: list[NumberColumn | CategoryColumn] = []
        for column in stored["columns"]:
            told = {name: value for name, value in column.items() if name != "kind"}
            if column["kind"] == "number":
                made.append(validate_types(NumberColumn(**told)))
            else:
                made.append(
                    validate_types(CategoryColumn(**told | {"values": tuple(told["values"])}))
                )
        return validate_types(cls(tuple(made), dict(stored["dropped"])))


class VectorDataset(Dataset[Batch]):
    """Vectors and their labels; a batch's input is float32 ``(N, F)``.

    Args:
        features: float32 ``(N, F)``.
        labels: float64 ``(N,)``.
    """

    def __init__(self, features: ArrayLike, labels: ArrayLike) -> None:
        self.features = torch.from_numpy(np.asarray(features, dtype=np.float32))
        self.labels = torch.from_numpy(np.asarray(labels, dtype=np.float64))

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> Batch:
        return self.__getitems__([row])

    def __getitems__(self, rows: list[int]) -> Batch:
        index = torch.as_tensor(rows, dtype=torch.int64)
        return {
            "inputs": (self.features.index_select(0, index),),
            "label": self.labels[index],
            "index": index,
        }

    def by_size(self) -> Tensor:
        """All positions: vectors cost alike."""
        return torch.arange(len(self))


def _column(
    name: str,
    values: list[Any],
    train: NDArray[np.int64],
    kind: Kind | None,
    refuse: RowErrorFactory,
) -> NumberColumn | CategoryColumn | str:
    """What a column is by its training rows, or why it is left out."""
    own = [values[row] for row in train]
    there = [value for value in own if not is_missing(value)]
    if not there:
        return "all its training values are missing"
    read = parse_numbers(there)
    numeric = kind == "number" or (kind is None and 1 - read.text.mean() >= _MOSTLY)
    dates = kind is None and not numeric and _share_of_dates(there) >= _MOSTLY
    if numeric or dates:
        empty = NumberColumn(name, dates, 0.0, 0.0, 0.0, False)

        def hint(rows: Iterable[int], what: str, remedy: str) -> None:
            refuse(rows, what, f"{remedy}, or read the column as categories")

        found = NumberColumn.fit(name, empty.read(values, hint)[train], dates=dates)
        return found if found.features else "all its values are equal"
    distinct = len({str(value).strip() for value in there})
    if distinct >= _MOSTLY * len(there) and len(there) >= _FEW and kind is None:
        return "its texts nearly never repeat"
    category = CategoryColumn.fit(name, own)
    return category if len(category.features) > 1 else "all its values are equal"


def _share_of_dates(values: list[Any]) -> float:
    return sum(parse_seconds(value) is not None for value in values) / len(values)
