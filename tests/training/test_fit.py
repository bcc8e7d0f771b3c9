import csv
import dataclasses

import lightning.pytorch as L
import numpy as np
import pytest
import torch

from ranksim.data.text import TokenDataset
from ranksim.datasets import sts_b_dir
from ranksim.exceptions import UsageError
from ranksim.metrics import ShotRegions
from ranksim.models import Regressor, TextEncoder
from ranksim.training.display_samples import select_display_samples
from ranksim.training.divergence import DivergedError
from ranksim.training.fit import TrainingLimits, TrainingTask, fit
from ranksim.training.method import Technique, parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.recipe import TextRecipe
from ranksim.training.resume import BEST, LAST
from ranksim.training.trainer_config import TrainerConfig
from ranksim.training.two_stage import retrain_head

RECIPE = load_recipe(
    "sts-b-dir",
    "small",
    parse_method("vanilla", "inverse"),
    {"hidden": 8, "patience": 2, "ranksim_weight": 0.1},
)


def changed(recipe, changes):
    return TextRecipe.from_table(dataclasses.asdict(recipe) | changes)


FULL = Technique(focal_r=True, weighting="inverse", lds=True, fds=True, ranksim=True)


def small_task(recipe=RECIPE, count=64):
    draw = np.random.default_rng(0)
    parts = []
    for _ in range(3):
        tokens = draw.integers(1, 30, (2, count, 9), dtype=np.int32)
        lengths = draw.integers(1, 10, (2, count))
        labels = (tokens[0, :, 0] > tokens[1, :, 0]) * 4.0 + draw.integers(0, 10, count) / 10
        parts.append(TokenDataset(tokens, lengths, labels))
    vectors = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))

    def build():
        return Regressor(
            TextEncoder(vectors, texts=2, hidden=recipe.hidden, dropout=recipe.dropout)
        )

    regions = ShotRegions.by_rule(sts_b_dir.BINS, parts[0].labels.numpy())
    return TrainingTask(*parts, build=build, bins=sts_b_dir.BINS, regions=regions)


def run(folder, *, ranksim=True, recipe=RECIPE, seed=0, technique=None, **settings):
    settings = {"limits": TrainingLimits(epochs=4), "hardware": TrainerConfig("cpu")} | settings
    technique = technique or Technique(ranksim=ranksim)
    return fit(small_task(recipe), recipe, technique, folder, seed=seed, **settings)


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
    off = run(tmp_path / "off", recipe=changed(RECIPE, {"ranksim_weight": 0.0}))
    assert same(off, run(tmp_path / "without", ranksim=False))


@pytest.mark.parametrize(
    ("stop", "every", "changes"),
    [
        *((stop, 0, {}) for stop in (1, 2, 3)),
        *((stop, every, {}) for stop, every in ((1, 3), (2, 3), (1, 6))),
        (2, 0, {"dropout": 0.3, "fds_paper_compat": True}),
        (2, 3, {"dropout": 0.3, "fds_paper_compat": True}),
        (2, 3, {"memory_size": 100}),
    ],
)
@pytest.mark.parametrize("technique", [Technique(ranksim=True), FULL], ids=["ranksim", "full"])
def test_an_interrupted_training_goes_on_to_the_same_result(
    tmp_path, stop, every, changes, technique
):
    """Stopped after an epoch, and in the middle of one (validation every 3 or 6 steps of 4)."""
    recipe = changed(RECIPE, {"validate_every": every, "max_validations": 4} | changes)
    whole = run(tmp_path / "whole", recipe=recipe, technique=technique)

    class KilledError(Exception):
        pass

    seen = []

    def kill(epoch, score):
        seen.append(score)
        if len(seen) == stop + 1:
            raise KilledError

    with pytest.raises(KilledError):
        run(tmp_path / "killed", recipe=recipe, technique=technique, on_validation=kill)
    (tmp_path / "killed").rename(tmp_path / "moved")
    again = []
    resumed = run(
        tmp_path / "moved",
        recipe=recipe,
        technique=technique,
        on_validation=lambda _, score: again.append(score),
    )
    assert again[0] == seen[-1]
    assert len(again) == 4 - stop
    assert same(resumed, whole)
    assert (resumed.epochs, resumed.best_epoch) == (whole.epochs, whole.best_epoch)
    assert resumed.curves == whole.curves
    assert len(whole.curves["train_ranksim"]) == 4
    assert np.array_equal(resumed.features, whole.features)
    weights = [torch.load(tmp_path / name / BEST, weights_only=True)["state_dict"]
               for name in ("whole", "moved")]  # fmt: skip
    torch.testing.assert_close(*weights, rtol=0, atol=0)


