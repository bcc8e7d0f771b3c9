"""Encode the rows of a CSV file by columns: those of the csv module, or plain ones by Arrow."""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Iterable
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ranksim.data.arrow_cells import DistinctValues, EncodedCells
from ranksim.exceptions import require_optional

_QUOTE, _NEWLINE = b'"'[0], b"\n"[0]
_CHUNK = 500  # rows of texts that are in memory at a time

Places = NDArray[np.int32]


def parse_plain_rows(text: str, delimiter: str, count: int) -> list[EncodedCells] | None:
    """Parse the rows of a CSV text as ``count`` columns; return None for rows that are not plain.

    Each plain row is a line with the same number of values. A value may be quoted, but contains no
    quotation mark or line break, and no value begins with a space. Of all others, the csv module
    tells what they mean, and in which line they begin.
    """
    content = text.encode().replace(b"\r\n", b"\n").removesuffix(b"\n")
    sign = delimiter.encode()
    is_odd = not content or len(sign) > 1 or b"\r" in content or b"\0" in content
    spaces_and_blanks = (b"\n ", b"\n\n", sign + b" ")
    if is_odd or content[:1] in b" \n" or any(each in content for each in spaces_and_blanks):
        return None
    if content.endswith(b"\n") or not _are_quotes_outside(content, sign):
        return None
    arrow, reader = (require_optional(name, "train") for name in ("pyarrow", "pyarrow.csv"))
    names = [str(k) for k in range(count)]
    try:
        table = reader.read_csv(
            arrow.BufferReader(content),
            read_options=reader.ReadOptions(column_names=names, use_threads=False),
            parse_options=reader.ParseOptions(
                delimiter=delimiter,
                quote_char='"' if b'"' in content else False,
                newlines_in_values=True,
            ),
            convert_options=reader.ConvertOptions(
                column_types=dict.fromkeys(names, arrow.large_string()), strings_can_be_null=False
            ),
        )
    except arrow.ArrowInvalid:  # such as rows of another length
        return None
    if table.num_rows != content.count(b"\n") + 1:
        return None  # line breaks within quotation marks
    arrays, columns = table.columns, []
    del table
    while arrays:  # so that each is freed
        columns.append(EncodedCells.from_column(arrays.pop(0)))
    if any(column.values.max_bytes > csv.field_size_limit() for column in columns):
        return None
    return columns


def _are_quotes_outside(content: bytes, delimiter: bytes) -> bool:
    """Return True if quotation marks are only at the beginning and end of values."""
    signs = np.frombuffer(b"\n" + content + b"\n", np.uint8)
    quotes = np.flatnonzero(signs == _QUOTE)
    before, after = signs[quotes[::2] - 1], signs[quotes[1::2] + 1]
    borders = (_NEWLINE, delimiter[0])
    return len(quotes) % 2 == 0 and bool(
        np.isin(before, borders).all() and np.isin(after, borders).all()
    )


class RowEncoder:
    """Encodes rows of texts as columns, some rows at a time.

    Attributes:
        lines: number of the first line of each row.
        lengths: number of values of the rows with another one than the header, by row. Empty values
            behind the last column do not count.
    """

    def __init__(self, count: int) -> None:
        self.lines: list[int] = []
        self.lengths: dict[int, int] = {}
        self._count = count
        self._orders: list[defaultdict[str, int]] = [defaultdict() for _ in range(count)]
        for order in self._orders:
            order.default_factory = order.__len__  # a new text gets the next number
        self._places: list[list[Places]] = [[] for _ in range(count)]

    def add_rows(self, rows: Iterable[tuple[int, list[str]]]) -> None:
        """Add rows after the number of their first line."""
        rows = iter(rows)
        while chunk := list(islice(rows, _CHUNK)):
            for line, values in chunk:
                if len(values) != self._count:
                    self._fit_length(values)
                self.lines.append(line)
            columns = zip(*(values for _, values in chunk), strict=True)
            for order, places, column in zip(self._orders, self._places, columns, strict=True):
                places.append(np.array([*map(order.__getitem__, column)], dtype=np.int32))

    def _fit_length(self, values: list[str]) -> None:
        """Cut or fill a row of another length."""
        if any(map(str.strip, values[self._count :])) or len(values) < self._count:
            self.lengths[len(self.lines)] = len(values)
        values[self._count :] = []
        values += [""] * (self._count - len(values))

    def encode(self) -> list[EncodedCells]:
        """Return the cells of each column."""
        empty = np.zeros(0, np.int32)
        return [
            EncodedCells(DistinctValues.from_list(list(order)), np.concatenate([empty, *places]))
            for order, places in zip(self._orders, self._places, strict=True)
        ]
