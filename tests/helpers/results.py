"""A ``results.json`` of any size, computed from random labels and predictions."""

import json

import numpy as np

from ranksim.evaluation.comparison import add_comparison
from ranksim.evaluation.diagnostics import error_by_bin, error_in_gaps, round_for_json
from ranksim.evaluation.intervals import MIN_SEEDS
from ranksim.evaluation.judgment import judge_sweep
from ranksim.evaluation.predictions import Predictions
from ranksim.evaluation.summary import summarize
from ranksim.imbalance import LabelBins
from ranksim.training.method import published_method_names
from tests.helpers.records import run_record

METRICS = ("mae", "mse", "gm", "pearson", "spearman")
_RECIPE = {"lr": 1e-3, "batch_size": 16, "ranksim_weight": 0.3, "fds_bins": 50, "loss": "mse"}

EVIL = "</script><script>window.ran = 1</script><img src=x onerror=window.ran=1>\"' $x$ \0 {{7*7}}"


def make_results(
    methods=("vanilla", "vanilla+fds", "vanilla+ranksim", "inv"),
    *,
    seeds=3,
    bins=50,
    samples=300,
    named=None,
    dropped=(),
    failed=(),
    name="similarity",
    unit=None,
    benchmark="sts-b-dir",
    published=True,
    tsne=True,
    thresholds=(100, 20),
    epochs=12,
    factors=None,
    test_set=None,
    num_groups=0,
):
    """Make the results of a sweep in the current format.

    Args:
        methods: names; ``"all"``: the 32 of the published table.
        failed: pairs of method and seed.
        dropped: pairs of low and high.
        named: named regions, name to (low, high).
        factors: of the noise by region, of methods by name.
        test_set: how the test set was chosen; then the results are judged by their predictions,
            and have views, a conclusion, comparisons and largest errors.
        num_groups: groups of the test samples, if there are any.
    """
    methods = published_method_names("sts-b-dir") if methods == "all" else list(methods)
    generator = np.random.default_rng(0)
    label_bins = LabelBins.uniform(0.0, 5.0, bins)
    edges = label_bins.edges
    train = 5 - generator.beta(2.2, 1.1, 4000) * 5
    for low, high in dropped:
        train = train[(train < low) | (train > high)]
    counts = np.histogram(train, edges)[0]
    test = np.sort(generator.uniform(0, 5, samples))
    many, few = thresholds
    above, below = many or 100, few or 20
    regions = ["many" if n > above else "few" if n < below else "medium" for n in counts]
    masks = _masks(test, edges, counts, regions, named or {})
    labels = {
        "name": name, "unit": unit, "edges": edges.tolist(), "train": counts.tolist(),
        "test": np.histogram(test, edges)[0].tolist(), "regions": regions,
        "many": many, "few": few, "named": {k: list(v) for k, v in (named or {}).items()},
        "dropped": [f"{low:g}-{high:g}" for low, high in dropped],
    }  # fmt: skip
    chosen = np.linspace(0, samples - 1, min(120, samples)).astype(int)
    runs, predictions = [], {}
    groups = np.arange(samples) % num_groups if num_groups else None
    for k, method in enumerate(methods):
        for seed in range(seeds):
            recipe = _RECIPE | ({"ranksim_weight": 1.0} if "ranksim" in method else {})
            if (method, seed) in failed:
                runs.append(
                    run_record(method, seed, status="failed", recipe=recipe, error="Diverged.")
                )
                continue
            noise = np.random.default_rng([k, seed])
            density = counts[np.clip(np.digitize(test, edges) - 1, 0, bins - 1)]
            size = 0.5 + 0.5 / np.sqrt(1 + density / 20) - 0.08 * ("ranksim" in method)
            for region, factor in (factors or {}).get(method, {}).items():
                size = size * np.where(masks.get(region, False), factor, 1.0)
            preds = test + noise.normal(0.05 * k / len(methods), size)
            predictions[method, seed] = Predictions(
                np.arange(samples), preds, masks, test, groups,
                origin={"row": list(range(1, samples + 1)), "line": list(range(2, samples + 2))},
            )  # fmt: skip
            scores = _scores(test, preds, masks)
            if test_set is not None:  # of a version that judges its results
                scores["all"] |= _balanced(test, preds, edges)
            result = {
                "metrics": dict.fromkeys(("test", "val"), scores),
                "epochs": epochs + seed, "best_epoch": epochs - 3, "steps": 99,
                "seconds": float(30 + 5 * k + seed), "peak_memory_mb": 400.0 + 11 * k + seed,
                "curves": _curves(noise, epochs + seed, "ranksim" in method),
                "error_by_bin": round_for_json(error_by_bin(label_bins, test, preds)),
                "gaps": round_for_json(error_in_gaps(label_bins, train, test, preds)),
                "ranks": _ranks(noise, edges, 0.6 + 0.2 * ("ranksim" in method)),
            }  # fmt: skip
            if seed == min(s for s in range(seeds) if (method, s) not in failed):
                result["projection"] = _projection(noise, test[chosen], tsne)
            runs.append(run_record(method, seed, recipe=recipe, **result))
    summary = summarize(runs, benchmark)
    for row in summary if not published else ():
        row["published"] = None
    baseline = "vanilla" if "vanilla" in methods else methods[0]
    judged = {}
    if test_set is None:
        add_comparison(summary, runs, baseline, None)
        _add_intervals(summary, 2.0 + (len(methods) - 1) / 20)
    else:
        rows = counts + np.asarray(labels["test"])
        labels["views"] = {
            "test_set": test_set, "edges": edges.tolist(), "rows": rows.tolist(),
            "test": labels["test"],
        }  # fmt: skip
        facts = {"name": "scores.csv", "split_by": "group" if num_groups else "random"}
        for run in runs:
            run["provenance"]["data"] = facts
        judged = judge_sweep(
            summary, runs, baseline, "mse", labels, lambda *run: predictions.get(run)
        )
        judged["date"] = "2026-11-28"
    return {
        "format": 4, "benchmark": benchmark, "options": {"split": "yang"}, "preset": "small",
        "regions_from": "rule", "published_note": "published: as printed" if published else None,
        "command": f"ranksim bench {benchmark} --methods all --seeds {seeds}",
        "provenance": runs[0]["provenance"] | {"versions": {"ranksim": "0.1.0", "python": "3.11"}},
        "reported_methods": {method: method for method in methods}, "runs": runs,
        "summary": summary, "headline": ["mse", "pearson"], "pairs": {}, "labels": labels,
        "baseline": baseline,
        "conclusion": {
            "error": "mse",
            "regions": {
                region: {"best": methods[-1], "relative": -0.1, "sentence": f"On {region}: none."}
                for region in masks
            },
            "sentence": "No method is better than vanilla here. More seeds may show one.",
        },
        **judged,
    }  # fmt: skip


