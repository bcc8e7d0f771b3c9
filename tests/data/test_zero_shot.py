import numpy as np
import pytest

from ranksim.data.images.table import read_split_file
from ranksim.data.spec import TableSpec, make_user_spec
from ranksim.data.splitting import PROTOCOLS, zero_shot_split
from ranksim.data.table import Table
from ranksim.exceptions import DataError, UsageError
from ranksim.user_data.split_plan import make_split_plan
from tests.helpers.errors import raises_with


def draw_ages(seed=0, count=20_000):
    """Draw normal ages in bins 0 to 120."""
    return np.clip(np.random.default_rng(seed).normal(45, 15, count), 0, 120).astype(np.int64)


@pytest.fixture
def agedb(shared_data):
    """Return the ages of AgeDB sorted by path, and a reader of the published protocols."""
    folder = shared_data / "agedb-dir"
    if not (folder / "agedb.csv").is_file():
        pytest.skip("the AgeDB-DIR splits are not here: put them into ../shared/data")
    table = read_split_file(folder / "agedb.csv")
    ages = table.take(np.argsort(table.paths)).labels.astype(np.int64)
    return ages, lambda protocol: read_split_file(
        folder / f"agedb_{protocol}.csv", allow_repeats=True
    )


def count_ages(ages):
    return np.bincount(ages.astype(np.int64), minlength=121)


@pytest.mark.parametrize(
    ("protocol", "training_rows", "published_rows"),
    [("extrapolation", 8_954, 9_794), ("interpolation", 7_489, 8_326),
     ("blindspot", 10_284, 11_510)],
)  # fmt: skip
def test_rule_reproduces_the_published_agedb_protocols(
    agedb, protocol, training_rows, published_rows
):
    ages, published = agedb
    theirs, ours = published(protocol), zero_shot_split(ages, protocol, seed=666)
    np.testing.assert_array_equal(
        count_ages(ages[ours.test]), count_ages(theirs.part("test").labels)
    )
    trained = count_ages(ages[np.concatenate([ours.train, ours.val])])
    their_seen = count_ages(theirs.labels[theirs.parts != "test"])
    np.testing.assert_array_equal(np.flatnonzero(trained), np.flatnonzero(their_seen))
    assert (trained.sum(), their_seen.sum()) == (training_rows, published_rows)
    # total variation distance between the age distributions
    assert np.abs(trained / trained.sum() - their_seen / their_seen.sum()).sum() / 2 < 0.04
    assert len(ours.val) == round(0.109 * training_rows)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_published_protocols_repeat_images_within_a_part(agedb, protocol):
    table = agedb[1](protocol)
    parts = [table.part(name).paths for name in ("train", "val", "test")]
    assert len(parts[0]) > 1.4 * len(set(parts[0]))
    assert len(parts[2]) > 1.15 * len(set(parts[2]))
    assert sum(len(set(part)) for part in parts) == len(set(table.paths))


@pytest.mark.parametrize(("protocol", "seed"), list(zip(PROTOCOLS, (0, 1, 0), strict=True)))
def test_parts_are_disjoint_and_the_test_set_is_uniform(protocol, seed):
    groups = draw_ages(seed)
    split = zero_shot_split(groups, protocol, seed=seed, per_bin=20)
    together = np.concatenate(split)
    assert len(np.unique(together)) == len(together)
    assert set(np.unique(count_ages(groups[split.test]))) == {0, 20}
    for part in split:
        np.testing.assert_array_equal(part, np.sort(part))
        assert part.dtype == np.int64


def test_extrapolation_does_not_train_on_the_ends():
    groups = draw_ages()
    split = zero_shot_split(groups, "extrapolation", seed=0)
    trained, tested = groups[np.concatenate(split[:2])], groups[split.test]
    assert tested.min() + 3 < trained.min()
    assert trained.max() < tested.max() - 3
    counts = count_ages(groups)
    np.testing.assert_array_equal(np.unique(tested), np.flatnonzero(counts >= 50))


def test_interpolation_has_few_training_samples_in_the_middle():
    groups = draw_ages()
    split = zero_shot_split(groups, "interpolation", seed=0)
    low, high = groups[split.test].min(), groups[split.test].max()
    trained = count_ages(groups[np.concatenate(split[:2])])
    middle = round(low + 0.59 * (high - low))
    assert trained[middle] < 10
    assert count_ages(groups)[middle] > 300
    assert min(trained[low + 2], trained[high]) > 10 * trained[middle]


