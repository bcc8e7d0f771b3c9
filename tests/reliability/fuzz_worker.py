"""A process of the fuzzer: one case after another, each watched for time, memory and warnings.

``python -m tests.reliability.fuzz_worker FOLDER PROGRESS READER:FIRST:LAST …`` tries those cases; so does
``python -m tests.reliability.fuzz_worker READER CASE`` with one of them, and shows how it ends.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from ranksim.exceptions import RankSimError
from tests.reliability.fuzz_readers import READERS

SECONDS = 5.0  # that a case may take
MEMORY = 1 << 30  # bytes beyond what the process has when it begins
PROGRESS = struct.Struct("<qqqqd")  # job, case, read, refused, seconds
READ, REFUSED = "read", "refused"


class SlowError(BaseException):
    """A case that takes too long; no reader may catch it."""


def outcome(reader: str, case: int, folder: Path) -> str:
    """How a case ends: ``read``, ``refused``, or what is wrong."""
    content = READERS[reader].make(Random(f"{reader}/{case}"))
    folder.mkdir()
    try:
        with warnings.catch_warnings(record=True) as warned, _timed():
            warnings.simplefilter("always")
            try:
                READERS[reader].read(content, folder)
                ended = READ
            except RankSimError as error:
                ended = _sentence(str(error).replace(str(folder), "FOLDER"))
        return f"warned: {warned[0].category.__name__}" if warned else ended
    except SlowError:
        return f"took more than {SECONDS:g} s"
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _told(error).replace(str(folder), "FOLDER")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sentence(text: str) -> str:
    """Whether a refusal is one sentence, on one line that any terminal shows."""
    one = text.endswith(".") and text.isprintable() and len(text) < 2_000
    return REFUSED if one else f"no sentence: {text[:60] + ' … ' + text[-60:]!a}"


def _told(error: BaseException) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    told = f"{type(error).__name__} in {Path(place.filename).name}, {place.name}"
    return f"{told}: {str(error)[:100]!a}"


@contextlib.contextmanager
def _timed() -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _too_slow(number: int, frame: Any) -> None:
    raise SlowError


def watched() -> None:
    """Bound this process's memory and the files it writes, and let its clock interrupt it."""
    signal.signal(signal.SIGALRM, _too_slow)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(folder: str, progress: str, *jobs: str) -> None:
    """Try cases; what is found goes to stdout, a line each, and what is done into ``progress``."""
    watched()
    with Path(progress).open("r+b", buffering=0) as file:
        for number, job in enumerate(jobs):
            reader, first, last = job.split(":")
            read = refused = 0
            begun = time.perf_counter()
            for case in range(int(first), int(last) + 1):
                spent = time.perf_counter() - begun
                os.pwrite(file.fileno(), PROGRESS.pack(number, case, read, refused, spent), 0)
                if case < int(last):
                    ended = outcome(reader, case, Path(folder) / "case")
                    read, refused = read + (ended == READ), refused + (ended == REFUSED)
                    if ended not in (READ, REFUSED):
                        print(json.dumps([reader, case, ended]), flush=True)
            print(
                json.dumps([reader, read, refused, round(time.perf_counter() - begun, 3)]),
                flush=True,
            )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        watched()
        with tempfile.TemporaryDirectory() as place:
            print(outcome(sys.argv[1], int(sys.argv[2]), Path(place) / "case"))
    else:
        main(*sys.argv[1:])
