"""Read tables of user data from CSV, TSV and Parquet files, folders and Hugging Face data sets."""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import re
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_count, format_value, single_line
from ranksim._utils.storage import atomic_write, cache_dir, sha256
from ranksim.data.arrow_cells import (
    ArrowCells,
    EncodedCells,
    find_missing,
    make_cells,
    map_cells,
)
from ranksim.data.cells import parse_number
from ranksim.data.csv_rows import RowEncoder, parse_plain_rows
from ranksim.data.spec import ReadOptions, option_name
from ranksim.data.table import SelectedLines, Table
from ranksim.exceptions import (
    DataError,
    MissingDependencyError,
    UsageError,
    install_command,
    require_optional,
)

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
_TABLE_NAMES = ("labels.csv", "metadata.csv")
_HUB_NAME = re.compile(
    r"(?P<hub>hf://(?:datasets/)?)?(?P<name>(?:\w[\w.-]*/)?\w[\w.-]*)(?::(?P<split>\S+))?"
)
# metadata of a Parquet file with data from memory: its name, and the folder of relative paths
DATA_NAME, DATA_ROOT = "ranksim.name", "ranksim.root"
_KEYS = (DATA_NAME.encode(), DATA_ROOT.encode())
MAX_UNPACKED = 2**31  # bytes; a few compressed megabytes could fill the memory
_MIN_ARROW = 2**23  # characters of rows; of fewer, the import of Arrow takes longer than it saves
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_SEPARATOR = re.compile(r"sep=(?P<sign>\\t|.)", re.IGNORECASE)  # first line of Excel's files
_MIN_ORDERED = 6  # names in order of size that are not taken for a sample
_CHUNK_ROWS = 1000  # rows read at a time, so that never all images are in memory


def load_table(source: str, reading: ReadOptions = ReadOptions()) -> Table:
    """Load a table from a CSV, TSV or Parquet file, a folder, or the Hugging Face hub.

    A folder has one table beside its images or was written by ``save_to_disk``. A data set of the
    Hugging Face hub is ``owner/name``, ``owner/name:split`` or ``hf://name``; its code is not run.
    Several splits become one table with a column ``split``. ``reading`` says how cells are read.
    """
    path = Path(source).expanduser()
    if path.is_file():
        table = _read_file(path, reading)
    elif path.is_dir():
        is_saved = any((path / name).is_file() for name in ("dataset_dict.json", "state.json"))
        table = _read_saved(path) if is_saved else _read_file(_find_table(path), reading)
    else:
        require_source(source)
        table = _read_hub(source)
    if not table.n_rows:
        raise DataError(f"{table.name} has a header but no rows: add one row per sample.")
    return table if reading == ReadOptions() else table.apply_options(reading)


def require_source(source: str) -> None:
    """Raise a DataError if a source is neither a path that exists nor the name of a data set."""
    if Path(source).expanduser().exists():
        return
    if source.lower().endswith((*SUFFIXES, *_SPREADSHEETS)):
        raise DataError(f"{source} does not exist: check the path.")
    match = _HUB_NAME.fullmatch(source)
    if not match or not (match["hub"] or "/" in match["name"]):
        raise DataError(
            f"{source} does not exist: pass the path of a table or of a folder with a table, or a "
            "Hugging Face data set (owner/name)."
        )


def require_text_file(table: Table, reading: ReadOptions) -> None:
    """Raise a UsageError for options of text files if a table is not from one."""
    for name in ("encoding", "comment", "skip_rows"):
        if getattr(reading, name) is not None and table.line_unit == "row":
            raise UsageError(
                f"{option_name(name)} has no effect on {table.name}, which is not a text file: "
                "remove it."
            )


