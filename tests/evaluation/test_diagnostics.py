"""Diagnostics of a run, compared with loops over single samples."""

import itertools
import json
import math

import numpy as np
import pytest
import scipy.stats

from ranksim.datasets.label_gaps import drop_labels
from ranksim.evaluation.diagnostics import (
    NUM_DRAWS,
    diagnose_run,
    error_by_bin,
    error_in_gaps,
    label_axis,
    pca,
    project_features,
    rank_bins,
    round_for_json,
)
from ranksim.imbalance.bins import parse_ranges
from ranksim.training.data_loader import select_display_samples
from tests.datasets.test_label_gaps import dataset
from tests.helpers.benchmarks import BINS, make_benchmark

COMPUTES_TSNE = True


def merge_bins(bins):
    """Return the bins of the axis, each a list of label bins."""
    width = 1
    while width * 200 < len(bins):
        width += 1
    return [list(range(k, min(k + width, len(bins)))) for k in range(0, len(bins), width)]


@pytest.mark.parametrize("name", ["tenths", "many", "uneven"])
def test_error_by_bin(name):
    benchmark, preds = make_benchmark(name)
    labels, bins = benchmark.test.labels, benchmark.bins
    actual = round_for_json(error_by_bin(bins, labels, preds))
    index = [int(bins.digitize([label])[0]) for label in labels]
    assert len(actual["n"]) == len(merge_bins(bins)) <= 200
    for k, group in enumerate(merge_bins(bins)):
        errors = [float(preds[i] - labels[i]) for i, b in enumerate(index) if b in group]
        assert actual["n"][k] == len(errors)
        if not errors:
            assert (actual["mae"][k], actual["mse"][k]) == (None, None)
            continue
        assert actual["mae"][k] == pytest.approx(sum(map(abs, errors)) / len(errors), rel=1e-5)
        assert actual["mse"][k] == pytest.approx(sum(e * e for e in errors) / len(errors), rel=1e-5)


@pytest.mark.parametrize("name", BINS)
def test_label_axis(name):
    benchmark, _ = make_benchmark(name, many=20, few=5, quantity="age", unit="years")
    bins, regions = benchmark.bins, benchmark.regions("rule")
    axis = label_axis(benchmark, "rule")
    assert axis == json.loads(json.dumps(axis))
    test_bins = bins.digitize(benchmark.test.labels)
    for k, group in enumerate(merge_bins(bins)):
        assert axis["edges"][k] == pytest.approx(bins.edges[group[0]], rel=1e-5)
        counts = [int(regions.counts[b]) for b in group]
        assert axis["train"][k] == sum(counts)
        assert axis["test"][k] == sum(b in group for b in test_bins)
        votes = dict.fromkeys(("many", "medium", "few"), 0)
        for b, count in zip(group, counts, strict=True):
            votes[regions.names[b]] += count
        if sum(counts):
            assert votes[axis["regions"][k]] == max(votes.values())
        else:
            assert axis["regions"][k] == "few"
    assert (axis["name"], axis["unit"], axis["many"], axis["few"]) == ("age", "years", 20, 5)
    assert (axis["named"], axis["dropped"]) == ({}, [])


def test_label_axis_of_published_lists_and_dropped_labels():
    low, high = parse_ranges("<1,2-3")
    lists = {"many": frozenset(range(10)), "medium": frozenset({20})}
    benchmark, _ = make_benchmark(
        "tenths", published_shots=lists, named_regions={"low": low, "middle": high}
    )
    axis = label_axis(benchmark, "published")
    assert (axis["many"], axis["few"]) == (None, None)
    assert axis["regions"][:11] == ["many"] * 10 + ["few"]
    assert axis["regions"][20] == "medium"
    assert axis["named"] == {"low": [None, 1.0], "middle": [2.0, 3.0]}
    assert label_axis(benchmark, "rule")["many"] == 100
    parts = [dataset(part.labels) for part in benchmark.parts]
    reduced, _ = drop_labels(benchmark, parts, parse_ranges("0-1.05"))
    axis = label_axis(reduced, "published")
    assert axis["dropped"] == ["0-1.05"]
    assert axis["train"][:10] == [0] * 10
    assert axis["train"][11] > 0
    assert (axis["many"], axis["few"]) == (100, 20)


