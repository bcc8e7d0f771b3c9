import io

import pytest
from rich.console import Console

from ranksim._utils import progress as progress_module
from ranksim._utils.progress import SweepProgress
from tests.helpers.records import run_record


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress_module.time, "monotonic", lambda: now[0])
    return now


def record(status="done"):
    scores = {"mse": 0.5, "pearson": 80.0}
    result = {"epochs": 3, "seconds": 60.0, "metrics": {"test": {"all": scores}}}
    return run_record("inv", 0, status=status, error="Training diverged.", **result)


def test_remaining_time_uses_costs_and_counts_active_runs_by_half(clock):
    console = Console(file=io.StringIO(), width=200)
    costs = {"a": 1.0, "b": 1.0, "c": 1.0, "head": 0.1}
    with SweepProgress(console, live=False) as watcher:
        watcher.begin(2, costs)
        watcher.validated("a", 1, 0.9)
        watcher.validated("b", 1, 0.9)
        clock[0] = 600.0
        watcher.finished("a", record())  # 1.5 trainings in 10 minutes, 1.6 left
        clock[0] = 800.0
        watcher.finished("b", record("failed"))  # 2 in 13.3 minutes, 1.1 left
        clock[0] = 1200.0
        watcher.finished("c", record())
        watcher.finished("head", record())
    lines = console.file.getvalue().splitlines()
    assert lines[0] == "2 of 6 runs were already finished."
    assert lines[1] == "3/6 a: MSE 0.500, Pearson 80.0, 3 epochs, 60 s, 11 min left"
    assert lines[2] == "4/6 b: Training diverged."
    assert lines[3].endswith("60 s, 1 min left")
    assert lines[4] == "6/6 head: MSE 0.500, Pearson 80.0, 3 epochs, 60 s"


def test_notebooks_have_bars_if_widgets_are_installed(monkeypatch):
    from ranksim._utils import progress

    for spec, has_bars in ((None, False), (object(), True)):
        monkeypatch.setattr(progress.importlib.util, "find_spec", lambda name, spec=spec: spec)
        assert progress.shows_widgets(Console(force_jupyter=True)) == has_bars
        assert not progress.shows_widgets(Console(force_jupyter=False))


def test_counters_can_be_hidden(capfd):
    from ranksim._utils.progress import hide_counters, progress_counter

    with hide_counters(), progress_counter("reading") as update:
        update(3)
    assert capfd.readouterr() == ("", "")
