"""Scores of a training's validations, as CSV and for TensorBoard, and its progress bar."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ranksim.metrics.scores import METRICS
from ranksim.training.task import TrainingOptions

LOGS = "logs"
_COLUMNS = ("epoch", "step", *(f"val_{name}" for name in METRICS), "train_loss", "train_ranksim")


class TrainingLog:
    """Writes ``logs/metrics.csv`` in a folder, one entry per validation.

    Where tensorboard is installed, it writes events for it too.

    Args:
        folder: of the training; a resumed training appends.
        options: whether to write logs and to show a progress bar.
    """

    def __init__(self, folder: Path, options: TrainingOptions) -> None:
        self._folder, self._options = folder / LOGS, options
        self._stack = ExitStack()
        self._table: Any = None  # csv.DictWriter
        self._file: Any = None
        self._events: Any = None  # torch.utils.tensorboard.SummaryWriter
        self._bar: Any = None  # rich.progress.Progress

    def __enter__(self) -> Self:
        if self._options.progress_bar:
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                Progress,
                TextColumn,
                TimeElapsedColumn,
            )

            columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            bar = Progress(
                TextColumn("Epoch {task.fields[epoch]}"),
                *columns,
                TextColumn("{task.description}"),
                transient=True,
            )
            self._bar = self._stack.enter_context(bar)
            self._bar.add_task("", epoch=1)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def advance(self, step: int, steps: int, epoch: int) -> None:
        """Show in the progress bar how many steps of an epoch, counted from 1, are done."""
        if self._bar is not None:
            self._bar.update(0, completed=step, total=steps, epoch=epoch)

    def write(
        self, step: int, epoch: int, scores: Mapping[str, Any], losses: Mapping[str, float]
    ) -> None:
        """Write validation scores and mean training losses."""
        values: dict[str, Any] = {f"val_{name}": scores[name] for name in METRICS} | dict(losses)
        values = {name: value for name, value in values.items() if value is not None}
        if self._bar is not None:
            text = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
            self._bar.update(0, description=text)
        if not self._options.write_logs:
            return
        if self._table is None:
            self._open(losses)
        self._table.writerow({"epoch": epoch - 1, "step": step - 1, **values})
        self._file.flush()
        for name, value in values.items() if self._events is not None else ():
            self._events.add_scalar(name, value, step - 1)

    def _open(self, losses: Mapping[str, float]) -> None:
        """Open the files, not before the first validation."""
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / "metrics.csv"
        is_new = not path.exists()
        self._file = self._stack.enter_context(path.open("a", newline="", encoding="utf-8"))
        self._table = csv.DictWriter(self._file, dict.fromkeys((*_COLUMNS, *losses)))
        if is_new:
            self._table.writeheader()
        if find_spec("tensorboard") is not None:
            from torch.utils.tensorboard import SummaryWriter

            self._events = SummaryWriter(str(self._folder))
            self._stack.callback(self._events.close)
