"""Section 2: the scores of all methods, and their differences from the baseline."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ranksim._utils.formatting import (
    METRIC_TITLES,
    choose_digits,
    format_count,
    format_percent,
    format_signed,
    join_names,
)
from ranksim.evaluation.findings import describe_losses, find_changes, list_scopes
from ranksim.evaluation.intervals import MIN_SEEDS, excludes_zero, is_significant
from ranksim.evaluation.largest_errors import describe_units
from ranksim.evaluation.region_table import ABOUT_BALANCED, BALANCED_TITLE, find_balanced
from ranksim.evaluation.report import plotting as plot
from ranksim.evaluation.report.page.elements import (
    Bar,
    Record,
    Score,
    ScoreRow,
    ScoreTable,
    Section,
    SweepResults,
    format_number,
)
from ranksim.evaluation.summary import describe_failure, failed_runs, method_key, share_of_failed
from ranksim.evaluation.views import (
    VIEW_TITLES,
    VIEWS,
    explain_test_set,
    explain_views,
    read_view_counts,
    title_of_all,
)

_MAX_PANELS, _WIDE_PANELS = 6, 4  # regions in the picture; up to four have one-line titles
_FURTHER = ("ccc", "sera", "crps", "pinball")  # scores that only some runs and regions have
_METRICS = ("mse", "mae", "gm", "pearson", "spearman", *_FURTHER)
_ERRORS = ("mse", "mae", "gm", "sera", "crps", "pinball")  # lower is better
_EXTREME, _FEW_EFFECTS = 4.0, 4  # times the median change of at least that many rows
_EDGE = 0.96  # of the axis, where the arrow of a mean outside is drawn
_OUTLIER = 3.0  # times the median interval: wider ones are cut at the edge of their cell
Effect = tuple[float, float | None, float | None]  # relative change, low, high
Interval = tuple[float, float]
Place = tuple[str, str]  # test and a region, or views and a test view
_MARKS = "✓ surely better and ✗ surely worse, corrected for the number of methods."


def scores_section(sweep: SweepResults) -> tuple[Section, list[ScoreTable]]:
    """Return section 2, which draws the changes of the main error, and one table per metric."""
    tables = [
        _score_table(sweep, metric)
        for metric in dict.fromkeys((*sweep.headline, *_METRICS))
        if any(cell.get(metric, {}).get("n") for row in sweep.rows for cell in row["test"].values())
    ]
    pictures = []
    if changes := _relative_changes(sweep):
        names = [
            row["method"] + " (failed)" * bool(row["failed"] and not row["seeds"])
            for row in sweep.compared
        ]
        pictures.append(_draw_changes(names, changes, sweep))
    title = "Scores and differences from the baseline"
    findings, note = _describe_scores(sweep), _explain_table(sweep)
    return Section("methods", title, findings, pictures, note=note), tables


def _widest_interval(effect: Record) -> Interval | None:
    """Return the interval over seeds and samples if present, else that over seeds, else None."""
    interval: Interval | None = effect.get("ci_total") or effect.get("ci_seeds")
    return interval


def _draw_changes(
    methods: Sequence[str], changes: Mapping[str, Sequence[Effect | None]], sweep: SweepResults
) -> plot.Picture:
    """Draw relative changes from the baseline: one row per method, one panel per region."""
    is_narrow = len(changes) > _WIDE_PANELS
    headings = [title_of_all(sweep.test_set) if region == "all" else region for region in changes]
    titles = [plot.shorten(heading, 22) for heading in headings]
    titles = [textwrap.fill(title, 14) for title in titles] if is_narrow else titles
    head = 0.26 + 0.13 * max(title.count("\n") for title in titles)
    height = 0.165 * len(methods) + 0.59 + head
    places = np.arange(len(methods), dtype=float)[::-1]
    change = f"change of test {sweep.error_name} from {plot.shorten(str(sweep.baseline))}"

    def paint(figure: Any) -> None:
        axes = figure.subplots(1, len(changes), sharey=True, squeeze=False)[0]
        figure.subplots_adjust(
            left=0.225, right=0.975, bottom=0.5 / height, top=1 - head / height, wspace=0.12
        )
        is_cut = False
        for axis, title, (region, effects) in zip(axes, titles, changes.items(), strict=True):
            axis.axvline(0, color=plot.INK, linewidth=0.8)
            drawn = [effect for effect in effects if effect is not None]
            reach = _axis_reach(drawn)
            is_cut = is_cut or any(abs(effect[0]) > reach for effect in drawn)
            for place, effect in zip(places, effects, strict=True):
                if effect is not None:
                    _draw_effect(axis, place, effect, reach)
            axis.set_title(title, color=plot.REGION_COLORS.get(region, plot.INK))
            axis.set_xlim(-reach, reach)
            tick = _round_down((0.65 if is_narrow else 0.75) * reach)
            plot.finish_axes(axis)
            axis.set_xticks([-tick, tick] if is_narrow else [-tick, 0, tick])
            axis.xaxis.set_major_formatter(_format_change)
            axis.grid(axis="y", color=plot.LINE, linewidth=0.6)
        axes[0].set_yticks(places, [plot.shorten(name, 34) for name in methods])
        axes[0].set_ylim(-0.7, len(methods) - 0.3)
        axes[0].tick_params(axis="y", labelcolor=plot.INK)
        note = f"{change}; left is better; 95\u202f% intervals over {_interval_source(sweep)}"
        note += "; arrows: outside" * is_cut
        figure.text(0.5, 0.01, note, ha="center", va="bottom", color=plot.GRAY, fontsize=7)

    description = f"Relative {change} by method and region, with 95\u202f% intervals."
    return plot.render_picture("02-change", description, (plot.WIDTH, height), paint)


def _draw_effect(axis: Any, place: float, effect: Effect, reach: float) -> None:
    """Draw a mean and its interval, or an arrow at the end of the axis if the mean is outside."""
    (mean, low, high), color = effect, plot.GRAY
    if low is not None and high is not None:
        color = plot.BETTER if high < 0 else plot.WORSE if low > 0 else plot.GRAY
        axis.plot([low, high], [place, place], color=color, alpha=0.5, linewidth=2)
    marker = "o" if abs(mean) <= reach else ">" if mean > 0 else "<"
    inside = min(max(mean, -_EDGE * reach), _EDGE * reach) if marker != "o" else mean
    axis.plot(inside, place, marker, color=color, markersize=3.6)


def _axis_reach(effects: Sequence[Effect]) -> float:
    """Return the limit of a symmetric axis that shows all but extreme means and intervals.

    A constant or a linear model as a row may be many times as far from the baseline as the others.
    """
    if not effects:
        return 0.1
    sizes = np.abs([effect[0] for effect in effects])
    usual = sizes <= _EXTREME * np.median(sizes) if len(sizes) >= _FEW_EFFECTS else sizes >= 0
    effects = [effect for effect, is_usual in zip(effects, usual, strict=True) if is_usual]
    ends = np.abs([end for effect in effects for end in effect[1:] if end is not None] or [0.0])
    means = max(float(sizes[usual].max(initial=0.0)), 0.01)
    widest = min(float(ends.max()), 2 * float(np.quantile(ends, 0.75)))
    return max(1.1 * means, min(1.05 * widest, 5 * means))


def _round_down(value: float) -> float:
    """Round a positive number down to one significant digit, or to 1.5 times a power of ten."""
    power = 10.0 ** math.floor(math.log10(value))
    digits = [1, 1.5, 2, 3, 4, 5, 6, 7, 8, 9]
    return float(f"{max(d for d in digits if d <= value / power * (1 + 1e-9)) * power:.2g}")


def _format_change(value: float, _: int) -> str:
    if abs(value) < 1e-9:
        return "0"
    return format_percent(value, digits=0 if abs(value) >= 0.00999 else 1)


def _effect(row: Record, place: Place, metric: str) -> Record | None:
    part, name = place
    comparison = (row.get("vs_baseline") or {}).get(part, {})
    effect: Record | None = comparison.get(name, {}).get(metric)
    return effect if effect and effect["mean"] is not None else None


def _main_effects(sweep: SweepResults) -> dict[str, Record]:
    """Return each method's difference from the baseline in the main error, over all samples."""
    effects = {row["method"]: _effect(row, ("test", "all"), sweep.error) for row in sweep.compared}
    return {method: effect for method, effect in effects.items() if effect}


