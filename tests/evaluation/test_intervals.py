import itertools

import numpy as np
import pytest
import scipy.stats

from ranksim.evaluation.intervals import TwoWayInterval, aggregate_by_cluster, bootstrap


@pytest.mark.parametrize(("seeds", "samples"), [(2, 2), (3, 7), (5, 40)])
def test_mean_squares_against_loops(seeds, samples):
    d = np.random.default_rng(0).normal(size=(seeds, samples)) + np.arange(samples)
    got = TwoWayInterval.of(d)
    mean = sum(d[s, i] for s in range(seeds) for i in range(samples)) / d.size
    by_seed = by_sample = rest = 0.0
    for s, i in itertools.product(range(seeds), range(samples)):
        row, column = sum(d[s]) / samples, sum(d[:, i]) / seeds
        by_seed += (row - mean) ** 2 / (seeds - 1)
        by_sample += (column - mean) ** 2 / (samples - 1)
        rest += (d[s, i] - row - column + mean) ** 2 / ((seeds - 1) * (samples - 1))
    assert (got.mean, got.by_seed, got.by_sample, got.rest) == pytest.approx(
        (mean, by_seed, by_sample, rest)
    )
    t = scipy.stats.t.ppf(0.975, [seeds - 1, samples - 1])
    parts = t[0] ** 2 * max(by_seed - rest, 0) + t[1] ** 2 * by_sample
    assert got.half(0.95) == pytest.approx((max(t[0] ** 2 * by_seed, parts) / d.size) ** 0.5)
    assert got.half(0.99) > got.half(0.95)


def test_it_is_never_narrower_than_either_alone():
    draw = np.random.default_rng(0)
    for _ in range(50):
        d = draw.normal(size=(3, 1)) * draw.exponential() + draw.normal(size=(3, 30))
        d += draw.normal(size=30) * draw.exponential()
        half = TwoWayInterval.of(d).half(0.95)
        for means in (d.mean(axis=1), d.mean(axis=0)):
            alone = scipy.stats.ttest_1samp(means, 0).confidence_interval(0.95)
            width = (alone.high - alone.low) / 2
            assert half >= width - 1e-12


def coverage(seeds, samples, seed_effect, sweeps):
    """How often the interval of a sweep holds the true difference; and half of the interval.

    Differences vary from sample to sample, from run to run (both 1), and from seed to seed.
    """
    draw = np.random.default_rng((seeds, samples, int(10 * seed_effect)))
    held = np.zeros(2)
    for _ in range(sweeps):
        d = draw.normal(0, seed_effect, (seeds, 1)) + draw.normal(0, 1, samples)
        found = TwoWayInterval.of(d + draw.normal(0, 1, (seeds, samples)))
        held += abs(found.mean) <= found.half(0.95) * np.array([1, 0.5])
    return held / sweeps


SETTINGS = list(itertools.product((3, 5), (50, 1_000), (0.0, 0.3)))


@pytest.mark.parametrize(("seeds", "samples", "seed_effect"), SETTINGS)
def test_it_covers(seeds, samples, seed_effect):
    """93 to 97 % of 2,000 sweeps; of 400, as far as chance allows."""
    held, half = coverage(seeds, samples, seed_effect, 400)
    assert 0.925 <= held <= 0.985
    assert half < 0.9


def test_it_covers_where_samples_come_in_groups():
    """Of unequal sizes, with an effect of the group, of the seed, and of each sample."""
    draw, held, apart = np.random.default_rng(0), 0, 0
    for _ in range(400):
        sizes = draw.integers(1, 20, 30)
        groups = np.repeat(np.arange(30), sizes)
        shared = draw.normal(0, 1, 30)[groups] + draw.normal(0, 1, len(groups))
        change = draw.normal(0, 0.05, (3, 1)) + shared + draw.normal(0, 0.3, (3, len(groups)))
        own, plain = aggregate_by_cluster(change, groups), change
        assert np.allclose(own.mean(axis=1), plain.mean(axis=1))
        found = TwoWayInterval.of(own)
        held += abs(found.mean) < found.half(0.95)
        found = TwoWayInterval.of(plain)
        apart += abs(found.mean) < found.half(0.95)
    assert held > 0.92 * 400
    assert apart < 0.75 * 400


def test_a_bootstrap_against_its_draws():
    values = np.random.default_rng(1).exponential(size=(30, 2))
    low, high = bootstrap(values)
    chosen = np.random.default_rng(0).integers(0, 30, (2_000, 30))
    for column in range(2):
        own = values[:, column]
        m, s = sum(own) / 30, (sum((v - sum(own) / 30) ** 2 for v in own) / 30) ** 0.5
        means, ratios = [], []
        for rows in chosen:
            means.append(sum(own[i] for i in rows) / 30)
            spread = (sum((own[i] - means[-1]) ** 2 for i in rows) / 30) ** 0.5
            ratios.append((means[-1] - m) / spread)
        plain = np.quantile(means, [0.025, 0.975])
        left, right = m - s * np.quantile(ratios, [0.975, 0.025])
        assert low[column] == pytest.approx(min(plain[0], left))
        assert high[column] == pytest.approx(max(plain[1], right))
        assert plain[0] < left < right > plain[1]  # each decides one end here
        assert high[column] - m > m - low[column]  # to the side of the tail
    wide = bootstrap(values, 0.99)
    assert (wide[0] < low).all()
    assert (wide[1] > high).all()


def test_a_bootstrap_of_many_samples_goes_in_parts():
    values = np.random.default_rng(1).normal(1.0, 2.0, (9_001, 1))
    low, high = bootstrap(values)
    half = 1.96 * values.std() / 9_001**0.5
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_seeds_that_would_be_needed():
    # of seeds alone: 2 t_{S-1} / sqrt(S) < 1 from 18 on
    found = TwoWayInterval(1.0, 3, 10_000, 40_000.0, 1e-9, 1e-9)
    expected = next(s for s in range(3, 99) if 2 * scipy.stats.t.ppf(0.975, s - 1) / s**0.5 < 1)
    assert found.seeds_needed(0.95) == expected
    assert found.seeds_needed(0.99) > expected
    # samples alone: no seed helps
    assert TwoWayInterval(1.0, 3, 10, 1e-9, 3 * 40.0, 1e-9).seeds_needed(0.95) is None
    assert TwoWayInterval(1.0, 3, 10, 1e-9, 1e-3, 1e-9).seeds_needed(0.95) == 3


@pytest.mark.parametrize("samples", [20, 100])
def test_a_bootstrap_covers_where_errors_are_squared(samples):
    """Plain percentiles cover 86 and 93 %."""
    draw = np.random.default_rng(0)
    low, high = bootstrap(np.square(draw.normal(size=(samples, 400))))
    assert 0.92 <= ((low <= 1) & (high >= 1)).mean() <= 0.975


def test_a_bootstrap_of_a_handful_is_wide_and_of_equal_ones_is_nothing():
    low, high = bootstrap(np.array([[0.0, 3.0], [1.0, 3.0]]))
    assert low[0] < 0 < 1 < high[0]
    assert np.isfinite([low, high]).all()
    assert (low[1], high[1]) == (3.0, 3.0)
