"""Draw the conclusion of a sweep: which method helps, where, at what price, and how surely."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ranksim._utils.formatting import format_percent, join_names
from ranksim.evaluation.families import (
    NETWORK,
    REFERENCE,
    SIMPLE,
    find_family,
    find_leader,
    find_plain,
    to_plural,
)
from ranksim.evaluation.findings import (
    Finding,
    Scope,
    describe_gains,
    describe_losses,
    find_changes,
    join_changes,
    list_scopes,
    order_rare,
)
from ranksim.evaluation.intervals import MIN_SEEDS, is_significant
from ranksim.evaluation.summary import method_key, unique_rows
from ranksim.training.method import find_averaged

Record = dict[str, Any]
_MAX_NAMES = 3  # methods in a sentence
_MAX_METHODS = 3  # methods that are described with all gains and losses


@dataclass(frozen=True)
class Evidence:
    """The rows of a sweep and their comparisons, from which sentences are drawn.

    Args:
        rows: of the summary, without aliases.
        baseline: name of the baseline's row.
        error: ``mae`` or ``mse``.
        scopes: regions and test views.
        comparisons: by reference and method key, those with the baseline included.
    """

    rows: Sequence[Mapping[str, Any]]
    baseline: str
    error: str
    scopes: Sequence[Scope]
    comparisons: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name of the error in sentences."""
        return self.error.upper()

    @property
    def main_scopes(self) -> list[Scope]:
        """The user's distribution of labels, or else all test samples, and the rarest labels."""
        usual = [scope for scope in self.scopes if scope == Scope("views", "as_is")]
        usual = usual or [scope for scope in self.scopes if scope == Scope("test", "all")]
        return usual + order_rare(self.scopes)[:1]

    def effect(self, scope: Scope, reference: str, method: str) -> Mapping[str, Any] | None:
        """Return the difference between two methods, by their keys, in a scope; None if unknown."""
        return scope.effect(self.comparisons.get((reference, method), {}), self.error)

    def changes(self, reference: str, row: Mapping[str, Any]) -> list[Finding]:
        """Return the differences of a row from the method of a key, by scope."""
        comparison = self.comparisons.get((reference, method_key(row)), {})
        return find_changes(row["method"], comparison, self.scopes, self.error)


def draw_conclusion(
    summary: Sequence[Record],
    baseline: str,
    error: str,
    labels: Mapping[str, Any] | None = None,
    comparisons: Sequence[Mapping[str, Any]] = (),
) -> Record:
    """Conclude from a sweep which methods differ from the baseline, where, and at what price.

    A method counts as better, or worse, in a region or test view only if its ``ci_adjusted``
    excludes zero: 95 % over seeds and test samples, corrected for the number of methods, with at
    least three seeds. A gain is stated with all losses of the same method, sure or not.

    Args:
        summary: rows with ``vs_baseline``.
        baseline: name of the baseline's row.
        error: ``mae`` or ``mse``.
        labels: the label axis of the results; it says which named regions are rare.
        comparisons: differences of other pairs (``reference`` and ``method`` are keys).

    Returns:
        ``error``; ``headline``, one sentence; ``chosen``, the method that it is about, or else the
        nearest one, or None; ``recommended``, the method that is surely better and for no rare
        labels surely worse, or None; ``points``, each with ``title`` and ``sentence``;
        ``sentence``, all of these; and ``regions``. Each region has ``best`` (the significantly
        better method with the lowest error), ``lowest`` (the method with the lowest error),
        ``relative`` (change of the best, else of the lowest), ``better`` and ``worse`` (all
        significant methods) and ``sentence``.
    """
    rows = unique_rows(summary)
    base = next((method_key(row) for row in rows if row["method"] == baseline), baseline)
    pairs = {(each["reference"], each["method"]): each for each in comparisons}
    pairs |= {(base, method_key(row)): row["vs_baseline"] for row in rows if row.get("vs_baseline")}
    evidence = Evidence(rows, baseline, error, list_scopes(summary, labels), pairs)
    by_method = {
        row["method"]: evidence.changes(base, row) for row in rows if row.get("vs_baseline")
    }
    findings = [finding for changes in by_method.values() for finding in changes]
    regions = {
        scope.name: _conclude_region(
            [finding for finding in findings if finding.scope == scope], by_method, evidence
        )
        for scope in evidence.scopes
        if scope.part == "test"
    }
    headline, points = _conclude_sweep(evidence, by_method)
    chosen = recommended = next(iter(_choose_methods(evidence, by_method)), None)
    if chosen is None and (nearest := _find_nearest(evidence, by_method)) is not None:
        chosen = nearest.method
    if limits := " ".join(_list_limitations(findings, summary)):
        points.append(("Limits", limits))
    return {
        "error": error,
        "headline": headline,
        "chosen": chosen,
        "recommended": recommended,
        "points": [{"title": title, "sentence": sentence} for title, sentence in points],
        "sentence": " ".join([headline, *(sentence for _, sentence in points)]),
        "regions": regions,
    }


