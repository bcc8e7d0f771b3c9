"""Arrow arrays from NumPy arrays and texts without pandas, which ``pyarrow.array`` imports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.exceptions import require_optional


def make_array(values: NDArray[Any]) -> Any:
    """Return numbers or booleans ``(N,)`` as an Arrow array, numbers without a copy."""
    arrow = require_optional("pyarrow", "train")
    is_mask = values.dtype == np.bool_
    content = np.packbits(values, bitorder="little") if is_mask else np.ascontiguousarray(values)
    buffers = [None, arrow.py_buffer(content)]
    return arrow.Array.from_buffers(arrow.from_numpy_dtype(values.dtype), len(values), buffers)


def make_texts(texts: Sequence[str]) -> Any:
    """Return texts ``(N,)`` as an Arrow array of ``large_string``."""
    arrow = require_optional("pyarrow", "train")
    contents = [text.encode() for text in texts]
    ends = np.cumsum([0, *map(len, contents)], dtype=np.int64)
    buffers = [None, arrow.py_buffer(ends), arrow.py_buffer(b"".join(contents))]
    return arrow.Array.from_buffers(arrow.large_string(), len(texts), buffers)
