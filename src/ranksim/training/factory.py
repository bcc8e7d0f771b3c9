"""A recipe and a technique to the pieces that a training is put together from."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ranksim._utils.storage import cache_dir
from ranksim.data.images.augment import CropFlip
from ranksim.data.word_vectors import GLOVE_840B, GloveFile, PackagedGlove, WordVectors
from ranksim.datasets.base import data_folders
from ranksim.exceptions import UsageError
from ranksim.imbalance import FDS, LDS, DensityWeights, LabelBins
from ranksim.losses import FocalRLoss, HuberLoss, L1Loss, MSELoss, RankSimLoss
from ranksim.models import ConvEncoder, GRUEncoder, ImageEncoder, Regressor, TextEncoder
from ranksim.training.method import Technique
from ranksim.training.recipe import ImageRecipe, Recipe, SeriesRecipe, TextRecipe
from ranksim.training.trainer_config import TrainerConfig

_DIGITS = 6  # most decimals that a label has


def resolve_defaults(recipe: Recipe, labels: np.ndarray) -> Recipe:
    """The recipe with what it leaves to the training labels ``(N,)``.

    Example:
        >>> from ranksim.training.method import parse_method
        >>> from ranksim.training.presets import load_recipe
        >>> recipe = load_recipe("images", "small", parse_method("vanilla", "inverse"))
        >>> settled = resolve_defaults(recipe, np.array([1.25, 3.25, 2.5]))
        >>> round(settled.label_scale, 4), settled.label_step
        (0.825, 0.01)
    """
    found: dict[str, float] = {}
    if recipe.label_scale == 0:
        found["label_scale"] = float(np.std(labels)) or 1.0
    if recipe.label_step == 0:
        steps = (10.0**-digits for digits in range(_DIGITS + 1))
        whole = (step for step in steps if np.allclose(labels / step, np.rint(labels / step), 0))
        # without a last digit, differences below this are equal
        found["label_step"] = next(whole, float(np.ptp(labels)) * 10.0**-_DIGITS)
    return dataclasses.replace(recipe, **found)  # type: ignore[arg-type]


def make_loss(recipe: Recipe, technique: Technique) -> nn.Module:
    """The plain loss, or Focal-R over it; called with prediction, target and weights."""
    if technique.focal_r:
        return FocalRLoss(
            recipe.loss,  # type: ignore[arg-type]
            activation=recipe.focal_activation,  # type: ignore[arg-type]
            beta=recipe.focal_beta,
            gamma=recipe.focal_gamma,
        )
    if recipe.loss == "huber":
        return HuberLoss(recipe.huber_delta)
    return MSELoss() if recipe.loss == "mse" else L1Loss()


def make_weights(
    recipe: Recipe,
    technique: Technique,
    bins: LabelBins,
    labels: np.ndarray,
    factors: np.ndarray | None = None,
) -> Tensor | None:
    """A weight for each training sample ``(N,)``, float32, mean 1; ``None`` for equal ones.

    ``factors`` (N,), float64, of the user's own multiply what the technique gives.
    """
    if technique.weighting == "none":
        return None if factors is None else torch.from_numpy(factors / factors.mean()).float()
    lds = LDS(recipe.lds_kernel, recipe.lds_kernel_size, recipe.lds_sigma)  # type: ignore[arg-type]
    # as published: ages clip counts for 1/n and not for 1/√n
    clipped = technique.weighting == "inverse" and (recipe.min_count > 0 or recipe.max_count > 0)
    weights = DensityWeights.fit(
        labels,
        bins=_divided(bins, recipe.bins),
        scheme=technique.weighting,
        clip=(recipe.min_count, recipe.max_count or np.inf) if clipped else None,
        lds=lds if technique.lds else None,
    )
    found = torch.from_numpy(weights(labels)).float()
    if len(found) > 1 and found.min() == found.max():
        raise UsageError(
            f"Weights of scheme {technique.weighting} are the same for all training samples: "
            "choose other bins, min_count or max_count, or a method without weights."
        )
    if factors is None:
        return found
    product = weights(labels) * factors
    return torch.from_numpy(product / product.mean()).float()


def make_fds(recipe: Recipe, technique: Technique, bins: LabelBins, width: int) -> FDS | None:
    """FDS over features of this width, or ``None``."""
    if not technique.fds:
        return None
    covering = _covering(bins, recipe)
    if len(covering) < 2:
        raise UsageError(
            "FDS smooths features over label bins, and these labels have one: choose narrower bins "
            "or a method without FDS."
        )
    return FDS(
        width,
        covering,
        kernel=recipe.fds_kernel,  # type: ignore[arg-type]
        size=recipe.fds_kernel_size,
        sigma=recipe.fds_sigma,
        momentum=recipe.fds_momentum,
        clip=(recipe.fds_min_ratio, recipe.fds_max_ratio),
        empty=recipe.fds_empty_bins,  # type: ignore[arg-type]
        published=recipe.fds_paper_compat,
    )


def make_ranksim(
    recipe: Recipe, technique: Technique, seed: int, *, gather: bool = False
) -> RankSimLoss | None:
    """RankSim over labels in whole steps, or ``None``; ``gather``: over all devices' samples."""
    if not technique.ranksim:
        return None
    return RankSimLoss(
        recipe.gamma,
        recipe.lambda_,
        weight=recipe.ranksim_weight,
        ties=recipe.ties,  # type: ignore[arg-type]
        unique_labels=recipe.unique_labels,
        label_width=recipe.label_width / recipe.label_step or None,
        # its own generator: with and without RankSim, dropout draws the same numbers
        generator=torch.Generator().manual_seed(seed),
        gather_across_devices=gather,
        memory_size=recipe.memory_size,
    )


