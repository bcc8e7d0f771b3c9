"""Columns that identify a row or contain the target are left out of a plan, and can be kept."""

import numpy as np
import pytest

from ranksim.data.spec import DataSpec, SeriesSpec, TableSpec, TextSpec
from ranksim.data.table import Table
from ranksim.exceptions import DataError, UsageError
from ranksim.training.adapters import TableAdapter
from ranksim.user_data.input_columns import sample_columns
from ranksim.user_data.proposals import find_column_kinds, propose_inputs
from ranksim.user_data.split_plan import make_split_plan
from tests.helpers.errors import raises_with

ROWS = 400
RNG = np.random.default_rng(0)
CASUAL, REGISTERED = RNG.poisson(20, ROWS), RNG.poisson(60, ROWS)
COUNT = CASUAL + REGISTERED
COLUMNS = {
    "instant": np.arange(1, ROWS + 1),
    "ride_id": RNG.permutation(10**7)[:ROWS],
    "hour": RNG.integers(0, 24, ROWS),
    "temp": RNG.normal(15, 8, ROWS).round(1),
    "area": RNG.choice(["north", "south"], ROWS),
    "station": np.full(ROWS, 7),
    "note": [f"n{k}" for k in range(ROWS)],
    "casual": CASUAL,
    "registered": REGISTERED,
    "log_count": np.log(COUNT).round(6),
    "count_copy": COUNT,
    "bill": (COUNT * 1.5 + RNG.normal(0, 0.3, ROWS)).round(2),
    "count": COUNT,
}
LEAKS = {
    "instant": "row number",
    "ride_id": "identifier of the row",
    "casual": "part of a sum equal to the target",
    "registered": "part of a sum equal to the target",
    "log_count": "monotone function of the target",
    "count_copy": "equal to the target",
    "bill": "predicts the target alone",
}
USUAL = {"note": "its texts almost never repeat", "station": "all its values are equal"}


def make_table(**more):
    columns = {name: [str(value) for value in values] for name, values in COLUMNS.items()}
    return Table.from_columns("rides", columns | more)


def plan_inputs(**options):
    plan = make_split_plan(make_table(), TableSpec(target="count", **options))
    adapter = TableAdapter.fit(plan)
    report = plan.report.combine(adapter.adapt_splits(plan, None).report)
    return plan, adapter, report


def test_each_kind_is_left_out_with_a_warning():
    plan, adapter, report = plan_inputs()
    assert report.columns["left_out"] == LEAKS | USUAL
    assert adapter.columns == ("hour", "temp", "area")
    assert set(plan.facts["inputs"]) == {*adapter.columns, *USUAL}
    for name in LEAKS:
        assert sum(repr(name) in text for text in report.warnings) == 1, name
    (warning,) = (text for text in report.warnings if "add up" in text)
    assert "(count = casual + registered)" in warning
    assert "--keep casual,registered" in warning
    with pytest.raises(DataError, match="--strict"):
        report.raise_warnings()


@pytest.mark.parametrize("name", [*LEAKS, "note"])
def test_keep_reads_a_column(name):
    _, adapter, report = plan_inputs(keep=(name,))
    assert name in adapter.columns
    assert set(report.columns["left_out"]) == {*LEAKS, *USUAL} - {name}
    assert not any(f"--keep {name} " in text for text in report.warnings)
    if name in LEAKS:
        assert report.notes["Kept"] == f"{name} ({LEAKS[name]})"


def test_named_inputs_are_checked_too():
    plan, _, report = plan_inputs(features=("instant", "hour", "casual", "registered"))
    assert plan.inputs == ("hour",)
    assert set(report.columns["left_out"]) == {"instant", "casual", "registered"}
    plan, _, report = plan_inputs(features=("hour", "casual"))  # no sum without the other part
    assert plan.inputs == ("hour", "casual")
    assert report.warnings == []


def test_columns_without_findings_change_nothing():
    features = ("hour", "temp", "area")
    plan, _, report = plan_inputs(features=features)
    assert (plan.inputs, report.warnings, "left_out" in report.columns) == (features, [], False)
    named = make_split_plan(
        make_table(), TableSpec(target="count", features=features, keep=("temp",))
    )
    for part, other in zip(plan.split, named.split, strict=True):
        np.testing.assert_array_equal(part, other)
    assert "Kept" not in named.report.notes
    # the split is that of the remaining inputs
    everything = make_split_plan(make_table(), TableSpec(target="count"))
    assert [*map(len, everything.split)] == [*map(len, plan.split)]


def test_equal_inputs_beside_a_leak_stay_in_one_part():
    """Rows that only a row number or a copy of the target tells apart are equal samples."""
    rng = np.random.default_rng(1)
    x, noise = rng.integers(0, 90, ROWS), rng.permutation(ROWS)
    columns = {"id": range(ROWS), "x": x, "z": x / 7, "copy": 2.5 * noise, "y": noise}
    table = Table.from_columns("t", {name: [*values] for name, values in columns.items()})
    plan = make_split_plan(table, TableSpec(target="y", bin_width=50))
    assert plan.inputs == ("x", "z")
    parts = [set(x[plan.rows[part]].tolist()) for part in plan.split]
    assert sum(map(len, parts)) == len(set.union(*parts))


def test_training_rows_of_a_given_split_decide():
    """A column that equals the target in test rows only is none that contains it."""
    is_test = np.arange(ROWS) % 4 == 0
    parts = np.where(is_test, "test", "train")
    copy = np.where(is_test, RNG.permutation(COUNT), COUNT)
    other = np.where(is_test, COUNT, RNG.permutation(COUNT))
    texts = [str(value) for value in RNG.normal(size=ROWS)]
    for name, values, is_left_out in (("copy", copy, True), ("other", other, False)):
        table = make_table(part=[*parts], noise=texts, **{name: [*map(str, values)]})
        options = TableSpec(target="count", split="part", features=("noise", name))
        inputs = make_split_plan(table, options).inputs
        assert inputs == (("noise",) if is_left_out else ("noise", name))


