"""The plan of a sweep: its runs and how they are executed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ranksim.evaluation.record import RunRecord
from ranksim.experiments.run import Run
from ranksim.training.trainer_config import TrainerConfig


@dataclass(frozen=True)
class SweepPlan:
    """The runs of a command and how they are executed.

    Args:
        runs: one for each method and seed, and the first stages, each before the runs that need
            it; all share data, preset and folder.
        rows: the key of the method that each row of the summary reports.
        run_of: makes the run of a method key and a seed under the same settings.
        jobs: number of runs in parallel, each with one thread.
        command: the command line, recorded with the results.
        engine: ``processes`` of this machine, or ``ray`` for tasks of a Ray cluster.
        progress_bar: show Lightning's progress bar; for one job.
        budget: seconds for all runs; seeds that would not end in time are not started.
    """

    runs: Sequence[Run]
    rows: Mapping[str, str]
    run_of: Callable[[str, int], Run]
    jobs: int
    command: str
    engine: str = "processes"
    progress_bar: bool = False
    budget: float | None = None

    @property
    def out(self) -> Path:
        """The folder of the sweep."""
        return self.runs[0].out

    @property
    def trainer_config(self) -> TrainerConfig:
        """The hardware settings of all runs."""
        return self.runs[0].trainer_config


class SweepListener(Protocol):
    """Methods that a sweep calls while it runs."""

    def begin(self, n_finished: int, costs: Mapping[str, float]) -> None:
        """Start; ``costs`` holds the expected relative time of each remaining run."""

    def validated(self, run: str, epoch: int, score: float) -> None:
        """Receive a validation score."""

    def finished(self, run: str, record: RunRecord) -> None:
        """Receive the record of a finished run."""

    def waiting(self, run: str) -> None:
        """Learn that all remaining runs are trained by another sweep."""

    def ended_early(self, seed: int) -> None:
        """Learn that the time budget does not suffice for this seed."""
