"""Data sets of Hugging Face to columns; no code of theirs is ever run."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ranksim._utils.storage import atomic_write, cache_dir, sha256
from ranksim.data.table import Table
from ranksim.exceptions import DataError, MissingDependencyError, require_optional

_NAME = re.compile(
    r"(?P<hub>hf://(?:datasets/)?)?(?P<name>(?:\w[\w.-]*/)?\w[\w.-]*)(?::(?P<split>\S+))?"
)
_ROWS = 1000  # read at a time, so that all images of a data set are never in memory


def is_saved(folder: Path) -> bool:
    """Whether ``save_to_disk`` wrote a folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def read_saved(folder: Path) -> Table:
    """Read a data set, or its splits, as ``save_to_disk`` wrote it.

    Raises:
        DataError: it is damaged, or its splits differ in their columns.
    """
    datasets = require_optional("datasets", "hub")
    try:
        found = datasets.load_from_disk(str(folder))
    except Exception as error:  # a damaged folder fails in many ways
        raise DataError(
            f"{folder} is no readable Hugging Face data set ({_first(error)}): save it again."
        ) from error
    return _columns(str(folder), found)


def read_hub(data: str) -> Table:
    """Read ``owner/name``, ``owner/name:split`` or ``hf://name`` from the hub, or from its cache.

    Raises:
        DataError: it is no such name, unknown there, or the hub cannot be reached.
    """
    named = _NAME.fullmatch(data)
    if not named or not (named["hub"] or "/" in named["name"]):
        raise DataError(
            f"{data} is no file or folder: name a table, a folder with one, or a data set of the "
            "Hugging Face hub (owner/name)."
        )
    try:
        datasets = require_optional("datasets", "hub")
    except MissingDependencyError as error:
        raise MissingDependencyError(
            f"{data} is no file or folder here, and to look for it on the Hugging Face hub "
            "datasets must be installed: run pip install 'ranksim[hub]'."
        ) from error
    try:
        found = datasets.load_dataset(named["name"], split=named["split"])
    except Exception as error:  # of the network, the hub, the data set
        raise DataError(
            f"{data} is no file or folder here and cannot be read from the Hugging Face hub "
            f"({_first(error)}): check the name and the connection."
        ) from error
    return _columns(data, found)


def _columns(name: str, found: Any) -> Table:
    datasets = require_optional("datasets", "hub")
    parts = {} if isinstance(found, datasets.Dataset) else dict(found)
    if parts:
        try:
            found = datasets.concatenate_datasets(list(parts.values()))
        except ValueError as error:
            raise DataError(
                f"The splits of {name} differ in their columns: use one of them alone."
            ) from error
    names = list(found.column_names)
    split = [part for part, rows in parts.items() for _ in range(len(rows))]
    if len(parts) > 1:
        if "split" in names:
            raise DataError(f"{name} has splits and a column 'split': rename the column.")
        names.append("split")
    root = cache_dir() / "hub-images"

    def read(column: str) -> list[Any]:
        if column == "split" and len(parts) > 1:
            return split
        kind, values = found.features[column], _values(found, column)
        if isinstance(kind, datasets.Image):
            return [None if value is None else _kept(value, root) for value in values]
        if isinstance(kind, datasets.ClassLabel):
            return [None if value is None else kind.int2str(value) for value in values]
        return list(values)

    return Table(name, names, read, range(1, len(found) + 1), "row", root=root)


def _values(found: Any, column: str) -> Iterator[Any]:
    """Values as they are stored: no image is decoded."""
    stored = found.select_columns([column]).with_format("arrow")
    for start in range(0, len(found), _ROWS):
        yield from stored[start : start + _ROWS].column(0).to_pylist()


def _kept(image: dict[str, Any], root: Path) -> str:
    """Path below ``root`` of an image file, which is written there by its content."""
    content = image["bytes"]
    if content is None:
        content = Path(image["path"]).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    relative = f"{digest[:2]}/{digest}{Path(image['path'] or '').suffix}"
    if not (root / relative).is_file() or sha256(root / relative) != digest:
        with atomic_write(root / relative) as aside:
            aside.write_bytes(content)
    return relative


def _first(error: Exception) -> str:
    """The first line of an error, without its full stop."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".:")
