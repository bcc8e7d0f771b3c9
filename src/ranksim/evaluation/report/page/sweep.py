"""A ``results.json`` of any format, as the parts of the page ask it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import METRIC_TITLES
from ranksim.evaluation.report.figures.style import BASELINE, OTHERS, RANKSIM, RANKSIM_PALE, REST

Record = dict[str, Any]
METRICS = ("mse", "mae", "gm", "pearson", "spearman")
ERRORS = ("mse", "mae", "gm")
_FEW = 7  # so many methods have a colour each


class Sweep:
    """What a sweep found.

    Args:
        results: the content of ``results.json``.
    """

    def __init__(self, results: dict[str, Any]) -> None:
        self.results = results
        self.rows: list[Record] = results["summary"]
        self.done = [run for run in results["runs"] if run["status"] == "done"]
        self.failed = [run for run in results["runs"] if run["status"] != "done"]
        self.labels: Record | None = results["labels"]
        self.headline: list[str] = list(results["headline"])
        self.error = next((m for m in self.headline if m in ("mse", "mae")), "mse")

    @cached_property
    def methods(self) -> list[str]:
        """What was trained and has results, in the order of the table, each once."""
        keys = [key_of(row) for row in self.rows]
        there = {run["identity"]["method"] for run in self.done}
        return [key for key in dict.fromkeys([*keys, *sorted(there)]) if key in there]

    @cached_property
    def baseline(self) -> str | None:
        """What all others are compared with, whether or not it has results."""
        named = self.results.get("baseline") or "vanilla"
        named = self.results["reported_methods"].get(named, named)
        there = any(key_of(row) == named for row in self.rows)
        return named if there else next(iter(self.methods), None)

    def runs(self, method: str) -> list[Record]:
        """Finished runs of a method, by seed."""
        own = (run for run in self.done if run["identity"]["method"] == method)
        return sorted(own, key=lambda run: int(run["identity"]["seed"]))

    def row(self, method: str) -> Record:
        """The row that reports a method."""
        return next(row for row in self.rows if key_of(row) == method)

    def mean(self, method: str, region: str = "all", metric: str | None = None) -> float | None:
        """The mean test score over seeds."""
        cell = self.row(method)["test"].get(region, {}).get(metric or self.error)
        return None if cell is None else cell["mean"]

    @cached_property
    def ranked(self) -> list[str]:
        """Methods from the lowest error over all test samples to the highest."""
        means = {method: self.mean(method) for method in self.methods}
        return sorted(self.methods, key=lambda m: np.inf if means[m] is None else means[m])  # type: ignore[arg-type,return-value]

    @cached_property
    def focus(self) -> list[str]:
        """Methods from what a reader asks for first to what comes last.

        The baseline, it with FDS and with RankSim, the best three, the rest of those with RankSim.
        """
        first = [m for m in self.methods if m == self.baseline]
        for part in ("fds", "ranksim"):
            with_part = [m for m in self.methods if part in m.split("+")]
            plain = f"{self.baseline}+{part}"
            best = [m for m in self.ranked if m in with_part]
            first += [plain] if plain in with_part else best[:1]
        ranksim = [m for m in self.ranked if "ranksim" in m.split("+")]
        return list(dict.fromkeys([*first, *self.ranked[:3], *ranksim, *self.ranked]))

    @cached_property
    def coloured(self) -> list[str]:
        """Methods that are named in pictures; the others stay in the background."""
        return self.focus if len(self.methods) <= _FEW else self.focus[: _FEW - 1]

    @cached_property
    def colours(self) -> dict[str, str]:
        """The colour of each method, the same on the whole page."""
        told = {m: RANKSIM_PALE if "ranksim" in m.split("+") else REST for m in self.methods}
        free = iter(OTHERS)
        for method in self.coloured:
            plain = method == f"{self.baseline}+ranksim"
            told[method] = BASELINE if method == self.baseline else RANKSIM if plain else next(free)
        return told

    @cached_property
    def regions(self) -> list[str]:
        """Regions with test samples, as the tables show them."""
        known = [
            name
            for name in (self.rows[0]["test"] if self.rows else {})
            if any((row["test"][name]["n"]["mean"] or 0) > 0 for row in self.rows)
        ]
        return known if "zero" in known else [name for name in known if name != "seen"]

    @property
    def quantity(self) -> str:
        """What is predicted, with its unit."""
        if self.labels is None:
            return "label"
        unit = f", {self.labels['unit']}" if self.labels["unit"] else ""
        return f"{self.labels['name']}{unit}"

    @property
    def edges(self) -> NDArray[np.float64]:
        """Of the label bins."""
        assert self.labels is not None
        return np.asarray(self.labels["edges"], dtype=np.float64)

    @property
    def seeds(self) -> list[int]:
        """Seeds that any method has."""
        return sorted({int(run["identity"]["seed"]) for run in self.done})

    def having(self, field: str) -> dict[str, list[Record]]:
        """Methods whose runs hold a field, and these runs."""
        found = {m: [run for run in self.runs(m) if run["result"].get(field)] for m in self.methods}
        return {method: runs for method, runs in found.items() if runs}


def key_of(row: Record) -> str:
    """What a row reports."""
    return str(row.get("alias_of", row["method"]))


def commands(sweeps: Sequence[Sweep]) -> list[str]:
    """What to type for the same results, each once."""
    told = (str(sweep.results.get("command") or "") for sweep in sweeps)
    return [command for command in dict.fromkeys(told) if command]


def score_name(metric: str) -> str:
    """A score as a reader knows it.

    Example:
        >>> score_name("mse"), score_name("spearman")
        ('MSE', 'Spearman, %')
    """
    return "Spearman, %" if metric == "spearman" else METRIC_TITLES[metric][0]


def seed_mean(values: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    """Mean over seeds (rows), NaN where one of them has no value."""
    known = [[np.nan if v is None else v for v in row] for row in values]
    return np.asarray(np.mean(np.array(known, dtype=np.float64), axis=0))
