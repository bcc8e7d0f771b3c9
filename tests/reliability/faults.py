"""Faults: kills, full and read-only disks, flipped bits, clock jumps, concurrent commands."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.reliability import faults_trials as trials
from tests.reliability import faults_units as units
from tests.reliability.faults_scenes import Scene, copy_finished, scenes

TITLE = "Faults"
_FILES = {  # files that a sweep reads back: scene and pattern
    "the result file": ("table", "results.json"),
    "a record": ("table", "record.json"),
    "the settings of a run": ("table", "started.json"),
    "predictions": ("table", "predictions.parquet"),
    "a first stage": ("table", "best.ckpt"),
    "a checkpoint of a killed run": ("killed", "last.ckpt"),
    "the best checkpoint of a killed run": ("killed", "best.ckpt"),
    "the settings of a killed run": ("killed", "started.json"),
    "the lock note of a sweep": ("killed", ".sweeps/*.json"),
    "token cache": ("sentences", "*.npz"),
    "a downloaded file": ("sentences", "*.tsv"),
    "pixels of images": ("pictures", "pixels.u8"),
    "the index of images": ("pictures", "index.sqlite"),
}
_FLIPS = 4  # per kind of file, through the command line
Trial = tuple[str, Callable[[Path], str]]


def measure(short: bool, folder: Path) -> dict[str, Any]:
    """Run all trials, or a few of each kind."""
    draw = np.random.default_rng(0)
    with scenes(folder) as known:
        if short:
            groups = _short_trials(known["short"], draw, folder)
        else:
            groups = _kill_trials(known, draw) | _disk_trials(known, folder)
            groups |= _flip_trials(known, draw) | _other_trials(known)
        checks = [_run_trials(name, list(trials), folder) for name, trials in groups.items()]
    checks += units.measure(draw, folder, 40 if short else 400)
    return {"checks": checks}


def _run_trials(check: str, group: list[Trial], folder: Path) -> dict[str, Any]:
    """Run trials, each in its own folder, and count failures."""
    failed = []
    for number, (name, trial) in enumerate(group):
        place = folder.resolve() / f"{check.replace(' ', '-')[:40]}-{number}"
        try:
            failure = trial(place)
        except Exception as error:  # counted, so that the other trials run too
            failure = f"{type(error).__name__}: {error}"
        if failure:
            failed.append(f"{name}: {failure}".replace(str(folder.resolve()), "…"))
        shutil.rmtree(place, ignore_errors=True)
    note = "; ".join(failed[:3])
    if not group:
        note = "small disks cannot be mounted by this user"
    return {"check": check, "cases": len(group), "failures": len(failed), "note": note}


def _short_trials(scene: Scene, draw: np.random.Generator, folder: Path) -> dict[str, list[Trial]]:
    steps = [scene.steps.index(name) + 1 for name in ("last.ckpt", "record.json")]
    kills = [
        _at(scene, int(steps[0] + 2 * draw.integers(3)), "half"),
        _at(scene, steps[1], "before"),
        _at(scene, len(scene.steps), "after"),
    ]
    read_only: Trial = (
        "a finished sweep",
        lambda place: trials.read_only(scene, place, whole=True),
    )
    return {
        "kill -9 of a sweep": kills,
        "read-only folder": [read_only] if trials.can_mount(folder) else [],
    }


def _at(scene: Scene, step: int, when: str) -> Trial:
    name = f"{scene.name}, {when} file {step} ({scene.steps[step - 1]})"
    return name, lambda place: trials.killed_at(scene, place, step, when)


def _after(scene: Scene, seconds: float) -> Trial:
    return (
        f"{scene.name}, after {seconds:.2f} s",
        lambda place: trials.killed_after(scene, place, seconds),
    )


def _kill_trials(known: dict[str, Scene], draw: np.random.Generator) -> dict[str, list[Trial]]:
    """Draw about twenty moments to kill a sweep, including downloads and caching."""

    def choose(name: str, file: str, count: int) -> list[Trial]:
        scene = known[name]
        at = [k + 1 for k, step in enumerate(scene.steps) if file in step]
        when = ("before", "half", "after")
        chosen = draw.choice(at, min(count, len(at)), replace=False)
        return [_at(scene, int(step), when[k % 3]) for k, step in enumerate(chosen)]

    table, sentences, pictures = (known[name] for name in ("table", "sentences", "pictures"))
    return {
        "kill -9 while checkpointing": choose("table", ".ckpt", 5),
        "kill -9 while writing results": choose("table", ".json", 3)
        + choose("table", ".parquet", 1),
        "kill -9 while training": [
            *(_after(table, float(draw.uniform(0.3, 2.5))) for _ in range(2)),
            _after(known["jobs"], 9.0),
        ],
        "kill -9 while downloading": [
            *choose("sentences", ".tsv", 2),
            *(_after(sentences, float(draw.uniform(0.2, 0.6))) for _ in range(2)),
        ],
        "kill -9 while caching": [
            *(
                _at(sentences, sentences.steps.index(step) + 1, when)
                for step in sentences.steps
                if step.endswith(".npz")
                for when in ("before", "half", "after")
            ),
            *(_after(pictures, float(draw.uniform(0.1, 0.35))) for _ in range(2)),
        ],
    }


def _disk_trials(known: dict[str, Scene], folder: Path) -> dict[str, list[Trial]]:
    table, sentences, pictures = (known[name] for name in ("table", "sentences", "pictures"))
    if not trials.can_mount(folder):
        limited: list[Trial] = [
            (f"{scene.name}, {size} bytes", _too_large(scene, size))
            for scene in (table, sentences, pictures)
            for size in (100, 4_000, 20_000)
        ]
        return {"files that may not grow": limited, "read-only folder": []}

    def sizes(scene: Scene, shares: tuple[float, ...]) -> Iterator[Trial]:
        used = sum(path.stat().st_size for path in scene.whole.rglob("*") if path.is_file())
        for share in shares:
            size = max(int(used * share) >> 12, 1) << 12
            yield f"{scene.name}, {size} bytes", _full(scene, size)

    return {
        "full disk": [
            *sizes(table, (0.0, 0.03, 0.1, 0.2, 0.35, 0.5, 0.7)),
            *sizes(sentences, (0.0, 0.05, 0.15, 0.3, 0.5)),
            *sizes(pictures, (0.0, 0.01, 0.1, 0.4)),
            *sizes(known["jobs"], (0.3,)),
        ],
        "read-only folder": [
            ("an empty folder", lambda place: trials.read_only(table, place, whole=False)),
            ("a finished sweep", lambda place: trials.read_only(table, place, whole=True)),
            ("with caches", lambda place: trials.read_only(sentences, place, whole=True)),
            ("with images", lambda place: trials.read_only(pictures, place, whole=False)),
        ],
    }


def _full(scene: Scene, size: int) -> Callable[[Path], str]:
    return lambda place: trials.full(scene, place, size)


def _too_large(scene: Scene, size: int) -> Callable[[Path], str]:
    return lambda place: trials.too_large(scene, place, size)


def _flip_trials(known: dict[str, Scene], draw: np.random.Generator) -> dict[str, list[Trial]]:
    def trial(name: str, pattern: str) -> Callable[[Path], str]:
        def flip(place: Path) -> str:
            if name == "killed":
                scene = known["short"]
                trials.leave_unfinished(scene, place)
            else:
                scene = known[name]
                copy_finished(scene, place)
            paths = trials.files(place, pattern)
            path = paths[int(draw.integers(len(paths)))]
            return trials.flip_bit(scene, place, path, draw)

        return flip

    return {
        f"flipped bit in {file}": [(name, trial(name, pattern))] * _FLIPS
        for file, (name, pattern) in _FILES.items()
    }


def _other_trials(known: dict[str, Scene]) -> dict[str, list[Trial]]:
    table, short = known["table"], known["short"]
    same = ["vanilla,rrt"] * 2
    different = ["vanilla,rrt", "sqinv,rrt+ranksim"]
    return {
        "clock jumps": [
            ("forward one day", lambda place: trials.jumping_clock(table, place, 1)),
            ("back one day", lambda place: trials.jumping_clock(table, place, -1)),
        ],
        "two commands in one folder": [
            ("same methods", _run_two(short, same)),
            ("different methods", _run_two(short, different)),
        ],
    }


def _run_two(scene: Scene, lists: list[str]) -> Callable[[Path], str]:
    def both(place: Path) -> str:
        alone = place.with_name(f"{place.name}-alone")
        return trials.two_at_once(scene, place, lists, alone)

    return both


def describe(figures: dict[str, Any]) -> str:
    """Describe guarantees, method and scope."""
    killed = sum(row["cases"] for row in figures["checks"] if "kill -9" in row["check"])
    flips = sum(row["cases"] for row in figures["checks"] if "flipped" in row["check"])
    return f"""\
Whatever happens to a sweep, repeating the command yields the same `results.json` as an undisturbed run
(except times and memory), or one sentence that names the problem. Small sweeps over a table, over
downloaded and tokenized sentences, and over images were

- killed with all their processes at {killed} seeded random moments: during training, just before, during and
  after the writing of a file, and during downloads and caching;
- run on full disks, at sizes that stop them at different places, and on read-only disks, and repeated once there
  was space;
- repeated after one bit of a file was flipped: {flips:,} bits, drawn with a seed, in every kind of file that is read
  back, most of them through the function that reads the file;
- run under a clock that jumps one day forward and back, with files from the future, and twice at once in one
  folder.

No file is left half-written: each is written to a temporary sibling and renamed, and the next process that
writes there removes what a killed process left. Training logs (`logs/`) are the one exception; nothing
reads them. Files that users may edit are input, not state, and are not verified: data, `recipe.toml`, word
vectors and pretrained models stored by other libraries. Records, results and models written before digests
were introduced are read without one. A power failure, which may undo what a file system promised, is out of
scope."""
