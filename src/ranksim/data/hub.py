"""Read Hugging Face data sets as tables, without running code from the data set."""

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
_CHUNK_ROWS = 1000  # rows read at a time, so that never all images are in memory


def is_saved_dataset(folder: Path) -> bool:
    """Return True if ``save_to_disk`` wrote this folder."""
    return any((folder / name).is_file() for name in ("dataset_dict.json", "state.json"))


def read_saved(folder: Path) -> Table:
    """Read a data set, or its splits, written by ``save_to_disk``."""
    datasets = require_optional("datasets", "hub")
    try:
        dataset = datasets.load_from_disk(str(folder))
    except Exception as error:  # datasets raises many types for damaged folders
        raise DataError(
            f"{folder} is not a readable Hugging Face data set ({_first_line(error)}): save it "
            "again."
        ) from error
    return _to_table(str(folder), dataset)


def read_hub(source: str) -> Table:
    """Read ``owner/name``, ``owner/name:split`` or ``hf://name`` from the hub or its cache."""
    match = _NAME.fullmatch(source)
    if not match or not (match["hub"] or "/" in match["name"]):
        raise DataError(
            f"{source} does not exist: pass a table, a folder with one, or a data set of the "
            "Hugging Face hub (owner/name)."
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
            f"hub ({_first_line(error)}): check the name and the connection."
        ) from error
    return _to_table(source, dataset)


def _to_table(name: str, dataset: Any) -> Table:
    datasets = require_optional("datasets", "hub")
    parts = {} if isinstance(dataset, datasets.Dataset) else dict(dataset)
    if parts:
        try:
            dataset = datasets.concatenate_datasets(list(parts.values()))
        except ValueError as error:
            raise DataError(
                f"The splits of {name} have different columns: use one split, as in name:train."
            ) from error
    names = list(dataset.column_names)
    split = [part for part, rows in parts.items() for _ in range(len(rows))]
    if len(parts) > 1:
        if "split" in names:
            raise DataError(f"{name} has several splits and a column 'split': rename the column.")
        names.append("split")
    root = cache_dir() / "hub-images"

    def read(column: str) -> list[Any]:
        if column == "split" and len(parts) > 1:
            return split
        feature, values = dataset.features[column], _iterate_values(dataset, column)
        if isinstance(feature, datasets.Image):
            return [None if value is None else _cache_image(value, root) for value in values]
        if isinstance(feature, datasets.ClassLabel):
            return [None if value is None else feature.int2str(value) for value in values]
        return list(values)

    return Table(name, names, read, range(1, len(dataset) + 1), "row", root=root)


def _iterate_values(dataset: Any, column: str) -> Iterator[Any]:
    """Yield the stored values of a column; images are not decoded."""
    stored = dataset.select_columns([column]).with_format("arrow")
    for start in range(0, len(dataset), _CHUNK_ROWS):
        yield from stored[start : start + _CHUNK_ROWS].column(0).to_pylist()


def _cache_image(image: dict[str, Any], root: Path) -> str:
    """Write an image file below ``root``, named by its SHA-256; return its relative path."""
    content = image["bytes"]
    if content is None:
        content = Path(image["path"]).read_bytes()
    digest = hashlib.sha256(content).hexdigest()
    relative = f"{digest[:2]}/{digest}{Path(image['path'] or '').suffix}"
    if not (root / relative).is_file() or sha256(root / relative) != digest:
        with atomic_write(root / relative) as temporary:
            temporary.write_bytes(content)
    return relative


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0].rstrip(".:")
