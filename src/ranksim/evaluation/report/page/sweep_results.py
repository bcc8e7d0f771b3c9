"""Read access to a ``results.json`` for the sections of the page."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ranksim._utils.formatting import METRIC_TITLES, format_count
from ranksim.evaluation.report import plotting as plot
from ranksim.evaluation.summary import method_key

Record = dict[str, Any]
_MAX_COLORS = 7


class SweepResults:
    """The content of a ``results.json``, with the order and colors of its methods."""

    def __init__(self, content: Record) -> None:
        self.content = content
        self.rows: list[Record] = content["summary"]
        self.compared = [row for row in self.rows if row.get("vs_baseline")]
        self.done = [run for run in content["runs"] if run["status"] == "done"]
        self.failed = [run for run in content["runs"] if run["status"] != "done"]
        self.seeds = sorted({int(run["identity"]["seed"]) for run in self.done})
        self.labels: Record | None = content.get("labels")
        self.command = str(content.get("command") or "")
        self.headline: list[str] = list(content.get("headline") or ("mse", "pearson"))
        self.error = next((m for m in self.headline if m in ("mse", "mae")), "mse")
        self.error_name = metric_title(self.error)

    @cached_property
    def methods(self) -> list[str]:
        """Methods that have results, in the order of the table, without aliases."""
        finished = {run["identity"]["method"] for run in self.done}
        keys = [method_key(row) for row in self.rows]
        return [key for key in dict.fromkeys([*keys, *sorted(finished)]) if key in finished]

    @cached_property
    def baseline(self) -> str | None:
        """The method that all others are compared with, even if it has no results."""
        name = self.content.get("baseline") or "vanilla"
        key = (self.content.get("reported_methods") or {}).get(name, name)
        is_reported = any(method_key(row) == key for row in self.rows)
        return key if is_reported else next(iter(self.methods), None)

    def runs(self, method: str) -> list[Record]:
        """Return the finished runs of a method by seed."""
        runs = [run for run in self.done if run["identity"]["method"] == method]
        return sorted(runs, key=lambda run: int(run["identity"]["seed"]))

    def results_with(self, field: str) -> dict[str, list[Record]]:
        """Return the results that have a field, by method."""
        results = {m: [run["result"] for run in self.runs(m)] for m in self.methods}
        present = {m: [r for r in group if r.get(field)] for m, group in results.items()}
        return {method: group for method, group in present.items() if group}

    def mean_score(self, method: str) -> float | None:
        """Return the mean error over seeds and all test samples."""
        row = next(row for row in self.rows if method_key(row) == method)
        mean: float | None = row["test"].get("all", {}).get(self.error, {}).get("mean")
        return mean

    @cached_property
    def ranked(self) -> list[str]:
        """Methods from the lowest error over all test samples to the highest."""
        means = {method: self.mean_score(method) for method in self.methods}
        return sorted(self.methods, key=lambda m: (means[m] is None, means[m] or 0.0))

    @cached_property
    def focus(self) -> list[str]:
        """Methods by interest: the baseline, it with FDS and RankSim, the best three, the rest."""
        order = [m for m in self.methods if m == self.baseline]
        for part in ("fds", "ranksim"):
            with_part = [m for m in self.ranked if part in m.split("+")]
            plain = f"{self.baseline}+{part}"
            order += [plain] if plain in with_part else with_part[:1]
        ranksim = [m for m in self.ranked if "ranksim" in m.split("+")]
        return list(dict.fromkeys([*order, *self.ranked[:3], *ranksim, *self.ranked]))

    @cached_property
    def highlighted(self) -> list[str]:
        """Methods that figures name; the others stay in the background."""
        return self.focus if len(self.methods) <= _MAX_COLORS else self.focus[: _MAX_COLORS - 1]

    @cached_property
    def colors(self) -> dict[str, str]:
        """The color of each method, the same on the whole page."""
        colors = {
            m: plot.RANKSIM_PALE if "ranksim" in m.split("+") else plot.BACKGROUND
            for m in self.methods
        }
        palette = iter(plot.METHOD_COLORS)
        for method in self.highlighted:
            fixed = {self.baseline: plot.BASELINE, f"{self.baseline}+ranksim": plot.RANKSIM}
            colors[method] = fixed.get(method) or next(palette)
        return colors

    def curve(self, method: str, x: plot.Floats, y: plot.Floats) -> plot.Curve:
        """Return the line of a method in its color, unnamed if it is in the background."""
        name = method if method in self.highlighted else ""
        width = 2.2 if method == self.baseline else 1.6
        return plot.Curve(name, self.colors[method], x, y, width)

    @cached_property
    def regions(self) -> list[str]:
        """Regions with test samples, as the tables show them."""
        regions = [
            name
            for name in (self.rows[0]["test"] if self.rows else {})
            if any(row["test"][name]["n"]["mean"] for row in self.rows)
        ]
        return regions if "zero" in regions else [name for name in regions if name != "seen"]

    @property
    def quantity(self) -> str:
        """The predicted quantity with its unit."""
        labels = self.labels or {"name": "label", "unit": ""}
        return ", ".join(filter(None, (labels["name"], labels["unit"])))

    @property
    def edges(self) -> plot.Floats:
        """The edges of the label bins."""
        assert self.labels is not None
        return np.asarray(self.labels["edges"], dtype=np.float64)

    @property
    def dropped(self) -> str:
        """The label ranges dropped from training, such as ``"1-2, 3-4 dropped"``."""
        ranges = (self.labels or {}).get("dropped")
        return f"{', '.join(ranges)} dropped" if ranges else ""

    def describe_background(self) -> str:
        """Return how figures draw the methods that they do not name."""
        others = len(self.methods) - len(self.highlighted)
        if not others:
            return ""
        others_text = format_count(others, "other method")
        return f" ({others_text} in the background, pale green with RankSim)"


def list_commands(sweeps: Sequence[SweepResults]) -> list[str]:
    """Return the commands that reproduce the sweeps, without duplicates."""
    return [command for command in dict.fromkeys(sweep.command for sweep in sweeps) if command]


def metric_title(metric: str) -> str:
    """Return the title of a metric, such as ``MSE`` or ``Spearman, %``."""
    return "Spearman, %" if metric == "spearman" else METRIC_TITLES[metric][0]


def to_floats(values: Sequence[float | None] | plot.Floats) -> plot.Floats:
    """Return an array with NaN in place of ``None``."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def seed_mean(values: Sequence[Sequence[float | None] | plot.Floats]) -> plot.Floats:
    """Return the mean over seeds (rows), NaN where one of them has no value."""
    return np.asarray(np.mean([to_floats(row) for row in values], axis=0))