def read_parquet(path: Path) -> Table:
    """Open a Parquet file as a table; columns are read on first use."""
    parquet = require_optional("pyarrow.parquet", "train")
    try:
        schema, count = parquet.read_schema(path), parquet.read_metadata(path).num_rows
    except Exception as error:  # pyarrow raises many types for damaged files
        raise DataError(f"{path} is not a readable Parquet file: save the table again.") from error

    columns: dict[str, ArrowCells | EncodedCells] = {}

    def read(name: str) -> Sequence[Any]:
        if name not in columns:
            damaged = f"{path} is damaged in column {name!r}: save the table again."
            try:
                column = parquet.read_table(path, columns=[name], partitioning=None).column(0)
                column.validate(full=True)
                cells = make_cells(column)
            except Exception as error:
                raise DataError(damaged) from error
            if len(cells) != count:
                raise DataError(damaged)
            columns[name] = cells
        return columns[name]

    rows = range(1, count + 1)
    metadata = {k.decode(): v.decode() for k, v in (schema.metadata or {}).items() if k in _KEYS}
    if (name := metadata.get(DATA_NAME)) is not None:  # its values identify it, not its bytes
        root = metadata.get(DATA_ROOT)
        return Table(
            name, schema.names, read, rows, "row", root=None if root is None else Path(root)
        )
    return Table(str(path), schema.names, read, rows, "row", path, path.parent)


def read_delimited(path: Path, *, row: str = "sample", reading: ReadOptions | None = None) -> Table:
    """Read a CSV or TSV file, possibly compressed (``.gz``), as a table.

    The separator of a CSV is that of a first line such as ``sep=;``, or the comma, or a semicolon,
    tab or bar if its header has more of them. Blank rows, and empty columns without a name, are
    left out. ``row`` is the noun for a row in messages; these name options if ``reading`` is given.
    """
    lines = _RowLines(_read_text(path, reading), reading or ReadOptions())
    delimiter = _detect_delimiter(path, lines)
    rows = _read_rows(path, lines, delimiter)
    header_line, header = next(rows, (0, []))
    if not header:
        raise DataError(f"{path} is empty: write a header and one row per {row}.")
    names = [name.strip() for name in header]
    columns, numbers, lengths = _read_columns(lines, rows, delimiter, len(names), reading)
    n_names, is_long = len(names), any(length > len(names) for length in lengths.values())
    while len(names) > 1 and not names[-1] and not is_long and _are_blank(columns[-1]).all():
        names.pop()
        columns.pop()
    wrong = {row: length for row, length in lengths.items() if is_long or length < len(names)}
    if wrong:
        raise _length_error(path, [header_line, *numbers], names, wrong, reading)
    notes = [f"{format_count(n_names - len(names), 'empty column')} left out"]
    notes = notes if len(names) < n_names else []
    if reading is not None:
        _require_names(path, header_line, names, columns)
    is_blank = _find_blank_rows(columns)
    if is_blank.any():
        notes.append(f"{format_count(int(is_blank.sum()), 'blank row')} left out")
        used = np.flatnonzero(~is_blank)
        columns, numbers = [cells.take(used) for cells in columns], SelectedLines(numbers, used)
    return Table(
        *(str(path), names, lambda name: columns[names.index(name)], numbers),
        file=path,
        root=path.parent,
        notes=tuple(notes),
    )


def _read_columns(
    lines: _RowLines,
    rows: Iterable[tuple[int, list[str]]],
    delimiter: str,
    count: int,
    reading: ReadOptions | None,
) -> tuple[list[EncodedCells], Sequence[int], dict[int, int]]:
    """Return the columns and lines of rows, and the lengths of rows of another one than ``count``.

    ``rows`` are what the csv module reads. It takes several times as long as Arrow, but also reads
    rows that are not plain.
    """
    has_comments = reading is not None and reading.comment is not None
    if lines.rest_size >= _MIN_ARROW and not has_comments:
        columns = parse_plain_rows(lines.rest, delimiter, count)
        if columns is not None:
            start = lines.line + 1
            return columns, range(start, start + len(columns[0])), {}
    encoder = RowEncoder(count)
    encoder.add_rows(rows)
    return encoder.encode(), encoder.lines, encoder.lengths


