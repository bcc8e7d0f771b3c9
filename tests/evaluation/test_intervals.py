import itertools

import numpy as np
import pytest
import scipy.stats

from ranksim.evaluation import intervals
from ranksim.evaluation.intervals import (
    TwoWayInterval,
    aggregate_by_cluster,
    bootstrap,
    count_effective,
    quantile,
)


@pytest.mark.parametrize(("seeds", "samples"), [(2, 2), (5, 40)])
def test_mean_squares_equal_loops(seeds, samples):
    d = np.random.default_rng(0).normal(size=(seeds, samples)) + np.arange(samples)
    interval = TwoWayInterval.from_differences(d)
    mean = sum(d[s, i] for s in range(seeds) for i in range(samples)) / d.size
    by_seed = by_sample = residual = 0.0
    for s, i in itertools.product(range(seeds), range(samples)):
        row, column = sum(d[s]) / samples, sum(d[:, i]) / seeds
        by_seed += (row - mean) ** 2 / (seeds - 1)
        by_sample += (column - mean) ** 2 / (samples - 1)
        residual += (d[s, i] - row - column + mean) ** 2 / ((seeds - 1) * (samples - 1))
    squares = (interval.seed_square, interval.sample_square, interval.residual_square)
    assert interval.mean == pytest.approx(mean)
    assert squares == pytest.approx((by_seed, by_sample, residual))
    t = scipy.stats.t.ppf(0.975, [seeds - 1, samples - 1])
    total = t[0] ** 2 * max(by_seed - residual, 0) + t[1] ** 2 * by_sample
    expected = (max(t[0] ** 2 * by_seed, total) / d.size) ** 0.5
    assert interval.half_width(0.95) == pytest.approx(expected)
    assert interval.half_width(0.99) > interval.half_width(0.95)


def test_interval_is_not_narrower_than_one_way_intervals():
    generator = np.random.default_rng(0)
    for _ in range(30):
        d = generator.normal(size=(3, 1)) * generator.exponential() + generator.normal(size=(3, 30))
        d += generator.normal(size=30) * generator.exponential()
        half = TwoWayInterval.from_differences(d).half_width(0.95)
        for means in (d.mean(axis=1), d.mean(axis=0)):
            one_way = scipy.stats.ttest_1samp(means, 0).confidence_interval(0.95)
            assert half >= (one_way.high - one_way.low) / 2 - 1e-12


def coverage(seeds, samples, seed_effect, sweeps):
    """Return how often the interval, and half of it, contain the true difference of zero.

    Differences vary by sample and by run (both 1), and by seed.
    """
    generator = np.random.default_rng((seeds, samples, int(10 * seed_effect)))
    covered = np.zeros(2)
    for _ in range(sweeps):
        d = generator.normal(0, seed_effect, (seeds, 1)) + generator.normal(0, 1, samples)
        interval = TwoWayInterval.from_differences(d + generator.normal(0, 1, (seeds, samples)))
        covered += abs(interval.mean) <= interval.half_width(0.95) * np.array([1, 0.5])
    return covered / sweeps


SETTINGS = list(itertools.product((3, 5), (50, 1_000), (0.0, 0.3)))


@pytest.mark.parametrize(("seeds", "samples", "seed_effect"), [SETTINGS[0], SETTINGS[-1]])
def test_two_way_coverage(seeds, samples, seed_effect):
    """The reliability report measures 93 to 97 % over 2,000 sweeps."""
    covered, half_covered = coverage(seeds, samples, seed_effect, 400)
    assert 0.925 <= covered <= 0.985
    assert half_covered < 0.9


def test_coverage_of_clustered_samples():
    """Clusters have unequal sizes and effects of cluster, seed and sample."""
    generator, covered, covered_unclustered = np.random.default_rng(0), 0, 0
    for _ in range(400):
        sizes = generator.integers(1, 20, 30)
        groups = np.repeat(np.arange(30), sizes)
        n = len(groups)
        shared = generator.normal(0, 1, 30)[groups] + generator.normal(0, 1, n)
        change = generator.normal(0, 0.05, (3, 1)) + shared + generator.normal(0, 0.3, (3, n))
        clustered = aggregate_by_cluster(change, groups)
        assert np.allclose(clustered.mean(axis=1), change.mean(axis=1))
        interval = TwoWayInterval.from_differences(clustered)
        covered += abs(interval.mean) < interval.half_width(0.95)
        interval = TwoWayInterval.from_differences(change)
        covered_unclustered += abs(interval.mean) < interval.half_width(0.95)
    assert covered > 0.92 * 400
    assert covered_unclustered < 0.75 * 400


