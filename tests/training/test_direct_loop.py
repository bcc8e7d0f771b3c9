"""ranksim's loop on the CPU against Lightning's Trainer."""

import csv
import subprocess
import sys

import lightning.pytorch as L
import numpy as np
import pytest
import torch

from ranksim.training.limits import TrainingLimits
from ranksim.training.method import Technique
from ranksim.training.resume import LAST
from tests.helpers.text_training import FULL, RRT, load_weights, make_recipe, train, train_stage_two

PAPER = {"fds_paper_compat": True, "rrt_paper_compat": True}
CASES = {
    "plain": (Technique(), {"dropout": 0.2}, {}),
    "weights and gradient norm": (FULL, {"max_grad_norm": 0.1}, {}),
    "accumulation": (FULL, {"accumulate_grad_batches": 3, "batch_size": 5, "dropout": 0.1}, {}),
    "learning rates": (Technique(ranksim=True), {"lr_milestones": [1, 2, 2]}, {}),
    "decay": (Technique(fds=True), {"weight_decay": 0.1, **PAPER}, {}),
    "within epochs": (FULL, {"validate_every": 3, "memory_size": 20}, {}),
    "across epochs": (FULL, {"validate_every": 6, "max_validations": 4}, {"epochs": None}),
    "early stopping": (Technique(), {"lr": 1e-9, "patience": 1}, {"epochs": 9}),
    "steps": (Technique(ranksim=True), {}, {"steps": 10, "epochs": 3}),
    # 64 samples: the last batch of one is left out
    "noise with its own rate": (
        Technique(parts=("bmse", "ccc"), ranksim=True),
        {"lr_milestones": [1], "batch_size": 9, "weight_decay": 0.1, "max_grad_norm": 0.1}, {},
    ),
    "terms of batches": (
        Technique(weighting="inverse", parts=("gar", "dist", "dila"), fds=True),
        {"accumulate_grad_batches": 2}, {},
    ),
    "heads that vote": (Technique(parts=("uvote",), fds=True, ranksim=True), {}, {}),
    "quantiles with a term": (
        Technique(parts=("ccc", "quantile"), weighting="inverse"), {"dropout": 0.1}, {},
    ),
    "few steps": (Technique(), {"validate_every": 400}, {"steps": 3, "epochs": None}),
}  # fmt: skip


def train_both(train_one, folder, **options):
    """Train with ranksim's loop and with Lightning's, which callbacks ask for."""
    return [
        train_one(folder / name, callbacks=callbacks, **options)
        for name, callbacks in (("direct", ()), ("lightning", (L.Callback(),)))
    ]


def assert_equal(direct, lightning, folder):
    assert np.array_equal(direct.preds, lightning.preds)
    assert np.array_equal(direct.features, lightning.features)
    names = ("val", "test", "curves", "epochs", "best_epoch", "steps")
    for name in names:
        assert getattr(direct, name) == getattr(lightning, name), name
    weights = (load_weights(folder / name) for name in ("direct", "lightning"))
    torch.testing.assert_close(*weights, rtol=0, atol=0)


FAST = ("plain", "accumulation", "noise with its own rate", "steps")  # they cover most parts


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in CASES],
)
def test_equals_lightning_to_the_last_bit(tmp_path, name):
    technique, changes, limits = CASES[name]
    options = {"limits": TrainingLimits(**{"epochs": 3} | limits), "recipe": make_recipe(**changes)}
    results = train_both(train, tmp_path, technique=technique, **options)
    assert_equal(*results, tmp_path)