def test_blindspot_uses_all_samples_except_the_gap():
    groups = draw_ages()
    split = zero_shot_split(groups, "blindspot", seed=0)
    counts, trained = count_ages(groups), count_ages(groups[np.concatenate(split[:2])])
    low, high = groups[split.test].min(), groups[split.test].max()
    blind = [b for b in range(low, high + 1) if abs((b - low) / (high - low) - 0.566) <= 0.066]
    assert len(blind) >= 5
    for b in range(low, high + 1):
        assert trained[b] == (0 if b in blind else counts[b] - 50)


def test_small_bins_are_not_tested():
    groups = np.concatenate([np.repeat(np.arange(40), 200), np.repeat(np.arange(41, 60), 200),
                             np.full(30, 40)])  # fmt: skip
    over = zero_shot_split(groups, "extrapolation", seed=0).test
    np.testing.assert_array_equal(np.unique(groups[over]), np.delete(np.arange(60), 40))
    for protocol in ("interpolation", "blindspot"):
        test = zero_shot_split(groups, protocol, seed=0).test
        np.testing.assert_array_equal(np.unique(groups[test]), np.arange(40))


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_seed_determines_the_split(protocol):
    groups = draw_ages()
    first, same, other = (zero_shot_split(groups, protocol, seed=seed) for seed in (1, 1, 2))
    for a, b, c in zip(first, same, other, strict=True):
        np.testing.assert_array_equal(a, b)
        assert not np.array_equal(a, c)
    assert count_ages(groups[first.test]).tolist() == count_ages(groups[other.test]).tolist()


@pytest.mark.parametrize(
    ("protocol", "kind", "least"),
    [("extrapolation", "label bins", 50), ("interpolation", "neighboring label bins", 125),
     ("blindspot", "neighboring label bins", 140)],
)  # fmt: skip
def test_too_few_test_bins_are_reported(protocol, kind, least):
    groups = np.concatenate(
        [np.repeat(np.arange(9), least), np.repeat(np.arange(9, 20), least - 1)]
    )
    facts = (f"Protocol {protocol} needs 10 {kind}", f"at least {least} samples", "has 9")
    with raises_with(UsageError, *facts):
        zero_shot_split(groups, protocol, seed=0)
    empty = np.array([], dtype=np.int64)
    with raises_with(UsageError, "the data has 0"):
        zero_shot_split(empty, protocol, seed=0)
    zero_shot_split(np.append(groups, 9), protocol, seed=0)


def test_protocol_must_exist():
    with pytest.raises(
        UsageError,
        match=r"^Protocol 'gap' does not exist: choose one of extrapolation, ",
    ):
        zero_shot_split(draw_ages(), "gap", seed=0)


LABELS = np.repeat(np.arange(100, 116), 300)


def user_plan(labels=LABELS, **options):
    table = Table.from_columns("t", {"x": list(range(len(labels))), "y": labels.tolist()})
    return make_split_plan(table, make_user_spec({"target": "y", **options}))


@pytest.mark.parametrize(("protocol", "scale"), list(zip(PROTOCOLS, (1, 0.5, 1), strict=True)))
def test_protocol_splits_user_data(protocol, scale):
    plan = user_plan(LABELS * scale, protocol=protocol, bin_width=scale)
    train, val, test = (plan.labels[part] for part in plan.split)
    assert np.unique(plan.bins.histogram(test)).tolist() == [50]
    assert len(plan.bins) == 16
    assert len(val) == round(0.109 * (len(train) + len(val)))
    assert len(np.unique(np.concatenate(plan.split))) == sum(map(len, plan.split))
    counts = plan.bins.histogram(np.concatenate([train, val]))
    if protocol == "extrapolation":
        assert counts[[0, -1]].max() <= 1 < counts[8]
    elif protocol == "interpolation":
        assert counts[8] < counts[0]
    else:
        assert 0 < np.count_nonzero(counts == 0) < 4
    assert plan.facts["protocol"] == protocol
    assert (plan.facts["test_per_bin"], plan.facts["split_seed"]) == (50, 666)
    assert "balanced" not in plan.facts


@pytest.mark.parametrize(
    ("options", "option"),
    [
        ({"split": "x"}, "--split"),
        ({"max_per_bin": 3}, "--max-per-bin"),
        ({"split_by": "random"}, "--split-by"),
        ({"balanced": False}, "--no-balanced"),
        ({"window": 3}, "--window"),
        ({"protocol": None, "test_per_bin": 3}, "--test-per-bin"),
    ],
)
def test_protocol_rejects_options_without_effect(options, option):
    with pytest.raises(UsageError, match=option):
        user_plan(**{"protocol": "blindspot", **options})


def test_protocol_rejects_equal_rows_in_two_parts():
    table = Table.from_columns("t", {"x": [1] * len(LABELS), "y": LABELS.tolist()})
    with pytest.raises(DataError, match="in another part"):
        make_split_plan(table, TableSpec(target="y", protocol="blindspot"))
