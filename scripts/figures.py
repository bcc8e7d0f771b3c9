"""Redraw the figures and report pages of the documentation from committed results.

    python scripts/figures.py [regions pairs labels faces pages ...]

Without names all of them are drawn. ``labels`` reads the glucose data from the cache, which
``ranksim bench glucose`` fills; the others need no data. ``pairs`` also prints the table of
``docs/sts-b-dir-methods.md``.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from ranksim._utils.formatting import format_percent, format_signed
from ranksim._utils.storage import cache_dir
from ranksim.data.images.augment import CropFlip
from ranksim.data.reading import read_delimited
from ranksim.datasets import glucose
from ranksim.evaluation.intervals import excludes_zero
from ranksim.evaluation.record import read_results
from ranksim.evaluation.report.label_report import draw_label_report
from ranksim.evaluation.report.plotting import (
    BACKGROUND,
    BETTER,
    GRAY,
    INK,
    LINE,
    RANKSIM,
    REGION_COLORS,
    WORSE,
    Picture,
    draw_bars,
    finish_axes,
    render_picture,
)
from ranksim.evaluation.report.results_page import write_page
from ranksim.user_data.label_report import make_label_report

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from tests.helpers.faces import draw_face  # noqa: E402

DOCS, RESULTS = ROOT / "docs", ROOT / "results"
REGIONS = ("all", "many", "medium", "few")
PAGES = {  # each page, and the sweeps that it shows
    "sts-b-dir-report": ("sts-b-dir/report", "sts-b-dir/report-gaps"),
    "glucose-report": ("glucose",),
}


def draw_regions() -> None:
    """Draw the training labels of STS-B-DIR, and the test MSE with and without RankSim."""
    labels = read_results(RESULTS / "sts-b-dir/report")["labels"]  # of the same split
    results = read_results(RESULTS / "sts-b-dir/borealis")
    rows = {row["method"]: row for row in results["summary"]}
    effects = rows["vanilla+ranksim"]["vs_without_ranksim"]["test"]

    def paint(figure: Any) -> None:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.25))
        figure.subplots_adjust(left=0.06, right=0.99, bottom=0.19, top=0.9, wspace=0.14)
        edges, train = np.asarray(labels["edges"]), np.asarray(labels["train"])
        draw_bars(left, edges, train, labels["regions"], edgecolor="#ffffff", linewidth=0.3)
        for name, color in REGION_COLORS.items():
            left.bar(0, 0, color=color, label=f"{name}-shot")
        left.set(xlabel="similarity", title="Training samples per label bin", xlim=(0, 5))
        finish_axes(left)
        left.legend(loc="upper right", bbox_to_anchor=(0.98, 1.04))
        for side, color, (name, row) in zip(
            (-0.18, 0.18), (BACKGROUND, RANKSIM), rows.items(), strict=True
        ):
            x = np.arange(len(REGIONS)) + side
            means = [row["test"][region]["mse"]["mean"] for region in REGIONS]
            right.bar(x, means, width=0.33, color=color, label=name)
            for run in (run for run in results["runs"] if run["identity"]["method"] == name):
                test = run["result"]["metrics"]["test"]
                scores = [test[region]["mse"] for region in REGIONS]
                right.plot(x, scores, "o", color=INK, markersize=1.8)
        right.set(title="Test MSE by region (5 seeds)", ylim=(0, 1.2))
        finish_axes(right)
        ticks = []
        for region in REGIONS:
            effect = effects[region]["mse"]
            low, high = (format_signed(end, 2) for end in effect["ci_seeds"])
            ticks.append(f"{region}\n{format_percent(effect['relative'])}\n{low} to {high}")
        right.set_xticks(range(len(REGIONS)), ticks)
        right.legend(loc="upper left", ncols=2, bbox_to_anchor=(0, 1.04))

    description = (
        "Left: training samples of STS-B-DIR per label bin. Right: test MSE with and without "
        "RankSim by region; dots are seeds, below each pair the change and its 95 % interval."
    )
    _write("sts-b-dir", render_picture("regions", description, (7.6, 2.9), paint))


def draw_pairs() -> None:
    """Draw the change of test MSE by RankSim in every pair of methods, and print it as a table."""
    results = read_results(RESULTS / "sts-b-dir/all")
    rows = {row["method"]: row for row in results["summary"]}
    pairs = [row for row in rows.values() if row.get("vs_without_ranksim")]
    for row in pairs:
        print(f"| {' | '.join(_table_cells(row, rows))} |")
    distinct = [row for row in pairs if row.get("alias_of") not in rows]
    places = np.arange(len(distinct))[::-1]

    def paint(figure: Any) -> None:
        axes = figure.subplots(1, len(REGIONS), sharey=True)
        figure.subplots_adjust(left=0.13, right=0.965, bottom=0.12, top=0.94, wspace=0.08)
        for axis, region in zip(axes, REGIONS, strict=True):
            axis.axvline(0, color=INK, linewidth=0.8)
            for place, row in zip(places, distinct, strict=True):
                effect = row["vs_without_ranksim"]["test"][region]["mse"]
                color, base = BETTER if effect["mean"] < 0 else WORSE, _base(effect)
                ends = [end / base for end in effect["ci_seeds"]]
                axis.plot(ends, [place, place], color=color, alpha=0.45, linewidth=2)
                axis.plot(effect["relative"], place, "o", color=color, markersize=3.6)
                change = _published_change(row, rows, region)
                axis.plot(change, place, "o", markersize=4, markerfacecolor="none", color=GRAY)
            axis.set_title(region, color=REGION_COLORS.get(region, INK))
            finish_axes(axis)
            axis.grid(axis="y", color=LINE, linewidth=0.6)
            axis.xaxis.set_major_formatter(
                lambda value, _: format_percent(value, digits=0) if value else "0"
            )
            axis.locator_params(axis="x", nbins=4)
        axes[0].set_yticks(places, [row["vs_without_ranksim"]["method"] for row in distinct])
        note = "change of test MSE by RankSim; left is better; 95 % intervals; rings: published"
        figure.text(0.5, 0.01, note, ha="center", va="bottom", color=GRAY, fontsize=7)

    description = (
        "Change of test MSE by RankSim for each method (rows) and region (columns): dots with 95 % "
        "intervals over three seeds, rings as published."
    )
    _write("sts-b-dir-pairs", render_picture("pairs", description, (7.6, 3.6), paint))


def draw_labels() -> None:
    """Draw the label report of the glucose data, as ``ranksim inspect`` does."""
    table = read_delimited(cache_dir() / glucose.NAME / glucose.FILE)
    report = make_label_report(table, "glucose", named=glucose.REGIONS)
    _write("glucose-labels", draw_label_report(report), suffixes=("svg",))


def draw_faces() -> None:
    """Draw faces from 5 to 95 years as they are, and as augmented in two epochs."""
    side, gap, left, ages = 72, 4, 90, range(5, 96, 10)
    generator = np.random.default_rng(3)
    images = np.stack([np.asarray(draw_face(age, generator, side)) for age in ages])
    pixels, index = torch.from_numpy(images), torch.arange(len(images))
    augment = CropFlip(seed=0, pad=round(16 * side / 224), flip=True)
    rows = [("original", pixels)]
    rows += [(f"epoch {epoch + 1}", augment((pixels,), index, epoch)[0]) for epoch in (0, 1)]
    size = (left + len(images) * (side + gap), 20 + len(rows) * (side + gap))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for k, age in enumerate(ages):
        center = left + k * (side + gap) + side / 2
        pen.text((center, 10), f"{age} years", fill="black", anchor="mm", font_size=12)
    for r, (title, batch) in enumerate(rows):
        top = 20 + r * (side + gap)
        pen.text((left - 10, top + side / 2), title, fill="black", anchor="rm", font_size=13)
        for k, image in enumerate(batch):
            sheet.paste(Image.fromarray(image.numpy()), (left + k * (side + gap), top))
    sheet.quantize(96).save(DOCS / "img/faces.png", optimize=True)


def write_pages() -> None:
    """Write the report pages."""
    for name, sweeps in PAGES.items():
        results, *others = (read_results(RESULTS / sweep) for sweep in sweeps)
        write_page(results, DOCS / f"{name}.html", others)


def _write(name: str, picture: Picture, suffixes: tuple[str, ...] = ("svg", "png")) -> None:
    contents = {"svg": picture.svg.encode("utf-8"), "png": picture.png}
    for suffix in suffixes:
        (DOCS / "img" / f"{name}.{suffix}").write_bytes(contents[suffix])


def _base(effect: dict[str, Any]) -> float:
    return float(effect["mean"] / effect["relative"])


def _published_change(row: dict[str, Any], rows: dict[str, Any], region: str) -> float:
    base = rows[row["vs_without_ranksim"]["method"]]
    return float(row["published"]["mse"][region] / base["published"]["mse"][region] - 1)


def _table_cells(row: dict[str, Any], rows: dict[str, Any]) -> list[str]:
    comparison = row["vs_without_ranksim"]
    base, effect = rows[comparison["method"]], comparison["test"]["all"]["mse"]
    low, high = (format_percent(end / _base(effect)) for end in effect["ci_seeds"])
    interval = f"{low} … {high}"
    interval = f"**{interval}**" if excludes_zero(effect["ci_seeds"]) else interval
    alias = f" (= {base['alias_of']})" if base.get("alias_of") else ""
    return [
        f"`{base['method']}`{alias}",
        *(f"{r['test']['all']['mse']['mean']:.3f}" for r in (base, row)),
        f"{format_percent(effect['relative'])} ({interval})",
        f"{effect['better']}/{effect['n']}",
        *(format_percent(comparison["test"][r]["mse"]["relative"]) for r in REGIONS[1:]),
        format_percent(_published_change(row, rows, "all")),
    ]


DRAWINGS = {
    "regions": draw_regions,
    "pairs": draw_pairs,
    "labels": draw_labels,
    "faces": draw_faces,
    "pages": write_pages,
}

if __name__ == "__main__":
    for drawing in sys.argv[1:] or DRAWINGS:
        DRAWINGS[drawing]()
