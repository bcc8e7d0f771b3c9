import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranksim.imbalance import DensityRelevance, PchipRelevance, fit_relevance
from ranksim.imbalance.relevance import medcouple
from tests.oracles import resampling as oracle

SKEWED = np.random.default_rng(0).lognormal(0, 0.8, 300)
LABELS = {
    "upper tail": SKEWED,
    "lower tail": 50 - SKEWED,
    "both tails": np.random.default_rng(1).standard_t(2, 300),
    "integers": np.random.default_rng(2).poisson(2, 200) ** 2,
    "half zeros": np.r_[np.zeros(60), np.arange(1.0, 21)],
    "zeros and both tails": np.r_[np.zeros(60), -5.0, 1.0, 2.0],
    "few": [1, 2, 3, 4, 5, 6, 7, 30],
}
WITHOUT_OUTLIERS = {
    "even": np.arange(40),
    "bounded": np.random.default_rng(3).beta(2, 2, 100),
    "two modes": np.r_[np.full(30, 1.0), 2.0, 3.0, np.full(30, 4.0)],
    "three": [1.0, 2.0, 2.0],
}


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("whisker", [1.5, 1.0])
def test_box_plot_relevance_matches_oracle(name, whisker):
    labels = np.asarray(LABELS[name], dtype=float)
    points = oracle.box_plot_points(labels.tolist(), whisker)
    relevance = PchipRelevance.from_box_plot(labels, whisker)
    np.testing.assert_allclose(relevance.labels, sorted(points), atol=1e-12)
    assert relevance.relevance.tolist() == [points[y] for y in sorted(points)]
    queries = np.r_[labels, np.linspace(labels.min() - 1, labels.max() + 1, 101)]
    np.testing.assert_allclose(relevance(queries), oracle.pchip(points, queries), atol=1e-12)
    assert relevance([np.median(labels)]).tolist() == [0.0]


def brute_medcouple(labels):
    """The median of the kernel over all pairs, those at the median by their order."""
    values, median = sorted(labels), float(np.median(labels))
    above = [y for y in values if y >= median]
    below = [y for y in values if y <= median]
    ties = sum(y == median for y in values)
    kernel = []
    for u in above:
        kernel += [((u - median) - (median - v)) / (u - v) for v in below if u > v]
    kernel += [np.sign(i + j - ties + 1) for i in range(ties) for j in range(ties)]
    return float(np.median(kernel))


MEDCOUPLE = {
    **LABELS, **WITHOUT_OUTLIERS, "equal": [3.0] * 4, "one": [7.0], "two": [1.0, 4.0],
    "huge": [1e300, -1e300, 3.0], "odd ties": [1, 2, 2, 2, 9.0],
}  # fmt: skip


@pytest.mark.parametrize("name", MEDCOUPLE)
def test_medcouple_is_the_median_over_all_pairs(name):
    labels = np.asarray(MEDCOUPLE[name], dtype=float)
    if name != "huge":
        assert medcouple(labels) == pytest.approx(brute_medcouple(labels.tolist()), abs=1e-12)
    assert medcouple(-labels) == pytest.approx(-medcouple(labels), abs=1e-12)
    assert -1 <= medcouple(labels) <= 1


@pytest.mark.parametrize("name", LABELS)
def test_relevance_of_fences_follows_the_adjusted_box_plot(name):
    labels = np.asarray(LABELS[name], dtype=float)
    lower, median, upper = np.quantile(labels, [0.25, 0.5, 0.75])
    skew = brute_medcouple(labels.tolist())
    a, b = (-4, 3) if skew >= 0 else (-3, 4)
    low = lower - 1.5 * np.exp(a * skew) * (upper - lower)
    high = upper + 1.5 * np.exp(b * skew) * (upper - lower)
    points = {median: 0.0}
    if (labels < low).any():
        points[low if low < median else labels[labels < low].max()] = 1.0
    if (labels > high).any():
        points[high if high > median else labels[labels > high].min()] = 1.0
    if len(points) == 1:
        with pytest.raises(ValueError, match="labels must have outliers beyond fences of 1.5"):
            PchipRelevance.from_fences(labels)
        return
    relevance = PchipRelevance.from_fences(labels)
    np.testing.assert_allclose(relevance.labels, sorted(points), rtol=1e-9)
    assert relevance([median]).tolist() == [0.0]
    queries = np.linspace(labels.min() - 1, labels.max() + 1, 101)
    np.testing.assert_allclose(relevance(queries), oracle.pchip(points, queries), atol=1e-9)


