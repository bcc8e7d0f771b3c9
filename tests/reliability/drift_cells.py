"""Methods, conditions, samples and networks of the drift measurements."""

from dataclasses import dataclass, field
from typing import NamedTuple
from unittest import mock

import numpy as np
import torch
from torch import nn

from ranksim.data.batch import VectorDataset
from ranksim.data.images.pixel_cache import ImageDataset
from ranksim.imbalance import LabelBins
from ranksim.metrics import ShotRegions
from ranksim.models import ImageEncoder, Regressor, vision
from ranksim.training.method import Technique, parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.task import TrainingTask
from ranksim.training.trainer_config import TrainerConfig

SAMPLES, BATCH, EPOCHS, RATE, SEED = 91, 32, 3, 0.01, 3
LOSS_SCALE = 1024.0  # of 16-mixed: nothing overflows
BINS = LabelBins.uniform(0.0, 30.0, 10)
RECIPE = {
    "batch_size": BATCH, "max_validations": EPOCHS, "label_scale": 10.0, "label_step": 1.0,
    "loss": "mse", "max_grad_norm": 0.0, "lr": RATE, "lr_milestones": [], "patience": 0,
    "validate_every": 0, "gamma": 100.0, "lambda_": 2.0, "ranksim_weight": 0.01, "ties": "min", "unique_labels": True,
    "bins": 10, "fds_bins": 10, "focal_beta": 2.0, "min_count": 0, "max_count": 0,
    "fds_min_ratio": 0.5, "fds_max_ratio": 2.0, "weight_decay": 0.0,
}  # fmt: skip
INV, SQINV = "inverse", "sqrt_inverse"


@dataclass(frozen=True)
class Row:
    """A technique and its changes of the recipe."""

    technique: Technique
    changes: dict = field(default_factory=dict)


def _all(**more):
    return Technique(weighting=INV, lds=True, fds=True, ranksim=True, **more)


TECHNIQUES = {
    "vanilla, L1": Row(Technique(), {"loss": "l1"}),
    "vanilla, MSE": Row(Technique()),
    "vanilla, MSE, gradient clipped": Row(Technique(), {"max_grad_norm": 0.1}),
    "vanilla, Huber": Row(Technique(), {"loss": "huber"}),
    "inv": Row(Technique(weighting=INV)),
    "inv, counts clipped": Row(Technique(weighting=INV), {"min_count": 3, "max_count": 9}),
    "sqinv": Row(Technique(weighting=SQINV), {"loss": "l1"}),
    "inv+lds": Row(Technique(weighting=INV, lds=True)),
    "sqinv+lds, laplace": Row(Technique(weighting=SQINV, lds=True), {"lds_kernel": "laplace"}),
    "focal-r": Row(Technique(focal_r=True)),
    "focal-r+inv, L1, tanh": Row(
        Technique(focal_r=True, weighting=INV), {"loss": "l1", "focal_activation": "tanh"}
    ),
    "fds": Row(Technique(fds=True)),
    "fds, published": Row(Technique(fds=True), {"fds_paper_compat": True}),
    "ranksim": Row(Technique(ranksim=True)),
    "ranksim, all samples, mean ranks": Row(
        Technique(ranksim=True), {"unique_labels": False, "ties": "average"}
    ),
    "inv+ccc+ranksim": Row(Technique(weighting=INV, ranksim=True, parts=("ccc",))),
    "gar": Row(Technique(parts=("gar",))),
    "gar+sqinv+ccc, squared, sum": Row(
        Technique(weighting=SQINV, parts=("gar", "ccc")),
        {"gar_base": "mse", "gar_join": "sum", "ccc_weight": 0.5},
    ),
    "bmse, bmc": Row(Technique(parts=("bmse",))),
    "bmse, bni": Row(Technique(parts=("bmse",)), {"bmse_variant": "bni", "bmse_sigma": 0.5}),
    "rrt+bmse": Row(Technique(two_stage=True, parts=("bmse",))),
    "inv+dist": Row(Technique(weighting=INV, parts=("dist",)), {"dist_weight": 0.02}),
    "dila": Row(Technique(parts=("dila",))),
    "sera": Row(Technique(parts=("sera",)), {"sera_points": "0:1,6:0,25:1"}),
    "rrt+ccc": Row(Technique(weighting=INV, two_stage=True, parts=("ccc",))),
    "inv+oe": Row(Technique(weighting=INV, parts=("oe",)), {"oe_weight": 0.1}),
    "srl": Row(Technique(parts=("srl",)), {"srl_points": 64}),
    "rnc, first stage": Row(Technique(parts=("rnc",))),
    "inv+rnc": Row(Technique(weighting=INV, two_stage=True, parts=("rnc",))),
    "bsam": Row(Technique(parts=("bsam",)), {"bsam_rho": 0.2}),
    "inv+bsam, L1": Row(Technique(weighting=INV, parts=("bsam",)), {"loss": "l1"}),
    "conr+fds": Row(Technique(fds=True, parts=("conr",)), {"conr_weight": 0.1, "conr_width": 5.0}),
    "uvote": Row(Technique(parts=("uvote",))),
    "uvote+lds+fds, three heads": Row(
        Technique(lds=True, fds=True, parts=("uvote",)), {"uvote_heads": 3}
    ),
    "inv+gaussian": Row(Technique(weighting=INV, parts=("gaussian",)), {"gaussian_beta": 0.3}),
    "laplace+ranksim": Row(Technique(ranksim=True, parts=("laplace",))),
    "rrt+laplace": Row(Technique(weighting=INV, two_stage=True, parts=("laplace",))),
    "quantile": Row(Technique(parts=("quantile",)), {"quantile_levels": "0.1,0.5,0.75"}),
    "inv+lds+fds+ranksim": Row(_all()),
    "inv+lds+fds+ranksim, published": Row(_all(), {"fds_paper_compat": True, "lambda_": 1.0}),
    "rrt": Row(Technique(weighting=INV, two_stage=True)),
    "rrt+lds+fds+ranksim": Row(_all(two_stage=True)),
    "rrt+fds, published": Row(
        Technique(weighting=SQINV, two_stage=True, fds=True),
        {"rrt_paper_compat": True, "fds_paper_compat": True},
    ),
}


