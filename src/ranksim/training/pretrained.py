"""Pretrained encoders in folders: results hold their name and a digest, never where they lie."""

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

_READ = {".json", ".model", ".safetensors", ".txt"}  # the files that a model is read from


def folder_name(folder: Path) -> str:
    """How results call a pretrained model in a folder: ``NAME@DIGEST``, wherever it lies.

    The digest is the first 16 digits of the SHA-256 over names and SHA-256 of its files.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as place:
        ...     _ = (Path(place) / "config.json").write_text("{}")
        ...     folder_name(Path(place)).partition("@")[2]
        '1511bd8718560e75'
    """
    folder = folder.expanduser().resolve()
    files = sorted(p for p in folder.iterdir() if p.suffix in _READ and p.is_file())
    written = tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    return f"{folder.name}@{_digest(folder, written)}"


def to_portable_recipe(recipe: Recipe) -> tuple[Recipe, str | None]:
    """A recipe as results hold it, and the folder of its encoder where it names one."""
    encoder = _encoder(recipe)
    if encoder is None or not Path(encoder).expanduser().is_dir():
        return recipe, None
    return _reading(recipe, folder_name(Path(encoder))), encoder


def with_encoder_folder(recipe: Recipe, folder: str | None) -> Recipe:
    """The recipe that reads the encoder from its folder."""
    return recipe if folder is None else _reading(recipe, folder)


def relocate_encoder(recipe: Recipe, folder: Path | None) -> Recipe:
    """The recipe of a saved model, with the folder of its encoder given again.

    Raises:
        UsageError: it takes no folder.
        DataError: it is another encoder than the one that the model was trained with.
    """
    encoder = _encoder(recipe)
    if folder is None:
        return recipe
    if encoder is None:
        raise UsageError("This model has no pretrained encoder: leave --encoder out.")
    if not folder.expanduser().is_dir():
        raise DataError(f"There is no folder {folder}: give that of the encoder {encoder}.")
    if _is_folder_name(encoder):
        there = folder_name(folder)
        if there.rpartition("@")[2] != encoder.rpartition("@")[2]:
            raise DataError(
                f"{folder} holds {there}, and the model was trained with {encoder}: give the "
                "folder of that one."
            )
    return _reading(recipe, str(folder))


def refuse_missing(recipe: Recipe) -> None:
    """Refuse to go on without the folder of an encoder.

    Raises:
        UsageError: naming it.
    """
    encoder = _encoder(recipe)
    if encoder is not None and _is_folder_name(encoder) and not Path(encoder).is_dir():
        raise UsageError(
            f"This model reads through {encoder}, which was in a folder: give that folder with "
            "--encoder, or encoder= of load_model."
        )


def _encoder(recipe: Recipe) -> str | None:
    """What names a pretrained encoder, if anything does."""
    if not isinstance(recipe, ImageRecipe | SentenceRecipe) or recipe.encoder in RESNETS:
        return None
    return recipe.encoder


def _reading(recipe: Recipe, encoder: str) -> Recipe:
    return dataclasses.replace(recipe, encoder=encoder)  # type: ignore[call-arg]


def _is_folder_name(encoder: str) -> bool:
    return re.search(r"@[0-9a-f]{16}$", encoder) is not None


@lru_cache
def _digest(folder: Path, written: tuple[tuple[str, int, int], ...]) -> str:
    told = "".join(f"{name} {sha256(folder / name)}\n" for name, *_ in written)
    return hashlib.sha256(told.encode()).hexdigest()[:16]
