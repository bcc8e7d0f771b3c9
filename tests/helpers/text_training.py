"""A tiny text regression task, and trainings of it on the CPU."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ranksim.data.text import TokenDataset
from ranksim.datasets import sts_b_dir
from ranksim.metrics import ShotRegions
from ranksim.models import Regressor, TextEncoder
from ranksim.training.fit import fit, retrain_head
from ranksim.training.limits import TrainingLimits
from ranksim.training.method import Technique, parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.recipe import TextRecipe
from ranksim.training.resume import BEST
from ranksim.training.task import TrainingOptions, TrainingResult, TrainingTask
from ranksim.training.trainer_config import TrainerConfig

SAMPLES = 64
FULL = Technique(focal_r=True, weighting="inverse", lds=True, fds=True, ranksim=True)
RANKSIM = Technique(ranksim=True)
RRT = Technique(weighting="inverse", lds=True, fds=True, ranksim=True, two_stage=True)
RECIPE = load_recipe(
    "sts-b-dir",
    "small",
    parse_method("vanilla", "inverse"),
    {"hidden": 8, "patience": 2, "ranksim_weight": 0.1},
)


def make_recipe(**changes: Any) -> TextRecipe:
    return TextRecipe.from_table(dataclasses.asdict(RECIPE) | changes)


def make_task(recipe=RECIPE) -> TrainingTask:
    """The label depends on which of two texts has the larger first token."""
    draw = np.random.default_rng(0)
    splits: list[Any] = []
    for _ in range(3):
        tokens = draw.integers(1, 30, (2, SAMPLES, 9), dtype=np.int32)
        lengths = draw.integers(1, 10, (2, SAMPLES))
        labels = (tokens[0, :, 0] > tokens[1, :, 0]) * 4.0 + draw.integers(0, 10, SAMPLES) / 10
        splits.append(TokenDataset(tokens, lengths, labels))
    vectors = torch.randn(30, 6, generator=torch.Generator().manual_seed(0))

    def build_model():
        return Regressor(
            TextEncoder(vectors, texts=2, hidden=recipe.hidden, dropout=recipe.dropout)
        )

    regions = ShotRegions.from_counts(sts_b_dir.BINS, splits[0].labels.numpy())
    train, val, test = splits
    return TrainingTask(train, val, test, build_model, sts_b_dir.BINS, regions)


def make_options(**options: Any) -> TrainingOptions:
    defaults: dict[str, Any] = {
        "seed": 0,
        "limits": TrainingLimits(epochs=3),
        "trainer_config": TrainerConfig("cpu"),
        "write_logs": False,
    }
    return TrainingOptions(**defaults | options)


def train(folder: Path, technique=RANKSIM, recipe=RECIPE, **options: Any) -> TrainingResult:
    return fit(make_task(recipe), recipe, technique, folder, make_options(**options))


def train_stage_two(folder: Path, stage_one: Path, recipe=RECIPE, **options: Any):
    checkpoint = stage_one / BEST
    return retrain_head(make_task(recipe), recipe, RRT, folder, checkpoint, make_options(**options))


def load_weights(folder: Path, name: str = BEST) -> dict[str, torch.Tensor]:
    return torch.load(folder / name, weights_only=True)["state_dict"]


def same_result(a: TrainingResult, b: TrainingResult) -> bool:
    return np.array_equal(a.preds, b.preds) and a.test == b.test and a.val == b.val
