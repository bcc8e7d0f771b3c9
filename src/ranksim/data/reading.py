"""Anyone's data to columns: a table, a folder with one, or a Hugging Face data set."""

from __future__ import annotations

from pathlib import Path

from ranksim.data.delimited import read_delimited
from ranksim.data.hub import is_saved, read_hub, read_saved
from ranksim.data.table import Table, read_parquet
from ranksim.exceptions import DataError

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz", ".parquet")
SHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
NAMES = ("labels.csv", "metadata.csv")
_READ = "give a .csv, .tsv, .csv.gz or .parquet file"


def read_columns(data: str) -> Table:
    """Read anyone's data.

    Args:
        data: a CSV (also packed: ``.csv.gz``), TSV or Parquet file; a folder with one table beside
            its images (``labels.csv``, ``metadata.csv``, or the only one); a folder that
            ``save_to_disk`` of Hugging Face's datasets wrote; or the name of a data set of its hub:
            ``owner/name``, ``owner/name:split``, ``hf://name``. Several splits become one table
            with a column ``split``.

    Raises:
        DataError: nothing is there, it is no table, it is damaged, or it holds no row.
        MissingExtraError: a data set of Hugging Face, without ``datasets``.
    """
    path = Path(data).expanduser()
    if path.is_file():
        columns = _read_file(path)
    elif not path.is_dir():
        if data.lower().endswith((*SUFFIXES, *SHEETS)):
            raise DataError(f"{data} does not exist: {_READ} that does.")
        columns = read_hub(data)
    else:
        columns = read_saved(path) if is_saved(path) else _read_file(_table_of(path))
    if not columns.rows:
        raise DataError(f"{columns.name} has no row of values: put one row a sample into it.")
    return columns


def _read_file(path: Path) -> Table:
    name = path.name.lower()
    if name.endswith(SHEETS):
        raise DataError(f"{path} is a spreadsheet: save its sheet as CSV in UTF-8.")
    if not name.endswith(SUFFIXES):
        raise DataError(f"{path} is no table that can be read: {_READ}.")
    return read_parquet(path) if name.endswith(".parquet") else read_delimited(path)


def _table_of(folder: Path) -> Path:
    tables = sorted(
        path
        for path in folder.iterdir()
        if path.name.lower().endswith(SUFFIXES) and path.is_file() and path.name[0] != "."
    )
    chosen = [path for path in tables if path.name in NAMES] or tables
    if not chosen:
        raise DataError(f"{folder} holds no table: put labels.csv beside its files.")
    if len(chosen) > 1:
        found = ", ".join(path.name for path in chosen[:5]) + (", …" if len(chosen) > 5 else "")
        raise DataError(f"{folder} holds several tables ({found}): name one of them.")
    return chosen[0]
