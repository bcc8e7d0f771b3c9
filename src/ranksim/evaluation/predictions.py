"""Test predictions of a run on disk: with the label and the regions of each sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.storage import atomic_write, digest_arrays, is_transient_io_error
from ranksim.datasets.base import Benchmark
from ranksim.exceptions import DataError, MissingDependencyError, require_optional
from ranksim.metrics import REGION_NAMES, SHOT_NAMES

PREDICTIONS = "predictions.parquet"
_DIGEST = "digest"  # of the columns, in the file's own notes
_OWN = "in_"  # a column of its own for each named region, which may be called like another column


@dataclass(frozen=True, eq=False)
class Predictions:
    """What is on disk.

    Args:
        index: positions in the test set, ``(N,)``.
        label, prediction: in the unit of the label, ``(N,)``.
        regions: for each region, which samples lie in it, ``(N,)``.
        groups: what each belongs to (see :class:`ranksim.data.Benchmark`), ``(N,)``.
    """

    index: NDArray[np.int64]
    label: NDArray[np.float64]
    prediction: NDArray[np.float64]
    regions: dict[str, NDArray[np.bool_]]
    groups: NDArray[np.int64] | None = None


def write_predictions(
    path: Path, benchmark: Benchmark[Any], shots: str, rows: np.ndarray, prediction: np.ndarray
) -> None:
    """One row a test sample: its position, label, prediction, regions, and group if it has one."""
    pyarrow, parquet = (
        require_optional("pyarrow", "train"),
        require_optional("pyarrow.parquet", "train"),
    )
    labels = benchmark.test.labels[rows]
    regions = benchmark.regions(shots)
    masks = regions.masks(labels)
    table = pyarrow.table(
        {
            "index": rows,
            "label": labels,
            "prediction": prediction,
            "region": [regions.names[k] for k in regions.bins.digitize(labels)],
            "zero_shot": masks["zero"],
            **({} if benchmark.groups is None else {"group": benchmark.groups[rows]}),
            **{_OWN + name: masks[name] for name, _ in regions.named},
        }
    )
    table = table.replace_schema_metadata({_DIGEST: digest_arrays(_columns(table))})
    with atomic_write(path) as aside:
        parquet.write_table(table, aside)


def _columns(table: Any) -> dict[str, NDArray[Any]]:
    columns = {name: table[name].to_numpy() for name in table.column_names}
    # text as NumPy's own, which a digest can be made of
    return {k: v.astype(str) if v.dtype.hasobject else v for k, v in columns.items()}


def are_damaged(path: Path) -> bool:
    """Whether predictions are there and not what was written."""
    try:
        read_predictions(path)
    except DataError:
        return True
    return False


def read_predictions(path: Path) -> Predictions | None:
    """Predictions as they were written; ``None`` where they are gone.

    Raises:
        DataError: they are damaged.
        OSError: they cannot be read, whatever they hold.
    """
    if not path.is_file():
        return None
    try:
        table = require_optional("pyarrow.parquet", "train").read_table(path)
        columns = _columns(table)
        known = (table.schema.metadata or {}).get(_DIGEST.encode())
        damaged = known is not None and known.decode() != digest_arrays(columns)
        region, zero = columns["region"], columns["zero_shot"]
    except MissingDependencyError:
        raise
    except Exception as error:  # Arrow promises no list of what damage makes it raise
        if is_transient_io_error(error):
            raise
        damaged = True
    if damaged:
        raise DataError(
            f"{path} is damaged: start the command that made it again, or delete the file to "
            "leave out intervals over its samples."
        )
    shots = [region == name for name in SHOT_NAMES]
    everything = np.ones(len(region), dtype=bool)
    masks = dict(zip(REGION_NAMES, [everything, *shots, zero, ~zero], strict=True))
    named = [name for name in columns if name.startswith(_OWN)]
    masks |= {name.removeprefix(_OWN): columns[name] for name in named}
    index, label, prediction = (columns[name] for name in ("index", "label", "prediction"))
    return Predictions(index, label, prediction, masks, columns.get("group"))