def test_a_training_that_had_ended_is_not_trained_on(tmp_path):
    """Killed between its end and its record, with patience used up."""
    recipe = changed(RECIPE, {"lr": 1e-9, "patience": 1})
    settings = {"recipe": recipe, "limits": TrainingLimits(epochs=50)}
    ended = run(tmp_path / "a", **settings)
    assert ended.epochs < 50
    seen = []
    again = run(tmp_path / "a", on_validation=lambda *told: seen.append(told), **settings)
    assert seen == []
    assert same(again, ended)
    assert again.epochs == ended.epochs


def test_a_damaged_checkpoint_is_not_gone_on_from(tmp_path):
    whole = run(tmp_path / "whole")
    run(tmp_path / "damaged", limits=TrainingLimits(epochs=2))
    last = tmp_path / "damaged" / LAST
    last.write_bytes(last.read_bytes()[:1000])
    assert same(run(tmp_path / "damaged"), whole)


def test_validation_every_so_many_steps(tmp_path):
    recipe = changed(RECIPE, {"validate_every": 3, "max_validations": 5, "patience": 9})
    seen = []
    outcome = run(
        tmp_path,
        recipe=recipe,
        limits=TrainingLimits(),
        on_validation=lambda *told: seen.append(told),
    )
    assert len(seen) == 5
    assert outcome.steps == 15


def test_curves_are_the_means_since_the_last_validation(tmp_path):
    """Of epochs of 4 steps, validated after every 3: against what each step logged."""

    class Watch(L.Callback):
        def __init__(self):
            self.losses, self.scores = [], []

        def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
            self.losses.append(float(outputs["loss"]))

        def on_validation_end(self, trainer, pl_module):
            self.scores.append(float(trainer.callback_metrics["val_mse"]))

    recipe = changed(RECIPE, {"validate_every": 3, "max_validations": 3, "patience": 9})
    for technique in (Technique(), Technique(ranksim=True)):
        watch = Watch()
        folder = tmp_path / str(technique.ranksim)
        settings = {"technique": technique, "limits": TrainingLimits(), "callbacks": [watch]}
        curves = run(folder, recipe=recipe, **settings).curves
        assert curves["epoch"] == [3 / 4, 6 / 4, 9 / 4]
        assert curves["val"] == watch.scores
        total = np.add(curves["train_loss"], curves.get("train_ranksim", 0))
        assert total == pytest.approx(np.reshape(watch.losses, (3, 3)).mean(axis=1), rel=1e-6)
        assert ("train_ranksim" in curves) == technique.ranksim


def test_features_are_those_of_the_test_samples_that_are_shown(tmp_path):
    outcome, task = run(tmp_path), small_task()
    rows = select_display_samples(task.bins, task.test.labels.numpy()).rows
    model = task.build()
    state = torch.load(tmp_path / BEST, weights_only=True)["state_dict"]
    model.load_state_dict({k.removeprefix("model."): v for k, v in state.items()})
    expected = model.eval().encoder(*task.test.__getitems__(rows.tolist())["inputs"])
    assert outcome.features == pytest.approx(expected.detach().numpy(), abs=1e-6)


@pytest.mark.parametrize("every", [0, 400])
def test_step_limit(tmp_path, every):
    recipe = changed(RECIPE, {"validate_every": every})
    assert run(tmp_path, recipe=recipe, limits=TrainingLimits(steps=3)).steps == 3


def test_logs_for_csv_and_tensorboard(tmp_path):
    curves = run(tmp_path).curves
    with next(tmp_path.rglob("metrics.csv")).open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name, values in {**curves, "val_mse": curves["val"]}.items():
        if name not in ("val", "epoch"):
            assert [float(row[name]) for row in rows] == pytest.approx(values, rel=1e-6)
    assert "train_ranksim" in rows[0]
    assert list(tmp_path.rglob("events.out.tfevents.*"))
    assert (tmp_path / LAST).is_file()


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "64-true"])
def test_other_precisions_train_as_float32_does(tmp_path, precision):
    """Ranking stays exact and the term linear, so that precision costs rounding, nothing else."""
    plain = run(tmp_path / "plain", limits=TrainingLimits(epochs=2))
    other = run(
        tmp_path / "other",
        limits=TrainingLimits(epochs=2),
        hardware=TrainerConfig("cpu", "1", precision),
    )
    assert other.test["all"]["mse"] == pytest.approx(plain.test["all"]["mse"], rel=0.05)
    assert not np.array_equal(other.prediction, plain.prediction)


def test_two_devices_train_and_score_every_sample_once(tmp_path):
    outcome = run(tmp_path, hardware=TrainerConfig("cpu", "2"), limits=TrainingLimits(epochs=2))
    assert outcome.test["all"]["n"] == 64
    assert outcome.epochs == 2
    assert outcome.steps == 4  # two devices share an epoch's 64 samples, 16 each a step


