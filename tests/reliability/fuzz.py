"""Malformed input: hundreds of thousands of mutated files, given to every reader."""

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

TITLE = "Malformed input"
CASES, SHORT = 20_000, 140  # per reader
EXAMPLES = 300  # per property; the tests draw 25
_TIMEOUT = 90.0  # seconds without a finished case before the process is killed
_MAX_FAILURES = 20  # failures that are recorded
_ROOT = Path(__file__).parents[2]
_TEXT = """\
A file from elsewhere is read correctly or rejected in one sentence that says what is wrong and
where. Nothing else happens: no other error, no warning, no hang, no file outside the folder of an
archive, and no value that is not finite.

{total:,} files were generated from valid ones with fixed seeds: fields, rows, headers, sizes, names,
links, types, encodings and nesting were changed within the rules of the format, and bytes against
them. Each was read in a process with bounded memory, in at most {seconds:g} seconds. Accepted content
was checked: finite labels, no path that leads outside, no sample in two parts.
`python -m tests.reliability.fuzz_worker READER CASE` repeats one case.

| reader | files | accepted | rejected | failures | seconds |
| --- | ---: | ---: | ---: | ---: | ---: |"""
_SCOPE = """
In addition, `tests/reliability/test_properties_*.py` generate tables, labels, weights, features,
method names and settings, and compare accepted values with oracles. Out of scope: the decoders of
images and the pages of Parquet files, which are C code of other libraries."""


def measure(short: bool, folder: Path) -> dict[str, Any]:
    """Run the cases of every reader in processes that a case may end."""
    cases = SHORT if short else CASES
    # starting a process takes seconds: the short version uses one for all readers
    groups = [list(READERS)] if short else [[name] for name in READERS]
    memory = Path("/dev/shm")
    place = memory if os.access(memory, os.W_OK) else folder
    with tempfile.TemporaryDirectory(dir=place) as name, ThreadPoolExecutor(2) as two:
        folders = [Path(name) / str(k) for k in range(len(groups))]
        outcomes = two.map(_run_readers, groups, folders, [cases] * len(groups))
        readers = [outcome for group in outcomes for outcome in group]
    checks = [
        {
            "check": f"fuzzed {READERS[each['reader']].title}",
            "cases": each["cases"],
            "failures": sum(each["failed"].values()),
            "note": "; ".join(f"case {case}: {how}" for case, how in each["failures"][:3]),
        }
        for each in readers
    ]
    if not short:  # CI runs these as tests
        checks.append(_run_properties())
    return {"checks": checks, "readers": readers}


def describe(figures: dict[str, Any]) -> str:
    """Describe the cases and their outcomes."""
    readers = figures["readers"]
    total = sum(each["cases"] for each in readers)
    rows = [
        f"| {READERS[each['reader']].title} | {each['cases']:,} | {each['read']:,} | "
        f"{each['rejected']:,} | {sum(each['failed'].values()):,} | {each['seconds']:.0f} |"
        for each in readers
    ]
    return "\n".join([_TEXT.format(total=total, seconds=SECONDS), *rows, _SCOPE])


def _run_properties() -> dict[str, Any]:
    """Run the property-based tests with more examples."""
    paths = sorted(map(str, (_ROOT / "tests/reliability").glob("test_properties_*.py")))
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *paths],
        cwd=_ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "RANKSIM_EXAMPLES": str(EXAMPLES)},
        capture_output=True,
        text=True,
    )
    passed, failed = (
        sum(map(int, re.findall(rf"(\d+) {word}", result.stdout))) for word in ("passed", "failed")
    )
    return {
        "check": "properties of tables, labels, losses and settings",
        "cases": (passed + failed) * EXAMPLES,
        "failures": failed if passed else max(failed, 1),
        "note": f"{passed + failed} properties, {EXAMPLES} examples each",
    }


def _run_readers(readers: list[str], folder: Path, cases: int) -> list[dict[str, Any]]:
    """Return the outcomes of the cases of some readers."""
    folder.mkdir()
    jobs = [[name, 0] for name in readers]
    read, rejected, seconds = Counter[str](), Counter[str](), Counter[str]()
    failed: dict[str, list[tuple[int, str]]] = {name: [] for name in readers}
    while jobs:
        progress = folder / "progress"
        progress.write_bytes(bytes(PROGRESS.size))
        code, lines = _run_process(folder, [f"{name}:{first}:{cases}" for name, first in jobs])
        for line in lines:
            name, *values = json.loads(line)
            if len(values) == 2:
                failed[name].append((values[0], values[1]))
            else:
                read[name] += values[0]
                rejected[name] += values[1]
                seconds[name] += values[2]
        if code == 0:
            break
        # a case ended the process: count finished cases and continue after it
        job, case, n_read, n_rejected, elapsed = PROGRESS.unpack(progress.read_bytes())
        name = jobs[job][0]
        read[name] += n_read
        rejected[name] += n_rejected
        seconds[name] += elapsed
        failed[name].append((case, f"ended the process: {_describe_exit(code)}"))
        jobs = [[name, case + 1], *jobs[job + 1 :]]
    return [
        {
            "reader": name,
            "cases": cases,
            "read": read[name],
            "rejected": rejected[name],
            "failed": dict(Counter(how.split(":")[0] for _, how in failed[name])),
            "failures": failed[name][:_MAX_FAILURES],
            "seconds": round(seconds[name], 1),
        }
        for name in readers
    ]


def _run_process(folder: Path, jobs: list[str]) -> tuple[int, list[str]]:
    """Return the exit code and output lines of a worker; kill it if it hangs."""
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
        for _ in _wait_while_active(progress):
            if child.poll() is not None:
                break
        else:
            child.kill()
        code = child.wait()
    return code, out.read_text(encoding="utf-8").splitlines()


def _wait_while_active(progress: Path) -> Iterator[None]:
    """Yield ten times a second until the progress file has not changed for too long."""
    previous, changed = b"", time.monotonic()
    while time.monotonic() - changed < _TIMEOUT:
        yield
        time.sleep(0.1)
        if (content := progress.read_bytes()) != previous:
            previous, changed = content, time.monotonic()


def _describe_exit(code: int) -> str:
    return signal.Signals(-code).name if code < 0 else f"exit code {code}"
