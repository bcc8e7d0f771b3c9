import math

import numpy as np
import pytest

from ranksim.data.binning import (
    choose_label_bins,
    choose_shot_regions,
    suggest_bins,
    suggest_thresholds,
)
from ranksim.data.spec import TableSpec
from ranksim.exceptions import UsageError
from ranksim.imbalance import LabelBins
from ranksim.metrics import ShotRegions
from tests.helpers.errors import raises_with


def labels_of(name):
    draw = np.random.default_rng(0)
    return np.asarray(
        {
            "exponential": lambda: draw.exponential(1, 5000),
            "few rows": lambda: draw.exponential(1, 500),
            "normal": lambda: draw.normal(50, 15, 20_000),
            "lognormal": lambda: draw.lognormal(0, 1, 5000),
            "pareto": lambda: draw.pareto(1.2, 5000),
            "prices": lambda: draw.lognormal(12, 0.5, 5000).round(-2),
            "three decimals": lambda: np.round(draw.beta(2, 2, 5249) * 5, 3),
            "whole, few rows": lambda: np.rint(draw.normal(42, 15, 500)),
            "threes": lambda: 3.0 * draw.integers(0, 100, 300),
            "quarters": lambda: draw.integers(0, 41, 50) / 4,
            "mostly zero": lambda: np.where(draw.random(5000) < 0.9, 0, draw.exponential(10, 5000)),
            "times": lambda: 1.7e9 + 60.0 * np.arange(500),
            "outlier": lambda: np.append(draw.normal(0, 1, 500), 1e6),
            "outliers": lambda: np.r_[draw.normal(0, 1, 500), 1e9, 2e9, -1e7],
        }[name]()
    )


CONTINUOUS = [
    "exponential", "few rows", "normal", "lognormal", "pareto", "mostly zero", "outlier",
    "outliers",
]  # fmt: skip
GRIDS = {
    "ages": (np.repeat(np.arange(0, 101), 121), 1, 101),
    "IMDB-WIKI's": (np.repeat(np.arange(0, 187), 1000), 1, 187),
    "stars": (np.repeat(np.arange(1, 6), 10), 1, 5),
    "halves": (np.repeat(np.arange(0, 11) / 2, 20), 0.5, 11),
    "tenths in float32": (np.repeat(np.arange(0, 20) / 10, 20).astype(np.float32), 0.1, 20),
    "threes": (np.repeat(np.arange(0, 40) * 3.0, 50), 3, 40),
    "years": (np.repeat(np.arange(1990, 2020), 30), 1, 30),
    "below zero": (np.repeat(np.arange(-10, 11), 30), 1, 21),
    "with a code for missing": (np.append(np.repeat(np.arange(0, 50), 60), 999), 1, 1000),
}


@pytest.mark.parametrize("name", GRIDS)
def test_one_bin_per_grid_value(name):
    labels, width, count = GRIDS[name]
    proposal = suggest_bins(labels)
    assert proposal.width == width
    assert proposal.bins == LabelBins.from_width(labels, width)
    assert len(proposal.bins) == count
    assert len(np.unique(proposal.bins.digitize(labels))) == len(np.unique(labels))
    assert "one bin for each" in proposal.reason


def test_one_bin_per_value_needs_enough_samples():
    full = np.repeat(np.arange(0, 101), 101)
    assert suggest_bins(full).width == 1
    assert suggest_bins(full[: 101 * 100]).width == 1  # 100 values
    assert suggest_bins(np.repeat(np.arange(0, 101), 90)).width > 1
    assert suggest_bins(np.repeat(np.arange(0, 5), 10)).width == 1
    # below 10 a value it is the rule that says 1
    assert "Freedman" in suggest_bins(np.repeat(np.arange(0, 5), 9)).reason


def limited_rule(labels):
    """Slow reference: the limited rule of Freedman and Diaconis, and the labels near the others."""
    values = sorted(map(float, labels))
    distinct = sorted(set(values))
    first, third = np.percentile(distinct, 25), np.percentile(distinct, 75)
    near = [v for v in distinct if abs(v - (first + third) / 2) <= 10.5 * (third - first)]
    reach = near[-1] - near[0]
    rule = 2 * (np.percentile(values, 75) - np.percentile(values, 25)) / len(values) ** (1 / 3)
    return min(max(rule, reach / 100), reach / 20), near


@pytest.mark.parametrize("name", CONTINUOUS)
def test_continuous_labels_get_equal_bins_from_the_smallest_to_the_largest(name):
    labels = labels_of(name)
    suggestion = suggest_bins(labels)
    rule, near = limited_rule(labels)
    count = round((near[-1] - near[0]) / rule)
    edges = np.linspace(near[0], near[-1], count + 1)
    assert suggestion.width == pytest.approx((near[-1] - near[0]) / count, rel=1e-12)
    first = int(labels.min() < near[0]) * 2  # an edge of the outliers' bin, and one of the gap
    middle = suggestion.bins.edges[first : first + count + 1]
    np.testing.assert_allclose(middle, edges, rtol=1e-6, atol=1e-6 * (edges[-1] - edges[0]))
    assert f"{count} bins" in suggestion.reason


