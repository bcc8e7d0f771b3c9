from __future__ import annotations

import dataclasses
import shlex

import numpy as np
import pytest

from ranksim.data.reading import load_table
from ranksim.data.spec import DataLocation, TableSpec, make_user_spec
from ranksim.data.table import Table
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.sweep_request import resolve_user_data
from ranksim.training.task_loading import identify_data, load_plan
from ranksim.user_data.split_column import join_split_file, make_row_digests, write_split_file
from ranksim.user_data.split_plan import make_split_plan
from tests.helpers import user_data
from tests.helpers.errors import raises_with


@pytest.fixture
def table(tmp_path):
    """Return a function that writes 60 rows with a repeating column ``split``."""

    def write(*words):
        lines = [f"{k % 7},{k / 8},{words[k % len(words)]}" for k in range(60)]
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


def write_columns(tmp_path, **columns):
    """Write 60 rows of a target, an input and further columns; return the path."""
    columns = {"y": [k % 7 for k in range(60)], "x": [k / 8 for k in range(60)], **columns}
    lines = [
        ",".join(columns),
        *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True)),
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    return str(tmp_path / "t.csv")


WORDS = [("True", "False"), ("1", "0"), ("yes", "no"), ("1.0", "0.0"), ("T", "F")]


@pytest.mark.parametrize("words", WORDS)
@pytest.mark.parametrize(
    ("name", "part"),
    [("is_train", "train"), ("isTest", "test"), ("in_test", "test"), ("val_mask", "val"),
     ("is_valid", "val"), ("Train set", "train"), ("holdout", "test"), ("is-test", "test")],
)  # fmt: skip
def test_columns_that_mark_a_part_are_no_inputs(tmp_path, name, part, words):
    data = write_columns(tmp_path, **{name: [words[0] if k % 4 else words[1] for k in range(60)]})
    plan = make_split_plan(load_table(data), make_user_spec({"target": "y"}))
    assert plan.inputs == ("x",)
    (warning,) = plan.report.warnings
    assert f"{name!r} is not used" in warning
    assert f"--split {shlex.quote(name)}" in warning
    title = {"train": "training", "val": "validation", "test": "test"}[part]
    assert f"mark the {title} rows" in plan.report.columns["left_out"][name]
    chosen = make_split_plan(
        load_table(data), make_user_spec({"target": "y", "split_by": "random"})
    )
    assert (chosen.inputs, chosen.report.warnings) == (("x",), [])
    named = make_user_spec({"target": "y", "features": ("x", name)})
    plan = make_split_plan(load_table(data), named)
    assert (plan.inputs, plan.report.warnings) == (("x", name), [])
    if part == "val":
        with raises_with(DataError, "no", "test"):
            make_split_plan(load_table(data), make_user_spec({"target": "y", "split": name}))
        return
    plan = make_split_plan(load_table(data), make_user_spec({"target": "y", "split": name}))
    marked = [k for k in range(60) if k % 4]
    test = marked if part == "test" else [k for k in range(60) if not k % 4]
    assert plan.rows[plan.split.test].tolist() == test
    assert plan.inputs == ("x",)
    assert len(plan.split.val)


@pytest.mark.parametrize("marks", [("is_train", "is_val", "is_test"), ("is_val", "is_test"),
                                   ("is_train", "is_test"), ("is_train", "is_val"),
                                   ("train", "val", "test"), ("test", "val")])  # fmt: skip
def test_several_columns_that_mark_parts_are_read_together(tmp_path, marks):
    parts = [("train", "val", "test", "train")[k % 4] for k in range(60)]
    columns = {name: [name.endswith(part) for part in parts] for name in marks}
    data = write_columns(tmp_path, **columns)
    spec = make_user_spec({"target": "y", "split": marks[-1]})
    plan = make_split_plan(load_table(data), spec)
    assert plan.inputs == ("x",)
    assert plan.parts.tolist() == parts
    columns[marks[0]] = [True] * 59 + [False]
    with raises_with(DataError, f"{marks[0]!r}", "twice", "line"):
        make_split_plan(load_table(write_columns(tmp_path, **columns)), spec)


def test_rows_without_any_mark_are_unused(tmp_path):
    columns = {f"is_{part}": [k % 4 == j for k in range(60)]
               for j, part in enumerate(("train", "val", "test"))}  # fmt: skip
    data = write_columns(tmp_path, **columns)
    plan = make_split_plan(load_table(data), make_user_spec({"target": "y", "split": "is_test"}))
    assert plan.parts.tolist() == ["train", "val", "test", "unused"] * 15


@pytest.mark.parametrize(
    ("name", "count", "first", "remedy"),
    [("fold", 5, 0, "--group fold"), ("Folds", 10, 1, "--group Folds"),
     ("kfold", 2, 0, "--group kfold"), ("cv_fold_id", 3, 1, "--group cv_fold_id"),
     ("split", 3, 0, "write train, val and test"), ("subset", 2, 1, "write train, val and test")],
)  # fmt: skip
@pytest.mark.parametrize("form", ["{}", "{}.0"])
def test_numbers_of_folds_are_no_inputs(tmp_path, name, count, first, remedy, form):
    data = write_columns(tmp_path, **{name: [form.format(first + k % count) for k in range(60)]})
    plan = make_split_plan(load_table(data), make_user_spec({"target": "y"}))
    assert plan.inputs == ("x",)
    (warning,) = plan.report.warnings
    assert remedy in warning
    assert name in plan.report.columns["left_out"]
    if "--group" in remedy and count > 2:
        plan = make_split_plan(load_table(data), make_user_spec({"target": "y", "group": name}))
        assert plan.inputs == ("x",)
        assert not plan.report.warnings


