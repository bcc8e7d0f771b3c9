"""Worker process of the fuzzer: runs cases with limits on time and memory.

``python -m tests.reliability.fuzz_worker FOLDER PROGRESS READER:FIRST:LAST …`` runs these cases;
``python -m tests.reliability.fuzz_worker READER CASE`` runs one case and prints its outcome.
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

SECONDS = 5.0  # time limit of a case
MEMORY = 1 << 30  # bytes a process may allocate
PROGRESS = struct.Struct("<qqqqd")  # job, case, read, rejected, seconds
READ, REJECTED = "read", "rejected"


class SlowError(BaseException):
    """A case exceeded its time limit; readers must not catch this."""


def run_case(reader: str, case: int, folder: Path) -> str:
    """Return ``read``, ``rejected`` or the failure of a case."""
    content = READERS[reader].make(Random(f"{reader}/{case}"))
    folder.mkdir()
    try:
        with warnings.catch_warnings(record=True) as caught, _time_limit():
            warnings.simplefilter("always")
            try:
                READERS[reader].read(content, folder)
                result = READ
            except RankSimError as error:
                result = _check_sentence(str(error).replace(str(folder), "FOLDER"))
        return f"warned: {caught[0].category.__name__}" if caught else result
    except SlowError:
        return f"took more than {SECONDS:g} s"
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        return _describe_error(error).replace(str(folder), "FOLDER")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_sentence(text: str) -> str:
    """Return ``rejected`` if the message is one printable sentence on one line."""
    is_sentence = text.endswith(".") and text.isprintable() and len(text) < 2_000
    return REJECTED if is_sentence else f"not a sentence: {text[:60] + ' … ' + text[-60:]!a}"


def _describe_error(error: BaseException) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    name = f"{type(error).__name__} in {Path(place.filename).name}, {place.name}"
    return f"{name}: {str(error)[:100]!a}"


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _too_slow(number: int, frame: Any) -> None:
    raise SlowError


def set_limits() -> None:
    """Limit the memory of this process and install the handler of the time limit."""
    signal.signal(signal.SIGALRM, _too_slow)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main(folder: str, progress: str, *jobs: str) -> None:
    """Run cases; print one line per failure and reader, and record progress in a file."""
    set_limits()
    with Path(progress).open("r+b", buffering=0) as file:
        for number, job in enumerate(jobs):
            reader, first, last = job.split(":")
            read = rejected = 0
            start = time.perf_counter()
            for case in range(int(first), int(last) + 1):
                elapsed = time.perf_counter() - start
                os.pwrite(file.fileno(), PROGRESS.pack(number, case, read, rejected, elapsed), 0)
                if case < int(last):
                    result = run_case(reader, case, Path(folder) / "case")
                    read, rejected = read + (result == READ), rejected + (result == REJECTED)
                    if result not in (READ, REJECTED):
                        print(json.dumps([reader, case, result]), flush=True)
            print(
                json.dumps([reader, read, rejected, round(time.perf_counter() - start, 3)]),
                flush=True,
            )


if __name__ == "__main__":
    if len(sys.argv) == 3:
        set_limits()
        with tempfile.TemporaryDirectory() as place:
            print(run_case(sys.argv[1], int(sys.argv[2]), Path(place) / "case"))
    else:
        main(*sys.argv[1:])
