from itertools import combinations

import numpy as np
import pytest

from ranksim.data import Split, balanced_split
from ranksim.data.splitting import (
    balance_held_out,
    factorize,
    reject_shared_samples,
    split_by_column,
    split_rows,
)
from ranksim.data.table import Table
from ranksim.exceptions import DataError


def rows_of(count, seed):
    """Bins with a long tail, groups of very different sizes, times that repeat."""
    draw = np.random.default_rng(seed)
    bins = np.minimum(draw.geometric(0.2, count), 20)
    groups = [f"patient {k}" for k in (40 * draw.random(count) ** 2).astype(int)]
    return bins, groups, draw.integers(0, count // 4, count) * 0.5


def check_partition(split, count):
    assert sorted(np.concatenate(split).tolist()) == list(range(count))
    for part in split:
        assert part.dtype == np.int64
        assert (np.diff(part) > 0).all()


def crossing(split, groups):
    """Groups that stand in more than one part."""
    parts = [{groups[row] for row in part} for part in split]
    return (parts[0] & parts[1]) | (parts[0] & parts[2]) | (parts[1] & parts[2])


@pytest.mark.parametrize(("cap", "used"), [(None, 30), (7, 7)])
def test_random_and_balanced_is_the_published_rule(cap, used):
    bins, _, _ = rows_of(900, 0)
    split = split_rows(bins, by="random", balanced=True, max_per_bin=cap, seed=3)
    for ours, published in zip(split, balanced_split(bins, max_per_bin=used, seed=3), strict=True):
        np.testing.assert_array_equal(ours, published)


def test_a_plain_shuffle_has_the_shares_exactly():
    bins, _, _ = rows_of(1000, 0)
    split = split_rows(
        bins, by="random", balanced=False, max_per_bin=None, seed=0, shares=(0.1, 0.25)
    )
    check_partition(split, 1000)
    assert [len(part) for part in split] == [650, 100, 250]
    again, other = (
        split_rows(
            bins, by="random", balanced=False, max_per_bin=None, seed=seed, shares=(0.1, 0.25)
        )
        for seed in (0, 1)
    )
    np.testing.assert_array_equal(split.test, again.test)
    assert not np.array_equal(split.test, other.test)


@pytest.mark.parametrize("balanced", [True, False])
def test_equal_rows_stay_together(balanced):
    draw = np.random.default_rng(0)
    inputs = [(int(k), "x") for k in draw.integers(0, 150, 400)]
    groups = factorize(inputs)
    bins = np.array([value % 3 for value, _ in inputs])
    split = split_rows(
        bins, by="random", balanced=balanced, max_per_bin=None, seed=0, groups=groups
    )
    check_partition(split, 400)
    assert not crossing(split, groups)
    reject_shared_samples(inputs, split)
    if balanced:  # the rule, over inputs that differ
        for part in (split.val, split.test):
            for label in range(3):
                kinds = {inputs[row] for row in range(400) if bins[row] == label}
                held = {inputs[row] for row in part if bins[row] == label}
                assert len(held) == min(len(kinds) // 3, 30)


@pytest.mark.parametrize("seed", range(5))
def test_groups_stay_whole_and_parts_come_near_their_shares(seed):
    bins, groups, _ = rows_of(800, seed)
    split = split_rows(bins, by="group", balanced=False, max_per_bin=None, seed=seed, groups=groups)
    check_partition(split, 800)
    assert not crossing(split, groups)
    left = {groups.count(groups[row]) for row in split.train}
    for part in (split.val, split.test):  # no group of training would have brought it nearer
        assert all(abs(len(part) + size - 120) >= abs(len(part) - 120) for size in left)
        assert abs(len(part) - 120) <= 5
    other = split_rows(
        bins, by="group", balanced=False, max_per_bin=None, seed=seed + 9, groups=groups
    )
    assert not np.array_equal(split.test, other.test)


def test_three_large_groups_give_a_part_each():
    groups = ["a"] * 9 + ["b"] * 10 + ["c"] * 8
    split = split_rows(
        np.zeros(27, int), by="group", balanced=False, max_per_bin=1, seed=0, groups=groups
    )
    assert [len(part) for part in split] == [10, 9, 8]


@pytest.mark.parametrize("seed", range(5))
def test_time_stays_in_order_and_equal_times_together(seed):
    bins, _, times = rows_of(300, seed)
    split = split_rows(
        bins, by="time", balanced=False, cap=None, seed=0, times=times, shares=(0.2, 0.3)
    )
    check_partition(split, 300)
    train, val, test = (times[part] for part in split)
    assert train.max() < val.min()
    assert val.max() < test.min()
    moments = sorted(set(times))
    # where to begin, by trying every moment
    began = min(moments[2:], key=lambda m: abs(int((times >= m).sum()) - 90))
    assert test.min() == began
    before = [m for m in moments[1:] if m < began]
    assert val.min() == min(before, key=lambda m: abs(int((times >= m).sum()) - 150))


@pytest.mark.parametrize("cap", [None, 3, 10**6])
@pytest.mark.parametrize("by", ["group", "time"])
def test_balanced_by_group_or_time_leaves_rows_unused(by, cap):
    bins, groups, times = rows_of(900, 1)
    known = {"by": by, "seed": 4, "groups": groups, "times": times}
    plain = split_rows(bins, balanced=False, max_per_bin=cap, **known)
    split = split_rows(bins, balanced=True, max_per_bin=cap, **known)
    np.testing.assert_array_equal(split.train, plain.train)
    counts = {
        name: {b: list(bins[getattr(plain, name)]).count(b) for b in set(bins)}
        for name in ("val", "test")
    }
    there = sorted(count for part in counts.values() for count in part.values() if count)
    wanted = cap or min(30, int(np.median(there)))
    for name in ("val", "test"):
        part = getattr(split, name)
        assert set(part) <= set(getattr(plain, name))
        assert (np.diff(part) > 0).all()
        for label, count in counts[name].items():
            assert list(bins[part]).count(label) == min(count, wanted)
    if cap == 3:  # drawn, and not the first ones
        other = split_rows(bins, balanced=True, max_per_bin=3, **known | {"seed": 4, "by": by})
        np.testing.assert_array_equal(split.test, other.test)
        shuffled = balance_held_out(plain, bins, max_per_bin=3, seed=5)
        assert not np.array_equal(split.test, shuffled.test)


def test_the_cap_that_is_chosen_is_never_above_thirty():
    split = Split(np.arange(0), np.arange(100), np.arange(100, 200))
    bins = np.zeros(200, dtype=np.int64)
    assert [len(part) for part in balance_held_out(split, bins, max_per_bin=None, seed=0)] == [
        0,
        30,
        30,
    ]


def test_a_column_of_parts():
    names = ["Train", " val", "test", "valid", "DEV", "training", "validation", "testing"]
    split = split_by_column(names)
    assert [part.tolist() for part in split] == [[0, 5], [1, 3, 4, 6], [2, 7]]


def test_the_faults_of_a_column_of_parts():
    with pytest.raises(DataError, match="^The test part holds no sample .*: use more data, or"):
        split_by_column(["train", "val"])
    table = Table("own.csv", ["split"], lambda _: [], range(2, 9))
    names = ["train", "", None, "vla", "test", "val"]
    with pytest.raises(DataError, match="^own.csv, lines 3, 4, 5: the column of the split holds n"):
        split_by_column(names, raise_for_rows=table.raise_for_rows)


def test_a_given_split_must_not_share_samples():
    rows = [("a", "1"), ("b", "1"), ("a", "1"), ("c", "2"), ("b", "1"), ("c", "2")]
    whole = Split(np.array([0, 2]), np.array([1, 4]), np.array([3, 5]))
    reject_shared_samples(rows, whole)
    table = Table("own.csv", [], lambda _: [], range(2, 8))
    for test, lines in ((np.array([2, 3]), "line 4"), (np.array([3, 4]), "line 6")):
        with pytest.raises(DataError, match=f"^own.csv, {lines}: this test sample also stands in"):
            reject_shared_samples(
                rows,
                Split(np.array([0]), np.array([1, 5])[:1], test),
                raise_for_rows=table.raise_for_rows,
            )
    with pytest.raises(DataError, match="^The data, row 3: this validation sample also stands"):
        reject_shared_samples(rows, Split(np.array([0]), np.array([2]), np.array([1])))


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"by": "group", "groups": ["a", "b", "a", "b"]}, "^2 groups cannot be dealt to training"),
        ({"by": "group", "groups": ["a"] * 4}, "^1 group cannot be dealt"),
        ({"by": "time", "times": np.zeros(4)}, "^1 different time cannot be dealt"),
        ({"by": "random", "balanced": True}, "^The validation part holds no sample .label bins"),
    ],
)
def test_data_that_cannot_be_split(given, match):
    with pytest.raises(DataError, match=match):
        split_rows(np.arange(4), **{"balanced": False, "cap": None, "seed": 0} | given)


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ({"by": "group"}, "^groups must be given"),
        ({"by": "time"}, "^times must be given"),
        ({"by": "time", "times": np.array([0, 1, 2, np.nan])}, "^times must be finite"),
        ({"by": "group", "groups": [1]}, "^groups must be as many as rows, 4, got 1"),
        ({"val": 0.0}, "^need val > 0"),
        ({"val": 0.5, "test": 0.5}, "^need val > 0"),
        ({"cap": 0}, "^cap must be at least 1, got 0"),
    ],
)
def test_misuse(given, match):
    with pytest.raises(ValueError, match=match):
        split_rows(
            np.arange(4), **{"by": "random", "balanced": False, "cap": None, "seed": 0} | given
        )


@pytest.mark.parametrize("sizes", [[480, *[1] * 20], [9, 1, 1], [1, 1, 1], [4, 4, 92], [50, 50, 1]])
@pytest.mark.parametrize("seed", range(8))
def test_no_part_of_few_groups_is_empty(sizes, seed):
    """One large group among small ones is trained on, whatever the draw."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    split = split_rows(
        np.zeros(len(groups), dtype=np.int64), by="group", balanced=False, cap=None, seed=seed,
        groups=groups.tolist(),
    )  # fmt: skip
    assert all(len(part) for part in split)
    assert sorted(np.concatenate(split)) == list(range(len(groups)))
    assert not any(set(groups[a]) & set(groups[b]) for a, b in combinations(split, 2))
