"""Judge a finished sweep: views, ensembles, comparisons, conclusion and largest errors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ranksim.evaluation.comparison import (
    add_comparison,
    add_ensemble_changes,
    compare_pairs,
)
from ranksim.evaluation.conclusion import draw_conclusion
from ranksim.evaluation.families import choose_pairs
from ranksim.evaluation.findings import list_scopes
from ranksim.evaluation.largest_errors import count_units, list_largest_errors
from ranksim.evaluation.record import RunRecord
from ranksim.evaluation.summary import (
    ReadPredictions,
    Record,
    add_ensembles,
    add_views,
    method_key,
    unique_rows,
)
from ranksim.evaluation.views import read_view_counts


def judge_sweep(
    summary: Sequence[Record],
    records: Sequence[RunRecord],
    baseline: str,
    error: str,
    labels: Mapping[str, Any] | None,
    read: ReadPredictions,
) -> Record:
    """Add comparisons, ensembles and views to the rows in place, and draw the conclusion.

    Returns the fields of ``results.json`` that need predictions: ``comparisons`` of pairs other
    than those with the baseline, ``interval_units``, ``conclusion`` and ``largest_errors``.
    """
    counts = read_view_counts(labels)
    add_comparison(summary, records, baseline, read, counts)
    add_ensembles(summary, read)
    add_views(summary, read, counts)
    pairs = choose_pairs(summary, list_scopes(summary, labels), error, baseline)
    num_comparisons = max(len(unique_rows(summary)) - 1, 1)
    add_ensemble_changes(summary, read, counts, error, num_comparisons)
    compared = compare_pairs(pairs, records, read, counts, num_comparisons=num_comparisons)
    comparisons = [
        {
            "reference": reference,
            "method": method,
            **{
                part: {name: {error: scores[error]} for name, scores in comparison[part].items()}
                for part in ("test", "views")
                if part in comparison
            },
        }
        for (reference, method), comparison in compared.items()
    ]
    conclusion = draw_conclusion(summary, baseline, error, labels, comparisons)
    base = next(row for row in summary if row["method"] == baseline)
    runs = [read(method_key(base), seed) for seed in base["seeds"]]
    done = [record for record in records if record["status"] == "done"]
    facts = done[0]["provenance"].get("data", {}) if done else {}
    methods = [conclusion["chosen"] or baseline, baseline]
    return {
        "comparisons": comparisons,
        "interval_units": count_units(next(iter(runs), None), facts),
        "conclusion": conclusion,
        "largest_errors": list_largest_errors(summary, methods, read),
    }
