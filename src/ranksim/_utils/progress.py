"""Show the progress of sweeps and other tasks in the terminal."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from ranksim._utils.formatting import METRIC_TITLES, choose_digits, format_count

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

T = TypeVar("T")


class SweepProgress:
    """Prints the progress of a sweep to the terminal; ``live`` draws progress bars.

    ``monitor`` is the name of the validation score, ``headline`` those of the test scores.
    """

    def __init__(
        self,
        console: Console,
        *,
        live: bool,
        monitor: str = "mse",
        headline: Sequence[str] = ("mse", "pearson"),
    ) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        self.console = console
        self.print_line = partial(console.print, soft_wrap=True, highlight=False)
        self.monitor, self.headline = monitor.upper(), headline
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not live,
        )
        self.sweep_task = self.progress.add_task("runs", total=None, visible=False, note="")
        self.run_tasks: dict[str, TaskID] = {}
        self.best: dict[str, float] = {}
        self.is_waiting = False

    def __enter__(self) -> SweepProgress:
        self.progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.progress.stop()

    def begin(self, n_finished: int, costs: Mapping[str, float]) -> None:
        """Start the timer for the remaining runs, whose relative costs are ``costs``."""
        self.total, self.n_finished = n_finished + len(costs), n_finished
        self.start, self.costs, self.finished_cost = time.monotonic(), dict(costs), 0.0
        task, total = self.sweep_task, self.total
        self.progress.update(task, total=total, completed=n_finished, visible=True)
        if n_finished:
            self.console.print(f"{n_finished} of {total} runs were already finished.", style="dim")

    def validated(self, run: str, epoch: int, score: float) -> None:
        """Show the validation score of a run after an epoch."""
        self.best[run] = min(score, self.best.get(run, score))
        note = f"epoch {epoch}, validation {self.monitor} {score:.3f}, best {self.best[run]:.3f}"
        if run not in self.run_tasks:
            self.run_tasks[run] = self.progress.add_task(f"  {run}", total=None, note="")
        self.progress.update(self.run_tasks[run], note=note, completed=epoch)

    def waiting(self, run: str) -> None:
        """Print once that this sweep waits for a run that another sweep trains."""
        if not self.is_waiting:
            self.console.print(f"Waiting for another sweep that is training {run}.")
        self.is_waiting = True

    def finished(self, run: str, record: Mapping[str, Any]) -> None:
        """Print the result of a finished run and the estimated remaining time."""
        self.n_finished += 1
        self.is_waiting = False
        if run in self.run_tasks:
            self.progress.remove_task(self.run_tasks.pop(run))
        self.finished_cost += self.costs.pop(run, 0.0)
        half = sum(self.costs.get(name, 0.0) for name in self.run_tasks) / 2  # of active runs
        rate = (self.finished_cost + half) / (time.monotonic() - self.start)
        minutes = (sum(self.costs.values()) - half) / rate / 60
        note = f"{minutes:.0f} min left" if self.costs else ""
        self.progress.update(self.sweep_task, completed=self.n_finished, note=note)
        position = f"{self.n_finished}/{self.total} {run}"
        result = record["result"]
        if record["status"] == "failed":
            self.console.print(f"{position}: [red]{result['error']}[/]")
            return
        scores = result["metrics"]["test"]["all"]
        parts = [_format_score(n, scores[n]) for n in self.headline if scores[n] is not None]
        if not record["identity"].get("technique", {}).get("estimator"):
            parts.append(format_count(result["epochs"], "epoch"))
        parts.append(f"{result['seconds']:.0f} s")
        parts += [note] * bool(note)
        self.print_line(f"{position}: {', '.join(parts)}")


def _format_score(name: str, score: float) -> str:
    title = METRIC_TITLES[name][0].split(",")[0]
    return f"{title} {score:.{choose_digits(name, [score])}f}"


def shows_widgets(console: Console) -> bool:
    """Return whether a console can draw progress bars in a notebook, which needs ipywidgets."""
    return console.is_jupyter and importlib.util.find_spec("ipywidgets") is not None


_hides_counters: ContextVar[bool] = ContextVar("hides_counters", default=False)


@contextmanager
def hide_counters() -> Iterator[None]:
    """Context in which :func:`progress_counter` and :func:`track` show nothing."""
    token = _hides_counters.set(True)
    try:
        yield
    finally:
        _hides_counters.reset(token)


@contextmanager
def progress_counter(description: str) -> Iterator[Callable[[int], None]]:
    """Yield a function that updates a counter in the terminal while the block runs."""
    from rich.console import Console
    from rich.progress import Progress, TextColumn

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        TextColumn("{task.completed:,.0f}"),
        console=console,
        transient=True,
        disable=_hides_counters.get() or not console.is_terminal,
    ) as progress:
        task = progress.add_task(description, total=None, visible=False)
        yield lambda count: progress.update(task, completed=count, visible=True)


def track(items: Iterable[T], description: str) -> Iterator[T]:
    """Yield items, with a progress bar in the terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    listed, console = list(items), Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        console=console,
        transient=True,
        disable=_hides_counters.get() or not console.is_terminal,
    ) as progress:
        yield from progress.track(listed, description=description)
