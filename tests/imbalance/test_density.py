import time

import numpy as np
import pytest

from ranksim.imbalance import BinnedDensity, KernelDensity, LabelBins, silverman_bandwidth
from tests.oracles import balance as oracle


def cases():
    draw = np.random.default_rng(0)
    return {
        "integers": draw.integers(0, 101, 300),
        "normal": draw.normal(size=300),
        "heavy tails": draw.standard_cauchy(300),
        "far from zero": 1e9 + draw.normal(size=300),
        "two clusters": np.concatenate([draw.normal(-50, 1, 150), draw.normal(50, 1, 150)]),
        "mostly equal": np.concatenate([np.zeros(250), draw.normal(size=50)]),
        "float32": draw.normal(size=300).astype(np.float32),
        "two": np.array([1.0, 2.0]),
    }


FACTORS = [None, 0.01, 0.3, 5.0]


@pytest.mark.parametrize(
    ("name", "factor"),
    [*zip(cases(), FACTORS * 2, strict=True), *zip(cases(), FACTORS[::-1] * 2, strict=True)],
)
def test_kernel_density_matches_oracle(name, factor):
    training = cases()[name].astype(np.float64)
    bandwidth = None if factor is None else factor * float(training.std())
    density = KernelDensity.from_labels(cases()[name], bandwidth)
    h = density.bandwidth
    low, high = training.min(), training.max()
    query = np.concatenate(
        [training, np.linspace(low - 12 * h, high + 12 * h, 200), [low - 1e6 * h, high + 1e9 * h]]
    )
    expected = oracle.kernel_density(training, h, query)
    np.testing.assert_allclose(density.evaluate(query), expected, rtol=1e-9, atol=1e-11)
    assert (density.evaluate(query) >= 0).all()
    assert (density.evaluate(training) > 1 - 1e-12).all()  # each sample counts itself


def test_kernel_density_of_one_sample_is_the_bell():
    density = KernelDensity.from_labels([3], bandwidth=2.0)
    np.testing.assert_allclose(
        density.evaluate([3, 5, 1]), [1, np.exp(-0.5), np.exp(-0.5)], rtol=1e-13
    )


def test_kernel_density_far_outside_is_zero_and_silent():
    density = KernelDensity.from_labels([0.0, 1.0], bandwidth=1e-3)
    assert density.evaluate([1e308, -1e308, 0.5]).tolist() == [0, 0, 0]
    assert density.evaluate([]).shape == (0,)


def test_kernel_density_of_100_000_labels_takes_seconds():
    labels = np.random.default_rng(0).normal(size=100_000)
    start = time.perf_counter()
    counts = KernelDensity.from_labels(labels).evaluate(labels)
    assert time.perf_counter() - start < 10  # 0.2 s alone on one core
    h = silverman_bandwidth(labels)
    for i in range(0, 100_000, 10_000):
        expected = np.exp(-((labels[i] - labels) ** 2) / (2 * h**2)).sum()
        assert counts[i] == pytest.approx(expected, rel=1e-10)


def test_kernel_density_in_blocks_is_identical(monkeypatch):
    labels = np.random.default_rng(0).normal(size=100)
    density = KernelDensity.from_labels(labels)
    whole = density.evaluate(labels)
    monkeypatch.setattr("ranksim.imbalance.density.BLOCK", 7)
    np.testing.assert_array_equal(density.evaluate(labels), whole)


def test_silverman_takes_the_smaller_spread():
    labels = [1.0, 2.0, 3.0, 4.0, 100.0]
    assert silverman_bandwidth(labels) == pytest.approx(0.9 * (2 / 1.34) * 5**-0.2)
    assert silverman_bandwidth([-1.0, 1.0] * 2) == pytest.approx(0.9 * (4 / 3) ** 0.5 * 4**-0.2)


def test_silverman_without_an_interquartile_range_uses_the_deviation():
    labels = [0.0] * 9 + [1.0]
    assert silverman_bandwidth(labels) == pytest.approx(0.9 * np.std(labels, ddof=1) * 10**-0.2)


@pytest.mark.parametrize(
    ("labels", "bandwidth", "message"),
    [
        ([], None, "labels must contain at least one label, got none"),
        (
            [3.0, 3.0],
            None,
            r"labels must differ for a default bandwidth, all are 3\.0: "
            "give bandwidth=, in the unit of the label",
        ),
        ([1.0, 2.0], 0, "bandwidth must be a finite number above 0, got 0"),
        ([1.0, 2.0], np.nan, "bandwidth must be a finite number above 0, got nan"),
        ([1.0, 2.0], "2", "bandwidth must be a finite number above 0, got '2'"),
        (
            [1.0, 2.0],
            1e-20,
            r"bandwidth must be above 9\.09e-13 for labels that span 1, got 1e-20",
        ),
        ([1.0, np.nan, np.inf], None, "labels must be finite, got 1 NaN and 1 infinite"),
        (
            [[1.0], [2.0]],
            None,
            r"labels must have shape \(N,\), got \(2, 1\): pass labels.reshape\(-1\)",
        ),
    ],
)
def test_kernel_density_rejects_invalid_arguments(labels, bandwidth, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        KernelDensity.from_labels(labels, bandwidth)


def test_binned_density_counts_the_bin_of_a_label():
    labels = np.random.default_rng(0).integers(0, 30, 500)
    density = BinnedDensity.from_labels(labels, LabelBins.integers(0, 40))
    query = np.arange(-5, 50)
    expected = [(labels == min(max(y, 0), 40)).sum() for y in query]
    assert density.evaluate(query).tolist() == expected
    assert density.evaluate(query).dtype == np.float64


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ([1.0, 2.0], r"counts must have shape \(3,\), got \(2,\)"),
        ([1.0, -2.0, 0.0], r"counts must be finite and at least 0, got \[ 1. -2.  0.\]"),
        ([1.0, np.nan, 0.0], r"counts must be finite and at least 0, got \[ 1. nan  0.\]"),
    ],
)
def test_binned_density_rejects_invalid_counts(counts, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        BinnedDensity(LabelBins.integers(0, 2), np.array(counts))


def test_binned_density_needs_labels():
    with pytest.raises(ValueError, match="^labels must contain at least one label, got none$"):
        BinnedDensity.from_labels([], LabelBins.integers(0, 2))