@pytest.mark.parametrize(("name", "num_train"), [("tenths", None), ("tenths", 1), ("uneven", 1)])
def test_error_in_gaps(name, num_train):
    benchmark, preds = make_benchmark(name)
    labels, train, bins = benchmark.test.labels, benchmark.train.labels[:num_train], benchmark.bins
    actual = round_for_json(error_in_gaps(bins, train, labels, preds))
    trained = set(bins.digitize(train).tolist())
    unseen = [i for i, b in enumerate(bins.digitize(labels)) if b not in trained]
    distance = {i: min(abs(labels[i] - other) for other in train) for i in unseen}
    count, top = min(10, len(set(distance.values()))), max(distance.values())
    edges = [top * g / count for g in range(count + 1)]
    assert actual["distance"] == pytest.approx(edges, rel=1e-5)
    assert sum(actual["n"]) == len(unseen)
    for g in range(count):
        rows = [i for i in unseen if min(int(distance[i] / top * count), count - 1) == g]
        errors = [abs(preds[i] - labels[i]) for i in rows]
        assert actual["n"][g] == len(rows)
        expected = pytest.approx(sum(errors) / len(errors), rel=1e-5) if errors else None
        assert actual["mae"][g] == expected


def test_no_gap_is_none():
    benchmark, preds = make_benchmark("one")
    labels = benchmark.test.labels
    assert error_in_gaps(benchmark.bins, benchmark.train.labels, labels, preds) is None


