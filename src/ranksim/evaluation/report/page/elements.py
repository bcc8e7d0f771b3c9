"""The results of a sweep prepared for the HTML page, and the elements of that page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ranksim._utils.formatting import METRIC_TITLES, MONITOR_TITLES, format_compact, format_count
from ranksim.evaluation.report import plotting as plot
from ranksim.evaluation.report.plotting import Picture
from ranksim.evaluation.summary import method_key
from ranksim.evaluation.views import find_test_set

Cell = str | float | int | Sequence[float | None] | None
Record = dict[str, Any]
_MAX_COLORS = 7


class SweepResults:
    """A ``results.json`` prepared for the page, with the order and colors of the methods."""

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
        finished = {run["identity"]["method"] for run in self.done}
        keys = [method_key(row) for row in self.rows]
        # methods with results, in the order of the table, without aliases
        self.methods = [k for k in dict.fromkeys([*keys, *sorted(finished)]) if k in finished]
        means = {method: self.mean_score(method) for method in self.methods}
        # from the lowest error over all test samples to the highest
        self.ranked = sorted(self.methods, key=lambda m: (means[m] is None, means[m] or 0.0))
        name = content.get("baseline") or "vanilla"
        key = (content.get("reported_methods") or {}).get(name, name)
        # the method that all others are compared with, even if it has no results
        self.baseline = key if key in keys else next(iter(self.methods), None)
        axis = self.labels or {"name": "label", "unit": ""}
        self.quantity = ", ".join(filter(None, (axis["name"], axis["unit"])))
        self.test_set = find_test_set(content)
        facts = self.done[0]["provenance"].get("data", {}) if self.done else {}
        self.file: str | None = facts.get("name")  # of the user's data
        ranges = axis.get("dropped")  # of labels, from training
        self.dropped = f"{', '.join(ranges)} dropped" if ranges else ""

    def runs(self, method: str) -> list[Record]:
        """Return the finished runs of a method, sorted by seed."""
        runs = [run for run in self.done if run["identity"]["method"] == method]
        return sorted(runs, key=lambda run: int(run["identity"]["seed"]))

    def results_with(self, field: str) -> dict[str, list[Record]]:
        """Return, for each method, the results of its runs in which a field is present."""
        results = {m: [run["result"] for run in self.runs(m)] for m in self.methods}
        present = {m: [r for r in group if r.get(field)] for m, group in results.items()}
        return {method: group for method, group in present.items() if group}

    def mean_score(self, method: str) -> float | None:
        """Return a method's mean error over seeds and all test samples; None without results."""
        tests = [row["test"] for row in self.rows if method_key(row) == method] or [{}]
        mean: float | None = tests[0].get("all", {}).get(self.error, {}).get("mean")
        return mean

    @cached_property
    def focus(self) -> list[str]:
        """The methods in display order: baseline, FDS, RankSim, the best three, then the others."""
        order = [m for m in self.methods if m == self.baseline]
        for part in ("fds", "ranksim"):
            with_part = [m for m in self.ranked if part in m.split("+")]
            plain = f"{self.baseline}+{part}"
            order += [plain] if plain in with_part else with_part[:1]
        ranksim = [m for m in self.ranked if "ranksim" in m.split("+")]
        return list(dict.fromkeys([*order, *self.ranked[:3], *ranksim, *self.ranked]))

    @cached_property
    def highlighted(self) -> list[str]:
        """The methods drawn with a color and name; figures show the others in the background."""
        return self.focus if len(self.methods) <= _MAX_COLORS else self.focus[: _MAX_COLORS - 1]

    @cached_property
    def colors(self) -> dict[str, str]:
        """The color of each method, the same on the whole page."""
        colors = {
            m: plot.RANKSIM_PALE if "ranksim" in m.split("+") else plot.BACKGROUND
            for m in self.methods
        }
        palette = iter(plot.METHOD_COLORS)
        fixed = {self.baseline: plot.BASELINE, f"{self.baseline}+ranksim": plot.RANKSIM}
        for method in self.highlighted:
            colors[method] = fixed.get(method) or next(palette)
        return colors

    def curve(self, method: str, x: plot.Floats, y: plot.Floats) -> plot.Curve:
        """Return a method's line in its color, without a name if it is drawn in the background."""
        name = method if method in self.highlighted else ""
        width = 2.2 if method == self.baseline else 1.6
        return plot.Curve(name, self.colors[method], x, y, width)

    @cached_property
    def regions(self) -> list[str]:
        """The regions that contain test samples, in the order of the tables."""
        regions = [
            name
            for name in (self.rows[0]["test"] if self.rows else {})
            if any(row["test"][name]["n"]["mean"] for row in self.rows)
        ]
        return regions if "zero" in regions else [name for name in regions if name != "seen"]

    @property
    def edges(self) -> plot.Floats:
        """The edges of the label bins."""
        assert self.labels is not None
        return np.asarray(self.labels["edges"], dtype=np.float64)

    @property
    def source(self) -> str:
        """The data file or benchmark, the target, and the date of the results, if known."""
        axis = self.labels or {"name": None}
        parts = (self.file or self.content["benchmark"], axis["name"], self.content.get("date"))
        return ", ".join(str(part) for part in parts if part)

    def describe_background(self) -> str:
        """Describe the lines in the background of figures; empty if all methods are highlighted."""
        others = format_count(len(self.methods) - len(self.highlighted), "other method")
        suffix = f" ({others} in the background, pale green with RankSim)"
        return suffix if len(self.methods) > len(self.highlighted) else ""