def _relative_changes(sweep: SweepResults) -> dict[str, list[Effect | None]]:
    """Return, for each region, the relative change of the main error of each compared method."""
    changes = {
        region: [_relative_effect(row, region, sweep.error) for row in sweep.compared]
        for region in sweep.regions
        if region != "seen"
    }
    present = [item for item in changes.items() if any(effect for effect in item[1])]
    return dict(present[:_MAX_PANELS])


def _relative_effect(row: Record, region: str, metric: str) -> Effect | None:
    effect = _effect(row, ("test", region), metric)
    if effect is None or not effect["relative"]:
        return None if effect is None or effect["mean"] else (0.0, None, None)
    base, interval = effect["mean"] / effect["relative"], _widest_interval(effect)
    if interval is None:
        return effect["relative"], None, None
    return effect["relative"], interval[0] / base, interval[1] / base


def _score_table(sweep: SweepResults, metric: str) -> ScoreTable:
    """Return the table of a metric, with the mean over label bins if there is one."""
    regions = [
        region
        for region in sweep.regions
        if metric not in _FURTHER
        or any(metric in row["test"].get(region, {}) for row in sweep.rows)
    ]
    balanced = f"balanced_{metric}"
    is_balanced = any(find_balanced(row["test"], [metric]) for row in sweep.rows)
    means = [_cell(row, ("test", "all"), metric)["mean"] for row in sweep.rows]
    digits = choose_digits(metric, means)
    reach = {region: _cell_reach(sweep, ("test", region), metric) for region in regions}
    figures = [(row.get("published") or {}).get(metric, {}) for row in sweep.rows]
    published = [r for r in regions if any(r in row for row in figures)]
    rows = [
        ScoreRow(
            row["method"],
            _describe_row(sweep, row, metric, digits),
            method_key(row) == sweep.baseline,
            [
                *(_score(row, ("test", r), metric, digits, reach[r]) for r in regions),
                *[_score(row, ("test", "all"), balanced, digits, 0.0)] * is_balanced,
            ],
            [Score(printed.get(r), _format_score(printed.get(r), digits)) for r in published],
            _describe_failed_runs(sweep, row),
        )
        for row, printed in zip(sweep.rows, figures, strict=True)
    ]
    columns = []
    for region in regions:
        cells = [_cell(row, ("test", region), "n")["mean"] for row in sweep.rows]
        counts = [n for n in cells if n is not None]
        heading = title_of_all(sweep.test_set) if region == "all" else region
        columns.append((region, f"{counts[0]:,.0f}" if counts else "", heading))
    columns += [("balanced", "", BALANCED_TITLE)] * is_balanced
    direction = "lower" if metric in _ERRORS else "higher"
    title = METRIC_TITLES[metric][0]
    return ScoreTable(metric, title, direction, columns, published, rows)


