"""Comparisons planned for a time budget, and options that a second command omits."""

import itertools
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranksim.cli.train import run_sweep_request
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments import budget as budget_module
from ranksim.experiments import run as run_module
from ranksim.experiments.budget import (
    BUDGET,
    MIN_VALIDATIONS,
    BudgetPlan,
    RunCost,
    _cost_key,
    _Costs,
    _makespan,
    _time_run,
    _Trial,
    format_minutes,
    plan_budget,
)
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe
from tests.helpers import user_data
from tests.helpers.requests import make_request

ROWS = ["vanilla", "inv", "rrt", "vanilla+ranksim"]
STEPS = 10  # per validation


@pytest.fixture
def sweep(tmp_path):
    """Sweeps over a small table; returns runs by method without timing, and the results."""
    data = user_data.write_table(tmp_path)

    def run(out="out", methods="vanilla", *, epochs=4, **options):
        names = ("budget", "seeds", "max_steps", "strict")
        settings = {name: options.pop(name) for name in names if name in options}
        request = make_request(
            data, tmp_path / out, options={"target": "price", **options}, methods=methods,
            changes=("hidden=8",), max_epochs=epochs, **settings,
        )  # fmt: skip
        results = run_sweep_request(request, as_json=False)
        for run in results["runs"]:
            del run["result"]["seconds"], run["result"]["peak_memory_mb"]
        return {run["identity"]["method"]: run for run in results["runs"]}, results

    return run


class FakeRun:
    """A run of a network, as far as the plan reads it."""

    def __init__(self, key, out):
        self.out, self.method = out, type("Method", (), {"key": key})


def make_costs(jobs=2, spent=5.0, **steps):
    """Costs of ROWS, whose steps take ``steps`` seconds; rrt needs inv first."""
    networks = {row: RunCost(1.0, steps.get(row.split("+")[-1], 0.01), 0.1) for row in ROWS}
    return _Costs(networks, {"rrt": ["inv"]}, [0.5, 3.0], spent, STEPS, jobs)


@pytest.fixture
def plan(monkeypatch, tmp_path):
    """Plan for a number of seconds with made-up costs."""
    folders = (tmp_path / str(k) for k in itertools.count())

    def make_plan(seconds, costs=None, seeds=(0, 1, 2, 3, 4), longest=100):
        monkeypatch.setattr(budget_module, "_measure_costs", lambda *_: costs or make_costs())
        monkeypatch.setattr(budget_module, "_most_validations", lambda _: longest)
        out = next(folders)
        out.mkdir()
        runs = [FakeRun(row, out) for row in ROWS]
        return plan_budget(
            seconds, runs, ROWS, seeds=seeds, jobs=2, engine="processes", num_samples=50, start=0.0
        )

    return make_plan


def test_longest_training_that_fits_is_chosen(plan):
    costs = make_costs()
    best = plan(60.0, costs)
    validations = best.steps // STEPS
    assert (len(best.seeds), best.dropped) == (3, [])
    assert costs.estimate(ROWS, 3, validations) == best.estimate <= 60
    assert costs.estimate(ROWS, 3, validations + 1) > 60


def test_seeds_are_added_once_the_whole_length_fits(plan):
    costs = make_costs()
    seeds = [len(plan(costs.estimate(ROWS, k, 20) + 1, costs, longest=20).seeds) for k in (3, 4, 9)]
    assert seeds == [3, 4, 5]
    assert plan(1e6, longest=20, seeds=(7,)).seeds == [7, 8, 9]


