"""A ``results.json`` of any size, made of drawn labels and predictions, to try the page on."""

import numpy as np

from ranksim.evaluation.summary import paired_difference, summarise
from ranksim.training.method import published_method_names
from tests.helpers.records import run_record

METRICS = ("mae", "mse", "gm", "pearson", "spearman")
_RECIPE = {"lr": 1e-3, "batch_size": 16, "ranksim_weight": 0.3, "fds_bins": 50, "loss": "mse"}


def results(
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
):
    """Return the content of a results.json, in format 4.

    Args:
        methods: names; ``"all"``: the 32 of the published table.
        failed: pairs of method and seed.
        dropped: pairs of low and high.
        named: own regions, name to (low, high).
    """
    methods = published_method_names("sts-b-dir") if methods == "all" else list(methods)
    draw = np.random.default_rng(0)
    edges = np.linspace(0.0, 5.0, bins + 1)
    train = 5 - draw.beta(2.2, 1.1, 4000) * 5
    for low, high in dropped:
        train = train[(train < low) | (train > high)]
    counts = np.histogram(train, edges)[0]
    test = np.sort(draw.uniform(0, 5, samples))
    many, few = thresholds
    above, below = many or 100, few or 20
    regions = ["many" if n > above else "few" if n < below else "medium" for n in counts]
    own = named or {}
    masks = _masks(test, edges, counts, regions, own)
    labels = {
        "name": name, "unit": unit, "edges": edges.tolist(), "train": counts.tolist(),
        "test": np.histogram(test, edges)[0].tolist(), "regions": regions,
        "many": many, "few": few, "named": {k: list(v) for k, v in own.items()},
        "dropped": [f"{low:g}-{high:g}" for low, high in dropped],
    }  # fmt: skip
    picked = np.linspace(0, samples - 1, min(120, samples)).astype(int)
    runs = []
    for k, method in enumerate(methods):
        for seed in range(seeds):
            if (method, seed) in failed:
                runs.append(_record(method, seed, status="failed", error="Diverged."))
                continue
            noise = np.random.default_rng([k, seed])
            density = counts[np.clip(np.digitize(test, edges) - 1, 0, bins - 1)]
            size = 0.5 + 0.5 / np.sqrt(1 + density / 20) - 0.08 * ("ranksim" in method)
            guess = test + noise.normal(0.05 * k / len(methods), size)
            runs.append(
                _record(
                    method, seed, **{
                    "metrics": dict.fromkeys(("test", "val"), _scores(test, guess, masks)),
                    "epochs": epochs + seed, "best_epoch": epochs - 3, "steps": 99,
                    "seconds": float(30 + 5 * k + seed), "peak_memory_mb": 400.0 + 11 * k + seed,
                    "curves": _curves(noise, epochs + seed, "ranksim" in method),
                    "error_by_bin": _by_bin(test, guess, edges),
                    "gaps": _gaps(test, guess, train, edges, counts),
                    "ranks": _ranks(noise, edges, 0.6 + 0.2 * ("ranksim" in method)),
                })
            )  # fmt: skip
            if seed == min(s for s in range(seeds) if (method, s) not in failed):
                runs[-1]["result"]["projection"] = _embedding(noise, test[picked], tsne)
    summary = summarise(runs, benchmark)
    if not published:
        for row in summary:
            row["published"] = None
    baseline = "vanilla" if "vanilla" in methods else methods[0]
    compare(summary, runs, baseline, len(methods) - 1)
    return {
        "format": 4, "benchmark": benchmark, "options": {"split": "yang"}, "preset": "small",
        "regions_from": "rule",
        "published_note": "published: as printed" if published else None,
        "command": f"ranksim bench {benchmark} --methods all --seeds {seeds}",
        "provenance": {
            "versions": {"ranksim": "0.1.0", "python": "3.11.7"}, "commit": "abc",
            "machine": {"system": "Linux", "processor": "CPU"},
        },
        "reported_methods": {method: method for method in methods}, "runs": runs, "summary": summary,
        "headline": ["mse", "pearson"], "pairs": {}, "labels": labels, "baseline": baseline,
        "conclusion": {
            "error": "mse",
            "regions": {
                region: {"best": methods[-1], "relative": -0.1, "sentence": f"On {region}: none."}
                for region in masks
            },
            "sentence": "No method is better than vanilla here. More seeds may show one.",
        },
    }  # fmt: skip


