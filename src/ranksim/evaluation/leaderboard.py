"""The leaderboard: what many methods change on several data sets, read from their results."""

from __future__ import annotations

import json
import statistics
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ranksim.evaluation.intervals import is_significant
from ranksim.evaluation.record import RESULTS, RunRecord, read_results
from ranksim.evaluation.summary import (
    BASELINE,
    count_pairs,
    describe_failure,
    failed_runs,
    method_key,
    results_by_seed,
    summarize,
)
from ranksim.evaluation.views import find_test_set
from ranksim.exceptions import DataError, UsageError
from ranksim.training.method import (
    RANKSIM_SUFFIX,
    Method,
    average_members,
    family_method_names,
    parse_method,
)
from ranksim.training.presets import Search, read_searches
from ranksim.training.publications import find_license, find_paper

Record = Mapping[str, Any]
REGIONS = ("few", "balanced")
RECIPES = "recipes"  # folder of recipe files within the folder of a leaderboard
_IDENTITY = ("benchmark", "options", "regions_from", "preset")  # of a column
_KINDS = {
    **dict.fromkeys(("sts-b-dir", "sentiment-dir", "text", "sentences"), "texts"),
    **dict.fromkeys(("glucose", "series"), "time series"),
    "table": "tables",
}


@dataclass(frozen=True)
class Cell:
    """The change of the test error from vanilla, of a method on a data set in a region.

    Args:
        change: mean over seeds, as a fraction of vanilla's error.
        interval: its 95 % interval over seeds and test samples; None if it was not computed.
        is_sure: the interval corrected for the number of methods excludes zero.
        seeds: number of seeds in common with vanilla.
    """

    change: float
    interval: tuple[float, float] | None
    is_sure: bool
    seeds: int

    @property
    def is_gain(self) -> bool:
        """Whether the error is surely lower."""
        return self.is_sure and self.change < 0

    @property
    def is_loss(self) -> bool:
        """Whether the error is surely higher."""
        return self.is_sure and self.change > 0


@dataclass(frozen=True)
class Tuning:
    """The searches of recipes on one data set: how values were chosen, and which, by method."""

    name: str
    searches: Mapping[str, Search]
    values: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class DataSet:
    """A column of the leaderboard.

    Args:
        name: of its folder of results.
        kind: ``tables``, ``texts``, ``time series`` or ``images``.
        error: score that is compared, ``mse`` or ``mae``.
        vanilla: mean error of vanilla by region, None without samples.
        seeds: of vanilla.
        preset: of its recipes.
        tuning: name of the searches whose values its runs have; None if they have others.
        pairs: methods with and without RankSim, see :func:`ranksim.evaluation.summary.count_pairs`.
    """

    name: str
    kind: str
    error: str
    vanilla: Mapping[str, float | None]
    seeds: int
    preset: str
    tuning: str | None
    pairs: Mapping[str, int]


@dataclass(frozen=True)
class Row:
    """A row of the leaderboard, a method.

    Args:
        method: its name.
        cells: by data set and region.
        missing: why a data set has no cell, by data set.
        step_cost, total_cost: seconds of a training step and of a training, as multiples of those
            of vanilla: the median over data sets; None if no data set has them.
        searches: how its recipe was chosen, by the name of the tuning.
        paper, license: of its authors, see :mod:`ranksim.training.publications`.
    """

    method: str
    cells: Mapping[str, Mapping[str, Cell]]
    missing: Mapping[str, str]
    step_cost: float | None
    total_cost: float | None
    searches: Mapping[str, Search]
    paper: str | None
    license: str | None

    @property
    def has_ranksim(self) -> bool:
        """Whether RankSim joins the method."""
        return RANKSIM_SUFFIX in self.method

    def count(self, region: str) -> tuple[int, int]:
        """Return on how many data sets the error of a region is surely lower, and higher."""
        cells = [cells[region] for cells in self.cells.values() if region in cells]
        return sum(cell.is_gain for cell in cells), sum(cell.is_loss for cell in cells)


@dataclass(frozen=True)
class Leaderboard:
    """Methods on data sets: the changes from vanilla that the results of sweeps hold."""

    data_sets: Sequence[DataSet]
    rows: Sequence[Row]
    runs: int
    tunings: Sequence[Tuning]

    def to_dict(self) -> dict[str, Any]:
        """Return the content as JSON values."""
        content: dict[str, Any] = json.loads(json.dumps(self, default=vars))
        return content | {"tunings": [tuning.name for tuning in self.tunings]}