@pytest.mark.parametrize(
    ("name", "step"), [("prices", 100), ("three decimals", 0.001), ("whole, few rows", 1)]
)
def test_labels_on_a_grid_get_the_nearest_round_multiple_of_its_step(name, step):
    labels = labels_of(name)
    suggestion = suggest_bins(labels)
    rule, near = limited_rule(labels)
    multiples = [m * 10**e for e in range(7) for m in (1, 2, 5)]
    width = step * min(multiples, key=lambda m: abs(math.log(m * step / rule)))
    assert suggestion.width == pytest.approx(width, rel=1e-9)
    edges = near[0] + width * np.arange(len(suggestion.bins) + 1)
    np.testing.assert_array_equal(suggestion.bins.edges, np.float32(np.round(edges, 3)))
    assert edges[-2] <= near[-1] < edges[-1]


@pytest.mark.parametrize("between", ["hundredths", "halves", "floats"])
@pytest.mark.parametrize(("step", "low"), [(0.1, 1.0), (1 / 12, 0.0), (5.0, -20.0)])
def test_bins_follow_the_grid_of_most_labels(between, step, low):
    draw = np.random.default_rng(1)
    grid = np.clip(np.rint(draw.normal(24, 6, 2000)), 0, 40)
    offsets = {
        "hundredths": draw.integers(1, 10, 2000) / 10,
        "halves": np.full(2000, 0.5),
        "floats": draw.random(2000),
    }
    is_between = draw.random(2000) < 0.15
    labels = low + step * (grid + is_between * offsets[between])
    suggestion = suggest_bins(labels)
    assert suggestion.width == pytest.approx(step, rel=1e-5)
    # no empty bin between two full ones: each bin holds one grid value and what lies above it
    expected = np.floor((labels - labels.min()) / step + 1e-6)
    np.testing.assert_array_equal(suggestion.bins.digitize(labels), expected)
    assert not any("few" in name for name in np.array(_regions(labels, suggestion))[10:30])


def _regions(labels, suggestion):
    bounds = {"many": suggestion.many, "few": suggestion.few}
    return ShotRegions.from_counts(suggestion.bins, labels, **bounds).names


def test_widths_are_multiples_of_the_grid_step():
    assert suggest_bins(labels_of("threes")).width == 15
    assert suggest_bins(labels_of("quarters")).width == 0.5
    assert suggest_bins(labels_of("prices")).width == 10_000
    assert suggest_bins([0, 7, 14]).width == 7


def test_far_outliers_get_separate_bins():
    labels = labels_of("outliers")
    proposal = suggest_bins(labels)
    plain = suggest_bins(labels[:500])
    assert proposal.width == pytest.approx(plain.width, rel=1.6)
    assert len(proposal.bins) < 60
    index, counts = proposal.bins.digitize(labels), proposal.bins.histogram(labels)
    assert index[-1] == 0
    assert counts[0] == 1
    assert index[-2] == index[-3] == len(proposal.bins) - 1
    assert counts[-1] == 2
    assert counts[-2] == counts[1] == 0  # the gaps are bins too
    assert proposal.bins.edges[0] == np.float32(-1e7)


def test_near_outliers_share_the_regular_bins():
    labels = np.append(np.random.default_rng(0).normal(0, 1, 500), 90)
    suggestion = suggest_bins(labels)
    edges = suggestion.bins.edges.astype(float)
    np.testing.assert_allclose(np.diff(edges), suggestion.width, rtol=1e-3)
    assert edges[-2] <= 90 < edges[-1]
    inner = suggestion.bins.histogram(labels)[:-1]
    expected = np.histogram(np.float32(labels), edges[:-1])[0]
    np.testing.assert_array_equal(inner, expected)


