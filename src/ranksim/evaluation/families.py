"""Families of methods, and the pairs of methods that a conclusion compares besides the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ranksim.evaluation.comparison import Pair
from ranksim.evaluation.findings import Scope
from ranksim.evaluation.summary import method_key, unique_rows
from ranksim.training.method import AVERAGE, CONSTANTS, ESTIMATORS, NETWORKS, find_averaged

Record = Mapping[str, Any]
# the names stand in sentences: "a tree is better than any network"
NETWORK, TREE, SIMPLE, EXTERNAL = "network", "tree", "simple model", "model from elsewhere"
REFERENCE = "reference"
_SIMPLE = ("linear", "knn")


def find_family(key: str) -> str:
    """Return the family of a method: what its base is.

    Example:
        >>> [find_family(key) for key in ("rrt+ranksim", "trees(log)", "knn", "median", "theirs")]
        ['network', 'tree', 'simple model', 'reference', 'model from elsewhere']
    """
    base = _find_base(key)
    if base in (*NETWORKS, AVERAGE):
        return NETWORK
    if base in CONSTANTS:
        return REFERENCE
    if base in _SIMPLE:
        return SIMPLE
    return TREE if base in ESTIMATORS else EXTERNAL


def to_plural(family: str) -> str:
    """Return the plural of a family's name, such as ``models from elsewhere``."""
    return "models from elsewhere" if family == EXTERNAL else f"{family}s"


def _find_base(key: str) -> str:
    return key.partition("+")[0].partition("(")[0]


def find_plain(key: str) -> str | None:
    """Return the plain estimator of a modified one, such as trees of trees+inv(log), or None."""
    base = _find_base(key)
    return base if base not in (*NETWORKS, AVERAGE) and base != key else None


def find_leader(rows: Iterable[Record], scope: Scope, error: str) -> Record | None:
    """Return the row of the lowest error in a region or view, without reference rows."""
    scored = [
        row
        for row in rows
        if find_family(method_key(row)) != REFERENCE and scope.score(row, error) is not None
    ]
    return min(scored, key=lambda row: scope.score(row, error) or 0.0, default=None)


def choose_pairs(
    summary: Sequence[dict[str, Any]], scopes: Iterable[Scope], error: str, baseline: str
) -> list[Pair]:
    """Return the pairs, reference and method, that the sentences on families need.

    These are the row of the lowest error in each scope with all rows of other families, modified
    estimators with their plain one, and averages with both methods that they average.
    """
    rows = [row for row in unique_rows(summary) if row["seeds"]]
    keys = [method_key(row) for row in rows]
    pairs: list[Pair] = []
    for scope in scopes:
        if (leader := find_leader(rows, scope, error)) is not None:
            key = method_key(leader)
            pairs += [(other, key) for other in keys if find_family(other) != find_family(key)]
    for key in keys:
        references = [find_plain(key), *(find_averaged(key) or ())]
        pairs += [(other, key) for other in references if other in keys and other is not None]
    known = {(baseline, key) for key in keys}
    return [pair for pair in dict.fromkeys(pairs) if pair not in known]
