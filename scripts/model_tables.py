"""Print the tables of ``docs/which-model.md`` from the results of five tables.

    python scripts/model_tables.py [--write]

``--write`` replaces the tables between the markers ``<!-- NAME -->`` and ``<!-- end -->`` of the
page.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ranksim._utils.formatting import format_percent
from ranksim.evaluation.intervals import is_significant
from ranksim.evaluation.record import read_results
from ranksim.evaluation.views import VIEW_TITLES, VIEWS, find_test_set, title_of_all

ROOT = Path(__file__).resolve().parents[1]
PAGE, RESULTS = ROOT / "docs/which-model.md", ROOT / "results/tables"
SECTION = re.compile(r"(<!-- ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)
PARTS = ("all", "many", "medium", "few")


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


def list_rivals(name: str) -> Iterator[str]:
    """Yield the table that ``benchmarks/plain_trees.py`` printed."""
    yield from (RESULTS / name / "plain_trees.md").read_text(encoding="utf-8").splitlines()


def write_tables(text: str) -> str:
    """Return the page with all tables replaced."""

    def fill(match: re.Match[str]) -> str:
        name = match[2].removesuffix("-rivals")
        lines = list_rivals(name) if match[2].endswith("-rivals") else list_scores(name)
        return match[1] + "\n".join(lines) + "\n" + match[3]

    return SECTION.sub(fill, text)


if __name__ == "__main__":
    page = write_tables(PAGE.read_text(encoding="utf-8"))
    if "--write" in sys.argv:
        PAGE.write_text(page, encoding="utf-8")
    else:
        print(page)
