"""Section 7: training curves, time and memory, and how to reproduce the sweep."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ranksim._utils.formatting import format_count
from ranksim.evaluation.report import plotting as plot
from ranksim.evaluation.report.page.elements import (
    DataTable,
    Record,
    Section,
    SweepResults,
    format_rounded,
    list_commands,
    metric_title,
    seed_mean,
    to_floats,
)

Bars = Sequence[tuple[str, str, Sequence[float]]]  # method, color, one value per seed


def training_section(sweep: SweepResults, others: Sequence[SweepResults]) -> Section:
    """Return section 7: training curves, time, memory, commands, versions and recipes."""
    slug, title = "training", "Training cost and reproduction"
    commands, tables = list_commands([sweep, *others]), list(_list_tables(sweep))
    if not sweep.done:
        return Section(slug, title, ("No run finished.",), tables=tables, commands=commands)
    pictures = []
    if results := sweep.results_with("curves"):
        curves = {m: [r["curves"] for r in results[m]] for m in sweep.focus if m in results}
        monitor = metric_title(next(iter(curves.values()))[0]["monitor"])
        pictures.append(_draw_validation(sweep, curves, monitor))
        runs = [run for m in curves for run in sweep.runs(m) if run["result"].get("curves")]
        scores = [run["result"]["curves"]["val"] for run in runs]
        columns = {"validations": list(map(len, scores)), "score of each": scores}
        tables.insert(0, _run_table("curves", f"Validation {monitor} of each run", runs, columns))
    seconds, memory = _bars(sweep, "seconds"), _bars(sweep, "peak_memory_mb")
    pictures.append(_draw_costs(seconds, memory))
    missing = "This results.json has no training curves; section 1 says how to get them."
    return Section(
        slug,
        title,
        list(_describe_cost(sweep, seconds, memory)),
        pictures,
        tables=tables,
        note="Time depends on the machine and its load; the second stage of a two-stage method "
        "(RRT) does not include the first.",
        missing="" if results else missing,
        commands=commands,
    )


def _draw_validation(
    sweep: SweepResults, curves: Mapping[str, Sequence[Record]], monitor: str
) -> plot.Picture:
    """Draw validation scores: one thin line per run, one thick line for each method's mean."""
    scores = {m: [to_floats(curve["val"]) for curve in group] for m, group in curves.items()}
    seeds = [(sweep.colors[m], values) for m, group in scores.items() for values in group]
    means = []
    for method in (m for m in scores if m in sweep.highlighted):
        length = min(map(len, scores[method]))
        mean = seed_mean([values[:length] for values in scores[method]])
        means.append(sweep.curve(method, np.arange(1.0, length + 1), mean))

    def paint(figure: Any) -> None:
        axis = figure.add_axes((0.075, 0.135, 0.71, 0.775))
        for color, values in reversed(seeds):
            x = np.arange(1, len(values) + 1)
            axis.plot(x, values, color=color, linewidth=0.5, alpha=0.45)
        for curve in reversed(means):
            axis.plot(curve.x, curve.y, color=curve.color, linewidth=curve.width)
        values = np.concatenate([v for _, v in seeds] + [c.y for c in means])
        plot.limit_height(axis, values)
        if np.isfinite(values).any():
            axis.set_ylim(max(0.0, 0.9 * float(np.nanmin(values))), None)
        axis.set_xlim(1, max(2, max(len(values) for _, values in seeds)))
        axis.set_title(f"Validation {monitor}", pad=8)
        axis.set_xlabel("validation")
        plot.finish_axes(axis)
        axis.xaxis.get_major_locator().set_params(integer=True)
        plot.label_curves(axis, means)

    description = f"Validation {monitor} over training: thin lines are runs, thick lines means."
    return plot.render_picture("07-curves", description, (plot.WIDTH, 3.3), paint)


def _draw_costs(seconds: Bars, memory: Bars) -> plot.Picture:
    """Draw training time and peak memory: one bar per method for the mean, one dot per run."""
    panels = [("Training time, seconds", seconds)]
    if memory:
        panels.append(("Peak memory, MB", memory))
    height = 0.165 * len(seconds) + 0.55
    names = [name for name, _, _ in reversed(seconds)]

    def paint(figure: Any) -> None:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        figure.subplots_adjust(
            left=0.225, right=0.97, bottom=0.24 / height, top=1 - 0.26 / height, wspace=0.1
        )
        for axis, (title, bars) in zip(axes, panels, strict=True):
            for name, color, values in bars:
                y = names.index(name)
                axis.barh(y, float(np.mean(values)), height=0.66, color=color)
                axis.plot(
                    values, [y] * len(values), "o", color=plot.INK, markersize=2.4,
                    markeredgecolor="#ffffff", markeredgewidth=0.4,
                )  # fmt: skip
            axis.set_title(title)
            axis.set_xlim(0, None)
            axis.locator_params(axis="x", nbins=5)
            plot.finish_axes(axis, "x")
            axis.spines[["left", "bottom"]].set_visible(False)
            axis.tick_params(length=0)
        axes[0].set_yticks(range(len(names)), [plot.shorten(name, 34) for name in names])
        axes[0].set_ylim(-0.6, len(names) - 0.4)
        axes[0].tick_params(axis="y", labelcolor=plot.INK)
        axes[0].tick_params(axis="x", labelcolor=plot.GRAY)

    description = "Training time and peak memory of each method: bars are means, dots runs."
    return plot.render_picture("07-cost", description, (plot.WIDTH, height), paint)