def views_table(sweep: SweepResults) -> ScoreTable | None:
    """Return the table of the main error in each test view; None without views."""
    rows = [row for row in sweep.rows if row.get("views")]
    if not rows:
        return None
    metric = sweep.error
    digits = choose_digits(metric, [row["views"][v][metric]["mean"] for row in rows for v in VIEWS])
    reach = {view: _cell_reach(sweep, ("views", view), metric) for view in VIEWS}
    scored = [
        ScoreRow(
            row["method"],
            "",
            method_key(row) == sweep.baseline,
            [_score(row, ("views", view), metric, digits, reach[view]) for view in VIEWS],
            (),
            "",
        )
        for row in rows
    ]
    title = f"Test {sweep.error_name} by the labels of the test data"
    columns = [(view, "", VIEW_TITLES[view]) for view in VIEWS]
    return ScoreTable("views", title, "lower", columns, (), scored)


def explain_views_table(sweep: SweepResults) -> str:
    """Say how to read the table of views."""
    counts = read_view_counts(sweep.labels)
    return "" if counts is None else f"{explain_views(counts)} {_MARKS}"


def _cell(row: Record, place: Place, metric: str) -> Record:
    part, name = place
    return row[part].get(name, {}).get(metric) or {"mean": None, "sd": None}