def list_commands(sweeps: Sequence[SweepResults]) -> list[str]:
    """Return the distinct commands that reproduce the given sweeps."""
    return [command for command in dict.fromkeys(sweep.command for sweep in sweeps) if command]


def metric_title(metric: str) -> str:
    """Return the title of a metric, such as ``MSE`` or ``Spearman, %``."""
    titles = {"spearman": "Spearman, %", **MONITOR_TITLES}
    return titles[metric] if metric in titles else METRIC_TITLES[metric][0]


def to_floats(values: Sequence[float | None] | plot.Floats) -> plot.Floats:
    """Convert values to a float array with NaN in place of ``None``."""
    return np.array([np.nan if value is None else value for value in values], dtype=np.float64)


def seed_mean(values: Sequence[Sequence[float | None] | plot.Floats]) -> plot.Floats:
    """Average rows, one per seed, column by column; a column with a missing value gives NaN."""
    return np.asarray(np.mean([to_floats(row) for row in values], axis=0))


@dataclass(frozen=True)
class DataTable:
    """A table of the numbers shown in a picture, which the page displays collapsed."""

    name: str  # value of the ``data-table`` attribute
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    @classmethod
    def from_columns(cls, name: str, title: str, columns: Mapping[str, Any]) -> DataTable:
        """Make a table from columns of equal length, given by title."""
        values = [v.tolist() if isinstance(v, np.ndarray) else v for v in columns.values()]
        return cls(name, title, list(columns), list(zip(*values, strict=True)))


@dataclass(frozen=True)
class Section:
    """A numbered section of the HTML page."""

    slug: str
    title: str
    findings: Sequence[str] = ()  # sentences about this data
    pictures: Sequence[Picture] = ()
    collapsed: Sequence[Picture] = ()  # pictures that a reader can unfold
    tables: Sequence[DataTable] = ()
    listing: DataTable | None = None  # a short table that is always visible
    note: str = ""  # how to read the pictures
    missing: str = ""  # which data is not available, and how to get it
    commands: Sequence[str] = ()


def missing_section(slug: str, title: str, data: str) -> Section:
    """Return a section that says which data an older ``results.json`` lacks."""
    missing = f"This results.json has no {data}; section 1 says how to get them."
    return Section(slug, title, missing=missing)


@dataclass(frozen=True)
class Bar:
    """A bar in a table cell that shows a change and its interval; 0 to 100, 50 is no change."""

    mean: float
    low: float
    high: float
    kind: str  # better, worse or unsure
    description: str


@dataclass(frozen=True)
class Score:
    """A cell of a score table: a mean, its deviation and its bar."""

    value: float | None
    text: str
    sd: str = ""
    bar: Bar | None = None
    mark: str = ""  # of a sure change: ✓ for a better and ✗ for a worse score


@dataclass(frozen=True)
class ScoreRow:
    """A row of a score table: the scores of one method."""

    method: str
    note: str
    is_baseline: bool
    scores: Sequence[Score]
    published: Sequence[Score]
    failure: str


@dataclass(frozen=True)
class ScoreTable:
    """A table with the scores of all methods in one metric, by region or by test view."""

    metric: str
    title: str
    direction: str  # of better values: lower or higher
    regions: Sequence[tuple[str, str, str]]  # name, test samples and heading of each column
    published: Sequence[str]  # regions that have a published figure
    rows: Sequence[ScoreRow]


def format_exact(cell: Cell) -> str:
    """Format a table cell for machines to read, with six significant digits."""
    if cell is None or isinstance(cell, str):
        return cell or ""
    if isinstance(cell, (float, int)):
        return f"{cell:.6g}"
    return " ".join("–" if value is None else f"{value:.5g}" for value in cell)


def format_rounded(cell: Cell) -> str:
    """Format a table cell for people to read."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    if isinstance(cell, int):
        return f"{cell:,}"
    return format_compact(cell) if isinstance(cell, float) else format_exact(cell)


def format_number(value: float | None) -> str:
    """Format a number in a sentence, with three significant digits."""
    return "no result" if value is None else format_compact(float(value), digits=3)
