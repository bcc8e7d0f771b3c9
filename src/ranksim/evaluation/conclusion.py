"""What a sweep says in words: which method helps, where, by how much, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ranksim._utils.formatting import MIN_SEEDS, format_percent
from ranksim.evaluation.comparison import method_key

Record = dict[str, Any]
_NAMED = 3  # methods that a sentence names


@dataclass(frozen=True)
class Finding:
    """A method against the baseline in one region.

    Args:
        method: its row.
        effect: of its ``vs_baseline``.
    """

    method: str
    effect: Mapping[str, Any]

    @property
    def change(self) -> float:
        """Relative change of the error; below 0 is better, infinite where there was none before."""
        change, grown = self.effect["relative"], self.effect["mean"] > 0
        return float(change) if change is not None else math.inf if grown else 0.0

    @property
    def verdict(self) -> int:
        """-1 where it is sure to be better, 1 where worse, 0 where neither."""
        interval = self.effect["ci_adjusted"]
        return 0 if interval is None else int(interval[0] > 0) - int(interval[1] < 0)

    @property
    def interval(self) -> str:
        """The 95 % interval over seeds and samples, in per cent."""
        if self.effect["ci_total"] is None or not self.effect["relative"]:
            return ""
        base = self.effect["mean"] / self.change
        low, high = (end / base for end in self.effect["ci_total"])
        return f" (95\u202f% from {format_percent(low)} to {format_percent(high)})"


def draw_conclusion(summary: Sequence[Record], baseline: str, error: str) -> Record:
    """The answer of a sweep, whole and region by region.

    A method is better, or worse, in a region only where its ``sure`` interval lies on one side of
    zero: 95 % over seeds and test samples, for all methods compared together, and three seeds at
    least.

    Args:
        summary: with ``vs_baseline`` (see :func:`ranksim.evaluation.comparison.add_comparison`).
        baseline: the row that all are compared to.
        error: which one, ``"mae"`` or ``"mse"``.

    Returns:
        ``error``; ``sentence``; and in ``regions`` for each with test samples, but seen, ``best``
        (the method that is sure to be better, of several the one with the lowest error, or
        ``None``), ``lowest`` (that with the lowest error, sure or not), ``relative`` (the change of
        the best, else of the lowest), ``better`` and ``worse`` (all that are sure), ``sentence``.
    """
    rows = {method_key(row): row for row in reversed(summary) if row.get("vs_baseline")}
    methods = list(reversed(rows.values()))  # one of those that are one method under two names
    shown = error.upper()
    regions = {}
    found: dict[str, list[Finding]] = {}
    for region in summary[0]["test"] if summary else ():
        if region == "seen" or not any(row["test"][region]["n"]["mean"] for row in summary):
            continue
        effects = [(row["method"], row["vs_baseline"]["test"][region][error]) for row in methods]
        found[region] = [Finding(*each) for each in effects if each[1]["mean"] is not None]
        regions[region] = _region(region, found[region], baseline, shown)
    trained = any(row["seeds"] for row in summary if row["method"] == baseline)
    if not any(found.values()):
        whole = _nothing(baseline, trained, any(row["seeds"] for row in methods))
    else:
        whole = _whole(
            found, baseline, shown, max(len(row["vs_baseline"]["seeds"]) for row in methods)
        )
    return {
        "error": error,
        "regions": regions,
        "sentence": " ".join([whole, *_limits(found, summary)]),
    }


def _region(region: str, found: Sequence[Finding], baseline: str, error: str) -> Record:
    ordered = sorted(found, key=lambda each: each.change)
    better = [each for each in ordered if each.verdict < 0]
    worse = [each for each in reversed(ordered) if each.verdict > 0]
    lowest = ordered[0] if ordered and ordered[0].change < 0 else None
    told = better[0] if better else lowest
    words = [_first(region, told, bool(better), baseline, error)] if ordered else []
    if more := better[1:]:
        words.append(f"Better too: {_listed(more)}.")
    if worse:
        words.append(f"Worse: {_listed(worse)}.")
    return {
        "best": better[0].method if better else None,
        "lowest": lowest.method if lowest else baseline if ordered else None,
        "relative": told.change if told else None,
        "better": [each.method for each in better],
        "worse": [each.method for each in worse],
        "sentence": " ".join(words) or "Nothing is there to compare.",
    }


def _first(region: str, told: Finding | None, sure: bool, baseline: str, error: str) -> str:
    if told is None:
        return f"{baseline} has the lowest {error}."
    less = format_percent(-told.change, "")
    if sure:
        return f"{told.method} lowers {error} by {less}{told.interval}."
    if told.effect["ci_total"] is None:
        return f"{told.method} has the lowest {error}, by {less}: chance is unknown."
    several = " with several methods compared" if told.effect["ci_total"][1] < 0 else ""
    return (
        f"{told.method} has the lowest {error}, by {less}{told.interval}, which may be "
        f"chance{several}: {_needed(told)}."
    )


def _needed(finding: Finding) -> str:
    seeds = finding.effect["seeds_needed"]
    if seeds is None:
        return "no number of seeds would show it on so few test samples"
    return f"about {seeds} seeds would show it if it stayed so"


def _nothing(baseline: str, trained: bool, others: bool) -> str:
    if not trained:
        return f"There is nothing to compare with: {baseline} has no finished run."
    why = "has a seed in common with it" if others else "has a finished run"
    return f"There is nothing to compare with {baseline}: no other method {why}."


def _limits(found: Mapping[str, Sequence[Finding]], summary: Sequence[Record]) -> list[str]:
    """What else must be known: methods that nothing can be said of, and runs that failed."""
    said = []
    effects = [each for own in found.values() for each in own]
    judged = {each.method for each in effects if each.effect["ci_adjusted"] is not None}
    silent = [m for m in dict.fromkeys(each.method for each in effects) if m not in judged]
    if judged and silent:
        said.append(f"Seeds or predictions do not suffice to judge {_named(silent)}.")
    runs = {method_key(row): row for row in reversed(summary)}
    failed = [row for row in reversed(runs.values()) if row["failed"]]
    if failed:
        told = (f"{r['method']} {r['failed']} of {r['failed'] + len(r['seeds'])}" for r in failed)
        said.append(f"Runs that failed are left out: {', '.join(told)}.")
    return said


def _whole(found: Mapping[str, Sequence[Finding]], baseline: str, error: str, pairs: int) -> str:
    effects = [each for own in found.values() for each in own]
    if pairs < MIN_SEEDS:
        few = "One seed" if pairs == 1 else "Two seeds"
        return (
            f"{few} cannot tell a better method from chance: give at least {MIN_SEEDS}, better "
            "5, with --seeds."
        )
    if all(each.effect["ci_adjusted"] is None for each in effects):
        return (
            "Nothing can be said for sure: predictions of some runs are gone, or samples are too "
            "few."
        )
    better = _gains(found)
    if not better:
        return _none(found, baseline, error)
    told = [
        f"{method} lowers {error} {_places(gains)}"
        + (f", and raises it {_places(losses)}" if losses else "")
        for method, (gains, losses) in list(better.items())[:_NAMED]
    ]
    rest = list(better)[_NAMED:]
    words = [f"{each}." for each in told]
    if rest:
        words.append(f"Better somewhere too: {_named(rest)}.")
    return f"Against {baseline}, " + " ".join(words)


def _gains(
    found: Mapping[str, Sequence[Finding]],
) -> dict[str, tuple[list[tuple[str, float]], list[tuple[str, float]]]]:
    """For each method that is sure to be better somewhere, where it is better and where worse.

    Those come first that are better over all, then by their largest gain.
    """
    places: dict[str, tuple[list[tuple[str, float]], list[tuple[str, float]]]] = {}
    for region, own in found.items():
        for each in own:
            if each.verdict:
                sides = places.setdefault(each.method, ([], []))
                sides[each.verdict > 0].append((region, each.change))
    gaining = {method: sides for method, sides in places.items() if sides[0]}
    return dict(
        sorted(
            gaining.items(),
            key=lambda item: (
                dict(item[1][0]).get("all", 0.0),
                min(change for _, change in item[1][0]),
            ),
        )
    )


def _none(found: Mapping[str, Sequence[Finding]], baseline: str, error: str) -> str:
    words = [f"No method is better than {baseline} here, as far as these runs can tell."]
    close = [
        (each.effect["seeds_needed"], each.change, region, each)
        for region, own in found.items()
        for each in own
        if each.change < 0 and each.effect["seeds_needed"] is not None
    ]
    if close:
        seeds, change, region, each = min(close, key=lambda item: item[:3])
        words.append(
            f"{each.method} comes nearest, with {format_percent(-change, '')} less {error} in {region}: "
            f"about {seeds} seeds would show it if it stayed so."
        )
    if worse := [each for each in found.get("all", ()) if each.verdict > 0]:
        words.append(f"Worse in all: {_listed(sorted(worse, key=lambda each: -each.change))}.")
    return " ".join(words)


def _places(changes: Sequence[tuple[str, float]]) -> str:
    """``by 3.1 % in all and 12.0 % in few``."""
    told = [f"{format_percent(abs(change), '')} in {region}" for region, change in changes]
    return "by " + (f"{', '.join(told[:-1])} and {told[-1]}" if told[1:] else told[0])


def _listed(findings: Sequence[Finding]) -> str:
    """``inv (−3.1 %), focal-r (−2.0 %)``."""
    return _named([f"{each.method} ({format_percent(each.change)})" for each in findings])


def _named(methods: Sequence[str]) -> str:
    more = len(methods) - _NAMED
    return ", ".join(methods[:_NAMED]) + (f" and {more} more" if more > 0 else "")
