import itertools

import numpy as np
import pytest
import scipy.stats

from ranksim.evaluation.comparison import add_comparison, add_ensemble_changes, compare_pairs
from ranksim.evaluation.predictions import Predictions
from ranksim.evaluation.summary import add_ensembles, add_views, choose_baseline, summarize
from ranksim.evaluation.views import ViewCounts
from ranksim.metrics import REGION_NAMES
from tests.helpers.records import run_record

N = 40
LABELS = np.random.default_rng(0).uniform(0, 3, N)
MASKS = dict.fromkeys(("all", "seen"), np.ones(N, dtype=bool)) | {
    "many": LABELS < 1, "medium": (LABELS >= 1) & (LABELS < 2.9), "few": LABELS >= 2.9,
    "zero": np.zeros(N, dtype=bool), "named": LABELS < 0.5, "one": np.arange(N) == 3,
}  # fmt: skip
REGIONS = (*REGION_NAMES, "named", "one")
SIZES = {"mae": np.abs, "mse": np.square}
INTERVALS = ("ci_samples", "ci_total", "ci_adjusted")
TWO = {"vanilla": 1.0, "inv": 0.8}


def make_sweep(methods, seeds=(0, 1, 2), missing=()):
    """Return records and a reader of predictions; the error of each method has its own size."""
    predictions, records = {}, []
    for (k, method), seed in itertools.product(enumerate(methods), seeds):
        if (method, seed) in missing:
            continue
        generator = np.random.default_rng((k, seed))
        preds = LABELS + generator.normal(0, methods[method], N) + 0.1 * generator.normal()
        predictions[method, seed] = Predictions(np.arange(N), preds, MASKS, LABELS)
        test = {}
        for region in REGIONS:
            error = (preds - LABELS)[MASKS[region]]
            scores = dict.fromkeys(("gm", "pearson", "spearman"), 1.0)
            scores |= {m: f(error).mean() if len(error) else None for m, f in SIZES.items()}
            test[region] = {"n": len(error), **scores}
        metrics = {"test": test, "val": test}
        records.append(run_record(method, seed, seconds=1.0, epochs=1, metrics=metrics))
    return records, lambda *run: predictions.get(run)


def compare(records, read, aliases=None, counts=None):
    summary = summarize(records, "sentiment-dir", aliases)
    add_comparison(summary, records, choose_baseline(summary), read, counts)
    return {row["method"]: row.get("vs_baseline") for row in summary}


def missing(effect, *names):
    return all(effect[name] is None for name in names)


def test_differences_and_intervals_equal_loops():
    records, read = make_sweep({"vanilla": 1.0, "inv": 0.8, "focal-r": 1.0})
    comparisons = compare(records, read)
    assert comparisons["vanilla"] is None
    comparison = comparisons["inv"]
    assert (comparison["method"], comparison["seeds"]) == ("vanilla", [0, 1, 2])
    assert list(comparison["test"]) == list(REGIONS)
    for region, (metric, size) in itertools.product(("all", "named"), SIZES.items()):
        rows = [i for i in range(N) if MASKS[region][i]]
        change = [
            [
                size(read("inv", s).preds[i] - LABELS[i])
                - size(read("vanilla", s).preds[i] - LABELS[i])
                for i in rows
            ]
            for s in range(3)
        ]
        effect = comparison["test"][region][metric]
        by_seed = [sum(line) / len(line) for line in change]
        assert effect["mean"] == pytest.approx(sum(by_seed) / 3)
        paired = scipy.stats.ttest_1samp(by_seed, 0).confidence_interval(0.95)
        assert effect["ci_seeds"] == pytest.approx([paired.low, paired.high])
        by_sample = np.array([sum(line[k] for line in change) / 3 for k in range(len(rows))])
        chosen = np.random.default_rng(0).integers(0, len(rows), (2_000, len(rows)))
        smallest = by_sample.std() / len(by_sample) ** 0.5
        m = by_sample.mean()
        ratios = [(by_sample[k].mean() - m) / max(by_sample[k].std(), smallest) for k in chosen]
        ends = m - by_sample.std() * np.quantile(ratios, [0.975, 0.025])
        percentile = np.quantile([by_sample[k].mean() for k in chosen], [0.025, 0.975])
        expected = [min(ends[0], percentile[0]), max(ends[1], percentile[1])]
        assert effect["ci_samples"] == pytest.approx(expected)
        grand, n = effect["mean"], len(rows)
        a = n * sum((mean - grand) ** 2 for mean in by_seed) / 2
        b = 3 * sum((mean - grand) ** 2 for mean in by_sample) / (n - 1)
        r = sum(
            (change[s][k] - by_seed[s] - by_sample[k] + grand) ** 2
            for s in range(3)
            for k in range(n)
        ) / (2 * (n - 1))
        for name, level in (("ci_total", 0.975), ("ci_adjusted", 0.9875)):  # two comparisons
            t = scipy.stats.t.ppf(level, [2, n - 1])
            square = max(t[0] ** 2 * a, t[0] ** 2 * max(a - r, 0) + t[1] ** 2 * b) / (3 * n)
            expected = [grand - square**0.5, grand + square**0.5]
            assert effect[name] == pytest.approx(expected)
    assert "ci_total" not in comparison["test"]["all"]["pearson"]
    assert missing(comparison["test"]["zero"]["mae"], "mean", "ci_adjusted")


