"""Read tables of user data from CSV, TSV and Parquet files, folders and Hugging Face data sets."""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import re
import zlib
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

from ranksim._utils.formatting import single_line
from ranksim._utils.storage import atomic_write, cache_dir, sha256
from ranksim.data.table import Table
from ranksim.exceptions import DataError, MissingDependencyError, require_optional

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
_TABLE_NAMES = ("labels.csv", "metadata.csv")
_HUB_NAME = re.compile(
    r"(?P<hub>hf://(?:datasets/)?)?(?P<name>(?:\w[\w.-]*/)?\w[\w.-]*)(?::(?P<split>\S+))?"
)
MAX_UNPACKED = 2**31  # bytes; a few compressed megabytes could fill the memory
_CHUNK_ROWS = 1000  # rows read at a time, so that never all images are in memory


def load_table(source: str) -> Table:
    """Load a table from a CSV, TSV or Parquet file, a folder, or the Hugging Face hub.

    A folder has one table beside its images or was written by ``save_to_disk``. A data set of the
    Hugging Face hub is ``owner/name``, ``owner/name:split`` or ``hf://name``; its code is not run.
    Several splits become one table with a column ``split``.
    """
    path = Path(source).expanduser()
    if path.is_file():
        table = _read_file(path)
    elif path.is_dir():
        is_saved = any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
        table = _read_saved(path) if is_saved else _read_file(_find_table(path))
    elif source.lower().endswith((*SUFFIXES, *_SPREADSHEETS)):
        raise DataError(f"{source} does not exist: check the path.")
    else:
        table = _read_hub(source)
    if not table.n_rows:
        raise DataError(f"{table.name} has a header but no rows: add one row per sample.")
    return table


def read_parquet(path: Path) -> Table:
    """Open a Parquet file as a table; columns are read on first use."""
    parquet = require_optional("pyarrow.parquet", "train")
    try:
        names, count = parquet.read_schema(path).names, parquet.read_metadata(path).num_rows
    except Exception as error:  # pyarrow raises many types for damaged files
        raise DataError(f"{path} is not a readable Parquet file: save the table again.") from error

    def read(name: str) -> list[Any]:
        damaged = f"{path} is damaged in column {name!r}: save the table again."
        try:
            column = parquet.read_table(path, columns=[name], partitioning=None).column(0)
            values = list(column.to_pylist())
        except Exception as error:
            raise DataError(damaged) from error
        if len(values) != count:
            raise DataError(damaged)
        return values

    return Table(str(path), names, read, range(1, count + 1), "row", path, path.parent)


# The csv module and not pyarrow.csv, which cannot report the line at which a quoted row begins.
def read_delimited(path: Path, *, row: str = "sample") -> Table:
    """Read a UTF-8 CSV or TSV file, possibly compressed (``.gz``), as a table.

    The separator of a CSV is the comma, or a semicolon or tab if its header has more of them.
    ``row`` is the noun for a row in messages.
    """
    text = _read_text(path)
    rows: list[list[str]] = []
    lines: list[int] = []
    delimiter = _detect_delimiter(path, text)
    file = io.StringIO(text, newline="")
    reader = csv.reader(file, delimiter=delimiter, strict=True, skipinitialspace=True)
    start = 1
    try:
        for values in reader:
            if values:  # not a blank line
                rows.append(values)
                lines.append(start)
            start = reader.line_num + 1
    except csv.Error as error:
        reason = str(error).replace("\t", r"\t")
        raise DataError(
            f"{path}, line {start}: {reason}; correct the quotation marks in this row."
        ) from error
    if not rows:
        raise DataError(f"{path} is empty: write a header and one row per {row}.")
    names = [name.strip() for name in rows.pop(0)]

    def read(name: str) -> list[Any]:
        return list(map(itemgetter(names.index(name)), rows))

    table = Table(str(path), names, read, lines[1:], file=path, root=path.parent)
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
        raise DataError(
            f"{path} is not a supported table: use a .csv, .tsv, .csv.gz or .parquet file."
        )
    return read_parquet(path) if name.endswith(".parquet") else read_delimited(path)


