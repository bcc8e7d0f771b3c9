"""Part 2: every method a row, and how far it lies from the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from ranksim._utils.formatting import (
    MIN_SEEDS,
    choose_digits,
    describe_failure,
    format_percent,
    format_signed,
    is_significant,
)
from ranksim.evaluation.report.figures.errors import Effect, change_figure
from ranksim.evaluation.report.page.parts import (
    Bar,
    Score,
    ScoreRow,
    ScoreTable,
    Section,
    count,
    format_number,
    listed,
)
from ranksim.evaluation.report.page.sweep import ERRORS, METRICS, Record, Sweep, key_of, score_name

_TITLE = "Which method helps, and where"
_PANELS = 6  # regions beside each other in the picture
_WIDE = 3.0  # times the usual: intervals beyond end at the edge of their cell


def table_part(sweep: Sweep) -> tuple[Section, list[ScoreTable]]:
    """The boards, one a score, and the picture of all changes of the error that counts."""
    order = list(dict.fromkeys((*sweep.headline, *METRICS)))
    boards = [_board(sweep, m) for m in order if any(_known(row, m) for row in sweep.rows)]
    changes = _changes(sweep)
    pictures = []
    if changes:
        failed = {row["method"] for row in sweep.rows if row["failed"] and not row["seeds"]}
        rows = [row["method"] for row in _others(sweep)]
        names = [name + " (failed)" * (name in failed) for name in rows]
        told = (
            f"Change of test {score_name(sweep.error)} against {sweep.baseline} by method and "
            "region, with 95\u202f% intervals."
        )
        note = (
            f"change of test {score_name(sweep.error)} against {sweep.baseline}; left is better; "
            f"95\u202f% intervals over {_over(sweep)}"
        )
        pictures.append(change_figure(names, changes, told, note))
    part = Section("methods", _TITLE, _told(sweep), pictures, note=_note(sweep))
    return part, boards


def interval(effect: Record) -> tuple[float | None, float | None]:
    """The widest honest interval there is: over seeds and test samples, else over seeds."""
    for name in ("ci_total", "ci_seeds"):
        if effect.get(name) is not None:
            low, high = effect[name]
            return low, high
    return None, None


def _effect(row: Record, region: str, metric: str) -> Record | None:
    against = (row.get("vs_baseline") or {}).get("test", {}).get(region, {}).get(metric)
    return against if against and against["mean"] is not None else None


def _others(sweep: Sweep) -> list[Record]:
    return [row for row in sweep.rows if row.get("vs_baseline")]


def _known(row: Record, metric: str) -> bool:
    return any(cell.get(metric, {}).get("n") for cell in row["test"].values())


def _board(sweep: Sweep, metric: str) -> ScoreTable:
    regions = [r for r in sweep.regions if any(r in row["test"] for row in sweep.rows)]
    means = [_mean(row, "all", metric) for row in sweep.rows]
    digits = choose_digits(metric if metric != "spearman" else "pearson", means)
    reach = {region: _reach(sweep, region, metric) for region in regions}
    printed = [(row.get("published") or {}).get(metric, {}) for row in sweep.rows]
    published = [r for r in regions if any(r in figures for figures in printed)]
    lines = [
        ScoreRow(
            row["method"],
            _row_told(sweep, row),
            "baseline" if key_of(row) == sweep.baseline else "",
            tuple(_score(row, r, metric, digits, reach[r]) for r in regions),
            tuple(Score(figures.get(r), _number(figures.get(r), digits)) for r in published),
            _fault(sweep, row),
        )
        for row, figures in zip(sweep.rows, printed, strict=True)
    ]
    counts = [_samples(sweep, region) for region in regions]
    better = "lower" if metric in ERRORS else "higher"
    return ScoreTable(
        metric,
        score_name(metric),
        better,
        list(zip(regions, counts, strict=True)),
        published,
        lines,
    )


def _score(row: Record, region: str, metric: str, digits: int, reach: float) -> Score:
    cell = row["test"].get(region, {}).get(metric) or {"mean": None, "sd": None}
    effect = _effect(row, region, metric)
    low, high = interval(effect) if effect else (None, None)
    bar, sure = None, False
    if effect and low is not None and high is not None and reach:
        sign = 1 if metric in ERRORS else -1
        kind = "better" if sign * high < 0 and sign * low < 0 else "unsure"
        kind = "worse" if sign * low > 0 and sign * high > 0 else kind
        kind = kind if effect["n"] >= MIN_SEEDS else "unsure"
        sure = is_significant(effect)
        told = (
            f"{format_signed(effect['mean'], digits)}{_relative(effect)}, 95\u202f% interval "
            f"{format_signed(low, digits)} to {format_signed(high, digits)}"
        )
        mid, start, end = (
            round(50 + 50 * min(max(v / reach, -1), 1), 1) for v in (effect["mean"], low, high)
        )
        bar = Bar(mid, start, end, kind, told)
    sd = "" if cell["sd"] is None else f"{cell['sd']:.{digits}f}"
    return Score(cell["mean"], _number(cell["mean"], digits), sd, bar, sure)


def _reach(sweep: Sweep, region: str, metric: str) -> float:
    """The change at the edge of a cell, the same in a column."""
    ends = []
    for row in sweep.rows:
        if effect := _effect(row, region, metric):
            low, high = interval(effect)
            ends += [] if low is None or high is None else [max(abs(low), abs(high))]
    known = np.array([end for end in ends if np.isfinite(end)])
    if not len(known):
        return 0.0
    return float(min(known.max(), _WIDE * np.median(known)) * 1.05)


def _changes(sweep: Sweep) -> dict[str, list[Effect | None]]:
    rows = _others(sweep)
    changes: dict[str, list[Effect | None]] = {}
    for region in sweep.regions:
        if region == "seen":
            continue
        effects = [_share(row, region, sweep.error) for row in rows]
        if any(effect is not None for effect in effects):
            changes[region] = effects
    return dict(list(changes.items())[:_PANELS])


def _share(row: Record, region: str, metric: str) -> Effect | None:
    effect = _effect(row, region, metric)
    if effect is None or not effect["relative"]:
        return None if effect is None or effect["mean"] else (0.0, None, None)
    base = effect["mean"] / effect["relative"]
    low, high = interval(effect)
    if low is None or high is None:
        return effect["relative"], None, None
    return effect["relative"], low / base, high / base


def _told(sweep: Sweep) -> list[str]:
    name, base = score_name(sweep.error), sweep.baseline
    lowest = sweep.ranked[0] if sweep.ranked else None
    if lowest is None or base is None:
        return ["No run ended well."]
    told = [
        f"Over all test samples the mean {name} is lowest for {lowest}, "
        f"{format_number(sweep.mean(lowest))}"
        + (", the baseline." if lowest == base else f"; {base} has {_or_no(sweep.mean(base))}.")
    ]
    effects = {row["method"]: _effect(row, "all", sweep.error) for row in _others(sweep)}
    known = {m: (e, *interval(e)) for m, e in effects.items() if e and interval(e)[0] is not None}
    if not known:
        few = len(sweep.seeds) < 2
        return [
            *told,
            "With one seed there is no interval, and nothing can be said about differences: at "
            f"least {MIN_SEEDS} are needed."
            if few and effects
            else "There is no interval to tell a difference from chance.",
        ]
    if all(effect["n"] < MIN_SEEDS for effect, _, _ in known.values()):
        return [
            *told,
            f"Two seeds are too few to call a method better or worse: at least {MIN_SEEDS} are "
            f"needed.{_more_seeds(known)}",
        ]
    below = [m for m, (_, _, high) in known.items() if high is not None and high < 0]
    above = [m for m, (_, low, _) in known.items() if low is not None and low > 0]
    told.append(
        f"Of {count(len(known), 'method')} beside {base}, the 95\u202f% interval of the change "
        f"lies below zero for {len(below) or 'none'}{_those(below)} and above zero for "
        f"{len(above) or 'none'}{_those(above)}."
    )
    sure = [m for m, (e, _, _) in known.items() if e.get("ci_adjusted") is not None]
    if sure and below:
        held = [m for m in sure if effects[m]["ci_adjusted"][1] < 0]  # type: ignore[index]
        told.append(
            f"Allowing for {count(len(known), 'comparison')} at once, "
            + (
                f"{listed(held)} still {'does' if len(held) == 1 else 'do'}."
                if held
                else "none does."
            )
        )
    return [*told, *([more.strip()] if (more := _more_seeds(known)) else [])]


def _more_seeds(known: Mapping[str, tuple[Record, float | None, float | None]]) -> str:
    """How many seeds would show what may be chance, of the three methods that need the fewest."""
    open_ = {
        m: e for m, (e, _, _) in known.items() if e.get("seeds_needed", 0) and not is_significant(e)
    }
    if not open_:
        return ""
    few = sorted(open_, key=lambda m: (open_[m]["seeds_needed"], m))[:3]
    told = listed([f"{open_[m]['seeds_needed']:,} for {m}" for m in few])
    return f" To be sure of changes like these, about so many seeds would be needed: {told}."


def _note(sweep: Sweep) -> str:
    parts = [
        f"Mean ± standard deviation over seeds. Bars: change against {sweep.baseline}, the middle "
        f"line is no change; 95\u202f% intervals over {_over(sweep)}; green is better, red "
        "worse, each by itself, so that of many a few are chance; grey may all be. Two bars in "
        "different columns have different scales."
        if _others(sweep)
        else "Mean ± standard deviation over seeds."
    ]
    if any(_sure(row) for row in sweep.rows):
        parts.append("✓: sure even when all methods are compared at once.")
    if sweep.results.get("published_note"):
        note = sweep.results["published_note"]
        parts.append(f"{note[0].upper()}{note[1:]}.")
    return " ".join(parts)


def _sure(row: Record) -> bool:
    cells = (row.get("vs_baseline") or {}).get("test", {}).values()
    return any(
        effect.get("ci_adjusted") is not None
        for cell in cells
        for effect in cell.values()
        if isinstance(effect, dict)
    )


def _over(sweep: Sweep) -> str:
    effects = [_effect(row, "all", sweep.error) for row in _others(sweep)]
    both = any(effect and effect.get("ci_total") is not None for effect in effects)
    return "seeds and test samples" if both else "paired seeds alone"


def _those(names: Sequence[str]) -> str:
    return f" ({listed(names, 3)})" if names else ""


def _row_told(sweep: Sweep, row: Record) -> str:
    same = [f"the same as {row['alias_of']}"] if row.get("alias_of") else []
    fewer = len(row["seeds"]) < len(sweep.seeds)
    return ", ".join([*same, *([count(len(row["seeds"]), "seed")] if fewer else [])])


def _fault(sweep: Sweep, row: Record) -> str:
    own = [run for run in sweep.failed if run["identity"]["method"] == key_of(row)]
    if not own:
        return ""
    causes = listed(dict.fromkeys(map(describe_failure, own)), 2)
    some = f"{len(own)} of {len(own) + len(row['seeds'])} runs " if row["seeds"] else ""
    return f"{some}failed: {causes}"


def _samples(sweep: Sweep, region: str) -> str:
    counts = (row["test"].get(region, {}).get("n", {}).get("mean") for row in sweep.rows)
    known = next((n for n in counts if n is not None), None)
    return "" if known is None else f"{known:,.0f}"


def _mean(row: Record, region: str, metric: str) -> float | None:
    value: float | None = row["test"].get(region, {}).get(metric, {}).get("mean")
    return value


def _or_no(value: float | None) -> str:
    return "no result" if value is None else format_number(value)


def _number(value: float | None, digits: int) -> str:
    if value is None:
        return "–"
    return format_number(value) if abs(value) >= 1e6 else f"{value:,.{digits}f}".replace("-", "−")


def _relative(effect: Record) -> str:
    return "" if not effect["relative"] else f" ({format_percent(effect['relative'])})"
