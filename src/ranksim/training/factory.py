"""Construction of networks, losses, sample weights and FDS from a recipe."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ranksim._utils.storage import cache_dir
from ranksim.data.images.augment import CropFlip
from ranksim.data.text import GLOVE_840B, GloveFile, PackagedGlove, WordVectors
from ranksim.datasets.base import data_folder
from ranksim.exceptions import UsageError
from ranksim.imbalance import FDS, LDS, DensityWeights, LabelBins
from ranksim.losses import FocalRLoss, HuberLoss, L1Loss, MSELoss, RankSimLoss
from ranksim.models import (
    ConvEncoder,
    GRUEncoder,
    ImageEncoder,
    MLPEncoder,
    PrecomputedFeatures,
    Regressor,
    TextEncoder,
)
from ranksim.models.tuned_layers import EncoderWithMLP
from ranksim.training.method import Technique
from ranksim.training.recipe import (
    ImageRecipe,
    NetworkRecipe,
    Recipe,
    SentenceRecipe,
    SeriesRecipe,
    TableRecipe,
    TextRecipe,
)
from ranksim.training.trainer_config import TrainerConfig

_MAX_DECIMALS = 6
_ROUNDING = 1e-8  # of labels in steps
_PAD_IMAGE_SIZE = 224  # the image size to which a recipe's pad refers


def resolve_defaults(recipe: NetworkRecipe, labels: np.ndarray) -> NetworkRecipe:
    """Return the recipe with a label scale or step of 0 replaced by that of the labels ``(N,)``."""
    changes: dict[str, Any] = {}
    if recipe.label_scale == 0:
        changes["label_scale"] = float(np.std(labels)) or 1.0
    if recipe.label_step == 0:
        steps = (10.0**-decimals for decimals in range(_count_decimals(labels) + 1))
        exact = (step for step in steps if _are_multiples(labels, step))
        # continuous labels: smaller differences count as equal
        rounded = float(np.ptp(labels)) * 10.0**-_MAX_DECIMALS
        changes["label_step"] = next(exact, rounded) or 1.0
    return dataclasses.replace(recipe, **changes)


def _count_decimals(labels: np.ndarray) -> int:
    """Return the decimals that labels ``(N,)`` can have; more if all labels are tiny."""
    largest = float(np.abs(labels).max(initial=0.0))
    tiny = 0 < largest < 10.0**-_MAX_DECIMALS
    return _MAX_DECIMALS + (math.ceil(-math.log10(largest)) if tiny else 0)


def _are_multiples(labels: np.ndarray, step: float) -> bool:
    """Return whether labels ``(N,)`` are multiples of a step, up to rounding."""
    steps = labels / step
    # labels that are all far below the step are no multiples of it
    tolerance = _ROUNDING * min(1.0, float(np.abs(steps).max(initial=0.0)))
    return np.allclose(steps, np.rint(steps), rtol=0, atol=tolerance)


def make_loss(recipe: NetworkRecipe, technique: Technique) -> nn.Module:
    """Return the base loss or Focal-R, called with predictions, targets and weights."""
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
    sample_weight: np.ndarray | None = None,
) -> Tensor | None:
    """Compute the weights of the training samples from their labels ``(N,)``.

    They are float32 ``(N,)`` of mean 1 and multiplied by the user's ``sample_weight``; ``None``
    without both.
    """
    if technique.weighting == "none":
        if sample_weight is None:
            return None
        return torch.from_numpy(sample_weight / sample_weight.mean()).float()
    exact = fit_weights(recipe, technique, bins, labels)(labels)
    if sample_weight is None:
        return torch.from_numpy(exact).float()
    product = exact * sample_weight
    return torch.from_numpy(product / product.mean()).float()


def check_weights(
    recipe: Recipe, technique: Technique, bins: LabelBins, labels: np.ndarray
) -> None:
    """Raise a UsageError if the weights of a technique are equal for all training samples."""
    weights = make_weights(recipe, technique, bins, labels)
    if weights is not None and len(weights) > 1 and weights.min() == weights.max():
        raise UsageError(
            f"Weights of scheme {technique.weighting} are equal for all training samples: choose "
            "other bins, min_count or max_count, or a method without weights."
        )


def fit_weights(
    recipe: Recipe, technique: Technique, bins: LabelBins, labels: np.ndarray
) -> DensityWeights:
    """Fit the sample weights of a technique to the training labels ``(N,)``."""
    if technique.weighting == "denseweight":
        alpha = recipe.denseweight_alpha
        return DensityWeights.fit(labels, scheme="denseweight", alpha=alpha)
    lds = LDS(recipe.lds_kernel, recipe.lds_kernel_size, recipe.lds_sigma)  # type: ignore[arg-type]
    # the published recipes for ages limit the counts for 1/n only
    limited = technique.weighting == "inverse" and (recipe.min_count > 0 or recipe.max_count > 0)
    return DensityWeights.fit(
        labels,
        bins=_divide_bins(bins, recipe.bins),
        scheme=technique.weighting,
        clip=(recipe.min_count, recipe.max_count or np.inf) if limited else None,
        lds=lds if technique.lds else None,
    )


def make_fds(
    recipe: NetworkRecipe, technique: Technique, bins: LabelBins, width: int
) -> FDS | None:
    """Return FDS for features of this width, or ``None`` if the technique does not use it."""
    if not technique.fds:
        return None
    if recipe.fds_min_label == recipe.fds_max_label:
        fds_bins = _divide_bins(bins, recipe.fds_bins)
    else:
        fds_bins = LabelBins.uniform(recipe.fds_min_label, recipe.fds_max_label, recipe.fds_bins)
    if len(fds_bins) < 2:
        raise UsageError(
            "FDS smooths features over label bins, and there is only one bin: choose narrower bins "
            "or a method without FDS."
        )
    return FDS(
        width,
        fds_bins,
        kernel=recipe.fds_kernel,  # type: ignore[arg-type]
        kernel_size=recipe.fds_kernel_size,
        sigma=recipe.fds_sigma,
        momentum=recipe.fds_momentum,
        clip=(recipe.fds_min_ratio, recipe.fds_max_ratio),
        empty_bins=recipe.fds_empty_bins,  # type: ignore[arg-type]
        paper_compat=recipe.fds_paper_compat,
    )


def make_ranksim(
    recipe: NetworkRecipe, technique: Technique, seed: int, gather_across_devices: bool
) -> RankSimLoss | None:
    """Build RankSim for labels divided by ``label_step``; return None if it is not used."""
    if not technique.ranksim:
        return None
    return RankSimLoss(
        recipe.gamma,
        recipe.lambda_,
        weight=recipe.ranksim_weight,
        ties=recipe.ties,  # type: ignore[arg-type]
        unique_labels=recipe.unique_labels,
        label_width=recipe.label_width / recipe.label_step or None,
        # a separate generator: dropout draws the same numbers with and without RankSim
        generator=torch.Generator().manual_seed(seed),
        gather_across_devices=gather_across_devices,
        memory_size=recipe.memory_size,
    )


def _divide_bins(bins: LabelBins, count: int) -> LabelBins:
    """Return ``count`` bins of equal width over the range of the bins; 0 keeps the bins."""
    if count in (0, len(bins)):
        return bins
    return LabelBins.uniform(float(bins.edges[0]), float(bins.edges[-1]), count)


def table_network(recipe: TableRecipe, width: int) -> Callable[[], Regressor]:
    """Return a factory of MLPs over vectors of this width."""
    return lambda: Regressor(MLPEncoder(width, **_shape(recipe)))


def _shape(recipe: TableRecipe) -> dict[str, Any]:
    return {"hidden": recipe.hidden, "layers": recipe.layers, "dropout": recipe.dropout}


def text_network(recipe: TextRecipe, vectors: Tensor, texts: int) -> Callable[[], Regressor]:
    """Return a factory of BiLSTMs over word vectors ``(V, E)``, for one or two texts."""
    return lambda: Regressor(TextEncoder(vectors, texts=texts, **_shape(recipe)))


def finetuned_network(recipe: SentenceRecipe | ImageRecipe, encoder: nn.Module) -> Regressor:
    """Return a network over an encoder, which may have a learning rate of its own."""
    if recipe.encoder_lr:
        encoder.learning_rate = recipe.encoder_lr  # type: ignore[assignment]
    if recipe.head_layers:
        encoder = EncoderWithMLP(encoder, _head_mlp(recipe, int(encoder.width)))  # type: ignore[arg-type]
    return Regressor(encoder)


def _head_mlp(recipe: SentenceRecipe | ImageRecipe, width: int) -> MLPEncoder:
    dropout = recipe.dropout if isinstance(recipe, SentenceRecipe) else 0.0
    shape = {"hidden": recipe.hidden, "layers": recipe.head_layers}
    return MLPEncoder(width, **shape, dropout=dropout)


def series_network(recipe: SeriesRecipe, channels: int) -> Callable[[], Regressor]:
    """Return a factory of networks over windows with this number of channels."""
    encoder = GRUEncoder if recipe.encoder == "gru" else ConvEncoder
    return lambda: Regressor(encoder(channels, **_shape(recipe)))


def image_network(recipe: ImageRecipe, config: TrainerConfig) -> Callable[[], Regressor]:
    """Return a factory of vision networks."""

    def build() -> Regressor:
        encoder = ImageEncoder(recipe.encoder, channels_last=config.uses_channels_last)
        return finetuned_network(recipe, encoder)

    return build


def image_head(width: int, recipe: ImageRecipe, config: TrainerConfig) -> Callable[[], Regressor]:
    """Return a factory of linear heads or MLPs over image features of this width."""

    def build() -> Regressor:
        has_mlp = recipe.head_layers > 0
        return Regressor(_head_mlp(recipe, width) if has_mlp else PrecomputedFeatures(width))

    return build


def word_vectors(name: str, glove: Path | None = None, data_dir: Path | None = None) -> WordVectors:
    """Open the word vectors of a recipe; the large ones are read from the file ``glove``."""
    if name == "glove-6b-50d":
        return PackagedGlove()
    if name == "glove-840b-300d":
        folders = [folder for folder in (data_folder(data_dir), cache_dir()) if folder]
        paths = [folder / "glove" / GLOVE_840B for folder in folders]
        existing = [path for path in paths if path.is_file()]
        return GloveFile(glove or (existing or paths[-1:])[0], 300, lower=False)
    raise UsageError(f"Recipe field vectors must be glove-6b-50d or glove-840b-300d, got {name!r}.")


def augmentation(recipe: ImageRecipe, seed: int) -> CropFlip | None:
    """Return the augmentation of training images, or ``None``."""
    if recipe.frozen:
        return None
    pad = round(recipe.pad * recipe.image_size / _PAD_IMAGE_SIZE)
    return CropFlip(seed, pad, recipe.flip) if pad or recipe.flip else None
