"""Sections 1, 3 and 4: the label distribution, errors by label, and errors in label gaps."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_count, format_percent, join_names
from ranksim.evaluation.report import plotting as plot
from ranksim.evaluation.report.page.elements import (
    DataTable,
    Record,
    Section,
    SweepResults,
    format_number,
    list_commands,
    missing_section,
    seed_mean,
    to_floats,
)
from ranksim.exceptions import require_optional
from ranksim.imbalance.bins import LabelRange, parse_ranges

_LOG_RATIO = 60  # of the fullest bin to the median one, for a logarithmic axis
Spans = Sequence[tuple[float, float]]
_MAX_GROUPS, _MIN_SAMPLES = 30, 5  # groups of bins, and test samples in each
_PANEL = (0.075, 0.71)  # left and width of a panel whose curves are named at its right
Errors = Mapping[str, plot.Floats]  # by method


class Gaps(NamedTuple):
    """A sweep's errors on labels unseen in training, by distance to the nearest seen label."""

    sweep: SweepResults
    title: str
    edges: plot.Floats
    counts: NDArray[np.int64]
    errors: Errors


def labels_section(sweep: SweepResults) -> Section:
    """Return section 1: the label histogram, the share of each region and the empty bins."""
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
    unseen = find_unseen(labels)
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
    """Draw training labels as a histogram in region colors, and test labels as an outline."""
    height = 2.75 + 0.2 * len(labels["named"])

    def paint(figure: Any) -> None:
        top = (0.42 + 0.2 * len(labels["named"])) / height
        axis = figure.add_axes((0.075, 0.42 / height, 0.915, 1 - top - 0.42 / height))
        paint_labels(axis, labels, unseen)
        has_unseen = bool(unseen or labels["dropped"])
        _draw_legend(figure, labels["regions"], axis.get_yscale() == "log", has_unseen)

    description = (
        "Bars: training samples in each label bin, colored by region. Outline: test samples. "
        "Hatched: labels without training samples."
    )
    return plot.render_picture("01-labels", description, (plot.WIDTH, height), paint)


def paint_labels(axis: Any, labels: Record, unseen: Spans) -> None:
    """Draw the histogram of :func:`draw_labels` on an axis."""
    edges = np.asarray(labels["edges"], dtype=np.float64)
    train, test = np.asarray(labels["train"]), np.asarray(labels["test"])
    is_log = bool(train.any() and train.max() > _LOG_RATIO * np.median(train[train > 0]))
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
    for text in labels["dropped"]:
        for span in parse_ranges(text):
            _mark_dropped(axis, text, span)
    plot.finish_axes(axis)
    axis.minorticks_off()
    unit = f" ({plot.shorten(labels['unit'])})" if labels["unit"] else ""
    axis.set_xlabel(plot.shorten(labels["name"]) + unit)
    height = axis.figure.get_figheight() * axis.get_position().height
    for i, (name, (low, high)) in enumerate(labels["named"].items()):
        plot.draw_bracket(axis, low, high, 1.05 + 0.2 * i / height, plot.shorten(name))


def find_unseen(labels: Record) -> list[tuple[float, float]]:
    """Return the ranges of labels without training samples."""
    edges = np.asarray(labels["edges"], dtype=np.float64)
    runs = _find_runs(np.asarray(labels["train"]) == 0)
    return [(float(edges[a]), float(edges[b])) for a, b in runs]


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
    """Return (start, end) of each contiguous stretch of true values; the end is exclusive."""
    steps = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).astype(int)))
    return [(int(a), int(b)) for a, b in zip(steps[::2], steps[1::2], strict=True)]


def error_section(sweep: SweepResults) -> Section:
    """Return section 3: the error of each method in groups of neighboring label bins."""
    slug, title = "error", "Error along the label axis"
    if sweep.labels is None or not sweep.results_with("error_by_bin"):
        return missing_section(slug, title, "errors per label bin")
    starts, ends, num_test, x, errors = group_errors(sweep)
    train, edges = np.asarray(sweep.labels["train"]), sweep.edges
    num_train = np.add.reduceat(train[: ends[-1]], starts)
    columns = {"from": edges[starts], "to": edges[ends], "test samples": num_test}
    columns |= {"training samples": num_train, **errors}
    heading = f"{sweep.error_name} of each method in groups of label bins"
    places = [format_number(edge) for edge in edges]
    spans = [f"{places[a]} to {places[b]}" for a, b in zip(starts, ends, strict=True)]
    return Section(
        slug,
        title,
        list(_describe_errors(sweep, errors, spans, num_train / (ends - starts))),
        (draw_errors(sweep, x, errors),),
        tables=(DataTable.from_columns("error", heading, columns),),
        listing=_list_largest_errors(sweep),
        note="Each point is the mean over seeds and over the test samples of a group of bins"
        f"{sweep.describe_background()}. Points have no intervals: groups with few test samples "
        "vary by chance.",
    )