def without_diagnostics(content):
    """Return the same results as versions before format 3 wrote them, upgraded."""
    missing = ("curves", "error_by_bin", "gaps", "ranks", "projection", "peak_memory_mb")
    runs = [
        run | {"result": {k: v for k, v in run["result"].items() if k not in missing}}
        for run in content["runs"]
    ]
    rows = [{k: v for k, v in row.items() if k != "vs_baseline"} for row in content["summary"]]
    empty = dict.fromkeys(("labels", "baseline", "conclusion"))
    return content | empty | {"runs": runs, "summary": rows}


def evil_results():
    """Results whose names, units, errors and settings contain markup."""
    content = make_results(
        ("vanilla", "vanilla+ranksim", "inv"), named={EVIL: (None, 1.0)}, name=EVIL, unit=EVIL,
        failed=[("inv", 1)],
        seeds=2,
    )  # fmt: skip
    content = json.loads(json.dumps(content).replace('"inv"', json.dumps("inv" + EVIL)))
    for run in content["runs"]:
        run["identity"]["recipe"] = {EVIL: EVIL}
        if run["status"] == "failed":
            run["result"]["error"] = EVIL
    content |= {"benchmark": EVIL, "command": EVIL, "options": {"split": EVIL, "target": EVIL}}
    content["provenance"] |= {"commit": EVIL}
    content["conclusion"]["headline"] = content["published_note"] = EVIL
    content["conclusion"]["points"] = [{"title": EVIL, "sentence": EVIL}]
    return content


