"""Columns of an array or a pandas DataFrame: read as numbers and categories, taken, overwritten.

pandas is never imported: its objects are recognized by attributes and copied by their methods.
"""

from __future__ import annotations

import numbers
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.checks import describe_value, reject_masked
from ranksim.imbalance.bins import label_vector


def is_pandas(values: object) -> bool:
    """Return whether the value is a pandas DataFrame or Series."""
    return hasattr(values, "iloc") and hasattr(values, "take")


def as_table(X: Any) -> Any:  # noqa: N803
    """Return a DataFrame as it is and other input as an array (N, F)."""
    if is_pandas(X):
        table = X
    elif hasattr(X, "tocsr") or hasattr(X, "__dataframe__"):
        raise TypeError(
            f"X must be an array or a pandas DataFrame, got {describe_value(type(X).__name__)}: "
            "pass X.toarray() or X.to_pandas()"
        )
    else:
        reject_masked("X", X)
        try:
            table = np.asarray(X)
        except (TypeError, ValueError, RuntimeError) as error:
            raise TypeError(
                "X must be a table with equally long rows, or an array or a tensor on the CPU "
                f"without gradients, got {describe_value(X)}"
            ) from error
    if len(table.shape) != 2 or table.shape[1] == 0:
        raise ValueError(
            f"X must have shape (N, F) with at least one column, got {tuple(table.shape)}"
        )
    return table


def as_label_column(y: Any) -> Any:
    """Return a Series as it is and other labels as an array."""
    if is_pandas(y):
        return y
    label_vector(y)  # reports lists of unequal length, masks and tensors in a sentence
    return np.asarray(y)


def read_labels(column: Any) -> NDArray[np.float64]:
    """Return labels (N,) as float64; raise an error unless they are finite real numbers."""
    if is_pandas(column) and column.ndim == 1 and _kind(column) in "iuf":
        column = column.to_numpy(dtype=np.float64, na_value=np.nan)
    labels = label_vector(column)
    if _kind(column) == "b":
        raise TypeError("labels must be real numbers, got bool")
    return labels


def table_columns(table: Any) -> list[Any]:
    """Return the columns of a table, as Series or as views of the array."""
    if is_pandas(table):
        return [table.iloc[:, place] for place in range(table.shape[1])]
    return list(table.T)


def column_name(table: Any, place: int) -> Any:
    """Return the name of a column, or its position in an array."""
    return table.columns[place] if is_pandas(table) else place


def is_number_column(column: Any) -> bool:
    """Return whether values may be averaged: numbers, but not Booleans, dates or categories."""
    if isinstance(column, np.ndarray) and column.dtype == object:
        present = column[~_missing_objects(column)]
        return bool(len(present)) and all(_is_number(value) for value in present)
    return _kind(column) in "iuf"


def is_whole_column(column: Any) -> bool:
    """Return whether a column of numbers has an integer type."""
    if isinstance(column, np.ndarray) and column.dtype == object:
        present = column[~_missing_objects(column)]
        return all(isinstance(value, numbers.Integral) for value in present)
    return _kind(column) in "iu"


def read_numbers(column: Any) -> NDArray[np.float64]:
    """Return a column of numbers (N,) as float64, NaN where a value is missing."""
    if is_pandas(column):
        values: NDArray[np.float64] = column.to_numpy(dtype=np.float64, na_value=np.nan)
        return values
    return column.astype(np.float64)  # type: ignore[no-any-return]  # None becomes NaN


def read_codes(column: Any, name: Any) -> NDArray[np.int64]:
    """Return a number per category (N,), −1 where a value is missing."""
    if not is_pandas(column) and column.dtype != object:
        _, codes = np.unique(column, return_inverse=True)
        missing = column != column  # NaN and NaT differ from themselves
        return np.where(missing, -1, codes.reshape(len(column)))
    try:
        if is_pandas(column):
            return column.factorize()[0].astype(np.int64)  # type: ignore[no-any-return]
        known: dict[Any, int] = {}
        codes = np.array([known.setdefault(value, len(known)) for value in column], np.int64)
    except TypeError as error:
        raise TypeError(
            f"X must have hashable values in each column of categories, got others in column "
            f"{name!r}: leave it out, or encode it as numbers"
        ) from error
    return np.where(_missing_objects(column), -1, codes)


def take_rows(values: Any, rows: NDArray[np.int64]) -> Any:
    """Return rows by position; the index of a pandas object is replaced by 0 … M − 1."""
    return values.take(rows).reset_index(drop=True) if is_pandas(values) else values[rows]


def overwrite(column: Any, positions: NDArray[np.int64], values: NDArray[np.float64]) -> Any:
    """Write numbers into a copied column and keep its type; return the column."""
    if len(positions) == 0:
        return column
    if is_pandas(column):
        column.iloc[positions] = _cast(values, getattr(column.dtype, "numpy_dtype", column.dtype))
    elif column.dtype == object:
        whole = is_whole_column(column)
        for place, value in zip(positions.tolist(), values.tolist(), strict=True):
            column[place] = round(value) if whole else value
    else:
        column[positions] = _cast(values, column.dtype)
    return column


def join_columns(table: Any, rows: NDArray[np.int64], columns: list[Any]) -> Any:
    """Return a table like the given one with these columns, one value per row."""
    if not is_pandas(table):
        joined = np.empty((len(rows), len(columns)), table.dtype)
        for place, column in enumerate(columns):
            joined[:, place] = column
        return joined
    frame = take_rows(table, rows)
    for place, column in enumerate(columns):
        frame.isetitem(place, column)
    return frame


def find_categories(table: Any, categorical_features: Any) -> NDArray[np.bool_]:
    """Return a mask (F,) of the columns that are given as categories.

    Args:
        table: array or DataFrame.
        categorical_features: None, a mask (F,), or positions or names of columns.

    Raises:
        ValueError: it is nothing of these, or names a column that does not exist.
    """
    count = table.shape[1]
    mask = np.zeros(count, dtype=bool)
    if categorical_features is None:
        return mask
    error = ValueError(
        f"categorical_features must be a mask of {count} columns, or a list of positions or names "
        f"of columns, got {describe_value(categorical_features)}"
    )
    if isinstance(categorical_features, str | bytes):
        raise error
    try:
        features = list(categorical_features)
    except TypeError:
        raise error from None
    if len(features) == count and all(isinstance(each, bool | np.bool_) for each in features):
        return np.array(features, dtype=bool)
    names = [column_name(table, place) for place in range(count)]
    for feature in features:
        if isinstance(feature, bool | np.bool_):
            raise error
        if feature in names:
            mask |= np.array([name == feature for name in names])
        elif isinstance(feature, int | np.integer) and 0 <= feature < count:
            mask[feature] = True
        else:
            raise error
    return mask


def _kind(column: Any) -> str:
    return str(column.dtype.kind)


def _is_number(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool | np.bool_)


def _missing_objects(column: NDArray[Any]) -> NDArray[np.bool_]:
    """Return a mask of None, NaN and NaT."""
    differs = [
        value is None or bool(isinstance(value, float | np.generic) and value != value)
        for value in column
    ]
    return np.array(differs, dtype=bool)


def _cast(values: NDArray[np.float64], dtype: Any) -> NDArray[Any]:
    """Return numbers in a column's type; integers are rounded and limited to the type's range."""
    if dtype.kind not in "iu":
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    high = float(limits.max)
    if int(high) > limits.max:  # 2⁶³ for int64
        high = float(np.nextafter(high, 0.0))
    return np.clip(np.rint(values), float(limits.min), high).astype(dtype)
