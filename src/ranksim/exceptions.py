"""Exceptions for errors that users can correct; each message states problem and remedy."""

from __future__ import annotations

import errno
import importlib
import importlib.util
from pathlib import Path
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
        raise _missing(module, extra) from error


def require_installed(module: str, extra: str) -> None:
    """Raise the error of :func:`require_optional` without importing the module."""
    if importlib.util.find_spec(module.split(".")[0]) is None:
        raise _missing(module, extra)


def _missing(module: str, extra: str) -> MissingDependencyError:
    return MissingDependencyError(
        f"{module.split('.')[0]} is not installed: run {install_command(extra)}."
    )


def install_command(extra: str) -> str:
    """Return the command that installs an extra from where this package was installed.

    That is the folder, file or repository in pip's record (PEP 610), or the folder of the source
    if the package was not installed, or its name if it came from an index.
    """
    import json
    import shlex
    from importlib import metadata
    from urllib.parse import urlsplit
    from urllib.request import url2pathname

    source = ""
    try:
        record = json.loads(metadata.distribution("ranksim").read_text("direct_url.json") or "{}")
    except metadata.PackageNotFoundError:
        folder = Path(__file__).resolve().parents[2]
        record = {"url": folder.as_uri(), "dir_info": {"editable": True}}
    url = record.get("url", "")
    if "vcs_info" in record:
        vcs = record["vcs_info"]
        source = f"{vcs['vcs']}+{url}@{vcs.get('requested_revision') or vcs['commit_id']}"
    elif "dir_info" in record:
        editable = "-e " if record["dir_info"].get("editable") else ""
        folder = Path(url2pathname(urlsplit(url).path))
        if (folder / "pyproject.toml").is_file():
            return f"pip install {editable}{shlex.quote(f'{folder}[{extra}]')}"
    elif "archive_info" in record:
        source = url
    requirement = f"ranksim[{extra}]" + (f" @ {source}" if source else "")
    return f"pip install {shlex.quote(requirement)}"
