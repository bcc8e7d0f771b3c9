"""Errors that a user can cause: one sentence with the problem, its place and a remedy."""

from __future__ import annotations

import errno
import importlib
from types import ModuleType


class RankSimError(Exception):
    """Base class; the command line prints the message without a traceback."""


class DataError(RankSimError):
    """A file or data set is missing, damaged or invalid."""


class UsageError(RankSimError):
    """A command or setting is invalid."""


class StoppedError(RankSimError):
    """The user stopped a command."""


class MissingDependencyError(RankSimError, ImportError):
    """An optional dependency is not installed."""


def disk_error(error: OSError, path: object = None) -> DataError:
    """Convert an OSError from writing ``path`` to a DataError with a remedy."""
    problem = f"{path or error.filename or 'A file'} could not be written"
    # NumPy raises an OSError without a number for an incomplete write
    if error.errno in (None, errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"The disk is full: {problem}; free some space and run the command again to resume."
        )
    return DataError(
        f"{problem} ({error.strerror or error}); move away what is in its place, or choose a "
        "writable folder."
    )


def require_optional(module: str, extra: str) -> ModuleType:
    """Import an optional module, or raise an error that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise
        raise MissingDependencyError(
            f"{module.split('.')[0]} is not installed: run pip install 'ranksim[{extra}]'."
        ) from error
