"""Fill the tables of ``docs/intervals.md`` from the simulation, and draw its picture.

    python scripts/interval_tables.py --write

``python -m tests.reliability intervals --write`` measures the figures.
"""

import json
import re
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from ranksim._utils.storage import atomic_write  # noqa: E402
from ranksim.evaluation.report import plotting as plot  # noqa: E402
from tests.reliability import intervals as simulation  # noqa: E402

PAGE, PICTURE = ROOT / "docs/intervals.md", ROOT / "docs/img/intervals.svg"
FIGURES = ROOT / "results/reliability/intervals.json"
REGIONS = ("all", "many", "medium", "few")
LINES = (  # score, rule, title and color of each line of the picture
    ("residual", "split", "residual, one threshold", plot.BASELINE),
    ("residual", simulation.RECOMMENDED, "residual, by region", plot.RANKSIM),
    ("scale", simulation.RECOMMENDED, "scale, by region", plot.METHOD_COLORS[0]),
    ("quantiles", simulation.RECOMMENDED, "quantiles, by region", plot.METHOD_COLORS[1]),
)


def read_figures() -> dict[str, Any]:
    """Return the committed figures of the simulation."""
    figures: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return figures


def find_way(figures: dict[str, Any], count: int, score: str, rule: str) -> dict[str, Any]:
    """Return the figures of a score and a rule with a number of calibration samples."""
    ways: list[dict[str, Any]] = figures["ways"][str(count)]
    return next(row for row in ways if (row["score"], row["rule"]) == (score, rule))


def summarize(figures: dict[str, Any]) -> str:
    """Return the recommendation, with the figures of the simulation."""
    few, many = simulation.SIZES
    rule = simulation.RECOMMENDED
    split = find_way(figures, many, "residual", "split")
    region = find_way(figures, many, "residual", rule)
    scale, small = (find_way(figures, each, "scale", rule) for each in (many, few))
    alone = find_way(figures, few, "residual", "region, k = 0")
    rare = find_way(figures, few, "residual", rule)

    def share(way: dict[str, Any], by: str, name: str) -> str:
        return f"{simulation.percent(way[by][name])} %"

    shares = [f"{share(region, 'predicted', name)} ({name})" for name in REGIONS[1:]]
    rare_true = [share(way, "true", "few") for way in (split, region, scale)]
    sentences = [
        "**Use a threshold by predicted region**, as `--interval` does. Intervals of one width "
        f"cover {share(split, 'predicted', 'all')} of all samples and "
        f"{share(split, 'predicted', 'few')} where predictions are few-shot; by region, with "
        f"{many:,} calibration samples, it is {', '.join(shares)}.",
        "**Use a method with a scale or quantiles if you can.** With a scale, coverage is "
        f"{share(scale, 'predicted', 'few')} where predictions are few-shot, and "
        f"{share(small, 'predicted', 'few')} with {few} calibration samples, where residuals alone "
        f"reach {share(rare, 'predicted', 'few')}.",
        "**Shrinkage keeps intervals finite.** Without it (k = 0), few-shot intervals are infinite "
        f"in {share(alone, 'infinite', 'few')} of the draws of {few} calibration samples.",
        "**No way covers rare labels as well as common ones.** Given a few-shot *true* label, "
        f"coverage is {rare_true[0]} with one width, {rare_true[1]} by predicted region and "
        f"{rare_true[2]} with a scale: what helps there is a method that predicts rare labels "
        "better.",
    ]
    lines = [_wrap(text) for text in sentences]
    return "\n".join(lines) + "\n"


def _wrap(text: str) -> str:
    return textwrap.fill(f"- {text}", 118, subsequent_indent="  ", break_on_hyphens=False)


def fill_page(text: str, figures: dict[str, Any]) -> str:
    """Return the page with the summary and the tables of the figures."""
    parts = {
        "summary": summarize(figures),
        "ways": simulation.list_ways(figures, simulation.SIZES[1]) + "\n",
        "shifts": simulation.list_shifts(figures) + "\n",
    }
    for name, content in parts.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text, count = re.subn(pattern, lambda m, c=content: m[1] + c + m[2], text, flags=re.DOTALL)
        assert count == 1, name
    return text


def draw(figures: dict[str, Any]) -> plot.Picture:
    """Draw coverage by predicted and by true region."""

    def paint(figure: Any) -> None:
        axes = figure.subplots(1, 2, sharey=True)
        figure.subplots_adjust(left=0.07, right=0.99, bottom=0.2, top=0.9, wspace=0.06)
        places = np.arange(len(REGIONS))
        for axis, by in zip(axes, ("predicted", "true"), strict=True):
            axis.axhline(figures["level"], color=plot.LINE, linewidth=1.6)
            for score, rule, title, color in LINES:
                cells = find_way(figures, simulation.SIZES[1], score, rule)[by]
                values = [cells[name] for name in REGIONS]
                axis.plot(places, values, "o-", color=color, markersize=4, label=title)
            axis.set_title(f"Coverage by the region of the {by} label")
            plot.finish_axes(axis)
            axis.set_xticks(places, REGIONS)
        axes[0].set_ylim(0, 1.02)
        handles, titles = axes[0].get_legend_handles_labels()
        figure.legend(handles, titles, loc="lower center", ncols=4)

    description = (
        "Coverage of 90 % intervals by predicted and by true region, with one threshold and with "
        "a threshold by predicted region, for three scores."
    )
    return plot.render_picture("intervals", description, (plot.WIDTH, 2.9), paint)


def main() -> None:
    """Print the page, or write it and its picture with ``--write``."""
    figures = read_figures()
    text = fill_page(PAGE.read_text(encoding="utf-8"), figures)
    if "--write" not in sys.argv[1:]:
        print(text)
        return
    for path, content in ((PAGE, text), (PICTURE, draw(figures).svg)):
        with atomic_write(path) as partial:
            partial.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
