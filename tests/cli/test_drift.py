"""``ranksim drift``: tables, JSON, exit status and errors."""

import json

import pytest

from tests.helpers.drift_data import draw_homes, fit_linear


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a model and new data."""
    root = tmp_path_factory.mktemp("drift")
    draw_homes(0).to_csv(root / "homes.csv", index=False)
    fit_linear(root / "homes.csv", root / "model", interval=0.9)
    draw_homes(1).to_csv(root / "same.csv", index=False)
    draw_homes(2, growth=0.8).drop(columns="price").to_csv(root / "moved.csv", index=False)
    draw_homes(3, kind="castle").to_csv(root / "castles.csv", index=False)
    (root / "bad.csv").write_text("kind,built\nflat,2001-01-01\n")
    return root


def test_tables_end_with_the_conclusion(folder, run_command):
    outcome = run_command("drift", folder / "model", folder / "same.csv")
    assert outcome.code == 0, outcome.err
    assert not outcome.err
    for text in ("Shares of predictions", "Shares of labels", "MAE by region", "Coverage of 90"):
        assert text in outcome.out
    assert outcome.out.splitlines()[-1].endswith("Keep the model.")
    outcome = run_command("drift", folder / "model", folder / "moved.csv")
    assert outcome.code == 0
    assert "1 of 3 inputs moved (column size: median" in outcome.out
    assert "MAE by region" not in outcome.out


def test_json_is_alone_on_stdout(folder, run_command):
    outcome = run_command("drift", folder / "model", folder / "moved.csv", "--json")
    content = json.loads(outcome.out)
    assert content["verdict"] == "inputs moved"
    assert content["conclusion"] in outcome.err
    assert content["inputs"][0]["name"] == "size"


@pytest.mark.parametrize(("name", "code"), [("same", 0), ("moved", 1)])
def test_strict_tells_by_its_exit_status(name, code, folder, run_command):
    outcome = run_command("drift", folder / "model", folder / f"{name}.csv", "--strict", "--json")
    assert outcome.code == code
    assert json.loads(outcome.out)["samples"] == 900


def test_misuse_is_one_sentence(folder, check_error, run_command):
    check_error(["drift", folder / "nowhere", folder / "same.csv"], 1, "does not exist")
    check_error(["drift", folder / "model", folder / "none.csv"], 1, "none.csv")
    check_error(["drift", folder / "model", folder / "bad.csv"], 1, "size")
    outcome = run_command("drift", folder / "model", folder / "castles.csv", "--strict")
    assert outcome.code == 1
    assert outcome.err.startswith("Error: ")
    assert "are not in the training data" in outcome.err
    assert "Shares of predictions" in outcome.out  # what moved is not hidden by the warning
