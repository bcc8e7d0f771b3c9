"""A table of predictions with labels and regions, and its CSV and Parquet files."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.frames import make_frame
from ranksim._utils.storage import atomic_write, digest_arrays, is_transient_io_error
from ranksim.data.data_report import DataReport
from ranksim.datasets.base import Benchmark
from ranksim.exceptions import DataError, MissingDependencyError, UsageError, require_optional
from ranksim.metrics import REGION_NAMES, SHOT_NAMES
from ranksim.metrics.distributions import Distribution

if TYPE_CHECKING:
    import pandas as pd

PREDICTIONS = "predictions.parquet"
CALIBRATION = "calibration.parquet"  # predictions of the samples that calibrate intervals
_DIGEST = "digest"  # of the columns, in the metadata of the file
_FAMILY = "family"  # of the predicted distributions, in the metadata
_NAMED = "in_"  # prefix of a named region's column, which may be called like another column
_CLUSTER, _OLD_CLUSTER = "cluster", "group"  # columns; files without a column row are older
_ORIGIN = ("row", "line", "image", "group", "time")  # columns
_SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions with their rows, regions and, if known, labels; one per sample.

    Test predictions of a run have the regions of their labels; predictions of new data have the
    regions of the predicted labels.

    Args:
        rows: positions in the test set or the data, from 0, int64 ``(N,)``; the row of a forecast
            is the last reading that it depends on.
        preds: in the unit of the label, float64 ``(N,)``.
        regions: a mask by region name, bool ``(N,)`` each: ``many``, ``medium``, ``few``, ``zero``
            (no training sample in the bin), ``seen``, ``all`` and the named regions.
        labels: float64 ``(N,)``, NaN if missing; ``None`` if the data has no labels.
        groups: group of each sample, ``(N,)`` (see :class:`ranksim.datasets.base.Benchmark`).
        times: times of the forecast targets, if the series has times.
        report: what was read of new data.
        origin: further columns that say where each sample comes from, such as ``line`` and
            ``image``; ``part`` is that of the model's split, ``train``, ``val`` or ``test``, or
            empty if the model did not see the sample.
        distribution: a scale or quantiles of each prediction, of methods that predict them.
        lower: lower ends of the prediction intervals, in the unit of the label, ``(N,)``; infinite
            with too few calibration samples, None of a model without intervals.
        upper: upper ends, likewise.
    """

    rows: NDArray[np.int64]
    preds: NDArray[np.float64]
    regions: dict[str, NDArray[np.bool_]]
    labels: NDArray[np.float64] | None = None
    groups: NDArray[np.int64] | None = None
    times: list[Any] | None = None
    report: DataReport = field(default_factory=DataReport)
    origin: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    distribution: Distribution | None = None
    lower: NDArray[np.float64] | None = None
    upper: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.preds)

    @property
    def scale(self) -> NDArray[np.float64] | None:
        """The predicted scale of each sample, ``(N,)``; None if the method predicts none."""
        return None if self.distribution is None else self.distribution.scale

    @property
    def quantiles(self) -> NDArray[np.float64] | None:
        """The predicted quantiles at ``levels``, ``(N, Q)``; None if the method predicts none."""
        return None if self.distribution is None else self.distribution.quantiles

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of ``quantiles``, ascending."""
        return () if self.distribution is None else self.distribution.levels

    @property
    def region(self) -> NDArray[np.str_]:
        """The shot region of each sample, ``"many"``, ``"medium"`` or ``"few"``, ``(N,)``."""
        return np.select([self.regions[name] for name in SHOT_NAMES], SHOT_NAMES, "")

    @property
    def zero_shot(self) -> NDArray[np.bool_]:
        """A mask of the samples whose label bin contains no training sample, ``(N,)``."""
        return self.regions["zero"]

    @property
    def named_regions(self) -> dict[str, NDArray[np.bool_]]:
        """A mask by name for each region that the user defined, ``(N,)`` each."""
        return {name: mask for name, mask in self.regions.items() if name not in REGION_NAMES}

    @property
    def errors(self) -> NDArray[np.float64]:
        """The error (prediction minus label) of each sample, ``(N,)``."""
        assert self.labels is not None
        return self.preds - self.labels

    def counts(self) -> dict[str, int]:
        """Count the predictions in each region: many, medium, few, zero and the user's regions."""
        names = (*SHOT_NAMES, "zero", *self.named_regions)
        return {name: int(self.regions[name].sum()) for name in names}

    @property
    def _ends(self) -> dict[str, NDArray[np.float64]]:
        ends = {"lower": self.lower, "upper": self.upper}
        return {name: values for name, values in ends.items() if values is not None}

    def columns(self) -> dict[str, list[Any]]:
        """Return the table as lists by column; ``row`` counts from 1, missing labels are None."""
        table: dict[str, list[Any]] = {"row": (self.rows + 1).tolist()}
        table |= {name: list(values) for name, values in self.origin.items()}
        if self.times is not None:
            table["time"] = self.times
        spread = {} if self.distribution is None else self.distribution.columns()
        table |= {
            "prediction": self.preds.tolist(),
            **{name: values.tolist() for name, values in self._ends.items()},
            **{name: values.tolist() for name, values in spread.items()},
            "region": self.region.tolist(),
            "zero_shot": self.zero_shot.tolist(),
            **{_NAMED + name: mask.tolist() for name, mask in self.named_regions.items()},
        }
        if self.labels is not None:
            for name, values in (("label", self.labels), ("error", self.errors)):
                table[name] = [None if np.isnan(value) else float(value) for value in values]
        return table

    def to_frame(self) -> pd.DataFrame:
        """Return the table as a pandas DataFrame."""
        return make_frame(self.columns())

    def write(self, path: Path) -> None:
        """Write the table as CSV or Parquet; an interrupted write leaves no partial file.

        Raises:
            UsageError: the suffix of the path is neither .csv nor .parquet.
        """
        require_table_suffix(path)
        table = self.columns()
        if path.suffix.lower() == ".parquet":
            _write_parquet(path, require_optional("pyarrow", "train").table(table))
            return
        write_columns(path, table)


