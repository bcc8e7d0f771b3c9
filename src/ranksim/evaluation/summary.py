"""Summarize run records: mean scores over seeds, by region and test view."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ranksim.datasets.published import published_table
from ranksim.evaluation.intervals import MIN_SEEDS, excludes_zero, quantile
from ranksim.evaluation.predictions import Predictions
from ranksim.evaluation.record import RunRecord
from ranksim.evaluation.views import ViewCounts
from ranksim.metrics import METRICS, REGION_NAMES, regression_scores
from ranksim.metrics.distributions import Distribution
from ranksim.training.method import ENCODER, without_ranksim

Record = dict[str, Any]
Scores = dict[str, dict[str, Any]]  # region, then metric
BASELINE = "vanilla"
Floats = NDArray[np.float64]
ERRORS: Mapping[str, Callable[[Floats], Floats]] = {"mae": np.abs, "mse": np.square}

ReadPredictions = Callable[[str, int], Predictions | None]  # by method and seed


def summarize(
    records: Sequence[RunRecord], benchmark: str, reported_methods: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """Summarize runs in one row per method: mean scores over seeds, and the gain by RankSim.

    Per region and metric a row has ``mean``, ``sd`` (over seeds, n - 1) and ``n`` (seeds with the
    score). ``vs_without_ranksim`` compares a method with RankSim to the same method without it,
    seed by seed. ``reported_methods`` maps rows to the methods that they report, for methods with
    two names (``{"vanilla+lds": "inv+lds"}``). Published figures need exactly the published data.
    """
    done = [record for record in records if record["status"] == "done"]
    trained = list(dict.fromkeys(record["identity"]["method"] for record in records))
    # a first stage that trains the encoder alone is no method
    trained = [key for key in trained if not key.startswith(f"{ENCODER}+")]
    reported = {row: key for row, key in (reported_methods or {}).items() if key in trained}
    reported |= {key: key for key in trained if key not in reported.values()}
    comparable = all(record["provenance"].get("comparable", True) for record in done)
    published = published_table(benchmark) if comparable else {}
    regions = _common_regions(done)
    rows = []
    for name, key in reported.items():
        by_seed = results_by_seed(done, key)
        results = list(by_seed.values())
        row: dict[str, Any] = {
            "method": name,
            **({"alias_of": key} if name != key else {}),
            "seeds": sorted(by_seed),
            **({"fitted_once": True} if is_fitted_once(by_seed) else {}),
            "failed": len(failed_runs(records, {"method": key})),
            "test": _add_further_scores(
                _each_score(regions, partial(_summarize_score, results, "test")), results
            ),
            "val": _each_score(regions, partial(_summarize_score, results, "val")),
            "seconds_median": _median([result["seconds"] for result in results]),
            "epochs_median": _median([result["epochs"] for result in results]),
            "published": published.get(name),
        }
        if (base_key := without_ranksim(key)) is not None:
            seeds, effects = paired_scores(records, base_key, key)
            base = without_ranksim(name) or base_key
            row["vs_without_ranksim"] = {"method": base, "seeds": seeds, "test": effects}
        rows.append(row)
    return rows


def choose_baseline(summary: Sequence[Record]) -> str:
    """Return the baseline's name: ``vanilla`` if it has a row, else the first row's method."""
    rows = [row["method"] for row in summary]
    return BASELINE if BASELINE in rows else rows[0]


def add_ensembles(summary: Sequence[Record], read: ReadPredictions) -> None:
    """Add ``ensemble``, the scores of the mean prediction of all seeds, to rows, in place.

    Rows with fewer than two seeds, or without predictions of the same samples, have none.
    """
    ensembles: dict[str, Record | None] = {}
    for row in summary:
        key = method_key(row)
        if key not in ensembles:
            runs = [] if len(row["seeds"]) < 2 else [read(key, seed) for seed in row["seeds"]]
            ensembles[key] = _score_ensemble([each for each in runs if each is not None], row)
        if ensembles[key] is not None:
            row["ensemble"] = ensembles[key]


def _score_ensemble(runs: Sequence[Predictions], row: Record) -> Record | None:
    """Return the scores by region of the mean of predictions; None if they cannot be averaged."""
    if len(runs) < 2 or len(runs) < len(row["seeds"]):
        return None
    first = runs[0]
    if first.labels is None or any(not np.array_equal(r.rows, first.rows) for r in runs):
        return None
    mean = np.mean([each.preds for each in runs], axis=0)
    preds = torch.from_numpy(mean)
    labels = torch.tensor(first.labels)  # a copy, as the array is read-only
    distribution = Distribution.mean([each.distribution for each in runs])
    scores = {}
    for region in (name for name in first.regions if name in row["test"]):
        mask = first.regions[region]
        scores[region] = dict(regression_scores(preds[mask], labels[mask]))
        if distribution is not None:
            part = distribution.take(mask)
            scores[region] |= part.score(mean[mask], first.labels[mask])
    return scores


def add_views(summary: Sequence[Record], read: ReadPredictions, counts: ViewCounts | None) -> None:
    """Add ``views``, the errors under each test view, to rows with predictions, in place.

    Per view and error a row has ``mean``, ``sd`` and ``n`` over seeds; ``ensemble_views`` holds the
    errors of the mean prediction of all seeds. See :class:`ViewCounts` for the weights.
    """
    if counts is None:
        return
    for row in summary:
        runs = [read(method_key(row), seed) for seed in row["seeds"]]
        complete = [run for run in runs if run is not None]
        labels = complete[0].labels if complete else None
        weights = None if labels is None else counts.weights(labels)
        if weights is None or len(complete) < len(runs):
            continue
        if any(not np.array_equal(run.rows, complete[0].rows) for run in complete):
            continue
        errors = np.stack([run.errors for run in complete])
        row["views"] = {
            view: {
                metric: _summarize_values((size(errors) * weight).mean(axis=1).tolist())
                for metric, size in ERRORS.items()
            }
            for view, weight in weights.items()
        }
        if row.get("ensemble"):
            mean = errors.mean(axis=0)
            row["ensemble_views"] = {
                view: {m: float((size(mean) * weight).mean()) for m, size in ERRORS.items()}
                for view, weight in weights.items()
            }


def method_key(row: Mapping[str, Any]) -> str:
    """Return the method key whose runs a summary row reports; an alias reports another method's."""
    return str(row.get("alias_of", row["method"]))


