"""Labels of any origin as arrays of numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def label_vector(labels: ArrayLike, *, allow_empty: bool = False) -> NDArray[np.float64]:
    """Labels as float64 ``(N,)``, or an error that says what is wrong with them."""
    values = label_array(labels).astype(np.float64)
    if values.ndim != 1:
        raise ValueError(f"labels must have shape (N,), got {values.shape}")
    if len(values) == 0 and not allow_empty:
        raise ValueError("labels must hold at least one label, got none")
    if not np.isfinite(values).all():
        nan, infinite = np.isnan(values).sum(), np.isinf(values).sum()
        raise ValueError(f"labels must be finite, got {nan} NaN and {infinite} infinite")
    return values


def label_array(labels: ArrayLike) -> NDArray[Any]:
    """Labels as an array of any shape and real dtype, or an error that names the dtype."""
    values = np.asarray(labels)
    if values.dtype.kind not in "biuf":
        raise TypeError(f"labels must be real numbers, got {values.dtype}")
    return values