def _find_table(folder: Path) -> Path:
    tables = sorted(
        path
        for path in folder.iterdir()
        if path.name.lower().endswith(SUFFIXES) and path.is_file() and path.name[0] != "."
    )
    tables = [path for path in tables if path.name in _TABLE_NAMES] or tables
    if not tables:
        raise DataError(f"{folder} contains no table: add a file labels.csv.")
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
                    f"{path} decompresses to more than {MAX_UNPACKED:,} bytes: if this size "
                    "is expected, decompress the file and pass the decompressed one."
                )
    return bytes(content)


def _detect_delimiter(path: Path, text: str) -> str:
    if ".tsv" in [suffix.lower() for suffix in path.suffixes[-2:]]:
        return "\t"
    header = re.sub(r'"[^"]*"', "", text.lstrip().partition("\n")[0])
    return max(",;\t", key=header.count)


def _read_saved(folder: Path) -> Table:
    """Read a Hugging Face data set from a folder written by ``save_to_disk``."""
    datasets = require_optional("datasets", "hub")
    try:
        dataset = datasets.load_from_disk(str(folder))
    except Exception as error:  # datasets raises many types for damaged folders
        raise DataError(
            f"{folder} is not a readable Hugging Face data set ({single_line(error)}): write it "
            "again with save_to_disk."
        ) from error
    return _to_table(str(folder), dataset)


def _read_hub(source: str) -> Table:
    """Read a data set from the Hugging Face hub or the local Hugging Face cache."""
    match = _HUB_NAME.fullmatch(source)
    if not match or not (match["hub"] or "/" in match["name"]):
        raise DataError(
            f"{source} does not exist: pass the path of a table or of a folder with a table, or a "
            "Hugging Face data set (owner/name)."
        )
    try:
        datasets = require_optional("datasets", "hub")
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{source} is not a local file or folder, and datasets is not installed to load it "
            "from the Hugging Face hub: run pip install 'ranksim[hub]'."
        ) from error
    try:
        dataset = datasets.load_dataset(match["name"], split=match["split"])
    except Exception as error:  # from the network, the hub or the data set
        raise DataError(
            f"{source} is not a local file or folder and could not be read from the Hugging Face "
            f"hub ({single_line(error)}): check the name and the connection."
        ) from error
    return _to_table(source, dataset)


def _to_table(name: str, dataset: Any) -> Table:
    datasets = require_optional("datasets", "hub")
    parts = {"": dataset} if isinstance(dataset, datasets.Dataset) else dict(dataset)
    if len(parts) > 1:
        if any("split" in rows.column_names for rows in parts.values()):
            raise DataError(f"{name} has several splits and a column 'split': rename the column.")
        parts = {part: rows.add_column("split", [part] * len(rows)) for part, rows in parts.items()}
    try:
        dataset = datasets.concatenate_datasets(list(parts.values()))
    except ValueError as error:
        raise DataError(
            f"The splits of {name} have different columns: select one split, as in "
            "owner/name:train."
        ) from error
    root = cache_dir() / "hub-images"

    def read(column: str) -> list[Any]:
        feature, values = dataset.features[column], _iterate_values(dataset, column)
        if isinstance(feature, datasets.Image):
            return [None if value is None else _cache_image(value, root) for value in values]
        if isinstance(feature, datasets.ClassLabel):
            return [None if value is None else feature.int2str(value) for value in values]
        return list(values)

    lines = range(1, len(dataset) + 1)
    return Table(name, list(dataset.column_names), read, lines, "row", root=root)


def _iterate_values(dataset: Any, column: str) -> Iterator[Any]:
    """Yield the values of a column as stored, without decoding images."""
    stored = dataset.select_columns([column]).with_format("arrow")
    for start in range(0, len(dataset), _CHUNK_ROWS):
        yield from stored[start : start + _CHUNK_ROWS].column(0).to_pylist()


def _cache_image(image: dict[str, Any], root: Path) -> str:
    """Write an image file below ``root``, named by its SHA-256; return the relative path."""
    content = image["bytes"]
    if content is None:
        content = Path(image["path"]).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    relative = f"{digest[:2]}/{digest}{Path(image['path'] or '').suffix}"
    if not (root / relative).is_file() or sha256(root / relative) != digest:
        with atomic_write(root / relative) as temporary:
            temporary.write_bytes(content)
    return relative