def test_networks_are_dropped_from_the_end_and_never_the_first(plan):
    slow = make_costs(ranksim=1.0)
    assert plan(100.0, slow).dropped == ["vanilla+ranksim"]
    slow = make_costs(rrt=1.0)
    assert plan(100.0, slow).dropped == ["vanilla+ranksim", "rrt"]


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_refusal_names_a_budget_that_suffices(plan, jobs):
    costs = make_costs(jobs, inv=2.0)
    least = costs.estimate(ROWS[:2], 3, MIN_VALIDATIONS)
    with pytest.raises(UsageError, match=r"too small: 3 seeds .* need about") as error:
        plan(least - 1, costs)
    assert f"--methods vanilla,inv and about {format_minutes(least)}" in str(error.value)
    assert "vanilla+ranksim" in plan(least + 1, costs).dropped


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(1, 4))
def test_makespan_equals_a_simulation_second_by_second(durations, jobs):
    waiting, working, now = list(durations), [], 0
    while waiting or working:
        while waiting and len(working) < jobs:
            working.append(waiting.pop(0))
        working = [left - 1 for left in working if left > 1]
        now += 1
    assert _makespan(durations, jobs) == now


@pytest.fixture
def timed(monkeypatch):
    """Trials by (steps, validations), with made-up costs instead of trainings."""
    trials = []
    monkeypatch.setattr(budget_module, "load_task", lambda *_, **__: None)
    recipe = load_recipe("table", "small", parse_method("vanilla", "inverse"), {})

    run = SimpleNamespace(recipe=recipe, source=None, trainer_config=None, seed=0)

    def measure(cost, share, *, reports_steps=True):
        def time_trial(run, folder, steps, validations):
            trials.append((steps, validations))
            now, trial = cost.start, _Trial(0.0, 0.0, [], [])
            for step in range(1, steps + 1):
                now += cost.step
                trial.steps += [now] * reports_steps
                if step % (steps // validations) == 0:
                    now += cost.validation
                    trial.validations += [now] * reports_steps
            trial.end = now
            return trial

        del trials[:]
        monkeypatch.setattr(budget_module, "_time_trial", time_trial)
        return _time_run(run, Path(), share)[1], trials

    return measure


@pytest.mark.parametrize(
    ("cost", "reports_steps", "trainings"),
    [
        (RunCost(3.0, 2.0, 4.0), True, 1),  # images: further trials would take a minute
        (RunCost(3.0, 2.0, 4.0), False, 4),  # in several processes
        (RunCost(1.0, 0.001, 0.05), True, 5),  # tables: many more steps are timed
    ],
)
def test_cost_is_measured_by_trials_of_suitable_length(timed, cost, reports_steps, trainings):
    measured, trials = timed(cost, share=5.0, reports_steps=reports_steps)
    assert (measured.start, measured.step, measured.validation) == pytest.approx(
        (cost.start, cost.step, cost.validation)
    )
    assert len(trials) == trainings


@pytest.mark.parametrize(
    ("methods", "changes", "groups"),
    [
        ("vanilla,inv,sqinv+lds,focal-r", [], 1),
        ("vanilla,vanilla+fds,inv+fds,vanilla+ranksim,rrt", [], 4),
        ("trees,trees+inv,median", [], 3),
        ("vanilla,inv", [("inv", "focal_beta"), ("inv", "max_count")], 1),
        ("vanilla,inv", [("inv", "batch_size")], 2),
    ],
)
def test_methods_that_differ_in_weights_alone_are_timed_once(methods, changes, groups):
    keys = set()
    for name in methods.split(","):
        method = parse_method(name, "inverse")
        values = {field: 7 for row, field in changes if row == name}
        recipe = load_recipe("table", "small", method, values)
        keys.add(_cost_key(SimpleNamespace(method=method, recipe=recipe)))
    assert len(keys) == groups


@pytest.mark.slow
def test_all_networks_train_for_equal_steps(sweep, tmp_path, capsys):
    methods = "vanilla,rrt,vanilla+ranksim,linear"
    runs, results = sweep(methods=methods, budget=300.0, epochs=6, seeds="1")
    plan = BudgetPlan(**{k: v for k, v in read_budget(tmp_path).items() if k != "digest"})
    output = " ".join(capsys.readouterr().out.split())
    assert plan.describe() in output
    networks = [r for r in results["runs"] if r["identity"]["method"] != "linear"]
    assert {run["result"]["steps"] for run in networks} == {plan.steps}
    assert {run["identity"]["recipe"]["patience"] for run in networks} == {0}
    assert all(len(row["seeds"]) >= 3 for row in results["summary"] if row["method"] != "linear")

    again, _ = sweep(methods=methods, budget=300.0, epochs=6, seeds="1")
    assert again == runs  # resumed from the plan, not timed again
    with pytest.raises(UsageError, match=r"budget of 5 min: give the same --budget, or another"):
        sweep(methods=methods, budget=200.0, epochs=6, seeds="1")


@pytest.fixture
def checked(monkeypatch):
    """The methods whose data is checked, with ``strict``; nothing is timed."""
    calls, check = [], run_module.check_data

    def record(run, *, strict=False):
        calls.append((run.method.key, strict))
        return check(run, strict=strict)

    monkeypatch.setattr(run_module, "check_data", record)
    monkeypatch.setattr(budget_module, "_measure_costs", lambda *_: make_costs())
    return calls


@pytest.mark.slow
def test_each_method_is_checked_once(sweep, checked, tmp_path, capsys):
    options = {"methods": "vanilla,rrt,median", "budget": 1e4, "epochs": 5, "strict": True}
    runs, _ = sweep(**options)
    assert checked == [(name, True) for name in ("vanilla", "rrt", "median")]
    assert capsys.readouterr().out.count("Rows ") == 1
    del checked[:]
    assert sweep(**options)[0] == runs
    assert checked == []  # all runs are finished
    shutil.rmtree(tmp_path / "out" / "runs" / "rrt")
    sweep(**options)
    assert checked == [("rrt", True)]


def test_warnings_are_errors_before_anything_is_timed(checked, tmp_path, monkeypatch):
    rows = [f"{k % 83},{k % 5},{k % 5}" for k in range(90)]
    data = tmp_path / "homes.csv"
    data.write_text("\n".join(["size,price,copy", *rows]))
    arguments = {"options": {"target": "price"}, "methods": "vanilla,inv", "max_epochs": 5}
    arguments |= {"budget": 1e4, "changes": ("hidden=4",)}
    monkeypatch.setattr(budget_module, "_measure_costs", lambda *_: pytest.fail("timed"))
    with pytest.raises(DataError, match="--strict does not accept warnings"):
        run_benchmark(make_request(data, tmp_path / "out", strict=True, **arguments))
    assert checked == [("vanilla", True)]
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(budget_module, "_measure_costs", lambda *_: make_costs())
    results = run_benchmark(make_request(data, tmp_path / "out", **arguments))
    assert "equal to the target" in results["data_report"]["columns"]["left_out"]["copy"]


def read_budget(tmp_path):
    return json.loads((tmp_path / "out" / BUDGET).read_text())


def test_budget_and_number_of_steps_exclude_each_other(sweep):
    with pytest.raises(UsageError, match="leave out --max-steps"):
        sweep(budget=10.0, max_steps=3)


@pytest.mark.slow
def test_load_of_the_machine_changes_no_result(sweep, tmp_path):
    """The same plan beside two busy processes."""
    options = {"methods": "vanilla,sqinv", "budget": 300.0, "epochs": 8}
    idle, _ = sweep(**options)
    (tmp_path / "busy").mkdir()
    shutil.copy(tmp_path / "out" / BUDGET, tmp_path / "busy")
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        loaded, _ = sweep("busy", **options)
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert loaded == idle


@pytest.mark.parametrize(
    ("first", "named"),
    [
        ({"region": ("dear=>20",)}, "data.options.region"),
        ({"categories": ("size",)}, "data.options.categories"),
        ({"epochs": 1}, "limits.epochs"),
    ],
)
def test_omitted_option_is_another_setting(sweep, tmp_path, first, named):
    sweep(**first)
    before = json.loads((tmp_path / "out/results.json").read_text())
    with pytest.raises(UsageError, match=f"{named} .* has None"):
        sweep(epochs=None) if "epochs" in first else sweep()
    assert json.loads((tmp_path / "out/results.json").read_text()) == before
