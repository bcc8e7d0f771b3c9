"""The folder that a model is: which files it has, and how it appears whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ranksim._utils.storage import read_verified_json, temporary_sibling
from ranksim.exceptions import DataError, UsageError

FORMAT = 1
CONFIG, WEIGHTS, METRICS, CARD = "config.json", "model.safetensors", "metrics.json", "README.md"
FILES = (CONFIG, WEIGHTS, METRICS, CARD)


def read_json(path: Path) -> dict[str, Any]:
    """A file of a model.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        return read_verified_json(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: give a folder that ranksim fit wrote.") from None
    except (ValueError, NotADirectoryError) as error:
        raise DataError(f"{path} is damaged: get the model again, or fit it again.") from error


def refuse_other_folder(out: Path) -> None:
    """Refuse to replace anything but a model.

    Raises:
        UsageError: something else is there.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file, and a model is a folder: give another --out.")
    there = {path.name for path in out.iterdir()}
    if there and not ({CONFIG, WEIGHTS} <= there <= set(FILES)):
        other = ", ".join(sorted(there - set(FILES))[:3]) or "a part of a model"
        raise UsageError(
            f"{out} holds what is no model ({other}), which would be lost: give another --out."
        )


@contextmanager
def written_folder(out: Path) -> Iterator[Path]:
    """A temporary folder beside ``out``, renamed onto it when the block ends without an error."""
    out = out.absolute()
    with temporary_sibling(out) as place:
        aside, before = place / "new", place / "old"
        aside.mkdir()
        yield aside
        refuse_other_folder(out)
        if out.exists():
            out.rename(before)
        aside.rename(out)


def remove_training(folder: Path) -> None:
    """Remove a training that a model was made of, and its parent where nothing else is in it."""
    shutil.rmtree(folder)
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()
