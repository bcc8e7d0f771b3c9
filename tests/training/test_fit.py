import numpy as np
import pytest
import torch

from ranksim.bench.methods import METHODS
from ranksim.bench.recipes import recipe_for
from ranksim.data import sts_b_dir
from ranksim.data.text import TokenDataset
from ranksim.training.fit import DivergedError, Hardware, Limits, fit
from ranksim.training.state import BEST, LAST

RECIPE = recipe_for(
    "sts-b-dir", "small", METHODS["vanilla"], {"hidden": 8, "patience": 2, "strength": 0.1}
)


def small_data(count=64):
    draw = np.random.default_rng(0)
    parts = []
    for _ in range(3):
        tokens = draw.integers(1, 30, (2, count, 9), dtype=np.int32)
        lengths = draw.integers(1, 10, (2, count))
        labels = (tokens[0, :, 0] > tokens[1, :, 0]) * 4.0 + draw.integers(0, 10, count) / 10
        parts.append(TokenDataset(tokens, lengths, labels))
    vectors = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))
    return tuple(parts), vectors, small_regions(parts[0].labels.numpy())


def small_regions(labels):
    from ranksim.metrics import Regions

    return Regions.by_rule(sts_b_dir.BINS, labels)


def run(folder, *, ranksim=True, recipe=RECIPE, seed=0, **settings):
    datasets, vectors, regions = small_data()
    settings = {"limits": Limits(epochs=4), "hardware": Hardware("cpu")} | settings
    return fit(datasets, vectors, recipe, regions, folder, seed=seed, ranksim=ranksim, **settings)


def same(a, b):
    return np.array_equal(a.prediction, b.prediction) and a.test == b.test and a.val == b.val


def test_a_seed_fixes_a_run_and_ranksim_changes_it(tmp_path):
    first = run(tmp_path / "a")
    assert same(first, run(tmp_path / "b"))
    assert not same(first, run(tmp_path / "c", seed=1))
    assert not same(first, run(tmp_path / "d", ranksim=False))
    assert first.epochs == 4
    assert first.steps == 16
    assert first.test["all"]["n"] == 64


def test_strength_zero_is_the_method_without_ranksim(tmp_path):
    """RankSim draws from a generator of its own: dropout and order stay as they were."""
    off = run(tmp_path / "off", recipe=RECIPE.replaced({"strength": 0.0}))
    assert same(off, run(tmp_path / "without", ranksim=False))


@pytest.mark.parametrize(("stop", "every"), [(1, 0), (2, 0), (3, 0), (1, 3), (2, 3), (1, 6)])
def test_an_interrupted_training_goes_on_to_the_same_result(tmp_path, stop, every):
    """Stopped after an epoch, and in the middle of one (validation every 3 or 6 steps of 4)."""
    recipe = RECIPE.replaced({"validate_every": every, "max_validations": 4})
    whole = run(tmp_path / "whole", recipe=recipe)

    class KilledError(Exception):
        pass

    seen = []

    def kill(epoch, score):
        seen.append(score)
        if len(seen) == stop + 1:
            raise KilledError

    with pytest.raises(KilledError):
        run(tmp_path / "killed", recipe=recipe, on_validation=kill)
    (tmp_path / "killed").rename(tmp_path / "moved")
    again = []
    resumed = run(
        tmp_path / "moved", recipe=recipe, on_validation=lambda _, score: again.append(score)
    )
    assert again[0] == seen[-1]
    assert len(again) == 4 - stop
    assert same(resumed, whole)
    assert (resumed.epochs, resumed.best_epoch) == (whole.epochs, whole.best_epoch)
    weights = [torch.load(tmp_path / name / BEST, weights_only=True)["state_dict"]
               for name in ("whole", "moved")]  # fmt: skip
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_training_that_had_ended_is_not_trained_on(tmp_path):
    """Killed between its end and its record, with patience used up."""
    recipe = RECIPE.replaced({"lr": 1e-9, "patience": 1})
    settings = {"recipe": recipe, "limits": Limits(epochs=50)}
    ended = run(tmp_path / "a", **settings)
    assert ended.epochs < 50
    seen = []
    again = run(tmp_path / "a", on_validation=lambda *told: seen.append(told), **settings)
    assert seen == []
    assert same(again, ended)
    assert again.epochs == ended.epochs


def test_a_damaged_checkpoint_is_not_gone_on_from(tmp_path):
    whole = run(tmp_path / "whole")
    run(tmp_path / "damaged", limits=Limits(epochs=2))
    last = tmp_path / "damaged" / LAST
    last.write_bytes(last.read_bytes()[:1000])
    assert same(run(tmp_path / "damaged"), whole)


def test_validation_every_so_many_steps(tmp_path):
    recipe = RECIPE.replaced({"validate_every": 3, "max_validations": 5, "patience": 9})
    seen = []
    outcome = run(
        tmp_path, recipe=recipe, limits=Limits(), on_validation=lambda *told: seen.append(told)
    )
    assert len(seen) == 5
    assert outcome.steps == 15


@pytest.mark.parametrize("every", [0, 400])
def test_step_limit(tmp_path, every):
    recipe = RECIPE.replaced({"validate_every": every})
    assert run(tmp_path, recipe=recipe, limits=Limits(steps=3)).steps == 3


def test_logs_for_csv_and_tensorboard(tmp_path):
    run(tmp_path)
    metrics = next(tmp_path.rglob("metrics.csv")).read_text()
    assert "val_mse" in metrics.splitlines()[0]
    assert "train_ranksim" in metrics.splitlines()[0]
    assert list(tmp_path.rglob("events.out.tfevents.*"))
    assert (tmp_path / LAST).is_file()


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "64-true"])
def test_other_precisions_train_as_float32_does(tmp_path, precision):
    """Ranking stays exact and the term linear, so that precision costs rounding, nothing else."""
    plain = run(tmp_path / "plain", limits=Limits(epochs=2))
    other = run(
        tmp_path / "other", limits=Limits(epochs=2), hardware=Hardware("cpu", "1", precision)
    )
    assert other.test["all"]["mse"] == pytest.approx(plain.test["all"]["mse"], rel=0.05)
    assert not np.array_equal(other.prediction, plain.prediction)


def test_two_devices_train_and_score_every_sample_once(tmp_path):
    outcome = run(tmp_path, hardware=Hardware("cpu", "2"), limits=Limits(epochs=2))
    assert outcome.test["all"]["n"] == 64
    assert outcome.epochs == 2
    assert outcome.steps == 4  # two devices share an epoch's 64 samples, 16 each a step


def test_divergence_is_an_error_that_says_what_to_do(tmp_path):
    recipe = RECIPE.replaced({"lr": 1e37, "clip": 1e30})
    with pytest.raises(DivergedError, match=r"^Training diverged: .*; lower lr or strength\.$"):
        run(tmp_path, recipe=recipe)


def test_no_checkpoint_is_read_as_a_pickle(tmp_path, monkeypatch):
    run(tmp_path, limits=Limits(epochs=1))
    asked = []
    load = torch.load

    def watch(*args, **kwargs):
        asked.append(kwargs.get("weights_only"))
        return load(*args, **kwargs)

    monkeypatch.setattr(torch, "load", watch)
    run(tmp_path, limits=Limits(epochs=2))
    assert asked
    assert set(asked) == {True}