def test_index_that_is_the_only_input_is_read_with_a_warning():
    columns = {"k": [*range(60)], "y": [k % 7 for k in range(60)]}
    plan = make_split_plan(Table.from_columns("t", columns), TableSpec(target="y"))
    assert plan.inputs == ("k",)
    assert "Column 'k' numbers the rows" in plan.report.warnings[0]
    assert "left_out" not in plan.report.columns


def test_errors():
    with raises_with(DataError, "rides", "'count_copy'", "equal to the target", "--keep"):
        plan_inputs(features=("count_copy",))
    with raises_with(UsageError, "--keep", "'weather'", "not an input"):
        plan_inputs(keep=("weather",))
    with raises_with(UsageError, "--keep", "'casual'"):
        plan_inputs(features=("hour",), keep=("casual",))


def test_nameless_columns_can_be_kept():
    columns = {"Unnamed: 0": RNG.normal(size=60), "x": RNG.normal(size=60), "y": np.arange(60) % 9}
    table = Table.from_columns("t", {name: [*values] for name, values in columns.items()})
    assert make_split_plan(table, TableSpec(target="y")).inputs == ("x",)
    plan = make_split_plan(table, TableSpec(target="y", keep=("Unnamed: 0",)))
    assert plan.inputs == ("Unnamed: 0", "x")
    assert "left_out" not in plan.report.columns


def test_specification_records_kept_columns():
    spec = TableSpec(target="y", keep=("a", "b"))
    assert DataSpec.from_dict(spec.to_dict()) == spec
    assert "keep" not in TableSpec(target="y").to_dict()["options"]  # as in earlier results


def test_texts_read_their_columns_only():
    texts = [f"a text of number {k % 50} and {k}" for k in range(ROWS)]
    table = make_table(text=texts)
    plan = make_split_plan(table, TextSpec(target="count", text=("text",)))
    assert plan.inputs == ("text",)
    assert plan.report.warnings == []


def test_sample_of_a_large_table():
    n = 30_000
    rng = np.random.default_rng(0)
    a, b = rng.gamma(2, 100, (2, n)).round()
    total = a + b
    late = np.where(np.arange(n) % 1000 == 5, total + 1, total)  # equal in most rows
    columns = {"a": a, "b": b, "copy": total, "late": late, "x": rng.normal(size=n), "y": total}
    table = Table.from_columns("t", {name: values.tolist() for name, values in columns.items()})
    rows = np.arange(n)
    sample = sample_columns(table, ["a", "b", "copy", "late", "x"], rows)
    assert len(sample.rows) == 4_000
    for part in (rows, rows[::50]):  # the second are too few in the sample
        leaks = sample.find_leaks(part, total[part])
        kinds = {leak.names: leak.kind for leak in leaks}
        assert kinds[("copy",)] == "copy"
        assert kinds[("a", "b")] == "sum"
        assert kinds[("late",)] in ("outcome", "copy")
        assert len(kinds) == 3
    almost = np.where(np.arange(n) == 17, total + 50, total)  # not in the sample
    leaks = sample.find_leaks(rows, almost)
    assert {leak.names: leak.kind for leak in leaks} == {("copy",): "outcome", ("late",): "outcome"}


def test_inspect_lists_the_same_columns():
    table = make_table()
    kinds = find_column_kinds(table, "count", np.arange(ROWS))
    report = kinds.describe(table)
    assert report.columns["left_out"] == LEAKS | USUAL
    ((words, reads),) = propose_inputs(table, kinds)
    assert (words, reads.split(":")[0]) == ([], "reads 3 columns")
    kinds = find_column_kinds(table, "count", np.arange(ROWS), ("instant", "bill"))
    ((words, reads),) = propose_inputs(table, kinds)
    assert (words, reads.split(":")[0]) == (["--keep", "instant,bill"], "reads 5 columns")
    _, _, planned = plan_inputs(keep=("instant", "bill"))
    assert kinds.describe(table).notes["Kept"] == planned.notes["Kept"]


@pytest.mark.parametrize("horizon", [1, 6])
def test_columns_of_a_series_may_equal_the_target_but_not_its_future(horizon):
    level = np.cumsum(RNG.normal(size=ROWS)).round(3)
    future = np.roll(level, -horizon)
    columns = {"level": level, "same": level, "twice": 2 * level, "future": future}
    table = Table.from_columns("t", {name: values.tolist() for name, values in columns.items()})
    options = SeriesSpec(
        target="level", window=4, horizon=horizon, features=("same", "twice", "future")
    )
    plan = make_split_plan(table, options)
    assert plan.inputs == ("level", "same", "twice", "future")
    (warning,) = plan.report.warnings
    assert warning.startswith("Column 'future' at the end of each window equals the target 'level'")


@pytest.mark.parametrize("size", [1e300, 1.7e308, 1e-300])
def test_huge_and_tiny_values_need_no_care(size):
    rng = np.random.default_rng(0)
    spread = rng.choice([-1.0, 1.0], 80) * size
    columns = {
        "a": spread,
        "b": rng.uniform(-1, 1, 80) * size,
        "whole": np.rint(rng.uniform(-1, 1, 80) * max(size, 1e15)),
        "y": rng.uniform(-1, 1, 80) * 1e38,
    }
    table = Table.from_columns("t", {name: values.tolist() for name, values in columns.items()})
    leaks = sample_columns(table, ["a", "b", "whole"], np.arange(80)).find_leaks(
        np.arange(80), columns["y"]
    )
    assert leaks == []
