from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from ranksim.data.reading import load_table
from ranksim.data.spec import DataLocation, TableSpec, make_user_spec
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.sweep_request import resolve_user_data
from ranksim.training.task_loading import identify_data, load_plan
from ranksim.user_data.split_column import write_split_file
from ranksim.user_data.split_plan import make_split_plan
from tests.helpers import user_data
from tests.helpers.errors import raises_with


@pytest.fixture
def table(tmp_path):
    """Return a function that writes 60 rows with a repeating column ``split``."""

    def write(*words):
        lines = [f"{k % 7},{k},{words[k % len(words)]}" for k in range(60)]
        path = tmp_path / "t.csv"
        path.write_text("y,x,split\n" + "\n".join(lines))
        return str(path)

    return write


def options(data, **chosen):
    """Return the options that are recorded."""
    source = resolve_user_data(DataLocation(data), {"target": "y", **chosen})
    return source.spec.to_dict()["options"]


def test_column_with_all_three_parts_is_the_split(table):
    data = table("train", "train", "Validation", "test")
    chosen = options(data)
    assert chosen == {"target": "y", "split": "split"}
    plan = make_split_plan(load_table(data), make_user_spec(chosen))
    assert plan.inputs == ("x",)
    assert plan.rows[plan.split.test].tolist() == list(range(3, 60, 4))
    assert options(data, split_by="random") == {"target": "y", "split_by": "random"}