def test_divergence_is_an_error_that_says_what_to_do(tmp_path):
    recipe = changed(RECIPE, {"lr": 1e37, "max_grad_norm": 1e30})
    with pytest.raises(
        DivergedError, match=r"^Training diverged at step 2 .*; lower lr or ranksim_weight\.$"
    ):
        run(tmp_path, recipe=recipe)


def test_no_checkpoint_is_read_as_a_pickle(tmp_path, monkeypatch):
    run(tmp_path, limits=TrainingLimits(epochs=1))
    asked = []
    load = torch.load

    def watch(*args, **kwargs):
        asked.append(kwargs.get("weights_only"))
        return load(*args, **kwargs)

    monkeypatch.setattr(torch, "load", watch)
    run(tmp_path, limits=TrainingLimits(epochs=2))
    assert asked
    assert set(asked) == {True}


TECHNIQUES = {
    "plain": Technique(),
    "focal-r": Technique(focal_r=True),
    "inverse": Technique(weighting="inverse"),
    "sqrt": Technique(weighting="sqrt_inverse"),
    "lds": Technique(weighting="inverse", lds=True),
    "focal-r+lds": Technique(focal_r=True, weighting="inverse", lds=True),
    "fds": Technique(fds=True),
    "fds+ranksim": Technique(fds=True, ranksim=True),
    "ranksim": Technique(ranksim=True),
}


def test_every_technique_changes_the_training_and_repeats_itself(tmp_path):
    """A published code lost the weights of Focal-R: here no two techniques train alike."""
    predictions = {}
    for name, technique in TECHNIQUES.items():
        first = run(tmp_path / name, technique=technique, limits=TrainingLimits(epochs=3))
        again = run(
            tmp_path / f"{name} again", technique=technique, limits=TrainingLimits(epochs=3)
        )
        assert same(first, again)
        predictions[name] = first.prediction.tobytes()
    assert len(set(predictions.values())) == len(TECHNIQUES)


@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
def test_a_step_is_the_weighted_loss_by_hand(tmp_path, loss):
    """One epoch of one batch, against Adam on the sum of w · ℓ / N written out."""
    recipe = changed(
        RECIPE, {"loss": loss, "batch_size": 64, "huber_delta": 0.1, "max_grad_norm": 1e6}
    )
    run(
        tmp_path,
        recipe=recipe,
        technique=Technique(weighting="inverse", lds=True),
        limits=TrainingLimits(epochs=1),
    )
    trained = torch.load(tmp_path / BEST, weights_only=True)["state_dict"]
    torch.manual_seed(0)
    task = small_task(recipe)
    model = task.build()
    batch = task.train.__getitems__(list(range(64)))
    counts = np.convolve(
        task.bins.counts(batch["label"].numpy()), [0.85828, 0.94617, 1, 0.94617, 0.85828], "same"
    )
    weights = 1 / torch.from_numpy(counts)[task.bins.index(batch["label"].numpy())]
    weights = weights / weights.mean()
    prediction, _ = model(*batch["inputs"])
    error = (prediction - batch["label"] / 5).abs()
    values = {
        "mse": error**2,
        "l1": error,
        "huber": torch.where(error < 0.1, error**2 / 2, 0.1 * (error - 0.05)),
    }[loss]
    (weights * values).mean().backward()
    torch.optim.Adam(model.parameters(), lr=recipe.lr).step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(trained[f"model.{name}"], value, rtol=1e-4, atol=1e-5)


def stage_two(folder, first, recipe=RECIPE, **settings):
    settings = {
        "limits": TrainingLimits(epochs=3),
        "hardware": TrainerConfig("cpu"),
        "seed": 0,
    } | settings
    technique = Technique(weighting="inverse", lds=True, fds=True, ranksim=True, two_stage=True)
    return retrain_head(small_task(recipe), recipe, technique, folder, first / BEST, **settings)


@pytest.mark.parametrize("published", [False, True])
def test_the_second_stage_trains_a_new_head_alone(tmp_path, published):
    recipe = changed(RECIPE, {"rrt_paper_compat": published, "fds_paper_compat": published})
    technique = Technique(weighting="inverse", lds=True, fds=True, ranksim=True, two_stage=True)
    one = run(tmp_path / "one", recipe=recipe, technique=technique.stage_one)
    two = stage_two(tmp_path / "two", tmp_path / "one", recipe)
    assert not same(one, two)
    assert same(two, stage_two(tmp_path / "again", tmp_path / "one", recipe))
    first, second = (
        torch.load(tmp_path / name / BEST, weights_only=True)["state_dict"]
        for name in ("one", "two")
    )
    assert not torch.equal(first["model.head.weight"], second["model.head.weight"])
    encoder = {name for name in second if name.startswith("model.encoder")}
    assert bool(encoder) == published
    for name in encoder:
        old = first[name.replace("encoder.encoder", "encoder")]
        assert torch.equal(second[name], old)
    if not published:
        assert torch.equal(first["fds.mean"], second["fds.mean"])