def _score(row: Record, place: Place, metric: str, digits: int, reach: float) -> Score:
    cell, effect = _cell(row, place, metric), _effect(row, place, metric)
    interval = _widest_interval(effect) if effect else None
    bar, mark = None, ""
    if effect and interval and reach:
        kind = "unsure"
        if _is_judged(effect) and excludes_zero(interval):
            kind = "better" if (interval[0] < 0) == (metric in _ERRORS) else "worse"
        if is_significant(effect):
            mark = "✓" if (effect["mean"] < 0) == (metric in _ERRORS) else "✗"
        relative = f" ({format_percent(effect['relative'])})" if effect["relative"] else ""
        low, high = (format_signed(end, digits) for end in interval)
        change = format_signed(effect["mean"], digits)
        text = f"{change}{relative}, 95\u202f% interval {low} to {high}"
        places = 50 + 50 * np.clip(np.divide((effect["mean"], *interval), reach), -1, 1)
        mean, start, end = (round(float(place), 1) for place in places)
        bar = Bar(mean, start, end, kind, text)
    sd = "" if cell["sd"] is None else f"{cell['sd']:.{digits}f}"
    return Score(cell["mean"], _format_score(cell["mean"], digits), sd, bar, mark)


def _cell_reach(sweep: SweepResults, place: Place, metric: str) -> float:
    """Return the change that a full-width bar in one table column stands for."""
    effects = filter(None, (_effect(row, place, metric) for row in sweep.rows))
    ends = [max(map(abs, interval)) for effect in effects if (interval := _widest_interval(effect))]
    finite = [end for end in ends if math.isfinite(end)]
    return float(min(max(finite), _OUTLIER * np.median(finite)) * 1.05) if finite else 0.0


def _format_score(value: float | None, digits: int) -> str:
    if value is None:
        return "–"
    return format_number(value) if abs(value) >= 1e6 else format_signed(value, digits, "")


def _describe_scores(sweep: SweepResults) -> list[str]:
    base = sweep.baseline
    if not sweep.ranked or base is None:
        return ["No run finished."]
    lowest = sweep.ranked[0]
    finding = f"Over all test samples the mean {sweep.error_name} is lowest for {lowest}, "
    finding += format_number(sweep.mean_score(lowest))
    if lowest != base:
        finding += f"; the baseline {base} has {format_number(sweep.mean_score(base))}"
        if losses := _describe_losses(sweep, lowest):
            finding += f"; {lowest} {losses}"
    if (sweep.content.get("conclusion") or {}).get("headline"):
        return [f"{finding}."]
    effects = _main_effects(sweep)
    intervals = {m: effect for m, effect in effects.items() if _widest_interval(effect)}
    if not intervals:
        reason = "There are no intervals to judge whether differences are chance."
        if len(sweep.seeds) < 2 and effects:
            reason = f"One seed gives no interval: at least {MIN_SEEDS} seeds are needed."
        return [f"{finding}.", reason]
    if not any(map(_is_judged, intervals.values())):
        sentences = [f"Two seeds are too few to compare methods: at least {MIN_SEEDS} are needed."]
    else:
        sentences = list(_describe_intervals(intervals, base))
    return [f"{finding}.", *sentences, *_describe_needed_seeds(intervals)]


def _describe_losses(sweep: SweepResults, method: str) -> str:
    """Describe where a method has a larger error than the baseline."""
    row = next(row for row in sweep.rows if method_key(row) == method)
    scopes = list_scopes(sweep.rows, sweep.labels)
    changes = find_changes(method, row.get("vs_baseline") or {}, scopes, sweep.error)
    return describe_losses(changes)