def unique_rows(summary: Sequence[Record]) -> list[Record]:
    """Return the first row of each method, without further rows that report the same runs."""
    rows: dict[str, Record] = {}
    for row in summary:
        rows.setdefault(method_key(row), row)
    return list(rows.values())


def failed_runs(
    records: Iterable[Mapping[str, Any]], row: Mapping[str, Any]
) -> list[Mapping[str, Any]]:
    """Return the failed runs of the method that a summary row reports."""
    failed = (record for record in records if record["status"] != "done")
    return [record for record in failed if record["identity"]["method"] == method_key(row)]


def share_of_failed(failed: Sequence[Mapping[str, Any]], row: Mapping[str, Any]) -> str:
    """Return the share of failed runs as text, such as ``"2 of 5 "``; ``""`` if all failed."""
    return f"{len(failed)} of {len(failed) + len(row['seeds'])} " if row["seeds"] else ""


def describe_failure(record: Mapping[str, Any]) -> str:
    """Describe in a few words why a run failed, such as ``diverged at step 120 (lr 0.1)``."""
    result = record["result"]
    divergence = result.get("diverged") or {}
    if "step" not in divergence:
        return str(result.get("error", ""))
    stage = " in stage one" * ("stage_one" in divergence)
    stage = f" in {divergence['member']}" if "member" in divergence else stage
    return f"diverged{stage} at step {divergence['step']} (lr {divergence['lr']:g})"


