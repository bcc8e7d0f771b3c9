"""Print the tables of ``docs/which-model.md`` from the results of five tables.

    python -m scripts.model_tables [--write]

``--write`` replaces the tables between the markers ``<!-- NAME -->`` and ``<!-- end -->`` of the
page: ``NAME`` is a table, ``NAME-tuned`` its default and tuned comparison side by side,
``NAME-rivals`` that with plain scripts, ``validation`` and ``ranking`` are about all tables that
have been tuned, and ``estimator`` is about the default of ``RankSimRegressor``.
"""

import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.default_estimator import format_tables
from ranksim._utils.formatting import format_percent, join_names
from ranksim._utils.storage import read_verified_json
from ranksim.evaluation.intervals import is_significant, quantile
from ranksim.evaluation.record import read_results
from ranksim.evaluation.views import VIEW_TITLES, VIEWS, find_test_set, title_of_all

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULTS = ROOT / "docs/which-model.md", ROOT / "results/tables"
SECTION = re.compile(r"(<!-- ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
ESTIMATOR = ROOT / "results/default_estimator/holdouts.json"
PARTS = ("all", "many", "medium", "few")
TITLES = {
    "abalone": "Abalone",
    "wine-white": "White wine",
    "ames": "Ames",
    "bike-hour": "Bike sharing",
    "diamonds": "Diamonds",
}
NETWORKS = ("vanilla", "sqinv", "rrt", "vanilla+ranksim")
SIDES = {"": "default", "tuned": "tuned"}  # folder within that of a table, and title
Results = dict[str, Any]


@cache
def read_side(name: str, side: str) -> Results | None:
    """Read the results of a table, tuned or not; None if they do not exist."""
    folder = RESULTS / name / side
    return read_results(folder) if (folder / "results.json").is_file() else None


def list_tuned() -> list[str]:
    """Return the tables that have been tuned, in the order of the page."""
    return [name for name in TITLES if read_side(name, "tuned") is not None]


def read_sides(name: str) -> tuple[Results, Results]:
    """Read the default and the tuned results of a table that has been tuned."""
    default, tuned = (read_side(name, side) for side in SIDES)
    assert default is not None
    assert tuned is not None
    return default, tuned


def list_scores(name: str) -> Iterator[str]:
    """Yield the lines of a table: MAE and change of each row by region, and the time of a fit."""
    results = read_results(RESULTS / name)
    first = results["summary"][0]
    places = [("test", region) for region in PARTS if first["test"][region]["mae"]["n"]]
    test_set = find_test_set(results)
    # the view that is the plain mean is the column "all"
    places += [("views", view) for view in VIEWS[1:] if first.get("views")]
    titles = [title_of_all(test_set) if name == "all" else VIEW_TITLES.get(name, name)
              for _, name in places]  # fmt: skip
    yield f"| row | {' | '.join(titles)} | mean of seeds | fit |"
    yield "| --- |" + " ---: |" * (len(places) + 2)
    for row in results["summary"]:
        cells = [describe_score(row, *place) for place in places]
        ensemble = row.get("ensemble")
        mean = format_error(ensemble["all"]["mae"]) if ensemble else "–"
        cells += [mean, f"{row['seconds_median']:.1f} s"]
        yield f"| `{row['method']}` | {' | '.join(cells)} |"


def format_error(value: float) -> str:
    """Format an error with three significant digits, or as a whole number from 1,000 on."""
    return f"{value:,.0f}" if value >= 1_000 else f"{value:#.3g}"


def describe_score(row: dict[str, Any], part: str, name: str) -> str:
    """Format a mean MAE, and its change from the baseline; bold: significant after correction."""
    text = format_error(row[part][name]["mae"]["mean"])
    effect = row.get("vs_baseline", {}).get(part, {}).get(name, {}).get("mae")
    if not effect or effect["relative"] is None:
        return text
    change = format_percent(effect["relative"]).replace("\u202f", " ")
    return f"{text} (**{change}**)" if is_significant(effect) else f"{text} ({change})"


def list_tuned_scores(name: str) -> Iterator[str]:
    """Yield the default and the tuned comparison of a table side by side, and the recipes."""
    if read_side(name, "tuned") is None:
        yield "Not tuned."
        return
    default, tuned = read_sides(name)
    views = {
        title_of_all(find_test_set(default)): ("test", "all"),
        VIEW_TITLES["as_is"]: ("views", "as_is"),
        "few": ("test", "few"),
    }
    headings = [f"{view}: {side}" for view in views for side in SIDES.values()]
    yield f"| row | {' | '.join(headings)} |"
    yield "| --- |" + " ---: |" * len(headings)
    others = {row["method"]: row for row in tuned["summary"]}
    for row in default["summary"]:
        pair = row, others[row["method"]]
        cells = [describe_score(each, *place) for place in views.values() for each in pair]
        yield f"| `{row['method']}` | {' | '.join(cells)} |"
    yield ""
    yield "| row | chosen by validation |"
    yield "| --- | --- |"
    for row in default["summary"]:
        yield f"| `{row['method']}` | {describe_recipe(default, tuned, row['method'])} |"


def describe_recipe(default: Results, tuned: Results, method: str) -> str:
    """Describe the settings in which the tuned recipe of a row differs from the default one."""
    before, after = (
        next(run["identity"]["recipe"] for run in each["runs"]
             if run["identity"]["method"] == method)
        for each in (default, tuned)
    )  # fmt: skip
    changes = [f"{field} {value}" for field, value in after.items() if value != before.get(field)]
    return ", ".join(changes) or "as by default"


def list_val_errors(results: Results, method: str) -> NDArray[np.float64]:
    """Return the validation MAE of each run of a method, by seed ``(S,)``."""
    errors = {
        run["identity"]["seed"]: run["result"]["metrics"]["val"]["all"]["mae"]
        for run in results["runs"]
        if run["identity"]["method"] == method
    }
    return np.array([errors[seed] for seed in sorted(errors)])


def list_validation() -> Iterator[str]:
    """Yield what tuning changed in the validation error of the plain network on each table."""
    yield "| table | default | tuned | change, 95 % | lower | without the searched seed |"
    yield "| --- | ---: | ---: | --- | --- | ---: |"
    lower, sure = [], []
    for name in list_tuned():
        before, after = (list_val_errors(each, "vanilla") for each in read_sides(name))
        change = 100 * (after - before) / before.mean()
        mean, half = change.mean(), half_width(change)
        is_lower, is_sure = bool(mean < 0), bool(abs(mean) > half)
        lower += [TITLES[name]] * is_lower
        sure += [TITLES[name]] * (is_lower and is_sure)
        interval = f"{mean:+.1f} % ({mean - half:+.1f} to {mean + half:+.1f})"
        verdict = ("yes" if is_sure else "not surely") if is_lower else "no"
        verdict = verdict if change.any() else "the same recipe"
        cells = [*(format_error(float(each.mean())) for each in (before, after)), interval]
        yield f"| {TITLES[name]} | {' | '.join(cells)} | {verdict} | {change[1:].mean():+.1f} % |"
    yield ""
    yield (
        f"The mean is lower on {len(lower)} of {len(list_tuned())} tables, surely on "
        f"{len(sure)}{f' ({join_names(sure)})' if sure else ''}."
    )


def half_width(values: NDArray[np.float64]) -> float:
    """Return half of the 95 % interval of a mean (Student's t)."""
    return float(quantile(0.95, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5)


def list_ranking() -> Iterator[str]:
    """Yield the rows of the lowest error on each table, before and after tuning."""
    yield (
        "| table | recipes | lowest, all | lowest, few | lowest, as in your data | best network "
        "against best trees |"
    )
    yield "| --- | --- | --- | --- | --- | --- |"
    for name in list_tuned():
        for results, side in zip(read_sides(name), SIDES.values(), strict=True):
            places = (("test", "all"), ("test", "few"), ("views", "as_is"))
            best = [find_lowest(results, *place) for place in places]
            cells = [f"`{row}`" for row in best] + [compare_families(results)]
            yield f"| {TITLES[name]} | {side} | {' | '.join(cells)} |"


def find_lowest(
    results: Results, part: str, name: str, wanted: Callable[[str], bool] = bool
) -> str:
    """Return the row with the lowest mean MAE in a region or view."""
    rows = [row for row in results["summary"] if wanted(row["method"])]
    return str(min(rows, key=lambda row: row[part][name]["mae"]["mean"])["method"])


def compare_families(results: Results) -> str:
    """Describe how the best network differs from the best trees; bold: significant."""
    network = find_lowest(results, "test", "all", lambda row: row in NETWORKS)
    trees = find_lowest(results, "test", "all", lambda row: row.startswith("trees"))
    errors = {
        row["method"]: row["test"]["all"]["mae"]["mean"]
        for row in results["summary"]
        if row["method"] in (network, trees)
    }
    change = format_percent(errors[network] / errors[trees] - 1).replace("\u202f", " ")
    effects = [
        each["test"]["all"]["mae"]
        for each in results["comparisons"]
        if (each["reference"], each["method"]) == (trees, network)
    ]
    text = f"**{change}**" if any(map(is_significant, effects)) else change
    return f"`{network}` {text} from `{trees}`"


def list_default_changes() -> Iterator[str]:
    """Yield the table that ``benchmarks/default_estimator.py`` printed."""
    yield from format_tables(read_verified_json(ESTIMATOR)["tables"])


def list_rivals(name: str) -> Iterator[str]:
    """Yield the table that ``benchmarks/plain_trees.py`` printed."""
    yield from (RESULTS / name / "plain_trees.md").read_text(encoding="utf-8").splitlines()


def list_section(title: str) -> Iterator[str]:
    """Yield the lines between the markers of a title."""
    name, _, suffix = title.rpartition("-")
    if suffix == "rivals":
        return list_rivals(name)
    if suffix == "tuned":
        return list_tuned_scores(name)
    whole = {
        "validation": list_validation,
        "ranking": list_ranking,
        "estimator": list_default_changes,
    }
    return whole[title]() if title in whole else list_scores(title)


def write_tables(text: str) -> str:
    """Return the page with all tables replaced."""

    def fill(match: re.Match[str]) -> str:
        return match[1] + "\n".join(list_section(match[2])) + "\n" + match[3]

    return SECTION.sub(fill, text)


if __name__ == "__main__":
    page = write_tables(PAGE.read_text(encoding="utf-8"))
    if "--write" in sys.argv:
        PAGE.write_text(page, encoding="utf-8")
    else:
        print(page)
