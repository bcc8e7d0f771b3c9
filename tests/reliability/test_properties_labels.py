"""Labels of any kind: bins, densities, weights, ranges and scores are right, or refused."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ranksim.data.binning import suggest_bins
from ranksim.imbalance import LDS, DensityWeights, KernelDensity, LabelBins, density_weights
from ranksim.imbalance.bins import LabelRange, parse_named_range, parse_ranges
from ranksim.metrics import ShotRegions
from ranksim.metrics.scores import METRICS, regression_scores
from tests.reliability.properties import FINITE, MODERATE, NOT_FINITE, TEXT, float32_index, outcome

SOME = st.lists(FINITE, min_size=1, max_size=12)
NEAR = st.lists(MODERATE, min_size=1, max_size=12)
ODD = st.one_of(
    st.lists(FINITE | NOT_FINITE, max_size=6),
    st.lists(st.booleans(), min_size=1, max_size=4),
    st.lists(st.integers(-(2**63), 2**64), min_size=1, max_size=4),
    st.lists(TEXT, min_size=1, max_size=3),
    st.lists(st.integers(0, 9).map(str), min_size=1, max_size=3),
    st.just([[1.0, 2.0], [3.0, 4.0]]),
    st.just(3.0),
    arrays.arrays(np.float16, 5),
    arrays.arrays(np.int8, 4),
)
REFUSED = (ValueError, TypeError)


def binned(labels, kind, size):
    """Bins that are asked for in one of the ways that there are."""
    if kind == "width":
        return LabelBins.from_width(labels, size)
    return LabelBins.from_count(labels, 7) if kind == "count" else suggest_bins(labels).bins


@given(
    SOME | NEAR, st.sampled_from(["width", "count", "suggest"]), st.sampled_from([0.1, 1.0, 1e6])
)
def test_every_label_lies_in_its_bin(labels, kind, size):
    bins = outcome(lambda: binned(labels, kind, size), *REFUSED)
    if bins is None or len(bins) > 20_000:
        return
    assert np.isfinite(bins.edges).all()
    index = bins.digitize(labels)
    with np.errstate(over="ignore"):
        exact = np.asarray(labels).astype(np.float32)
    for label, k in zip(exact, index, strict=True):
        if len(bins) < 50:
            assert k == float32_index(bins.edges, label)
        if np.abs(label) < 1e38:  # beyond, labels belong to the last bins
            assert bins.edges[k] <= label <= bins.edges[k + 1]
    assert bins.histogram(labels).sum() == len(labels)
    np.testing.assert_array_equal(bins.histogram(labels[::-1]), bins.histogram(labels))


@given(SOME | NEAR, st.sampled_from([None, 3]), st.sampled_from(["inverse", "sqrt_inverse"]),
       st.sampled_from([None, (2, 5)]), st.booleans())  # fmt: skip
def test_weights_are_finite_with_mean_one_and_forget_order(labels, count, scheme, clip, smoothed):
    def made(values):
        bins = None if count is None else LabelBins.from_count(values, count)
        lds = LDS() if smoothed and bins is not None else None
        return density_weights(values, bins=bins, scheme=scheme, clip=clip, lds=lds)

    weights = outcome(lambda: made(labels), *REFUSED)
    if weights is None:
        return
    assert np.isfinite(weights).all()
    assert (weights > 0).all()
    assert weights.mean() == pytest.approx(1.0, rel=1e-9)
    np.testing.assert_allclose(made(labels[::-1])[::-1], weights, rtol=1e-9)
    far = outcome(lambda: DensityWeights.fit(labels, bandwidth=1.0), *REFUSED)
    if far is not None:
        assert np.isfinite(far([*labels, 1e308, -1e308])).all()


@given(NEAR.filter(lambda labels: max(labels) - min(labels) > 0.01), st.sampled_from([-40, 3, 300]))
def test_weights_do_not_depend_on_the_unit(labels, power):
    """By Silverman's rule the bandwidth grows with the labels; a power of two rounds nothing."""
    scaled = np.asarray(labels) * 2.0**power
    np.testing.assert_allclose(density_weights(scaled), density_weights(labels), rtol=1e-9)


