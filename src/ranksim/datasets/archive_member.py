"""Reading single files out of archives, in memory, without trusting the archive."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import IO

from ranksim._utils.formatting import single_line
from ranksim.datasets.extract import Header
from ranksim.exceptions import DataError, RankSimError


def read_member(archive: Path | bytes, member: str, *, limit: int, origin: str) -> bytes:
    """One file of a .tar.gz archive, named exactly; nothing is ever written to disk.

    Args:
        archive: path or content.
        member: its full name in the archive; it must be a regular file (no link, no device).
        limit: most bytes the file may have; no more than that is read.
        origin: how messages call the archive.

    Raises:
        DataError: the archive is damaged, or the member is missing, no file, or too large.
    """
    source: IO[bytes] = io.BytesIO(archive) if isinstance(archive, bytes) else archive.open("rb")
    try:
        with source, tarfile.open(fileobj=source, mode="r:gz", tarinfo=Header) as tar:
            found = tar.getmember(member)
            content = tar.extractfile(found) if found.isreg() else None
            if content is None:
                raise DataError(f"{origin}: {member} is not a regular file; get the archive again.")
            data = content.read(limit + 1)
    except KeyError as error:
        raise DataError(f"{origin} holds no {member}; get the archive again.") from error
    except RankSimError:
        raise
    except Exception as error:  # the parsers promise no list of what damage makes them raise
        reason = single_line(str(error) or type(error).__name__)
        raise DataError(f"{origin} is damaged ({reason}); get the archive again.") from error
    if len(data) > limit:
        raise DataError(f"{origin}: {member} is larger than {limit} bytes; get the archive again.")
    return data