def read_leaderboard(folders: Sequence[Path]) -> Leaderboard:
    """Read the leaderboard from folders of results.

    A folder has the ``results.json`` of a sweep, or else folders that have one; results on equal
    data and with the same preset are one column, with the name of the first. Recipe files of
    ``ranksim tune`` below ``recipes/NAME`` say how the recipes were chosen on the data set NAME.

    Raises:
        DataError: there are no results, or they are damaged.
        UsageError: results have no vanilla to compare with.
    """
    columns: dict[str, list[tuple[str, Record]]] = {}
    for path in _list_results(folders):
        results = read_results(path)
        identity = {name: results.get(name) for name in _IDENTITY}
        key = json.dumps(identity, sort_keys=True)
        name = path.name
        if key not in columns and name in {each[0][0] for each in columns.values()}:
            name = f"{path.parent.name}/{name}"
        columns.setdefault(key, []).append((name, results))
    tunings = [tuning for folder in folders for tuning in _read_tunings(folder / RECIPES)]
    merged = [_Column.merge(each, tunings) for each in columns.values()]
    methods = dict.fromkeys(method for column in merged for method in column.rows)
    return Leaderboard(
        [column.data_set for column in merged],
        [_make_row(method, merged, tunings) for method in _order_methods(methods)],
        sum(column.runs for column in merged),
        tunings,
    )


def _list_results(folders: Sequence[Path]) -> list[Path]:
    """Return the folders that have a ``results.json``, the given ones or those within them."""
    paths = []
    for folder in folders:
        candidates = [folder] if (folder / RESULTS).is_file() else sorted(folder.glob("*"))
        results = [each for each in candidates if (each / RESULTS).is_file()]
        if not results:
            raise DataError(f"{folder} has no results.json: give a folder of results of sweeps.")
        paths += [path.absolute() for path in results]
    return list(dict.fromkeys(paths))


def _read_tunings(folder: Path) -> Iterator[Tuning]:
    """Yield the searches of each data set, from the recipe files below a folder."""
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*.toml")):
        files.setdefault(path.relative_to(folder).with_suffix("").parts[0], []).append(path)
    for name, paths in files.items():
        searches: dict[str, Search] = {}
        values: dict[str, dict[str, Any]] = {}
        for path in paths:
            searches |= read_searches(path)
            try:
                values |= tomllib.loads(path.read_text(encoding="utf-8"))["methods"]
            except (tomllib.TOMLDecodeError, LookupError, TypeError) as error:
                raise DataError(
                    f"{path} is not a recipe file: give one that ranksim tune wrote."
                ) from error
        yield Tuning(name, searches, values)


@dataclass(frozen=True)
class _Column:
    """A data set, and what its results hold of each method."""

    data_set: DataSet
    rows: Mapping[str, tuple[Record, Record]]  # by method: row of a summary, and its results
    runs: int

    @classmethod
    def merge(cls, sources: Sequence[tuple[str, Record]], tunings: Sequence[Tuning]) -> _Column:
        """Merge results on equal data; a method has the row of the most seeds."""
        rows: dict[str, tuple[Record, Record]] = {}
        for folder, results in sources:
            if results.get("baseline") != BASELINE:
                raise UsageError(
                    f"The results in {folder} are compared with {results.get('baseline')}, not "
                    f"with {BASELINE}: train {BASELINE} in the same folder."
                )
            for row in results["summary"]:
                method = row["method"]
                if method not in rows or len(row["seeds"]) > len(rows[method][0]["seeds"]):
                    rows[method] = row, results
        runs = {
            (run["identity"]["method"], run["identity"]["seed"]): run
            for _, results in reversed(sources)
            for run in results["runs"]
        }
        vanilla, results = rows.pop(BASELINE)
        error = results["headline"][0]
        scores = {region: _score(vanilla, region, error, results) for region in REGIONS}
        data_set = DataSet(
            *(sources[0][0], _KINDS.get(results["benchmark"], "images"), error, scores),
            *(len(vanilla["seeds"]), results.get("preset") or ""),
            _find_tuning([results for _, results in sources], tunings),
            _count_pairs(runs, [results for _, results in sources]),
        )
        return cls(data_set, rows, len(runs))


def _place(region: str, results: Record) -> tuple[str, str]:
    """Return the part of a summary's row and the name by which it holds a region."""
    if region == "balanced" and find_test_set(results) == "balanced":
        return "test", "all"
    return ("views" if region == "balanced" else "test"), region


def _score(row: Record, region: str, error: str, results: Record) -> float | None:
    """Return the mean error of a row in a region, if it has one."""
    part, name = _place(region, results)
    score: float | None = row.get(part, {}).get(name, {}).get(error, {}).get("mean")
    return score


def _count_pairs(runs: Mapping[Any, RunRecord], sources: Sequence[Record]) -> dict[str, int]:
    """Compare methods with and without RankSim, which may be in several results, and count."""
    first = sources[0]
    reported = {name: key for each in sources for name, key in each["reported_methods"].items()}
    summary = summarize([*runs.values()], first["benchmark"], reported)
    return count_pairs(summary, first["headline"][0])