def test_relevance_of_fences_reverses_with_the_labels():
    labels = np.asarray(LABELS["both tails"])
    forward, backward = PchipRelevance.from_fences(labels), PchipRelevance.from_fences(-labels)
    np.testing.assert_allclose(forward(labels), backward(-labels), atol=1e-9)
    with pytest.raises(ValueError, match="coefficient must be a finite number above 0"):
        PchipRelevance.from_fences(labels, 0)


def test_both_tails_are_rare_if_both_have_outliers():
    relevance = fit_relevance(LABELS["both tails"])
    assert relevance([-1e9, 0.1, 1e9]).round(1).tolist() == [1.0, 0.0, 1.0]
    assert fit_relevance(SKEWED)([0.0, 1e9]).tolist() == [0.0, 1.0]


control_points = st.lists(
    st.tuples(st.floats(-1e6, 1e6).map(lambda y: round(y, 3)), st.floats(0, 1)),
    min_size=2, max_size=7, unique_by=lambda point: point[0],
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(control_points, st.lists(st.floats(-2e6, 2e6), min_size=1, max_size=20))
def test_pchip_matches_scipy(points, queries):
    points = dict(sorted((y, round(value, 6)) for y, value in points))
    ours = PchipRelevance(np.array(list(points)), np.array(list(points.values())))
    queries = [*queries, *points]
    np.testing.assert_allclose(ours(queries), oracle.pchip(points, queries), atol=1e-9)


@pytest.mark.parametrize("name", WITHOUT_OUTLIERS)
def test_density_takes_over_without_outliers(name):
    labels = WITHOUT_OUTLIERS[name]
    with pytest.raises(ValueError, match="labels must have outliers"):
        PchipRelevance.from_box_plot(labels)
    relevance = fit_relevance(labels)
    assert isinstance(relevance, DensityRelevance)
    expected = oracle.density_relevance(list(map(float, labels)), list(map(float, labels)))
    np.testing.assert_allclose(relevance(labels), expected, atol=1e-9)


def test_labels_of_equal_frequency_are_common():
    ages = np.tile(np.arange(20, 60), 10)
    assert fit_relevance(ages)(ages).max() < 0.6


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.integers(-20, 20), min_size=3, max_size=40).filter(lambda y: len(set(y)) > 1),
    st.sampled_from([0.1, 1e-3, 12345.678, 0.45359237, -1.0, -0.3]),
    st.sampled_from([0.0, -273.15, 1e4]),
)
def test_unit_of_the_label_changes_nothing(labels, scale, shift):
    labels = np.array(labels)
    changed = labels * scale + shift
    first, second = fit_relevance(labels), fit_relevance(changed)
    assert type(first) is type(second)
    np.testing.assert_allclose(first(labels), second(changed), atol=1e-8)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([3.0, 3.0, 3.0], r"labels must differ for some to be rare, all 3 are 3\.0"),
        ([2.0], "labels must differ"),
        ([], "labels must contain at least one label"),
        ([1.0, np.nan], "labels must be finite"),
        ([-1.5e308, 1.5e308], "labels must span a finite range"),
    ],
)
def test_labels_without_a_relevance(labels, message):
    with pytest.raises(ValueError, match=message):
        fit_relevance(labels)


@pytest.mark.parametrize(
    ("labels", "relevance", "message"),
    [
        ([1.0], [0.0], "labels must be at least two ascending numbers"),
        ([1.0, 1.0], [0.0, 1.0], "labels must be at least two ascending numbers"),
        ([2.0, 1.0], [0.0, 1.0], "labels must be at least two ascending numbers"),
        ([1.0, 2.0], [0.0], "relevance must be 2 numbers from 0 to 1"),
        ([1.0, 2.0], [0.0, 1.5], "relevance must be 2 numbers from 0 to 1"),
        ([1.0, 2.0], [0.0, np.nan], "relevance must be 2 numbers from 0 to 1"),
    ],
)
def test_wrong_control_points(labels, relevance, message):
    with pytest.raises(ValueError, match=message):
        PchipRelevance(labels, relevance)
