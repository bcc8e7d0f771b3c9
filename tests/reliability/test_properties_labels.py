"""Bins, densities, weights, ranges and scores of arbitrary labels are correct or rejected."""

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

LABELS = st.lists(FINITE, min_size=1, max_size=12)
MODERATE_LABELS = st.lists(MODERATE, min_size=1, max_size=12)
UNUSUAL_LABELS = st.one_of(
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
ERRORS = (ValueError, TypeError)


def make_bins(labels, kind, size):
    """Return bins chosen by width, by count or automatically."""
    if kind == "width":
        return LabelBins.from_width(labels, size)
    return LabelBins.from_count(labels, 7) if kind == "count" else suggest_bins(labels).bins


@given(
    LABELS | MODERATE_LABELS,
    st.sampled_from(["width", "count", "suggest"]),
    st.sampled_from([0.1, 1.0, 1e6]),
)
def test_every_label_lies_in_its_bin(labels, kind, size):
    bins = outcome(lambda: make_bins(labels, kind, size), *ERRORS)
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


@given(LABELS | MODERATE_LABELS, st.sampled_from([None, 3]), st.sampled_from(["inverse", "sqrt_inverse"]),
       st.sampled_from([None, (2, 5)]), st.booleans())  # fmt: skip
def test_weights_are_finite_have_mean_one_and_ignore_the_order(labels, count, scheme, clip, smooth):
    def weigh(values):
        bins = None if count is None else LabelBins.from_count(values, count)
        lds = LDS() if smooth and bins is not None else None
        return density_weights(values, bins=bins, scheme=scheme, clip=clip, lds=lds)

    weights = outcome(lambda: weigh(labels), *ERRORS)
    if weights is None:
        return
    assert np.isfinite(weights).all()
    assert (weights > 0).all()
    assert weights.mean() == pytest.approx(1.0, rel=1e-9)
    np.testing.assert_allclose(weigh(labels[::-1])[::-1], weights, rtol=1e-9)
    weights_of_new_labels = outcome(lambda: DensityWeights.fit(labels, bandwidth=1.0), *ERRORS)
    if weights_of_new_labels is not None:
        assert np.isfinite(weights_of_new_labels([*labels, 1e308, -1e308])).all()


@given(
    MODERATE_LABELS.filter(lambda labels: max(labels) - min(labels) > 0.01),
    st.sampled_from([-40, 3, 300]),
)
def test_weights_do_not_depend_on_the_unit(labels, power):
    """Silverman's bandwidth scales with the labels; powers of two cause no rounding."""
    scaled = np.asarray(labels) * 2.0**power
    np.testing.assert_allclose(density_weights(scaled), density_weights(labels), rtol=1e-9)


@given(MODERATE_LABELS, st.sampled_from([0.01, 1.0, 1e4]))
def test_fast_density_equals_the_plain_sum(labels, bandwidth):
    values = np.asarray(labels)
    density = KernelDensity.from_labels(values, bandwidth).evaluate(values)
    plain = np.exp(-(((values[:, None] - values[None]) / bandwidth) ** 2) / 2).sum(axis=1)
    np.testing.assert_allclose(density, plain, rtol=1e-9)


@given(UNUSUAL_LABELS)
def test_unusual_labels_are_accepted_or_rejected_in_one_sentence(labels):
    for compute in (
        lambda: density_weights(labels),
        lambda: density_weights(labels, bins=LabelBins.uniform(0, 5, 5)),
        lambda: LabelBins.from_width(labels, 1.0),
        lambda: suggest_bins(labels),
        lambda: LabelBins.uniform(0, 5, 5).histogram(labels),
    ):
        values = outcome(compute, *ERRORS)
        if isinstance(values, np.ndarray):
            assert np.isfinite(values).all()


LIMITS = st.sampled_from(["0", "-2", "70", "1e3", ".5", "3.", "-1e999", "1_0", "x", "", "٣"])
RANGE_TEXTS = st.one_of(
    TEXT,
    st.builds(
        lambda a, s, b: f"{a}{s}{b}", LIMITS, st.sampled_from(["-", "..", " .. ", "--"]), LIMITS
    ),
    st.builds(lambda s, a: f"{s}{a}", st.sampled_from([">", "<=", "<", ">= ", "=", "=="]), LIMITS),
)


@given(st.lists(RANGE_TEXTS, min_size=1, max_size=3).map(",".join), MODERATE_LABELS)
def test_ranges_are_parsed_as_written_or_rejected(text, labels):
    ranges = outcome(lambda: parse_ranges(text), ValueError)
    for each in ranges or ():
        assert parse_ranges(each.text) == (each,)
        for label, is_inside in zip(labels, each.contains(labels), strict=True):
            value, low, high = np.float32(label), each.low, each.high
            above = low is None or (
                value > np.float32(low) if each.strict else value >= np.float32(low)
            )
            below = high is None or (
                value < np.float32(high) if each.strict else value <= np.float32(high)
            )
            assert is_inside == (above and below)
    named = outcome(lambda: parse_named_range(text), ValueError)
    assert named is None or (named[0] and isinstance(named[1], LabelRange))


@given(MODERATE_LABELS, st.lists(st.tuples(FINITE, FINITE), max_size=8))
def test_scores_equal_their_definitions(training, pairs):
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
    empty = torch.empty(0)
    assert regression_scores(empty, empty) == {"n": 0, **dict.fromkeys(METRICS)}
