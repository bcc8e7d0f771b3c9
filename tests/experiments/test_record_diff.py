import copy
import json

import pytest

from ranksim.experiments.reproduce import diff_records
from tests.helpers.results_diff import MADE_BY, diff_results

RECORD = {
    "identity": {"method": "vanilla", "seed": 0, "recipe": {"lr": 0.1, "lr_milestones": [60, 80]}},
    "result": {
        "metrics": {"test": {"all": {"mse": 0.1 + 0.2, "pearson": None}, "seconds": {"mse": 1.0}}},
        "curves": {"val": [1.0, float("nan"), 3.0]},
        "seconds": 1.5,
        "peak_memory_mb": 100.0,
    },
    "against": [{"low": 1}, {"low": 2}],
    "seconds_median": 1.5,
    "provenance": {"threads": 1, "versions": {"torch": "2"}},
}


def change_record(path, value):
    record = copy.deepcopy(RECORD)
    *keys, last = path
    part = record
    for key in keys:
        part = part[key]
    part[last] = value
    return record


def test_record_equals_its_json():
    restored = json.loads(json.dumps(RECORD))
    assert diff_records(RECORD, restored | {"seconds_median": 9.0}) == []
    tuples = change_record(["identity", "recipe", "lr_milestones"], (60, 80))
    assert diff_records(tuples, restored) == []


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["result", "metrics", "test", "all", "mse"], 0.3),  # one bit
        (["result", "metrics", "test", "all", "pearson"], 0.0),
        (["result", "metrics", "test", "seconds", "mse"], 2.0),  # a region of this name, not a time
        (["result", "curves", "val"], [1.0, 2.0, 3.0]),
        (["result", "curves", "val"], [1.0, float("nan")]),
        (["against", 1, "low"], -2),
        (["provenance", "versions", "torch"], "3"),
        (["seed"], -0.0),
        (["new"], 1),
    ],
)
def test_each_difference_is_named_in_both_directions(path, value):
    name, other = ".".join(map(str, path)), change_record(path, value)
    assert diff_records(RECORD, other) == [name]
    assert diff_records(other, RECORD) == [name]


def test_new_fields_can_be_ignored():
    other = change_record(["identity", "recipe", "memory_size"], 1) | {
        "ranks": {},
        "status": "done",
    }
    assert diff_records(RECORD, other) == ["identity.recipe.memory_size", "status"]
    assert diff_records(RECORD, other, new=False) == []


def test_provenance_can_be_ignored():
    other = change_record(["provenance", "versions", "torch"], "3")
    other["provenance"]["threads"] = 2
    names = ["provenance.threads", "provenance.versions.torch"]
    assert diff_records(RECORD, other) == names
    assert diff_records(RECORD, other, MADE_BY) == []


def test_results_are_compared_run_by_run_and_row_by_row():
    row = {"method": "vanilla", "seeds": [0, 1], "seconds_median": 2.0}
    results = {
        "format": 4,
        "command": "--jobs 1",
        "runs": [RECORD, change_record(["identity", "seed"], 1)],
        "summary": [row],
    }
    other = copy.deepcopy(results)
    other["runs"][1]["result"]["seconds"] = other["summary"][0]["seconds_median"] = 7
    assert diff_results(results, other) == []
    other["runs"][1]["result"]["curves"]["val"][0] = 2.0
    other["summary"][0]["seeds"] = [0]
    other["command"] = "--jobs 2"
    assert diff_results(results, other) == [
        "runs: vanilla seed 1: result.curves.val",
        "summary: vanilla: seeds",
        "command",
    ]
    assert "command" not in diff_results(results, other, ("command",))
    del other["runs"][0]
    assert "runs: ['vanilla seed 0']" in diff_results(results, other)
