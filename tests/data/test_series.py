import math
import pickle

import numpy as np
import pytest
import torch

from ranksim.data import Split
from ranksim.data.series import (
    SeriesDataset,
    SeriesSamples,
    SeriesScaling,
    make_series_datasets,
    make_windows,
    split_windows,
)
from ranksim.data.splitting import split_rows
from ranksim.data.table import day_index
from ranksim.exceptions import DataError
from tests.helpers.errors import raises_with


def draw_series(count, seed, channels=2):
    """Draw a series with jitter, gaps, missing readings and two sensors."""
    rng = np.random.default_rng(seed)
    apart = rng.choice([300, 300, 300, 300, 300, 240, 420, 449, 451, 60, 600, 0], count)
    times = np.cumsum(apart).astype(np.float64)
    values = rng.normal(size=(count, channels))
    values[rng.random(count) < 0.03, rng.integers(channels)] = np.nan
    target = rng.normal(size=count)
    target[rng.random(count) < 0.05] = np.nan
    groups = ["first" if k < count // 2 else "second" for k in range(count)]
    return values, times, target, groups


def slow_windows(values, times, target, groups, window, horizon, step):
    """Slow reference: check every condition of every window."""
    found = []
    for end in range(len(values)):
        first, last = end - window + 1, end + horizon
        if first < 0 or last >= len(values):
            continue
        if any(groups[k] != groups[first] for k in range(first, last + 1)):
            continue
        if times is not None and any(
            not step / 2 < times[k + 1] - times[k] < 1.5 * step for k in range(first, last)
        ):
            continue
        if not np.isfinite(values[first : end + 1]).all() or math.isnan(target[last]):
            continue
        found.append(end)
    return found


@pytest.mark.parametrize(
    ("seed", "window", "horizon", "clock"),
    [(0, 1, 1, True), (1, 3, 2, True), (2, 4, 0, True), (0, 2, 5, True), (1, 3, 2, False),
     (2, 4, 0, False)],
)  # fmt: skip
def test_windows_satisfy_every_condition(seed, window, horizon, clock):
    values, times, target, groups = draw_series(400, seed)
    times = times if clock else None
    found = make_windows(values, times, target, window=window, horizon=horizon, groups=groups)
    expected = slow_windows(values, times, target, groups, window, horizon, 300.0)
    assert expected
    assert found.ends.tolist() == expected
    assert found.target_rows.tolist() == [end + horizon for end in expected]
    np.testing.assert_array_equal(found.labels, target[found.target_rows])
    assert found.window == window
    assert len(found) == len(expected)
    if clock:
        np.testing.assert_array_equal(found.times, times[found.target_rows])
    else:
        assert found.times is None


def test_default_step_is_the_median():
    times = np.array([0.0, 60, 120, 180, 300, 420])
    values = np.arange(6.0)[:, None]
    known = {"window": 2, "horizon": 1}
    assert make_windows(values, times, values[:, 0], **known).ends.tolist() == [1, 2]
    assert make_windows(values, times, values[:, 0], step=120, **known).ends.tolist() == [4]


def test_windows_with_unknown_targets():
    values, times, target, groups = draw_series(200, 1)
    found = make_windows(values, times, None, window=3, horizon=4, groups=groups)
    whole = np.where(np.isnan(values).any(axis=1), np.nan, 0.0)  # a target of the last reading
    expected = slow_windows(values, times, whole, groups, 3, 0, 300.0)
    assert found.ends.tolist() == expected
    assert np.isnan(found.labels).all()
    np.testing.assert_array_equal(found.times, times[found.ends] + 4 * 300.0)
    known = make_windows(values, times, target, window=3, horizon=4, groups=groups)
    place = np.searchsorted(found.ends, known.ends)
    np.testing.assert_array_equal(found.ends[place], known.ends)
    np.testing.assert_array_equal(found.target_rows[place], known.target_rows)
    assert found.target_rows.max() < 200


def test_series_without_windows():
    values = np.arange(5.0)[:, None]
    for times, window, facts in (
        (None, 5, ("5 consecutive readings", "1 readings later", "shorter")),
        (np.arange(5.0), 9, ("9 consecutive readings",)),
        (np.zeros(5), 2, ("times of the series do not increase",)),
    ):
        with raises_with(DataError, *facts):
            make_windows(values, times, values[:, 0], window=window, horizon=1)


@pytest.mark.parametrize(("by", "seed"), [("group", 0), ("time", 1)])
def test_split_windows_use_no_reading_in_two_parts(by, seed):
    values, times, target, groups = draw_series(900, seed)
    dealt = split_rows(
        np.zeros(900, dtype=np.int64),
        by=by,
        balanced=False,
        max_per_bin=None,
        seed=seed,
        groups=day_index(times * 30).tolist(),
        times=times,
    )
    found, split = split_windows(
        dealt, values, times, target, window=3, horizon=2, groups=groups, step=300.0
    )
    assert sum(map(len, split)) == len(found)
    parts = {row: number for number, rows in enumerate(dealt) for row in rows}
    used = [set(), set(), set()]
    for number, part in enumerate(split):
        for k in part:
            readings = range(found.ends[k] - 2, found.target_rows[k] + 1)
            assert {parts[row] for row in readings} == {number}
            used[number].update(readings)
    assert not used[0] & used[1] | used[0] & used[2] | used[1] & used[2]
    # and no other window is possible
    every = slow_windows(
        values, times, target, [(parts[k], groups[k]) for k in range(900)], 3, 2, 300.0
    )
    assert found.ends.tolist() == every


def test_split_windows_rejects_an_empty_part():
    values = np.arange(9.0)[:, None]
    split = Split(np.arange(6), np.array([6]), np.array([7, 8]))
    with raises_with(DataError, "validation set has no samples", "no window"):
        split_windows(split, values, None, values[:, 0], window=1, horizon=1)


@pytest.mark.parametrize("seed", range(2))
def test_scaling_uses_training_windows_only(seed):
    draw = np.random.default_rng(seed)
    values = draw.normal(100, 3, (50, 3))
    values[:, 2] = 7.0
    ends = np.sort(draw.choice(np.arange(3, 50), 6, replace=False))
    covered = sorted({k for end in ends for k in range(end - 3, end + 1)})
    values[[k for k in range(50) if k not in covered]] = np.nan  # never used
    scaling = SeriesScaling.fit(values, ends, window=4)
    mean = values[covered].sum(axis=0) / len(covered)
    deviation = np.sqrt(((values[covered] - mean) ** 2).sum(axis=0) / len(covered))
    deviation[2] = 1.0
    np.testing.assert_allclose(scaling.mean, mean)
    np.testing.assert_allclose(scaling.deviation, deviation)
    made = scaling(values)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made[covered], (values[covered] - mean) / deviation, atol=1e-5)
    assert SeriesScaling.from_dict(scaling.to_dict()) == scaling