@pytest.mark.parametrize("callbacks", [(), (L.Callback(),)])
def test_each_optimizer_step_is_reported(tmp_path, callbacks):
    calls = []
    recipe = make_recipe(accumulate_grad_batches=3, batch_size=5)
    options = {"callbacks": callbacks, "limits": TrainingLimits(epochs=2)}
    result = train(
        tmp_path, recipe=recipe, on_step=lambda: calls.append("step"),
        on_validation=lambda *_: calls.append("validation"), **options,
    )  # fmt: skip
    epoch = ["step"] * (result.steps // 2) + ["validation"]
    assert calls == 2 * epoch
    assert len(epoch) > 2


@pytest.mark.parametrize("paper_compat", [False, True])
def test_second_stage_equals_lightning(tmp_path, paper_compat):
    recipe = make_recipe(rrt_paper_compat=paper_compat, dropout=0.2)
    train(tmp_path / "one", RRT.stage_one, recipe)

    def train_two(folder, **options):
        return train_stage_two(folder, tmp_path / "one", recipe, **options)

    assert_equal(*train_both(train_two, tmp_path), tmp_path)


def test_logs_equal_those_of_lightning(tmp_path):
    train_both(train, tmp_path, write_logs=True)
    logs = []
    for name in ("direct", "lightning"):
        with next((tmp_path / name).rglob("metrics.csv")).open(newline="") as file:
            logs.append(list(csv.DictReader(file)))
    assert len(logs[0]) == len(logs[1]) == 3
    for ours, theirs in zip(*logs, strict=True):
        assert {k: float(v) for k, v in ours.items()} == pytest.approx(
            {k: float(v) for k, v in theirs.items()}, rel=1e-6
        )


def test_checkpoint_of_another_loop_is_replaced(tmp_path):
    """The state of Lightning's loops is not ours, and the reverse."""
    expected = train(tmp_path / "expected")
    for callbacks in ((L.Callback(),), ()):
        result = train(tmp_path / "moved", callbacks=callbacks)
        assert np.array_equal(result.preds, expected.preds)
    assert torch.load(tmp_path / "moved" / LAST)["loop"] == "direct"


def test_last_weights_are_kept_as_in_lightning(tmp_path):
    """The learning rate is so high that the last validation is not the best one."""
    options = {"limits": TrainingLimits(epochs=4), "recipe": make_recipe(lr=0.3, patience=0)}
    results = train_both(train, tmp_path, keep_last=True, **options)
    assert_equal(*results, tmp_path)
    assert results[0].best_epoch == results[0].epochs == 4
    best = train(tmp_path / "best", **options)
    assert best.best_epoch < 4
    assert best.curves == results[0].curves
    assert not np.array_equal(best.preds, results[0].preds)


@pytest.mark.parametrize("callbacks", [(), pytest.param((L.Callback(),), marks=pytest.mark.slow)])
def test_interrupted_training_that_keeps_the_last_weights_resumes(tmp_path, callbacks):
    options = {"limits": TrainingLimits(epochs=4), "recipe": make_recipe(lr=0.3, patience=0)}
    options |= {"keep_last": True, "callbacks": callbacks}
    complete = train(tmp_path / "complete", **options)

    def interrupt(epoch, score):
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "resumed", on_validation=interrupt, **options)
    assert np.array_equal(train(tmp_path / "resumed", **options).preds, complete.preds)


@pytest.mark.parametrize("enabled", [False, True])
def test_settings_of_the_process_are_restored(tmp_path, enabled):
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(enabled)
    try:
        train(tmp_path, limits=TrainingLimits(steps=1))
        assert torch.are_deterministic_algorithms_enabled() == enabled
        assert not torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(before, warn_only=True)


@pytest.mark.slow
def test_comparison_on_the_cpu_does_not_import_lightning(tmp_path):
    """Importing it takes as long as training a small table."""
    script = """
import sys
from ranksim.cli import main
sys.argv = ["ranksim", "compare", "homes.csv", "--target", "price", "--methods", "vanilla,rrt+fds",
            "--seeds", "1", "--max-epochs", "1", "--jobs", "1", "--accelerator", "cpu"]
try:
    main()
except SystemExit as end:
    assert not end.code
heavy = {"lightning", "torchmetrics", "transformers", "torch._dynamo"} & set(sys.modules)
assert not heavy, heavy
"""
    rows = [f"{k % 17},{(k % 17) / 5 + k % 3}" for k in range(120)]
    (tmp_path / "homes.csv").write_text("\n".join(["size,price", *rows]))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
