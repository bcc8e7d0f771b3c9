"""Read a table of user data: CSV, TSV, Parquet, a folder, or a Hugging Face data set."""

from __future__ import annotations

import csv
import gzip
import io
import re
import zlib
from operator import itemgetter
from pathlib import Path
from typing import Any

from ranksim.data.hub import is_saved_dataset, read_hub, read_saved
from ranksim.data.table import Table
from ranksim.exceptions import DataError, require_optional

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
_TABLE_NAMES = ("labels.csv", "metadata.csv")
_SUPPORTED = "use a .csv, .tsv, .csv.gz or .parquet file"
MAX_UNPACKED = 2**31  # bytes; a few compressed megabytes could fill the memory


def load_table(source: str) -> Table:
    """Load a file, a folder or a Hugging Face data set as a table.

    Args:
        source: a CSV, TSV (both also ``.gz``) or Parquet file; a folder with one table beside its
            images; a folder written by ``save_to_disk``; or ``owner/name``, ``owner/name:split`` or
            ``hf://name`` on the hub. Several splits become one table with a column ``split``.
    """
    path = Path(source).expanduser()
    if path.is_file():
        table = _read_file(path)
    elif path.is_dir():
        table = read_saved(path) if is_saved_dataset(path) else _read_file(_find_table(path))
    elif source.lower().endswith((*SUFFIXES, *_SPREADSHEETS)):
        raise DataError(f"{source} does not exist: check the path.")
    else:
        table = read_hub(source)
    if not table.n_rows:
        raise DataError(f"{table.name} has a header but no rows: add one row per sample.")
    return table


def read_parquet(path: Path) -> Table:
    """Open a Parquet file; each column is read when it is used."""
    parquet = require_optional("pyarrow.parquet", "train")
    try:
        names, count = parquet.read_schema(path).names, parquet.read_metadata(path).num_rows
    except Exception as error:  # pyarrow raises many types for damaged files
        raise DataError(f"{path} is not a readable Parquet file: save the table again.") from error

    def read(name: str) -> list[Any]:
        try:
            column = parquet.read_table(path, columns=[name], partitioning=None).column(0)
            values = list(column.to_pylist())
        except Exception as error:
            raise DataError(
                f"{path} is damaged in column {name!r}: save the table again."
            ) from error
        if len(values) != count:
            raise DataError(
                f"{path} has {len(values):,} values in column {name!r} instead of {count:,}: save "
                "the table again."
            )
        return values

    return Table(str(path), names, read, range(1, count + 1), "row", path, path.parent)


# The csv module and not pyarrow.csv, which cannot report the line at which a quoted row begins.
def read_delimited(path: Path, *, row: str = "sample") -> Table:
    """Read CSV or TSV in UTF-8, with or without a byte order mark; ``.gz`` is decompressed.

    The separator of a CSV is the comma, or a semicolon or tab if its header has more of them.
    ``row`` is the noun for a row in messages.
    """
    text = _read_text(path)
    rows: list[list[str]] = []
    lines: list[int] = []
    reader = csv.reader(
        io.StringIO(text, newline=""),
        delimiter=_detect_delimiter(path, text),
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
        reason = str(error).replace("\t", r"\t")
        raise DataError(f"{path}, line {start}: {reason}; correct the quoting.") from error
    if not rows:
        raise DataError(f"{path} is empty: write a header and one row per {row}.")
    names = [name.strip() for name in rows.pop(0)]
    table = Table(
        str(path),
        names,
        lambda name: list(map(itemgetter(names.index(name)), rows)),
        lines[1:],
        file=path,
        root=path.parent,
    )
    table.raise_for_rows(
        [k for k, values in enumerate(rows) if len(values) != len(names)],
        f"the number of values differs from the {len(names)} columns of the header",
        "quote values that contain a separator, or correct these rows",
    )
    return table


def _read_file(path: Path) -> Table:
    name = path.name.lower()
    if name.endswith(_SPREADSHEETS):
        raise DataError(f"{path} is a spreadsheet: export the sheet as CSV in UTF-8.")
    if not name.endswith(SUFFIXES):
        raise DataError(f"{path} is not a supported table: {_SUPPORTED}.")
    return read_parquet(path) if name.endswith(".parquet") else read_delimited(path)


def _find_table(folder: Path) -> Path:
    tables = sorted(
        path
        for path in folder.iterdir()
        if path.name.lower().endswith(SUFFIXES) and path.is_file() and path.name[0] != "."
    )
    tables = [path for path in tables if path.name in _TABLE_NAMES] or tables
    if not tables:
        raise DataError(f"{folder} contains no table: add labels.csv.")
    if len(tables) > 1:
        names = ", ".join(path.name for path in tables[:5]) + (", …" if len(tables) > 5 else "")
        raise DataError(
            f"{folder} contains several tables ({names}): pass the path of one of them."
        )
    return tables[0]


def _read_text(path: Path) -> str:
    try:
        content = _decompress(path) if path.suffix.lower() == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged .gz file: download or compress it again.") from error
    try:
        text = content.decode("utf-8-sig")
        position = content.find(0)  # as in UTF-16 without a byte order mark
    except UnicodeDecodeError as error:
        position = error.start
    if position >= 0:
        line = content.count(b"\n", 0, position) + 1
        raise DataError(f"{path}, line {line}: the text is not UTF-8; save the table as UTF-8.")
    return text


def _decompress(path: Path) -> bytes:
    content = bytearray()
    with gzip.open(path) as file:
        while chunk := file.read(1 << 20):
            content += chunk
            if len(content) > MAX_UNPACKED:
                raise DataError(
                    f"{path} decompresses to more than {MAX_UNPACKED:,} bytes: decompress it "
                    "yourself if that is its expected size."
                )
    return bytes(content)


def _detect_delimiter(path: Path, text: str) -> str:
    if ".tsv" in [suffix.lower() for suffix in path.suffixes[-2:]]:
        return "\t"
    header = re.sub(r'"[^"]*"', "", text.lstrip().partition("\n")[0])
    return max(",;\t", key=header.count)
