"""fit and retrain_head on a tiny text task."""

import csv
import sys

import lightning.pytorch as L
import numpy as np
import pytest
import torch

from ranksim.models import TextEncoder
from ranksim.training import fit as fit_module
from ranksim.training.data_loader import select_display_samples
from ranksim.training.divergence import DivergedError
from ranksim.training.fit import fit
from ranksim.training.lightning.module import LightningRegressionModule
from ranksim.training.limits import TrainingLimits
from ranksim.training.method import Technique
from ranksim.training.resume import BEST, LAST
from ranksim.training.trainer_config import TrainerConfig
from tests.helpers.text_training import (
    FULL,
    RRT,
    SAMPLES,
    load_weights,
    make_recipe,
    make_task,
    same_result,
    train,
    train_stage_two,
)
from tests.oracles import balance

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


class TrainingInterruptedError(Exception):
    pass


class TestReproducibility:
    def test_seed_determines_result(self, tmp_path):
        first = train(tmp_path / "a")
        assert same_result(first, train(tmp_path / "b"))
        assert not same_result(first, train(tmp_path / "c", seed=1))
        assert (first.epochs, first.steps, first.test["all"]["n"]) == (3, 12, SAMPLES)

    @pytest.mark.slow
    def test_every_technique_changes_training_and_repeats(self, tmp_path):
        """A published code lost the weights of Focal-R."""
        preds = {}
        for name, technique in TECHNIQUES.items():
            options = {"limits": TrainingLimits(epochs=2)}
            first = train(tmp_path / name, technique, **options)
            if "+" in name:  # each part of a method
                assert same_result(first, train(tmp_path / f"{name} again", technique, **options))
            preds[name] = first.preds.tobytes()
        assert len(set(preds.values())) == len(TECHNIQUES)

    def test_ranksim_weight_zero_equals_training_without_ranksim(self, tmp_path):
        """RankSim's generator is separate: dropout and sample order stay the same."""
        zero = train(tmp_path / "zero", recipe=make_recipe(ranksim_weight=0.0))
        assert same_result(zero, train(tmp_path / "without", Technique()))


class TestResume:
    # validated after each epoch of 4 steps, every 3 steps (within epochs), and every 6
    @pytest.mark.parametrize(
        ("technique", "stop", "changes"),
        [
            (Technique(ranksim=True), 1, {}),
            (Technique(ranksim=True), 2, {"validate_every": 3, "memory_size": 100}),
            (FULL, 3, {"validate_every": 6}),
            (FULL, 2, {"validate_every": 3, "dropout": 0.3, "fds_paper_compat": True}),
        ],
        ids=str,
    )
    def test_interrupted_training_resumes_to_same_result(self, tmp_path, technique, stop, changes):
        recipe = make_recipe(max_validations=4, **changes)
        options = {"recipe": recipe, "limits": TrainingLimits(epochs=4)}
        complete = train(tmp_path / "complete", technique, **options)
        scores = []

        def interrupt(epoch, score):
            scores.append(score)
            if len(scores) == stop + 1:
                raise TrainingInterruptedError

        with pytest.raises(TrainingInterruptedError):
            train(tmp_path / "interrupted", technique, on_validation=interrupt, **options)
        (tmp_path / "interrupted").rename(tmp_path / "moved")
        resumed_scores = []
        resumed = train(
            tmp_path / "moved",
            technique,
            on_validation=lambda _, score: resumed_scores.append(score),
            **options,
        )
        assert resumed_scores[0] == scores[-1]
        assert len(resumed_scores) == 4 - stop
        assert same_result(resumed, complete)
        assert (resumed.epochs, resumed.best_epoch) == (complete.epochs, complete.best_epoch)
        assert resumed.curves == complete.curves
        assert len(complete.curves["train_ranksim"]) == 4
        assert np.array_equal(resumed.features, complete.features)
        weights = (load_weights(tmp_path / name) for name in ("complete", "moved"))
        torch.testing.assert_close(*weights, rtol=0, atol=0)

    def test_completed_training_is_not_continued(self, tmp_path):
        """Killed between the end of training and writing the record."""
        options = {
            "recipe": make_recipe(lr=1e-9, patience=1),
            "limits": TrainingLimits(epochs=50),
        }
        first = train(tmp_path, **options)
        assert first.epochs < 50
        validations = []
        again = train(tmp_path, on_validation=lambda *args: validations.append(args), **options)
        assert validations == []
        assert same_result(again, first)
        assert again.epochs == first.epochs

    def test_damaged_checkpoint_restarts_training(self, tmp_path):
        complete = train(tmp_path / "complete")
        train(tmp_path / "damaged", limits=TrainingLimits(epochs=2))
        last = tmp_path / "damaged" / LAST
        last.write_bytes(last.read_bytes()[:1000])
        assert same_result(train(tmp_path / "damaged"), complete)

    def test_checkpoints_are_loaded_without_pickle(self, tmp_path, monkeypatch):
        train(tmp_path, limits=TrainingLimits(epochs=1))
        weights_only = []
        load = torch.load

        def record(*args, **kwargs):
            weights_only.append(kwargs.get("weights_only"))
            return load(*args, **kwargs)

        monkeypatch.setattr(torch, "load", record)
        train(tmp_path, limits=TrainingLimits(epochs=2))
        assert set(weights_only) == {True}


