"""Tables as text: CSV and TSV, packed or not."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from operator import itemgetter
from pathlib import Path

from ranksim.data.table import Table
from ranksim.exceptions import DataError

LARGEST = 2**31  # bytes of an unpacked table; a few packed megabytes could fill the memory


def read_delimited(path: Path, *, row: str = "a sample") -> Table:
    """Read CSV or TSV in UTF-8, with or without a byte order mark; ``.gz`` is unpacked.

    Values of a CSV are parted by commas, or by semicolons or tabs where its header line holds more
    of them.

    Args:
        path: the file.
        row: what a row is, for messages.

    Raises:
        DataError: the file is empty, damaged, not UTF-8, or its rows differ in length.
    """
    text = _text(path)
    rows: list[list[str]] = []
    lines: list[int] = []
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=_delimiter(path, text),
        strict=True,
        skipinitialspace=True,
    )
    start = 1
    try:
        for values in reader:
            if values:  # not a blank line
                rows.append(values)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        told = str(error).replace("\t", r"\t")
        raise DataError(f"{path}, line {start}: {told}; correct its quoting.") from error
    if not rows:
        raise DataError(f"{path} is empty: put a header and one row {row} into it.")
    names = [name.strip() for name in rows.pop(0)]
    columns = Table(
        str(path),
        names,
        lambda name: list(map(itemgetter(names.index(name)), rows)),
        lines[1:],
        file=path,
        root=path.parent,
    )
    columns.refuse(
        [k for k, values in enumerate(rows) if len(values) != len(names)],
        f"another number of values than the header's {len(names)}",
        "quote values that hold a separator, or correct these rows",
    )
    return columns


def _text(path: Path) -> str:
    try:
        packed = path.suffix.lower() == ".gz"
        content = _unpacked(path) if packed else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged .gz file: get or pack it again.") from error
    try:
        text = content.decode("utf-8-sig")
        at = content.find(0)  # as in UTF-16 without a mark
    except UnicodeDecodeError as error:
        at = error.start
    if at >= 0:
        line = content.count(b"\n", 0, at) + 1
        raise DataError(f"{path}, line {line}: not UTF-8; save the table as UTF-8.")
    return text


def _unpacked(path: Path) -> bytes:
    content = bytearray()
    with gzip.open(path) as file:
        while chunk := file.read(1 << 20):
            content += chunk
            if len(content) > LARGEST:
                raise DataError(
                    f"{path} unpacks to more than {LARGEST:,} bytes: unpack it, if it should be "
                    "that large."
                )
    return bytes(content)


def _delimiter(path: Path, text: str) -> str:
    if ".tsv" in [suffix.lower() for suffix in path.suffixes[-2:]]:
        return "\t"
    header = re.sub(r'"[^"]*"', "", text.lstrip().partition("\n")[0])
    return max(",;\t", key=header.count)