@given(NEAR, st.sampled_from([0.01, 1.0, 1e4]))
def test_the_fast_density_is_the_plain_sum(labels, bandwidth):
    values = np.asarray(labels)
    found = KernelDensity.from_labels(values, bandwidth).at(values)
    plain = np.exp(-(((values[:, None] - values[None]) / bandwidth) ** 2) / 2).sum(axis=1)
    np.testing.assert_allclose(found, plain, rtol=1e-9)


@given(ODD)
def test_odd_labels_are_refused_by_one_sentence(labels):
    for act in (
        lambda: density_weights(labels),
        lambda: density_weights(labels, bins=LabelBins.uniform(0, 5, 5)),
        lambda: LabelBins.from_width(labels, 1.0),
        lambda: suggest_bins(labels),
        lambda: LabelBins.uniform(0, 5, 5).histogram(labels),
    ):
        found = outcome(act, *REFUSED)
        if isinstance(found, np.ndarray):
            assert np.isfinite(found).all()


ENDS = st.sampled_from(["0", "-2", "70", "1e3", ".5", "3.", "-1e999", "1_0", "x", "", "٣"])
TEXTS = st.one_of(
    TEXT,
    st.builds(lambda a, s, b: f"{a}{s}{b}", ENDS, st.sampled_from(["-", "..", " .. ", "--"]), ENDS),
    st.builds(lambda s, a: f"{s}{a}", st.sampled_from([">", "<=", "<", ">= ", "=", "=="]), ENDS),
)


@given(st.lists(TEXTS, min_size=1, max_size=3).map(",".join), NEAR)
def test_ranges_are_read_as_written_or_refused(text, labels):
    found = outcome(lambda: parse_ranges(text), ValueError)
    for each in found or ():
        assert parse_ranges(each.text) == (each,)
        for label, inside in zip(labels, each.contains(labels), strict=True):
            at, low, high = np.float32(label), each.low, each.high
            above = low is None or (at > np.float32(low) if each.strict else at >= np.float32(low))
            below = high is None or (
                at < np.float32(high) if each.strict else at <= np.float32(high)
            )
            assert inside == (above and below)
    named = outcome(lambda: parse_named_range(text), ValueError)
    assert named is None or (named[0] and isinstance(named[1], LabelRange))


@given(NEAR, st.lists(st.tuples(FINITE, FINITE), max_size=8))
def test_scores_are_those_of_the_definition(training, pairs):
    prediction, target = (np.array([pair[k] for pair in pairs], dtype=float) for k in (0, 1))
    scores = outcome(lambda: regression_scores(torch.tensor(prediction), torch.tensor(target)))
    assert scores is not None
    assert scores["n"] == len(pairs)
    if not pairs:
        assert all(scores[name] is None for name in METRICS)
        return
    with np.errstate(over="ignore", invalid="ignore"):
        error = np.abs(prediction - target)
        np.testing.assert_allclose(scores["mae"], error.mean(), rtol=1e-12)
        np.testing.assert_allclose(scores["mse"], (error**2).mean(), rtol=1e-12)
    for name in ("pearson", "spearman"):
        assert scores[name] is None or abs(scores[name]) <= 100, name
        assert scores[name] is None or not np.isnan(scores[name]), name
    mirrored = regression_scores(torch.tensor(prediction), -torch.tensor(target))
    if scores["pearson"] is not None:
        assert mirrored["pearson"] == pytest.approx(-scores["pearson"], abs=1e-6)
    regions = ShotRegions.from_counts(LabelBins.uniform(-10, 10, 4), training)
    masks = regions.masks(target)
    parts = sum(masks[name].astype(int) for name in ("many", "medium", "few"))
    assert (parts == 1).all()
    assert (masks["zero"] ^ masks["seen"]).all()
    empty = {name: regression_scores(torch.empty(0), torch.empty(0)) for name in ("few",)}
    assert empty["few"] == {"n": 0, **dict.fromkeys(METRICS)}
