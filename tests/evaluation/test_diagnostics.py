"""What a run leaves for pictures, against loops over single samples."""

import itertools
import json
import math

import numpy as np
import pytest
import scipy.stats
import torch

from ranksim.data import TextSamples
from ranksim.datasets.base import Benchmark
from ranksim.datasets.label_gaps import drop_labels
from ranksim.evaluation import projection
from ranksim.evaluation.diagnostics import (
    DRAWS,
    by_bin,
    gaps,
    insight,
    label_axis,
    rankings,
    rounded,
)
from ranksim.evaluation.projection import embed, pca
from ranksim.imbalance import LabelBins
from ranksim.imbalance.label_range import parse_ranges
from ranksim.training.display_samples import select_display_samples
from ranksim.training.peak_memory import peak_memory_mb, reset_peak_memory
from ranksim.training.trainer_config import TrainerConfig
from tests.datasets.test_label_gaps import dataset

BINS = {
    "tenths": LabelBins.uniform(0.0, 5.0, 50),
    "ages": LabelBins.integers(0, 120),
    "many": LabelBins.uniform(-3.0, 7.0, 999),
    "one": LabelBins.uniform(0.0, 5.0, 1),
    "uneven": LabelBins(np.array([0.0, 0.1, 1.0, 1.5, 4.9])),
}


def made(name, *, count=300, seed=0, **more):
    """A benchmark whose large labels are rare in training and missing here and there."""
    bins, draw = BINS[name], np.random.default_rng(seed)
    low, high = float(bins.edges[0]), float(bins.edges[-1])
    train = (low + draw.exponential((high - low) / 6, 2 * count)).clip(low, high)
    train = train[bins.digitize(train) % 7 != 3] if len(bins) > 7 else train
    test = draw.uniform(low - 0.05 * (high - low), high, count)
    parts = [TextSamples(([""] * len(labels),), labels) for labels in (train, test[:9], test)]
    return Benchmark("made", *parts, bins, **more), test + draw.normal(0, 0.3, count)


def merged(bins):
    """The bins of the axis, each a list of bins."""
    width = 1
    while width * 200 < len(bins):
        width += 1
    return [list(range(k, min(k + width, len(bins)))) for k in range(0, len(bins), width)]


@pytest.mark.parametrize("name", BINS)
def test_errors_by_bin(name):
    benchmark, prediction = made(name)
    labels, bins = benchmark.test.labels, benchmark.bins
    got = rounded(by_bin(bins, labels, prediction))
    assert len(got["n"]) == len(merged(bins)) <= 200
    for k, group in enumerate(merged(bins)):
        errors = [
            float(prediction[i] - label)
            for i, label in enumerate(labels)
            if bins.digitize([label])[0] in group
        ]
        assert got["n"][k] == len(errors)
        if not errors:
            assert (got["mae"][k], got["mse"][k]) == (None, None)
            continue
        assert got["mae"][k] == pytest.approx(sum(map(abs, errors)) / len(errors), rel=1e-5)
        assert got["mse"][k] == pytest.approx(sum(e * e for e in errors) / len(errors), rel=1e-5)


@pytest.mark.parametrize("name", BINS)
def test_the_label_axis(name):
    benchmark, _ = made(name, many=20, few=5, quantity="age", unit="years")
    bins, regions = benchmark.bins, benchmark.regions("rule")
    axis = label_axis(benchmark, "rule")
    assert axis == json.loads(json.dumps(axis))
    for k, group in enumerate(merged(bins)):
        assert axis["edges"][k] == pytest.approx(bins.edges[group[0]], rel=1e-5)
        own = [int(regions.counts[b]) for b in group]
        assert axis["train"][k] == sum(own)
        inside = [b for b in bins.digitize(benchmark.test.labels) if b in group]
        assert axis["test"][k] == len(inside)
        votes = dict.fromkeys(("many", "medium", "few"), 0)
        for b, count in zip(group, own, strict=True):
            votes[regions.names[b]] += count
        if sum(own):
            assert votes[axis["regions"][k]] == max(votes.values())
        else:
            assert axis["regions"][k] == "few"
    assert (axis["name"], axis["unit"], axis["many"], axis["few"]) == ("age", "years", 20, 5)
    assert (axis["named"], axis["dropped"]) == ({}, [])


def test_the_label_axis_knows_lists_named_regions_and_dropped_labels():
    low, high = parse_ranges("<1,2-3")
    lists = {"many": frozenset(range(10)), "medium": frozenset({20})}
    benchmark, _ = made("tenths", shot_lists=lists, named={"low": low, "middle": high})
    axis = label_axis(benchmark, "published")
    assert (axis["many"], axis["few"]) == (None, None)
    assert axis["regions"][:11] == ["many"] * 10 + ["few"]
    assert axis["regions"][20] == "medium"
    assert axis["named"] == {"low": [None, 1.0], "middle": [2.0, 3.0]}
    assert label_axis(benchmark, "rule")["many"] == 100
    parts = [dataset(part.labels) for part in benchmark.parts]
    cut, _ = drop_labels(benchmark, parts, parse_ranges("0-1.05"))
    axis = label_axis(cut, "published")
    assert axis["dropped"] == ["0-1.05"]
    assert axis["train"][:10] == [0] * 10
    assert axis["train"][11] > 0
    assert (axis["many"], axis["few"]) == (100, 20)


