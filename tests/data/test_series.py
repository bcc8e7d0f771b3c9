import math
import pickle

import numpy as np
import pytest
import torch

from ranksim.data import Split
from ranksim.data.series import (
    Readings,
    SeriesDataset,
    SeriesSamples,
    SeriesScaling,
    describe_readings,
    describe_windows,
    format_seconds,
    make_series_datasets,
    make_windows,
    match_steps,
    merge_repeated_times,
    split_windows,
)
from ranksim.data.splitting import factorize, split_rows
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
    result = []
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
        result.append(end)
    return result


@pytest.mark.parametrize(
    ("seed", "window", "horizon", "clock"),
    [(0, 1, 1, True), (1, 3, 2, True), (2, 4, 0, True), (0, 2, 5, True), (1, 3, 2, False),
     (2, 4, 0, False)],
)  # fmt: skip
def test_windows_satisfy_every_condition(seed, window, horizon, clock):
    values, times, target, groups = draw_series(400, seed)
    times = times if clock else None
    result = make_windows(values, times, target, window=window, horizon=horizon, groups=groups)
    expected = slow_windows(values, times, target, groups, window, horizon, 300.0)
    assert expected
    assert result.ends.tolist() == expected
    assert result.target_rows.tolist() == [end + horizon for end in expected]
    np.testing.assert_array_equal(result.labels, target[result.target_rows])
    assert result.window == window
    assert len(result) == len(expected)
    if clock:
        np.testing.assert_array_equal(result.times, times[result.target_rows])
    else:
        assert result.times is None


def test_default_step_is_the_median():
    times = np.array([0.0, 60, 120, 180, 300, 420])
    values = np.arange(6.0)[:, None]
    known = {"window": 2, "horizon": 1}
    assert make_windows(values, times, values[:, 0], **known).ends.tolist() == [1, 2]
    assert make_windows(values, times, values[:, 0], step=120, **known).ends.tolist() == [4]


def test_windows_with_unknown_targets():
    values, times, target, groups = draw_series(200, 1)
    result = make_windows(values, times, None, window=3, horizon=4, groups=groups)
    whole = np.where(np.isnan(values).any(axis=1), np.nan, 0.0)  # a target of the last reading
    expected = slow_windows(values, times, whole, groups, 3, 0, 300.0)
    assert result.ends.tolist() == expected
    assert np.isnan(result.labels).all()
    np.testing.assert_array_equal(result.times, times[result.ends] + 4 * 300.0)
    known = make_windows(values, times, target, window=3, horizon=4, groups=groups)
    place = np.searchsorted(result.ends, known.ends)
    np.testing.assert_array_equal(result.ends[place], known.ends)
    np.testing.assert_array_equal(result.target_rows[place], known.target_rows)
    assert result.target_rows.max() < 200


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
    result, split = split_windows(
        dealt, values, times, target, window=3, horizon=2, groups=groups, step=300.0
    )
    assert sum(map(len, split)) == len(result)
    parts = {row: number for number, rows in enumerate(dealt) for row in rows}
    used = [set(), set(), set()]
    for number, part in enumerate(split):
        for k in part:
            readings = range(result.ends[k] - 2, result.target_rows[k] + 1)
            assert {parts[row] for row in readings} == {number}
            used[number].update(readings)
    assert not used[0] & used[1] | used[0] & used[2] | used[1] & used[2]
    # and no other window is possible
    every = slow_windows(
        values, times, target, [(parts[k], groups[k]) for k in range(900)], 3, 2, 300.0
    )
    assert result.ends.tolist() == every


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
    scaled = scaling(values)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled[covered], (values[covered] - mean) / deviation, atol=1e-5)
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


def slow_median(values):
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def draw_groups(seed):
    """Draw series of several rates, one of a single reading, in one array, sorted by group."""
    rng = np.random.default_rng(seed)
    groups, times = [], []
    for name, step, count in (("a", 300, 60), ("b", 900, 50), ("c", 300, 1), ("d", 0.5, 40)):
        groups += [name] * count
        gaps = rng.choice([1, 1, 1, 1, 1.2, 0.6, 3], count)
        times += (rng.integers(0, 10**6) + np.cumsum(step * gaps)).tolist()
    values = rng.normal(size=(len(times), 2))
    values[rng.random(len(times)) < 0.03, 1] = np.nan
    target = np.where(rng.random(len(times)) < 0.05, np.nan, values[:, 0])
    return values, np.array(times), target, groups