def test_statistics_that_move_in_the_second_stage_begin_with_those_of_the_first(tmp_path):
    recipe = changed(RECIPE, {"rrt_paper_compat": True})
    technique = Technique(weighting="inverse", lds=True, fds=True, ranksim=True, two_stage=True)
    run(tmp_path / "one", recipe=recipe, technique=technique.stage_one)
    one = torch.load(tmp_path / "one" / BEST, weights_only=True)["state_dict"]
    states = {}
    for epochs in (1, 2):
        folder = tmp_path / str(epochs)
        stage_two(folder, tmp_path / "one", recipe, limits=TrainingLimits(epochs=epochs))
        states[epochs] = torch.load(folder / LAST, weights_only=True)["state_dict"]
    assert one["fds.mean"].abs().sum() > 0
    assert torch.equal(states[1]["fds.mean"], one["fds.mean"])
    moved = (states[2]["fds.mean"] - one["fds.mean"]).abs()
    # momentum 0.9: a tenth of the way to what the better encoder says now
    assert 0 < moved.max() < one["fds.mean"].abs().max()


def test_features_made_once_are_those_of_the_frozen_encoder(tmp_path, monkeypatch):
    recipe = changed(RECIPE, {"dropout": 0.5})
    technique = Technique(weighting="inverse", two_stage=True)
    run(tmp_path / "one", recipe=recipe, technique=technique.stage_one)
    given = []

    def watch(task, *args, **settings):
        given.append(task)
        return fit(task, *args, **settings)

    monkeypatch.setattr("ranksim.training.two_stage.fit", watch)
    stage_two(tmp_path / "two", tmp_path / "one", recipe)
    task = small_task(recipe)
    model = task.build()
    state = torch.load(tmp_path / "one" / BEST, weights_only=True)["state_dict"]
    model.load_state_dict({k.removeprefix("model."): v for k, v in state.items()})
    for part in ("train", "val", "test"):
        samples, made = getattr(task, part), getattr(given[0], part)
        batch = samples.__getitems__(list(range(len(samples))))
        features = model.eval().encoder(*batch["inputs"])
        torch.testing.assert_close(
            made.__getitems__(batch["index"].tolist())["inputs"][0], features
        )
        assert torch.equal(made.labels, samples.labels)


def test_two_devices_train_with_everything(tmp_path):
    outcome = run(
        tmp_path,
        technique=FULL,
        hardware=TrainerConfig("cpu", "2"),
        limits=TrainingLimits(epochs=3),
    )
    assert outcome.epochs == 3
    assert outcome.curves["epoch"] == [1, 2, 3]
    assert np.isfinite(list(outcome.curves.values())).all()
    fds = torch.load(tmp_path / LAST, weights_only=True)["state_dict"]
    assert fds["fds.updates"] == 2  # at the end of every epoch but the last
    assert fds["fds.seen"].sum() == len(
        np.unique(small_task().bins.index(small_task().train.labels.numpy()))
    )


@pytest.mark.parametrize("stage", ["validate", "test", "predict"])
def test_ctrl_c_outside_of_training_is_ctrl_c_too(tmp_path, monkeypatch, stage):
    """Lightning makes SystemExit of it in every loop."""
    from ranksim.training import two_stage
    from ranksim.training.module import RegressionModule

    def interrupt(*_):
        raise KeyboardInterrupt

    run(tmp_path / "one", technique=Technique())
    if stage == "predict":
        monkeypatch.setattr(two_stage._Features, "predict_step", interrupt)
    elif stage == "test":
        monkeypatch.setattr(RegressionModule, "test_step", interrupt)
    else:
        step, seen = RegressionModule.validation_step, []

        def later(*args):
            seen.append(args)
            return step(*args) if len(seen) < 3 else interrupt()

        monkeypatch.setattr(RegressionModule, "validation_step", later)
    with pytest.raises(KeyboardInterrupt):
        stage_two(tmp_path / "two", tmp_path / "one", limits=TrainingLimits(epochs=2))


def test_a_limit_of_steps_holds_as_many_epochs_as_asked_for(tmp_path):
    seen = []
    outcome = run(
        tmp_path,
        limits=TrainingLimits(steps=4, epochs=2),
        on_validation=lambda epoch, _: seen.append(epoch),
    )
    assert (outcome.steps, seen) == (4, [1, 2])


def test_weights_that_are_all_the_same_are_refused(tmp_path):
    recipe = changed(RECIPE, {"min_count": 1000.0})
    with pytest.raises(UsageError, match=r"^Weights of scheme inverse are the same for all train"):
        run(tmp_path, recipe=recipe, technique=Technique(weighting="inverse"))
