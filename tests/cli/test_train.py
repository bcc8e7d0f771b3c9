"""User data from a file to a decision: every command in the order of a new user."""

import json

import numpy as np
import pyarrow.parquet as parquet
import pytest

from ranksim.data.reading import load_table, read_delimited
from ranksim.data.spec import make_user_spec
from ranksim.user_data.split_plan import make_split_plan
from tests.helpers import user_data

METHOD = "vanilla+ranksim"
OTHERS = [kind for kind in user_data.WRITERS if kind != user_data.TABLE]


@pytest.fixture
def run(run_command):
    """Return a function that runs a command which must succeed."""

    def run(*words):
        outcome = run_command(*words)
        assert outcome.code == 0, outcome.err
        return outcome

    return run


@pytest.fixture
def run_json(run):
    """Return a function that runs a command and reads its JSON."""
    return lambda *words: json.loads(run(*words, "--json").out)


def read_predictions(data, kind, folder):
    """Return the data rows that a run was tested on, and its table of predictions."""
    plan = make_split_plan(load_table(str(data)), make_user_spec(user_data.OPTIONS[kind]))
    table = parquet.read_table(folder / "predictions.parquet").to_pydict()
    # a forecast is named by the last reading of its window
    rows = plan.rows if plan.windows is None else plan.windows.ends
    return rows[plan.split.test][table["index"]], table


@pytest.mark.parametrize(
    "kind", [user_data.TABLE, *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS)]
)
def test_all_commands_agree(kind, tmp_path, monkeypatch, run, run_json):
    monkeypatch.chdir(tmp_path)
    data = user_data.WRITERS[kind](tmp_path).relative_to(tmp_path)
    target = user_data.OPTIONS[kind]["target"]
    assert run_json("inspect", data, "--target", target)["target"] == target

    training = (*user_data.cli_options(kind), "--max-epochs", 1)
    sweep = ("--methods", f"vanilla,{METHOD}", "--seeds", 1, "--out", "sweep")
    output = run("compare", data, *training, *sweep)
    assert "Results: sweep/results.json" in output.out
    results = json.loads((tmp_path / "sweep/results.json").read_text())
    assert [record["status"] for record in results["runs"]] == ["done"] * 2
    record = next(r["result"] for r in results["runs"] if r["identity"]["method"] == METHOD)

    fitted = run_json("fit", data, *training, "--method", METHOD, "--out", "model")
    assert fitted["metrics"] == record["metrics"]
    names = {"sweep", "runs", "model", data.parts[0]}
    assert {path.name for path in tmp_path.iterdir()} == names

    split_file = (tmp_path / "sweep/split.csv").read_text()
    assert split_file == (tmp_path / "model/split.csv").read_text()
    predicted = run_json("predict", "model", data, "--out", "predicted.csv")
    folder = tmp_path / f"sweep/runs/{METHOD}/seed-0"
    rows, of_run = read_predictions(data, kind, folder)
    values = load_table(str(data)).column(target)
    assert [float(values[row - 1]) for row in of_run["row"]] == of_run["label"]
    table = read_delimited(tmp_path / "predicted.csv")
    is_test = np.array(table.column("part")) == "test"
    test_error = np.abs([float(e or "nan") for e in table.column("error")])[is_test]
    assert test_error.mean() == pytest.approx(fitted["metrics"]["test"]["all"]["mae"])
    by_row = dict(zip(map(int, table.column("row")), table.column("prediction"), strict=True))
    preds = np.array([float(by_row[row + 1]) for row in rows])
    np.testing.assert_allclose(preds, of_run["prediction"], rtol=1e-6, atol=1e-6)
    assert predicted["predictions"] == table.n_rows
    regions = predicted["regions"]
    assert sum(regions[name] for name in ("many", "medium", "few")) == table.n_rows

    scores = run_json("evaluate", "predicted.csv", "--model", "model")
    error = np.array([float(e) for e in table.column("error") if e])
    assert scores["test"]["all"]["mae"] == pytest.approx(np.abs(error).mean())
    low, high = scores["intervals"]["all"]["mae"]
    assert low < scores["test"]["all"]["mae"] < high
    scores = run_json("evaluate", folder / "predictions.parquet", "--model", "model")
    for region, expected in record["metrics"]["test"].items():
        expected.pop("sera", None)  # a model has no training labels
        assert scores["test"][region] == pytest.approx(expected), region

    run("report", "sweep")
    assert (tmp_path / "sweep/report.html").is_file()