def test_dataset_returns_windows():
    draw = np.random.default_rng(0)
    values = draw.normal(size=(40, 3)).astype(np.float32)
    ends, labels = np.array([4, 39, 20, 21]), np.array([1.0, 2.0, 3.0, 4.0])
    data = SeriesDataset(values, ends, labels, window=5)
    rows = [2, 1, 1, 0]
    batch = data.__getitems__(rows)
    (inputs,) = batch["inputs"]
    expected = np.stack([values[ends[row] - 4 : ends[row] + 1] for row in rows])
    assert inputs.dtype == torch.float32
    np.testing.assert_array_equal(inputs.numpy(), expected)
    assert batch["label"].tolist() == [3.0, 2.0, 2.0, 1.0]
    assert batch["index"].tolist() == rows
    assert data[3]["inputs"][0].shape == (1, 5, 3)
    assert (len(data), data.length_order().tolist()) == (4, [0, 1, 2, 3])
    again = pickle.loads(pickle.dumps(data))  # sent to a loader process
    np.testing.assert_array_equal(again.__getitems__(rows)["inputs"][0].numpy(), expected)


def test_parts_share_one_array():
    values = np.arange(20.0)[:, None] * 2
    train, test = (
        SeriesSamples(values, np.arange(*ends), np.arange(float(ends[1] - ends[0])), 3)
        for ends in ((2, 8), (12, 20))
    )
    scaling = SeriesScaling.fit(values, train.ends, window=3)
    ours, theirs = make_series_datasets([train, test])
    assert ours.values.data_ptr() == theirs.values.data_ptr()
    assert (len(train), len(theirs)) == (6, 8)
    np.testing.assert_allclose(
        theirs[0]["inputs"][0][0, :, 0], (values[10:13, 0] - scaling.mean) / scaling.deviation
    )
