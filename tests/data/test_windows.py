import math
import pickle

import numpy as np
import pytest
import torch

from ranksim.data import Split
from ranksim.data.cells import day_index, parse_times
from ranksim.data.series import (
    SeriesDataset,
    SeriesSamples,
    SeriesScaling,
    make_series_datasets,
)
from ranksim.data.splitting import split_rows
from ranksim.data.table import Table
from ranksim.data.windows import make_windows, sort_by_time, split_windows
from ranksim.exceptions import DataError


def recorded(count, seed, channels=2):
    """A series with jitter, gaps, holes, and two sensors one after the other."""
    draw = np.random.default_rng(seed)
    apart = draw.choice([300, 300, 300, 300, 300, 240, 420, 449, 451, 60, 600, 0], count)
    times = np.cumsum(apart).astype(np.float64)
    values = draw.normal(size=(count, channels))
    values[draw.random(count) < 0.03, draw.integers(channels)] = np.nan
    target = draw.normal(size=count)
    target[draw.random(count) < 0.05] = np.nan
    groups = ["first" if k < count // 2 else "second" for k in range(count)]
    return values, times, target, groups


def slow(values, times, target, groups, window, horizon, step):
    """Every window, one condition after the other."""
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


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("window", "horizon"), [(1, 1), (3, 2), (4, 0), (2, 5)])
@pytest.mark.parametrize("clock", [True, False])
def test_windows_by_every_condition(seed, window, horizon, clock):
    values, times, target, groups = recorded(400, seed)
    times = times if clock else None
    found = make_windows(values, times, target, window=window, horizon=horizon, groups=groups)
    expected = slow(values, times, target, groups, window, horizon, 300.0)
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


def test_the_step_is_the_median_unless_it_is_given():
    times = np.array([0.0, 60, 120, 180, 300, 420])
    values = np.arange(6.0)[:, None]
    known = {"window": 2, "horizon": 1}
    assert make_windows(values, times, values[:, 0], **known).ends.tolist() == [1, 2]
    assert make_windows(values, times, values[:, 0], step=120, **known).ends.tolist() == [4]


def test_forecasts_of_what_is_not_known_yet():
    values, times, target, groups = recorded(200, 1)
    found = make_windows(values, times, None, window=3, horizon=4, groups=groups)
    whole = np.where(np.isnan(values).any(axis=1), np.nan, 0.0)  # a target of the last reading
    expected = slow(values, times, whole, groups, 3, 0, 300.0)
    assert found.ends.tolist() == expected
    assert np.isnan(found.labels).all()
    np.testing.assert_array_equal(found.times, times[found.ends] + 4 * 300.0)
    known = make_windows(values, times, target, window=3, horizon=4, groups=groups)
    place = np.searchsorted(found.ends, known.ends)
    np.testing.assert_array_equal(found.ends[place], known.ends)
    np.testing.assert_array_equal(found.target_rows[place], known.target_rows)
    assert found.target_rows.max() < 200


def test_no_window_is_left():
    values = np.arange(5.0)[:, None]
    with pytest.raises(
        DataError, match="^No 4 readings in a row and a target 2 readings later sta"
    ):
        make_windows(values, None, values[:, 0], window=4, horizon=2)
    with pytest.raises(DataError, match="^No 9 readings in a row"):
        make_windows(values, np.arange(5.0), values[:, 0], window=9, horizon=1)
    with pytest.raises(DataError, match="^The times of the series never go on"):
        make_windows(values, np.zeros(5), values[:, 0], window=2, horizon=1)


def test_misuse():
    values = np.arange(5.0)[:, None]
    with pytest.raises(ValueError, match="^need window >= 1 and horizon >= 0, got 0 and 1"):
        make_windows(values, None, values[:, 0], window=0, horizon=1)
    with pytest.raises(ValueError, match=r"^values must be \(T, C\)"):
        make_windows(values, np.zeros(4), values[:, 0], window=1, horizon=1)
    with pytest.raises(ValueError, match=r"^values must be \(T, C\)"):
        make_windows(values[:, 0], None, values[:, 0], window=1, horizon=1)


@pytest.mark.parametrize("by", ["group", "time"])
@pytest.mark.parametrize("seed", range(2))
def test_no_reading_is_in_two_parts(by, seed):
    values, times, target, groups = recorded(900, seed)
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
    # and none is left out that could stay
    every = slow(values, times, target, [(parts[k], groups[k]) for k in range(900)], 3, 2, 300.0)
    assert found.ends.tolist() == every


