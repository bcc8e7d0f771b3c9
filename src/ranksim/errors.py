"""Errors that a user can cause: one sentence that says what, where, and what to do."""

from __future__ import annotations

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


class MissingExtraError(RankSimError, ImportError):
    """An optional part is not installed."""


def needs(module: str, extra: str) -> ModuleType:
    """Import an optional module, or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and not module.startswith(error.name):
            raise
        raise MissingExtraError(
            f"{module.split('.')[0]} is not installed: run pip install 'ranksim[{extra}]'."
        ) from error
