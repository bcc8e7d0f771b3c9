"""What is done to sweeps; each trial says what went wrong, or nothing."""

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
    """Killed as its n-th file is renamed into its place; then the same command again."""
    fault = {"steps": str(scene.data / f"{place.name}-steps.txt"), "kill": step, "when": when}
    if (code := scene.run(place, **fault)) != -signal.SIGKILL:
        return f"it was not killed, and ended with {code}"
    return finished(scene, place)


def killed_after(scene: Scene, place: Path, seconds: float) -> str:
    """Killed some seconds after its start; where it had ended by then, anew after half of them."""
    for part in (1.0, 0.5, 0.25, 0.125):
        if scene.killed_after(place, seconds * part):
            return finished(scene, place)
        shutil.rmtree(place)
    return "it had ended before it was killed"


def finished(scene: Scene, place: Path) -> str:
    """The same command to its end, and its results against those of the undisturbed one."""
    code = scene.run(place)
    return scene.wrong(place) if code == 0 else f"ended with {code}: {last_line(scene, place)}"


def last_line(scene: Scene, place: Path) -> str:
    """Of what it printed."""
    return (scene.told(place).strip().splitlines() or [""])[-1]


@contextmanager
def small_disk(place: Path, size: int) -> Iterator[Callable[[str], None]]:
    """A file system in memory of so many bytes; what is yielded mounts it with other options."""

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
    """Whether this user can have small disks here."""
    try:
        with small_disk(folder / "disk", 1 << 16):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def full(scene: Scene, place: Path, size: int) -> str:
    """The disk of results and cache is full; then there is space, and the same command again."""
    with small_disk(place, size) as mount:
        code = scene.run(place)
        if not scene.one_sentence(place, code):
            return f"ended with {code}: {last_line(scene, place)}"
        mount("size=1g")
        return finished(scene, place)


def too_large(scene: Scene, place: Path, size: int) -> str:
    """No file may be larger; then it may, and the same command again."""
    code = scene.run(place, largest=size)
    if not scene.one_sentence(place, code):
        return f"ended with {code}: {last_line(scene, place)}"
    return finished(scene, place)


def read_only(scene: Scene, place: Path, *, whole: bool) -> str:
    """The folder cannot be written, empty or with a finished sweep in it; then it can."""
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
        return finished(scene, place)


def flipped(scene: Scene, place: Path, path: Path, draw: np.random.Generator) -> str:
    """One bit of a file of a sweep is another; then the same command again.

    Args:
        scene: the sweep.
        place: a copy of what it left.
        path: the file there.
        draw: chooses the bit.
    """
    content = bytearray(path.read_bytes())
    at, bit = int(draw.integers(len(content))), int(draw.integers(8))
    content[at] ^= 1 << bit
    path.write_bytes(content)
    code = scene.run(place)
    if code != 0:
        said = scene.one_sentence(place, code)
        return "" if said else f"byte {at}: ended with {code}: {last_line(scene, place)}"
    return f"byte {at}: {wrong}" if (wrong := scene.wrong(place)) else ""


def jumping_clock(scene: Scene, place: Path, days: int) -> str:
    """The clock jumps by days, again and again; files are from the future."""
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
    return finished(scene, place)


def two_at_once(scene: Scene, place: Path, lists: Sequence[str], folder: Path) -> str:
    """Two commands in one folder at the same time, against one after the other.

    Args:
        scene: the sweep.
        place: their folder.
        lists: the methods of each.
        folder: takes those that are run one after the other.
    """
    told = ("one.txt", "two.txt")
    chosen = [("--methods", methods) for methods in lists]
    started = [
        scene.start(place, *words, told=name) for words, name in zip(chosen, told, strict=True)
    ]
    codes = [scene.wait(number) for number in started]
    if any(codes):
        return f"ended with {codes}: {[scene.told(place, name)[-300:] for name in told]}"
    last = read_verified_json(place / OUT / "results.json")["command"]
    if f"--methods {lists[0]} " in last:
        chosen.reverse()  # the last of the two wrote last
    for words in chosen:
        if scene.run(folder, *words) != 0:
            return last_line(scene, folder)
    return scene.wrong(place, folder)


def _content(place: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def unfinished(scene: Scene, place: Path) -> Path:
    """What a sweep leaves that is killed as its first record is renamed into its place."""
    step = scene.steps.index("record.json") + 1
    steps = str(scene.data / f"{place.name}-unfinished.txt")
    if scene.run(place, steps=steps, kill=step, when="before") != -signal.SIGKILL:
        raise RuntimeError(last_line(scene, place))
    return place


def files(place: Path, pattern: str) -> list[Path]:
    """Files of a sweep of one kind."""
    found: list[Any] = sorted((place / OUT).rglob(pattern)) + sorted((place / CACHE).rglob(pattern))
    return [path for path in found if path.stat().st_size]
