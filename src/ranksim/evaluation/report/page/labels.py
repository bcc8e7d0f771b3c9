"""Section 1: the label distribution, its regions and the labels without training samples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ranksim._utils.formatting import format_count, format_percent, join_names
from ranksim.evaluation.report import plotting as plot
from ranksim.evaluation.report.page.elements import DataTable, Section, format_number
from ranksim.evaluation.report.page.sweep_results import Record, SweepResults, list_commands
from ranksim.exceptions import require_optional
from ranksim.imbalance.label_range import LabelRange, parse_ranges

_LOG_RATIO = 60  # of the fullest bin to the median one, for a logarithmic axis
Spans = Sequence[tuple[float, float]]


def labels_section(sweep: SweepResults) -> Section:
    """Return the label histogram, the shares of the regions and the empty bins."""
    slug, title = "labels", "The label distribution"
    labels = sweep.labels
    if labels is None:
        return Section(
            slug,
            title,
            missing="This results.json has no label distribution, because an earlier version wrote "
            "it. Run the same command with a new folder to get all seven sections:",
            commands=list_commands([sweep]),
        )
    edges, train = sweep.edges, np.asarray(labels["train"])
    unseen = [(float(edges[a]), float(edges[b])) for a, b in _find_runs(train == 0)]
    regions = [
        region + ", unseen" * (n == 0)
        for region, n in zip(labels["regions"], labels["train"], strict=True)
    ]
    columns: dict[str, Any] = {"from": edges[:-1], "to": edges[1:], "training samples": train}
    columns |= {"test samples": labels["test"], "region": regions}
    return Section(
        slug,
        title,
        _describe_labels(sweep, labels, unseen),
        (draw_labels(labels, unseen),),
        tables=(DataTable.from_columns("labels", "Samples in each bin", columns),),
        note=_explain_regions(labels),
    )


def draw_labels(labels: Record, unseen: Spans) -> plot.Picture:
    """Draw the training histogram in the colors of its regions, the test set as an outline."""
    edges = np.asarray(labels["edges"], dtype=np.float64)
    train, test = np.asarray(labels["train"]), np.asarray(labels["test"])
    is_log = bool(train.any() and train.max() > _LOG_RATIO * np.median(train[train > 0]))
    dropped = [(text, span) for text in labels["dropped"] for span in parse_ranges(text)]
    height = 2.75 + 0.2 * len(labels["named"])

    def paint(figure: Any) -> None:
        top = (0.42 + 0.2 * len(labels["named"])) / height
        axis = figure.add_axes((0.075, 0.42 / height, 0.915, 1 - top - 0.42 / height))
        for low, high in unseen:
            plot.draw_hatching(axis, low, high)
        plot.draw_bars(
            axis, edges, train, labels["regions"], edgecolor="#ffffff",
            linewidth=0.4 if len(train) <= 80 else 0,
        )  # fmt: skip
        axis.stairs(
            test, edges, color=plot.INK, linewidth=0.9 if len(test) <= 80 else 0.6, baseline=None
        )
        if is_log:
            axis.set_yscale("log")
        axis.set_xlim(edges[0], edges[-1])
        axis.set_ylim(0.7 if is_log else 0, max(train.max(), test.max(), 1) * 1.12)
        for level in (labels["many"], labels["few"]):
            if level is not None and level < train.max():
                axis.axhline(level, color=plot.GRAY, linewidth=0.6, linestyle=(0, (2, 2)))
        for name, span in dropped:
            _mark_dropped(axis, name, span)
        plot.finish_axes(axis)
        axis.minorticks_off()
        unit = f" ({plot.shorten(labels['unit'])})" if labels["unit"] else ""
        axis.set_xlabel(plot.shorten(labels["name"]) + unit)
        _draw_legend(figure, labels["regions"], is_log, bool(unseen or dropped))
        for i, (name, (low, high)) in enumerate(labels["named"].items()):
            y = 1.05 + 0.2 * i / (height * axis.get_position().height)
            plot.draw_bracket(axis, low, high, y, plot.shorten(name))

    description = (
        "Bars: training samples in each label bin, colored by region. Outline: test samples. "
        "Hatched: labels without training samples."
    )
    return plot.render_picture("01-labels", description, (plot.WIDTH, height), paint)


def _mark_dropped(axis: Any, name: str, span: LabelRange) -> None:
    first, last = axis.get_xlim()
    ends = [first if span.low is None else span.low, last if span.high is None else span.high]
    start, end = np.clip(ends, first, last)
    plot.draw_hatching(axis, start, end)
    axis.text(
        (start + end) / 2, 0.97, f"{plot.shorten(name)}\ndropped", fontsize=7, color=plot.INK,
        transform=axis.get_xaxis_transform(), ha="center", va="top", bbox=plot.WHITE_BOX,
    )  # fmt: skip


def _draw_legend(figure: Any, regions: Sequence[str], is_log: bool, has_unseen: bool) -> None:
    patch = require_optional("matplotlib.patches", "plot").Patch
    line = require_optional("matplotlib.lines", "plot").Line2D
    entries = {
        f"{name}-shot": patch(color=color)
        for name, color in plot.REGION_COLORS.items()
        if name in regions
    }
    entries["test set"] = line([], [], color=plot.INK, linewidth=0.9)
    if has_unseen:
        entries["no training samples"] = patch(facecolor="none", hatch="////", linewidth=0)
    figure.legend(
        entries.values(), entries.keys(), loc="upper left", bbox_to_anchor=(0.0, 1.0),
        ncols=len(entries), title="Samples per bin" + (", logarithmic axis" if is_log else ""),
        alignment="left", title_fontsize=8, fontsize=7.5, handlelength=1.0, columnspacing=1.4,
        borderpad=0, borderaxespad=0.1, handletextpad=0.5,
    )  # fmt: skip


def _describe_labels(sweep: SweepResults, labels: Record, unseen: Spans) -> list[str]:
    train, test = np.asarray(labels["train"]), np.asarray(labels["test"])
    filled = train[train > 0]
    if not len(filled):
        return ["There are no training samples in any bin."]
    top = int(train.argmax())
    center = format_number(float(sweep.edges[top : top + 2].mean()))
    findings = [
        f"There are {format_count(int(train.sum()), 'training label')}, densest near {center}: the "
        f"fullest bin has {filled.max():,} samples, the median one {int(np.median(filled)):,} and "
        f"the rarest {filled.min():,}."
    ]
    few = np.array([region == "few" for region in labels["regions"]])
    if few.any() and test.sum():
        findings.append(
            f"Few-shot bins hold {format_percent(train[few].sum() / train.sum(), '')} of the "
            f"training samples and {format_percent(test[few].sum() / test.sum(), '')} of the test "
            "samples."
        )
    if labels["dropped"]:
        findings.append(f"Labels in {join_names(labels['dropped'])} were dropped from training.")
    num_unseen = int(test[train == 0].sum())
    if num_unseen:
        ranges = (f"{format_number(low)} to {format_number(high)}" for low, high in unseen)
        findings.append(
            f"{format_count(num_unseen, 'test sample')} of {int(test.sum()):,} "
            f"{'lies' if num_unseen == 1 else 'lie'} in bins without training samples "
            f"({join_names(ranges, 3)})."
        )
    else:
        findings.append("Every test sample lies in a bin with training samples.")
    return findings


def _explain_regions(labels: Record) -> str:
    if labels["many"] is None or labels["few"] is None:
        return "Many-, medium- and few-shot bins follow the published list."
    return (
        f"Many-shot: more than {labels['many']:,} training samples per bin; few-shot: fewer than "
        f"{labels['few']:,}; medium-shot: between."
    )


def _find_runs(mask: Any) -> list[tuple[int, int]]:
    """Return start and end (exclusive) of each run of true values."""
    steps = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(int)))
    return [(int(a), int(b)) for a, b in zip(steps[::2], steps[1::2], strict=True)]
