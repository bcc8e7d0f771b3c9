"""Summarize run records: means over seeds, and paired differences with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from ranksim.datasets.published import published_table
from ranksim.evaluation.intervals import MIN_SEEDS, excludes_zero, quantile
from ranksim.evaluation.record import RunRecord
from ranksim.metrics import METRICS, REGION_NAMES
from ranksim.training.method import RANKSIM_SUFFIX

Record = dict[str, Any]
Scores = dict[str, dict[str, Any]]  # region, then metric


def summarize(
    records: Sequence[RunRecord], benchmark: str, reported_methods: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Summarize runs in one row per method: scores over seeds, and the effect of RankSim.

    Per region and metric a row has ``mean``, ``sd`` (over seeds, n - 1) and ``n`` (seeds with the
    score). ``vs_without_ranksim`` compares a method with RankSim to the same method without it,
    seed by seed. ``reported_methods`` maps rows to the methods that they report, for methods with
    two names (``{"vanilla+lds": "inv+lds"}``). Published figures need exactly the published data.
    """
    done = [record for record in records if record["status"] == "done"]
    trained = list(dict.fromkeys(record["identity"]["method"] for record in records))
    reported = {row: key for row, key in (reported_methods or {}).items() if key in trained}
    reported |= {key: key for key in trained if key not in reported.values()}
    comparable = all(record["provenance"].get("comparable", True) for record in done)
    published = published_table(benchmark) if comparable else {}
    regions = _common_regions(done)
    rows = []
    for name, key in reported.items():
        by_seed = _results_by_seed(done, key)
        truncated = sorted(seed for seed, result in by_seed.items() if "truncated" in result)
        failed = [r for r in records if r["identity"]["method"] == key and r["status"] != "done"]
        results = list(by_seed.values())
        test, val = (
            _each_score(regions, partial(_summarize_score, results, part))
            for part in ("test", "val")
        )
        row: dict[str, Any] = {
            "method": name,
            **({"alias_of": key} if name != key else {}),
            "seeds": sorted(by_seed),
            "failed": len(failed),
            "test": test,
            "val": val,
            **({"truncated": truncated} if truncated else {}),
            "seconds_median": _median([result["seconds"] for result in results]),
            "epochs_median": _median([result["epochs"] for result in results]),
            "published": published.get(name),
        }
        if key.endswith(RANKSIM_SUFFIX):
            seeds, effects = paired_scores(records, key.removesuffix(RANKSIM_SUFFIX), key)
            base = name.removesuffix(RANKSIM_SUFFIX)
            row["vs_without_ranksim"] = {"method": base, "seeds": seeds, "test": effects}
        rows.append(row)
    return rows


def method_key(row: Mapping[str, Any]) -> str:
    """Return the method whose runs a row reports."""
    return str(row.get("alias_of", row["method"]))


def unique_rows(summary: Sequence[Record]) -> list[Record]:
    """Return the rows without aliases: the first row of each method."""
    rows: dict[str, Record] = {}
    for row in summary:
        rows.setdefault(method_key(row), row)
    return list(rows.values())