@pytest.mark.parametrize("name", ["tenths", "ages", "uneven"])
@pytest.mark.parametrize("seen", [None, 1])
def test_errors_inside_gaps(name, seen):
    benchmark, prediction = made(name)
    labels, train, bins = benchmark.test.labels, benchmark.train.labels[:seen], benchmark.bins
    got = rounded(gaps(bins, train, labels, prediction))
    trained = {int(b) for b in bins.digitize(train)}
    unseen = [i for i, label in enumerate(labels) if int(bins.digitize([label])[0]) not in trained]
    if not unseen:
        assert got is None
        return
    distance = {i: min(abs(labels[i] - other) for other in train) for i in unseen}
    count = min(10, len(set(distance.values())))
    top = max(distance.values())
    assert got["distance"] == pytest.approx([top * g / count for g in range(count + 1)], rel=1e-5)
    assert sum(got["n"]) == len(unseen)
    for g in range(count):
        own = [i for i in unseen if min(int(distance[i] / top * count), count - 1) == g]
        errors = [abs(prediction[i] - labels[i]) for i in own]
        assert got["n"][g] == len(own)
        assert got["mae"][g] == (
            pytest.approx(sum(errors) / len(errors), rel=1e-5) if errors else None
        )


def test_no_gap_is_none():
    benchmark, prediction = made("one")
    labels = benchmark.test.labels
    assert gaps(benchmark.bins, benchmark.train.labels, labels, prediction) is None


@pytest.mark.parametrize(("name", "count"), list(itertools.product(BINS, (1, 3, 300, 4_000))))
def test_the_samples_shown_are_few_and_spread(name, count):
    benchmark, _ = made(name, count=count)
    labels, bins = benchmark.test.labels, benchmark.bins
    shown = select_display_samples(bins, labels)
    assert len(shown.rows) == len(set(shown.rows.tolist())) <= 500
    assert sorted(shown.rows) == shown.rows.tolist()
    groups = len(shown.edges) - 1
    assert 1 <= groups <= 24
    assert set(shown.group.tolist()) == set(range(groups))
    assert (np.diff(shown.edges) > 0).all()
    sizes, taken = np.zeros(groups, int), np.bincount(shown.group)
    for label in labels:
        inside = min(max(label, shown.edges[0]), np.nextafter(shown.edges[-1], -np.inf))
        sizes[sum(np.float32(inside) >= edge for edge in shown.edges[1:-1].astype("f4"))] += 1
    assert sizes.sum() == count
    least = min((t for t, size in zip(taken, sizes, strict=True) if t < size), default=500)
    assert all(t == min(size, least) for t, size in zip(taken, sizes, strict=True))
    assert len(shown.rows) == count or len(shown.rows) + groups > 500
    again = select_display_samples(bins, labels.copy())
    assert np.array_equal(again.rows, shown.rows)


def test_rankings_against_single_anchors():
    benchmark, _ = made("ages", count=60)
    labels = benchmark.test.labels.round()
    shown = select_display_samples(benchmark.bins, labels)
    labels = labels[shown.rows]
    draw = np.random.default_rng(1)
    features = np.cos(labels[:, None] / draw.uniform(20, 90, 5)) + draw.normal(0, 0.2, (60, 5))
    features[3] = 0.0
    got = rankings(shown, labels, features)
    groups = len(shown.edges) - 1
    own = [np.flatnonzero(shown.group == k) for k in range(groups)]
    draw = np.random.default_rng(0)
    chosen = np.stack([draw.choice(rows, DRAWS) for rows in own], axis=1)
    totals, agreement = np.zeros((2, groups, groups)), []
    for sample in chosen:
        for a, anchor in enumerate(sample):
            similar = [[], []]
            for other in sample:
                u, v = features[anchor], features[other]
                long = math.sqrt(u @ u) * math.sqrt(v @ v)
                similar[0].append(round(u @ v / long, 11) if long else 0.0)
                similar[1].append(-abs(labels[anchor] - labels[other]))
            ranks = [scipy.stats.rankdata(-np.array(values)) for values in similar]
            totals[:, a] += np.array(ranks) / DRAWS
            if len(set(similar[0])) > 1:
                agreement.append(scipy.stats.spearmanr(*similar).statistic)
    assert got["feature"] == pytest.approx(totals[0])
    assert got["label"] == pytest.approx(totals[1])
    assert got["agreement"] == pytest.approx(np.mean(agreement))
    assert got["anchors"] == [len(rows) for rows in own]
    assert got["centres"] == pytest.approx([labels[rows].mean() for rows in own])


