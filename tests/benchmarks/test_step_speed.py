"""The plain loop trains as a sweep does, and both are timed."""

import json

import pytest
import torch

from benchmarks import step_speed

ALL = "inv+lds+fds+ranksim"


@pytest.fixture(autouse=True)
def restore_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


@pytest.mark.slow
def test_writes_figures_of_both_trainings(small_sts, tmp_path, capsys):
    out = tmp_path / "figures.json"
    few = ["--methods", ALL, "--threads", "1", "--repeats", "2", "--json", str(out)]
    step_speed.main(["--data-dir", str(small_sts), *few])
    (row,) = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert (row["method"], row["threads"]) == (ALL, 1)
    figures = [figure for figure in row.values() if isinstance(figure, dict)]
    assert len(figures) == 6
    assert all(0 < figure["least"] <= figure["median"] <= figure["most"] for figure in figures)
    output = capsys.readouterr().out
    assert f"{row['steps_ratio']['median']:.3f} (" in output
    assert f"{row['undisturbed_ratio']:.3f}" in output


def test_different_trainings_are_not_compared(monkeypatch):
    def train(scores):
        return lambda *training: step_speed.StepTimes([1.0], 1.0, scores)

    monkeypatch.setattr(step_speed, "train_by_hand", train([0.5]))
    monkeypatch.setattr(step_speed, "train_as_sweep", train([0.5 + 1e-6]))
    with pytest.raises(SystemExit, match="not the same training"):
        step_speed.compare(None, None, None, 1)


def test_step_lasts_from_end_to_end(monkeypatch):
    moments = iter([10.0, 12.0, 13.0, 14.5, 20.0])
    monkeypatch.setattr(step_speed.time, "perf_counter", lambda: next(moments))
    clock = step_speed.Clock()
    clock.on_train_epoch_start()
    for _ in range(3):
        clock.on_train_batch_end()
    clock.on_train_end()
    times = clock.step_times([1.0])
    assert times == step_speed.StepTimes([1.0, 1.5], 10.0, [1.0])
    assert times.steps == 2 / 2.5


def test_shortest_time_of_each_step_counts():
    times = [step_speed.StepTimes(each, 9.0, []) for each in ([1.0, 5.0], [4.0, 2.0])]
    assert step_speed.shortest_epoch(times) == 3.0