class TestSchedule:
    def test_validates_every_given_number_of_steps(self, tmp_path):
        validations = []
        result = train(
            tmp_path,
            recipe=make_recipe(validate_every=3, max_validations=5, patience=9),
            limits=TrainingLimits(),
            on_validation=lambda *args: validations.append(args),
        )
        assert (len(validations), result.steps) == (5, 15)

    @pytest.mark.parametrize("every", [0, 400])
    def test_step_limit_ends_training(self, tmp_path, every):
        recipe = make_recipe(validate_every=every)
        assert train(tmp_path, recipe=recipe, limits=TrainingLimits(steps=3)).steps == 3

    def test_step_and_epoch_limits_combine(self, tmp_path):
        epochs = []
        result = train(
            tmp_path,
            limits=TrainingLimits(steps=4, epochs=2),
            on_validation=lambda epoch, _: epochs.append(epoch),
        )
        assert (result.steps, epochs) == (4, [1, 2])


class TestOutputs:
    @pytest.mark.parametrize("technique", [Technique(), Technique(ranksim=True)], ids=str)
    def test_curves_average_steps_since_last_validation(self, tmp_path, technique):
        class Recorder(L.Callback):
            losses, scores = [], []

            def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
                self.losses.append(float(outputs["loss"]))

            def on_validation_end(self, trainer, pl_module):
                self.scores.append(float(trainer.callback_metrics["val_mse"]))

        recipe = make_recipe(validate_every=3, max_validations=3, patience=9)
        recorder = Recorder()
        options = {"limits": TrainingLimits(), "callbacks": [recorder]}
        curves = train(tmp_path, technique, recipe, **options).curves
        assert curves["epoch"] == [3 / 4, 6 / 4, 9 / 4]
        assert curves["val"] == recorder.scores
        total = np.add(curves["train_loss"], curves.get("train_ranksim", 0))
        assert total == pytest.approx(np.reshape(recorder.losses, (3, 3)).mean(axis=1), rel=1e-6)
        assert ("train_ranksim" in curves) == technique.ranksim

    def test_features_belong_to_display_samples(self, tmp_path):
        result, task = train(tmp_path), make_task()
        rows = select_display_samples(task.bins, task.test.labels.numpy()).rows
        model = task.build_model()
        state = load_weights(tmp_path)
        model.load_state_dict({k.removeprefix("model."): v for k, v in state.items()})
        expected = model.eval().encoder(*task.test.__getitems__(rows.tolist())["inputs"])
        assert result.features == pytest.approx(expected.detach().numpy(), abs=1e-6)

    def test_writes_csv_and_tensorboard_logs(self, tmp_path):
        curves = train(tmp_path, write_logs=True).curves
        with next(tmp_path.rglob("metrics.csv")).open(newline="") as file:
            rows = list(csv.DictReader(file))
        for name, values in {**curves, "val_mse": curves["val"]}.items():
            if name not in ("val", "epoch"):
                assert [float(row[name]) for row in rows] == pytest.approx(values, rel=1e-6)
        assert "train_ranksim" in rows[0]
        assert list(tmp_path.rglob("events.out.tfevents.*"))
        assert (tmp_path / LAST).is_file()

    def test_writes_csv_logs_alone_without_tensorboard(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "tensorboard", None)
        train(tmp_path, write_logs=True)
        assert list(tmp_path.rglob("metrics.csv"))
        assert not list(tmp_path.rglob("events.out.tfevents.*"))


