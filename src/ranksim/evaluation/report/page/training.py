"""Part 7: training curves, costs, and what made it all."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranksim.evaluation.report.figures.axes import Curve
from ranksim.evaluation.report.figures.training import cost_figure, curves_figure
from ranksim.evaluation.report.page.parts import Cell, DataTable, Section, count, format_rounded
from ranksim.evaluation.report.page.sweep import Record, Sweep, commands, score_name

_TITLE = "Training, and what made this"


def training_part(sweep: Sweep, more: Sequence[Sweep]) -> Section:
    """Curves, time, memory, the commands, versions and what differs between recipes."""
    if not sweep.done:
        return Section(
            "training",
            _TITLE,
            ("No run ended well.",),
            sheets=_provenance(sweep),
            commands=commands([sweep, *more]),
        )
    pictures, sheets, missing = [], [], ""
    runs = sweep.having("curves")
    if runs:
        order = [method for method in sweep.focus if method in runs]
        monitor = runs[order[0]][0]["result"]["curves"]["monitor"]
        lines = [
            (sweep.colours[m], _floats(run["result"]["curves"]["val"]))
            for m in order
            for run in runs[m]
        ]
        means = [_mean_curve(sweep, m, runs[m]) for m in order if m in sweep.coloured]
        pictures.append(curves_figure(lines, means, score_name(monitor)))
        sheets.append(
            DataTable(
                "curves",
                f"Validation {score_name(monitor)} of each run",
                ("method", "seed", "validations", "each"),
                [
                    (
                        m,
                        str(run["identity"]["seed"]),
                        len(run["result"]["curves"]["val"]),
                        run["result"]["curves"]["val"],
                    )
                    for m in order
                    for run in runs[m]
                ],
            )
        )
    else:
        missing = "This results.json holds no training curves: part 1 says how to have them."
    seconds = _bars(sweep, "seconds")
    memory = _bars(sweep, "peak_memory_mb")
    pictures.append(cost_figure(seconds, memory))
    sheets.append(_cost_sheet(sweep))
    return Section(
        "training",
        _TITLE,
        _told(sweep, seconds, memory),
        pictures,
        sheets=(*sheets, *_provenance(sweep)),
        note="Time depends on the machine and on what ran beside; a second stage (RRT) does not "
        "count its first.",
        missing=missing,
        commands=commands([sweep, *more]),
    )


def _mean_curve(sweep: Sweep, method: str, runs: Sequence[Record]) -> Curve:
    """The mean over seeds, as far as all of them were trained."""
    length = min(len(run["result"]["curves"]["val"]) for run in runs)
    y = np.mean([_floats(run["result"]["curves"]["val"])[:length] for run in runs], axis=0)
    width = 2.2 if method == sweep.baseline else 1.8
    return Curve(method, sweep.colours[method], np.arange(1.0, length + 1), y, width)


def _floats(values: Sequence[float | None]) -> Any:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)


def _bars(sweep: Sweep, field: str) -> list[tuple[str, str, list[float]]]:
    values = {
        m: [
            float(run["result"][field])
            for run in sweep.runs(m)
            if run["result"].get(field) is not None
        ]
        for m in sweep.methods
    }
    return [(m, sweep.colours[m], own) for m, own in values.items() if own]


def _told(sweep: Sweep, seconds: Any, memory: Any) -> list[str]:
    total = sum(sum(own) for _, _, own in seconds)
    means = {name: float(np.mean(own)) for name, _, own in seconds}
    told = []
    if means:
        slow, fast = max(means, key=lambda m: means[m]), min(means, key=lambda m: means[m])
        told.append(
            f"{count(len(sweep.done), 'run')} took {_duration(total)} of training in all; on "
            f"average a run of {fast} {_duration(means[fast])}, one of {slow} "
            f"{_duration(means[slow])}."
        )
    if memory:
        peaks = [max(own) for _, _, own in memory]
        told.append(f"The largest peak of memory was {format_rounded(round(max(peaks)))} MB.")
    cut = sum("truncated" in run["result"] for run in sweep.done)
    if cut:
        told.append(
            f"The time budget cut {count(cut, 'run')} short, before the recipe was through."
        )
    if sweep.failed:
        told.append(f"{count(len(sweep.failed), 'run')} failed; the table below says why.")
    return told


def _duration(seconds: float) -> str:
    """Seconds as people say them.

    Example:
        >>> _duration(4.29), _duration(110), _duration(9000)
        ('4.3 s', '1 min 50 s', '2 h 30 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60} min"


def _cost_sheet(sweep: Sweep) -> DataTable:
    return DataTable(
        "cost",
        "Time, memory and length of each run",
        ("method", "seed", "seconds", "peak memory, MB", "validations", "best"),
        [
            (
                m,
                str(run["identity"]["seed"]),
                float(run["result"]["seconds"]),
                None if (peak := run["result"].get("peak_memory_mb")) is None else float(peak),
                run["result"].get("epochs"),
                run["result"].get("best_epoch"),
            )
            for m in sweep.methods
            for run in sweep.runs(m)
        ],
    )


def _provenance(sweep: Sweep) -> list[DataTable]:
    rows: list[tuple[Cell, Cell]] = []
    for key in ("versions", "commit", "machine"):
        found = [each["provenance"].get(key) for each in (sweep.results, *sweep.results["runs"])]
        texts = dict.fromkeys(_text(value) for value in found if value)
        rows += [(key, text) for text in texts]
    sums = [name for name in sweep.results["options"] if name.endswith("sha256")]
    rows += [(name.replace("_", " "), _text(sweep.results["options"][name])) for name in sums]
    failed = [
        (
            run["identity"]["method"],
            str(run["identity"]["seed"]),
            str(run["result"].get("error", "")),
        )
        for run in sweep.failed
    ]
    return [
        *(
            [DataTable("failed", "Runs that failed", ("method", "seed", "why"), failed)]
            if failed
            else []
        ),
        DataTable("made", "Versions, commit and machine", ("what", "which"), rows),
        *_recipes(sweep),
    ]


def _recipes(sweep: Sweep) -> list[DataTable]:
    """Fields in which recipes differ, and what is common to all."""
    recipes = {m: sweep.runs(m)[0]["identity"].get("recipe", {}) for m in sweep.methods}
    fields = list(dict.fromkeys(name for recipe in recipes.values() for name in recipe))
    values = {name: [_text(recipe.get(name)) for recipe in recipes.values()] for name in fields}
    differ = [name for name in fields if len(set(values[name])) > 1]
    common = [(name, values[name][0]) for name in fields if name not in differ]
    sheets = []
    if differ:
        sheets.append(
            DataTable(
                "recipes",
                "What differs between recipes",
                ("method", *differ),
                [(m, *(values[name][k] for name in differ)) for k, m in enumerate(recipes)],
            )
        )
    if common:
        same = "The recipe of all methods" if not differ else "What is common to all recipes"
        sheets.append(DataTable("recipe", same, ("field", "value"), common))
    return sheets


def _text(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_text(v)}" for k, v in value.items())
    return value if isinstance(value, str) else json.dumps(value)