def _add_intervals(summary, width):
    """Fill in the intervals that need predictions, as multiples of the one over seeds."""
    for row in summary:
        for scores in row.get("vs_baseline", {"test": {}})["test"].values():
            for effect in (scores["mae"], scores["mse"]):
                if effect["ci_seeds"]:
                    half, mean = effect["ci_seeds"][1] - effect["mean"], effect["mean"]
                    scales = {"ci_samples": 0.6, "ci_total": 1.2}
                    if effect["n"] >= MIN_SEEDS:
                        scales["ci_adjusted"] = width
                    for key, scale in scales.items():
                        effect[key] = [mean - scale * half, mean + scale * half]


def _masks(test, edges, counts, regions, named):
    index = np.clip(np.digitize(test, edges) - 1, 0, len(counts) - 1)
    names = np.asarray(regions)[index]
    masks = {"all": np.ones(len(test), bool)}
    masks |= {r: names == r for r in ("many", "medium", "few")}
    masks |= {"zero": counts[index] == 0, "seen": counts[index] > 0}
    for name, (low, high) in named.items():
        masks[name] = (test >= (low if low is not None else -9)) & (
            test <= (high if high is not None else 99)
        )
    return masks


def _scores(test, preds, masks):
    scores = {}
    for region, mask in masks.items():
        y, p = test[mask], preds[mask]
        error = np.abs(p - y)
        scores[region] = {"n": int(mask.sum())} | dict.fromkeys(METRICS)
        if len(y) > 2:
            pearson = float(np.corrcoef(y, p)[0, 1] * 100)
            scores[region] |= {
                "mae": float(error.mean()), "mse": float((error**2).mean()),
                "gm": float(np.exp(np.log(error + 1e-10).mean())),
                "pearson": pearson, "spearman": pearson - 1,
            }  # fmt: skip
    return scores


def _ranks(noise, edges, agreement, most=24):
    count = min(most, len(edges) - 1)
    wide = np.linspace(edges[0], edges[-1], count + 1)
    centers = (wide[:-1] + wide[1:]) / 2
    distance = np.abs(centers[:, None] - centers)

    def ranks(values):
        return np.argsort(np.argsort(values, axis=1), axis=1) + 1.0

    blurred = distance + (1 - agreement) * 4 * noise.random(distance.shape)
    np.fill_diagonal(blurred, -1)
    return {
        "edges": wide.tolist(), "centres": centers.tolist(), "anchors": [9] * count,
        "label": ranks(distance).tolist(), "feature": ranks(blurred).tolist(),
        "agreement": agreement + 0.01 * float(noise.normal()),
    }  # fmt: skip


def _projection(noise, labels, tsne):
    angle = labels / 5 * 4
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.round(circle + 0.15 * noise.normal(size=circle.shape), 4)
    return {
        "labels": labels.tolist(),
        "pca": points.tolist(),
        "tsne": (30 * points).tolist() if tsne else None,
    }


def _balanced(test, preds, edges):
    index = np.clip(np.digitize(test, edges) - 1, 0, len(edges) - 2)
    errors = [np.abs(preds - test)[index == k] for k in np.unique(index)]
    means = {
        name: float(np.mean([np.mean(size**power) for size in errors]))
        for name, power in (("balanced_mae", 1), ("balanced_mse", 2))
    }
    return means | {"ccc": 0.5, "sera": 2.0}


def _curves(noise, epochs, has_ranksim):
    decay = 1 + np.exp(-np.arange(epochs) / 3)
    curves = {
        "epoch": list(range(1, epochs + 1)),
        "train_loss": (0.5 * decay).tolist(),
        "val": (decay + 0.05 * noise.normal(size=epochs)).tolist(),
        "monitor": "mse",
    }
    return curves | ({"train_ranksim": (0.1 * decay).tolist()} if has_ranksim else {})