def paired_scores(
    records: Sequence[RunRecord], before: str, after: str
) -> tuple[list[int], Scores]:
    """Return the common seeds of two methods and the mean change of each test score over them."""
    done = [record for record in records if record["status"] == "done"]
    base, other = results_by_seed(done, before), results_by_seed(done, after)
    runs = pair_runs(records, before, after)
    pair = [[base[seed] for seed, _ in runs.values()], [other[seed] for _, seed in runs.values()]]

    def compare(region: str, metric: str) -> dict[str, Any]:
        values = (_values(results, "test", region, metric) for results in pair)
        return paired_difference(*values, larger_is_better=metric in ("pearson", "spearman"))

    return list(runs), _each_score(_common_regions(done), compare)


def pair_runs(records: Sequence[RunRecord], before: str, after: str) -> dict[int, tuple[int, int]]:
    """Return the seeds of the two runs that are compared, by the seed that both share.

    A method that does not depend on its seed has one run, which is compared with every run of the
    other method.
    """
    done = [record for record in records if record["status"] == "done"]
    base, other = results_by_seed(done, before), results_by_seed(done, after)
    if not base or not other:
        return {}
    if is_fitted_once(other):
        seeds = [min(base)] if is_fitted_once(base) else sorted(base)
        return {seed: (seed, min(other)) for seed in seeds}
    if is_fitted_once(base):
        return {seed: (min(base), seed) for seed in sorted(other)}
    return {seed: (seed, seed) for seed in sorted(set(base) & set(other))}


def is_fitted_once(by_seed: Mapping[int, Record]) -> bool:
    """Return True for the runs of a method that does not depend on its seed."""
    return bool(by_seed) and not any(r.get("seed_matters", True) for r in by_seed.values())


def count_pairs(summary: Sequence[dict[str, Any]], error: str = "mse") -> dict[str, int]:
    """Count the methods that have a row with and without RankSim, and those that it improves.

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
    r"""Return the mean of after - before over seeds and its 95 % interval ``ci_seeds``.

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
    """Return the regions scored in all runs: the standard six, then the user's regions."""
    scores = [record["result"]["metrics"]["test"] for record in done]
    candidates = dict.fromkeys((*REGION_NAMES, *(scores[0] if scores else ())))
    return [name for name in candidates if all(name in test for test in scores)]


def results_by_seed(records: Iterable[RunRecord], method: str) -> dict[int, Record]:
    """Return the results of the runs of a method by seed."""
    runs = ((record["identity"], record["result"]) for record in records)
    return {run["seed"]: result for run, result in runs if run["method"] == method}


def _each_score(regions: Sequence[str], score: Callable[[str, str], dict[str, Any]]) -> Scores:
    return {
        region: {metric: score(region, metric) for metric in ("n", *METRICS)} for region in regions
    }


def _add_further_scores(summary: Scores, results: Sequence[Record]) -> Scores:
    """Add the test scores that only some runs have, such as ``ccc``, of all of these."""
    for region, scores in summary.items():
        names = (name for result in results for name in result["metrics"]["test"][region])
        for name in dict.fromkeys(names):
            if name not in scores:
                scores[name] = _summarize_score(results, "test", region, name)
    return summary


def _summarize_score(results: Sequence[Record], part: str, region: str, metric: str) -> Record:
    """Return the mean, standard deviation and number of values of one score over runs."""
    return _summarize_values([v for v in _values(results, part, region, metric) if v is not None])


def _summarize_values(values: Sequence[float]) -> Record:
    return {
        "mean": float(np.mean(values)) if values else None,
        "sd": float(np.std(values, ddof=1)) if len(values) > 1 else None,
        "n": len(values),
    }


def _values(results: Sequence[Record], part: str, region: str, metric: str) -> list[float | None]:
    return [result["metrics"][part][region].get(metric) for result in results]


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