def test_coverage_of_weighted_samples():
    """The rarer a label, the larger its weight and its errors."""
    rows = np.array([600, 400, 200, 100, 50, 20, 8, 4])
    label = np.repeat(np.arange(8), np.minimum(rows // 3, 30))
    weights = 1 / rows[label]
    weights /= weights.mean()
    num_effective = count_effective(weights, None)
    assert num_effective == 24
    generator, covered, without = np.random.default_rng(0), 0, 0
    for _ in range(400):
        noise = generator.normal(size=len(label)) * (1 + 0.5 * label)
        change = generator.normal(0, 0.1, (3, 1)) + noise
        change = change + generator.normal(0, 1, (3, len(label)))
        weighted = aggregate_by_cluster(change, None, weights)
        assert weighted.mean() == pytest.approx(np.average(change.mean(axis=0), weights=weights))
        interval = TwoWayInterval.from_differences(weighted, num_effective)
        covered += abs(interval.mean) < interval.half_width(0.95)
        plain = TwoWayInterval.from_differences(change)
        without += abs(interval.mean) < plain.half_width(0.95)
    assert covered > 0.92 * 400
    assert without < 0.8 * 400


def test_weights_of_clusters():
    """Each group has the sum of the weights of its samples; equal weights change nothing."""
    generator = np.random.default_rng(0)
    change, groups = generator.normal(size=(2, 6)), np.array([3, 3, 1, 1, 1, 7])
    weights = np.array([1.0, 2.0, 0.5, 0.5, 1.0, 1.0])
    mean = [sum(w * d for w, d in zip(weights, row, strict=True)) / 6 for row in change]
    expected = [
        [
            m + 3 / 6 * sum(weights[i] * (row[i] - m) for i in range(6) if groups[i] == group)
            for group in (1, 3, 7)
        ]
        for m, row in zip(mean, change, strict=True)
    ]
    assert np.allclose(aggregate_by_cluster(change, groups, weights), expected)
    equal = aggregate_by_cluster(change, groups, np.ones(6))
    assert np.allclose(equal, aggregate_by_cluster(change, groups))
    assert count_effective(None, groups) is None
    assert count_effective(np.ones(6), np.array([0, 0, 1, 1, 2, 2])) == 3
    assert count_effective(weights, groups) == int(6**2 / (3**2 + 2**2 + 1**2))
    assert count_effective(np.array([100.0, 0.1, 0.1]), None) == 2


def test_bootstrap_equals_loops():
    values = np.random.default_rng(1).exponential(size=(30, 2))
    low, high = bootstrap(values)
    chosen = np.random.default_rng(0).integers(0, 30, (2_000, 30))
    for column in range(2):
        x = values[:, column]
        m, s = sum(x) / 30, (sum((v - sum(x) / 30) ** 2 for v in x) / 30) ** 0.5
        means, ratios = [], []
        for rows in chosen:
            means.append(sum(x[i] for i in rows) / 30)
            std = (sum((x[i] - means[-1]) ** 2 for i in rows) / 30) ** 0.5
            ratios.append((means[-1] - m) / std)
        percentile = np.quantile(means, [0.025, 0.975])
        left, right = m - s * np.quantile(ratios, [0.975, 0.025])
        assert low[column] == pytest.approx(min(percentile[0], left))
        assert high[column] == pytest.approx(max(percentile[1], right))
        assert percentile[0] < left < right > percentile[1]  # each decides one end here
        assert high[column] - m > m - low[column]  # toward the tail
    wide = bootstrap(values, 0.99)
    assert (wide[0] < low).all()
    assert (wide[1] > high).all()


@pytest.mark.parametrize("count", [1, 2, 30, 2500])
def test_resamples_that_are_kept_change_no_interval(monkeypatch, count):
    values = np.random.default_rng(count).normal(size=(count, 3))
    monkeypatch.setattr(intervals, "_MAX_KEPT", 0)
    drawn = bootstrap(values)
    monkeypatch.undo()
    for _ in range(2):
        np.testing.assert_array_equal(bootstrap(values), drawn)


def test_quantiles_are_those_of_scipy():
    for degrees in (1, 2, 3, 9, 500):
        for level in (0.9, 0.95, 1 - 0.05 / 7):
            assert quantile(level, degrees) == scipy.stats.t.ppf((1 + level) / 2, degrees)


def test_bootstrap_in_chunks_equals_normal_interval():
    values = np.random.default_rng(1).normal(1.0, 2.0, (9_001, 1))
    low, high = bootstrap(values)
    half = 1.96 * values.std() / 9_001**0.5
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_seeds_needed():
    # with seeds only: 2 t_{S-1} / sqrt(S) < 1 from 18 on
    interval = TwoWayInterval(1.0, 3, 10_000, 40_000.0, 1e-9, 1e-9)
    expected = next(s for s in range(3, 99) if 2 * scipy.stats.t.ppf(0.975, s - 1) / s**0.5 < 1)
    assert interval.seeds_needed(0.95) == expected
    assert interval.seeds_needed(0.99) > expected
    # with samples only, seeds do not help
    assert TwoWayInterval(1.0, 3, 10, 1e-9, 3 * 40.0, 1e-9).seeds_needed(0.95) is None
    assert TwoWayInterval(1.0, 3, 10, 1e-9, 1e-3, 1e-9).seeds_needed(0.95) == 3


def test_bootstrap_coverage_of_squared_errors():
    """Percentiles alone cover 86 %."""
    generator = np.random.default_rng(0)
    low, high = bootstrap(np.square(generator.normal(size=(20, 400))))
    assert 0.92 <= ((low <= 1) & (high >= 1)).mean() <= 0.975


def test_bootstrap_of_few_and_equal_values():
    low, high = bootstrap(np.array([[0.0, 3.0], [1.0, 3.0]]))
    assert low[0] < 0 < 1 < high[0]
    assert np.isfinite([low, high]).all()
    assert (low[1], high[1]) == (3.0, 3.0)
