"""Exceptions for errors that users can correct; each message states problem and remedy."""

from __future__ import annotations

import errno
import importlib
from types import ModuleType


class RankSimError(Exception):
    """Base class of ranksim errors; the command line prints the message without a traceback."""


class DataError(RankSimError):
    """An error for a file or data set that is missing, damaged or invalid."""


class UsageError(RankSimError):
    """An error for an invalid command or setting."""


class StoppedError(RankSimError):
    """An error that ends a command after the user stopped it."""


class MissingDependencyError(RankSimError, ImportError):
    """An error for an optional dependency that is not installed."""


def disk_error(error: OSError, path: object = None) -> DataError:
    """Convert an OSError raised while writing ``path`` to a DataError with a remedy."""
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
    """Import an optional module, or raise an error that tells which extra to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise
        raise MissingDependencyError(
            f"{module.split('.')[0]} is not installed: run pip install 'ranksim[{extra}]'."
        ) from error
