"""Draw the conclusion of a sweep: which method helps, where, and how certain that is."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ranksim._utils.formatting import format_percent, join_names
from ranksim.evaluation.intervals import MIN_SEEDS, is_significant
from ranksim.evaluation.summary import unique_rows

Record = dict[str, Any]
_MAX_NAMES = 3  # methods in a sentence


@dataclass(frozen=True)
class Finding:
    """A method's difference from the baseline in one region, an entry of ``vs_baseline``."""

    method: str
    region: str
    effect: Mapping[str, Any]

    @property
    def change(self) -> float:
        """The relative change of the error, negative if better; infinite if it rises from zero."""
        relative, increased = self.effect["relative"], self.effect["mean"] > 0
        return float(relative) if relative is not None else math.inf if increased else 0.0

    @property
    def significance(self) -> int:
        """-1 if significantly better, 1 if significantly worse, else 0."""
        return (1 if self.effect["mean"] > 0 else -1) if is_significant(self.effect) else 0

    @property
    def interval(self) -> str:
        """The 95 % interval of the change in percent, as text; empty if there is no interval."""
        if self.effect["ci_total"] is None or not self.effect["relative"]:
            return ""
        base = self.effect["mean"] / self.change
        low, high = (format_percent(end / base) for end in self.effect["ci_total"])
        return f" (95\u202f% interval {low} to {high})"


def draw_conclusion(summary: Sequence[Record], baseline: str, error: str) -> Record:
    """Conclude from a sweep which methods differ from the baseline, overall and in each region.

    A method counts as better, or worse, in a region only if its ``ci_adjusted`` excludes zero: 95 %
    over seeds and test samples, corrected for the number of methods, with at least three seeds.

    Returns ``error``, ``sentence`` and ``regions``. Each region has ``best`` (the significantly
    better method with the lowest error), ``lowest`` (the method with the lowest error),
    ``relative`` (change of the best, else of the lowest), ``better`` and ``worse`` (all significant
    methods) and ``sentence``.
    """
    methods = unique_rows([row for row in summary if row.get("vs_baseline")])
    regions, findings = {}, []
    for region in summary[0]["test"] if summary else ():
        if region == "seen" or not any(row["test"][region]["n"]["mean"] for row in summary):
            continue
        effects = [(row["method"], row["vs_baseline"]["test"][region][error]) for row in methods]
        group = [Finding(m, region, effect) for m, effect in effects if effect["mean"] is not None]
        regions[region] = _conclude_region(group, baseline, error.upper())
        findings += group
    if findings:
        num_seeds = max(
            MIN_SEEDS if row["vs_baseline"].get("fitted_once") else len(row["vs_baseline"]["seeds"])
            for row in methods
        )
        sentence = _conclude_sweep(findings, baseline, error.upper(), num_seeds)
    elif any(row["seeds"] for row in summary if row["method"] == baseline):
        has_others = any(row["seeds"] for row in methods)
        reason = "has a seed in common with it" if has_others else "has a finished run"
        sentence = f"Nothing can be compared with {baseline}: no other method {reason}."
    else:
        sentence = f"Nothing can be compared: {baseline} has no finished run."
    sentences = [sentence, *_list_limitations(findings, summary)]
    return {"error": error, "regions": regions, "sentence": " ".join(sentences)}


def _conclude_region(findings: Sequence[Finding], baseline: str, error: str) -> Record:
    ordered = sorted(findings, key=lambda finding: finding.change)
    better = [finding for finding in ordered if finding.significance < 0]
    worse = [finding for finding in reversed(ordered) if finding.significance > 0]
    lowest = ordered[0] if ordered and ordered[0].change < 0 else None
    leader = better[0] if better else lowest
    sentences = [_describe_leader(leader, baseline, error)] if ordered else []
    if better[1:]:
        sentences.append(f"Also better: {_join_changes(better[1:])}.")
    if worse:
        sentences.append(f"Worse: {_join_changes(worse)}.")
    return {
        "best": better[0].method if better else None,
        "lowest": lowest.method if lowest else baseline if ordered else None,
        "relative": leader.change if leader else None,
        "better": [finding.method for finding in better],
        "worse": [finding.method for finding in worse],
        "sentence": " ".join(sentences) or "There is no method to compare.",
    }


