"""Prediction intervals of a saved model: calibration samples, and what they cover."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.storage import read_verified_json, with_digest, write_json
from ranksim.datasets.base import Benchmark
from ranksim.evaluation.coverage import (
    CalibratedRun,
    Calibration,
    average_runs,
    make_shift,
)
from ranksim.evaluation.predictions import CALIBRATION, PREDICTIONS, read_predictions
from ranksim.evaluation.views import ViewCounts
from ranksim.exceptions import DataError
from ranksim.metrics import ShotRegions
from ranksim.metrics.distributions import Distribution
from ranksim.uncertainty import LabelShift

if TYPE_CHECKING:
    from ranksim.experiments.run import Run

INTERVALS = "intervals.json"
_TABLES = (PREDICTIONS, CALIBRATION)
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SavedIntervals:
    """The intervals of a saved model.

    Args:
        level: coverage, between 0 and 1.
        calibration: predictions of the calibration samples.
    """

    level: float
    calibration: Calibration

    def predict(self, preds: Floats, distribution: Distribution | None) -> tuple[Floats, Floats]:
        """Return the lower and upper ends ``(N,)`` of the intervals of predictions ``(N,)``."""
        has_both = self.calibration.distribution is not None
        return self.calibration.predict(preds, self.level, distribution if has_both else None)

    @classmethod
    def fit(
        cls, run: CalibratedRun, benchmark: Benchmark[Any], regions: ShotRegions, level: float
    ) -> SavedIntervals:
        """Return the intervals that calibration samples give for new samples.

        If the test set is balanced by label, and so the calibration samples, these are weighted by
        label bin as in the data, as new samples are.
        """
        counts, shift = ViewCounts.from_benchmark(benchmark), None
        if counts.main_view == "balanced":
            shift = make_shift(run.calibration.labels, counts.edges, counts.rows)
        return cls(level, run.calibrate(regions, shift))

    def save(self, folder: Path) -> None:
        """Write the intervals to a model folder."""
        calibration, shift = self.calibration, self.calibration.shift
        content: dict[str, Any] = {
            "format": 1,
            "level": self.level,
            "labels": calibration.labels.tolist(),
            "preds": calibration.preds.tolist(),
        }
        if (distribution := calibration.distribution) is not None:
            columns = {name: values.tolist() for name, values in distribution.columns().items()}
            content["distribution"] = {"family": distribution.family, "columns": columns}
        if shift is not None:
            content["shift"] = {"edges": shift.edges.tolist(), "ratios": shift.ratios.tolist()}
        write_json(folder / INTERVALS, with_digest(content))

    @classmethod
    def load(
        cls, folder: Path, regions: ShotRegions, *, is_required: bool
    ) -> SavedIntervals | None:
        """Load the intervals of a model; return None if it has none.

        Raises:
            DataError: the file is damaged, or missing although the model was fitted with intervals.
        """
        path = folder / INTERVALS
        if not path.exists():
            if is_required:
                raise DataError(f"{path} is missing: copy the model again, or fit it again.")
            return None
        try:
            content = read_verified_json(path)
            shift = content.get("shift")
            calibration = Calibration(
                np.asarray(content["labels"], np.float64),
                np.asarray(content["preds"], np.float64),
                regions,
                _read_distribution(content.get("distribution")),
                None if shift is None else LabelShift(*map(_to_array, shift.values())),
            )
            return cls(float(content["level"]), calibration)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is damaged: copy the model again, or fit it again.") from error


def read_calibrated_run(runs: Sequence[Run]) -> CalibratedRun:
    """Read the predictions of test and calibration samples; of several seeds their mean."""
    tables = []
    for run in runs:
        test, calibration = (read_predictions(run.folder / name) for name in _TABLES)
        if test is None or calibration is None:
            name = _TABLES[0 if test is None else 1]
            raise DataError(f"{run.folder / name} is missing: run the command again.")
        tables.append(CalibratedRun(test, calibration))
    return tables[0] if len(tables) == 1 else average_runs(tables)


def _read_distribution(content: Mapping[str, Any] | None) -> Distribution | None:
    if content is None:
        return None
    columns = {name: _to_array(values) for name, values in content["columns"].items()}
    return Distribution.from_columns(content["family"], columns)


def _to_array(values: Sequence[float]) -> Floats:
    return np.asarray(values, dtype=np.float64)
