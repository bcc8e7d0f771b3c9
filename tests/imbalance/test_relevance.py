import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ranksim.imbalance import DensityRelevance, PchipRelevance, fit_relevance
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
