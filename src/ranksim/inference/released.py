"""Trained models that come with ranksim, by name."""

from __future__ import annotations

from pathlib import Path

from ranksim._utils.storage import read_verified_json, sha256
from ranksim.exceptions import DataError

OWNER = "ranksim"  # of names such as ranksim/glucose
DIGESTS = "digests.json"  # SHA-256 of each file of each model
_PLACES = (
    Path(__file__).resolve().parents[1] / "weights",  # of an installed package
    Path(__file__).resolve().parents[3] / "results" / "weights",  # of a checkout
)


def released_folder() -> Path | None:
    """Return the folder that contains the released models, or None if they are not installed."""
    return next((folder for folder in _PLACES if (folder / DIGESTS).is_file()), None)


def list_released() -> list[str]:
    """Return the names of the released models, such as ``ranksim/glucose``."""
    root = released_folder()
    names = [] if root is None else sorted(_read_digests(root))
    return [f"{OWNER}/{name}" for name in names]


def find_released(name: str) -> Path | None:
    """Return the folder of a released model after verifying its files; None for other names.

    Raises:
        DataError: there is no such model, or a file is missing or damaged.
    """
    owner, slash, rest = name.partition("/")
    if owner != OWNER or not slash or "/" in rest:
        return None
    root = released_folder()
    if root is None:
        raise DataError(
            f"The model {name} is not installed: install a wheel of ranksim, or work in a checkout."
        )
    digests = _read_digests(root)
    if rest not in digests:
        raise DataError(f"There is no model {name}: choose from {', '.join(list_released())}.")
    for file, digest in digests[rest].items():
        path = root / rest / file
        if not path.is_file() or sha256(path) != digest:
            raise DataError(f"{path} is missing or damaged: install ranksim again.")
    return root / rest


def _read_digests(root: Path) -> dict[str, dict[str, str]]:
    try:
        return dict(read_verified_json(root / DIGESTS)["models"])
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{root / DIGESTS} is damaged: install ranksim again.") from error
