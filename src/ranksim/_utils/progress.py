"""Progress of a sweep in the terminal: the whole, and each run that is under way."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from ranksim._utils.formatting import METRIC_TITLES, choose_digits, format_count


class SweepProgress:
    """A :class:`ranksim.experiments.sweep.SweepListener` that draws; plain lines where there is no terminal.

    Args:
        console: where to draw.
        live: redraw in place; off where another bar is drawn or output goes to a file.
        monitor: the validation score that is told.
        headline: the test scores that are told.
    """

    def __init__(
        self,
        console: Console,
        *,
        live: bool,
        monitor: str = "mse",
        headline: Sequence[str] = ("mse", "pearson"),
    ) -> None:
        self.console = console
        self.monitor, self.headline = monitor.upper(), headline
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not live,
        )
        self.whole: TaskID | None = None
        self.rows: dict[str, TaskID] = {}
        self.best: dict[str, float] = {}
        self.since, self.spent = time.monotonic(), 0.0
        self.costs: dict[str, float] = {}
        self.told = False

    def __enter__(self) -> SweepProgress:
        self.progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.progress.stop()

    def begin(self, finished: int, costs: Mapping[str, float]) -> None:
        """Start the clock: so many runs are finished, the others cost this much each."""
        total = finished + len(costs)
        self.since, self.costs = time.monotonic(), dict(costs)
        self.spent = 0.0
        self.total, self.done = total, finished
        self.whole = self.progress.add_task("runs", total=total, completed=finished, note="")
        if finished:
            self.console.print(f"{finished} of {total} runs were finished before.", style="dim")

    def validated(self, run: str, epoch: int, score: float) -> None:
        self.best[run] = min(score, self.best.get(run, score))
        note = f"epoch {epoch}, validation {self.monitor} {score:.3f}, best {self.best[run]:.3f}"
        if run not in self.rows:
            self.rows[run] = self.progress.add_task(f"  {run}", total=None, note="")
        self.progress.update(self.rows[run], note=note, completed=epoch)

    def waiting(self, run: str) -> None:
        """Another sweep is at work on what is left; said once."""
        if not self.told:
            self.console.print(f"Waiting for another sweep, which is at work on {run}.")
        self.told = True

    def ended_early(self, seed: int) -> None:
        """The budget leaves no time for this seed."""
        self.console.print(
            f"The budget leaves no time for seed {seed}: what is finished so far counts; the same "
            "command with a larger --budget goes on.",
            soft_wrap=True,
            highlight=False,
        )

    def finished(self, run: str, record: Mapping[str, Any]) -> None:
        self.done += 1
        self.told = False
        if run in self.rows:
            self.progress.remove_task(self.rows.pop(run))
        self.spent += self.costs.pop(run, 0.0)
        # runs under way are taken to be half done
        half = sum(self.costs.get(name, 0.0) for name in self.rows) / 2
        rate = (self.spent + half) / (time.monotonic() - self.since)
        left = (sum(self.costs.values()) - half) / rate
        note = f"{left / 60:.0f} min left" if self.costs else ""
        if self.whole is not None:
            self.progress.update(self.whole, completed=self.done, note=note)
        if record["status"] == "failed":
            self.console.print(
                f"{self.done}/{self.total} {run}: [red]{record['result']['error']}[/]"
            )
            return
        result = record["result"]
        scores = result["metrics"]["test"]["all"]
        figures = ", ".join(
            f"{METRIC_TITLES[name][0].split(',')[0]} {scores[name]:.{choose_digits(name, [scores[name]])}f}"
            for name in self.headline
            if scores[name] is not None
        )
        self.console.print(
            f"{self.done}/{self.total} {run}: {figures}, {format_count(result['epochs'], 'epoch')}, "
            f"{result['seconds']:.0f} s{', cut short by the budget' * ('truncated' in result)}"
            f"{note and ', ' + note}",
            highlight=False,
            soft_wrap=True,
        )


@contextmanager
def progress_counter(what: str) -> Iterator[Callable[[int], None]]:
    """A count that moves on in the terminal; it appears when it is first told a number.

    Example:
        >>> with progress_counter("decoding images") as told:
        ...     told(64)
    """
    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,.0f}"),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    ) as progress:
        task = progress.add_task(what, total=None, visible=False)
        yield lambda done: progress.update(task, completed=done, visible=True)


def print_notice(sentence: str) -> None:
    """A line beside the results, for whoever reads along."""
    Console(stderr=True).print(sentence, highlight=False, soft_wrap=True)
