"""What RankSim changes, by region and by pair of methods."""

from __future__ import annotations

from typing import Any

import numpy as np

from ranksim.evaluation.report.figures.style import COLOURS
from ranksim.exceptions import require_optional
from ranksim.metrics.shot_regions import REGION_NAMES, ShotRegions

_METHODS = {"vanilla": "#9aa5b1", "vanilla+ranksim": "#1b998b"}


def region_figure(results: dict[str, Any], regions: ShotRegions) -> Any:
    """Training samples along the label axis, and test MSE by region with and without RankSim.

    Args:
        results: the content of ``results.json``; its summary holds both methods.
        regions: the regions of the benchmark's label axis.

    Returns:
        A matplotlib figure. Dots are single seeds, bars their means; under each pair the paired
        difference and its 95 % interval.
    """
    plt = require_optional("matplotlib.pyplot", "plot")
    with plt.rc_context({"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "ranksim"}):
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(9, 3.4), width_ratios=(1, 1.25), layout="constrained"
        )
        _density(left, regions)
        _errors(right, results)
        for axis in (left, right):
            axis.spines[["top", "right"]].set_visible(False)
    return figure


def pairs_figure(results: dict[str, Any]) -> Any:
    """What RankSim changes in every pair of methods, here and as published, by region.

    Args:
        results: the content of ``results.json``; its summary holds methods with and without
            RankSim.

    Returns:
        A matplotlib figure: one line a pair, one panel a region; a dot is the relative change of
        the mean test MSE, its bar the 95 % interval over paired seeds, a ring the published change.
    """
    plt = require_optional("matplotlib.pyplot", "plot")
    published = {row["method"]: row["published"] for row in results["summary"]}
    pairs = [row for row in results["summary"] if row.get("vs_without_ranksim")]
    own = {row["method"] for row in pairs}
    rows = [row for row in pairs if row.get("alias_of") not in own]
    with plt.rc_context({"font.size": 9, "svg.fonttype": "none", "svg.hashsalt": "ranksim"}):
        figure, panels = plt.subplots(
            1, 4, figsize=(9.5, 0.27 * len(rows) + 1.1), sharey=True, layout="constrained"
        )
        places = np.arange(len(rows))[::-1]
        for axis, region in zip(panels, REGION_NAMES[:4], strict=True):
            axis.axvline(0, color="#222222", linewidth=0.8)
            for place, row in zip(places, rows, strict=True):
                _change(axis, place, row, region, published)
            axis.set_title(f"{region}-shot" if region != "all" else "all", fontsize=9)
            axis.xaxis.set_major_formatter(_signed_per_cent)
            axis.spines[["top", "right", "left"]].set_visible(False)
            axis.tick_params(axis="y", length=0)
            axis.grid(axis="y", color="#eeeeee")
            axis.set_axisbelow(True)
        panels[0].set_yticks(places, [row["vs_without_ranksim"]["method"] for row in rows])
        seeds = max(row["vs_without_ranksim"]["test"]["all"]["mse"]["n"] for row in rows)
        figure.supxlabel(
            f"change of test MSE by RankSim ({seeds} seeds, 95 % intervals; left is better; "
            "rings: as published)",
            fontsize=9,
        )
    return figure


def _signed_per_cent(value: float, _: int) -> str:
    return f"{value:+.0%}" if abs(value) > 1e-9 else "0"


def _change(
    axis: Any, place: float, row: dict[str, Any], region: str, published: dict[str, Any]
) -> None:
    effect = row["vs_without_ranksim"]["test"][region]["mse"]
    if effect["mean"] is not None:
        base = effect["mean"] / effect["relative"]
        colour = "#1b998b" if effect["mean"] < 0 else "#d1495b"
        if effect["ci_seeds"] is not None:
            ends = [end / base for end in effect["ci_seeds"]]
            axis.plot(ends, [place, place], color=colour, alpha=0.45, linewidth=2)
        axis.plot(effect["relative"], place, "o", color=colour, markersize=4.5)
    with_, without = (
        published.get(row["method"]),
        published.get(row["vs_without_ranksim"]["method"]),
    )
    if with_ and without:
        change = with_["mse"][region] / without["mse"][region] - 1
        axis.plot(change, place, "o", markersize=5, markerfacecolor="none", color="#888888")


def _density(axis: Any, regions: ShotRegions) -> None:
    edges = regions.bins.edges
    widths = np.diff(edges)
    for name, colour in COLOURS.items():
        chosen = np.array([region == name for region in regions.names])
        axis.bar(
            edges[:-1][chosen],
            regions.counts[chosen],
            width=widths[chosen],
            align="edge",
            color=colour,
            edgecolor="white",
            linewidth=0.3,
            label=f"{name}-shot",
        )
    axis.set(xlabel="label", ylabel="training samples in a bin", title="What training sees")
    axis.legend(frameon=False, fontsize=8)


def _errors(axis: Any, results: dict[str, Any]) -> None:
    rows = {row["method"]: row for row in results["summary"]}
    shown = [region for region in REGION_NAMES[:4] if _mean(rows, region)]
    effects = rows["vanilla+ranksim"]["vs_without_ranksim"]["test"]
    width = 0.36
    for side, (method, colour) in zip((-0.5, 0.5), _METHODS.items(), strict=True):
        runs = [
            r
            for r in results["runs"]
            if r["identity"]["method"] == method and r["status"] == "done"
        ]
        places = np.arange(len(shown)) + side * width
        means = [rows[method]["test"][region]["mse"]["mean"] for region in shown]
        axis.bar(places, means, width=width * 0.94, color=colour, label=method)
        for place, region in zip(places, shown, strict=True):
            values = [run["result"]["metrics"]["test"][region]["mse"] for run in runs]
            axis.plot(np.full(len(values), place), values, ".", color="#222222", markersize=3)
    axis.set_ylim(0, 1.3 * axis.dataLim.y1)  # room for the legend
    labels = []
    for region in shown:
        effect = effects[region]["mse"]
        interval = (
            "" if effect["ci_seeds"] is None else "\n[{:+.2f}, {:+.2f}]".format(*effect["ci_seeds"])
        )
        labels.append(f"{region}\n{effect['relative']:+.1%}{interval}")
    axis.set_xticks(np.arange(len(shown)), labels)
    seeds = effects["all"]["mse"]["n"]
    axis.set(ylabel="test MSE", title=f"What RankSim changes ({seeds} seeds, 95 % intervals)")
    axis.legend(frameon=False, fontsize=8, loc="upper left", ncols=2)


def _mean(rows: dict[str, Any], region: str) -> bool:
    return all(rows[m]["test"][region]["mse"]["mean"] is not None for m in _METHODS)