def _find_tuning(sources: Sequence[Record], tunings: Sequence[Tuning]) -> str | None:
    """Return the tuning whose values all runs have, of methods that were tuned, if there is one."""
    recipes = [run["identity"] for results in sources for run in results["runs"]]
    for tuning in tunings:
        agree = [
            all(identity["recipe"].get(name) == value for name, value in values.items())
            for identity in recipes
            if (values := tuning.values.get(identity["method"])) is not None
        ]
        if agree and all(agree):
            return tuning.name
    return None


def _order_methods(methods: Mapping[str, Any]) -> list[str]:
    """Return the methods in the order of ``--methods family``, each with RankSim after it."""
    family = [*family_method_names(), *methods]
    paired = (each for name in family for each in (name, f"{name}{RANKSIM_SUFFIX}"))
    return [name for name in dict.fromkeys(paired) if name in methods]


def _make_row(method: str, columns: Sequence[_Column], tunings: Sequence[Tuning]) -> Row:
    """Return the row of a method."""
    parsed = _parse(method)
    members = () if parsed is None else average_members(parsed)
    cells, missing, costs, keys = {}, {}, [], [method, *(each.key for each in members[1:])]
    for column in columns:
        name, error = column.data_set.name, column.data_set.error
        if method not in column.rows:
            missing[name] = "not trained"
            continue
        row, results = column.rows[method]
        keys.append(method_key(row))
        cells[name] = {
            region: cell
            for region in REGIONS
            if (cell := _make_cell(row, region, error, results)) is not None
        }
        if not cells[name]:
            missing[name] = _explain_missing(row, results)
        if (cost := _measure_cost(row, results)) is not None:
            costs.append(cost)
    steps, totals = zip(*costs, strict=True) if costs else ((), ())
    if parsed is None or parsed.technique.estimator:
        steps = ()  # a tree is no step of a network
    return Row(
        method,
        cells,
        missing,
        step_cost=statistics.median(steps) if steps else None,
        total_cost=statistics.median(totals) if totals else None,
        searches={
            tuning.name: next(tuning.searches[key] for key in keys if key in tuning.searches)
            for tuning in tunings
            if any(key in tuning.searches for key in keys)
        },
        paper=None if parsed is None else find_paper(parsed),
        license=None if parsed is None else find_license(parsed),
    )


def _parse(name: str) -> Method | None:
    """Return the method of a name; None for a row that is no method, such as predictions."""
    try:
        return parse_method(name, "inverse")
    except UsageError:
        return None


def _make_cell(row: Record, region: str, error: str, results: Record) -> Cell | None:
    """Return the change of a row in a region; None if it was not compared there."""
    part, name = _place(region, results)
    comparison = row.get("vs_baseline") or {}
    effect = comparison.get(part, {}).get(name, {}).get(error)
    if not effect or effect["relative"] is None:
        return None
    interval, scale = effect.get("ci_total"), 0.0
    if effect["mean"]:
        scale = effect["relative"] / effect["mean"]
    return Cell(
        effect["relative"],
        None if interval is None else (interval[0] * scale, interval[1] * scale),
        is_significant(effect),
        len(comparison["seeds"]),
    )


def _explain_missing(row: Record, results: Record) -> str:
    """Return why a row has no change in any region."""
    failed = failed_runs(results["runs"], row)
    if failed and not row["seeds"]:
        return describe_failure(failed[0]).rstrip(".")
    return "no seed in common with vanilla"


def _measure_cost(row: Record, results: Record) -> tuple[float, float] | None:
    """Return the seconds of a step and of a training, as multiples of the seconds of vanilla.

    They are medians over seeds, and include the first stage of a two-stage method, and both members
    of an average.
    """
    pair = [_list_costs(key, results) for key in (method_key(row), BASELINE)]
    if not all(pair):
        return None
    steps, totals = (
        [statistics.median(cost[k] for cost in costs) for costs in pair] for k in range(2)
    )
    return (steps[0] / steps[1], totals[0] / totals[1]) if steps[1] and totals[1] else None


def _list_costs(key: str, results: Record) -> list[tuple[float, float]]:
    """Return the seconds of a step and of the training for each finished run of a method."""
    done = [run for run in results["runs"] if run["status"] == "done"]
    costs = []
    for run in (run for run in done if run["identity"]["method"] == key):
        identity = run["identity"]
        required = [
            results_by_seed(done, each["method"]).get(each["seed"])
            for each in _list_required(identity)
        ]
        trained = [run["result"], *(each for each in required if each is not None)]
        if len(trained) <= len(required):
            continue
        seconds, steps = (sum(each[name] or 0 for each in trained) for name in ("seconds", "steps"))
        if steps:
            costs.append((seconds / steps, seconds))
    return costs


def _list_required(identity: Record) -> Iterator[Record]:
    """Yield the first stage or the members of a run, and what these require themselves."""
    first = [identity["stage_one"]] if "stage_one" in identity else []
    for each in (*first, *identity.get("members", ())):
        yield each
        yield from _list_required(each)