def test_a_part_without_a_window():
    values = np.arange(9.0)[:, None]
    dealt = Split(np.arange(6), np.array([6]), np.array([7, 8]))
    with pytest.raises(
        DataError, match="^The validation part holds no sample .no window lies with"
    ):
        split_windows(dealt, values, None, values[:, 0], window=1, horizon=1)


@pytest.mark.parametrize("seed", range(3))
def test_scaling_by_the_readings_of_training(seed):
    draw = np.random.default_rng(seed)
    values = draw.normal(100, 3, (50, 3))
    values[:, 2] = 7.0
    ends = np.sort(draw.choice(np.arange(3, 50), 6, replace=False))
    seen = sorted({k for end in ends for k in range(end - 3, end + 1)})
    values[[k for k in range(50) if k not in seen]] = np.nan  # never looked at
    scaling = SeriesScaling.fit(values, ends, window=4)
    mean = values[seen].sum(axis=0) / len(seen)
    deviation = np.sqrt(((values[seen] - mean) ** 2).sum(axis=0) / len(seen))
    deviation[2] = 1.0
    np.testing.assert_allclose(scaling.mean, mean)
    np.testing.assert_allclose(scaling.deviation, deviation)
    made = scaling(values)
    assert made.dtype == np.float32
    np.testing.assert_allclose(made[seen], (values[seen] - mean) / deviation, atol=1e-5)
    assert SeriesScaling.from_dict(scaling.to_dict()) == scaling


def test_windows_are_gathered_as_they_stand():
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
    again = pickle.loads(pickle.dumps(data))  # to a process that reads ahead
    np.testing.assert_array_equal(again.__getitems__(rows)["inputs"][0].numpy(), expected)


def test_parts_share_the_readings():
    values = np.arange(20.0)[:, None] * 2
    train, test = (
        SeriesSamples(values, np.arange(*ends), np.arange(float(ends[1] - ends[0])), 3)
        for ends in ((2, 8), (12, 20))
    )
    scaling = train.scaling()
    assert scaling == SeriesScaling.fit(values, train.ends, window=3)
    ours, theirs = make_series_datasets([train, test], scaling)
    assert ours.values.data_ptr() == theirs.values.data_ptr()
    assert (len(train), len(theirs)) == (6, 8)
    np.testing.assert_allclose(
        theirs[0]["inputs"][0][0, :, 0], (values[10:13, 0] - scaling.mean) / scaling.deviation
    )


def test_times_of_all_kinds():
    np.testing.assert_array_equal(parse_times(["1", " 2.5", "1e3"]), [1, 2.5, 1000])
    np.testing.assert_array_equal(
        parse_times(["1970-01-01T01:00", "1970-01-02 00:00:01"]), [3600, 86401]
    )
    np.testing.assert_array_equal(parse_times([3, 4.5]), [3, 4.5])
    assert parse_times([]).shape == (0,)


@pytest.mark.parametrize(
    ("values", "match"),
    [
        (["1", "2", "noon"], "line 4: column 'when' holds 'noon', which is no finite number; "),
        (["2020-01-01", "noon"], "line 3: column 'when' holds 'noon', which is no ISO date; "),
        (["2020-01-01", "2020-01-02", "7"], "line 4: column 'when' holds '7', which is no ISO da"),
        (["1", "", "2"], "line 3: column 'when' holds no time; "),
        (["1", "inf"], "line 3: column 'when' holds 'inf', which is no finite number; "),
    ],
)
def test_times_that_are_none(values, match):
    table = Table("own.csv", ["when"], lambda _: [], range(2, 9))
    with pytest.raises(DataError, match=f"^own.csv, {match}"):
        parse_times(values, table.raise_for_rows, "when")


def test_days_before_1970_too():
    assert day_index(np.array([-1.0, 0.0, 86_399.9, 86_400.0])).tolist() == [-1, 0, 0, 1]


def test_the_order_of_time_within_each_group():
    times, groups = np.array([5.0, 1, 5, 0, 2]), ["b", "a", "b", "a", "b"]
    assert sort_by_time(times, groups).tolist() == [4, 0, 2, 3, 1]
    assert sort_by_time(times).tolist() == [3, 1, 4, 0, 2]