@pytest.mark.parametrize(("seed", "window", "horizon"), [(0, 3, 1), (1, 2, 2), (2, 1, 1)])
def test_each_group_has_its_own_step(seed, window, horizon):
    values, times, target, groups = draw_groups(seed)
    shape = {"window": window, "horizon": horizon}
    result = make_windows(values, times, target, **shape, groups=groups)
    expected = []
    for name in ("a", "b", "d"):
        rows = [k for k, group in enumerate(groups) if group == name]
        apart = [times[k + 1] - times[k] for k in rows[:-1]]
        step = slow_median(apart)
        part = slice(rows[0], rows[-1] + 1)
        ends = slow_windows(
            values[part], times[part], target[part], [0] * len(rows), window, horizon, step
        )
        expected += [rows[0] + end for end in ends]
        (counts,) = [each for each in result.groups if each.name == name]
        assert (counts.readings, counts.step) == (len(rows), step)
        assert counts.windows == len(ends)
        assert counts.gaps == sum(not step / 2 < each < 1.5 * step for each in apart)
        assert sum(counts.lost.values()) == len(rows) - window - horizon + 1 - len(ends)
        assert set(result.steps[np.isin(result.ends, rows)]) == {step}
    assert result.ends.tolist() == expected
    assert len(expected) > 50
    assert [each.name for each in result.groups] == ["a", "b", "c", "d"]


def test_groups_may_be_interleaved_without_times():
    values = np.arange(8.0)[:, None]
    groups = ["a", "a", "b", "a", "a", "a", "b", "b"]
    result = make_windows(values, None, values[:, 0], window=1, horizon=1, groups=groups)
    assert result.ends.tolist() == [0, 3, 4, 6]


def test_losses_are_counted_by_reason():
    times = np.array([0, 1, 2, 3, 9, 10, 11, 12, 13, 14, 15, 16.0])
    values = np.ones((12, 1))
    values[6] = np.nan
    parts = np.array([0] * 9 + [1] * 3)
    result = make_windows(values, times, values[:, 0], window=2, horizon=1, parts=parts)
    (counts,) = result.groups
    # of ten windows by their first reading: 2 and 3 cross the gap, 4, 5 and 6 the missing
    # reading, and 7 and 8 the boundary between readings 8 and 9
    assert result.ends.tolist() == [1, 2, 10]
    assert counts.lost == {"gaps": 2, "missing readings": 3, "boundaries of parts": 2}
    assert (counts.gaps, counts.windows) == (1, 3)
    # in no window: 3, 4, 5, 6, 7 and 8, of which 3 is the target of one
    report = describe_readings(Readings(values, np.arange(12), times, repeats=np.arange(5)), result)
    assert report.rows == {
        "used": 7,
        "left_out": {"merged with a row of the same time": 5, "in no window": 5},
    }
    note = describe_windows(result, used=2).notes["Windows"]
    assert note == (
        "3 of 2 readings each, with a target 1 reading later, step 1 second; lost 2 at 1 gap, 3 at "
        "missing readings and 2 at boundaries of parts; 1 left out to balance validation and test"
    )