def slow_thresholds(counts):
    best = max(many for many in range(-1, 101)
               if many < 0 or sum(n for n in counts if n > many) >= sum(counts) / 3)  # fmt: skip
    if best >= 99.5:
        return 100, 20
    if best >= 10:
        best = 5 * (best // 5)
    few = max(2, best // 5)
    return max(best, few), few


@pytest.mark.parametrize("name", [*CONTINUOUS, *GRIDS, "times", "quarters", "prices"])
def test_thresholds_match_a_slow_search(name):
    labels = GRIDS[name][0] if name in GRIDS else labels_of(name)
    proposal = suggest_bins(labels)
    assert (proposal.many, proposal.few) == slow_thresholds(
        proposal.bins.histogram(labels).tolist()
    )
    assert proposal.few >= 2


@pytest.mark.parametrize(
    ("counts", "many", "few"),
    [
        ([300, 101, 2], 100, 20),
        ([300, 100, 100, 100, 100, 100, 100, 100], 95, 19),  # 300 are less than a third
        ([50, 40, 30, 5], 45, 9),
        ([12, 11, 10, 10], 10, 2),
        ([8, 8, 8], 7, 2),
        ([1, 1, 1], 2, 2),
    ],
)
def test_thresholds_by_hand(counts, many, few):
    proposal = suggest_bins(np.repeat(np.arange(len(counts)), counts), width=1)
    assert (proposal.many, proposal.few) == (many, few)


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1], [0, 1e30], [1e300, 2e300], [-1e300, 0, 1e300], [1e-320, 2e-320], [1e-40, 1e-30],
        [1, 1 + 1e-12], [5] * 1000 + [5.3], [0] * 9999 + [1], [1e15, 1e15 + 1], [-1e-3, 1e10],
        [0.1, 0.2, 0.3], [True, False], np.float16([1, 2, 3]), np.uint8([0, 255]),
        [-(2.0**53), 2.0**53], [1e38, 1.1e38], [3e38, 3.1e38, 0],
    ],
)  # fmt: skip
def test_extreme_labels(labels):
    proposal = suggest_bins(labels)
    assert proposal.width > 0
    assert proposal.many >= proposal.few >= 2
    assert proposal.bins.histogram(labels).sum() == len(labels)
    assert len(proposal.bins) <= 1003


@pytest.mark.parametrize("seed", range(24))
def test_random_labels_in_any_order_give_the_same_bins(seed):
    draw = np.random.default_rng(seed)
    size = int(draw.integers(2, 400))
    labels = [draw.normal, draw.standard_cauchy, draw.exponential][seed % 3](size=size)
    labels = labels ** draw.integers(1, 4) * 10.0 ** draw.integers(-20, 20)
    if seed % 2:
        labels = np.round(labels, int(draw.integers(-3, 4)))
    if len(np.unique(labels)) < 2:
        labels = np.append(labels, labels[0] + 1)
    proposal, again = suggest_bins(labels), suggest_bins(draw.permutation(labels).tolist())
    assert proposal == again
    assert proposal.bins.histogram(labels).sum() == len(labels)
    assert proposal.many >= proposal.few >= 2
    assert len(proposal.bins) <= 1003


def test_requested_width_and_thresholds_are_used():
    labels = labels_of("exponential")
    assert suggest_bins(labels, width=0.5).bins == LabelBins.from_width(labels, 0.5)
    assert suggest_bins(labels, width=0.5).width == 0.5
    proposal = suggest_bins(labels, many=300)
    assert (proposal.many, proposal.few) == (300, 20)
    proposal = suggest_bins(labels, many=10)
    assert (proposal.many, proposal.few) == (10, 10)
    proposal = suggest_bins(labels, few=150)
    assert (proposal.many, proposal.few) == (150, 150)
    proposal = suggest_bins(labels, few=5, many=7)
    assert (proposal.many, proposal.few) == (7, 5)
    assert "requested" in proposal.reason


@pytest.mark.parametrize(
    ("labels", "options", "sentence"),
    [
        ([], {}, "^labels must contain at least one"),
        ([3, 3], {}, "^all 2 labels are 3; pass labels that differ$"),
        ([3, np.nan], {}, "^labels must be finite, got 1 NaN and 0 infinite$"),
        ([1, 2], {"width": 0}, "^width must be a finite number above 0, got 0$"),
        ([1, 2e9], {"width": 1}, "^at most 10,000,000 bins"),
        ([1, 2], {"many": 5, "few": 6}, "^few must be at most many, got few=6 and many=5$"),
    ],
)
def test_unusable_labels_and_settings(labels, options, sentence):
    with pytest.raises(ValueError, match=sentence):
        suggest_bins(labels, **options)


def test_shot_regions_count_training_labels_in_the_bins_of_all_labels():
    labels = np.exp(np.random.default_rng(0).normal(size=2000))
    bins, training = choose_label_bins(labels, TableSpec(target="y")), labels[labels < 1.0][:150]
    assert len(suggest_bins(training).bins) != len(bins)
    regions, many, few = choose_shot_regions(bins, training, TableSpec(target="y"))
    assert (many, few) == suggest_thresholds(bins.histogram(training))[:2]
    assert regions.counts.tolist() == bins.histogram(training).tolist()
    assert regions.counts[np.array(regions.names) == "many"].sum() >= len(training) / 3


@pytest.mark.parametrize(
    ("options", "facts"),
    [
        ({"many": 3, "few": 4}, ("few must be at most many", "4", "3")),
        ({"bin_width": -1.0}, ("width", "-1.0")),
        ({"bin_width": 1e-4}, ("--bin-width 0.0001", "490,000 bins", "10,000")),
        (
            {"region": ("low",)},
            (
                "--region",
                "'low'",
            ),
        ),
    ],
)
def test_unusable_options(options, facts):
    labels, spec = np.arange(50.0), TableSpec(target="y", **options)
    with raises_with(UsageError, *facts):
        choose_shot_regions(choose_label_bins(labels, spec), labels, spec)