def _conclude_sweep(
    evidence: Evidence, by_method: Mapping[str, Sequence[Finding]]
) -> tuple[str, list[tuple[str, str]]]:
    """Return the headline and the points, each a title and a sentence."""
    findings = [finding for changes in by_method.values() for finding in changes]
    if (reason := _find_obstacle(evidence, findings)) is not None:
        return reason, []
    described = _choose_methods(evidence, by_method)
    first, *others = [describe_gains(by_method[m], evidence.title) for m in described] or [""]
    points = []
    if others:
        text = " ".join(others[: _MAX_METHODS - 1])
        if len(others) >= _MAX_METHODS:
            text += " The table has further ones."
        points.append(("Also better", text))
    headline = f"Compared with {evidence.baseline}, {first}"
    costly = _describe_costly(evidence, by_method)
    if not described:
        headline = f"No method is surely better than {evidence.baseline} in these runs."
        if costly:
            headline = f"No method is surely better than {evidence.baseline} without being surely "
            headline += "worse for rare labels."
        if (nearest := _find_nearest(evidence, by_method)) is not None:
            text = _describe_nearest(nearest, by_method[nearest.method], evidence.title)
            points.append(("Nearest", text))
    points += [("At a price", text) for text in costly]
    rare = order_rare(evidence.scopes)
    if described and rare and not any(f.scope.is_rare and f.significance < 0 for f in findings):
        places = ", ".join(scope.phrase for scope in rare)
        text = f"No method is surely better than {evidence.baseline} {places}."
        points.append(("Rare labels", text))
    points += _describe_usual(evidence, by_method)
    points += [("Caution", text) for text in _compare_references(evidence)]
    points += _describe_families(evidence)
    points += _describe_networks(evidence, by_method, described)
    points += _describe_trees(evidence)
    chosen = described[0] if described else evidence.baseline
    averages = [*_describe_averages(evidence), *_describe_ensemble(evidence, chosen)]
    points += [("Averages", " ".join(averages))] if averages else []
    return headline, points


def _find_obstacle(evidence: Evidence, findings: Sequence[Finding]) -> str | None:
    """Return why nothing can be concluded, or None."""
    baseline, rows = evidence.baseline, evidence.rows
    compared = [row for row in rows if row.get("vs_baseline")]
    if not findings:
        if any(row["seeds"] for row in rows if row["method"] == baseline):
            has_others = any(row["seeds"] for row in compared)
            reason = "has a seed in common with it" if has_others else "has a finished run"
            return f"Nothing can be compared with {baseline}: no other method {reason}."
        return f"Nothing can be compared: {baseline} has no finished run."
    num_seeds = max(
        MIN_SEEDS if row["vs_baseline"].get("fitted_once") else len(row["vs_baseline"]["seeds"])
        for row in compared
    )
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
    return None