def _find_blank_rows(columns: list[EncodedCells]) -> NDArray[np.bool_]:
    """Return which rows contain nothing but spaces ``(N,)``; none of a single column."""
    is_blank = np.full(len(columns[0]), len(columns) > 1)
    for cells in columns:
        if not is_blank.any():
            break
        is_blank &= _are_blank(cells)
    return is_blank


def _are_blank(cells: EncodedCells) -> NDArray[np.bool_]:
    missing = find_missing(cells)
    return missing & map_cells(cells, _is_blank, np.bool_) if missing.any() else missing


def _is_blank(text: str) -> bool:
    return not text.strip()


class _RowLines:
    """An iterator over the lines of a text that counts them, as the csv module reads rows.

    Lines before the header, and comments between two rows, are left out.
    """

    def __init__(self, text: str, reading: ReadOptions) -> None:
        self._text, self._position = text, 0
        self._matches = _LINE.finditer(text)
        self._comment = reading.comment
        self._is_between_rows = True
        self.line = 0  # number of the last line
        self.first_line = 1  # of the current row
        for _ in range(reading.skip_rows or 0):
            if self._position < len(text):
                self._read()

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        text = self._read()
        if self._is_between_rows:
            while self._comment is not None and text.lstrip().startswith(self._comment):
                text = self._read()
            self.first_line, self._is_between_rows = self.line, False
        return text

    def _read(self) -> str:
        match = next(self._matches)
        self._position = match.end()
        self.line += 1
        return match[0]

    @property
    def rest(self) -> str:
        """The text of all lines that have not been read."""
        return self._text[self._position :]

    @property
    def rest_size(self) -> int:
        """The number of characters that have not been read."""
        return len(self._text) - self._position

    def start_row(self) -> None:
        """Start a row: the next line is its first one, and may be a comment."""
        self._is_between_rows = True

    def peek(self) -> str:
        """Return the first line that is not blank, without reading it."""
        position, line = self._position, self.line
        text = ""
        for text in self:
            self.start_row()
            if text.strip():
                break
        self._position, self.line = position, line
        self._matches = _LINE.finditer(self._text, position)
        return text


def _detect_delimiter(path: Path, lines: _RowLines) -> str:
    """Return the separator of a file; read a first line such as ``sep=;``."""
    if match := _SEPARATOR.fullmatch(lines.peek().strip('\ufeff\r\n" ')):
        next(lines)
        lines.start_row()
        return match["sign"].replace("\\t", "\t")
    if ".tsv" in [suffix.lower() for suffix in path.suffixes[-2:]]:
        return "\t"
    header = re.sub(r'"[^"]*"', "", lines.peek())
    return max(",;\t|", key=header.count)