def failed_runs(
    records: Iterable[Mapping[str, Any]], row: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Return the failed runs of the method that a row reports."""
    failed = (record for record in records if record["status"] != "done")
    return [record for record in failed if record["identity"]["method"] == method_key(row)]


def share_of_failed(failed: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> str:
    """Return ``"2 of 5 "`` if some runs of a method failed, ``""`` if all did."""
    return f"{len(failed)} of {len(failed) + len(row['seeds'])} " if row["seeds"] else ""


def describe_failure(record: Mapping[str, Any]) -> str:
    """Describe in a few words why a run failed, such as ``diverged at step 120 (lr 0.1)``."""
    result = record["result"]
    divergence = result.get("diverged") or {}
    if "step" not in divergence:
        return str(result.get("error", ""))
    stage = " in stage one" * ("stage_one" in divergence)
    return f"diverged{stage} at step {divergence['step']} (lr {divergence['lr']:g})"


def paired_scores(
    records: Sequence[RunRecord], before: str, after: str
) -> tuple[list[int], Scores]:
    """Compare two methods seed by seed: common seeds, and the change of each test score."""
    done = [record for record in records if record["status"] == "done"]
    base, other = _results_by_seed(done, before), _results_by_seed(done, after)
    seeds = sorted(set(base) & set(other))
    pair = [[by_seed[seed] for seed in seeds] for by_seed in (base, other)]

    def compare(region: str, metric: str) -> dict[str, Any]:
        values = (_values(results, "test", region, metric) for results in pair)
        return paired_difference(*values, larger_is_better=metric in ("pearson", "spearman"))

    return seeds, _each_score(_common_regions(done), compare)


def count_pairs(summary: Sequence[dict[str, Any]], error: str = "mse") -> dict[str, int]:
    """Count the pairs of rows, with and without RankSim, in which RankSim lowers the mean error.

    A pair is significant with three seeds or more if its 95 % interval excludes zero; ``distinct``
    pairs are those without aliases.
    """
    effects = [
        (method_key(row), row["vs_without_ranksim"]["test"]["all"][error])
        for row in summary
        if row.get("vs_without_ranksim")
        and row["vs_without_ranksim"]["test"]["all"][error]["mean"] is not None
    ]
    distinct = dict(effects).values()
    certain = [
        effect["mean"]
        for _, effect in effects
        if effect["n"] >= MIN_SEEDS and excludes_zero(effect["ci_seeds"])
    ]
    return {
        "pairs": len(effects),
        "improved": sum(effect["mean"] < 0 for _, effect in effects),
        "distinct": len(distinct),
        "improved_distinct": sum(effect["mean"] < 0 for effect in distinct),
        "significantly_better": sum(mean < 0 for mean in certain),
        "significantly_worse": sum(mean > 0 for mean in certain),
    }


def paired_difference(
    before: Sequence[float | None], after: Sequence[float | None], *, larger_is_better: bool
) -> dict[str, Any]:
    r"""Return the mean difference after - before over seeds, with its 95 % interval ``ci_seeds``.

    .. math::  \bar d \pm t_{0.975, n-1} \, s_d / \sqrt n

    Pairs with a ``None`` are left out; ``relative`` is ``mean`` over the mean of ``before``,
    ``better`` the number of pairs that improved, of ``n``.
    """
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    n, interval = len(pairs), None
    if n == 0:
        return {"mean": None, "ci_seeds": None, "relative": None, "better": 0, "n": 0}
    base, new = np.array(pairs, dtype=float).T
    change = new - base
    mean = float(change.mean())
    if n > 1:
        half = quantile(0.95, n - 1) * float(change.std(ddof=1)) / math.sqrt(n)
        interval = [mean - half, mean + half]
    return {
        "mean": mean,
        "ci_seeds": interval,
        "relative": mean / float(base.mean()) if base.mean() else None,
        "better": int((change > 0).sum() if larger_is_better else (change < 0).sum()),
        "n": n,
    }


def _common_regions(done: Sequence[RunRecord]) -> list[str]:
    """Return the regions that all runs have: the six, then named ones."""
    scores = [record["result"]["metrics"]["test"] for record in done]
    candidates = dict.fromkeys((*REGION_NAMES, *(scores[0] if scores else ())))
    return [name for name in candidates if all(name in test for test in scores)]


def _results_by_seed(records: Iterable[RunRecord], method: str) -> dict[int, Record]:
    runs = ((record["identity"], record["result"]) for record in records)
    return {run["seed"]: result for run, result in runs if run["method"] == method}


def _each_score(regions: Sequence[str], score: Callable[[str, str], dict[str, Any]]) -> Scores:
    return {
        region: {metric: score(region, metric) for metric in ("n", *METRICS)} for region in regions
    }


def _summarize_score(results: Sequence[Record], part: str, region: str, metric: str) -> Record:
    """Return mean, standard deviation and count of a score over runs."""
    values = [v for v in _values(results, part, region, metric) if v is not None]
    return {
        "mean": float(np.mean(values)) if values else None,
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "n": len(values),
    }


def _values(results: Sequence[Record], part: str, region: str, metric: str) -> list[float | None]:
    return [result["metrics"][part][region][metric] for result in results]


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
