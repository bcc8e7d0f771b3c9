"""Sections 3 and 4: error along the label axis, and in the gaps of the training labels."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_count, join_names
from ranksim.evaluation.report import plotting as plot
from ranksim.evaluation.report.page.elements import DataTable, Section, format_number
from ranksim.evaluation.report.page.sweep_results import (
    SweepResults,
    list_commands,
    seed_mean,
    to_floats,
)

_MAX_GROUPS, _MIN_SAMPLES = 30, 5  # groups of bins, and test samples in each
_PANEL = (0.075, 0.71)  # left and width of a panel whose curves are named at its right
Errors = Mapping[str, plot.Floats]  # by method


class Gaps(NamedTuple):
    """The errors of one sweep in the gaps of its training labels, by distance."""

    sweep: SweepResults
    title: str
    edges: plot.Floats
    counts: NDArray[np.int64]
    errors: Errors


def error_section(sweep: SweepResults) -> Section:
    """Return the error of each method in groups of label bins."""
    slug, title = "error", "Error along the label axis"
    results = sweep.results_with("error_by_bin")
    if sweep.labels is None or not results:
        missing = "This results.json has no errors per label bin; section 1 says how to get them."
        return Section(slug, title, missing=missing)
    counts = np.asarray(next(iter(results.values()))[0]["error_by_bin"]["n"])
    train, edges = np.asarray(sweep.labels["train"]), sweep.edges
    starts, ends = np.array(group_bins(counts)).T
    num_test = np.add.reduceat(counts, starts)
    x = np.add.reduceat((edges[:-1] + edges[1:]) / 2 * counts, starts) / num_test
    errors = {}
    for method, group in results.items():
        by_bin = [to_floats(result["error_by_bin"][sweep.error]) for result in group]
        sums = [np.where(counts > 0, values * counts, 0.0) for values in by_bin]
        errors[method] = seed_mean([np.add.reduceat(row, starts) / num_test for row in sums])
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
        (_draw_errors(sweep, x, errors),),
        tables=(DataTable.from_columns("error", heading, columns),),
        note="Each point is the mean over seeds and over the test samples of a group of bins"
        f"{sweep.describe_background()}. Points have no intervals: groups with few test samples "
        "vary by chance.",
    )


def gaps_section(sweep: SweepResults, others: Sequence[SweepResults]) -> Section:
    """Return the error in gaps by distance, of this sweep and others of the same benchmark."""
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
    """Merge neighboring bins with these test samples, ``(K,)``, until each group has enough.

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


def _draw_errors(sweep: SweepResults, x: plot.Floats, errors: Errors) -> plot.Picture:
    labels = sweep.labels or {}
    curves = [sweep.curve(method, x, errors[method]) for method in sweep.focus if method in errors]

    def paint(figure: Any) -> None:
        axis = figure.add_axes((_PANEL[0], 0.135, _PANEL[1], 0.775))
        plot.draw_counts(axis, sweep.edges, np.asarray(labels["train"]), labels["regions"])
        axis.set_xlim(sweep.edges[0], sweep.edges[-1])
        _draw_panel(axis, curves, f"Test {sweep.error_name}, with training samples per bin")
        axis.set_xlabel(plot.shorten(sweep.quantity))

    description = (
        f"Test {sweep.error_name} of each method along the label axis. Pale bars: training samples "
        "in each bin, colored by region."
    )
    return plot.render_picture("03-error", description, (plot.WIDTH, 3.5), paint)


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
    """Compare the groups of bins, by their spans and training samples per bin."""
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
    """Return the sweep's command with one fifth of the label range dropped from training."""
    command, span = re.sub(r" --drop-labels \S+", "", sweep.command), "LOW-HIGH"
    if sweep.labels is not None:
        edges, k = sweep.edges, len(sweep.edges) - 1
        span = f"{edges[k * 2 // 5]:.4g}-{edges[-(-k * 3 // 5)]:.4g}"
    return f"{command} --drop-labels {span}"
