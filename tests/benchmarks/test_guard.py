"""The guard against regressions: which ratios are too high, what it says, and the real one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import guard
from ranksim._utils.provenance import collect_provenance


@pytest.fixture(autouse=True)
def restore_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run the guard with measurements that are given, in turn, and a committed ratio of 2."""

    def run_guard(values, machine=None, arguments=()):
        measurements = iter(values)
        monkeypatch.setattr(guard, "RATIOS", {"fit / loop": lambda: next(measurements)})
        path = tmp_path / "guard.json"
        if not path.exists():
            facts = collect_provenance() | ({} if machine is None else {"machine": machine})
            path.write_text(json.dumps({"ratios": {"fit / loop": 2.0}, **facts}))
        guard.main(["--file", str(path), *arguments])
        return path, list(measurements)

    return run_guard


@pytest.mark.parametrize("values", [[2.0], [0.1], [3.0], [3.1, 2.9], [9.0, 9.0, 3.0]])
def test_ratio_holds_if_one_of_three_measurements_does(run, values):
    _, rest = run([*values, "not measured"])
    assert rest == ["not measured"]


def test_ratio_that_is_too_high_each_time_is_named(run, capsys):
    with pytest.raises(SystemExit) as error:
        run([9.0, 3.125, 4.0])
    assert error.value.code == (
        "fit / loop rose from 2.00 to 3.12, more than 1.5 times: find the commit that made it "
        "slower, or record the new ratio with python -m benchmarks.guard --write."
    )
    assert "| fit / loop | 2.00 | 3.12 | 3.00 | too high |" in capsys.readouterr().out


def test_another_processor_has_a_higher_tolerance(run):
    other = {"system": "Linux", "processor": "another"}
    run([4.9], machine=other)
    with pytest.raises(SystemExit, match=r"more than 2\.5 times"):
        run([5.1] * 3, machine=other)


def test_written_ratios_are_medians_and_are_compared_next(run):
    path, _ = run([5.0, 4.0, 9.0], arguments=["--write"])
    assert json.loads(path.read_text())["ratios"] == {"fit / loop": 5.0}
    run([7.5])
    with pytest.raises(SystemExit, match=r"rose from 5\.00 to 7\.60"):
        run([7.6] * 3)


def test_file_with_other_ratios_is_rejected(tmp_path):
    path = tmp_path / "guard.json"
    path.write_text(json.dumps({"ratios": {"another": 1.0}}))
    with pytest.raises(SystemExit, match=r"other ratios: record these with .* --write\."):
        guard.main(["--file", str(path)])


def test_missing_compiled_function_is_an_error(run, monkeypatch):
    def fail():
        raise OSError

    monkeypatch.setattr(guard, "load_library", fail)
    with pytest.raises(SystemExit, match=r"missing or older than term\.c: run .*compile\.py\."):
        run([1.0])


def test_slower_loss_has_a_higher_ratio(monkeypatch):
    ratio = min(guard.measure_term(16, 64, seconds=0.05) for _ in range(2))
    loss = guard.make_step

    def make_slow_step(features, labels):
        step = loss(features, labels)
        return lambda: [step() for _ in range(4)]

    monkeypatch.setattr(guard, "make_step", make_slow_step)
    assert guard.measure_term(16, 64, seconds=0.05) > 2 * ratio


def test_committed_file_has_all_ratios():
    assert min(guard.read_committed(guard.FILE, guard.RATIOS)["ratios"].values()) > 0


@pytest.mark.slow
def test_nothing_has_become_slower():
    """In a process without the plugins of tests; it measures again what seems too slow."""
    command = [sys.executable, "-m", "benchmarks.guard"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    process = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count("| held |") == len(guard.RATIOS)
