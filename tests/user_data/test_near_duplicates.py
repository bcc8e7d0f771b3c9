"""Rows that equal another one but for a column are counted, except in tables of few values."""

import numpy as np
import pytest

from ranksim.data.splitting import Split
from ranksim.user_data.near_duplicates import (
    find_near_duplicates,
    has_near_duplicate,
    hash_columns,
    is_coarse,
    report_near_duplicates,
    report_near_rows,
)


def draw(n, seed=0, columns=6):
    return np.random.default_rng(seed).normal(size=(n, columns)).astype(np.float32)


def change(rows, n_changed, seed=0, size=1.0):
    """Change some columns of each row."""
    rng = np.random.default_rng(seed)
    changed = rows.copy()
    for row in changed:
        row[rng.choice(len(row), n_changed, replace=False)] += size
    return changed


def count_equal(row, others):
    return (row == others).sum(axis=1).max(initial=0)


@pytest.mark.parametrize("seed", range(12))
def test_rows_that_differ_in_one_column_as_counted_one_by_one(seed):
    rng = np.random.default_rng(seed)
    n, m, c = *rng.integers(1, 60, 2).tolist(), int(rng.integers(1, 7))
    values = rng.integers(0, 3, (n, c)).astype(np.float32)
    others = rng.integers(0, 3, (m, c)).astype(np.float32)
    hashes = hash_columns(np.vstack([values, others]), [1] * c)
    near = find_near_duplicates(hashes[:n], hashes[n:])
    assert near.tolist() == [count_equal(row, others) >= c - 1 for row in values]
    distinct = np.unique(values, axis=0)
    expected = [any((row != other).sum() == 1 for other in distinct) for row in values]
    assert has_near_duplicate(hashes[:n]).tolist() == expected


@pytest.mark.parametrize(
    ("n_changed", "size", "expected"),
    [(0, 0, 1), (1, 5, 1), (2, 1, 0), (6, 1e-6, 1), (6, 0.1, 0), (1, 1e-6, 1)],
)
def test_held_out_samples_near_a_training_sample(n_changed, size, expected):
    train, held_out = draw(500), draw(120, seed=1)
    held_out[:30] = change(train[:30], n_changed, size=size)
    split = Split(np.arange(500), np.arange(500, 560), np.arange(560, 620))
    report = report_near_duplicates(np.vstack([train, held_out]), [1] * 6, split)
    if not expected:
        assert report.to_dict() == {}
        return
    (warning,) = report.warnings
    assert warning.startswith("30 (25.0\u202f%) of the validation and test samples")
    assert "--group" in warning


def test_few_near_duplicates_are_a_note():
    features = draw(1000)
    features[900:903] = change(features[:3], 1)
    split = Split(np.arange(800), np.arange(800, 900), np.arange(900, 1000))
    report = report_near_duplicates(features, [1] * 6, split)
    assert report.notes["Similar samples"].startswith("3 (1.5\u202f%) of the validation")
    report = report_near_rows(features, [1] * 6)
    assert report.notes["Similar rows"].startswith("6 rows of 1,000 equal another row")
    assert report_near_rows(features[:900], [1] * 6).to_dict() == {}


def test_names_count_as_one_column():
    """A name has several features, of which two change."""
    rng = np.random.default_rng(0)
    names = np.eye(20, dtype=np.float32)[rng.integers(0, 20, 300)]
    features = np.hstack([draw(300, columns=3), names])
    features[200:220, :3] = features[:20, :3]
    features[200:220, 3:] = np.roll(features[:20, 3:], 1, axis=1)
    assert has_near_duplicate(hash_columns(features, [1, 1, 1, 20])).sum() == 40


def test_copies_with_noise_are_reported_and_planned_experiments_are_not():
    rng = np.random.default_rng(0)
    copies = np.repeat(draw(100), 5, axis=0) + rng.normal(0, 1e-6, (500, 6)).astype(np.float32)
    copies[:, 0] += rng.normal(size=500)
    split = Split(*np.split(rng.permutation(500), [400, 450]))
    assert report_near_duplicates(copies, [1] * 6, split).warnings
    for levels, columns in ((2, 8), (3, 5), (5, 3)):
        grid = np.stack(np.meshgrid(*[np.arange(levels)] * columns), axis=-1).reshape(-1, columns)
        for rows in (grid, grid[rng.integers(0, len(grid), 200)]):
            hashes = hash_columns(rows.astype(np.float32), [1] * columns)
            assert is_coarse(hashes, has_near_duplicate(hashes).mean())
    assert is_coarse(hash_columns(draw(50, columns=2), [1, 1]), 1.0)


def test_outliers_do_not_hide_differences():
    features = draw(400)
    features[0] = 1e7
    assert report_near_rows(features, [1] * 6).to_dict() == {}
    assert not has_near_duplicate(hash_columns(np.full((3, 4), 1e38, np.float32), [1] * 4)).any()