def _choose_methods(evidence: Evidence, by_method: Mapping[str, Sequence[Finding]]) -> list[str]:
    """Return the methods with a sure gain that are surely worse in no rare scope, the best first.

    Those that gain in the first rare scope come first, then those that do in the others, then
    those that gain elsewhere; within a scope the largest gain comes first.
    """
    order = order_rare(evidence.scopes)
    order += [scope for scope in evidence.main_scopes if scope not in order]
    order += [scope for scope in evidence.scopes if scope not in order]
    places: dict[str, tuple[int, float]] = {}
    for method, changes in by_method.items():
        if _is_worse_in_rare(changes):
            continue
        gains = [(order.index(f.scope), f.change) for f in changes if f.significance < 0]
        if gains:
            places[method] = min(gains)
    return sorted(places, key=lambda method: places[method])


def _is_worse_in_rare(changes: Iterable[Finding]) -> bool:
    """Return True if a method is surely worse for some rare labels."""
    return any(finding.scope.is_rare and finding.significance > 0 for finding in changes)


def _describe_costly(evidence: Evidence, by_method: Mapping[str, Sequence[Finding]]) -> list[str]:
    """Describe the method of the largest sure gain among those surely worse for rare labels."""
    usual = evidence.main_scopes[0]
    places = {
        method: min((f.scope != usual, f.change) for f in changes if f.significance < 0)
        for method, changes in by_method.items()
        if _is_worse_in_rare(changes) and any(f.significance < 0 for f in changes)
    }
    chosen = min(places, key=lambda method: places[method], default=None)
    return [describe_gains(by_method[chosen], evidence.title)] if chosen is not None else []


def _find_nearest(evidence: Evidence, by_method: Mapping[str, Sequence[Finding]]) -> Finding | None:
    """Return the largest decrease of the error for rare labels, or else in another scope.

    Its method is surely worse for no rare labels.
    """
    rare = order_rare(evidence.scopes)
    for scope in [*rare, *(scope for scope in evidence.scopes if scope not in rare)]:
        lower = [
            finding
            for changes in by_method.values()
            if not _is_worse_in_rare(changes)
            for finding in changes
            if finding.scope == scope and finding.change < 0
        ]
        if lower:
            return min(lower, key=lambda finding: finding.change)
    return None


def _describe_nearest(nearest: Finding, changes: Sequence[Finding], error: str) -> str:
    losses = describe_losses(changes)
    text = f"{nearest.method} has {format_percent(-nearest.change, '')} less {error} "
    text += nearest.scope.phrase + (f", but {losses}." if losses else ".")
    return f"{text} The gain of {nearest.method} may be chance: {_describe_seeds(nearest)}."


def _describe_seeds(finding: Finding) -> str:
    """Say how many seeds would confirm a difference."""
    if (seeds := finding.effect["seeds_needed"]) is not None:
        return f"about {seeds} seeds would be needed to confirm it"
    return "with so few test samples, more seeds would not confirm it"


def _describe_usual(
    evidence: Evidence, by_method: Mapping[str, Sequence[Finding]]
) -> list[tuple[str, str]]:
    """Say what holds for labels as frequent as in the data, or else for all test samples."""
    scope = evidence.main_scopes[0]
    findings = [
        finding
        for method, changes in by_method.items()
        if find_family(method) != REFERENCE
        for finding in changes
        if finding.scope == scope
    ]
    worse = [finding for finding in findings if finding.significance > 0]
    worse.sort(key=lambda finding: -finding.change)
    title = "Your data" if scope.is_usual else "Overall"
    if findings and not any(finding.significance < 0 for finding in findings):
        worse_text = f"; surely worse: {_join_changes(worse)}" if worse else ""
        start = f"No method is surely better than {evidence.baseline} {scope.phrase}"
        return [(title, f"{start}{worse_text}.")]
    return [(title, f"Surely worse {scope.phrase}: {_join_changes(worse)}.")] if worse else []


