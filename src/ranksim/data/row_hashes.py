"""Hash the rows of a table by the texts of their cells, many rows at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.data.arrow_arrays import make_array, make_texts
from ranksim.exceptions import require_optional

# Arrow writes numbers with decimals of these sizes as repr does, others with another exponent
_MIN_PLAIN, _MAX_PLAIN = 1e-4, 1e10
_MAX_INTEGER = 1e15  # of those that repr writes without an exponent


def format_numbers(numbers: NDArray[np.float64], missing: str) -> Any:
    """Return the ``repr`` of each number as an Arrow array ``(N,)``, ``missing`` for NaN."""
    arrow, compute = (require_optional(name, "train") for name in ("pyarrow", "pyarrow.compute"))
    text, sizes = arrow.large_string(), np.abs(numbers)
    is_integer = (np.rint(numbers) == numbers) & (sizes < _MAX_INTEGER)
    is_integer &= (sizes > 0) | ~np.signbit(numbers)  # -0.0 is none
    integers = make_array(numbers[is_integer].astype(np.int64)).cast(text)
    ending, separator = make_texts((".0", ""))
    integers = compute.binary_join_element_wise(integers, ending, separator)
    if is_integer.all():
        return integers
    is_other = ~is_integer & ~((sizes >= _MIN_PLAIN) & (sizes < _MAX_PLAIN))
    others = [missing if each != each else repr(each) for each in numbers[is_other].tolist()]
    texts = make_array(numbers).cast(text)
    for mask, values in ((is_integer, integers), (is_other, make_texts(others))):
        if mask.any():
            texts = compute.replace_with_mask(texts, make_array(mask), values)
    return texts


def repeat_texts(distinct: Sequence[str], codes: NDArray[np.int32]) -> Any:
    """Return the text of each code as an Arrow array ``(N,)``."""
    return make_texts(distinct).take(make_array(codes))


def hash_rows(columns: Sequence[Any]) -> NDArray[np.uint64]:
    """Return a hash of each row ``(N,)``: that of the ``repr`` of a tuple of its cells.

    Args:
        columns: the ``repr`` of the cells of each column, as lists or Arrow arrays.
    """
    end = ",)" if len(columns) == 1 else ")"
    if all(isinstance(column, list) for column in columns):
        rows = zip(*columns, strict=True)
        return hash_contents(f"({', '.join(row)}{end}".encode() for row in rows)
    arrays = [make_texts(each) if isinstance(each, list) else each for each in columns]
    join = require_optional("pyarrow.compute", "train").binary_join_element_wise
    opening, closing, comma, empty = make_texts(("(", end, ", ", ""))
    return hash_contents(_iterate_texts(join(opening, join(*arrays, comma), closing, empty)))


def _iterate_texts(texts: Any) -> Iterator[memoryview]:
    """Yield the bytes of each text of an Arrow array of ``large_string`` without copying them."""
    _, places, content = texts.buffers()
    offsets = np.frombuffer(places, np.int64)[texts.offset : texts.offset + len(texts) + 1].tolist()
    view = memoryview(content) if content is not None else memoryview(b"")
    start = offsets[0]
    for end in offsets[1:]:
        yield view[start:end]
        start = end


def hash_contents(contents: Iterable[bytes | memoryview]) -> NDArray[np.uint64]:
    """Return a hash of each content ``(N,)`` that is the same in each process."""
    blake2b = hashlib.blake2b
    digests = b"".join([blake2b(each, digest_size=8).digest() for each in contents])
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)