def _read_rows(path: Path, lines: _RowLines, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield each row that is no blank line, after the number of its first line."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
    try:
        for values in reader:
            if values:
                yield lines.first_line, values
            lines.start_row()
    except csv.Error as error:
        reason = str(error).replace("\t", r"\t")
        raise DataError(
            f"{path}, line {lines.first_line}: {reason}; correct the quotation marks in this row."
        ) from error


def _length_error(
    path: Path,
    numbers: Sequence[int],
    names: list[str],
    lengths: dict[int, int],
    reading: ReadOptions | None,
) -> DataError:
    """Return the error for rows of other lengths than the header, the first of the ``numbers``."""
    table = Table(str(path), names, lambda _: [], numbers[1:])
    wrong = list(lengths)
    problem = f"the number of values differs from the {len(names)} columns of the header"
    problem += f" (the first has {lengths[wrong[0]]})"
    remedy = "quote values that contain a separator, or correct these rows"
    if reading is not None and names[0].startswith(("#", "%")):
        sign = names[0][0]
        remedy = f"if line {numbers[0]} is a comment, add --comment '{sign}'"
    elif reading is not None and len(wrong) > table.n_rows / 2:
        counts = [lengths.get(row, len(names)) for row in range(table.n_rows)]
        header = counts.index(Counter(counts).most_common(1)[0][0]) + 1
        remedy += f"; if line {numbers[header]} is the header, add --skip-rows "
        remedy += str(numbers[header] - 1)
    return table.row_error(wrong, problem, remedy)


def _require_names(path: Path, line: int, names: list[str], columns: list[EncodedCells]) -> None:
    """Raise a DataError if the header is most likely a sample: half of its names are numbers.

    Numbers in order are names, as of years or of the channels of a spectrum, and so are integers
    beside texts that are not among the values of their columns.
    """
    numbers = [number for number in map(parse_number, names) if number is not None]
    if 2 * len(numbers) < len(names) or not numbers:
        return
    steps = [b - a for a, b in pairwise(numbers)]
    in_order = all(step > 0 for step in steps) or all(step < 0 for step in steps)
    if (in_order and len(numbers) >= _MIN_ORDERED) or (steps and {*steps} == {1.0}):
        return
    texts = {k: name for k, name in enumerate(names) if parse_number(name) is None}
    is_value = any(
        name == value.strip()
        for k, name in texts.items()
        for value in columns[k].iterate_distinct()
    )
    if texts and not is_value and all(number.is_integer() for number in numbers):
        return
    example = next(name for name in names if parse_number(name) is not None)
    raise DataError(
        f"{path}, line {line}: the column names contain numbers such as {format_value(example)}, "
        "so the file seems to have no header; insert a line of column names above it."
    )


def _read_file(path: Path, reading: ReadOptions) -> Table:
    name = path.name.lower()
    if name.endswith(_SPREADSHEETS):
        raise DataError(f"{path} is a spreadsheet: export the sheet as CSV in UTF-8.")
    if not name.endswith(SUFFIXES):
        raise DataError(
            f"{path} is not a supported table: use a .csv, .tsv, .csv.gz or .parquet file."
        )
    if name.endswith(".parquet"):
        return read_parquet(path)
    return read_delimited(path, reading=reading)


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


def _read_text(path: Path, reading: ReadOptions | None) -> str:
    try:
        content = _decompress(path) if path.suffix.lower() == ".gz" else path.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise DataError(f"{path} is a damaged .gz file: download or compress it again.") from error
    encoding = None if reading is None else reading.encoding
    try:
        text = content.decode(encoding or "utf-8-sig")
        if encoding:
            text.encode()  # raises for half of a surrogate pair, which some encodings allow
        position = -1 if encoding else content.find(0)  # as in UTF-16 without a byte order mark
    except UnicodeError as error:
        position = getattr(error, "start", 0)
    if position < 0:
        return text.removeprefix("\ufeff")
    line = content.count(b"\n", 0, position) + 1
    remedy = "save the table as UTF-8"
    if encoding:
        remedy = "correct --encoding"
    elif reading is not None:
        is_wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
        remedy += f", or name its encoding, as in --encoding {'utf-16' if is_wide else 'cp1252'}"
    raise DataError(f"{path}, line {line}: the text is not {encoding or 'UTF-8'}; {remedy}.")


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
    return read_data_set(str(folder), dataset)


def _read_hub(source: str) -> Table:
    """Read a data set from the Hugging Face hub or the local Hugging Face cache."""
    match = _HUB_NAME.fullmatch(source)
    assert match is not None  # see require_source
    try:
        datasets = require_optional("datasets", "hub")
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{source} is not a local file or folder, and datasets is not installed to load it "
            f"from the Hugging Face hub: run {install_command('hub')}."
        ) from error
    try:
        dataset = datasets.load_dataset(match["name"], split=match["split"])
    except Exception as error:  # from the network, the hub or the data set
        raise DataError(
            f"{source} is not a local file or folder and could not be read from the Hugging Face "
            f"hub ({single_line(error)}): check the name and the connection."
        ) from error
    return read_data_set(source, dataset)


def read_data_set(name: str, dataset: Any) -> Table:
    """Return a Hugging Face data set, or one of several splits, as a table of this name."""
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