def test_alias_is_compared_once_and_reported_twice():
    aliases = {"vanilla": "vanilla", "vanilla+lds": "inv+lds", "inv+lds": "inv+lds"}
    records, read = make_sweep({"vanilla": 1.0, "inv+lds": 0.8})
    with_alias, alone = compare(records, read, aliases), compare(records, read)
    assert with_alias["vanilla+lds"] == with_alias["inv+lds"] == alone["inv+lds"]


def test_one_common_seed_has_only_sample_interval():
    records, read = make_sweep(TWO, missing=[("vanilla", 0), ("inv", 2)])
    comparison = compare(records, read)["inv"]
    effect = comparison["test"]["all"]["mae"]
    assert comparison["seeds"] == [1]
    assert effect["ci_samples"][0] < effect["mean"] < effect["ci_samples"][1]
    assert missing(effect, "ci_seeds", "ci_total", "ci_adjusted", "seeds_needed")
    assert choose_baseline([{"method": "rrt"}, {"method": "inv"}]) == "rrt"


def test_missing_or_different_predictions_leave_seed_interval():
    records, read = make_sweep({"vanilla": 1.0, "inv": 0.8, "focal-r": 0.9})

    def read_some(method, seed):
        preds = read(method, seed)
        if (method, seed) == ("focal-r", 1):
            return Predictions(preds.rows + 1, preds.preds, MASKS, preds.labels)
        return None if (method, seed) == ("inv", 1) else preds

    for reader in (read_some, None, lambda *_: None):
        comparisons = compare(records, reader)
        for method in ("inv", "focal-r"):
            effect = comparisons[method]["test"]["all"]["mse"]
            assert effect["ci_seeds"][0] < effect["ci_seeds"][1]
            assert missing(effect, *INTERVALS)


def test_region_of_one_sample_has_no_interval():
    test = compare(*make_sweep(TWO))["inv"]["test"]
    assert missing(test["one"]["mae"], *INTERVALS)
    assert not missing(test["few"]["mae"], "ci_samples")


def test_groups_count_instead_of_samples():
    """Each sample repeated four times as one group adds no information; one group has none."""
    records, read = make_sweep(TWO)
    tiled_masks = {name: np.tile(mask, 4) for name, mask in MASKS.items()}

    def test_scores(groups):
        def read_tiled(method, seed):
            preds = read(method, seed)
            tiled_preds, labels = (np.tile(values, 4) for values in (preds.preds, preds.labels))
            return Predictions(np.arange(4 * N), tiled_preds, tiled_masks, labels, groups)

        return compare(records, read_tiled)["inv"]["test"]

    once, grouped = (
        compare(records, read)["inv"]["test"],
        test_scores(np.tile(np.arange(N)[::-1], 4)),
    )
    for region, metric in itertools.product(("all", "many", "named"), SIZES):
        for name in ("ci_total", "ci_adjusted", "seeds_needed"):
            assert grouped[region][metric][name] == pytest.approx(once[region][metric][name])
    narrow = test_scores(None)["all"]["mse"]["ci_samples"]
    assert narrow[0] > 1.1 * once["all"]["mse"]["ci_samples"][0]
    single = test_scores(np.zeros(4 * N, dtype=int))["all"]["mse"]
    assert missing(single, *INTERVALS)
    assert single["ci_seeds"] is not None


def make_counts(test_set="balanced", rows=(600, 60, 20)):
    """Return counts of the test labels in bins of width one, and of rows of the data."""
    edges = np.arange(4.0)
    test = np.histogram(LABELS, edges)[0]
    return ViewCounts(edges, np.array(rows), test, test_set)


def test_views_equal_loops():
    records, read = make_sweep({"vanilla": 1.0, "inv": 0.8})
    counts = make_counts()
    comparison = compare(records, read, counts=counts)["inv"]
    assert list(comparison["views"]) == ["balanced", "as_is", "inverse"]
    per_bin = {"as_is": (600, 60, 20), "inverse": [n / m for n, m in
               zip(counts.test, (600, 60, 20), strict=True)]}  # fmt: skip
    for view, (metric, size) in itertools.product(per_bin, SIZES.items()):
        shares = [share / sum(per_bin[view]) for share in per_bin[view]]
        means = {}
        for method, seed in itertools.product(TWO, range(3)):
            errors = size(read(method, seed).preds - LABELS)
            by_bin = [[e for e, y in zip(errors, LABELS, strict=True) if int(y) == b]
                      for b in range(3)]  # fmt: skip
            means[method, seed] = sum(
                share * sum(group) / len(group) for share, group in zip(shares, by_bin, strict=True)
            )
        effect = comparison["views"][view][metric]
        change = [means["inv", s] - means["vanilla", s] for s in range(3)]
        assert effect["mean"] == pytest.approx(sum(change) / 3)
        before = sum(means["vanilla", s] for s in range(3)) / 3
        assert effect["relative"] == pytest.approx(sum(change) / 3 / before)
        paired = scipy.stats.ttest_1samp(change, 0).confidence_interval(0.95)
        assert effect["ci_seeds"] == pytest.approx([paired.low, paired.high])
        for name in INTERVALS:
            low, high = effect[name]
            assert low < effect["mean"] < high


