"""Pretrained encoders in local folders, recorded by name and digest instead of their path."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from functools import lru_cache
from pathlib import Path

from ranksim._utils.storage import sha256
from ranksim.exceptions import DataError, UsageError
from ranksim.models.vision import RESNETS
from ranksim.training.recipe import ImageRecipe, Recipe, SentenceRecipe

_MODEL_FILES = {".json", ".model", ".safetensors", ".txt"}
_PORTABLE = re.compile(r"@[0-9a-f]{16}$")


def portable_encoder_name(folder: Path) -> str:
    """Return ``NAME@DIGEST``, which identifies the model in a folder wherever the folder is.

    The digest is the first 16 digits of a SHA-256 over the names and SHA-256 of the model's files.
    """
    folder = folder.expanduser().resolve()
    files = sorted(p for p in folder.iterdir() if p.suffix in _MODEL_FILES and p.is_file())
    state = tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    return f"{folder.name}@{_digest(folder, state)}"


def to_portable_recipe(recipe: Recipe) -> tuple[Recipe, str | None]:
    """Replace an encoder folder in a recipe by its portable name; return the folder too."""
    encoder = _pretrained_encoder(recipe)
    if encoder is None or not Path(encoder).expanduser().is_dir():
        return recipe, None
    return with_encoder_folder(recipe, portable_encoder_name(Path(encoder))), encoder


def with_encoder_folder(recipe: Recipe, folder: str | None) -> Recipe:
    """Return the recipe with its encoder read from a folder, if there is one."""
    return recipe if folder is None else dataclasses.replace(recipe, encoder=folder)  # type: ignore[call-arg]


def relocate_encoder(recipe: Recipe, folder: Path | None) -> Recipe:
    """Return the recipe of a saved model with the same encoder read from another folder."""
    encoder = _pretrained_encoder(recipe)
    if folder is None:
        return recipe
    if encoder is None:
        raise UsageError("This model has no pretrained encoder: leave --encoder out.")
    if not folder.expanduser().is_dir():
        raise DataError(f"There is no folder {folder}: give the folder of the encoder {encoder}.")
    if _PORTABLE.search(encoder):
        name = portable_encoder_name(folder)
        if name.rpartition("@")[2] != encoder.rpartition("@")[2]:
            raise DataError(
                f"{folder} contains {name}, but the model was trained with {encoder}: give the "
                "folder of that encoder."
            )
    return with_encoder_folder(recipe, str(folder))


def require_encoder_folder(recipe: Recipe) -> None:
    """Raise UsageError if the recipe's encoder was in a folder that is not known here."""
    encoder = _pretrained_encoder(recipe)
    if encoder is not None and _PORTABLE.search(encoder) and not Path(encoder).is_dir():
        raise UsageError(
            f"This model uses the encoder {encoder} from a local folder: give that folder with "
            "--encoder, or encoder= of load_model."
        )


def _pretrained_encoder(recipe: Recipe) -> str | None:
    """Return the name or folder of the recipe's pretrained encoder, if it has one."""
    if not isinstance(recipe, ImageRecipe | SentenceRecipe) or recipe.encoder in RESNETS:
        return None
    return recipe.encoder


@lru_cache
def _digest(folder: Path, state: tuple[tuple[str, int, int], ...]) -> str:
    lines = "".join(f"{name} {sha256(folder / name)}\n" for name, *_ in state)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]
