"""Resampled tables keep the contract, and new rows follow the equations."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ranksim.imbalance import (
    RESAMPLERS,
    SMOGN,
    SMOTER,
    WERCS,
    PchipRelevance,
    RandomOverSampler,
    RandomUnderSampler,
    fit_relevance,
    make_resampler,
)
from ranksim.imbalance.resampling import neighbors
from tests.helpers.pairwise import parametrize_pairwise
from tests.oracles import resampling as oracle

DATES = pd.to_datetime(["2020-01-01", "2021-06-01"])
# values of a column by its type; the small ranges make ties, duplicates and constant columns
COLUMNS = {
    "float64": np.r_[-100:100:0.37, 0.0, 1e-3],
    "float32": np.arange(-8, 9) / 4,
    "int64": np.arange(-5, 6),
    "uint8": [0, 1, 2, 255],
    "bool": [False, True],
    "object": ["a", "b", "c"],
    "str": ["a", "b", "c"],
    "category": ["a", "b", "c"],
    "datetime64[ns]": DATES,
    "Int64": np.arange(-5, 6),
    "Float32": np.arange(-8, 9) / 4,
    "boolean": [False, True],
    "string": ["a", "b", "c"],
    "constant": [3.0],
}
WITH_MISSING = {"float64", "object", "category", "datetime64[ns]", "Int64", "Float32", "string"}
LABEL_TYPES = ["float64", "float32", "int64", "int16", "Int64", "Float64"]


@st.composite
def tables(draw):
    """A DataFrame with any index and columns, and a Series of labels with another index."""
    count, seed = draw(st.integers(1, 30)), draw(st.integers(0, 2**32))
    kinds = draw(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4))
    missing = draw(st.sampled_from([0.0, 0.3]))
    rng = np.random.default_rng(seed)
    columns = []
    for kind in kinds:
        values = np.array(COLUMNS[kind], dtype=object)[rng.integers(len(COLUMNS[kind]), size=count)]
        if kind in WITH_MISSING:
            values[rng.random(count) < missing] = None
        columns.append(pd.Series(values, dtype="float64" if kind == "constant" else kind))
    frame = pd.concat(columns, axis=1)
    frame.columns = [f"{kind} {k % 2}" for k, kind in enumerate(kinds)]  # may repeat
    frame.index = rng.permutation(count)
    labels = rng.integers(-4, 5, count) + rng.integers(-30, 31, count) * (rng.random(count) < 0.3)
    return frame, pd.Series(labels, dtype=draw(st.sampled_from(LABEL_TYPES)), name="y")


def resample(resampler, x, y):
    """Return the result; tables without rare or without common labels are not tested."""
    try:
        return resampler.fit_resample(x, y)
    except ValueError as error:
        if not error.args[0].startswith(("labels must differ", "y must have")):
            raise
        assume(False)


def is_number(dtype):
    return dtype.kind in "iuf"


def value_ranges(x):
    """Range of each column of numbers, None for a category."""
    numeric = [is_number(dtype) for dtype in x.dtypes]
    columns = [x.iloc[:, k] for k in range(x.shape[1])]
    return [
        float(c.max() - c.min()) if n and c.notna().any() else 0.0 if n else None
        for c, n in zip(columns, numeric, strict=True)
    ]


def rows_of(x):
    """Rows as lists; None where a value is missing."""
    columns = [[None if pd.isna(v) else v for v in x.iloc[:, k]] for k in range(x.shape[1])]
    return list(map(list, zip(*columns, strict=True)))


def check_contract(resampler, x, y, new_x, new_y):
    base, neighbor = resampler.sample_indices_, resampler.neighbor_indices_
    synthetic = resampler.is_synthetic_
    assert len(new_x) == len(new_y) == len(base) == len(neighbor) == len(synthetic)
    assert new_x.columns.equals(x.columns)
    assert list(new_x.dtypes) == list(x.dtypes)
    assert (new_y.dtype, new_y.name) == (y.dtype, y.name)
    assert new_x.index.equals(pd.RangeIndex(len(new_x)))
    assert new_y.index.equals(new_x.index)
    assert new_y.min() >= y.min()
    assert new_y.max() <= y.max()
    copied = np.flatnonzero(~synthetic)
    pd.testing.assert_frame_equal(
        new_x.iloc[copied], x.iloc[base[copied]].set_axis(copied), check_index_type=False
    )
    assert new_y.iloc[copied].tolist() == y.iloc[base[copied]].tolist()
    original, rows, ranges = rows_of(x), rows_of(new_x), value_ranges(x)
    for k in np.flatnonzero(synthetic):
        first = original[base[k]]
        second = original[neighbor[k]] if neighbor[k] >= 0 else first
        for column, width in enumerate(ranges):
            value, a, b = rows[k][column], first[column], second[column]
            if width is None or value is None or a is None or b is None:
                assert value in (a, b)
            elif neighbor[k] >= 0:
                assert min(a, b) <= value <= max(a, b)
            else:
                assert x.iloc[:, column].min() <= value <= x.iloc[:, column].max()


def check_originals(name, resampler, y, threshold=0.8):
    """Rare rows always remain, and all rows do when over-sampled; copies are in order."""
    base = resampler.sample_indices_[~resampler.is_synthetic_]
    assert (np.diff(base) >= 0).all()
    is_rare = resampler.relevance_(y) >= threshold - 1e-9
    if name != "wercs":
        assert set(np.flatnonzero(is_rare)) <= set(base.tolist())
    if name == "over":
        assert set(base.tolist()) == set(range(len(y)))
    if name != "wercs" and name != "over":  # common rows are never repeated
        common = base[~is_rare[base]]
        assert len(set(common.tolist())) == len(common)


@pytest.mark.parametrize("name", RESAMPLERS)
@settings(max_examples=15, deadline=None)
@given(table=tables(), seed=st.integers(0, 3))
def test_contract(name, table, seed):
    x, y = table
    before, labels = x.copy(deep=True), y.to_numpy(dtype=float)
    resampler = make_resampler(name, seed)
    new_x, new_y = resample(resampler, x, y)
    check_contract(resampler, x, y, new_x, new_y)
    check_originals(name, resampler, labels)
    pd.testing.assert_frame_equal(x, before)  # the input is not changed


@pytest.mark.parametrize("name", RESAMPLERS)
@settings(max_examples=10, deadline=None)
@given(table=tables(), data=st.data())
def test_index_is_irrelevant_and_a_seed_fixes_the_result(name, table, data):
    x, y = table
    new_x, new_y = resample(make_resampler(name, 5), x, y)
    index = data.draw(st.sampled_from([[7] * len(x), [*range(len(x), 0, -1)]]))
    again = make_resampler(name, 5)
    for _ in range(2):  # a seed as a number starts anew
        other_x, other_y = again.fit_resample(x.set_axis(index), y.set_axis(index[::-1]))
        pd.testing.assert_frame_equal(new_x, other_x)
        pd.testing.assert_series_equal(new_y, other_y)


def draw_table(count=120, seed=0, missing=0.0):
    """A table (x, y) with floats, integers, Booleans and categories; both tails are rare."""
    draw = np.random.default_rng(seed)
    y = draw.standard_t(2, count) * 10
    frame = pd.DataFrame(
        {
            "size": draw.normal(size=count) + y / 10,
            "rooms": draw.integers(0, 9, count),
            "new": draw.random(count) < 0.3,
            "town": pd.Categorical(draw.choice(list("abc"), count)),
            "heavy": np.exp(2 * draw.normal(size=count)),
        }
    )
    for column in ("size", "town", "heavy"):
        frame.loc[draw.random(count) < missing, column] = None
    return frame, pd.Series(y, name="price")


SCALES = st.sampled_from([1.0, 0.1, 1e-3, 2.54, 1e6])


@pytest.mark.parametrize("name", RESAMPLERS)
@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 20),
    scales=st.tuples(SCALES, SCALES, SCALES),
    shifts=st.tuples(*[st.sampled_from([0.0, -40.0, 1e3])] * 3),
    missing=st.sampled_from([0.0, 0.2]),
)
def test_units_of_columns_and_labels_change_nothing(name, seed, scales, shifts, missing):
    x, y = draw_table(60, seed, missing)
    changed = x.copy()
    for column, scale, shift in zip(("size", "heavy"), scales, shifts, strict=False):
        changed[column] = x[column] * scale + shift
    first, second = make_resampler(name, seed), make_resampler(name, seed)
    new_x, new_y = first.fit_resample(x, y)
    other_x, other_y = second.fit_resample(changed, y * scales[2] + shifts[2])
    assert second.sample_indices_.tolist() == first.sample_indices_.tolist()
    assert second.neighbor_indices_.tolist() == first.neighbor_indices_.tolist()
    np.testing.assert_allclose(other_y, new_y * scales[2] + shifts[2], rtol=1e-6, atol=1e-6)
    for column, scale, shift in zip(("size", "heavy"), scales, shifts, strict=False):
        expected = new_x[column] * scale + shift
        np.testing.assert_allclose(other_x[column], expected, rtol=1e-6, atol=1e-6 * scale)
    for column in ("rooms", "new", "town"):
        assert other_x[column].astype(object).fillna("-").tolist() == (
            new_x[column].astype(object).fillna("-").tolist()
        )


def bumps_of(resampler, y, threshold=0.8):
    is_rare = resampler.relevance_(y) >= threshold
    groups = oracle.bumps(y.tolist(), is_rare.tolist())
    return [group for group in groups if is_rare[group[0]]], [
        group for group in groups if not is_rare[group[0]]
    ]


@parametrize_pairwise(
    method=[SMOTER, SMOGN], seed=[0, 1, 2], k=[1, 5, 40], missing=[0.0, 0.25], array=[False, True]
)
def test_new_rows_follow_the_equations(method, seed, k, missing, array):
    x, y = draw_table(80, seed, missing)
    ranges = value_ranges(x)
    table = x.to_numpy(dtype=object) if array else x
    resampler = method(k_neighbors=k, random_state=seed)
    new_x, new_y = resampler.fit_resample(table, y.to_numpy() if array else y)
    rows, original = rows_of(pd.DataFrame(new_x)), rows_of(x)
    base, neighbor = resampler.sample_indices_, resampler.neighbor_indices_
    rare, common = bumps_of(resampler, y.to_numpy())
    assert len(rare) == 2
    size = round(len(y) / (len(rare) + len(common)))
    bump_of = {row: group for group in rare for row in group}
    counts = [sum(row in group for row in base) for group in (*rare, *common)]
    assert counts == [size] * len(counts)
    for row in bump_of:  # each row is the base of equally many new ones
        expected = size / len(bump_of[row])
        assert expected - 1 < np.count_nonzero(base == row) < expected + 1
    shares = []
    for j in np.flatnonzero(resampler.is_synthetic_):
        a = int(base[j])
        others = [row for row in bump_of[a] if row != a]
        distances = sorted(oracle.distance(original[a], original[row], ranges) for row in others)
        radius = np.median(distances) / 2
        if neighbor[j] < 0:
            assert method is SMOGN
            assert distances[min(k, len(others)) - 1] >= radius * (1 - 1e-6)
            continue
        b = int(neighbor[j])
        near = oracle.distance(original[a], original[b], ranges)
        assert b in others
        assert near <= distances[min(k, len(others)) - 1] * (1 + 1e-6)
        assert method is SMOTER or near < radius * (1 + 1e-6)
        expected = oracle.label_between(rows[j], original[a], original[b], y[a], y[b], ranges)
        assert np.asarray(new_y)[j] == pytest.approx(expected, rel=1e-9)
        fractions = [
            (rows[j][c] - original[a][c]) / (original[b][c] - original[a][c])
            for c in (0, 4)
            if original[a][c] is not None and original[b][c] is not None
        ]
        assert fractions == pytest.approx(fractions[:1] * len(fractions), abs=1e-6)
        shares += fractions[:1]
        if fractions and not missing:  # integers are rounded points of the same line
            point = original[a][1] + fractions[0] * (original[b][1] - original[a][1])
            assert rows[j][1] == pytest.approx(point, abs=0.5 + 1e-6)
    assert method is SMOGN or 0.2 < np.mean(shares) < 0.8


@parametrize_pairwise(
    seed=[0, 1],
    missing=[0.0, 0.3, 0.9],
    columns=[(0, 1), (0, 3), (1, 0), (4, 0), (1, 1), (4, 3)],
    block=[1, 50, 2**16],
)
def test_neighbors_match_brute_force(seed, missing, columns, block, monkeypatch):
    numbers, categories = columns
    monkeypatch.setattr(neighbors, "BLOCK", block)
    draw = np.random.default_rng(seed)
    values = np.round(draw.normal(size=(31, numbers)), 1) * 10.0 ** draw.integers(-3, 4, numbers)
    values = np.where(draw.random(values.shape) < missing, np.nan, values).astype(object)
    codes = draw.integers(0, 3, (31, categories)).astype(object)
    codes = np.where(draw.random(codes.shape) < missing, None, codes)
    table = np.concatenate([values, codes], axis=1)
    features = neighbors.FeatureColumns.read(table, range(numbers, numbers + categories))
    ranges = [
        np.nanmax(c) - np.nanmin(c) if len(set(c)) > 1 else 0.0 for c in values.T.astype(float)
    ]
    ranges += [None] * categories
    near = neighbors.nearest_neighbors(features.rows(np.arange(31)), np.arange(0, 31, 2), 4)
    for position, a in enumerate(range(0, 31, 2)):
        distances = [oracle.distance(table[a], table[b], ranges) for b in range(31) if b != a]
        np.testing.assert_allclose(near.distances[position], sorted(distances)[:4], rtol=1e-6)
        assert near.median[position] == pytest.approx(np.median(distances), rel=1e-6)
        for b, expected in zip(near.positions[position], near.distances[position], strict=True):
            assert oracle.distance(table[a], table[b], ranges) == pytest.approx(expected, rel=1e-6)
            assert b != a
        assert len(set(near.positions[position])) == 4


def test_of_equally_near_rows_the_first_is_a_neighbor():
    rows = neighbors.FeatureColumns.read(np.zeros((6, 2))).rows(np.arange(6))
    near = neighbors.nearest_neighbors(rows, np.array([0, 3]), 2)
    assert near.positions.tolist() == [[1, 2], [0, 1]]


HIGH = PchipRelevance([10.0, 11.0], [0.0, 1.0])


def skewed(common=60, rare=12):
    """Labels from 0 to 10, and rare ones above 11 that do not touch the largest label."""
    draw = np.random.default_rng(0)
    y = np.r_[draw.integers(0, 11, common), draw.integers(20, 40, rare)].astype(float)
    return np.c_[y + draw.normal(size=len(y)), draw.normal(size=(len(y), 2))], y


def test_counts_of_over_and_under_sampling():
    x, y = skewed()
    over, under = (
        kind(relevance=HIGH, random_state=0) for kind in (RandomOverSampler, RandomUnderSampler)
    )
    assert (over.fit_resample(x, y)[1] > 11).sum() == 60
    assert len(over.sample_indices_) == 120
    assert (under.fit_resample(x, y)[1] <= 10).sum() == 12
    assert len(under.sample_indices_) == 24
    both = PchipRelevance([1.0, 2.0, 10.0, 11.0], [1.0, 0.0, 0.0, 1.0])
    low = int((y <= 1).sum())
    over.relevance = both
    labels = over.fit_resample(x, y)[1]
    assert [(labels <= 1).sum(), (labels > 11).sum()] == [round((60 - low) / 2)] * 2


def test_wercs_draws_by_relevance():
    x, y = skewed(300, 30)
    relevance = PchipRelevance([0.0, 40.0], [0.0, 1.0])
    phi = relevance(y)
    added, remaining = np.zeros(len(y)), np.zeros(len(y))
    for seed in range(300):
        sampler = WERCS(relevance=relevance, over=0.5, under=0.0, random_state=seed)
        sampler.fit_resample(x, y)
        assert len(sampler.sample_indices_) == 495
        added += np.bincount(sampler.sample_indices_, minlength=330) - 1
        sampler = WERCS(relevance=relevance, over=0.0, under=0.2, random_state=seed)
        sampler.fit_resample(x, y)
        assert len(sampler.sample_indices_) == 264
        remaining[sampler.sample_indices_] += 1
    expected = 300 * 165 * phi / phi.sum()
    assert (np.abs(added - expected) < 5 * np.sqrt(expected + 1)).all()
    assert (added[phi == 0] == 0).all()
    assert np.corrcoef(remaining, phi)[0, 1] > 0.8
    assert remaining[y < 3].mean() < remaining[y > 20].mean()


def test_wercs_never_removes_the_most_relevant():
    x, y = skewed()
    sampler = WERCS(relevance=HIGH, over=0.0, under=1.0, random_state=0)
    assert (sampler.fit_resample(x, y)[1] > 11).all()
    assert len(sampler.sample_indices_) == 12


def test_noise_has_the_deviation_of_the_bump():
    draw = np.random.default_rng(0)
    x = np.r_[draw.normal(size=(4000, 2)), draw.normal(size=(40, 2)) * [1.0, 50.0]]
    y = np.r_[draw.random(4000), 30 + draw.random(40)]
    sampler = SMOGN(relevance=HIGH, perturbation=1e-3, k_neighbors=39, random_state=0)
    new_x, new_y = sampler.fit_resample(x, y)
    noise = np.flatnonzero(sampler.is_synthetic_ & (sampler.neighbor_indices_ < 0))
    base = sampler.sample_indices_[noise]
    assert len(noise) > 1000
    np.testing.assert_allclose(
        np.std(new_x[noise] - x[base], axis=0), 1e-3 * np.std(x[4000:], axis=0, ddof=1), rtol=0.1
    )
    inside = new_y[noise] < y.max()
    assert np.std((new_y[noise] - y[base])[inside]) == pytest.approx(
        1e-3 * np.std(y[4000:], ddof=1), rel=0.1
    )


def test_noise_is_at_most_half_of_the_median_distance():
    x, y = skewed(200, 12)
    spread = np.r_[np.zeros(11), 1e-6]  # the bump is a point beside the range of the column
    x = np.c_[np.r_[np.linspace(0, 1, 200), spread]]
    sampler = SMOGN(relevance=HIGH, perturbation=1.0, random_state=0)
    new_x, _ = sampler.fit_resample(x, y)
    noise = np.flatnonzero(sampler.is_synthetic_ & (sampler.neighbor_indices_ < 0))
    assert set(new_x[noise, 0]) <= {0.0, *spread} | set(new_x[noise, 0][new_x[noise, 0] < 1e-5])


@pytest.mark.parametrize("name", ["smoter", "smogn"])
def test_equal_integer_labels_give_that_label(name):
    x, _ = skewed()
    y = np.r_[np.arange(60) % 10, np.full(12, 90)]
    labels = make_resampler(name, 0).set_params(relevance=HIGH).fit_resample(x, y)[1]
    assert labels.dtype == y.dtype
    assert (labels >= 10).sum() == 36
    assert set(labels[labels >= 10].tolist()) == {90}


@pytest.mark.parametrize("name", RESAMPLERS)
def test_a_shuffled_frame_is_resampled_alike(name):
    x, y = skewed(300, 30)
    frame = pd.DataFrame(x, columns=["a", "b", "c"]).assign(y=y)
    shuffled = frame.sample(frac=1, random_state=0)
    shares = []
    for table in (frame, shuffled):
        labels = make_resampler(name, 0).fit_resample(table[["a", "b", "c"]], table["y"])[1]
        shares.append((labels > 11).mean())
    assert shares[1] == pytest.approx(shares[0], abs=0.1)
    assert min(shares) > 0.15 > 30 / 330


def test_numbers_of_arrays_keep_their_type():
    x, y = skewed()
    for dtype in ("float32", "float16", "int32", "uint8", "int64"):
        table = np.clip(np.abs(x) * 10, 0, 255).astype(dtype)
        new, labels = SMOGN(relevance=HIGH, random_state=0).fit_resample(table, y.astype("float32"))
        assert (new.dtype, labels.dtype) == (np.dtype(dtype), np.float32)
        assert (new.min(axis=0) >= table.min(axis=0)).all()
        assert (new.max(axis=0) <= table.max(axis=0)).all()


def test_integers_beyond_the_precision_of_floats_are_copied_exactly():
    y = np.r_[np.arange(40.0) % 9, np.full(4, 50.0)]
    ids = np.full(44, 2**63 - 1, dtype=np.int64)
    ids[:20] = -(2**63)
    for name in ("smoter", "smogn"):
        new = make_resampler(name, 0).set_params(relevance=HIGH).fit_resample(np.c_[ids], y)[0]
        assert set(new[:, 0].tolist()) <= {2**63 - 1, -(2**63)}


def test_arrays_of_objects_mix_numbers_and_categories():
    _, y = skewed()
    draw = np.random.default_rng(0)
    table = np.empty((72, 4), dtype=object)
    table[:, 0] = draw.normal(size=72).tolist()
    table[:, 1] = draw.integers(0, 50, 72).tolist()
    table[:, 2] = draw.choice(["a", "b", None], 72)
    table[:, 3] = draw.choice([True, False], 72).tolist()
    new = SMOTER(relevance=HIGH, random_state=0).fit_resample(table, y)[0]
    assert all(isinstance(value, float) for value in new[:, 0])
    assert all(isinstance(value, int) for value in new[:, 1])
    assert set(new[:, 2]) == {"a", "b", None}
    assert set(new[:, 3]) == {True, False}
    assert not set(new[:, 0]) <= set(table[:, 0])


@pytest.mark.parametrize(
    "features", [[False, True, False], np.array([False, True, False]), [1], ["b"], (np.int64(1),)]
)
def test_categorical_features_take_existing_values(features):
    x, y = skewed()
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    frame["b"] = np.round(frame["b"])
    tables = [frame] if list(features) == ["b"] else [frame, frame.to_numpy()]
    for table in tables:
        sampler = SMOTER(relevance=HIGH, categorical_features=features, random_state=0)
        new = np.asarray(sampler.fit_resample(table, y)[0])
        assert set(new[:, 1]) <= set(frame["b"])
        assert not set(new[:, 0]) <= set(frame["a"])


@pytest.mark.parametrize("features", ["b", [3], [-1], [True], ["d"], 1, [1.5], {"a": 1}, [[1]]])
def test_wrong_categorical_features(features):
    x, y = skewed()
    frame = pd.DataFrame(x, columns=["x", "b", "c"])
    with pytest.raises(ValueError, match="categorical_features must be a mask of 3 columns"):
        SMOTER(relevance=HIGH, categorical_features=features).fit_resample(frame, y)


def test_few_rare_samples():
    x, y = skewed(40, 1)
    for name in ("smoter", "smogn"):  # one rare sample has no neighbor and is repeated
        sampler = make_resampler(name, 0).set_params(relevance=HIGH)
        labels = sampler.fit_resample(x, y)[1]
        assert (labels > 11).sum() == 20
        assert not sampler.is_synthetic_.any()
    x, y = skewed(40, 2)
    labels = SMOTER(relevance=HIGH, random_state=0).fit_resample(x, y)[1]
    assert (labels > 11).sum() == 21
    assert labels.max() <= y.max()


@pytest.mark.parametrize("name", RESAMPLERS)
@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([3.0] * 5, "labels must differ for some to be rare"),
        ([3.0], "labels must differ for some to be rare"),
        ([1.0, 2.0], "y must have rare labels"),
    ],
)
def test_tables_without_rare_labels(name, labels, message):
    with pytest.raises(ValueError, match=message):
        make_resampler(name, 0).fit_resample(np.zeros((len(labels), 1)), labels)


def test_relevance_of_zero_everywhere_has_no_rare_labels():
    for name in RESAMPLERS:
        sampler = make_resampler(name, 0).set_params(relevance=np.zeros_like)
        with pytest.raises(ValueError, match="y must have rare labels"):
            sampler.fit_resample(*skewed())


@pytest.mark.parametrize("values", [[0.5], [2.0] * 72, [np.nan] * 72, [[0.5]] * 72])
def test_relevance_outside_its_range(values):
    sampler = RandomOverSampler(relevance=lambda labels: np.array(values))
    with pytest.raises(ValueError, match="relevance must return 72 numbers from 0 to 1"):
        sampler.fit_resample(*skewed())


def test_tables_without_common_labels():
    for name in RESAMPLERS:
        sampler = make_resampler(name, 0).set_params(relevance=np.ones_like)
        with pytest.raises(ValueError, match="y must have common labels"):
            sampler.fit_resample(*skewed())


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (np.zeros(4), np.zeros(4), r"X must have shape \(N, F\) with at least one column"),
        (np.zeros((4, 0)), np.zeros(4), r"X must have shape \(N, F\) with at least one column"),
        (np.zeros((4, 2)), np.zeros(3), "X and y must have the same number of rows, got 4 and 3"),
        (np.zeros((2, 2)), [1.0, np.nan], "labels must be finite, got 1 NaN"),
        (np.zeros((2, 2)), pd.Series([1, None], dtype="Int64"), "labels must be finite, got 1 NaN"),
        (np.zeros((2, 2)), np.zeros((2, 1)), r"labels must have shape \(N,\)"),
        (np.zeros((0, 2)), [], "labels must contain at least one label"),
    ],
)
def test_wrong_tables(x, y, message):
    with pytest.raises(ValueError, match=message):
        SMOTER().fit_resample(x, y)


@pytest.mark.parametrize("kind", [scipy.sparse.csr_matrix, lambda x: pa.table({"a": x[:, 0]})])
def test_other_tables_are_refused(kind):
    x, y = skewed()
    with pytest.raises(TypeError, match=r"X must be an array or a pandas DataFrame, got"):
        RandomOverSampler(relevance=HIGH).fit_resample(kind(x), y)


def test_columns_of_arrow_keep_their_type():
    x, y = skewed()
    types = {"a": "float64[pyarrow]", "b": "int64[pyarrow]", "c": "string[pyarrow]"}
    frame = pd.DataFrame(
        {"a": x[:, 0], "b": np.rint(x[:, 1] * 9), "c": np.rint(x[:, 2]).astype(str)}
    )
    frame = frame.astype(types)
    frame.loc[::5, "a"] = frame.loc[::7, "b"] = None
    sampler = SMOTER(relevance=HIGH, random_state=0)
    new_x, new_y = sampler.fit_resample(frame, pd.Series(y))
    check_contract(sampler, frame, pd.Series(y), new_x, new_y)
    assert sampler.is_synthetic_.any()


def test_wrong_values_in_a_column():
    x, y = skewed()
    frame = pd.DataFrame(x, columns=["a", "b", "c"])
    frame.loc[3, "b"] = np.inf
    with pytest.raises(ValueError, match=r"got inf in column 'b', row 3: mark it as missing"):
        SMOTER(relevance=HIGH).fit_resample(frame, y)
    frame["b"] = pd.arrays.SparseArray(np.zeros(72))
    with pytest.raises(TypeError, match="sparse columns, got column 'b': pass X.sparse.to_dense"):
        SMOTER(relevance=HIGH).fit_resample(frame, y)
    frame["b"] = [[1]] * 72
    with pytest.raises(TypeError, match="hashable values in each column of categories.*'b'"):
        SMOTER(relevance=HIGH).fit_resample(frame, y)
    assert RandomOverSampler(relevance=HIGH).fit_resample(frame, y)[0].shape == (120, 3)


def test_random_states():
    x, y = skewed()

    def drawn(state):
        sampler = RandomOverSampler(relevance=HIGH, random_state=state)
        return [sampler.fit_resample(x, y)[1].tolist() for _ in range(2)]

    for make in (np.random.RandomState, np.random.default_rng):
        first, second = drawn(make(3))
        assert first != second  # the generator advances
        assert drawn(make(3)) == [first, second]
    assert drawn(3)[0] == drawn(3)[1] == drawn(np.int64(3))[0]
    assert drawn(3) != drawn(4)
    assert drawn(None)[0] != drawn(None)[1]


def test_sklearn_can_clone_and_set_parameters():
    from sklearn.base import clone

    for name in RESAMPLERS:
        sampler = make_resampler(name, 3)
        copy = clone(sampler)
        assert type(copy) is type(sampler)
        assert copy.get_params() == sampler.get_params()
        assert copy.set_params(random_state=4).random_state == 4
        with pytest.raises(ValueError, match="the name of a parameter must be one of"):
            copy.set_params(seed=4)


def test_relevance_that_was_used_is_an_attribute():
    x, y = skewed()
    sampler = RandomOverSampler(random_state=0)
    sampler.fit_resample(x, y)
    np.testing.assert_array_equal(sampler.relevance_(y), fit_relevance(y)(y))


def test_pandas_is_not_imported():
    code = """
import sys
import numpy as np
from ranksim.imbalance import make_resampler
make_resampler("smogn", 0).fit_resample(np.arange(9.0)[:, None], [1, 2, 3, 4, 5, 6, 7, 30, 40])
print({"pandas", "torch", "scipy", "sklearn"} & set(sys.modules))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"
