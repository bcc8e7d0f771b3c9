from __future__ import annotations

import numpy as np
import pytest

from ranksim.data.reading import load_table
from ranksim.data.spec import DataLocation, TableSpec, make_user_spec
from ranksim.data.split_plan import make_split_plan
from ranksim.experiments.sweep_request import resolve_user_data


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
    assert options(data, balanced=False) == {"target": "y", "balanced": False}


@pytest.mark.parametrize(
    ("words", "inputs"), [(("train", "test"), ("x",)), (("banana", "train"), ("x", "split"))]
)
def test_other_split_columns_are_not_used_as_the_split(table, words, inputs):
    data = table(*words)
    assert options(data) == {"target": "y"}
    plan = make_split_plan(load_table(data), TableSpec(target="y"))
    assert plan.inputs == inputs
    assert sorted(np.concatenate(plan.split)) == list(range(60))
