"""Folders of results: those that the user names, and temporary ones."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

from ranksim.exceptions import UsageError


class ResultFolder:
    """A folder for results; without a path, a temporary one that is removed with its owner.

    It is also removed when Python exits.
    """

    def __init__(self, path: Any = None) -> None:
        self.is_temporary = path is None
        if path is not None and not isinstance(path, str | Path):
            raise UsageError(f"--out takes the path of a folder, got {path!r}.")
        self.path = Path(tempfile.mkdtemp(prefix="ranksim-")) if path is None else Path(path)
        if self.is_temporary:
            self._remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)

    def keep_until_exit(self) -> None:
        """Keep a temporary folder although no object uses it, until Python exits."""
        _UNFINISHED.append(self)


_UNFINISHED: list[ResultFolder] = []  # of interrupted calls, which can be continued


def copy_folder(source: Path, target: Any) -> Path:
    """Copy a folder of results to another path, which must be new or empty; return that path."""
    if not isinstance(target, str | Path):
        raise UsageError(f"save() takes the path of a folder, got {target!r}.")
    path = Path(target).expanduser()
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UsageError(f"{path} exists and is not an empty folder: choose another folder.")
    shutil.copytree(source, path, dirs_exist_ok=True)
    return path
