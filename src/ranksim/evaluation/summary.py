"""Records to a summary: means over seeds, and paired differences with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ranksim._utils.formatting import MIN_SEEDS
from ranksim.datasets.published import published_table
from ranksim.evaluation.intervals import quantile
from ranksim.evaluation.record import RunRecord
from ranksim.metrics import METRICS, REGION_NAMES
from ranksim.training.method import RANKSIM_SUFFIX

Record = dict[str, Any]


def summarise(
    records: Sequence[RunRecord], benchmark: str, rows: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """One entry a row: test scores over seeds, published figures, the effect of RankSim.

    Per region and metric ``mean``, ``sd`` (over seeds, n − 1) and ``n`` (seeds that have the
    score). ``truncated``: the seeds that a time budget ended early. ``vs_without_ranksim`` compares a method
    with RankSim to the same method without it, seed by seed.

    Args:
        records: one a run.
        benchmark: whose published figures stand beside, if the runs were made on its very data.
        rows: the method that each row reports, where two names are one method
            (``{"vanilla+lds": "inv+lds"}``); methods beyond these follow as rows of their own.
    """
    done = [record for record in records if record["status"] == "done"]
    trained = {
        name: name for name in dict.fromkeys(record["identity"]["method"] for record in records)
    }
    asked = {name: key for name, key in (rows or {}).items() if key in trained}
    comparable = all(record["provenance"].get("comparable", True) for record in done)
    published = published_table(benchmark) if comparable else {}
    regions = _regions(done)
    named = asked | {key: key for key in trained if key not in asked.values()}
    entries = []
    for name, key in named.items():
        own = _by_seed(done, key)
        cut = sorted(seed for seed, record in own.items() if "truncated" in record["result"])
        row: dict[str, Any] = {
            "method": name,
            **({"alias_of": key} if name != key else {}),
            "seeds": sorted(own),
            "failed": sum(
                r["identity"]["method"] == key and r["status"] != "done" for r in records
            ),
            "test": _each_score(
                regions, lambda m, r, own=own: _spread(_values(own.values(), r, m))
            ),
            "val": _each_score(
                regions, lambda m, r, own=own: _spread(_values(own.values(), r, m, "val"))
            ),
            **({"truncated": cut} if cut else {}),
            "seconds_median": _median([record["result"]["seconds"] for record in own.values()]),
            "epochs_median": _median([record["result"]["epochs"] for record in own.values()]),
            "published": published.get(name),
        }
        if key.endswith(RANKSIM_SUFFIX):
            seeds, effects = paired_scores(records, key.removesuffix(RANKSIM_SUFFIX), key)
            row["vs_without_ranksim"] = {
                "method": name.removesuffix(RANKSIM_SUFFIX),
                "seeds": seeds,
                "test": effects,
            }
        entries.append(row)
    return entries


def paired_scores(
    records: Sequence[RunRecord], before: str, after: str
) -> tuple[list[int], dict[str, dict[str, Any]]]:
    """Two methods seed by seed: the seeds that both have, and the change of each test score.

    Args:
        records: one a run.
        before: the key of the method that is compared to.
        after: that of the other.
    """
    done = [record for record in records if record["status"] == "done"]
    base, own = _by_seed(done, before), _by_seed(done, after)
    seeds = sorted(set(own) & set(base))
    return seeds, _each_score(
        _regions(done),
        lambda m, r: paired_difference(
            _values([base[seed] for seed in seeds], r, m),
            _values([own[seed] for seed in seeds], r, m),
            larger_is_better=m in ("pearson", "spearman"),
        ),
    )


def count_pairs(summary: Sequence[dict[str, Any]], error: str = "mse") -> dict[str, int]:
    """In how many pairs of rows, with and without RankSim, the mean test error over all is lower.

    Args:
        summary: of :func:`summarise`.
        error: which one, ``"mse"`` or ``"mae"``.

    Returns:
        ``improved`` of ``pairs``; ``shown`` and ``worse``, pairs of three seeds or more whose 95 %
        interval lies wholly below or above zero; ``different``, the pairs without those that are
        one method under two names; ``improved_different`` of these.
    """
    effects = [
        (row.get("alias_of", row["method"]), row["vs_without_ranksim"]["test"]["all"][error])
        for row in summary
        if row.get("vs_without_ranksim")
        and row["vs_without_ranksim"]["test"]["all"][error]["mean"] is not None
    ]
    different = dict(effects).values()
    certain = [effect for _, effect in effects if effect["n"] >= MIN_SEEDS]
    return {
        "pairs": len(effects),
        "improved": sum(effect["mean"] < 0 for _, effect in effects),
        "different": len(different),
        "improved_different": sum(effect["mean"] < 0 for effect in different),
        "shown": sum(effect["ci_seeds"][1] < 0 for effect in certain),
        "worse": sum(effect["ci_seeds"][0] > 0 for effect in certain),
    }


def paired_difference(
    before: Sequence[float | None], after: Sequence[float | None], *, larger_is_better: bool
) -> dict[str, Any]:
    r"""Mean difference after − before over pairs, with its 95 % interval.

    .. math::  \bar d \pm t_{0.975, n-1} \, s_d / \sqrt n

    Args:
        before: a score per seed.
        after: the same, in the same order of seeds; pairs with a ``None`` are left out.
        larger_is_better: which direction ``better`` counts.

    Returns:
        ``mean``, ``ci_seeds`` (low and high, ``None`` with fewer than two pairs), ``relative`` (mean
        over the mean of ``before``), ``better`` (pairs that improved) and ``n``.

    Example:
        >>> d = paired_difference([1.0, 1.2, 1.1], [0.9, 1.0, 1.0], larger_is_better=False)
        >>> round(d["mean"], 3), round(d["ci_seeds"][0], 3), d["better"], d["n"]
        (-0.133, -0.277, 3, 3)
    """
    pairs = [(a, b) for a, b in zip(before, after, strict=True) if a is not None and b is not None]
    n = len(pairs)
    if n == 0:
        return {"mean": None, "ci_seeds": None, "relative": None, "better": 0, "n": 0}
    base, new = np.array(pairs, dtype=float).T
    change = new - base
    mean = float(change.mean())
    half = None
    if n > 1:
        half = quantile(0.95, n - 1) * float(change.std(ddof=1)) / math.sqrt(n)
    return {
        "mean": mean,
        "ci_seeds": None if half is None else [mean - half, mean + half],
        "relative": mean / float(base.mean()) if base.mean() else None,
        "better": int((change > 0).sum() if larger_is_better else (change < 0).sum()),
        "n": n,
    }


def _regions(done: Sequence[RunRecord]) -> list[str]:
    """Those that all runs have: the six, then the named ones."""
    known = dict.fromkeys((*REGION_NAMES, *(done[0]["result"]["metrics"]["test"] if done else ())))
    return [name for name in known if all(name in r["result"]["metrics"]["test"] for r in done)]


def _by_seed(records: Iterable[RunRecord], method: str) -> dict[int, RunRecord]:
    return {
        record["identity"]["seed"]: record
        for record in records
        if record["identity"]["method"] == method
    }


def _each_score(regions: Sequence[str], score: Any) -> dict[str, dict[str, Any]]:
    return {
        region: {metric: score(metric, region) for metric in ("n", *METRICS)} for region in regions
    }


def _values(
    records: Iterable[RunRecord], region: str, metric: str, part: str = "test"
) -> list[float | None]:
    return [record["result"]["metrics"][part][region][metric] for record in records]


def _spread(values: Sequence[float | None]) -> dict[str, float | int | None]:
    known = [value for value in values if value is not None]
    return {
        "mean": float(np.mean(known)) if known else None,
        "sd": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "n": len(known),
    }


def _median(values: Sequence[float]) -> float | None:
    return float(np.median(values)) if values else None