class GroupedErrors(NamedTuple):
    """The errors of each method in G groups of label bins.

    ``starts`` and ``ends`` are bins ``(G,)``, ``counts`` test samples, ``centers`` their mean bin.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    counts: NDArray[np.int64]
    centers: plot.Floats
    errors: Errors


def group_errors(sweep: SweepResults) -> GroupedErrors:
    """Average the errors of each method over seeds and groups of neighboring label bins."""
    results = sweep.results_with("error_by_bin")
    counts = np.asarray(next(iter(results.values()))[0]["error_by_bin"]["n"])
    edges = sweep.edges
    starts, ends = np.array(group_bins(counts)).T
    num_test = np.add.reduceat(counts, starts)
    x = np.add.reduceat((edges[:-1] + edges[1:]) / 2 * counts, starts) / num_test
    errors = {}
    for method, group in results.items():
        by_bin = [to_floats(result["error_by_bin"][sweep.error]) for result in group]
        sums = [np.where(counts > 0, values * counts, 0.0) for values in by_bin]
        errors[method] = seed_mean([np.add.reduceat(row, starts) / num_test for row in sums])
    return GroupedErrors(starts, ends, num_test, x, errors)


def _list_largest_errors(sweep: SweepResults) -> DataTable | None:
    """Return a table of the test samples with the largest errors; None if they are not known."""
    content = sweep.content.get("largest_errors")
    if not content or not content["samples"]:
        return None
    methods, samples = content["methods"], content["samples"]
    origin = [name for name in samples[0] if name not in ("label", "region", "predictions")]
    if "line" in origin:
        origin.remove("row")
    names = {"line": f"line of {sweep.file}" if sweep.file else "line"}
    columns: dict[str, Any] = {names.get(n, n): [f"{s[n]}" for s in samples] for n in origin}
    columns |= {"label": [float(s["label"]) for s in samples]}
    columns |= {"region": [s["region"] for s in samples]}
    for k, method in enumerate(methods):
        columns[f"prediction of {method}"] = [float(s["predictions"][k]) for s in samples]
    title = f"Largest errors of {methods[0]}, mean prediction over seeds"
    return DataTable.from_columns("largest", title, columns)


def gaps_section(sweep: SweepResults, others: Sequence[SweepResults]) -> Section:
    """Return section 4: errors on labels unseen in training, of this sweep and the others."""
    slug, title = "gaps", "Error on labels without training samples"
    panels = [gaps for each in (sweep, *others) if (gaps := _collect_gaps(each)) is not None]
    if not panels:
        finding = "There is no gap: every test sample lies in a bin with training samples."
        return Section(
            slug,
            title,
            (finding,) if sweep.labels is not None else (),
            missing="To compare methods on labels without training samples, drop some labels from "
            "training (with another output folder):",
            commands=(_drop_command(sweep),),
        )
    tables = []
    for index, (panel_sweep, heading, edges, counts, errors) in enumerate(panels):
        is_main = panel_sweep is sweep
        source = "" if is_main or not panel_sweep.command else f" ({panel_sweep.command})"
        columns = {"distance from": edges[:-1], "to": edges[1:], "test samples": counts, **errors}
        name = "gaps" if is_main else f"gaps-{index}"
        tables.append(DataTable.from_columns(name, heading + source, columns))
    largest = max((panel.sweep for panel in panels), key=lambda each: len(each.methods))
    return Section(
        slug,
        title,
        [finding for panel in panels for finding in _describe_gaps(panel)],
        (_draw_gaps(panels, sweep.error_name),),
        tables=tables,
        commands=list_commands(others),
        note="Means over seeds and over the test samples at that distance"
        f"{largest.describe_background()}; groups with few samples vary by chance.",
    )


def group_bins(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Merge neighboring bins until each group has enough test samples; ``counts`` is ``(K,)``.

    Returns start and end (exclusive) of each group.
    """
    smallest = max(_MIN_SAMPLES, -(-int(counts.sum()) // _MAX_GROUPS))
    ends, samples = [0], 0
    for end, n in enumerate(counts, 1):
        samples += int(n)
        if samples >= smallest:
            ends.append(end)
            samples = 0
    if samples:
        ends[1:] = [*ends[1:-1], len(counts)]
    return list(itertools.pairwise(ends))


def _collect_gaps(sweep: SweepResults) -> Gaps | None:
    results = sweep.results_with("gaps")
    if not results:
        return None
    gaps = next(iter(results.values()))[0]["gaps"]
    errors = {
        method: seed_mean([result["gaps"][sweep.error] for result in group])
        for method, group in results.items()
    }
    suffix = f", {sweep.dropped}" if sweep.dropped else ""
    title = f"Test {sweep.error_name} on labels without training samples{suffix}"
    return Gaps(sweep, title, np.asarray(gaps["distance"]), np.asarray(gaps["n"]), errors)


def draw_errors(sweep: SweepResults, x: plot.Floats, errors: Errors) -> plot.Picture:
    """Draw the error of each method at labels ``x``, and training samples behind."""

    def paint(figure: Any) -> None:
        axis = figure.add_axes((_PANEL[0], 0.135, _PANEL[1], 0.775))
        paint_errors(axis, sweep, x, errors)

    description = (
        f"Test {sweep.error_name} of each method along the label axis. Pale bars: training samples "
        "in each bin, colored by region."
    )
    return plot.render_picture("03-error", description, (plot.WIDTH, 3.5), paint)


def paint_errors(axis: Any, sweep: SweepResults, x: plot.Floats, errors: Errors) -> None:
    """Draw the error of each method at labels ``x``, and training samples behind, on an axis."""
    labels = sweep.labels or {}
    curves = [sweep.curve(method, x, errors[method]) for method in sweep.focus if method in errors]
    plot.draw_counts(axis, sweep.edges, np.asarray(labels["train"]), labels["regions"])
    axis.set_xlim(sweep.edges[0], sweep.edges[-1])
    _draw_panel(axis, curves, f"Test {sweep.error_name}, with training samples per bin")
    axis.set_xlabel(plot.shorten(sweep.quantity))


def _draw_gaps(panels: Sequence[Gaps], error_name: str) -> plot.Picture:
    def paint(figure: Any) -> None:
        share = 1 / len(panels)
        for i, (sweep, title, edges, counts, errors) in enumerate(panels):
            bottom = (len(panels) - 1 - i + 0.16) * share
            axis = figure.add_axes((_PANEL[0], bottom, _PANEL[1], 0.7 * share))
            plot.draw_counts(axis, edges, counts)
            axis.set_xlim(0, edges[-1])
            x = (edges[:-1] + edges[1:]) / 2
            finite = {m: np.isfinite(errors[m]) for m in sweep.focus if m in errors}
            curves = [sweep.curve(m, x[mask], errors[m][mask]) for m, mask in finite.items()]
            _draw_panel(axis, curves, plot.shorten(title, 110))
            axis.set_xlabel("distance to the nearest training label; bars: test samples")

    description = (
        f"Test {error_name} of each method on labels without training samples, by the distance to "
        "the nearest training label. Pale bars: test samples."
    )
    return plot.render_picture("04-gaps", description, (plot.WIDTH, 2.8 * len(panels)), paint)


def _draw_panel(axis: Any, curves: Sequence[plot.Curve], title: str) -> None:
    plot.draw_curves(axis, curves)
    plot.limit_height(axis, np.concatenate([curve.y for curve in curves]))
    axis.set_title(title, pad=8)
    plot.finish_axes(axis)
    plot.label_curves(axis, curves)


def _describe_errors(
    sweep: SweepResults, errors: Errors, spans: Sequence[str], density: plot.Floats
) -> Iterator[str]:
    """Yield sentences that compare errors in groups of bins with the training samples per bin."""
    base = errors.get(sweep.baseline or "")
    if base is None or not np.isfinite(base).any():
        return
    (worst, worst_error, worst_density), (best, best_error, best_density) = (
        (spans[g], format_number(base[g]), format_number(round(float(density[g]), 1)))
        for g in (int(np.nanargmax(base)), int(np.nanargmin(base)))
    )
    yield (
        f"The error of {sweep.baseline} is largest from {worst} ({sweep.error_name} "
        f"{worst_error}; {worst_density} training samples per bin) and smallest "
        f"from {best} ({best_error}; {best_density} per bin)."
    )
    lower = [
        f"{method} in {int((values < base).sum())}"
        for method, values in errors.items()
        if method != sweep.baseline and method in sweep.highlighted
    ]
    if lower:
        yield (
            f"Of {format_count(len(spans), 'group')} of bins, the mean error is lower than that "
            f"of {sweep.baseline} for {join_names(lower, 6)}; these counts do not consider chance."
        )


def _describe_gaps(panel: Gaps) -> Iterator[str]:
    sweep, _, edges, counts, errors = panel
    suffix = f" ({sweep.dropped})" if sweep.dropped else ""
    yield (
        f"{format_count(int(counts.sum()), 'test sample')} lie in bins without training samples, "
        f"up to {format_number(edges[-1])} from the nearest training label{suffix}."
    )
    filled = np.flatnonzero(counts)
    base = errors.get(sweep.baseline or "")
    if base is not None and len(filled) > 1:
        near, far = filled[0], filled[-1]
        lowest = min(errors, key=lambda m: np.nan_to_num(errors[m][far], nan=np.inf))
        yield (
            f"The {sweep.error_name} of {sweep.baseline} is {format_number(base[near])} at the "
            f"smallest distance and {format_number(base[far])} at the largest."
        )
        yield (
            f"At the largest distance ({format_count(int(counts[far]), 'sample')}) the mean is "
            f"lowest for {lowest}, {format_number(errors[lowest][far])}."
        )


def _drop_command(sweep: SweepResults) -> str:
    """Return the sweep's command with ``--drop-labels`` set to a fifth of the label range."""
    command, span = re.sub(r" --drop-labels \S+", "", sweep.command), "LOW-HIGH"
    if sweep.labels is not None:
        edges, k = sweep.edges, len(sweep.edges) - 1
        span = f"{edges[k * 2 // 5]:.4g}-{edges[-(-k * 3 // 5)]:.4g}"
    return f"{command} --drop-labels {span}"