def test_the_main_view_has_the_scores_and_intervals_of_all():
    records, read = make_sweep(TWO)
    comparison = compare(records, read, counts=make_counts())["inv"]
    for metric in SIZES:
        same, plain = comparison["views"]["balanced"][metric], comparison["test"]["all"][metric]
        for name, value in plain.items():
            if name in INTERVALS or value is None:  # degrees of freedom are rounded down
                assert same[name] == pytest.approx(value, rel=1e-3)
            else:
                assert same[name] == pytest.approx(value)


def test_rows_have_their_views():
    records, read = make_sweep(TWO)
    summary = summarize(records, "sentiment-dir")
    add_ensembles(summary, read)
    add_views(summary, read, make_counts("given"))
    for row in summary:
        method = row["method"]
        weights = make_counts("given").weights(LABELS)
        for view, (metric, size) in itertools.product(weights, SIZES.items()):
            runs = [read(method, seed).errors for seed in range(3)]
            by_seed = [np.average(size(errors), weights=weights[view]) for errors in runs]
            score = row["views"][view][metric]
            assert score["mean"] == pytest.approx(np.mean(by_seed))
            assert score["sd"] == pytest.approx(np.std(by_seed, ddof=1))
            assert score["n"] == 3
            expected = np.average(size(np.mean(runs, axis=0)), weights=weights[view])
            assert row["ensemble_views"][view][metric] == pytest.approx(expected)


@pytest.mark.parametrize("counts", [None, ViewCounts(np.arange(4.0), *np.ones((2, 3)), "given")])
def test_views_need_the_counts_of_the_same_test_set(counts):
    records, read = make_sweep(TWO)
    summary = summarize(records, "sentiment-dir")
    add_views(summary, read, counts)
    add_comparison(summary, records, "vanilla", read, counts)
    assert all("views" not in row for row in summary)
    assert "views" not in summary[1]["vs_baseline"]


def test_a_run_without_predictions_has_no_views():
    records, read = make_sweep(TWO)
    summary = summarize(records, "sentiment-dir")
    add_views(summary, lambda m, s: None if (m, s) == ("inv", 1) else read(m, s), make_counts())
    assert ["views" in row for row in summary] == [True, False]


def test_pairs_have_their_own_reference():
    records, read = make_sweep({"vanilla": 1.0, "inv": 0.8, "rrt": 0.9})
    pairs = [("inv", "rrt"), ("vanilla", "rrt")]
    first, second = compare_pairs(pairs, records, read, num_comparisons=7).values()
    assert (first["method"], second["method"]) == ("inv", "vanilla")
    change = [
        np.abs(read("rrt", s).errors).mean() - np.abs(read("inv", s).errors).mean()
        for s in range(3)
    ]
    assert first["test"]["all"]["mae"]["mean"] == pytest.approx(np.mean(change))
    alone = compare_pairs(pairs[:1], records, read)["inv", "rrt"]["test"]["all"]["mae"]
    wider = first["test"]["all"]["mae"]
    assert alone["ci_total"] == wider["ci_total"]
    assert wider["ci_adjusted"][0] < alone["ci_adjusted"][0]
    assert compare_pairs([], records, read) == {}


def test_mean_of_seeds_is_compared_with_single_runs():
    records, read = make_sweep(TWO)
    summary = summarize(records, "sentiment-dir")
    add_ensembles(summary, read)
    counts = make_counts()
    add_ensemble_changes(summary, read, counts, "mae", 1)
    weights = counts.weights(LABELS)["as_is"]
    for row in summary:
        errors = [read(row["method"], seed).errors for seed in range(3)]
        single = np.mean([np.abs(e) for e in errors], axis=0)
        change = np.abs(np.mean(errors, axis=0)) - single
        assert (change < 1e-12).all()
        few = row["ensemble_change"]["test"]["few"]["mae"]
        assert few["mean"] == pytest.approx(change[MASKS["few"]].mean())
        as_is = row["ensemble_change"]["views"]["as_is"]["mae"]
        assert as_is["mean"] == pytest.approx(np.average(change, weights=weights))
        relative = np.average(change, weights=weights) / np.average(single, weights=weights)
        assert as_is["relative"] == pytest.approx(relative)
        low, high = as_is["ci_adjusted"]
        assert low < as_is["mean"] < high
        assert as_is["ci_adjusted"] == as_is["ci_total"]  # one comparison
        assert "zero" not in row["ensemble_change"]["test"]
