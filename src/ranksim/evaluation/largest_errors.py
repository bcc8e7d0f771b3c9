"""List the test samples with the largest errors, and the units that intervals resample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ranksim.evaluation.predictions import Predictions
from ranksim.evaluation.summary import ReadPredictions, method_key

Record = dict[str, Any]
_COUNT = 10


def list_largest_errors(
    summary: Sequence[Mapping[str, Any]], methods: Sequence[str], read: ReadPredictions
) -> Record | None:
    """List the ten test samples with the largest errors of the first method.

    Returns ``methods`` and ``samples``, each with where it comes from (such as ``line``, that of
    the user's file), ``label``, ``region`` and ``predictions``, the mean over the seeds of each
    method; None if predictions are missing.
    """
    rows = {row["method"]: row for row in summary}
    preds: dict[str, Predictions] = {}
    means = []
    for method in dict.fromkeys(methods):
        runs = [read(method_key(rows[method]), seed) for seed in rows[method]["seeds"]]
        complete = [run for run in runs if run is not None and run.labels is not None]
        first = next(iter([*preds.values(), *complete]), None)
        if first is None or len(complete) < len(runs) or not complete:
            return None
        if any(not np.array_equal(run.rows, first.rows) for run in complete):
            return None
        preds[method] = complete[0]
        means.append(np.mean([run.preds for run in complete], axis=0))
    if not preds:
        return None
    first = next(iter(preds.values()))
    assert first.labels is not None
    largest = np.argsort(-np.abs(means[0] - first.labels), kind="stable")[:_COUNT]
    origin = first.origin or {"test sample": (first.rows + 1).tolist()}
    samples = [
        {
            **{name: values[k] for name, values in origin.items()},
            "label": float(first.labels[k]),
            "region": str(first.region[k]),
            "predictions": [float(mean[k]) for mean in means],
        }
        for k in largest.tolist()
    ]
    return {"methods": list(preds), "samples": samples}


def count_units(preds: Predictions | None, facts: Mapping[str, Any]) -> Record | None:
    """Count the units that intervals resample in each region: ``days``, ``groups`` or ``samples``.

    ``facts`` identify the data and name its split.
    """
    if preds is None:
        return None
    unit = "samples"
    if preds.groups is not None:
        unit = "groups" if facts.get("split_by") in ("group", "identity") else "days"
    numbers = preds.rows if preds.groups is None else preds.groups
    counts = {name: len(np.unique(numbers[mask])) for name, mask in preds.regions.items()}
    return {"unit": unit, "counts": counts}


def describe_units(results: Mapping[str, Any]) -> str:
    """Return what the intervals of results resample, such as ``test samples`` or ``32 test days``.

    Results of earlier versions do not say whether samples are grouped.
    """
    units = results.get("interval_units")
    if not units or units["unit"] == "samples":
        return "test samples"
    return f"{units['counts']['all']:,} test {units['unit']}"
