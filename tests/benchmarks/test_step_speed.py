"""The plain loop trains what a sweep trains, and both are timed."""

import json

import pytest
import torch

from benchmarks import step_speed

ALL = "inv+lds+fds+ranksim"


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(False)


def test_figures_of_both_sides(small_sts, tmp_path, capsys):
    out = tmp_path / "figures.json"
    few = ["--methods", ALL, "--threads", "1", "--repeats", "2", "--json", str(out)]
    step_speed.main(["--data-dir", str(small_sts), *few])
    (row,) = json.loads(out.read_text(encoding="utf-8"))["rows"]
    assert (row["method"], row["threads"]) == (ALL, 1)
    figures = [figure for figure in row.values() if isinstance(figure, dict)]
    assert len(figures) == 6
    assert all(0 < each["least"] <= each["median"] <= each["most"] for each in figures)
    told = capsys.readouterr().out
    assert f"{row['steps_ratio']['median']:.3f} (" in told
    assert f"{row['undisturbed_ratio']:.3f}" in told


def test_another_training_is_not_compared(small_sts, monkeypatch):
    task, recipe, technique = step_speed.sts_b_dir("vanilla", small_sts)
    by_hand = step_speed.by_hand

    def other(*training):
        found = by_hand(*training)
        return step_speed.Timed(found.each, found.epoch, [score + 1e-6 for score in found.scores])

    monkeypatch.setattr(step_speed, "by_hand", other)
    with pytest.raises(SystemExit, match="not the same training"):
        step_speed.compare(task, recipe, technique, 1)


def test_steps_count_from_the_end_of_one_to_the_end_of_the_next(monkeypatch):
    moments = iter([10.0, 12.0, 13.0, 14.5, 20.0])
    monkeypatch.setattr(step_speed.time, "perf_counter", lambda: next(moments))
    clock = step_speed.Clock()
    clock.on_train_epoch_start()
    for _ in range(3):
        clock.on_train_batch_end()
    clock.on_train_end()
    timed = clock.timed([1.0])
    assert timed == step_speed.Timed([1.0, 1.5], 10.0, [1.0])
    assert timed.steps == 2 / 2.5


def test_of_each_step_the_shortest_time_counts():
    one, other = (step_speed.Timed(each, 9.0, []) for each in ([1.0, 5.0], [4.0, 2.0]))
    assert step_speed.shortest([one, other]) == 3.0