@dataclass(frozen=True)
class Condition:
    """Hardware settings of a training and the tolerances of its updates.

    Args:
        tolerance: largest deviation of an update from the float64 oracle.
        rounded: largest deviation from the oracle on a network with the same rounding, to which
            only this library contributes; ``None``: not compared.
        precision: precision of Lightning's Trainer.
        scale: initial loss scale of 16-mixed; ``overflows``: whether it is too large.
        accumulate: batches per step.
        processes: training processes, with one batch each.
        gather: RankSim ranks the samples of all processes together.
        compiled: compile the encoder.
        images: images, BatchNorm and channels last instead of vectors.
    """

    tolerance: float
    rounded: float | None = None
    precision: str = "32-true"
    scale: float = LOSS_SCALE
    overflows: bool = False
    accumulate: int = 1
    processes: int = 1
    gather: bool = False
    compiled: bool = False
    images: bool = False

    @property
    def dtype(self):
        return {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}.get(self.precision)

    @property
    def hardware(self):
        return TrainerConfig(
            "cpu",
            str(self.processes),
            self.precision,
            compile=self.compiled,
            gather_across_devices=self.gather,
        )


# tolerances are three times the measured values, or one value rounded the other way
CONDITIONS = {
    "float32": Condition(1e-6),
    "accumulate 4": Condition(1e-6, accumulate=4),
    "two processes": Condition(1e-6, processes=2),
    "two processes, gathered anchors": Condition(1e-6, processes=2, gather=True),
    "two processes, accumulate 2": Condition(1e-6, processes=2, accumulate=2),
    "compiled": Condition(1e-6, compiled=True),
    # float64, because similarities of such features are so close that rounding swaps them
    "channels last": Condition(1e-6, precision="64-true", images=True),
    "bf16-mixed": Condition(3e-2, 5e-4, "bf16-mixed"),
    "16-mixed, scaler": Condition(2e-2, 1e-4, "16-mixed"),
    "16-mixed, initial overflow": Condition(
        2e-2, precision="16-mixed", scale=2.0**20, overflows=True
    ),
    "16-mixed, two processes, gathered anchors": Condition(
        2e-2, precision="16-mixed", processes=2, gather=True
    ),
    "16-mixed, accumulate 4": Condition(3e-3, precision="16-mixed", accumulate=4),
}


class Pixels(NamedTuple):
    """Images with the interface of a pixel cache."""

    pixels: torch.Tensor

    def map_pixels(self):
        return self.pixels


def data(count, seed, images, alike):
    """Return samples of imbalanced labels; ``alike``: equal labels have equal inputs.

    Without a draw of unique labels inputs must differ: float32 rounds the rows of a batch
    differently, so the features of equal samples would be close without being tied.
    """
    draw = np.random.default_rng(8)
    labels = np.random.default_rng(seed).exponential(8.0, count).astype(int) % 30
    index = labels if alike else np.arange(count)
    if not images:
        values = draw.normal(size=(max(count, 30), 5))[index] + labels[:, None] / 15
        return VectorDataset(values, labels)
    noise = draw.integers(0, 100, (max(count, 30), 16, 16, 3))[index]
    pixels = torch.from_numpy((noise + 5 * labels[:, None, None, None]).astype(np.uint8))
    return ImageDataset(Pixels(pixels), np.arange(count), labels.astype(float))


class Layers(nn.Module):
    """A smooth encoder, so that rounding changes features but not which units are active."""

    width = 6

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh())

    def forward(self, vectors):
        return self.layers(vectors.to(self.layers[0].weight.dtype))


def network(images, *, channels_last):
    """Return a small network, for images a ResNet of two blocks."""
    if not images:
        return Regressor(Layers())
    with mock.patch.dict(vision.RESNETS, tiny=("basic", (1, 1), (8, 12))):
        return Regressor(ImageEncoder("tiny", channels_last=channels_last))


def task(recipe, images):
    """Return a training task with few validation and test samples, which nothing depends on."""
    alike = recipe.unique_labels
    count = SAMPLES if alike else SAMPLES - 1  # even: two processes use no sample twice
    train, *rest = (data(*size, images, alike) for size in ((count, 0), (4, 1), (4, 2)))
    regions = ShotRegions.from_counts(BINS, train.labels.numpy())
    return TrainingTask(
        train, *rest, lambda: network(images, channels_last=images), bins=BINS, regions=regions
    )


def recipe_of(row, condition):
    """Return the recipe of a method under a condition."""
    kind = "images" if condition.images else "table"
    batch = BATCH // (condition.accumulate * condition.processes)
    changes = {"batch_size": batch, "accumulate_grad_batches": condition.accumulate}
    return load_recipe(kind, "small", parse_method("vanilla", INV), RECIPE | row.changes | changes)
