"""Errors that a user can cause: one sentence that says what, where, and what to do."""

from __future__ import annotations

import errno
import importlib
from types import ModuleType


class RankSimError(Exception):
    """Shown by the command line as its one sentence, without a traceback."""


class DataError(RankSimError):
    """A file or data set is missing, damaged or not what it should be."""


class UsageError(RankSimError):
    """A command or setting that cannot be carried out as asked."""


class StoppedError(RankSimError):
    """The user stopped a command."""


class MissingDependencyError(RankSimError, ImportError):
    """An optional part is not installed."""


def disk_error(error: OSError, path: object = None) -> DataError:
    """What the disk refuses, as one sentence.

    Args:
        error: of writing.
        path: what was to be written, where the error does not say.

    Example:
        >>> print(disk_error(OSError(errno.ENOSPC, "No space left on device"), "out/a.json"))
        The disk is full: out/a.json could not be written; free some space and start the command...
    """
    named = path or error.filename
    what = f"{named} could not be written"
    # NumPy tells no number where less was written than it gave
    if error.errno in (None, errno.ENOSPC, errno.EDQUOT):
        full = f"The disk is full: {what}" if named else "The disk is full"
        return DataError(
            f"{full}; free some space and start the command again, it goes on where it stopped."
        )
    return DataError(
        f"{what if named else 'A file could not be written'} ({error.strerror or error}); move "
        "away what is in its place, or give another folder that can be written."
    )


def require_optional(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise
        raise MissingDependencyError(
            f"{module.split('.')[0]} is not installed: run pip install 'ranksim[{extra}]'."
        ) from error