def _describe_intervals(effects: Mapping[str, Record], base: str) -> Iterator[str]:
    intervals = {m: _widest_interval(effect) or (0.0, 0.0) for m, effect in effects.items()}
    below = [m for m, (_, high) in intervals.items() if high < 0]
    above = [m for m, (low, _) in intervals.items() if low > 0]
    yield (
        f"Of {format_count(len(effects), 'method')} other than {base}, the 95\u202f% interval of "
        f"the change is below zero for {_count_names(below)} and above zero for "
        f"{_count_names(above)}."
    )
    if below and any(effect.get("ci_adjusted") for effect in effects.values()):
        remaining = [m for m in below if is_significant(effects[m])]
        yield (
            f"Corrected for {format_count(len(effects), 'comparison')}, it is below zero for "
            f"{_count_names(remaining)}."
        )


def _describe_needed_seeds(effects: Mapping[str, Record]) -> Iterator[str]:
    """Yield a sentence on the three methods that need the fewest seeds to confirm a change."""
    needed = sorted(
        (effect["seeds_needed"], method)
        for method, effect in effects.items()
        if effect.get("seeds_needed") and not is_significant(effect)
    )
    if needed:
        seeds = join_names(f"{count:,} for {method}" for count, method in needed[:3])
        yield f"Seeds needed to confirm changes of this size, approximately: {seeds}."


def _count_names(names: Sequence[str]) -> str:
    return f"{len(names)} ({join_names(names, 3)})" if names else "none"


def _explain_table(sweep: SweepResults) -> str:
    sentences = ["Mean ± standard deviation over seeds."]
    if sweep.compared:
        sentences.append(
            f"Bars: change from {sweep.baseline}, with no change in the middle, and 95\u202f% "
            f"intervals over {_interval_source(sweep)}. Green is better and red worse, each by "
            "itself, so that some of many are chance; gray may be chance. The scale of the bars "
            "differs between columns."
        )
    if any(effect.get("ci_adjusted") for effect in _main_effects(sweep).values()):
        sentences.append(_MARKS)
    if sweep.test_set is not None:
        sentences.append(explain_test_set(sweep.test_set))
    if any(find_balanced(row["test"], [sweep.error]) for row in sweep.rows):
        sentences.append(f"{ABOUT_BALANCED[0].upper()}{ABOUT_BALANCED[1:]}")
    if note := sweep.content.get("published_note"):
        sentences.append(f"{note[0].upper()}{note[1:]}.")
    return " ".join(sentences)


def _interval_source(sweep: SweepResults) -> str:
    has_total = any(effect.get("ci_total") for effect in _main_effects(sweep).values())
    if not has_total:
        return "paired seeds"
    units = describe_units(sweep.content)
    fixed = [bool(row["vs_baseline"].get("fitted_once")) for row in sweep.compared]
    if all(fixed):
        return f"{units} alone, as these methods need no seed"
    return f"seeds and {units}" + f" ({units} alone if neither needs a seed)" * any(fixed)


def _is_judged(effect: Record) -> bool:
    """Return True if a difference has enough seeds, or is of methods that need none."""
    return effect["n"] >= MIN_SEEDS or effect.get("ci_adjusted") is not None


def _describe_row(sweep: SweepResults, row: Record, metric: str, digits: int) -> str:
    notes = [f"the same as {row['alias_of']}"] if row.get("alias_of") else []
    if row.get("fitted_once"):
        notes.append("does not depend on a seed")
    elif len(row["seeds"]) < len(sweep.seeds):
        notes.append(format_count(len(row["seeds"]), "seed"))
    if ensemble := row.get("ensemble"):
        scores = [
            f"{_format_score(ensemble[region][metric], digits)} in {title}"
            for region, title in (("all", title_of_all(sweep.test_set)), ("few", "few"))
            if region in ensemble and ensemble[region].get(metric) is not None
        ]
        notes += [f"mean of seeds: {join_names(scores)}"] if scores else []
    return ", ".join(notes)


def _describe_failed_runs(sweep: SweepResults, row: Record) -> str:
    failed = failed_runs(sweep.failed, row)
    if not failed:
        return ""
    causes = join_names(dict.fromkeys(map(describe_failure, failed)), 2)
    return f"{share_of_failed(failed, row)}failed: {causes}"