def compare(summary, runs, baseline, methods):
    """Add the comparison with the baseline to each row."""
    by = {
        (run["identity"]["method"], run["identity"]["seed"]): run
        for run in runs
        if run["status"] == "done"
    }
    for row in summary:
        own = row["method"]
        seeds = [s for s in row["seeds"] if (baseline, s) in by]
        if own == baseline:
            continue
        test = {}
        for region, scores in row["test"].items():
            test[region] = {}
            for metric in METRICS:
                values = [
                    [
                        by[m, s]["result"]["metrics"]["test"].get(region, scores)[metric]
                        for s in seeds
                    ]
                    for m in (baseline, own)
                ]
                effect = paired_difference(*values, larger_is_better=metric in METRICS[3:])
                if metric in ("mae", "mse"):
                    interval = effect["ci_seeds"]
                    for key, wide in (
                        ("ci_samples", 0.6),
                        ("ci_total", 1.2),
                        ("ci_adjusted", 2.0 + methods / 20),
                    ):
                        half = wide * (interval[1] - effect["mean"]) if interval else None
                        ends = [effect["mean"] - half, effect["mean"] + half] if interval else None
                        effect[key] = ends
                test[region][metric] = effect
        row["vs_baseline"] = {"method": baseline, "seeds": seeds, "test": test}


def _record(method, seed, **fields):
    recipe = _RECIPE | ({"ranksim_weight": 1.0} if "ranksim" in method else {})
    return run_record(method, seed, recipe=recipe, **fields)


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


def _scores(test, guess, masks):
    scores = {}
    for region, mask in masks.items():
        y, p = test[mask], guess[mask]
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


def _by_bin(test, guess, edges):
    index = np.clip(np.digitize(test, edges) - 1, 0, len(edges) - 2)
    told = {"n": [], "mae": [], "mse": []}
    for k in range(len(edges) - 1):
        error = np.abs(guess - test)[index == k]
        told["n"].append(len(error))
        told["mae"].append(float(error.mean()) if len(error) else None)
        told["mse"].append(float((error**2).mean()) if len(error) else None)
    return told


def _gaps(test, guess, train, edges, counts):
    index = np.clip(np.digitize(test, edges) - 1, 0, len(edges) - 2)
    inside = counts[index] == 0
    if not inside.any():
        return None
    apart = np.abs(test[inside][:, None] - train).min(axis=1)
    error = np.abs(guess - test)[inside]
    groups = np.linspace(0, apart.max(), 7)
    at = np.clip(np.digitize(apart, groups) - 1, 0, 5)
    told = {"distance": groups.tolist(), "n": [], "mae": [], "mse": []}
    for g in range(6):
        told["n"].append(int((at == g).sum()))
        told["mae"].append(float(error[at == g].mean()) if told["n"][-1] else None)
        told["mse"].append(float((error[at == g] ** 2).mean()) if told["n"][-1] else None)
    return told


def _ranks(noise, edges, agreement, most=24):
    count = min(most, len(edges) - 1)
    wide = np.linspace(edges[0], edges[-1], count + 1)
    centres = (wide[:-1] + wide[1:]) / 2
    apart = np.abs(centres[:, None] - centres)

    def ranks(values):
        return np.argsort(np.argsort(values, axis=1), axis=1) + 1.0

    blurred = apart + (1 - agreement) * 4 * noise.random(apart.shape)
    np.fill_diagonal(blurred, -1)
    return {
        "edges": wide.tolist(), "centres": centres.tolist(), "anchors": [9] * count,
        "label": ranks(apart).tolist(), "feature": ranks(blurred).tolist(),
        "agreement": agreement + 0.01 * float(noise.normal()),
    }  # fmt: skip


def _embedding(noise, labels, tsne):
    angle = labels / 5 * 4
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points = np.round(circle + 0.15 * noise.normal(size=circle.shape), 4)
    return {
        "labels": labels.tolist(),
        "pca": points.tolist(),
        "tsne": (30 * points).tolist() if tsne else None,
    }


def _curves(noise, epochs, ranksim):
    decay = 1 + np.exp(-np.arange(epochs) / 3)
    told = {
        "epoch": list(range(1, epochs + 1)),
        "train_loss": (0.5 * decay).tolist(),
        "val": (decay + 0.05 * noise.normal(size=epochs)).tolist(),
        "monitor": "mse",
    }
    return told | ({"train_ranksim": (0.1 * decay).tolist()} if ranksim else {})