def test_the_command_after_predictions_quotes_paths(tmp_path, monkeypatch, run):
    user_data.write_table(tmp_path)
    monkeypatch.chdir(tmp_path)
    run("fit", "homes.csv", "--target", "price", "--method", "median", "--out", "my model")
    output = run("predict", "my model", "homes.csv", "--out", "a b.csv").out
    assert "ranksim evaluate 'a b.csv' --model 'my model'" in output


def test_regions_of_predictions_follow_the_training_labels(tmp_path, monkeypatch, run_json):
    draw = np.random.default_rng(0)
    labels = np.concatenate([draw.integers(0, 12, 400), draw.integers(12, 20, 30)])
    part = draw.choice(["train", "valid", "Test"], 430, p=[0.6, 0.2, 0.2])
    lines = [f"{y},{p}" for y, p in zip(labels, part, strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(["y,part", *lines]))
    test = labels[part == "Test"]
    preds = test + draw.normal(0, 1, len(test))
    lines = [f"{p},{y}" for p, y in zip(preds, test, strict=True)]
    (tmp_path / "preds.csv").write_text("\n".join(["guess,y", *lines, "3.5,"]))
    monkeypatch.chdir(tmp_path)
    result = run_json(
        *("evaluate", "preds.csv", "--train", "data.csv"),
        *("--target", "y", "--split", "part", "--prediction", "guess"),
        *("--bin-width", 2, "--many", 40, "--few", 10, "--region", "top=>=18"),
    )
    counts = np.histogram(labels[part == "train"], np.arange(0, 21, 2))[0]
    assert result["density"]["train"] == counts.tolist()
    assert result["predictions"]["without_label"] == 1
    density = counts[test // 2]
    for name, mask in {
        "many": density > 40,
        "medium": (density >= 10) & (density <= 40),
        "few": density < 10,
        "top": test >= 18,
    }.items():
        assert result["test"][name]["n"] == mask.sum()
        assert result["test"][name]["mae"] == pytest.approx(np.abs(preds - test)[mask].mean())
    assert json.loads((tmp_path / "runs/evaluate/evaluation.json").read_text()) == result


@pytest.mark.slow
def test_interrupted_fit_resumes(tmp_path, monkeypatch, run, run_command):
    """The training folder stays until the model is written; other settings leave it alone."""
    from ranksim.inference import fit

    monkeypatch.chdir(tmp_path)
    user_data.write_table(tmp_path)
    words = (
        "fit",
        "homes.csv",
        *user_data.cli_options("table"),
        "--method",
        "rrt",
        "--out",
        "model",
    )

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(fit, "_write_model", interrupt)
        assert run_command(*words, "--max-epochs", "1").code == 130
    assert not (tmp_path / "model").exists()
    (training,) = (tmp_path / "model.training").iterdir()
    records = sorted(training.rglob("record.json"))
    assert len(records) == 2  # both stages
    times = [path.stat().st_mtime_ns for path in records]
    run(*words, "--max-epochs", "2")
    assert [path.stat().st_mtime_ns for path in records] == times
    with monkeypatch.context() as patched:  # the same settings only read finished runs
        patched.setattr("ranksim.experiments.run.fit", interrupt)
        patched.setattr("ranksim.experiments.run.retrain_head", interrupt)
        run(*words, "--max-epochs", "1")
    assert {path.name for path in tmp_path.iterdir()} == {"model", "homes.csv"}
    config = json.loads((tmp_path / "model/config.json").read_text())
    assert config["command"].endswith("--set hidden=8 --method rrt --max-epochs 1")


def test_labels_that_stand_for_missing_ones_are_not_scored(tmp_path, monkeypatch, run_json):
    monkeypatch.chdir(tmp_path)
    labels = [k % 7 for k in range(60)] + [-200] * 6
    rows = [f"{label},{label + 1 if label >= 0 else 30}\n" for label in labels]
    (tmp_path / "train.csv").write_text("y,x\n" + "".join(rows))
    (tmp_path / "theirs.csv").write_text("label,prediction\n" + "".join(rows))
    words = ("evaluate", tmp_path / "theirs.csv", "--train", tmp_path / "train.csv")
    scores = run_json(*words, "--target", "y", "--missing-target", "-200")
    assert scores["test"]["all"]["mae"] == 1.0
    assert (scores["predictions"]["samples"], scores["predictions"]["without_label"]) == (60, 6)


def test_scores_for_rare_labels_are_printed(tmp_path, monkeypatch, run_json, run_command):
    monkeypatch.chdir(tmp_path)
    labels = [0.0] * 30 + [1.0] * 10 + [9.0]
    rows = [(y, y + 0.5 if y < 9 else 4.0) for y in labels]
    (tmp_path / "train.csv").write_text("y\n" + "".join(f"{y}\n" for y in labels))
    text = "".join(f"{y},{pred}\n" for y, pred in rows)
    (tmp_path / "theirs.csv").write_text("label,prediction\n" + text)
    words = ("evaluate", "theirs.csv", "--train", "train.csv", "--target", "y", "--bin-width", "1")
    scores = run_json(*words)["test"]["all"]
    assert scores["balanced_mae"] == pytest.approx((0.5 + 0.5 + 5) / 3)
    assert scores["balanced_mse"] == pytest.approx((0.25 + 0.25 + 25) / 3)
    out = run_command(*words).out
    assert "2.00" in next(line for line in out.splitlines() if "balanced bins" in line)
    assert f"Over all samples: balanced MSE 8.500, CCC {scores['ccc']:.3f}." in out
    wrong = run_command("compare", "train.csv", "--target", "y", "--metrics", "mae,r2")
    assert (wrong.code, "--metrics takes some of mse, pearson" in wrong.err) == (2, True)


def test_chosen_scores_are_printed_and_the_card_has_the_mean_over_bins(
    tmp_path, monkeypatch, run_json, run_command
):
    monkeypatch.chdir(tmp_path)
    rows = [f"{k % 10},{k % 7},{(k % 10) ** 2}\n" for k in range(200)]
    (tmp_path / "data.csv").write_text("a,b,y\n" + "".join(rows))
    words = ("data.csv", "--target", "y", "--bin-width", "10")
    outcome = run_command(
        "compare", *words, "--methods", "linear,median", "--metrics", "ccc,sera", "--out", "out"
    )
    assert outcome.code == 0, outcome.err
    assert all(text in outcome.out for text in ("CCC, higher is", "SERA per sample, lower is"))
    assert "Pearson, %" not in outcome.out
    fitted = run_json("fit", *words, "--method", "linear", "--out", "model")
    overall = fitted["metrics"]["test"]["all"]
    assert overall["balanced_mae"] > 0
    card = (tmp_path / "model" / "README.md").read_text()
    (line,) = [each for each in card.splitlines() if each.startswith("| balanced bins")]
    assert f" {overall['balanced_mae']:.2f} " in line


def test_detection_of_rare_labels_is_scored(tmp_path, monkeypatch, run_json, run_command):
    monkeypatch.chdir(tmp_path)
    rows = [(k % 40, (k % 40) * 0.9) for k in range(200)]
    (tmp_path / "train.csv").write_text("y\n" + "".join(f"{y}\n" for y, _ in rows))
    text = "".join(f"{y},{pred}\n" for y, pred in rows)
    (tmp_path / "theirs.csv").write_text("label,prediction\n" + text)
    words = ("evaluate", "theirs.csv", "--train", "train.csv", "--target", "y")
    assert "detection" not in run_json(*words)
    scores = run_json(*words, "--rare", ">29")["detection"]
    assert (scores["range"], scores["samples"], scores["rare"]) == (">29", 200, 50)
    assert (scores["precision"], scores["recall"]) == (1.0, 35 / 50)
    assert (scores["pr_auc"], scores["enrichment_10"]) == (1.0, 4.0)
    outcome = run_command(*words, "--rare", ">29")
    assert "Labels >29: 50 of 200 samples; precision 100.0 %, recall 70.0 %" in outcome.out
    assert "4.0 times in the top 10 %" in outcome.out
    assert "No label >99 in column label" in run_command(*words, "--rare", ">99").out
    wrong = run_command(*words, "--rare", "high")
    assert (wrong.code, "--rare takes one range of labels" in wrong.err) == (2, True)
