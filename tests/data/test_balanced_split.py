import numpy as np
import pytest

from ranksim.data import balanced_split


@pytest.mark.parametrize("seed", [0, 1])
def test_every_group_gives_a_third_but_no_more_than_the_cap(seed):
    groups = np.random.default_rng(seed).integers(0, 12, 500)
    groups[groups > 8] = 3
    split = balanced_split(groups, max_per_bin=15, seed=seed)
    assert sorted(np.concatenate(split).tolist()) == list(range(500))
    counts = np.bincount(groups, minlength=12)
    for part in (split.val, split.test):
        np.testing.assert_array_equal(
            np.bincount(groups[part], minlength=12), np.minimum(counts // 3, 15)
        )


def test_the_seed_fixes_the_draw():
    groups = np.arange(300) // 30
    first, same, other = (balanced_split(groups, max_per_bin=5, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.test, same.test)
    assert not np.array_equal(first.test, other.test)


def test_no_samples_and_tiny_groups():
    assert [
        len(part) for part in balanced_split(np.array([], dtype=int), max_per_bin=3, seed=0)
    ] == [0] * 3
    assert [len(part) for part in balanced_split(np.array([1, 1]), max_per_bin=3, seed=0)] == [
        2,
        0,
        0,
    ]
