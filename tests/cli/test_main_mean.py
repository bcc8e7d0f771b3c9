"""Every command says what the mean over all samples is: balanced, as in the data, or else."""

import json
import re

import pytest

from ranksim.evaluation.views import explain_test_set, title_of_all
from ranksim.inference.saved_model import CARD, CONFIG
from tests.helpers import user_data

BARE = re.compile(r"^\W*all(?: {2,}| \|)", re.MULTILINE)  # the first cell of a row
SETS = [
    ("", "balanced", "(balanced by label)"),
    ("--no-balanced", "random", "(labels as in your data)"),
    ("--split-by time --time built --no-balanced", "latest", "(the latest rows)"),
    ("--split-by time --time built", "balanced", "(balanced by label)"),
    ("--split set", "given", "(test set as given)"),
]


@pytest.fixture
def homes(tmp_path, monkeypatch):
    """A table in the current folder, also with a split column."""
    monkeypatch.chdir(tmp_path)
    lines = user_data.write_table(tmp_path).read_text().splitlines()
    parts = ["set", *(("train", "train", "val", "test")[k % 4] for k in range(len(lines)))]
    lines = [f"{line},{part}" for line, part in zip(lines, parts, strict=False)]
    (tmp_path / "split.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "homes.csv"


def choose_file(homes, options):
    return homes.with_name("split.csv") if "--split set" in options else homes


def fit(run_command, homes, options):
    words = ["fit", choose_file(homes, options), "--target", "price", "--method", "linear"]
    outcome = run_command(*words, *options.split(), "--out", "m")
    assert outcome.code == 0, outcome.err
    return outcome.out


def check_text(text, test_set):
    """Check that a text names the mean in its table and explains it."""
    joined = " ".join(text.split())
    assert title_of_all(test_set) in joined
    assert explain_test_set(test_set) in joined
    assert not BARE.search(text)


@pytest.mark.parametrize(("options", "test_set", "phrase"), SETS)
def test_fit_predict_and_evaluate(options, test_set, phrase, run_command, homes, tmp_path):
    check_text(fit(run_command, homes, options), test_set)
    check_text((tmp_path / "m" / CARD).read_text(), test_set)
    assert json.loads((tmp_path / "m" / CONFIG).read_text())["test_set"] == test_set
    outcome = run_command("predict", "m", choose_file(homes, options), "--out", "p.csv")
    # rows that only balance the test set are held out as well, so that it is no longer balanced
    counts = re.search(r"(\d+) held-out samples (\(.*?\))", " ".join(outcome.out.split()))
    n_test = json.loads((tmp_path / "m" / CONFIG).read_text())["data"]["counts"][2]
    is_test = int(counts[1]) == n_test
    assert counts[2] == (phrase if is_test else "(labels as in the file)")
    outcome = run_command("evaluate", "p.csv", "--model", "m", "--out", "e")
    tables = outcome.out.split("with the samples of the training")
    check_text(tables[0], test_set if is_test else "file")
    check_text(tables[1], "file")
    result = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    assert result["test_set"] == "file"
    assert result["held_out"]["test_set"] == (test_set if is_test else "file")


def test_test_rows_alone_are_the_test_set_of_the_model(run_command, homes, tmp_path):
    fit(run_command, homes, "")
    lines = (tmp_path / "m" / "split.csv").read_text().splitlines()
    column = lines[0].split(",").index("split")
    is_test = [line.split(",")[column] == "test" for line in lines[1:]]
    header, *rows = homes.read_text().splitlines()
    chosen = [row for row, wanted in zip(rows, is_test, strict=True) if wanted]
    (tmp_path / "test.csv").write_text("\n".join([header, *chosen]) + "\n")
    outcome = run_command("predict", "m", "test.csv", "--out", "p.csv")
    assert "(balanced by label)" in outcome.out
    check_text(run_command("evaluate", "p.csv", "--model", "m", "--out", "e").out, "balanced")
    # another file with labels, of which the model knows nothing
    (tmp_path / "new.csv").write_text(
        f"{header}\n71.5,flat,1999-01-02,40\n15.5,barn,1998-01-02,9\n"
    )
    outcome = run_command("predict", "m", "new.csv", "--out", "p.csv")
    assert "(labels as in the file)" in outcome.out
    check_text(run_command("evaluate", "p.csv", "--model", "m", "--out", "e").out, "file")
    (tmp_path / "theirs.csv").write_text("prediction,price\n4,5\n9,8\n")
    outcome = run_command(
        "evaluate", "theirs.csv", "--train", homes, "--target", "price", "--out", "e"
    )
    check_text(outcome.out, "file")


@pytest.mark.slow
@pytest.mark.parametrize("options", ["--cross-validate 3", "--cross-validate 3 --no-balanced"])
def test_cross_validation_scores_the_labels_of_the_data(options, run_command, homes, tmp_path):
    check_text(fit(run_command, homes, options), "whole")
    check_text((tmp_path / "m" / CARD).read_text(), "whole")
    outcome = run_command("predict", "m", homes, "--out", "p.csv")
    assert "which is no test" in outcome.out


def test_model_of_an_earlier_version(run_command, homes, tmp_path):
    from ranksim._utils.storage import read_verified_json, with_digest, write_json

    fit(run_command, homes, "")
    config = read_verified_json(tmp_path / "m" / CONFIG)
    del config["test_set"]
    write_json(tmp_path / "m" / CONFIG, with_digest(config))
    run_command("predict", "m", homes, "--out", "p.csv")
    outcome = run_command("evaluate", "p.csv", "--model", "m", "--out", "e")
    assert outcome.code == 0, outcome.err
    assert not BARE.search(outcome.out)


def test_ensemble_says_so_for_members_and_mean(run_command, homes, tmp_path):
    words = ["fit", homes, "--target", "price", "--method", "vanilla", "--ensemble", "2"]
    outcome = run_command(*words, "--set", "hidden=4", "--max-epochs", "2", "--out", "m")
    check_text(outcome.out, "balanced")
    output = " ".join(outcome.out.split())
    assert "over all, balanced" in output
    scores = json.loads((tmp_path / "m" / CONFIG).read_text())["scores"]
    members = json.loads((tmp_path / "m" / CONFIG).read_text())["members"]
    card = (tmp_path / "m" / CARD).read_text()
    for title, entry in [("mean", scores), *((f"seed {k}", members[k]["scores"]) for k in (0, 1))]:
        cells = [f"{entry[part][name]:.2f}" for part in ("val", "test") for name in ("mae",)]
        line = next(line for line in outcome.out.splitlines() if line.strip().startswith(title))
        row = next(line for line in card.splitlines() if line.startswith(f"| {title} |"))
        assert all(cell in line and cell in row for cell in cells)


@pytest.mark.slow
def test_compare_tune_and_reproduce(run_command, homes):
    words = ["--target", "price", "--set", "max_iterations=3", "--accelerator", "cpu"]
    methods = ["--methods", "trees,linear", "--seeds", "1"]
    outcome = run_command("compare", homes, *words, *methods, "--tune", "1", "--out", "c")
    assert outcome.code == 0, outcome.err
    check_text(outcome.out, "balanced")
    output = " ".join(outcome.out.split())
    assert "Scores of runs are means over all test samples (balanced by label)." in output
    assert re.search(r"Best of 1 trial.*: validation MAE [\d.]+ \(balanced by label\)", output)
    options = ["--no-balanced", "--method", "trees", "--trials", "1", "--out", "t"]
    outcome = run_command("tune", "data", homes, *words, *options)
    assert outcome.code == 0, outcome.err
    assert "(labels as in your data) with" in " ".join(outcome.out.split())
    outcome = run_command("reproduce", "c", "--data", homes, "--row", "linear")
    assert outcome.code == 0, outcome.err
    assert not BARE.search(outcome.out)
