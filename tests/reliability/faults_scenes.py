"""Small real sweeps over generated data, run through the command line."""

from __future__ import annotations

import contextlib
import functools
import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import numpy as np

from ranksim._utils.storage import sha256
from ranksim.evaluation.record import read_results
from tests.conftest import HEADER, sts_rows
from tests.helpers import user_data
from tests.helpers.results_diff import diff_results

OUT, CACHE, OUTPUT = "out", "cache", "output.txt"


class Driver:
    """Process that starts commands (see :mod:`tests.reliability.faults_driver`)."""

    def __enter__(self) -> Self:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.reliability.faults_driver"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()  # it ends when its input closes

    def ask(self, **request: Any) -> int:
        """Send a request and return the answer."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


@dataclass(frozen=True)
class Scene:
    """A sweep that can be run in any folder.

    Args:
        driver: process that starts the command.
        name: short name.
        words: command without the output folder.
        data: working directory of the command.
        fault: fault that is always injected.
    """

    driver: Driver
    name: str
    words: tuple[str, ...]
    data: Path
    fault: dict[str, Any] = field(default_factory=dict)

    def start(self, place: Path, *more: str, output: str = OUTPUT, **fault: Any) -> int:
        """Start the command with results and cache in a folder; return its process id."""
        place.mkdir(parents=True, exist_ok=True)
        return self.driver.ask(
            words=[*self.words, *more, "--out", str(place / OUT)],
            folder=str(self.data),
            output=str(self.data / f"{place.name}-{output}"),  # never on a full disk
            environment={"RANKSIM_CACHE": str(place / CACHE)},
            fault={"page": False, **self.fault, **fault},
        )

    def wait(self, number: int) -> int:
        """Wait and return the exit code, negative for a signal."""
        return self.driver.ask(wait=number)

    def run(self, place: Path, *more: str, **fault: Any) -> int:
        """Start the command and wait for its exit code."""
        return self.wait(self.start(place, *more, **fault))

    def output(self, place: Path, output: str = OUTPUT) -> str:
        """Return what the command printed."""
        return (self.data / f"{place.name}-{output}").read_text(encoding="utf-8", errors="replace")

    def killed_after(self, place: Path, seconds: float, *more: str) -> bool:
        """Kill all processes after some seconds; return True if the command was still running."""
        number = self.start(place, *more)
        time.sleep(seconds)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(number, signal.SIGKILL)
        return self.wait(number) == -signal.SIGKILL

    def one_sentence(self, place: Path, code: int) -> bool:
        """Return True if the command ended with a one-sentence error."""
        output = self.output(place).strip()
        last = output.splitlines()[-1] if output else ""
        return code in (1, 2) and last.startswith("Error: ") and "Traceback" not in output

    @functools.cached_property
    def whole(self) -> Path:
        """The folder of an undisturbed run."""
        place = self.data.parent / f"{self.name}-whole"
        steps = self.data / f"{self.name}-steps.txt"
        code = self.run(place, steps=str(steps))
        if code != 0:
            raise RuntimeError(self.output(place))
        return place

    @property
    def steps(self) -> list[str]:
        """Names of the files that the sweep renames into place, in order."""
        assert self.whole
        return (self.data / f"{self.name}-steps.txt").read_text(encoding="utf-8").splitlines()

    def find_differences(self, place: Path, other: Path | None = None) -> str:
        """Return differences from an undisturbed run, and temporary files left behind."""
        results, expected = (read_results(each / OUT) for each in (place, other or self.whole))
        differences = diff_results(expected, results, ("command", "provenance.commit"))
        differences += sorted({path.name for path in place.rglob("*") if ".part" in path.name})
        return ", ".join(differences[:5])


@contextlib.contextmanager
def scenes(folder: Path) -> Iterator[dict[str, Scene]]:
    """Yield sweeps over a table, over downloaded sentences, and over images."""
    folder = folder.resolve()
    data = folder / "data"
    user_data.write_table(data, 80)
    user_data.write_pictures(data)
    draw = np.random.default_rng(0)
    checksums = {}
    for part, count in (("train", 120), ("dev", 60), ("test", 60)):
        path = data / "origin" / f"{part}_new.tsv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("\n".join([HEADER, *sts_rows(draw, count)]) + "\n", encoding="utf-8")
        checksums[part] = sha256(path)
    small = ("--max-epochs", "3", "--jobs")
    table = ("compare", "homes.csv", "--target", "price", "--set", "hidden=8")
    methods = ("--methods", "vanilla,vanilla+fds,rrt+ranksim", "--seeds", "2")
    text = ("bench", "sts-b-dir", "--split", "borealis", "--methods", "vanilla,rrt+lds")
    pictures = ("compare", "faces", "--target", "years", "--image", "file", "--image-size", "16")
    with Driver() as driver, _server(data / "origin") as url:
        origin = {"origin": url, "checksums": checksums}
        sweeps = (
            Scene(driver, "table", (*table, *methods, *small, "1"), data),
            Scene(driver, "jobs", (*table, *methods, *small, "2"), data),
            Scene(
                driver,
                "short",
                (*table, "--methods", "vanilla,rrt", "--seeds", "1", *small, "1"),
                data,
            ),
            Scene(
                driver,
                "sentences",
                (*text, "--set", "hidden=4", "--seeds", "1", *small, "1"),
                data,
                origin,
            ),
            Scene(
                driver,
                "pictures",
                (*pictures, "--methods", "vanilla", "--seeds", "1", *small, "1"),
                data,
            ),
        )
        yield {scene.name: scene for scene in sweeps}


def copy_finished(scene: Scene, place: Path) -> Path:
    """Copy the folder of an undisturbed run."""
    shutil.copytree(scene.whole, place)
    return place


class _SlowHandler(http.server.SimpleHTTPRequestHandler):
    """Serves files slowly, with range requests."""

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        first = int(self.headers.get("Range", "bytes=0-")[6:].rstrip("-"))
        self.send_response(206 if first else 200)
        self.send_header("Content-Length", str(len(content) - first))
        if first:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            for start in range(first, len(content), 1024):
                self.wfile.write(content[start : start + 1024])
                time.sleep(0.02)


@contextlib.contextmanager
def _server(folder: Path) -> Iterator[str]:
    handler = functools.partial(_SlowHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