def _describe_families(evidence: Evidence) -> list[tuple[str, str]]:
    """Say in which family the lowest errors are, for the usual and for rare labels."""
    rows = [row for row in evidence.rows if row["seeds"]]
    sentences: list[str] = []
    lowest: dict[str, list[str]] = {}  # by the families between which no difference is sure
    for scope in evidence.main_scopes:
        leader = find_leader(rows, scope, evidence.error)
        if leader is None:
            continue
        beaten, others = _compare_families(evidence, rows, leader, scope)
        family, name = find_family(method_key(leader)), leader["method"]
        if beaten:
            text = f"{scope.phrase[0].upper()}{scope.phrase[1:]}, a {family} ({name}) is surely "
            text += "better than " + join_names(f"any {other}" for other in beaten)
            more = join_names(f"every {other}" for other in others)
            sentences.append(f"{text}, but not than {more}." if others else f"{text}.")
        elif others:
            families = " or ".join(map(to_plural, sorted({family, *others})))
            lowest.setdefault(families, []).append(f"{scope.phrase}: {name}")
    for families, places in lowest.items():
        start = "Otherwise, whether" if sentences else "Whether"
        text = f"{start} {families} are better is not sure. Lowest {evidence.title} "
        sentences.append(f"{text}{'; '.join(places)}.")
    return [("Families", " ".join(sentences))] if sentences else []


def _compare_families(
    evidence: Evidence, rows: Sequence[Mapping[str, Any]], leader: Mapping[str, Any], scope: Scope
) -> tuple[list[str], list[str]]:
    """Return the families all of whose rows a leader surely beats in a scope, and the others.

    Reference rows are no family, and simple models matter only if no other family is left.
    """
    members: dict[str, list[str]] = {}
    for row in rows:
        members.setdefault(find_family(method_key(row)), []).append(method_key(row))
    others = set(members) - {REFERENCE, find_family(method_key(leader))}
    others = others - {SIMPLE} or others
    beaten = [
        family
        for family in sorted(others)
        if all(
            effect is not None and effect["mean"] < 0 and is_significant(effect)
            for key in members[family]
            for effect in [evidence.effect(scope, key, method_key(leader))]
        )
    ]
    return beaten, sorted(others - {*beaten})


def _compare_references(evidence: Evidence) -> Iterator[str]:
    """Yield a warning if the lowest error is not surely below that of a reference row."""
    scope, rows = evidence.main_scopes[0], [row for row in evidence.rows if row["seeds"]]
    leader = find_leader(rows, scope, evidence.error)
    for row in rows if leader is not None else ():
        if find_family(method_key(row)) != REFERENCE or leader is None:
            continue
        effect = evidence.effect(scope, method_key(row), method_key(leader))
        if effect is not None and not (effect["mean"] < 0 and is_significant(effect)):
            yield f"No method is surely better than the reference {row['method']} {scope.phrase}."


def _describe_networks(
    evidence: Evidence, by_method: Mapping[str, Sequence[Finding]], described: Sequence[str]
) -> list[tuple[str, str]]:
    """Describe the best network if the headline is about another family."""
    networks = {m: changes for m, changes in by_method.items() if find_family(m) == NETWORK}
    if not networks or not described or described[0] in networks:
        return []
    chosen = _choose_methods(evidence, networks)
    if set(chosen[:1]) & {*described[:_MAX_METHODS]}:
        return []
    text = f"No other network is surely better than {evidence.baseline}."
    if chosen:
        text = describe_gains(networks[chosen[0]], evidence.title)
        text = f"Compared with {evidence.baseline}, {text}"
    return [("Among networks", text)]


def _describe_trees(evidence: Evidence) -> list[tuple[str, str]]:
    """Describe the best modified estimator of each kind against the plain one."""
    points = []
    modified: dict[str, list[Mapping[str, Any]]] = {}
    keys = {method_key(row) for row in evidence.rows if row["seeds"]}
    for row in evidence.rows:
        plain = find_plain(method_key(row))
        if row["seeds"] and plain in keys and plain is not None and plain != evidence.baseline:
            modified.setdefault(plain, []).append(row)
    for plain, rows in modified.items():
        by_method = {row["method"]: evidence.changes(plain, row) for row in rows}
        chosen = _choose_methods(evidence, by_method)
        text = f"No weights, transform or average is surely better than {plain} alone."
        if chosen:
            gains = describe_gains(by_method[chosen[0]], evidence.title)
            text = f"Compared with {plain}, {gains}"
        points.append((f"Among {plain}", text))
    return points


