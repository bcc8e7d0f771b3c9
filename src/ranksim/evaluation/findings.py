"""Findings: the change of a method's error in one region or test view, and its wording."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ranksim._utils.formatting import format_percent, join_names
from ranksim.evaluation.intervals import is_significant
from ranksim.evaluation.views import AS_IS, describe_test_set, read_view_counts
from ranksim.metrics import REGION_NAMES

Record = Mapping[str, Any]
_RARE_SHARE = 0.2  # of the training samples: a named region with fewer is rare
_SMALL = 5e-4  # relative changes below round to 0.0 %
_PHRASES = {
    ("test", "many"): "for common labels (many)",
    ("test", "medium"): "for less common labels (medium)",
    ("test", "few"): "for rare labels (few)",
    ("test", "zero"): "for labels without training samples (zero)",
    ("views", "balanced"): "with balanced labels",
    ("views", "as_is"): "with labels as in your data",
    ("views", "inverse"): "with rare labels first",
}


@dataclass(frozen=True)
class Scope:
    """A region of the test samples (``part`` is ``test``), or a test view (``views``).

    ``note`` says what the scope ``all`` is, such as ``balanced``.
    """

    part: str
    name: str
    is_rare: bool = False
    note: str = field(default="", compare=False)

    @property
    def phrase(self) -> str:
        """The scope in a sentence, such as ``in all`` or ``with labels as in your data``."""
        if (phrase := _PHRASES.get((self.part, self.name))) is not None:
            return phrase
        if self.is_named:
            return f"in your region {self.name}"
        return f"in {self.name} ({self.note})" if self.note else f"in {self.name}"

    @property
    def is_named(self) -> bool:
        """True for a region that the user named."""
        return self.part == "test" and self.name not in REGION_NAMES

    @property
    def is_usual(self) -> bool:
        """True if labels are as frequent as in the data."""
        return self.name == "as_is" if self.part == "views" else self.note == AS_IS

    def effect(self, comparison: Record, error: str) -> Record | None:
        """Return the difference in this scope of a comparison; None if there is none."""
        effect: Record | None = comparison.get(self.part, {}).get(self.name, {}).get(error)
        return effect if effect and effect["mean"] is not None else None

    def score(self, row: Record, error: str) -> float | None:
        """Return the mean error of a summary row in this scope, or None."""
        score: float | None = row.get(self.part, {}).get(self.name, {}).get(error, {}).get("mean")
        return score


def list_scopes(summary: Sequence[Record], labels: Record | None) -> list[Scope]:
    """Return the regions with test samples and the test views, without the view that is ``all``.

    Few-shot and zero-shot labels and the view ``inverse`` are rare, and so are named regions with
    less than a fifth of the training samples; medium-shot labels are if there are no rarer ones.
    """
    regions = [
        name
        for name in (summary[0]["test"] if summary else ())
        if name != "seen" and any(row["test"][name]["n"]["mean"] for row in summary)
    ]
    rare = {name for name in regions if name in ("few", "zero")} or {"medium"}
    rare |= {n for n in regions if n not in REGION_NAMES and _is_rare(n, labels)}
    counts = read_view_counts(labels)
    note = "" if counts is None else describe_test_set(counts.test_set)
    scopes = [Scope("test", name, name in rare, note * (name == "all")) for name in regions]
    views = dict.fromkeys(view for row in summary for view in row.get("views", {}))
    main = None if counts is None else counts.main_view
    return scopes + [Scope("views", view, view == "inverse") for view in views if view != main]


def _is_rare(name: str, labels: Record | None) -> bool:
    """Return True if a named region has less than a fifth of the training samples."""
    span = (labels or {}).get("named", {}).get(name)
    if labels is None or span is None:
        return True
    edges, train = np.asarray(labels["edges"], dtype=float), np.asarray(labels["train"])
    low = -np.inf if span[0] is None else span[0]
    high = np.inf if span[1] is None else span[1]
    centers = (edges[:-1] + edges[1:]) / 2
    inside = train[(centers >= low) & (centers <= high)].sum()
    return bool(inside < _RARE_SHARE * train.sum())


def order_rare(scopes: Iterable[Scope]) -> list[Scope]:
    """Return the rare scopes: the user's regions first, then few, zero, the view and medium."""
    order = ("few", "zero", "inverse", "medium")
    rare = [scope for scope in scopes if scope.is_rare]
    return sorted(rare, key=lambda s: order.index(s.name) + 1 if s.name in order else 0)


@dataclass(frozen=True)
class Finding:
    """A method's difference from its reference in one scope."""

    method: str
    scope: Scope
    effect: Record

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
    def is_loss(self) -> bool:
        """True if the error rises by at least 0.05 %, surely or not."""
        return self.significance > 0 or self.change >= _SMALL

    @property
    def interval(self) -> str:
        """The 95 % interval of the change in percent, as text; empty if there is no interval."""
        if self.effect["ci_total"] is None or not self.effect["relative"]:
            return ""
        base = self.effect["mean"] / self.change
        low, high = (format_percent(end / base) for end in self.effect["ci_total"])
        return f" (95\u202f% interval {low} to {high})"


def find_changes(
    method: str, comparison: Record, scopes: Iterable[Scope], error: str
) -> list[Finding]:
    """Return the differences of a method from its reference in all scopes that have one."""
    effects = [(scope, scope.effect(comparison, error)) for scope in scopes]
    return [Finding(method, scope, effect) for scope, effect in effects if effect is not None]


def describe_gains(findings: Sequence[Finding], error: str) -> str:
    """Describe the sure gains of a method, and all losses that it has elsewhere.

    Gains in a region that the user named, in the first other rare scope and with the labels of
    the data are stated; if there are none of these, the others are.
    """
    gains = [finding for finding in findings if finding.significance < 0]
    rare = order_rare(finding.scope for finding in gains)
    stated = [scope for scope in rare if scope.is_named]
    stated += [scope for scope in rare if not scope.is_named][:1]
    stated.append(Scope("views", "as_is"))
    main = [finding for finding in gains if finding.scope in stated] or gains
    main.sort(key=lambda finding: (not finding.scope.is_rare, finding.change))
    losses = describe_losses(findings)
    text = f"{findings[0].method} lowers {error} by {join_changes(main)}"
    return f"{text}, but {losses}." if losses else f"{text}, and raises it nowhere."


def describe_losses(findings: Iterable[Finding]) -> str:
    """Describe all losses of a method: ``raises it by 3.0 % in all, perhaps by 1.2 % in many``."""
    losses = sorted((f for f in findings if f.is_loss), key=lambda finding: -finding.change)
    sure = [finding for finding in losses if finding.significance > 0]
    unsure = [finding for finding in losses if finding.significance <= 0]
    if not sure:
        return f"perhaps raises it by {join_changes(unsure)}" if unsure else ""
    text = f"raises it by {join_changes(sure)}"
    return f"{text}, perhaps also by {join_changes(unsure)}" if unsure else text


def join_changes(findings: Sequence[Finding]) -> str:
    """Format the sizes of changes as text: ``3.1 % in all and 12.0 % in few``."""
    parts = [f"{format_percent(abs(f.change), '')} {f.scope.phrase}" for f in findings]
    return join_names(parts, len(parts))
