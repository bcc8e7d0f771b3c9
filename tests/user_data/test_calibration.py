"""Which validation samples calibrate intervals: groups and days whole, time in order, windows."""

import numpy as np
import pytest

from ranksim.data.series import Windows
from ranksim.data.splitting import draw_calibration


@pytest.mark.parametrize("count", [2, 3, 10, 101])
def test_halves_have_the_same_labels(count):
    """In each label bin, both halves have the same number of samples, up to one."""
    rng = np.random.default_rng(count)
    bins = rng.choice(6, count, p=[0.5, 0.25, 0.1, 0.08, 0.05, 0.02])
    mask = draw_calibration(np.arange(count), bins, seed=3)
    assert abs(2 * mask.sum() - count) <= 1
    for label in np.unique(bins):
        inside = mask[bins == label]
        assert abs(2 * inside.sum() - len(inside)) <= 1
    assert np.array_equal(mask, draw_calibration(np.arange(count), bins, seed=3))


def test_equal_samples_and_groups_stay_together():
    rng = np.random.default_rng(0)
    units = rng.choice(12, 80)
    for bins in (None, rng.choice(3, 80)):
        mask = draw_calibration(units, bins, seed=1)
        shares = [mask[units == unit].mean() for unit in range(12)]
        assert set(shares) == {0.0, 1.0}
        assert 20 <= mask.sum() <= 60


def test_each_sample_may_be_drawn():
    drawn = np.mean(
        [draw_calibration(np.arange(9), np.zeros(9, int), seed=k) for k in range(400)], 0
    )
    assert (np.abs(drawn - 0.5) < 0.1).all()


def test_the_later_half_and_equal_times_together():
    times = np.array([5.0, 1.0, 2.0, 3.0, 3.0, 9.0])
    mask = draw_calibration(np.arange(6), None, seed=0, times=times)
    assert mask.tolist() == [True, False, False, True, True, True]


def test_windows_that_share_readings():
    rng = np.random.default_rng(0)
    ends = np.sort(rng.choice(np.arange(3, 120), 40, replace=False))
    windows = Windows(ends, ends + 2, np.zeros(40), None, window=4, horizon=2)
    rows = np.flatnonzero(rng.random(40) < 0.4)
    others = np.setdiff1d(np.arange(40), rows)

    def readings(row):
        return set(range(ends[row] - 3, ends[row] + 3))

    expected = [any(readings(row) & readings(other) for other in others) for row in rows]
    assert windows.share_readings(rows, others).tolist() == expected
    assert True in expected
    assert not windows.share_readings(rows, others[:0]).any()
