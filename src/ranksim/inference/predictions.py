"""Predictions of new data: the region that each lies in, and what they are as a file."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.storage import atomic_write
from ranksim.exceptions import UsageError, require_optional
from ranksim.inference.density import covering
from ranksim.metrics import SHOT_NAMES, ShotRegions

_OWN = "in_"  # before the name of a region of one's own, which may be called like another column
_SUFFIXES = (".csv", ".parquet")


@dataclass(frozen=True, eq=False)
class Predictions:
    """A prediction for each sample of some data.

    Args:
        rows: position of its row in the data, from 0, int64 ``(N,)``; of a forecast, that of the
            last reading it sees.
        prediction: in the unit of the label, float64 ``(N,)``.
        region: ``"many"``, ``"medium"`` or ``"few"`` by the training samples at the predicted
            label, ``(N,)``.
        zero_shot: whether no training sample was there at all, bool ``(N,)``.
        named: for each region of one's own, which predictions lie in it, bool ``(N,)``.
        label: the target, where the data holds it, float64 ``(N,)``, NaN where it is missing.
        time: of forecasts of a series with times, when the target is.
    """

    rows: NDArray[np.int64]
    prediction: NDArray[np.float64]
    region: NDArray[np.str_]
    zero_shot: NDArray[np.bool_]
    named: dict[str, NDArray[np.bool_]]
    label: NDArray[np.float64] | None = None
    time: list[Any] | None = None

    @classmethod
    def of(
        cls,
        rows: NDArray[np.int64],
        prediction: NDArray[np.float64],
        regions: ShotRegions,
        label: NDArray[np.float64] | None = None,
        time: list[Any] | None = None,
    ) -> Predictions:
        """With the regions of the predicted labels.

        Example:
            >>> from ranksim.imbalance import LabelBins
            >>> seen = ShotRegions.from_counts(LabelBins.uniform(0.0, 2.0, 2), [0.5] * 30)
            >>> made = Predictions.of(np.arange(3), np.array([0.2, 1.2, 7.0]), seen)
            >>> made.region.tolist(), made.zero_shot.tolist()
            (['medium', 'few', 'few'], [False, True, True])
        """
        masks = covering(regions, prediction).masks(prediction)
        region = np.select([masks[name] for name in SHOT_NAMES], SHOT_NAMES, "")
        named = {name: masks[name] for name, _ in regions.named}
        return cls(rows, prediction, region, masks["zero"], named, label, time)

    def __len__(self) -> int:
        return len(self.prediction)

    def columns(self) -> dict[str, list[Any]]:
        """As a table: ``row`` counts from 1; missing labels are None."""
        table: dict[str, list[Any]] = {"row": (self.rows + 1).tolist()}
        if self.time is not None:
            table["time"] = self.time
        table |= {
            "prediction": self.prediction.tolist(),
            "region": self.region.tolist(),
            "zero_shot": self.zero_shot.tolist(),
            **{_OWN + name: mask.tolist() for name, mask in self.named.items()},
        }
        if self.label is not None:
            for name, values in (("label", self.label), ("error", self.prediction - self.label)):
                table[name] = [None if np.isnan(value) else float(value) for value in values]
        return table

    def counts(self) -> dict[str, int]:
        """How many predictions lie in each region; of zero-shot and own ones where they exist."""
        found = {name: int(np.count_nonzero(self.region == name)) for name in SHOT_NAMES}
        found["zero"] = int(self.zero_shot.sum())
        return found | {name: int(mask.sum()) for name, mask in self.named.items()}

    def write(self, path: Path) -> None:
        """Write them as CSV or Parquet, whole or not at all.

        Raises:
            UsageError: another kind of file is asked for.
        """
        refuse_other_suffix(path)
        table = self.columns()
        if path.suffix.lower() == ".parquet":
            arrow, parquet = (
                require_optional("pyarrow", "train"),
                require_optional("pyarrow.parquet", "train"),
            )
            with atomic_write(path) as aside:
                parquet.write_table(arrow.table(table), aside)
            return
        with atomic_write(path) as aside, aside.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(table)
            columns = [list(map(_cell, values)) for values in table.values()]
            writer.writerows(zip(*columns, strict=True))


def refuse_other_suffix(path: Path) -> None:
    """Refuse a file of predictions that is neither CSV nor Parquet."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"--out must name a .csv or .parquet file, got {path}.")


def _cell(value: Any) -> str:
    """A cell of a CSV; float32 is exact in nine digits, and labels are written shortest."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:.15g}" if isinstance(value, float) else str(value)
