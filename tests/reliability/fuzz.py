"""Bad input: readers of files from elsewhere are given mutated ones, hundreds of thousands."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.reliability.fuzz_readers import READERS
from tests.reliability.fuzz_worker import PROGRESS, SECONDS

TITLE = "Bad input"
CASES, SHORT = 20_000, 140  # of each reader
EXAMPLES = 300  # of each property; the tests draw 25
_HUNG = 30.0  # seconds without a case that ended, after which the process is ended
_TOLD = 20  # failures that are written down
_ROOT = Path(__file__).parents[2]
_TEXT = """\
A file that comes from elsewhere is read rightly, or refused by one sentence that says what is
wrong with it and where. Nothing else happens: no other error, no warning, no hang, no file outside
the folder that an archive is unpacked into, and nothing that is not finite is passed on.

{total:,} files were made of valid ones, by a seed and a number: fields, rows, headers, sizes,
names, links, types, encodings and nesting were changed with the format's rules kept, and bytes
against them. Each was read in a process with bounded memory, in at most {seconds:g} seconds. What
was read was checked for all that must hold: finite labels, no path that leads outside, no sample in
two parts. `python -m tests.reliability.fuzz_worker READER CASE` makes and tries a case again.

| reader | files | read | refused | failed | seconds |
| --- | ---: | ---: | ---: | ---: | ---: |"""
_BESIDE = """
Beside these, `tests/trust/test_properties_*.py` draw tables, labels, weights, features, method
names and settings, and hold what is accepted against oracles. Out of scope: the decoders of images
and the pages of Parquet files, which are other libraries' C code."""


def measure(short: bool, folder: Path) -> dict[str, Any]:
    """Try cases on every reader, in processes that may die of one."""
    cases = SHORT if short else CASES
    # one process for all, or one for each reader: starting one takes seconds
    groups = [list(READERS)] if short else [[name] for name in READERS]
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else folder
    with tempfile.TemporaryDirectory(dir=place) as name, ThreadPoolExecutor(2) as two:
        folders = [Path(name) / str(k) for k in range(len(groups))]
        found = [each for group in two.map(_tried, groups, folders, [cases] * len(groups))
                 for each in group]  # fmt: skip
    checks = [
        {
            "what": f"fuzzed {READERS[each['reader']].title}",
            "tried": each["cases"],
            "failed": sum(each["failed"].values()),
            "note": "; ".join(f"case {case}: {how}" for case, how in each["told"][:3]),
        }
        for each in found
    ]
    if not short:  # CI runs them as tests
        checks.append(_properties())
    return {"checks": checks, "readers": found}


def text(found: dict[str, Any]) -> str:
    """What was tried and how it ended."""
    readers = found["readers"]
    total = sum(each["cases"] for each in readers)
    rows = [
        f"| {READERS[each['reader']].title} | {each['cases']:,} | {each['read']:,} | "
        f"{each['refused']:,} | {sum(each['failed'].values()):,} | {each['seconds']:.0f} |"
        for each in readers
    ]
    return "\n".join([_TEXT.format(total=total, seconds=SECONDS), *rows, _BESIDE])


def _properties() -> dict[str, Any]:
    """The tests by properties, with more examples."""
    paths = sorted(map(str, (_ROOT / "tests/trust").glob("test_properties_*.py")))
    told = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths],
        cwd=_ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "RANKSIM_EXAMPLES": str(EXAMPLES)},
        capture_output=True,
        text=True,
    )
    passed, failed = (
        sum(map(int, re.findall(rf"(\d+) {word}", told.stdout))) for word in ("passed", "failed")
    )
    return {
        "what": "properties of tables, labels, losses and settings",
        "tried": (passed + failed) * EXAMPLES,
        "failed": failed if passed else max(failed, 1),
        "note": f"{passed + failed} properties, {EXAMPLES} examples of each",
    }


def _tried(readers: list[str], folder: Path, cases: int) -> list[dict[str, Any]]:
    """How the cases of some readers end."""
    folder.mkdir()
    jobs = [[name, 0] for name in readers]
    read, refused, seconds = Counter[str](), Counter[str](), Counter[str]()
    failed: dict[str, list[tuple[int, str]]] = {name: [] for name in readers}
    while jobs:
        progress = folder / "progress"
        progress.write_bytes(bytes(PROGRESS.size))
        code, lines = _process(folder, [f"{name}:{first}:{cases}" for name, first in jobs])
        for line in lines:
            name, *told = json.loads(line)
            if len(told) == 2:
                failed[name].append((told[0], told[1]))
            else:
                read[name] += told[0]
                refused[name] += told[1]
                seconds[name] += told[2]
        if code == 0:
            break
        # it died of a case: count what was done, and go on behind it
        job, case, did, would_not, spent = PROGRESS.unpack(progress.read_bytes())
        name = jobs[job][0]
        read[name] += did
        refused[name] += would_not
        seconds[name] += spent
        failed[name].append((case, f"ended the process: {_signal(code)}"))
        jobs = [[name, case + 1], *jobs[job + 1 :]]
    return [
        {
            "reader": name,
            "cases": cases,
            "read": read[name],
            "refused": refused[name],
            "failed": dict(Counter(how.split(":")[0] for _, how in failed[name])),
            "told": failed[name][:_TOLD],
            "seconds": round(seconds[name], 1),
        }
        for name in readers
    ]


def _process(folder: Path, jobs: list[str]) -> tuple[int, list[str]]:
    """Its exit code, and the lines that it wrote; it is ended where it hangs."""
    progress, out = folder / "progress", folder / "out"
    command = [
        sys.executable,
        "-m",
        "tests.reliability.fuzz_worker",
        str(folder),
        str(progress),
        *jobs,
    ]
    with out.open("wb") as file:
        child = subprocess.Popen(
            command, cwd=_ROOT, stdout=file, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        for _ in _while_it_goes_on(progress):
            if child.poll() is not None:
                break
        else:
            child.kill()
        code = child.wait()
    return code, out.read_text(encoding="utf-8").splitlines()


def _while_it_goes_on(progress: Path) -> Iterator[None]:
    """Ten times a second, until the file has stayed the same for too long."""
    before, since = b"", time.monotonic()
    while time.monotonic() - since < _HUNG:
        yield
        time.sleep(0.1)
        if (now := progress.read_bytes()) != before:
            before, since = now, time.monotonic()


def _signal(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
