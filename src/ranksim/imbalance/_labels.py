"""Conversion and validation of labels."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def label_vector(labels: ArrayLike, *, allow_empty: bool = False) -> NDArray[np.float64]:
    """Convert labels to float64 of shape ``(N,)``; raise an error unless all are finite."""
    values = label_array(labels).astype(np.float64)
    if values.ndim != 1:
        raise ValueError(f"labels must have shape (N,), got {values.shape}")
    if len(values) == 0 and not allow_empty:
        raise ValueError("labels must contain at least one label, got none")
    if not np.isfinite(values).all():
        nan, infinite = np.isnan(values).sum(), np.isinf(values).sum()
        raise ValueError(f"labels must be finite, got {nan} NaN and {infinite} infinite")
    return values


def label_array(labels: ArrayLike) -> NDArray[Any]:
    """Convert labels of any shape to an array; raise an error if they are not real numbers."""
    values = np.asarray(labels)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"labels must be real numbers, got {values.dtype}")
    return values