@pytest.mark.parametrize("name", ["split", "Split", "subset", "fold", "data_split"])
@pytest.mark.parametrize(
    "spelling", [("train", "test"), ("Training", " TEST"), ("train", "testing")]
)
def test_validation_is_drawn_from_the_training_rows_of_a_given_split(tmp_path, name, spelling):
    is_test = np.arange(300) % 5 == 0
    labels = np.random.default_rng(0).integers(0, 12, 300)
    lines = [f"{labels[k]},{k},{spelling[int(is_test[k])]}" for k in range(300)]
    (tmp_path / "t.csv").write_text(f"y,x,{name}\n" + "\n".join(lines))
    data = str(tmp_path / "t.csv")
    chosen = options(data)
    assert chosen == {"target": "y", "split": name}
    for balanced in (True, False):
        plan = make_split_plan(load_table(data), make_user_spec({**chosen, "balanced": balanced}))
        train, val, test = (plan.rows[part] for part in plan.split)
        assert test.tolist() == np.flatnonzero(is_test).tolist()
        assert sorted([*train, *val]) == np.flatnonzero(~is_test).tolist()
        counts = np.bincount(labels[~is_test])
        if balanced:  # a third of each label, at most 30
            assert np.bincount(labels[val]).tolist() == np.minimum(counts // 3, 30).tolist()
        else:
            assert len(val) == round(0.15 * (~is_test).sum())
        assert plan.inputs == ("x",)
        assert plan.facts["drawn"] == "val"
        assert "validation from its training rows" in plan.report.split["method"]
        again = make_split_plan(load_table(data), make_user_spec({**chosen, "balanced": balanced}))
        np.testing.assert_array_equal(again.split.val, plan.split.val)


def test_latest_training_readings_validate_a_series_split_into_train_and_test(tmp_path):
    lines = [f"{k},{k % 17},{'test' if k >= 200 else 'train'}" for k in range(250)]
    (tmp_path / "t.csv").write_text("when,y,split\n" + "\n".join(lines))
    chosen = options(str(tmp_path / "t.csv"), window=3, time="when")
    plan = make_split_plan(load_table(str(tmp_path / "t.csv")), make_user_spec(chosen))
    assert plan.parts[170:200].tolist() == ["val"] * 30
    assert set(plan.parts[:170]) == {"train"}
    assert set(plan.parts[200:]) == {"test"}


@pytest.mark.parametrize(
    ("words", "facts"),
    [
        (("train", "val"), ("'split'", "no test", "--split-by random")),
        (("test",), ("'split'", "no train", "--split-by random")),
        (("train", "test", "banana"), ("lines 4, 7, 10", "'banana'", "'split'", "unused")),
        (("train", "test", ""), ("lines 4, 7, 10", "'split'")),
    ],
)
def test_split_that_cannot_be_used_is_an_error(table, words, facts):
    with raises_with(DataError, *facts):
        options(table(*words))
    assert options(table(*words), split_by="random")["split_by"] == "random"
    plan = make_split_plan(load_table(table(*words)), make_user_spec({"target": "y"}))
    assert plan.inputs == ("x",)  # a part is never an input


@pytest.mark.parametrize(
    ("option", "rule"),
    [({"group": "x"}, "group"), ({"max_per_bin": 3}, "random"), ({"split_seed": 3}, "random"),
     ({"balanced": False}, "random")],
)  # fmt: skip
def test_options_of_a_drawn_split_do_not_replace_a_given_one(table, option, rule):
    with raises_with(UsageError, "'split'", f"--split-by {rule}"):
        options(table("train", "val", "test"), **option)


def test_given_split_that_options_replace_is_reported(table):
    spec = make_user_spec({"target": "y", "split_by": "random"})
    report = make_split_plan(load_table(table("train", "test")), spec).report
    assert "'split' is not used" in report.notes["Given split"]


def test_unused_rows_need_no_label(tmp_path):
    lines = [f"{k % 7},{k},{('train', 'val', 'test')[k % 3]}" for k in range(60)]
    lines += [",60,unused", ",61,Unused", "3,62,unused"]
    (tmp_path / "t.csv").write_text("y,x,split\n" + "\n".join(lines))
    data = load_table(str(tmp_path / "t.csv"))
    plan = make_split_plan(data, TableSpec(target="y", split="split"))
    assert [len(part) for part in plan.split] == [20, 20, 20]
    assert plan.parts[60:].tolist() == ["unused"] * 3
    lines[5] = ",5,test"
    (tmp_path / "t.csv").write_text("y,x,split\n" + "\n".join(lines))
    with raises_with(DataError, "line 7", "'y'"):
        make_split_plan(load_table(str(tmp_path / "t.csv")), TableSpec(target="y", split="split"))


@pytest.mark.parametrize("word", ["", "tset", "holdout"])
@pytest.mark.parametrize("name", ["set", "Partition"])
def test_misspelled_part_is_an_error_whatever_the_column_is_called(table, tmp_path, name, word):
    path = tmp_path / "t.csv"
    table(*["train", "test"] * 14, word, "test")
    path.write_text(path.read_text().replace("split", name))
    with raises_with(DataError, "lines 30, 60", repr(name), repr(word)):
        options(str(path))


@pytest.mark.parametrize(("name", "word"), [("dataset", "other"), ("city", "train")])
def test_columns_with_other_names_stay_inputs(table, tmp_path, name, word):
    path = tmp_path / "t.csv"
    table("train", "test", word)
    path.write_text(path.read_text().replace("split", name))
    assert options(str(path)) == {"target": "y"}


def test_column_split_without_parts_is_an_input_with_a_warning(table):
    data = table("banana", "vanilla")
    assert options(data) == {"target": "y"}
    plan = make_split_plan(load_table(data), TableSpec(target="y"))
    assert plan.inputs == ("x", "split")
    assert sorted(np.concatenate(plan.split)) == list(range(60))
    assert "'split'" in plan.report.warnings[0]


def write_repeats(tmp_path):
    """Write 60 rows, of which the first four occur again in later parts."""
    rows = [f"{k % 7},{k},{('train', 'val', 'test')[k // 20]}" for k in range(60)]
    rows[20] = "0,0,val"
    rows[21] = "1,1.0,val"
    rows[40] = "2,2,test"
    rows[41] = "3,3,test"
    rows[42] = rows[25].replace("val", "test")
    (tmp_path / "t.csv").write_text("y,x,split\n" + "\n".join(rows))
    return load_table(str(tmp_path / "t.csv"))


def test_shared_samples_of_a_given_split_are_left_out_on_request(tmp_path):
    table = write_repeats(tmp_path)
    with raises_with(DataError, "lines 22, 23", "--drop-shared"):
        make_split_plan(table, TableSpec(target="y", split="split"))
    plan = make_split_plan(table, TableSpec(target="y", split="split", drop_shared=True))
    train, val, test = (plan.rows[part].tolist() for part in plan.split)
    assert train == list(range(4, 20))
    assert val == [k for k in range(20, 40) if k != 25]
    assert test == list(range(40, 60))
    assert plan.facts["dropped_shared"] == [4, 1]
    assert plan.report.rows["left_out"] == {
        "equal to validation or test samples (--drop-shared)": 5
    }
    with raises_with(UsageError, "--drop-shared has no effect"):
        make_split_plan(table, TableSpec(target="y", drop_shared=True))


def test_equal_samples_in_parts_split_by_time_are_reported(tmp_path):
    lines = [f"{k % 9},{k % 50},{k}" for k in range(100)]
    (tmp_path / "t.csv").write_text("y,x,when\n" + "\n".join(lines))
    table = load_table(str(tmp_path / "t.csv"))
    spec = TableSpec(target="y", time="when", split_by="time", balanced=False)
    plan = make_split_plan(table, spec)
    assert plan.report.notes["Equal samples"].startswith("30 training or validation samples equal")
    dropped = make_split_plan(table, dataclasses.replace(spec, drop_shared=True))
    assert len(plan.split.train) - len(dropped.split.train) == 30
    assert dropped.split.test.tolist() == plan.split.test.tolist()


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("kind", ["table", "series"])
def test_split_file_reproduces_a_split(tmp_path, kind, suffix):
    pandas = pytest.importorskip("pandas")
    data = user_data.WRITERS[kind](tmp_path)
    spec = make_user_spec(user_data.OPTIONS[kind])
    table = load_table(str(data))
    plan = make_split_plan(table, spec)
    path = tmp_path / "split.csv"
    write_split_file(path, table, plan.parts, {})
    frame = pandas.read_csv(path)
    assert frame["row"].tolist() == list(range(1, table.n_rows + 1))
    assert frame["line"].tolist() == list(table.lines)
    if suffix == ".parquet":
        path = tmp_path / "split.parquet"
        frame.sample(frac=1, random_state=0).to_parquet(path)
    source = identify_data(
        resolve_user_data(DataLocation(str(data)), user_data.OPTIONS[kind] | {"split": str(path)})
    )
    assert source.spec.split == path.name
    assert str(tmp_path) not in str(source.spec.to_dict())
    again = load_plan(source)
    np.testing.assert_array_equal(again.parts, plan.parts)
    assert again.inputs == plan.inputs
    if kind == "table":
        for part, other in zip(again.split, plan.split, strict=True):
            np.testing.assert_array_equal(again.rows[part], plan.rows[other])
        assert again.bins == plan.bins


def test_split_file_of_another_table_is_rejected(table, tmp_path):
    data, path = table("a", "b"), tmp_path / "s.csv"
    for text, facts in (
        ("row,split\n1,train\n61,test\n", ("s.csv, line 3", "row")),
        ("row,split\n1,train\n1,test\n", ("s.csv, line 3", "second time")),
        ("row,split\n1,train\n2,tset\n", ("s.csv, line 3", "'tset'")),
        ("split\ntrain\ntest\n", ("s.csv has 2 rows", "60")),
        ("row,fruit\n1,banana\n", ("s.csv", "'split'")),
    ):
        path.write_text(text)
        with raises_with(DataError, *facts):
            options(data, split=str(path))
    with raises_with(DataError, "nowhere.csv", "neither a column"):
        options(data, split="nowhere.csv")