def write_columns(path: Path, table: Mapping[str, Sequence[Any]]) -> None:
    """Write columns of equal length by name as a CSV file."""
    rows = zip(*(map(_format_cell, values) for values in table.values()), strict=True)
    with atomic_write(path) as partial, partial.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([list(table), *rows])


def require_table_suffix(path: Path) -> None:
    """Raise a UsageError if the suffix of a path is neither .csv nor .parquet."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"--out must be a .csv or .parquet file, got {path}.")


def write_predictions(
    path: Path,
    benchmark: Benchmark[Any],
    regions_from: str,
    rows: np.ndarray,
    preds: np.ndarray,
    distribution: Distribution | None = None,
) -> None:
    """Write the predictions of the given test rows, both ``(N,)``, to a Parquet file.

    The file also holds the scale or quantiles of their ``distribution``, where the samples come
    from (see :class:`Benchmark`), labels, regions (by ``"rule"`` or ``"published"``), the cluster
    of dependent samples, and a digest.
    """
    labels = benchmark.test.labels[rows]
    regions = benchmark.regions(regions_from)
    masks = regions.masks(labels)
    table = require_optional("pyarrow", "train").table(
        {
            "index": rows,
            **{name: [values[row] for row in rows] for name, values in benchmark.origin.items()},
            "label": labels,
            "prediction": preds,
            **({} if distribution is None else distribution.columns()),
            "region": [regions.names[k] for k in regions.bins.digitize(labels)],
            "zero_shot": masks["zero"],
            **({} if benchmark.groups is None else {_CLUSTER: benchmark.groups[rows]}),
            **{_NAMED + name: masks[name] for name, _ in regions.named},
        }
    )
    family = "" if distribution is None else distribution.family
    metadata = {_DIGEST: _compute_digest(_arrays(table), family)}
    metadata |= {_FAMILY: family} if family else {}
    _write_parquet(path, table.replace_schema_metadata(metadata))


def write_calibration(
    path: Path,
    benchmark: Benchmark[Any],
    regions_from: str,
    preds: np.ndarray,
    distribution: Distribution | None = None,
) -> None:
    """Write the predictions of all calibration samples ``(N,)`` like those of test samples."""
    assert benchmark.calibration is not None
    alone = replace(benchmark, test=benchmark.calibration, origin={}, groups=None)
    write_predictions(path, alone, regions_from, np.arange(len(preds)), preds, distribution)


def read_predictions(path: Path) -> Predictions | None:
    """Read a run's test predictions; return None if missing, raise DataError if damaged."""
    if not path.is_file():
        return None
    try:
        table = require_optional("pyarrow.parquet", "train").read_table(path)
        columns = _arrays(table)
        metadata = {k.decode(): v.decode() for k, v in (table.schema.metadata or {}).items()}
        digest, family = metadata.get(_DIGEST), metadata.get(_FAMILY, "")
        damaged = digest is not None and digest != _compute_digest(columns, family)
        region, zero = columns["region"], columns["zero_shot"]
    except MissingDependencyError:
        raise
    except Exception as error:  # Arrow does not document what it raises for damaged files
        if is_transient_io_error(error):
            raise
        damaged = True
    if damaged:
        raise DataError(
            f"The predictions file {path} is damaged: run the command that wrote it again, or "
            "delete the file to report no intervals over its samples."
        )
    masks = {"all": np.ones(len(region), dtype=bool)}
    masks |= {name: region == name for name in SHOT_NAMES}
    masks |= {"zero": zero, "seen": ~zero}
    masks |= {k.removeprefix(_NAMED): v for k, v in columns.items() if k.startswith(_NAMED)}
    rows, preds, labels = (columns[name] for name in ("index", "prediction", "label"))
    clusters = columns.get(_CLUSTER if "row" in columns else _OLD_CLUSTER, columns.get(_CLUSTER))
    names = _ORIGIN if "row" in columns else [name for name in _ORIGIN if name != _OLD_CLUSTER]
    origin = {name: columns[name].tolist() for name in names if name in columns}
    distribution = Distribution.from_columns(family, columns) if family else None
    return Predictions(
        *(rows, preds, masks, labels, clusters), origin=origin, distribution=distribution
    )


def are_damaged(path: Path) -> bool:
    """Return True if a predictions file exists and is damaged."""
    try:
        read_predictions(path)
    except DataError:
        return True
    return False


def _write_parquet(path: Path, table: Any) -> None:
    with atomic_write(path) as partial:
        require_optional("pyarrow.parquet", "train").write_table(table, partial)


def _compute_digest(columns: Mapping[str, NDArray[Any]], family: str) -> str:
    """Return the digest of columns and of the family of the distributions among them, if any."""
    return digest_arrays({**columns, **({_FAMILY: np.array([family])} if family else {})})


def _arrays(table: Any) -> dict[str, NDArray[Any]]:
    """Return the columns of an Arrow table as NumPy arrays by name."""
    columns = {name: table[name].to_numpy() for name in table.column_names}
    return {k: v.astype(str) if v.dtype.hasobject else v for k, v in columns.items()}


def _format_cell(value: Any) -> Any:
    """Format a value for a CSV cell: lowercase booleans, floats with 15 significant digits."""
    if isinstance(value, bool):
        return str(value).lower()
    # 15 digits are the shortest text of float32 and of typical labels
    return f"{value:.15g}" if isinstance(value, float) else value