class TestErrors:
    def test_divergence_suggests_lower_lr_and_weight(self, tmp_path):
        recipe = make_recipe(lr=1e37, max_grad_norm=1e30)
        with pytest.raises(DivergedError, match=r"at step 2 .*; lower lr or ranksim_weight\.$"):
            train(tmp_path, recipe=recipe)

    @pytest.mark.parametrize("stage", ["validate", "predict"])
    def test_keyboard_interrupt_passes_through(self, tmp_path, monkeypatch, stage):
        """Lightning turns it into SystemExit in every loop."""

        def interrupt(*_):
            raise KeyboardInterrupt

        config = {"trainer_config": TrainerConfig("cpu", "1", "64-true")}
        train(tmp_path / "one", Technique())
        if stage == "predict":
            monkeypatch.setattr(TextEncoder, "forward", interrupt)
        else:
            monkeypatch.setattr(LightningRegressionModule, "validation_step", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train_stage_two(
                tmp_path / "two", tmp_path / "one", limits=TrainingLimits(epochs=2), **config
            )


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed", "64-true"])
def test_other_precisions_agree_up_to_rounding(tmp_path, precision):
    options = {"limits": TrainingLimits(epochs=2)}
    full = train(tmp_path / "full", **options)
    other = train(
        tmp_path / "other", trainer_config=TrainerConfig("cpu", "1", precision), **options
    )
    assert other.test["all"]["mse"] == pytest.approx(full.test["all"]["mse"], rel=0.05)
    assert not np.array_equal(other.preds, full.preds)


@pytest.mark.parametrize("loss", ["mse", "l1", "huber"])
def test_step_matches_weighted_loss_computed_by_hand(tmp_path, loss):
    """One epoch of one batch, against Adam on the mean of w · ℓ written out."""
    recipe = make_recipe(loss=loss, batch_size=SAMPLES, huber_delta=0.1, max_grad_norm=1e6)
    technique = Technique(weighting="inverse", lds=True)
    train(tmp_path, technique, recipe, limits=TrainingLimits(epochs=1))
    trained = load_weights(tmp_path)
    torch.manual_seed(0)
    task = make_task(recipe)
    model = task.build_model()
    batch = task.train.__getitems__(list(range(SAMPLES)))
    labels = batch["label"].tolist()
    weights = balance.weights(labels, labels, task.bins.edges, "inverse", kernel="gaussian")
    preds, _ = model(*batch["inputs"])
    error = (preds - batch["label"] / 5).abs()
    values = {
        "mse": error**2,
        "l1": error,
        "huber": torch.where(error < 0.1, error**2 / 2, 0.1 * (error - 0.05)),
    }[loss]
    (torch.tensor(weights) * values).mean().backward()
    torch.optim.Adam(model.parameters(), lr=recipe.lr).step()
    for name, value in model.state_dict().items():
        torch.testing.assert_close(trained[f"model.{name}"], value, rtol=1e-4, atol=1e-5)


class TestStageTwo:
    @pytest.mark.parametrize("paper_compat", [False, True])
    def test_trains_new_head_on_frozen_encoder(self, tmp_path, paper_compat):
        recipe = make_recipe(rrt_paper_compat=paper_compat, fds_paper_compat=paper_compat)
        one = train(tmp_path / "one", RRT.stage_one, recipe)
        two = train_stage_two(tmp_path / "two", tmp_path / "one", recipe)
        assert not same_result(one, two)
        assert same_result(two, train_stage_two(tmp_path / "again", tmp_path / "one", recipe))
        first, second = (load_weights(tmp_path / name) for name in ("one", "two"))
        assert not torch.equal(first["model.head.weight"], second["model.head.weight"])
        encoder = {name for name in second if name.startswith("model.encoder")}
        assert bool(encoder) == paper_compat
        for name in encoder:
            assert torch.equal(second[name], first[name.replace("encoder.encoder", "encoder")])
        if not paper_compat:
            assert torch.equal(first["fds.mean"], second["fds.mean"])

    def test_paper_compat_continues_fds_statistics(self, tmp_path):
        recipe = make_recipe(rrt_paper_compat=True)
        train(tmp_path / "one", RRT.stage_one, recipe)
        start = load_weights(tmp_path / "one")["fds.mean"]
        states = {}
        for epochs in (1, 2):
            folder, limits = tmp_path / str(epochs), TrainingLimits(epochs=epochs)
            train_stage_two(folder, tmp_path / "one", recipe, limits=limits)
            states[epochs] = load_weights(folder, LAST)
        assert start.abs().sum() > 0
        assert torch.equal(states[1]["fds.mean"], start)
        assert states[2]["fds.updates"] == 1
        assert not torch.equal(states[2]["fds.mean"], start)

    def test_features_are_precomputed_in_sample_order(self, tmp_path, monkeypatch):
        train(tmp_path / "one", RRT.stage_one)
        tasks = []

        def record(task, *args, **settings):
            tasks.append(task)
            return fit(task, *args, **settings)

        monkeypatch.setattr(fit_module, "fit", record)
        train_stage_two(tmp_path / "two", tmp_path / "one", limits=TrainingLimits(epochs=1))
        task = make_task()
        model = task.build_model()
        state = load_weights(tmp_path / "one")
        model.load_state_dict(
            {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
        )
        for split in ("train", "val", "test"):
            samples, vectors = getattr(task, split), getattr(tasks[0], split)
            batch = samples.__getitems__(list(range(SAMPLES)))
            expected = model.eval().encoder(*batch["inputs"])
            index = batch["index"].tolist()
            torch.testing.assert_close(vectors.__getitems__(index)["inputs"][0], expected)
            assert torch.equal(vectors.labels, samples.labels)


@pytest.mark.slow
@pytest.mark.distributed
def test_two_devices_train_all_techniques(tmp_path):
    """Processes are spawned here; other tests of several devices fork them."""
    options = {"trainer_config": TrainerConfig("cpu", "2"), "limits": TrainingLimits(epochs=3)}
    result = train(tmp_path, FULL, **options)
    assert (result.epochs, result.steps, result.test["all"]["n"]) == (3, 6, SAMPLES)
    assert result.curves["epoch"] == [1, 2, 3]
    assert np.isfinite(list(result.curves.values())).all()
    state = load_weights(tmp_path, LAST)
    assert state["fds.updates"] == 2  # after each epoch but the last
    labels = make_task().train.labels.numpy()
    assert state["fds.observed"].sum() == len(np.unique(make_task().bins.digitize(labels)))
    assert (tmp_path / BEST).is_file()