def _describe_averages(evidence: Evidence) -> Iterator[str]:
    """Yield what the mean of a plain and a weighted estimator keeps of gain and price."""
    for row in evidence.rows:
        averaged = find_averaged(method_key(row))
        rare, usual = order_rare(evidence.scopes)[:1], evidence.main_scopes[0]
        if averaged is None or not rare or usual.is_rare or not row["seeds"]:
            continue
        key, (plain, weighted) = method_key(row), averaged
        effects = [
            evidence.effect(scope, *pair)
            for scope, pair in (
                (rare[0], (plain, weighted)),
                (rare[0], (plain, key)),
                (usual, (weighted, key)),
            )
        ]
        if any(effect is None for effect in effects):
            continue
        gain, remaining, saving = (Finding(key, usual, e) for e in effects if e is not None)
        name, where = row["method"], rare[0].phrase
        if gain.significance < 0 and remaining.significance < 0 and saving.significance < 0:
            losses = describe_losses(evidence.changes(plain, row))
            sizes = [format_percent(-finding.change, "") for finding in (remaining, gain, saving)]
            end = f", but compared with {plain} it {losses}." if losses else "."
            yield (
                f"{name} keeps a part of the gain of {weighted}: {sizes[0]} instead of {sizes[1]} "
                f"less {evidence.title} than {plain} {where}; {usual.phrase} it has "
                f"{sizes[2]} less than {weighted}{end}"
            )
        else:
            yield f"That {name} keeps the gain of {weighted} {where} at a lower price is not sure."


def _describe_ensemble(evidence: Evidence, method: str) -> Iterator[str]:
    """Yield what the mean prediction of all seeds of a method gains, which has no price."""
    row = next(row for row in evidence.rows if row["method"] == method)
    if not (comparison := row.get("ensemble_change")):
        return
    changes = find_changes(method, comparison, evidence.main_scopes, evidence.error)
    gains = [finding for finding in changes if finding.significance < 0]
    start = f"Averaging the {len(row['seeds'])} runs of {method}"
    if gains:
        yield f"{start} lowers {evidence.title} by {join_changes(gains)}, compared with one run."
    elif changes:
        yield f"{start} does not surely lower {evidence.title}."


def _conclude_region(
    findings: Sequence[Finding], by_method: Mapping[str, Sequence[Finding]], evidence: Evidence
) -> Record:
    baseline = evidence.baseline
    ordered = sorted(findings, key=lambda finding: finding.change)
    better = [finding for finding in ordered if finding.significance < 0]
    worse = [finding for finding in reversed(ordered) if finding.significance > 0]
    lowest = ordered[0] if ordered and ordered[0].change < 0 else None
    leader = better[0] if better else lowest
    sentences = [_describe_leader(leader, evidence)] if ordered else []
    if leader is not None and (losses := describe_losses(by_method[leader.method])):
        sentences.append(f"But it {losses}.")
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


def _describe_leader(leader: Finding | None, evidence: Evidence) -> str:
    baseline, error = evidence.baseline, evidence.title
    if leader is None:
        return f"{baseline} has the lowest {error}."
    reduction = format_percent(-leader.change, "")
    if leader.significance < 0:
        return f"{leader.method} lowers {error} by {reduction}{leader.interval}."
    lowest = f"{leader.method} has the lowest {error}, {reduction} below {baseline}"
    if leader.effect["ci_total"] is None:
        return f"{lowest}; there is no interval to judge whether this is chance."
    multiple = " given the number of methods" if leader.effect["ci_total"][1] < 0 else ""
    return f"{lowest}{leader.interval}; this may be chance{multiple}: {_describe_seeds(leader)}."


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


def _join_changes(findings: Sequence[Finding]) -> str:
    """Format the change of each method as text: ``inv (+3.1 %) and focal-r (+2.0 %)``."""
    names = [f"{finding.method} ({format_percent(finding.change)})" for finding in findings]
    return join_names(names, _MAX_NAMES)
