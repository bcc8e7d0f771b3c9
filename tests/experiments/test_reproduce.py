import copy
import json
import re

import pytest

from ranksim.cli import main
from ranksim.data.spec import DataLocation
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.replay import RerunRequest
from ranksim.experiments.reproduce import compare, reproduce
from ranksim.experiments.sweep_request import run_benchmark
from tests.experiments.test_sweep import request
from tests.helpers import user_data
from tests.helpers.requests import make_request

METHODS = "vanilla,rrt+fds+ranksim,vanilla+lds"


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep over a table of one's own: a second stage, and a row that is another by its key."""
    folder = tmp_path_factory.mktemp("rerun")
    data = user_data.write_table(folder)
    run_benchmark(
        make_request(
            data, folder / "out", options={"target": "price"}, methods=METHODS,
            changes=("hidden=8",), max_epochs=2,
        )
    )  # fmt: skip
    return data, folder / "out"


@pytest.fixture
def saved(swept, tmp_path):
    """Writes a changed copy of its results."""
    content = json.loads((swept[1] / "results.json").read_text())
    content.pop("digest", None)

    def write(change=lambda results: None):
        results = copy.deepcopy(content)
        change(results)
        path = tmp_path / "results.json"
        path.write_text(json.dumps(results))
        return path

    return write


def again(path, data=None, **asked):
    return reproduce(RerunRequest(path, location=DataLocation(data), accelerator="cpu", **asked))


@pytest.mark.parametrize("row", ["2", "vanilla+lds"])
def test_a_row_comes_out_the_same(swept, row, capsys):
    data, out = swept
    found = again(out, str(data), row=row)
    assert found["matches"]
    assert found["method"] == {"2": "rrt+fds+ranksim", "vanilla+lds": "inv+lds"}[row]
    assert found["runs"][0]["differ"] == []
    assert "seed 0: the same, to the last bit." in capsys.readouterr().out


def test_one_bit_is_seen_and_its_size_told(swept, saved, monkeypatch, capsys):
    def change(results):
        results["runs"][0]["metrics"]["test"]["all"]["mae"] *= 1.5
        results["runs"][0]["curves"]["val"][0] += 1e-5
        results["runs"][0]["versions"]["torch"] = "1.0"

    path = saved(change)
    words = ["ranksim", "reproduce", str(path), "--row", "1", "--data", str(swept[0])]
    monkeypatch.setattr("sys.argv", [*words, "--accelerator", "cpu", "--json"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    told = capsys.readouterr()
    found = json.loads(told.out)
    assert not found["matches"]
    (run,) = found["runs"]
    assert run["differ"] == ["metrics.test.all.mae", "curves.val"]
    assert run["largest"] == {"mae": pytest.approx(1 / 3)}
    assert run["made_by"]["versions.torch"][0] == "1.0"
    assert "not the same (metrics.test.all.mae, curves.val)" in told.err
    assert "versions.torch 1.0 then" in told.err


def test_older_results_are_completed_by_the_preset_and_it_is_said(swept, saved):
    """Those of format 1 hold no technique and fewer fields of recipe and hardware."""
    lost = ("technique", "devices", "num_nodes", "compile", "channels_last", "gather", "curves")

    def change(results):
        results["format"] = 1
        for run in results["runs"]:
            for name in lost:
                del run[name]
            for name in ("fds_bins", "lr_milestones", "memory_size"):
                del run["recipe"][name]

    found = again(saved(change), str(swept[0]), row="vanilla")
    assert found["matches"]
    assert found["runs"][0]["assumed"] == ["lr_milestones", "fds_bins"]


def test_a_run_that_was_cut_short_cannot_be_compared(swept, saved, capsys):
    found = again(saved(lambda r: r["runs"][0].update(cut_short=3.0)), str(swept[0]), row="1")
    assert not found["matches"]
    assert found["runs"][0]["matches"] is None
    assert "cut short after 3 s" in capsys.readouterr().out


def test_a_failed_run_fails_again_at_the_same_step(small_sts, tmp_path, capsys):
    run_benchmark(request(small_sts, tmp_path, methods="vanilla", seeds="1",
                  changes=("hidden=8", "lr=1e37", "max_grad_norm=1e30")))  # fmt: skip
    location = DataLocation(data_dir=small_sts)
    found = reproduce(
        RerunRequest(tmp_path, location=location, accelerator="cpu", out=tmp_path / "again")
    )
    assert found["matches"]
    assert found["runs"][0]["note"] == "diverged at step 2 (lr 1e+37)"
    assert (tmp_path / "again/runs/vanilla/seed-0/record.json").is_file()
    with pytest.raises(UsageError, match="holds a sweep: give another folder with --out"):
        reproduce(RerunRequest(tmp_path, location=location, out=tmp_path))


def broken(name, value):
    def change(results):
        results["runs"][0][name] = value

    return change


@pytest.mark.parametrize(
    ("change", "asked", "error", "told"),
    [
        (None, {}, UsageError, "has the rows 1 vanilla, 2 rrt+fds+ranksim, 3 vanilla+lds"),
        (None, {"row": "9"}, UsageError, "choose one with --row"),
        (None, {"row": "1", "seed": 5}, UsageError, "has the seeds 0, not 5: choose one"),
        (None, {"row": "1", "data": None}, UsageError, "made from homes.csv: give its path with --data"),
        (broken("recipe", {"lr": "fast"}), {"row": "1"}, DataError, "cannot be trained again"),
        (broken("limits", 3), {"row": "1"}, DataError, "does not say how it was trained"),
        (broken("table_sha256", "0" * 16), {"row": "1"}, DataError, "SHA-256 0000000000000000"),
        (lambda r: r.update(summary=[3]), {"row": "1"}, DataError, "is damaged"),
        (lambda r: r.update(runs=[[]]), {"row": "1"}, DataError, "is damaged"),
        (lambda r: r.pop("benchmark"), {"row": "1"}, DataError, "not the results.json of a sweep"),
    ],
)
def test_what_cannot_be_done_is_one_sentence(swept, saved, change, asked, error, told):
    path = saved(*([change] if change else []))
    with pytest.raises(error, match=re.escape(told)) as raised:
        again(path, asked.pop("data", str(swept[0])), **asked)
    assert str(raised.value).count("\n") == 0


def test_what_was_not_recorded_then_is_not_compared():
    then = {"method": "vanilla", "seed": 0, "status": "done", "steps": 7, "seconds": 1.0,
            "data": {"sha256": "a"}, "versions": {"torch": "1"}}  # fmt: skip
    then["metrics"] = {"test": {"all": {"mse": 1.0}}}
    now = then | {"ranks": {}, "seconds": 2.0, "data": {"sha256": "b", "new": 1}}
    now["metrics"] = {"test": {"all": {"mse": 1.0}, "seen": {"mse": 2.0}}}
    found = compare(then, now)
    assert found["matches"]
    assert found["data"] == {"data.sha256": ["a", "b"]}
    assert compare(then, now | {"steps": 8})["differ"] == ["steps"]
    assert compare(then, {k: v for k, v in now.items() if k != "steps"})["differ"] == ["steps"]


@pytest.mark.parametrize("lost", ["status", "metrics"])
def test_a_run_that_says_nothing_is_not_the_same(swept, saved, lost):
    path = saved(lambda results: [run.pop(lost) for run in results["runs"]])
    with pytest.raises(DataError, match=r"lacks what runs came to: make it again\.$"):
        again(path, str(swept[0]), row="1")
