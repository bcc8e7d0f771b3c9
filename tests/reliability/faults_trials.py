"""Trials that disturb a sweep; each returns a failure message or an empty string."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ranksim._utils.storage import read_verified_json
from tests.reliability.faults_scenes import CACHE, OUT, Scene

_DAY = 86_400


def killed_at(scene: Scene, place: Path, step: int, when: str) -> str:
    """Kill the sweep while it renames its n-th file, then repeat the command.

    How often a sweep writes ``results.json`` depends on time, so that it can have fewer files.
    """
    code, steps = 0, str(scene.data / f"{place.name}-steps.txt")
    for number in range(step, max(step - 8, 0), -1):
        if (code := scene.run(place, steps=steps, kill=number, when=when)) == -signal.SIGKILL:
            return finish(scene, place)
        shutil.rmtree(place)
    return f"not killed; ended with {code}"


def killed_after(scene: Scene, place: Path, seconds: float) -> str:
    """Kill the sweep after some seconds, or earlier if it had already ended; then repeat it."""
    for part in (1.0, 0.5, 0.25, 0.125):
        if scene.killed_after(place, seconds * part):
            return finish(scene, place)
        shutil.rmtree(place)
    return "the sweep always ended before it was killed"


def finish(scene: Scene, place: Path) -> str:
    """Repeat the command to its end and compare results with an undisturbed sweep."""
    code = scene.run(place)
    return (
        scene.find_differences(place)
        if code == 0
        else f"ended with {code}: {last_line(scene, place)}"
    )


def last_line(scene: Scene, place: Path) -> str:
    """Return the last line of the output."""
    return (scene.output(place).strip().splitlines() or [""])[-1]


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Callable[[str], None]]:
    """Mount a file system in memory; yields a function that remounts it with other options."""

    def mount(options: str) -> None:
        words = ["mount", "-t", "tmpfs", "-o", options, "none", str(place)]
        subprocess.run(words, check=True, capture_output=True)

    place.mkdir(parents=True)
    mount(f"size={size}")
    try:
        yield lambda options: mount(f"remount,{options}")
    finally:
        subprocess.run(["umount", str(place)], check=True)


def can_mount(folder: Path) -> bool:
    """Return True if this user can mount small disks."""
    try:
        with small_disk(folder / "disk", 1 << 16):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def full(scene: Scene, place: Path, size: int) -> str:
    """Run on a disk that fills up, then repeat the command with space."""
    with small_disk(place, size) as mount:
        code = scene.run(place)
        if not scene.one_sentence(place, code):
            return f"ended with {code}: {last_line(scene, place)}"
        mount("size=1g")
        return finish(scene, place)


def too_large(scene: Scene, place: Path, size: int) -> str:
    """Run with a limit on file sizes, then repeat the command without it."""
    code = scene.run(place, largest=size)
    if not scene.one_sentence(place, code):
        return f"ended with {code}: {last_line(scene, place)}"
    return finish(scene, place)


def read_only(scene: Scene, place: Path, *, whole: bool) -> str:
    """Run in a read-only folder, empty or with a finished sweep; then repeat the command."""
    with small_disk(place, 1 << 30) as mount:
        if whole:
            shutil.copytree(scene.whole, place, dirs_exist_ok=True)
        before = _content(place)
        mount("ro")
        code = scene.run(place)
        if not scene.one_sentence(place, code):
            return f"ended with {code}: {last_line(scene, place)}"
        if _content(place) != before:
            return "files were changed"
        mount("rw")
        return finish(scene, place)


def flip_bit(scene: Scene, place: Path, path: Path, draw: np.random.Generator) -> str:
    """Flip one bit of a file of a finished sweep, then repeat the command."""
    content = bytearray(path.read_bytes())
    position, bit = int(draw.integers(len(content))), int(draw.integers(8))
    content[position] ^= 1 << bit
    path.write_bytes(content)
    code = scene.run(place)
    if code != 0:
        rejected = scene.one_sentence(place, code)
        return "" if rejected else f"byte {position}: ended with {code}: {last_line(scene, place)}"
    differences = scene.find_differences(place)
    return f"byte {position}: {differences}" if differences else ""


def jumping_clock(scene: Scene, place: Path, days: int) -> str:
    """Run under a clock that jumps repeatedly, then repeat with files from the future."""
    code = scene.run(place, clock=days * _DAY)
    if code != 0:
        return f"ended with {code}: {last_line(scene, place)}"
    times = [read_verified_json(path)["result"]["seconds"] for path in place.rglob("record.json")]
    if not all(0 <= seconds < 600 for seconds in times):
        return f"trainings took {times} s"
    for path in place.rglob("*"):
        os.utime(path, (time.time() + _DAY,) * 2)
    for path in sorted((place / OUT).rglob("record.json"))[:1]:
        path.unlink()
    return finish(scene, place)


def two_at_once(scene: Scene, place: Path, lists: Sequence[str], folder: Path) -> str:
    """Run two commands in one folder concurrently and compare with running them in turn.

    Args:
        scene: the sweep.
        place: folder of the concurrent commands.
        lists: methods of each command.
        folder: folder of the sequential commands.
    """
    outputs = ("one.txt", "two.txt")
    chosen = [("--methods", methods) for methods in lists]
    started = [
        scene.start(place, *words, output=name) for words, name in zip(chosen, outputs, strict=True)
    ]
    codes = [scene.wait(number) for number in started]
    if any(codes):
        return f"ended with {codes}: {[scene.output(place, name)[-300:] for name in outputs]}"
    last = read_verified_json(place / OUT / "results.json")["command"]
    if f"--methods {lists[0]} " in last:
        chosen.reverse()  # the second command wrote last
    for words in chosen:
        if scene.run(folder, *words) != 0:
            return last_line(scene, folder)
    return scene.find_differences(place, folder)


def _content(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def leave_unfinished(scene: Scene, place: Path) -> Path:
    """Kill a sweep while it renames its first record, and return its folder."""
    step = scene.steps.index("record.json") + 1
    steps = str(scene.data / f"{place.name}-unfinished.txt")
    if scene.run(place, steps=steps, kill=step, when="before") != -signal.SIGKILL:
        raise RuntimeError(last_line(scene, place))
    return place


def files(place: Path, pattern: str) -> list[Path]:
    """Return the non-empty files of a sweep that match a pattern."""
    paths: list[Any] = sorted((place / OUT).rglob(pattern)) + sorted((place / CACHE).rglob(pattern))
    return [path for path in paths if path.stat().st_size]