def _divided(bins: LabelBins, count: int) -> LabelBins:
    """The data set's own bins, or another number of them over the same range."""
    if count in (0, len(bins)):
        return bins
    return LabelBins.uniform(float(bins.edges[0]), float(bins.edges[-1]), count)


def _covering(bins: LabelBins, recipe: Recipe) -> LabelBins:
    """The bins of FDS."""
    if recipe.fds_min_label == recipe.fds_max_label:
        return _divided(bins, recipe.fds_bins)
    return LabelBins.uniform(recipe.fds_min_label, recipe.fds_max_label, recipe.fds_bins)


_PAD_OF = 224  # pixels of the image that a recipe's pad is meant for


def text_network(recipe: TextRecipe, vectors: Tensor, texts: int) -> Callable[[], Regressor]:
    """What makes a BiLSTM over these word vectors ``(V, E)``, for one or two texts."""
    shape = {"hidden": recipe.hidden, "layers": recipe.layers}
    return lambda: Regressor(TextEncoder(vectors, texts=texts, dropout=recipe.dropout, **shape))


def word_vectors(name: str, glove: Path | None = None, data_dir: Path | None = None) -> WordVectors:
    """Word vectors by the name a recipe gives them; ``glove`` is the file of the large ones."""
    if name == "glove-6b-50d":
        return PackagedGlove()
    if name == "glove-840b-300d":
        folders = [*data_folders(data_dir), cache_dir()]
        places = [folder / "glove" / GLOVE_840B for folder in folders]
        found = [place for place in places if place.is_file()]
        return GloveFile(glove or (found or places[-1:])[0], 300, lower=False)
    raise UsageError(f"Recipe field vectors must be glove-6b-50d or glove-840b-300d, got {name!r}.")


def series_network(recipe: SeriesRecipe, channels: int) -> Callable[[], Regressor]:
    """What makes a network over windows of so many channels."""
    made = GRUEncoder if recipe.encoder == "gru" else ConvEncoder
    shape = {"hidden": recipe.hidden, "layers": recipe.layers}
    return lambda: Regressor(made(channels, dropout=recipe.dropout, **shape))


def image_network(recipe: ImageRecipe, hardware: TrainerConfig) -> Callable[[], Regressor]:
    """What makes the network of a recipe."""
    last = hardware.puts_channels_last
    return lambda: Regressor(ImageEncoder(recipe.encoder, channels_last=last))


def augmentation(recipe: ImageRecipe, seed: int) -> CropFlip | None:
    """What happens to training images, if anything."""
    pad = round(recipe.pad * recipe.image_size / _PAD_OF)
    return CropFlip(seed, pad, recipe.flip) if pad or recipe.flip else None