def test_features_in_the_order_of_the_labels_agree_and_reversed_ones_do_not():
    benchmark, _ = made("tenths")
    shown = select_display_samples(benchmark.bins, benchmark.test.labels)
    labels = benchmark.test.labels[shown.rows]
    turned = np.stack([np.cos(labels / 4), np.sin(labels / 4)], axis=1)
    assert rankings(shown, labels, turned)["agreement"] == pytest.approx(1)
    assert abs(rankings(shown, labels, np.random.default_rng(0).normal(size=(len(labels), 9)))[
        "agreement"
    ]) < 0.3  # fmt: skip
    assert rankings(shown, labels, np.ones((len(labels), 3)))["agreement"] is None


def test_principal_components():
    draw = np.random.default_rng(0)
    features = draw.normal(size=(40, 6)) @ np.diag([5, 3, 1, 0.5, 0.2, 0.1]) + 7
    values, vectors = np.linalg.eigh(np.cov(features.T))
    got = pca(features)
    for k in range(2):
        direction = vectors[:, -1 - k] * np.sign(
            vectors[np.abs(vectors[:, -1 - k]).argmax(), -1 - k]
        )
        assert got[:, k] == pytest.approx((features - features.mean(0)) @ direction)
        assert got[:, k].var(ddof=1) == pytest.approx(values[-1 - k])
    assert pca(-features)[:, 0] == pytest.approx(-got[:, 0])
    one = pca(features[:, :1])
    assert (one[:, 1] == 0).all()
    assert one[:, 0] == pytest.approx(features[:, 0] - features[:, 0].mean())
    assert pca(features[:1]).tolist() == [[0.0, 0.0]]


def test_tsne_keeps_groups_together_and_repeats_itself():
    draw = np.random.default_rng(0)
    centres = np.repeat(draw.normal(0, 20, (3, 8)), 12, axis=0)
    features, labels = centres + draw.normal(size=centres.shape), np.repeat([0.0, 1.0, 2.0], 12)
    got = embed(labels, features)
    places = got["tsne"]
    distance = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    assert (labels[distance.argmin(axis=1)] == labels).all()
    assert np.array_equal(embed(labels, features)["tsne"], places)


def test_what_cannot_be_embedded_is_none():
    draw = np.random.default_rng(0)
    few = embed(np.arange(9.0), draw.normal(size=(9, 4)))
    assert few["tsne"] is None
    assert few["pca"].shape == (9, 2)
    assert embed(np.arange(20.0), np.ones((20, 4)))["tsne"] is None
    assert embed(np.arange(10.0), draw.normal(size=(10, 1)))["tsne"].shape == (10, 2)
    twice = np.repeat(draw.normal(size=(6, 4)), 3, axis=0)
    assert np.isfinite(embed(np.arange(18.0), twice)["tsne"]).all()
    broken = draw.normal(size=(20, 4))
    broken[3, 2] = np.inf
    assert embed(np.arange(20.0), broken) is None


def test_all_of_it_is_json_of_six_digits(monkeypatch):
    monkeypatch.setattr(projection, "_FEWEST", 10**9)
    benchmark, prediction = made("tenths")
    prediction[7] = np.nan
    rows = select_display_samples(benchmark.bins, benchmark.test.labels).rows
    features = np.random.default_rng(0).normal(size=(len(rows), 5))
    got = insight(benchmark, prediction, features)
    text = json.dumps(got, allow_nan=False)
    assert json.loads(text) == got
    assert set(got) == {"error_by_bin", "gaps", "ranks", "projection"}
    assert None in got["error_by_bin"]["mae"]
    digits = [word.strip("-0.").replace(".", "") for word in text.split() if "e" not in word]
    assert max(len(word.rstrip("]},")) for word in digits if word[:1].isdigit()) <= 6
    features[0, 0] = np.inf
    broken = insight(benchmark, prediction, features)
    assert (broken["ranks"], broken["projection"]) == (None, None)


def test_memory_is_counted_from_when_it_was_forgotten():
    hardware = TrainerConfig("cpu")
    reset_peak_memory(hardware)
    before = peak_memory_mb(hardware)
    assert before is None or 10 < before < 1e5
    held = np.ones(50 << 17)  # 50 MB
    if before is not None:
        assert peak_memory_mb(hardware) >= before + 40
    assert peak_memory_mb(TrainerConfig("cpu", "2")) is None
    assert held.sum() == 50 << 17


def test_memory_of_a_gpu(monkeypatch):
    hardware = TrainerConfig("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 3 << 20)
    assert peak_memory_mb(hardware) == 3.0