def test_groups_without_windows_and_other_steps_are_warnings():
    minutes = {"A": 5, "B": 5, "E": 15, "F": 60}
    groups = [name for name in minutes for _ in range(4 if name == "F" else 20)]
    times = np.concatenate(
        [np.arange(4 if n == "F" else 20) * 60.0 * m for n, m in minutes.items()]
    )
    values = np.zeros((len(times), 1))
    result = make_windows(values, times, values[:, 0], window=4, horizon=2, groups=groups)
    report = describe_windows(result)
    assert report.notes["By group"] == "A 15, B 15, E 15 and F 0"
    assert report.warnings == [
        "No window lies in F (4 readings, step 1 hour): use a shorter window or horizon, or fill "
        "the gaps.",
        "The steps differ between groups (5 minutes in A and B; 15 minutes in E), so that a target "
        "2 readings later is 10 minutes and 30 minutes ahead: use groups of one step, or resample "
        "the readings.",
    ]
    known = match_steps(times, factorize(groups), [300.0])
    assert np.isnan(known).tolist() == [name in "EF" for name in groups]
    result = make_windows(values, times, None, window=4, horizon=2, step=known, groups=groups)
    assert [each.windows for each in result.groups] == [17, 17, 0, 0]
    report = describe_windows(result, known=[300.0])
    assert report.warnings == [
        "No window lies in E (20 readings, step 15 minutes) and F (4 readings, step 1 hour): the "
        "model forecasts readings at a step of 5 minutes; resample them."
    ]
    plain = describe_windows(result, known=[300.0], dates=False).warnings[0]
    assert "E (20 readings, step 900)" in plain
    with raises_with(DataError, "no 4 consecutive readings", "at a step of 5 minutes"):
        make_windows(values[40:], times[40:], None, window=4, horizon=2, step=300.0)


@pytest.mark.parametrize(("minutes", "warns"), [(5, False), (5.2, False), (6, True), (7, True)])
def test_similar_steps_of_new_readings_are_a_warning(minutes, warns):
    times = np.arange(9) * 60.0 * minutes
    step = match_steps(times, np.zeros(9, np.int64), [300.0])
    result = make_windows(np.ones((9, 1)), times, None, window=2, horizon=1, step=step)
    text = f"Readings of the series are {minutes} minutes apart, those of the training 5 minutes"
    assert describe_windows(result, known=[300.0]).warnings == [f"{text}: resample them."] * warns


@pytest.mark.parametrize(
    ("apart", "known", "step"),
    [([300] * 5, [300, 900], 300), ([900] * 5, [300, 900], 900), ([430] * 5, [300, 900], 300),
     ([300, 300, 3000, 4000, 5000], [300], 300), ([3600] * 5, [300, 900], np.nan),
     ([], [300, 900], 300)],
)  # fmt: skip
def test_step_of_new_readings_is_one_of_the_model(apart, known, step):
    times = np.cumsum([0.0, *apart])
    series = np.zeros(len(times), np.int64)
    steps = match_steps(times, series, known)
    np.testing.assert_array_equal(steps, [step] * len(times))
    if np.isnan(step):
        with raises_with(DataError, "no 1 consecutive readings"):
            make_windows(np.ones((6, 1)), times, None, window=1, horizon=1, step=steps)


@pytest.mark.parametrize("seed", range(3))
def test_repeated_times_are_merged_to_their_mean(seed):
    rng = np.random.default_rng(seed)
    times, series = np.sort(rng.integers(0, 8, 60)).astype(float), np.repeat([0, 1], 30)
    order = np.lexsort((times, series))
    times, values = times[order], rng.integers(0, 3, (60, 2)).astype(float)
    values[rng.random((60, 2)) < 0.2] = np.nan
    merged = merge_repeated_times(values, times, series)
    expected, first, different = [], [], []
    for key in dict.fromkeys(zip(series, times, strict=True)):
        rows = [k for k in range(60) if (series[k], times[k]) == key]
        columns = [[v for v in values[rows, c] if not math.isnan(v)] for c in range(2)]
        expected.append([sum(c) / len(c) if c else math.nan for c in columns])
        first.append(rows[0])
        different += rows if any(len(set(c)) > 1 for c in columns) else []
    np.testing.assert_allclose(merged.values, expected, rtol=1e-14)
    assert merged.first.tolist() == first
    assert merged.repeated.tolist() == [k for k in range(60) if k not in first]
    assert merged.different.tolist() == different


def test_equal_readings_keep_their_bits():
    values = np.full((3, 1), 0.1)
    merged = merge_repeated_times(values, np.zeros(3), np.zeros(3, np.int64))
    assert merged.values.tolist() == [[0.1]]
    assert merged.different.tolist() == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(300, "5 minutes"), (60, "1 minute"), (0.5, "0.5 seconds"), (1, "1 second"),
     (5400, "1.5 hours"), (86_400, "1 day"), (90, "1.5 minutes")],
)  # fmt: skip
def test_durations_are_readable(seconds, text):
    assert format_seconds(seconds) == text