@pytest.mark.parametrize(
    "options", [{"text": ("words",)}, {"image": "words"}, {"window": 2}, {"features": ("x",)}]
)
def test_marks_of_a_split_that_is_not_used_are_a_warning_for_all_kinds(tmp_path, options):
    words = [f"cats {k}" for k in range(60)]
    data = write_columns(tmp_path, words=words, is_test=[k >= 40 for k in range(60)])
    spec = make_user_spec({"target": "y", "balanced": False} | options)
    (warning,) = make_split_plan(load_table(data), spec).report.warnings
    assert "--split is_test" in warning
    spec = make_user_spec({"target": "y", "balanced": False, "split": "is_test"} | options)
    plan = make_split_plan(load_table(data), spec)
    assert plan.report.warnings == []
    assert plan.parts[40:].tolist() == ["test"] * 20
    assert "test" not in plan.parts[:40]


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        ("fold", [k * 1.5 for k in range(60)]),  # fold changes of genes
        ("folds", [k % 3 + 5 for k in range(60)]),
        ("is_red", [k % 2 for k in range(60)]),
        ("test", [k % 2 for k in range(60)]),  # alone it may be a result
        ("valid", [k % 2 for k in range(60)]),
        ("is_test", [k % 3 for k in range(60)]),
        ("is_train", [1] * 60),
        ("unfolded", [k % 5 for k in range(60)]),
    ],
)
def test_other_columns_stay_inputs(tmp_path, name, cells):
    data = write_columns(tmp_path, **{name: cells})
    plan = make_split_plan(load_table(data), make_user_spec({"target": "y"}))
    assert plan.inputs == ("x", name)
    assert not plan.report.warnings


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


@pytest.mark.parametrize("kind", ["table", "series", "sentences"])
def test_split_file_finds_the_rows_of_a_table_in_another_order(tmp_path, kind):
    pandas = pytest.importorskip("pandas")
    data, path = user_data.WRITERS[kind](tmp_path), tmp_path / "split.csv"
    table = load_table(str(data))
    plan = make_split_plan(table, make_user_spec(user_data.OPTIONS[kind]))
    write_split_file(path, table, plan.parts, {})
    frame = pandas.read_csv(data)
    order = np.random.default_rng(0).permutation(len(frame))
    for name in ("shuffled.csv", "shuffled.parquet"):
        shuffled = frame.iloc[order][list(reversed(frame.columns))]
        if name.endswith(".csv"):
            shuffled.to_csv(tmp_path / name)  # with its index
        else:
            shuffled.to_parquet(tmp_path / name, index=False)
        joined = join_split_file(load_table(str(tmp_path / name)), path)
        assert "recognized by their values" in joined.notes[-1]
        parts = np.array(joined.column("split.csv"))
        # of rows that are equal in all cells, one may have the part of the other
        cells = [tuple(map(str, row)) for row in frame.itertuples(index=False)]
        expected = sorted(zip(cells, plan.parts.tolist(), strict=True))
        assert sorted(zip([cells[k] for k in order], parts.tolist(), strict=True)) == expected
    assert join_split_file(table, path).notes == table.notes
    # without digests, rows are numbered
    pandas.read_csv(path).drop(columns="digest").to_csv(path, index=False)
    joined = join_split_file(load_table(str(tmp_path / "shuffled.csv")), path)
    assert joined.column("split.csv") == plan.parts.tolist()


def test_digests_leave_out_what_has_no_values_or_may_be_added():
    columns = {"y": [1, 2.5, None], "word": ["a", " b", ""]}
    digests = make_row_digests(Table.from_columns("t", columns))
    assert len({*digests}) == 3
    more = {"split": ["train", "val", "unused"], "": [7, 8, 9], "v": [[1], [2], None],
            "raw": [b"1", b"2", b"3"]}  # fmt: skip
    equal = {"word": ["a ", "b", None], "y": ["1.0", "2.50", "NA"]}
    assert make_row_digests(Table.from_columns("t", more | equal)) == digests
    for other in ({"word": ["a", "b", "c"]}, {"y": [1, 2.5, 3]}, {"is_big": [True, False, True]}):
        changed = make_row_digests(Table.from_columns("t", columns | other))
        assert changed[2] != digests[2]


def test_split_file_of_changed_rows_is_rejected(tmp_path):
    data, path = write_columns(tmp_path, kind=["a", "b"] * 30), tmp_path / "split.csv"
    write_split_file(path, load_table(data), ["train", "val", "test"] * 20, {})
    lines = (tmp_path / "t.csv").read_text().splitlines()
    for changed in (
        [*lines[:5], lines[5].replace("a", "c"), *lines[6:]],
        [lines[0], *lines[2:]],
        [line.replace("kind", "x2") + ",9" for line in lines],
    ):
        (tmp_path / "t.csv").write_text("\n".join(changed))
        with raises_with(DataError, "split.csv, line", "no row of", "remove the column 'digest'"):
            join_split_file(load_table(data), path)
    (tmp_path / "t.csv").write_text("\n".join([*lines, "3,99,a"]))  # a further row is unused
    assert join_split_file(load_table(data), path).column("split.csv")[-1] == "unused"
    path.write_text("row,digest,split\n1,none,train\n2,,test\n")  # a column of other programs
    assert join_split_file(load_table(data), path).column("split.csv")[:3] == [
        "train", "test", "unused"
    ]  # fmt: skip


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
