"""Parts 3 and 4: error along the label axis, and inside the gaps of the training labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.evaluation.report.figures.axes import Curve
from ranksim.evaluation.report.figures.errors import along_figure, gaps_figure
from ranksim.evaluation.report.page.parts import DataTable, Section, count, format_number, listed
from ranksim.evaluation.report.page.sweep import Sweep, commands, score_name, seed_mean

_GROUPS, _LEAST = 30, 5  # at most so many groups of bins, of at least so many test samples
_ALONG, _GAPS = "Where the error is", "On labels that were never seen"


def along_part(sweep: Sweep) -> Section:
    """Error of each method in groups of label bins."""
    runs = sweep.having("error_by_bin")
    if sweep.labels is None or not runs:
        return Section(
            "error",
            _ALONG,
            (),
            missing="This results.json holds no error by label bin: part 1 says how to have it.",
        )
    counts = np.asarray(next(iter(runs.values()))[0]["result"]["error_by_bin"]["n"])
    groups = group_bins(counts)
    centres = (sweep.edges[:-1] + sweep.edges[1:]) / 2
    x = np.array([np.average(centres[a:b], weights=counts[a:b]) for a, b in groups])
    errors = {
        method: seed_mean(
            [_grouped(run["result"]["error_by_bin"][sweep.error], counts, groups) for run in own]
        )
        for method, own in runs.items()
    }
    train = np.asarray(sweep.labels["train"])
    sheet = DataTable(
        "error",
        f"{score_name(sweep.error)} of each method in groups of label bins",
        ("from", "to", "test samples", "training samples", *errors),
        [
            (
                float(sweep.edges[a]),
                float(sweep.edges[b]),
                int(counts[a:b].sum()),
                int(train[a:b].sum()),
                *(float(values[g]) for values in errors.values()),
            )
            for g, (a, b) in enumerate(groups)
        ],
    )
    curves = [_curve(sweep, method, x, errors[method]) for method in sweep.focus if method in runs]
    return Section(
        "error",
        _ALONG,
        _along_told(sweep, errors, groups, counts, train),
        (along_figure(curves, sweep.labels, sweep.quantity, score_name(sweep.error)),),
        sheets=(sheet,),
        note="Each point is the mean over seeds and over the test samples of a group of bins"
        + _background(sweep)
        + ". Points carry no interval: a group of few test samples moves by chance.",
    )


def gaps_part(sweep: Sweep, more: Sequence[Sweep]) -> Section:
    """Error inside gaps by distance, of this sweep and of others on the same benchmark."""
    panels: list[Any] = []
    sheets: list[DataTable] = []
    told: list[str] = []
    drawn: list[Sweep] = []
    for other in (sweep, *more):
        runs = other.having("gaps")
        if not runs:
            continue
        drawn.append(other)
        name = "" if other is sweep else other.results.get("command", "")
        first = next(iter(runs.values()))[0]["result"]["gaps"]
        edges, counts = np.asarray(first["distance"]), np.asarray(first["n"])
        x = (edges[:-1] + edges[1:]) / 2
        errors = {
            m: seed_mean([run["result"]["gaps"][other.error] for run in own])
            for m, own in runs.items()
        }
        curves = []
        for method in other.focus:
            if method in runs:
                curve = _curve(other, method, x, errors[method])
                keep = np.isfinite(curve.y)
                curves.append(
                    Curve(curve.name, curve.colour, curve.x[keep], curve.y[keep], curve.width)
                )
        dropped = (other.labels or {}).get("dropped") or []
        where = f", {', '.join(dropped)} dropped" if dropped else ""
        title = f"Test {score_name(other.error)} on labels never seen in training{where}"
        panels.append((title, curves, edges, counts))
        sheets.append(
            DataTable(
                "gaps" if other is sweep else f"gaps-{len(sheets)}",
                title + (f" ({name})" if name else ""),
                ("distance from", "to", "test samples", *errors),
                [
                    (
                        float(edges[g]),
                        float(edges[g + 1]),
                        int(counts[g]),
                        *(float(values[g]) for values in errors.values()),
                    )
                    for g in range(len(counts))
                ],
            )
        )
        told += _gaps_told(other, errors, edges, counts, where)
    if not panels:
        return Section(
            "gaps",
            _GAPS,
            (
                "No test sample lies in a bin without training samples: there is no gap to look "
                "into.",
            )
            if sweep.labels is not None
            else (),
            missing="To see how each method does on labels it never saw, keep training from some "
            "(into a folder of its own):",
            commands=(_dropping(sweep),),
        )
    return Section(
        "gaps",
        _GAPS,
        told,
        (gaps_figure(panels, score_name(sweep.error)),),
        sheets=sheets,
        commands=commands(more) if more else (),
        note="A mean over seeds and over the test samples at that distance"
        + _background(max(drawn, key=lambda each: len(each.methods)))
        + "; groups of few samples move by chance.",
    )


def group_bins(counts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Neighbouring bins together until each group has enough test samples; from and behind.

    Args:
        counts: test samples in each bin, shape ``(K,)``.

    Example:
        >>> group_bins(np.array([4, 4, 0, 9, 1]))
        [(0, 2), (2, 5)]
    """
    least = max(_LEAST, -(-int(counts.sum()) // _GROUPS))
    groups, start, held = [], 0, 0
    for k, n in enumerate(counts):
        held += int(n)
        if held >= least:
            groups.append((start, k + 1))
            start, held = k + 1, 0
    if held and groups:
        groups[-1] = (groups[-1][0], len(counts))
    elif held:
        groups.append((0, len(counts)))
    return groups


def _grouped(
    values: Sequence[float | None], counts: NDArray[np.int64], groups: Sequence[tuple[int, int]]
) -> list[float | None]:
    known = np.array([np.nan if v is None else v for v in values], dtype=np.float64)
    sums = np.where(counts > 0, known * counts, 0.0)
    return [float(sums[a:b].sum() / counts[a:b].sum()) for a, b in groups]


def _curve(sweep: Sweep, method: str, x: Any, y: Any) -> Curve:
    named = method in sweep.coloured
    width = 2.2 if method == sweep.baseline else 1.6
    return Curve(method if named else "", sweep.colours[method], x, y, width)


def _background(sweep: Sweep) -> str:
    left = len(sweep.methods) - len(sweep.coloured)
    if not left:
        return ""
    return f" ({count(left, 'other method')} in the background, pale green with RankSim)"


def _along_told(sweep: Sweep, errors: Any, groups: Any, counts: Any, train: Any) -> list[str]:
    base = errors.get(sweep.baseline)
    if base is None or not np.isfinite(base).any():
        return []
    name = score_name(sweep.error)
    densities = np.array([train[a:b].sum() / (b - a) for a, b in groups])
    spans = [
        f"{format_number(float(sweep.edges[a]))} to {format_number(float(sweep.edges[b]))}"
        for a, b in groups
    ]
    worst, best = int(np.nanargmax(base)), int(np.nanargmin(base))
    told = [
        f"{sweep.baseline} errs most from {spans[worst]} ({name} {format_number(float(base[worst]))}; "
        f"{format_number(round(float(densities[worst]), 1))} training samples a bin) and least from "
        f"{spans[best]} ({format_number(float(base[best]))}; "
        f"{format_number(round(float(densities[best]), 1))} a bin)."
    ]
    lower = [
        f"{method} in {int((values < base).sum())}"
        for method, values in errors.items()
        if method != sweep.baseline and method in sweep.coloured
    ]
    if lower:
        told.append(
            f"Of {count(len(groups), 'group')} of bins, the mean error is below that of "
            f"{sweep.baseline} for {listed(lower, 6)}; that counts places, not certainty."
        )
    return told


def _gaps_told(sweep: Sweep, errors: Any, edges: Any, counts: Any, where: str) -> list[str]:
    told = [
        f"{count(int(counts.sum()), 'test sample')} lie in bins without a training sample, up to "
        f"{format_number(float(edges[-1]))} from the nearest label that training saw{where}."
    ]
    known = [g for g in range(len(counts)) if counts[g]]
    base = errors.get(sweep.baseline)
    if base is not None and len(known) > 1:
        near, far = known[0], known[-1]
        told.append(
            f"The {score_name(sweep.error)} of {sweep.baseline} goes from "
            f"{format_number(float(base[near]))} nearest to {format_number(float(base[far]))} farthest away."
        )
        lowest = min(errors, key=lambda m: _or_inf(errors[m][far]))
        told.append(
            f"Farthest away ({count(int(counts[far]), 'sample')}) the mean of {lowest} is lowest, "
            f"{format_number(float(errors[lowest][far]))}."
        )
    return told


def _or_inf(value: float) -> float:
    return float(value) if np.isfinite(value) else float("inf")


def _dropping(sweep: Sweep) -> str:
    """The sweep's command with a fifth of the label range left out of training."""
    command = re.sub(r" --drop-labels \S+", "", sweep.results.get("command", ""))
    span = "LOW-HIGH"
    if sweep.labels is not None:
        edges = sweep.edges
        k = len(edges) - 1
        span = f"{edges[k * 2 // 5]:.4g}-{edges[-(-k * 3 // 5)]:.4g}"
    return f"{command} --drop-labels {span}"
