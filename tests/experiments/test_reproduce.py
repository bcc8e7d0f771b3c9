"""Runs of a results.json are trained again and compared with their records."""

import copy
import json
import re

import pytest

from ranksim.cli import main
from ranksim.data.spec import DataLocation
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.reproduce import ReproduceRequest, compare_runs, reproduce
from ranksim.experiments.sweep_request import run_benchmark
from tests.helpers import user_data
from tests.helpers.records import run_record
from tests.helpers.requests import make_request

METHODS = "vanilla,rrt+fds+ranksim,vanilla+lds"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory):
    """A user table and a sweep on it, with a two-stage method and an alias."""
    folder = tmp_path_factory.mktemp("reproduce")
    data = user_data.write_table(folder)
    run_benchmark(
        make_request(
            data, folder / "out", options={"target": "price"}, methods=METHODS,
            changes=("hidden=8",), max_epochs=2,
        )
    )  # fmt: skip
    return data, folder / "out"


@pytest.fixture
def changed(sweep, tmp_path):
    """Writes a changed copy of the results and returns its path."""
    content = json.loads((sweep[1] / "results.json").read_text())
    content.pop("digest")

    def write(change=lambda results: None):
        results = copy.deepcopy(content)
        change(results)
        path = tmp_path / "results.json"
        path.write_text(json.dumps(results))
        return path

    return write


def reproduce_all(path, data=None, **fields):
    location = DataLocation(None if data is None else str(data))
    return list(reproduce(ReproduceRequest(path, location=location, accelerator="cpu", **fields)))


@pytest.mark.parametrize(("row", "method"), [("2", "rrt+fds+ranksim"), ("vanilla+lds", "inv+lds")])
def test_unchanged_row_is_identical(sweep, row, method):
    data, out = sweep
    (report,) = reproduce_all(out, data, row=row)
    assert (report["matches"], report["method"], report["differ"]) == (True, method, [])


def test_changed_numbers_are_named_with_their_size(sweep, changed, monkeypatch, capsys):
    def change(results):
        result = results["runs"][0]["result"]
        result["metrics"]["test"]["all"]["mae"] *= 1.5
        result["curves"]["val"][0] += 1e-5
        results["runs"][0]["provenance"]["versions"]["torch"] = "1.0"

    words = ["ranksim", "reproduce", str(changed(change)), "--row", "1", "--data", str(sweep[0])]
    monkeypatch.setattr("sys.argv", [*words, "--accelerator", "cpu", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    printed = capsys.readouterr()
    content = json.loads(printed.out)
    assert not content["matches"]
    (run,) = content["runs"]
    assert run["differ"] == ["metrics.test.all.mae", "curves.val"]
    assert run["largest"] == {"mae": pytest.approx(1 / 3)}
    assert run["made_by"]["versions.torch"][0] == "1.0"
    assert "metrics.test.all.mae, curves.val" in printed.err
    assert "mae 0.33" in printed.err
    assert "versions.torch was 1.0" in printed.err


def test_missing_recipe_fields_come_from_the_preset(sweep, changed):
    def change(results):
        for run in results["runs"]:
            del run["identity"]["technique"]
            run["identity"]["trainer"] = {"precision": "32-true"}
            del run["result"]["curves"]
            for name in ("fds_bins", "lr_milestones", "memory_size"):
                del run["identity"]["recipe"][name]

    (report,) = reproduce_all(changed(change), sweep[0], row="vanilla")
    assert report["matches"]
    assert set(report["assumed"]) == {"lr_milestones", "fds_bins"}


def test_diverged_run_diverges_at_the_same_step(sweep, tmp_path):
    out = tmp_path / "out"
    changes = ("hidden=8", "lr=1e37", "max_grad_norm=1e30")
    run_benchmark(make_request(sweep[0], out, options={"target": "price"}, changes=changes))
    (report,) = reproduce_all(out, sweep[0], out=tmp_path / "again")
    assert report["matches"]
    assert re.match(r"diverged at step \d+ \(lr 1e\+37\)", report["note"])
    assert (tmp_path / "again/runs/vanilla/seed-0/record.json").is_file()
    with pytest.raises(UsageError, match="contains a sweep"):
        reproduce_all(out, sweep[0], out=out)


def change_identity(**values):
    def change(results):
        results["runs"][0]["identity"].update(values)

    return change


def change_digest(results):
    results["runs"][0]["identity"]["data"]["options"]["table_sha256"] = "0" * 16


@pytest.mark.parametrize(
    ("change", "fields", "error", "text"),
    [
        (None, {}, UsageError, "has the rows 1 vanilla, 2 rrt+fds+ranksim, 3 vanilla+lds"),
        (None, {"row": "9"}, UsageError, "choose one with --row"),
        (None, {"row": "1", "seed": 5}, UsageError, "has the seeds 0, not 5"),
        (None, {"row": "1", "data": None}, UsageError, "homes.csv: give its path with --data"),
        (change_identity(recipe={"lr": "x"}), {"row": "1"}, DataError, "cannot be trained again"),
        (change_identity(limits=3), {"row": "1"}, DataError, "is incomplete"),
        (change_digest, {"row": "1"}, DataError, "SHA-256 begins with 0000000000000000"),
        (lambda r: r.update(summary=[3]), {"row": "1"}, DataError, "is damaged"),
        (lambda r: r.update(runs=[[]]), {"row": "1"}, DataError, "is damaged"),
        (lambda r: r.pop("benchmark"), {"row": "1"}, DataError, "not the results.json of a sweep"),
        (lambda r: [run.pop("status") for run in r["runs"]], {"row": "1"}, DataError, "lacks the"),
        (lambda r: [run["result"].clear() for run in r["runs"]], {"row": "1"}, DataError, "lacks"),
    ],
)  # fmt: skip
def test_errors_name_the_problem(sweep, changed, change, fields, error, text):
    path = changed(*([change] if change else []))
    with pytest.raises(error, match=re.escape(text)):
        reproduce_all(path, fields.pop("data", sweep[0]), **fields)


def test_fields_that_the_record_lacks_are_not_compared():
    old = run_record("inv", 0, steps=7, seconds=1.0, metrics={"test": {"all": {"mse": 1.0}}})
    scores = {"all": {"mse": 1.0}, "seen": {"mse": 2.0}}
    new = run_record("inv", 0, steps=7, seconds=2.0, ranks={}, metrics={"test": scores})
    old["provenance"]["data"], new["provenance"]["data"] = {"sha256": "a"}, {"sha256": "b", "n": 1}
    report = compare_runs(old, new)
    assert report["matches"]
    assert report["data"] == {"data.sha256": ["a", "b"]}
    new["result"]["steps"] = 8
    assert compare_runs(old, new)["differ"] == ["steps"]
    del new["result"]["steps"]
    assert compare_runs(old, new)["differ"] == ["steps"]
