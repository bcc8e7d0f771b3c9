"""The command line: it parses and hands on."""

from __future__ import annotations

import errno
import sys

from ranksim.exceptions import (
    MissingDependencyError,
    RankSimError,
    StoppedError,
    UsageError,
    disk_error,
    require_optional,
)


def main() -> None:
    """``ranksim``: exit code 0 when done, 1 for an error of data or training, 2 for one of usage.

    130 after Ctrl-C.
    """
    try:
        require_optional("typer", "train")
        from ranksim.cli.app import app

        app()
    except StoppedError as error:
        _leave(str(error), 130)
    except UsageError as error:
        _leave(str(error), 2)
    except (MissingDependencyError, RankSimError) as error:
        _leave(str(error), 1)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            _leave(str(disk_error(error)), 1)
        if error.filename is None:
            raise
        _leave(f"{error.filename}: {error.strerror}.", 1)


def _leave(sentence: str, code: int) -> None:
    print(f"Error: {sentence}", file=sys.stderr)
    raise SystemExit(code)
