"""Anyone's data, from a file to a decision: every command in the order of a new user."""

import json
import sys

import numpy as np
import pyarrow.parquet as parquet
import pytest

from ranksim.cli import main
from ranksim.data.reading import load_table, read_delimited
from ranksim.data.spec import make_user_spec
from ranksim.data.split_plan import make_split_plan
from tests.helpers import user_data

METHOD = "vanilla+ranksim"


def ranksim(monkeypatch, *words):
    """A command in this process."""
    monkeypatch.setattr(sys, "argv", ["ranksim", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0


def told(monkeypatch, capsys, *words):
    """The one JSON document that a command writes to stdout."""
    capsys.readouterr()
    ranksim(monkeypatch, *words, "--json")
    return json.loads(capsys.readouterr().out)


def predicted(data, kind, folder):
    """Rows of the data that a run of a sweep was tested on, and its predictions of them."""
    plan = make_split_plan(load_table(str(data)), make_user_spec(user_data.OPTIONS[kind]))
    table = parquet.read_table(folder / "predictions.parquet").to_pydict()
    # a forecast is named by the last reading that it sees
    rows = plan.rows if plan.windows is None else plan.windows.ends
    return rows[plan.split.test][table["index"]], table


@pytest.mark.parametrize("kind", user_data.MAKE)
def test_from_a_file_to_a_decision(kind, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    data = user_data.MAKE[kind](tmp_path).relative_to(tmp_path)
    words = user_data.words(kind)
    target = user_data.OPTIONS[kind]["target"]

    seen = told(monkeypatch, capsys, "inspect", data, "--target", target)
    assert seen["target"] == target

    trained = (*words, "--max-epochs", 1)
    asked = ("--methods", f"vanilla,{METHOD}", "--seeds", 2)
    ranksim(monkeypatch, "compare", data, *trained, *asked, "--out", "swept")
    results = json.loads((tmp_path / "swept/results.json").read_text())
    assert [run["status"] for run in results["runs"]] == ["done"] * 4

    fitted = told(monkeypatch, capsys, "fit", data, *trained, "--method", METHOD, "--out", "model")
    of_sweep = next(r for r in results["runs"] if r["method"] == METHOD and r["seed"] == 0)
    assert fitted["metrics"] == of_sweep["result"]["metrics"]  # one engine, two faces
    assert {path.name for path in tmp_path.iterdir()} == {
        *("swept", "runs", "model"),
        data.parts[0],
    }

    made = told(monkeypatch, capsys, "predict", "model", data, "--out", "made.csv")
    rows, there = predicted(data, kind, tmp_path / f"swept/runs/{METHOD}/seed-0")
    table = read_delimited(tmp_path / "made.csv")
    found = dict(zip(map(int, table.column("row")), table.column("prediction"), strict=True))
    again = np.array([float(found[row + 1]) for row in rows])
    np.testing.assert_allclose(again, there["prediction"], rtol=1e-6, atol=1e-6)
    assert made["predictions"] == table.n_rows
    assert sum(made["regions"][name] for name in ("many", "medium", "few")) == table.n_rows

    by_model = told(monkeypatch, capsys, "evaluate", "made.csv", "--model", "model")
    error = np.array([float(e) for e in table.column("error") if e])
    assert by_model["test"]["all"]["mae"] == pytest.approx(np.abs(error).mean())
    low, high = by_model["intervals"]["all"]["mae"]
    assert low < by_model["test"]["all"]["mae"] < high
    own = tmp_path / f"swept/runs/{METHOD}/seed-0/predictions.parquet"
    of_run = told(monkeypatch, capsys, "evaluate", own, "--model", "model")
    for region, scores in of_sweep["result"]["metrics"]["test"].items():
        assert of_run["test"][region] == pytest.approx(scores), region

    ranksim(monkeypatch, "report", "swept")
    assert (tmp_path / "swept/report.html").is_file()


def test_predictions_by_the_training_data_have_the_regions_of_a_comparison(
    tmp_path, monkeypatch, capsys
):
    """The same bins and thresholds: those of the data, counted over the rows to train on."""
    draw = np.random.default_rng(0)
    labels = np.concatenate([draw.integers(0, 12, 400), draw.integers(12, 20, 30)])
    part = draw.choice(["train", "valid", "Test"], 430, p=[0.6, 0.2, 0.2])
    lines = [f"{y},{p}" for y, p in zip(labels, part, strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(["y,part", *lines]))
    held = labels[part == "Test"]
    guess = held + draw.normal(0, 1, len(held))
    lines = [f"{g},{y}" for g, y in zip(guess, held, strict=True)]
    (tmp_path / "theirs.csv").write_text("\n".join(["guess,y", *lines, "3.5,"]))
    monkeypatch.chdir(tmp_path)
    found = told(
        *(monkeypatch, capsys, "evaluate", "theirs.csv", "--train", "data.csv"),
        *("--target", "y", "--split", "part", "--prediction", "guess"),
        *("--bin-width", 2, "--many", 40, "--few", 10, "--region", "top=>=18"),
    )
    counts = np.histogram(labels[part == "train"], np.arange(0, 21, 2))[0]
    assert found["density"]["train"] == counts.tolist()
    assert found["predictions"]["without_label"] == 1
    of = counts[held // 2]
    for name, mask in {
        "many": of > 40,
        "medium": (of >= 10) & (of <= 40),
        "few": of < 10,
        "top": held >= 18,
    }.items():
        assert found["test"][name]["n"] == mask.sum()
        assert found["test"][name]["mae"] == pytest.approx(np.abs(guess - held)[mask].mean())
    assert json.loads((tmp_path / "runs/evaluate/evaluation.json").read_text()) == found


def test_a_fit_that_was_killed_goes_on(tmp_path, monkeypatch, capsys):
    """The training folder stays until the model is there, and no other settings mix with it."""
    from ranksim.inference import fit

    monkeypatch.chdir(tmp_path)
    user_data.table(tmp_path)
    words = ("fit", "homes.csv", *user_data.words("table"), "--method", "rrt", "--out", "model")

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fit, "_write", killed)
        patched.setattr(sys, "argv", ["ranksim", *words, "--max-epochs", "1"])
        with pytest.raises((SystemExit, KeyboardInterrupt)):
            main()
    assert not (tmp_path / "model").exists()
    (started,) = (tmp_path / "model.training").iterdir()
    trained = sorted(started.rglob("record.json"))
    assert len(trained) == 2  # both stages
    ages = [path.stat().st_mtime_ns for path in trained]
    ranksim(monkeypatch, *words, "--max-epochs", "2")  # other settings leave it alone
    assert [path.stat().st_mtime_ns for path in trained] == ages
    with monkeypatch.context() as patched:  # the same ones read what is finished
        patched.setattr("ranksim.experiments.run.fit", killed)
        patched.setattr("ranksim.experiments.run.retrain_head", killed)
        ranksim(patched, *words, "--max-epochs", "1")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "homes.csv"}
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert config["command"].endswith("--set hidden=8 --method rrt --max-epochs 1")
