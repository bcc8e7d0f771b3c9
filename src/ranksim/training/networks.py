"""From recipes to networks, where they need more than the recipe says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from torch import Tensor

from ranksim._utils.storage import cache_dir
from ranksim.data.images.augment import CropFlip
from ranksim.data.word_vectors import GLOVE_840B, GloveFile, PackagedGlove, WordVectors
from ranksim.datasets.base import data_folders
from ranksim.exceptions import UsageError
from ranksim.models import ConvEncoder, GRUEncoder, ImageEncoder, Regressor, TextEncoder
from ranksim.training.recipe import ImageRecipe, SeriesRecipe, TextRecipe
from ranksim.training.trainer_config import TrainerConfig

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
