from itertools import combinations

import numpy as np
import pytest

from ranksim.data import Split, balanced_split
from ranksim.data.splitting import (
    balance_held_out,
    draw_folds,
    draw_validation,
    draw_validation_units,
    factorize,
    reject_shared_samples,
    split_by_column,
    split_rows,
)
from ranksim.data.table import Table
from ranksim.exceptions import DataError
from tests.helpers.errors import raises_with

DEFAULTS = {"by": "random", "balanced": False, "max_per_bin": None, "seed": 0}


def draw_rows(count, seed):
    """Draw long-tailed bins, groups of very different sizes, and repeated times."""
    rng = np.random.default_rng(seed)
    bins = np.minimum(rng.geometric(0.2, count), 20)
    groups = [f"patient {k}" for k in (40 * rng.random(count) ** 2).astype(int)]
    return bins, groups, rng.integers(0, count // 4, count) * 0.5


def number_rows(count):
    return Table.from_columns("own", {"row": list(range(count))})


def assert_partition(split, count):
    assert sorted(np.concatenate(split).tolist()) == list(range(count))
    for part in split:
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()


def assert_groups_stay_whole(split, groups):
    parts = [{groups[row] for row in part} for part in split]
    assert not any(a & b for a, b in combinations(parts, 2))


def test_balanced_split_holds_out_a_third_of_each_bin_up_to_the_maximum():
    bins = np.random.default_rng(0).integers(0, 12, 500)
    bins[bins > 8] = 3
    split = balanced_split(bins, max_per_bin=15, seed=0)
    assert_partition(split, 500)
    expected = np.minimum(np.bincount(bins, minlength=12) // 3, 15)
    for part in (split.val, split.test):
        np.testing.assert_array_equal(np.bincount(bins[part], minlength=12), expected)
    again, other = (balanced_split(bins, max_per_bin=15, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(split.test, again.test)
    assert not np.array_equal(split.test, other.test)


@pytest.mark.parametrize(("bins", "sizes"), [([], [0, 0, 0]), ([1, 1], [2, 0, 0])])
def test_balanced_split_of_few_samples(bins, sizes):
    split = balanced_split(np.array(bins, dtype=int), max_per_bin=3, seed=0)
    assert [len(part) for part in split] == sizes


@pytest.mark.parametrize(("max_per_bin", "used"), [(None, 30), (7, 7)])
def test_random_balanced_split_follows_the_published_rule(max_per_bin, used):
    bins, _, _ = draw_rows(900, 0)
    split = split_rows(bins, by="random", balanced=True, max_per_bin=max_per_bin, seed=3)
    expected = balanced_split(bins, max_per_bin=used, seed=3)
    for part, expected_part in zip(split, expected, strict=True):
        np.testing.assert_array_equal(part, expected_part)


def test_random_split_has_the_exact_shares():
    bins, _, _ = draw_rows(1000, 0)
    split, again, other = (split_rows(bins, **DEFAULTS | {"seed": seed}) for seed in (0, 0, 1))
    assert_partition(split, 1000)
    assert [len(part) for part in split] == [700, 150, 150]
    np.testing.assert_array_equal(split.test, again.test)
    assert not np.array_equal(split.test, other.test)


@pytest.mark.parametrize("balanced", [True, False])
def test_equal_rows_stay_together(balanced):
    rng = np.random.default_rng(0)
    inputs = [(int(k), "x") for k in rng.integers(0, 150, 400)]
    groups = factorize(inputs)
    bins = np.array([value % 3 for value, _ in inputs])
    split = split_rows(bins, **DEFAULTS | {"balanced": balanced}, groups=groups)
    assert_partition(split, 400)
    assert_groups_stay_whole(split, groups)
    reject_shared_samples(number_rows(400), groups, split)
    if balanced:  # the rule counts each distinct input once
        for part in (split.val, split.test):
            for label in range(3):
                distinct = {inputs[row] for row in range(400) if bins[row] == label}
                held_out = {inputs[row] for row in part if bins[row] == label}
                assert len(held_out) == min(len(distinct) // 3, 30)


@pytest.mark.parametrize("seed", range(3))
def test_group_split_keeps_groups_whole_and_shares_close(seed):
    bins, groups, _ = draw_rows(800, seed)
    options = DEFAULTS | {"by": "group", "groups": groups}
    split = split_rows(bins, **options | {"seed": seed})
    assert_partition(split, 800)
    assert_groups_stay_whole(split, groups)
    train_sizes = {groups.count(groups[row]) for row in split.train}
    for part in (split.val, split.test):  # no training group would bring it closer to its share
        assert all(abs(len(part) + size - 120) >= abs(len(part) - 120) for size in train_sizes)
        assert abs(len(part) - 120) <= 5
    other = split_rows(bins, **options | {"seed": seed + 9})
    assert not np.array_equal(split.test, other.test)


@pytest.mark.parametrize(
    "sizes", [[480, *[1] * 20], [9, 1, 1], [1, 1, 1], [4, 4, 92], [50, 50, 1], [9, 10, 8]]
)
def test_group_split_of_few_groups_has_no_empty_part(sizes):
    groups = np.repeat(np.arange(len(sizes)), sizes)
    bins = np.zeros(len(groups), dtype=np.int64)
    for seed in range(8):
        options = DEFAULTS | {"by": "group", "seed": seed, "groups": groups.tolist()}
        split = split_rows(bins, **options)
        assert all(len(part) for part in split)
        assert_partition(split, len(groups))
        assert_groups_stay_whole(split, groups)


@pytest.mark.parametrize("seed", range(3))
def test_time_split_keeps_order_and_equal_times_together(seed):
    bins, _, times = draw_rows(300, seed)
    split = split_rows(bins, **DEFAULTS | {"by": "time"}, times=times)
    assert_partition(split, 300)
    train, val, test = (times[part] for part in split)
    assert train.max() < val.min()
    assert val.max() < test.min()
    moments = sorted(set(times))
    # the best starts, found by trying every moment
    first_test = min(moments[2:], key=lambda m: abs(int((times >= m).sum()) - 45))
    assert test.min() == first_test
    earlier = [m for m in moments[1:] if m < first_test]
    assert val.min() == min(earlier, key=lambda m: abs(int((times >= m).sum()) - 90))


@pytest.mark.parametrize(
    ("by", "max_per_bin"), [("group", None), ("time", None), ("group", 3), ("time", 10**6)]
)
def test_balancing_by_group_or_time_leaves_samples_unused(by, max_per_bin):
    bins, groups, times = draw_rows(900, 1)
    options = {"by": by, "seed": 4, "groups": groups, "times": times, "max_per_bin": max_per_bin}
    plain = split_rows(bins, balanced=False, **options)
    split = split_rows(bins, balanced=True, **options)
    np.testing.assert_array_equal(split.train, plain.train)
    held_out = [plain.val, plain.test]
    counts = [np.bincount(bins[part], minlength=21) for part in held_out]
    positive = np.concatenate(counts)[np.concatenate(counts) > 0]
    largest = max_per_bin or min(30, int(np.median(positive)))
    for part, before, count in zip((split.val, split.test), held_out, counts, strict=True):
        assert set(part) <= set(before)
        assert (np.diff(part) > 0).all()
        np.testing.assert_array_equal(
            np.bincount(bins[part], minlength=21), np.minimum(count, largest)
        )
    shuffled = balance_held_out(plain, bins, max_per_bin=3, seed=5)  # drawn, not the first ones
    assert max_per_bin != 3 or not np.array_equal(split.test, shuffled.test)


def test_default_maximum_is_at_most_thirty():
    split = Split(np.arange(0), np.arange(100), np.arange(100, 200))
    balanced = balance_held_out(split, np.zeros(200, dtype=np.int64), max_per_bin=None, seed=0)
    assert [len(part) for part in balanced] == [0, 30, 30]


def test_split_by_column_accepts_common_names():
    names = ["Train", " val", "test", "valid", "DEV", "training", "validation", "testing"]
    split = split_by_column(Table.from_columns("own", {"split": names}), "split")
    assert [part.tolist() for part in split] == [[0, 5], [1, 3, 4, 6], [2, 7]]


def test_split_by_column_reports_lines():
    names = ["train", "", None, "vla", "test", "val"]
    table = Table("own.csv", ["split"], lambda _: names, range(2, 8))
    with raises_with(DataError, "own.csv, lines 3, 4, 5", "is not train, val or test"):
        split_by_column(table, "split")
    with raises_with(DataError, "The test set has no samples"):
        split_by_column(table.take(np.array([0, 5])), "split")


def test_shared_samples_are_rejected():
    rows = factorize([("a", "1"), ("b", "1"), ("a", "1"), ("c", "2"), ("b", "1"), ("c", "2")])
    table = number_rows(len(rows))
    reject_shared_samples(table, rows, Split(np.array([0, 2]), np.array([1, 4]), np.array([3, 5])))
    for split, facts in (
        (Split(np.array([0]), np.array([1]), np.array([2, 3])), ("row 3", "test sample")),
        (Split(np.array([0]), np.array([1]), np.array([3, 4])), ("row 5", "test sample")),
        (Split(np.array([0]), np.array([2]), np.array([1])), ("row 3", "validation sample")),
    ):
        with raises_with(DataError, *facts, "another part"):
            reject_shared_samples(table, rows, split)


@pytest.mark.parametrize(
    ("options", "fact"),
    [
        ({"by": "group", "groups": ["a", "b", "a", "b"]}, "2 groups cannot be split"),
        ({"by": "group", "groups": ["a"] * 4}, "1 group cannot be split"),
        ({"by": "time", "times": np.zeros(4)}, "1 different time cannot be split"),
        ({"balanced": True}, "validation set has no samples (no label bin has"),
    ],
)
def test_reports_impossible_splits(options, fact):
    with raises_with(DataError, fact):
        split_rows(np.arange(4), **DEFAULTS | options)


@pytest.mark.parametrize(
    ("bins", "groups", "facts"),
    [
        # twenty images, each in five files that are equal after rotation
        ([0, 1] * 50, [*range(2)] * 50, ("only 2 of 100 samples are distinct", "use more data")),
        (
            [*range(20)] * 5,
            [*range(20)] * 5,
            ("only 20 of 100 samples are distinct", "more than 1 distinct sample", "--bin-width"),
        ),
        ([*range(30)] * 2, None, ("no label bin has more than 2 samples", "--no-balanced")),
        ([0, 0], None, ("there are only 2", "use more data")),
    ],
)
def test_empty_parts_of_a_balanced_split_are_explained(bins, groups, facts):
    bins = np.array(bins)
    for seed in range(2):
        with raises_with(DataError, *facts):
            split_rows(bins, **DEFAULTS | {"balanced": True, "seed": seed}, groups=groups)
    everything = np.arange(len(bins))
    given = Split(everything[:-1], everything[:0], everything[-1:])
    with raises_with(DataError, "validation set has no samples"):
        draw_validation(given, bins, balanced=True, max_per_bin=None, seed=0, groups=groups)


def test_random_split_of_few_distinct_samples_names_them():
    with raises_with(DataError, "2 distinct samples cannot be split"):
        split_rows(np.zeros(40, dtype=np.int64), **DEFAULTS | {"balanced": False},
                   groups=[0, 1] * 20)  # fmt: skip
    with raises_with(DataError, "1 group cannot be split"):
        split_rows(np.zeros(40, dtype=np.int64), **DEFAULTS | {"by": "group"}, groups=[0] * 40)


@pytest.mark.parametrize("seed", range(5))
def test_folds_share_each_bin_equally(seed):
    bins, _, _ = draw_rows(403, seed)
    units = np.random.default_rng(seed).permutation(403)
    folds = draw_folds(units, bins, count=5, seed=seed)
    assert np.ptp(np.bincount(folds, minlength=5)) <= 1
    for label in np.unique(bins):
        assert np.ptp(np.bincount(folds[bins == label], minlength=5)) <= 1
    np.testing.assert_array_equal(folds, draw_folds(units, bins, count=5, seed=seed))
    assert not np.array_equal(folds, draw_folds(units, bins, count=5, seed=seed + 1))


@pytest.mark.parametrize("with_bins", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_folds_keep_units_whole(seed, with_bins):
    bins, groups, _ = draw_rows(300, seed)
    units = factorize(groups)
    folds = draw_folds(units, bins if with_bins else None, count=4, seed=seed)
    assert_groups_stay_whole([np.flatnonzero(folds == k) for k in range(4)], groups)
    sizes = np.bincount(folds, minlength=4)
    assert sizes.sum() == 300
    assert sizes.all()
    if not with_bins:  # each group went to the smallest fold, largest first
        assert np.ptp(sizes) <= np.bincount(units).max()


@pytest.mark.parametrize("seed", range(4))
def test_validation_is_drawn_from_whole_units(seed):
    _, groups, _ = draw_rows(300, seed)
    units, empty = factorize(groups), np.zeros(0, dtype=np.int64)
    given = Split(np.arange(240), empty, np.arange(240, 300))
    split = draw_validation_units(given, units, seed=seed)
    assert_partition(split, 300)
    assert_groups_stay_whole(split[:2], groups)
    assert 0 < len(split.val) <= 36
    again = draw_validation_units(given, units, seed=seed)
    np.testing.assert_array_equal(split.val, again.val)


def test_validation_of_few_large_units_is_the_one_of_the_nearest_size():
    units, empty = np.repeat([0, 1, 2], [40, 30, 50]), np.zeros(0, dtype=np.int64)
    given = Split(np.arange(120), empty, empty + 1)
    with pytest.raises(DataError, match="test set has no samples"):
        draw_validation_units(given, units, seed=0)
    split = draw_validation_units(given._replace(test=np.array([5])), units, seed=0)
    assert {*units[split.val]} == {1}
    with pytest.raises(DataError, match="validation set has no samples .*whole groups or days"):
        draw_validation_units(given, np.zeros(120, dtype=np.int64), seed=0)
