"""The files of a saved model, and how its folder is replaced atomically."""

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
    """Read a JSON file of a model.

    Raises:
        DataError: the file is missing or damaged.
    """
    try:
        return read_verified_json(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: give a folder that ranksim fit wrote.") from None
    except (ValueError, NotADirectoryError) as error:
        raise DataError(f"{path} is damaged: copy the model again, or fit it again.") from error


def require_model_folder(out: Path) -> None:
    """Raise an error if writing a model would replace anything but a model.

    Raises:
        UsageError: the path is a file, or a folder with other content.
    """
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file, but a model is a folder: choose another --out.")
    names = {path.name for path in out.iterdir()}
    if names and not ({CONFIG, WEIGHTS} <= names <= set(FILES)):
        other = ", ".join(sorted(names - set(FILES))[:3]) or "an incomplete model"
        raise UsageError(
            f"{out} contains other files than a model ({other}), which would be deleted: choose "
            "another --out."
        )


@contextmanager
def replace_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces ``out`` if the block ends without an error."""
    out = out.absolute()
    with temporary_sibling(out) as temporary:
        new, old = temporary / "new", temporary / "old"
        new.mkdir()
        yield new
        require_model_folder(out)
        if out.exists():
            out.rename(old)
        new.rename(out)


def remove_training_folder(folder: Path) -> None:
    """Remove the folder of a training, and its parent if it is empty then."""
    shutil.rmtree(folder)
    if not any(folder.parent.iterdir()):
        folder.parent.rmdir()
