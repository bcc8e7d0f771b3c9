"""Faults: kills, full and read-only disks, flipped bits, clocks that jump, two commands at once."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.reliability import faults_trials as trials
from tests.reliability import faults_units as units
from tests.reliability.faults_scenes import Scene, copied, scenes

TITLE = "Faults"
_KINDS = {  # of files that a sweep reads back
    "the result file": ("table", "results.json"),
    "a record": ("table", "record.json"),
    "the settings of a run": ("table", "started.json"),
    "predictions": ("table", "predictions.parquet"),
    "a first stage": ("table", "best.ckpt"),
    "a checkpoint of a killed run": ("killed", "last.ckpt"),
    "its best checkpoint": ("killed", "best.ckpt"),
    "its settings": ("killed", "started.json"),
    "its sweep's note": ("killed", ".sweeps/*.json"),
    "token cache": ("sentences", "*.npz"),
    "a downloaded file": ("sentences", "*.tsv"),
    "pixels of images": ("pictures", "pixels.u8"),
    "the index of images": ("pictures", "index.sqlite"),
}
_FLIPS = 4  # of each, over the command line
Trial = tuple[str, Callable[[Path], str]]


def measure(short: bool, folder: Path) -> dict[str, Any]:
    """Do it all, or a few of each kind; see :mod:`tests.reliability`."""
    draw = np.random.default_rng(0)
    with scenes(folder) as known:
        if short:
            groups = _few(known["short"], draw, folder)
        else:
            groups = _kills(known, draw) | _disks(known, folder) | _flips(known, draw)
            groups |= _others(known)
        checks = [_check(what, list(each), folder) for what, each in groups.items()]
    checks += units.measure(draw, folder, 40 if short else 400)
    return {"checks": checks}


def _check(what: str, each: list[Trial], folder: Path) -> dict[str, Any]:
    """Perform trials, each in a folder of its own."""
    failed = []
    for number, (name, trial) in enumerate(each):
        place = folder.resolve() / f"{what.replace(' ', '-')[:40]}-{number}"
        try:
            wrong = trial(place)
        except Exception as error:  # counted, so that the others are tried too
            wrong = f"{type(error).__name__}: {error}"
        if wrong:
            failed.append(f"{name}: {wrong}".replace(str(folder.resolve()), "…"))
        shutil.rmtree(place, ignore_errors=True)
    note = "; ".join(failed[:3])
    if not each:
        note = "small disks cannot be mounted by this user"
    return {"what": what, "tried": len(each), "failed": len(failed), "note": note}


def _few(scene: Scene, draw: np.random.Generator, folder: Path) -> dict[str, list[Trial]]:
    steps = [scene.steps.index(name) + 1 for name in ("last.ckpt", "record.json")]
    kills = [
        _at(scene, int(steps[0] + 2 * draw.integers(3)), "half"),
        _at(scene, steps[1], "before"),
        _at(scene, len(scene.steps), "after"),
    ]
    ro: Trial = ("a finished sweep", lambda place: trials.read_only(scene, place, whole=True))
    return {
        "kill -9 of a sweep": kills,
        "read-only folder": [ro] if trials.can_mount(folder) else [],
    }


def _at(scene: Scene, step: int, when: str) -> Trial:
    name = f"{scene.name}, {when} file {step} ({scene.steps[step - 1]})"
    return name, lambda place: trials.killed_at(scene, place, step, when)


def _after(scene: Scene, seconds: float) -> Trial:
    return (
        f"{scene.name}, after {seconds:.2f} s",
        lambda place: trials.killed_after(scene, place, seconds),
    )


def _kills(known: dict[str, Scene], draw: np.random.Generator) -> dict[str, list[Trial]]:
    """Twenty moments, drawn; caches and downloads, which are short, have their share."""

    def drawn(name: str, file: str, count: int) -> list[Trial]:
        scene = known[name]
        at = [k + 1 for k, step in enumerate(scene.steps) if file in step]
        when = ("before", "half", "after")
        chosen = draw.choice(at, min(count, len(at)), replace=False)
        return [_at(scene, int(step), when[k % 3]) for k, step in enumerate(chosen)]

    table, sentences, pictures = (known[name] for name in ("table", "sentences", "pictures"))
    return {
        "kill -9 while checkpointing": drawn("table", ".ckpt", 5),
        "kill -9 while writing results": drawn("table", ".json", 3) + drawn("table", ".parquet", 1),
        "kill -9 while training": [
            *(_after(table, float(draw.uniform(0.3, 2.5))) for _ in range(2)),
            _after(known["jobs"], 9.0),
        ],
        "kill -9 while downloading": [
            *drawn("sentences", ".tsv", 2),
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


def _disks(known: dict[str, Scene], folder: Path) -> dict[str, list[Trial]]:
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
            ("an empty one", lambda place: trials.read_only(table, place, whole=False)),
            ("a finished sweep", lambda place: trials.read_only(table, place, whole=True)),
            ("with caches", lambda place: trials.read_only(sentences, place, whole=True)),
            ("of images", lambda place: trials.read_only(pictures, place, whole=False)),
        ],
    }


def _full(scene: Scene, size: int) -> Callable[[Path], str]:
    return lambda place: trials.full(scene, place, size)


def _too_large(scene: Scene, size: int) -> Callable[[Path], str]:
    return lambda place: trials.too_large(scene, place, size)


def _flips(known: dict[str, Scene], draw: np.random.Generator) -> dict[str, list[Trial]]:
    def trial(name: str, pattern: str) -> Callable[[Path], str]:
        def flip(place: Path) -> str:
            if name == "killed":
                scene = known["short"]
                trials.unfinished(scene, place)
            else:
                scene = known[name]
                copied(scene, place)
            found = trials.files(place, pattern)
            path = found[int(draw.integers(len(found)))]
            return trials.flipped(scene, place, path, draw)

        return flip

    return {
        f"flipped bit in {what}": [(name, trial(name, pattern))] * _FLIPS
        for what, (name, pattern) in _KINDS.items()
    }


def _others(known: dict[str, Scene]) -> dict[str, list[Trial]]:
    table, short = known["table"], known["short"]
    same = ["vanilla,rrt"] * 2
    different = ["vanilla,rrt", "sqinv,rrt+ranksim"]
    return {
        "clock that jumps": [
            ("by a day", lambda place: trials.jumping_clock(table, place, 1)),
            ("back a day", lambda place: trials.jumping_clock(table, place, -1)),
        ],
        "two commands in one folder": [
            ("the same", _two(short, same)),
            ("of other methods", _two(short, different)),
        ],
    }


def _two(scene: Scene, lists: list[str]) -> Callable[[Path], str]:
    def both(place: Path) -> str:
        alone = place.with_name(f"{place.name}-alone")
        return trials.two_at_once(scene, place, lists, alone)

    return both


def text(found: dict[str, Any]) -> str:
    """What is guaranteed, how it was tried, and what is out of scope."""
    killed = sum(each["tried"] for each in found["checks"] if "kill -9" in each["what"])
    flips = sum(each["tried"] for each in found["checks"] if "flipped" in each["what"])
    return f"""\
Whatever happens to a sweep, the same command ends with the `results.json` that it would have had
undisturbed (but for clocks and memory), or with one sentence that names what is wrong. Small sweeps
over a table, over sentences that are downloaded and tokenised, and over images were

- killed with all their processes at {killed} moments, drawn by a seed: while they trained, just
  before, in the midst of and after the writing of a file, while they downloaded and filled caches;
- run on disks that were full, at sizes that stop them in different places, and on read-only ones,
  and started again once there was space;
- started again after one bit of a file of theirs was another: {flips:,} bits, drawn by a seed, in
  every kind of file that is read back, most of them through the function that reads it alone;
- run under a clock that jumps by a day and back, with files from the future, and twice at once in
  one folder.

No file is left half-written: each is written beside its place and renamed; what a killed process
left is removed by the next that writes there. Lightning's logs (`logs/`) are the one exception;
nothing reads them. What one may edit by hand is input, not state, and is believed as it stands: the
data, `recipe.toml`, word vectors and the pretrained models that other libraries keep. Records,
results and models of before there were digests are read without one. A loss of power, which may
undo what a file system had promised, is out of scope."""
