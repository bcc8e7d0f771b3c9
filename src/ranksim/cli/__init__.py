"""The command-line interface: commands, their options, and printing of their results."""

from __future__ import annotations

import errno
import sys

from ranksim.exceptions import (
    RankSimError,
    StoppedError,
    UsageError,
    disk_error,
    require_optional,
)


def main() -> None:
    """Run ``ranksim`` and exit.

    Exit codes: 0 success, 1 the data or a training failed, 2 invalid usage, 130 Ctrl-C.
    """
    try:
        require_optional("typer", "train")
        from ranksim.cli.app import app

        app()
    except RankSimError as error:
        code = 130 if isinstance(error, StoppedError) else 2 if isinstance(error, UsageError) else 1
        _exit(str(error), code)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            _exit(str(disk_error(error)), 1)
        if error.filename is None:
            raise
        _exit(f"{error.filename}: {error.strerror}.", 1)


def _exit(message: str, code: int) -> None:
    print(f"Error: {message}", file=sys.stderr)
    raise SystemExit(code)