def test_rank_bins_equals_loops(monkeypatch):
    monkeypatch.setattr("ranksim.evaluation.diagnostics.NUM_DRAWS", NUM_DRAWS // 10)
    benchmark, _ = make_benchmark("ages", count=60)
    labels = benchmark.test.labels.round()
    samples = select_display_samples(benchmark.bins, labels)
    labels = labels[samples.rows]
    generator = np.random.default_rng(1)
    features = np.cos(labels[:, None] / generator.uniform(20, 90, 5))
    features += generator.normal(0, 0.2, (60, 5))
    features[3] = 0.0
    actual = rank_bins(samples, labels, features)
    groups = len(samples.edges) - 1
    members = [np.flatnonzero(samples.group == k) for k in range(groups)]
    generator = np.random.default_rng(0)
    draws = np.stack([generator.choice(rows, NUM_DRAWS // 10) for rows in members], axis=1)
    totals, agreement = np.zeros((2, groups, groups)), []
    for draw, (a, anchor) in itertools.chain.from_iterable(
        itertools.product([draw], enumerate(draw)) for draw in draws
    ):
        similarity = [[], []]
        for other in draw:
            u, v = features[anchor], features[other]
            norm = math.sqrt(u @ u) * math.sqrt(v @ v)
            similarity[0].append(round(u @ v / norm, 11) if norm else 0.0)
            similarity[1].append(-abs(labels[anchor] - labels[other]))
        ranks = [scipy.stats.rankdata(-np.array(values)) for values in similarity]
        totals[:, a] += np.array(ranks) / len(draws)
        if len(set(similarity[0])) > 1:
            agreement.append(scipy.stats.spearmanr(*similarity).statistic)
    assert actual["feature"] == pytest.approx(totals[0])
    assert actual["label"] == pytest.approx(totals[1])
    assert actual["agreement"] == pytest.approx(np.mean(agreement))
    assert actual["anchors"] == [len(rows) for rows in members]
    assert actual["centres"] == pytest.approx([labels[rows].mean() for rows in members])


def test_agreement_measures_order_of_features():
    benchmark, _ = make_benchmark("tenths")
    samples = select_display_samples(benchmark.bins, benchmark.test.labels)
    labels = benchmark.test.labels[samples.rows]
    ordered = np.stack([np.cos(labels / 4), np.sin(labels / 4)], axis=1)
    noise = np.random.default_rng(0).normal(size=(len(labels), 9))
    assert rank_bins(samples, labels, ordered)["agreement"] == pytest.approx(1)
    assert abs(rank_bins(samples, labels, noise)["agreement"]) < 0.3
    assert rank_bins(samples, labels, np.ones((len(labels), 3)))["agreement"] is None


def test_diagnostics_are_json_with_six_digits(monkeypatch):
    monkeypatch.setattr("ranksim.evaluation.diagnostics._MIN_SAMPLES", 10**9)
    benchmark, preds = make_benchmark("tenths")
    preds[7] = np.nan
    rows = select_display_samples(benchmark.bins, benchmark.test.labels).rows
    features = np.random.default_rng(0).normal(size=(len(rows), 5))
    diagnostics = diagnose_run(benchmark, preds, features)
    text = json.dumps(diagnostics, allow_nan=False)
    assert json.loads(text) == diagnostics
    assert set(diagnostics) == {"error_by_bin", "gaps", "ranks", "projection"}
    assert None in diagnostics["error_by_bin"]["mae"]
    digits = [word.strip("-0.").replace(".", "") for word in text.split() if "e" not in word]
    assert max(len(word.rstrip("]},")) for word in digits if word[:1].isdigit()) <= 6
    features[0, 0] = np.inf
    broken = diagnose_run(benchmark, preds, features)
    assert (broken["ranks"], broken["projection"]) == (None, None)


def test_pca_equals_eigenvectors_of_covariance():
    generator = np.random.default_rng(0)
    features = generator.normal(size=(40, 6)) @ np.diag([5, 3, 1, 0.5, 0.2, 0.1]) + 7
    values, vectors = np.linalg.eigh(np.cov(features.T))
    points = pca(features)
    for k in range(2):
        direction = vectors[:, -1 - k]
        direction = direction * np.sign(direction[np.abs(direction).argmax()])
        assert points[:, k] == pytest.approx((features - features.mean(0)) @ direction)
        assert points[:, k].var(ddof=1) == pytest.approx(values[-1 - k])
    assert pca(-features)[:, 0] == pytest.approx(-points[:, 0])


def test_pca_of_one_column_or_row():
    column = np.arange(5.0)[:, None]
    points = pca(column)
    assert (points[:, 1] == 0).all()
    assert points[:, 0] == pytest.approx(column[:, 0] - 2.0)
    assert pca(np.ones((1, 3))).tolist() == [[0.0, 0.0]]


def test_tsne_separates_clusters_deterministically():
    generator = np.random.default_rng(0)
    centers = np.repeat(generator.normal(0, 20, (3, 8)), 12, axis=0)
    features, labels = (
        centers + generator.normal(size=centers.shape),
        np.repeat([0.0, 1.0, 2.0], 12),
    )
    points = project_features(labels, features)["tsne"]
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(axis=1)] == labels).all()
    assert np.array_equal(project_features(labels, features)["tsne"], points)


def test_degenerate_features():
    generator = np.random.default_rng(0)
    few = project_features(np.arange(9.0), generator.normal(size=(9, 4)))
    assert few["tsne"] is None
    assert few["pca"].shape == (9, 2)
    assert project_features(np.arange(20.0), np.ones((20, 4)))["tsne"] is None
    column = project_features(np.arange(10.0), generator.normal(size=(10, 1)))
    assert column["tsne"].shape == (10, 2)
    repeated = np.repeat(generator.normal(size=(6, 4)), 3, axis=0)
    assert np.isfinite(project_features(np.arange(18.0), repeated)["tsne"]).all()
    infinite = generator.normal(size=(20, 4))
    infinite[3, 2] = np.inf
    assert project_features(np.arange(20.0), infinite) is None