def _bars(sweep: SweepResults, field: str) -> Bars:
    bars = []
    for method in sweep.methods:
        values = [run["result"].get(field) for run in sweep.runs(method)]
        if known := [float(value) for value in values if value is not None]:
            bars.append((method, sweep.colors[method], known))
    return bars


def _describe_cost(sweep: SweepResults, seconds: Bars, memory: Bars) -> Iterator[str]:
    if seconds:
        total = sum(sum(values) for _, _, values in seconds)
        means = {name: float(np.mean(values)) for name, _, values in seconds}
        slow, fast = max(means, key=means.__getitem__), min(means, key=means.__getitem__)
        yield (
            f"{format_count(len(sweep.done), 'run')} took {format_duration(total)} of training in "
            f"total. On average one run took {format_duration(means[fast])} for {fast} and "
            f"{format_duration(means[slow])} for {slow}."
        )
    if memory:
        peak = max(max(values) for _, _, values in memory)
        yield f"The highest memory peak was {format_rounded(round(peak))} MB."
    if sweep.failed:
        yield f"{format_count(len(sweep.failed), 'run')} failed; the table below lists the errors."


def format_duration(seconds: float) -> str:
    """Format a duration with at most two units: ``4.3 s``, ``1 min 50 s``, ``2 h 30 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    rounded = round(seconds)
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60} s"
    return f"{rounded // 3600:,} h {rounded % 3600 // 60} min"


def _run_table(
    name: str, title: str, runs: Sequence[Record], columns: Mapping[str, Sequence[Any]]
) -> DataTable:
    """Return a table with one row per run."""
    first = {"method": [run["identity"]["method"] for run in runs]}
    first |= {"seed": [str(run["identity"]["seed"]) for run in runs]}
    return DataTable.from_columns(name, title, {**first, **columns})


def _list_tables(sweep: SweepResults) -> Iterator[DataTable]:
    """Yield tables of the runs' time and memory, failures, software versions and recipes."""
    if sweep.done:
        runs = [run for method in sweep.methods for run in sweep.runs(method)]
        fields = {"seconds": "seconds", "peak memory, MB": "peak_memory_mb"}
        fields |= {"validations": "epochs", "best": "best_epoch"}
        columns = {title: [run["result"].get(key) for run in runs] for title, key in fields.items()}
        yield _run_table("cost", "Time, memory and length of each run", runs, columns)
    if sweep.failed:
        errors = [str(run["result"].get("error", "")) for run in sweep.failed]
        yield _run_table("failed", "Failed runs", sweep.failed, {"error": errors})
    rows = []
    for key in ("versions", "commit", "machine"):
        sources = (sweep.content, *sweep.content["runs"])
        values = [source.get("provenance", {}).get(key) for source in sources]
        rows += [(key, text) for text in dict.fromkeys(map(_format_field, filter(None, values)))]
    for name, value in sweep.content.get("options", {}).items():
        if name.endswith("sha256"):
            rows.append((name.replace("_", " "), _format_field(value)))
    fields_and_values = ("field", "value")
    yield DataTable("provenance", "Versions, commit and machine", fields_and_values, rows)
    recipes = {m: sweep.runs(m)[0]["identity"].get("recipe", {}) for m in sweep.methods}
    names = dict.fromkeys(name for recipe in recipes.values() for name in recipe)
    texts = {name: [_format_field(r.get(name)) for r in recipes.values()] for name in names}
    different = {name: row for name, row in texts.items() if len(set(row)) > 1}
    common = [(name, row[0]) for name, row in texts.items() if name not in different]
    if different:
        table = {"method": list(recipes), **different}
        yield DataTable.from_columns("recipes", "Recipe fields that differ", table)
    if common:
        title = "Recipe fields common to all methods" if different else "The recipe of all methods"
        yield DataTable("recipe", title, fields_and_values, common)


def _format_field(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {_format_field(v)}" for k, v in value.items())
    return value if isinstance(value, str) else json.dumps(value)
