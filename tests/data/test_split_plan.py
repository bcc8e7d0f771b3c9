from __future__ import annotations

import shlex

import numpy as np
import pytest

from ranksim.cli.options import split_csv
from ranksim.data.options import UserDataSpec
from ranksim.data.reading import load_table
from ranksim.data.split_plan import make_split_plan
from ranksim.experiments.sweep_request import BenchRequest
from ranksim.experiments.user_data import own_request


@pytest.fixture
def table(tmp_path):
    """Return a function that writes 60 rows with a repeating column ``split``."""

    def write(*words):
        lines = [f"{k % 7},{k},{words[k % len(words)]}" for k in range(60)]
        path = tmp_path / "t.csv"
        path.write_text("y,x,split\n" + "\n".join(lines))
        return str(path)

    return write


def options(data, **given):
    request = BenchRequest("own", {"target": "y", **given}, "vanilla", "1", 1, "out")
    return own_request(data, request).options


def test_column_with_all_three_parts_is_the_split(table):
    data = table("train", "train", "Validation", "test")
    chosen = options(data)
    assert chosen == {"target": "y", "split": "split"}
    plan = make_split_plan(load_table(data), UserDataSpec(**chosen))
    assert plan.inputs == ("x",)
    assert plan.rows[plan.split.test].tolist() == list(range(3, 60, 4))
    assert options(data, split_by="random") == {"target": "y", "split_by": "random"}
    assert options(data, balanced=False) == {"target": "y", "balanced": False}


@pytest.mark.parametrize(
    ("words", "inputs"), [(("train", "test"), ("x",)), (("banana", "train"), ("x", "split"))]
)
def test_other_split_columns_are_not_used_as_the_split(table, words, inputs):
    data = table(*words)
    assert options(data) == {"target": "y"}
    plan = make_split_plan(load_table(data), UserDataSpec("y"))
    assert plan.inputs == inputs
    assert sorted(np.concatenate(plan.split)) == list(range(60))


def test_column_names_with_commas_can_be_listed_and_recorded(tmp_path):
    (tmp_path / "t.csv").write_text(
        '"size, cm",b,y\n' + "\n".join(f"{k},{k},{k}" for k in range(9))
    )
    listed = split_csv('"size, cm", b')
    assert listed == ("size, cm", "b")
    given = {"target": "y", "features": listed}
    request = BenchRequest("own", given, "vanilla", "1", 1, "out")
    words = shlex.split(own_request(str(tmp_path / "t.csv"), request).command([0]))
    assert split_csv(words[words.index("--features") + 1]) == listed