def _describe_leader(leader: Finding | None, baseline: str, error: str) -> str:
    if leader is None:
        return f"{baseline} has the lowest {error}."
    reduction = format_percent(-leader.change, "")
    if leader.significance < 0:
        return f"{leader.method} lowers {error} by {reduction}{leader.interval}."
    lowest = f"{leader.method} has the lowest {error}, {reduction} below {baseline}"
    if leader.effect["ci_total"] is None:
        return f"{lowest}; there is no interval to judge whether this is chance."
    multiple = " given the number of methods" if leader.effect["ci_total"][1] < 0 else ""
    needed = "with so few test samples, more seeds would not confirm it"
    if (seeds := leader.effect["seeds_needed"]) is not None:
        needed = f"about {seeds} seeds would be needed to confirm it"
    return f"{lowest}{leader.interval}; this may be chance{multiple}: {needed}."


def _list_limitations(findings: Sequence[Finding], summary: Sequence[Record]) -> Iterator[str]:
    """Yield sentences that list the methods without enough data to judge, and the failed runs."""
    judged = {f.method for f in findings if f.effect["ci_adjusted"] is not None}
    unjudged = dict.fromkeys(f.method for f in findings if f.method not in judged)
    if judged and unjudged:
        names = join_names(unjudged, _MAX_NAMES)
        yield f"There are too few seeds or predictions to judge {names}."
    counts = [
        f"{row['method']} {row['failed']} of {row['failed'] + len(row['seeds'])}"
        for row in unique_rows(summary)
        if row["failed"]
    ]
    if counts:
        yield f"Failed runs are left out: {', '.join(counts)}."


def _conclude_sweep(findings: Sequence[Finding], baseline: str, error: str, num_seeds: int) -> str:
    if num_seeds < MIN_SEEDS:
        few = "One seed" if num_seeds == 1 else "Two seeds"
        return (
            f"{few} cannot tell a better method from chance: give at least {MIN_SEEDS}, or better "
            "5, with --seeds."
        )
    if all(finding.effect["ci_adjusted"] is None for finding in findings):
        return (
            "No difference can be judged: predictions of some runs are missing, or there are too "
            "few test samples."
        )
    # relative changes by method and region
    changes: dict[int, dict[str, dict[str, float]]] = {-1: {}, 0: {}, 1: {}}
    for finding in findings:
        by_region = changes[finding.significance].setdefault(finding.method, {})
        by_region[finding.region] = finding.change
    better, worse = changes[-1], changes[1]
    if not better:
        return _conclude_no_gain(findings, baseline, error)
    # methods by their change over all regions, then by their largest gain
    order = sorted(better, key=lambda m: (better[m].get("all", 0.0), min(better[m].values())))
    sentences = [
        f"{method} lowers {error} {_join_regions(better[method])}"
        + (f", and raises it {_join_regions(worse[method])}" if method in worse else "")
        + "."
        for method in order[:_MAX_NAMES]
    ]
    if others := order[_MAX_NAMES:]:
        sentences.append(f"Also better in some region: {join_names(others, _MAX_NAMES)}.")
    return f"Compared with {baseline}, " + " ".join(sentences)


def _conclude_no_gain(findings: Sequence[Finding], baseline: str, error: str) -> str:
    sentences = [f"No method is significantly better than {baseline} in these runs."]
    candidates = [
        (finding.effect["seeds_needed"], finding.change, finding.region, finding.method)
        for finding in findings
        if finding.change < 0 and finding.effect["seeds_needed"] is not None
    ]
    if candidates:
        seeds, change, region, method = min(candidates)
        sentences.append(
            f"{method} comes closest, with {format_percent(-change, '')} less {error} in {region}: "
            f"about {seeds} seeds would be needed to confirm it."
        )
    worse = [
        finding for finding in findings if finding.region == "all" and finding.significance > 0
    ]
    if worse:
        worse.sort(key=lambda finding: -finding.change)
        sentences.append(f"Worse in all: {_join_changes(worse)}.")
    return " ".join(sentences)


def _join_regions(changes: Mapping[str, float]) -> str:
    """Format the change in each region as text: ``by 3.1 % in all and 12.0 % in few``."""
    parts = (f"{format_percent(abs(change), '')} in {name}" for name, change in changes.items())
    return f"by {join_names(parts, len(changes))}"


def _join_changes(findings: Sequence[Finding]) -> str:
    """Format the change of each method as text: ``inv (−3.1 %) and focal-r (−2.0 %)``."""
    names = [f"{finding.method} ({format_percent(finding.change)})" for finding in findings]
    return join_names(names, _MAX_NAMES)
