"""Models of the Python interface: predictions and scores of the commands, and their files."""

import inspect
import json

import numpy as np
import pandas as pd
import pytest
import torch
from matplotlib import pyplot

import ranksim
from ranksim.api.options import DEFAULT_METHOD
from ranksim.cli import main
from ranksim.exceptions import DataError, StoppedError, UsageError
from ranksim.experiments import run as runs
from ranksim.sklearn import RankSimRegressor
from tests.helpers.api import QUIET, SMALL
from tests.helpers.errors import raises_with


@pytest.fixture(scope="module")
def model(homes_file):
    """A model of trees."""
    return ranksim.fit(pd.read_csv(homes_file), method="trees", **QUIET)


def run_main(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["ranksim", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code


def test_predictions_and_scores_equal_those_of_the_commands(
    model, homes, homes_file, tmp_path, monkeypatch
):
    folder = tmp_path / "model"
    words = ["--target", "price", "--method", "trees", "--out", folder]
    run_main(monkeypatch, "fit", homes_file, *words)
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["test"] == model.metrics["test"]
    preds = tmp_path / "preds.parquet"
    run_main(monkeypatch, "predict", folder, homes_file, "--out", preds)
    table = pd.read_parquet(preds)
    ours = model.predict(homes)
    assert ours.preds.tolist() == table["prediction"].tolist()
    assert ours.to_frame()["region"].tolist() == table["region"].tolist()
    run_main(monkeypatch, "evaluate", preds, "--model", folder, "--out", tmp_path)
    command = json.loads((tmp_path / "evaluation.json").read_text())
    evaluation = model.evaluate(homes)
    for name in ("test", "intervals", "held_out"):
        assert json.loads(json.dumps(evaluation.content[name])) == command[name]


def test_evaluation_scores_held_out_samples_first(model, homes):
    evaluation = model.evaluate(homes)
    assert evaluation.scores["all"]["n"] < len(homes)
    assert evaluation.scores["all"]["mae"] == pytest.approx(model.metrics["test"]["all"]["mae"])
    page = evaluation._repr_html_() + model._repr_html_()
    assert page.count("all, balanced") == 2
    assert ">all<" not in page
    assert "balanced by label)" in model.conclusion
    frame = evaluation.to_frame().set_index("region")
    low, high = frame.loc["all", ["mae_low", "mae_high"]]
    assert low < frame.loc["all", "mae"] < high
    new = homes.assign(size=homes["size"].fillna(1.0) + 0.01)
    evaluation = model.evaluate(new)
    assert evaluation.scores["all"]["n"] == len(homes)
    errors = np.abs(model.predict(new).preds - homes["price"])
    assert evaluation.scores["all"]["mae"] == pytest.approx(errors.mean())
    assert f"MAE {errors.mean():.4g} on these samples (120, labels as in the file)" in (
        evaluation.conclusion
    )
    assert "<table" in evaluation._repr_html_()
    assert evaluation.to_html().startswith("<!DOCTYPE html>")


def test_labels_are_a_column_or_an_argument(model, homes):
    inputs, labels = homes.drop(columns="price"), homes["price"].to_numpy()
    assert model.evaluate(inputs, labels).content == model.evaluate(homes).content
    with raises_with(DataError, "no label in column 'price'", "predict does not"):
        model.evaluate(inputs)
    with raises_with(UsageError, "one label per row"):
        model.evaluate(inputs, labels[1:])
    with raises_with(DataError, "has no column 'size'"):
        model.predict(homes[["kind", "built"]])


def test_plots_draw_on_given_axes(model, homes):
    evaluation = model.evaluate(homes)
    for plot in (model.plot_labels, evaluation.plot_errors):
        _, axis = pyplot.subplots()
        assert plot(axis) is axis
        assert plot() is not axis
    heights = [bar.get_height() for bar in model.plot_labels().patches]
    assert sum(heights) == model.regions.counts.sum()
    x, y = evaluation.plot_errors().lines[0].get_data()
    total = np.abs(model.predict(homes).preds - homes["price"]).sum()
    assert len(x) > 1
    assert y.max() * len(homes) >= total


def test_saved_model_is_loaded(model, homes, tmp_path):
    folder = model.save(tmp_path / "copy")
    loaded = ranksim.Model.load(folder)
    assert loaded.predict(homes).preds.tolist() == model.predict(homes).preds.tolist()
    assert repr(loaded) == repr(model)
    assert repr(model).startswith("Model(trees, target price: MAE ")
    assert loaded.card.startswith("# ")
    assert loaded.to_frame().equals(model.to_frame())
    assert "trees on DataFrame" in model._repr_html_()
    with raises_with(UsageError, "not an empty folder"):
        model.save(folder)
    with raises_with(DataError, "does not exist"):
        ranksim.Model.load(tmp_path / "none")


def test_temporary_model_lives_as_long_as_the_object(homes):
    model = ranksim.fit(homes, method="linear", **QUIET)
    folder = model.path
    assert (folder / "config.json").is_file()
    del model
    assert not folder.exists()


def test_ctrl_c_resumes(homes, tmp_path, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    arguments = {"target": "price", "method": "vanilla", **SMALL}
    with monkeypatch.context() as patch:
        patch.setattr(runs, "_train_and_record", interrupt)
        with raises_with(StoppedError, "run the same call again"):
            ranksim.fit(homes, out=tmp_path / "model", **arguments)
        with raises_with(StoppedError, "out='", "until Python exits"):
            ranksim.fit(homes, **arguments)
    first = ranksim.fit(homes, out=tmp_path / "model", **arguments)
    assert first.path == tmp_path / "model"
    other = ranksim.fit(homes, **arguments)
    assert first.predict(homes).preds.tolist() == other.predict(homes).preds.tolist()
    torch.testing.assert_close(dict(first.weights), dict(other.weights), rtol=0, atol=0)


def test_arrays(homes):
    array = homes[["size"]].fillna(0).to_numpy()
    model = ranksim.fit(array, homes["price"].to_numpy(), method="trees", progress=False)
    assert model.target == "y"
    assert model.predict(array).preds.tolist() == model.predict({"x0": array[:, 0]}).preds.tolist()
    assert model.evaluate(array, homes["price"]).scores["all"]["mae"] > 0


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({"methods": ["inv"]}, ["fit() has no argument 'methods'", "did you mean method"]),
        ({"method": ["inv"]}, ["method= takes one name"]),
        ({"seed": -1}, ["seed= takes a number of at least 0"]),
        ({"seed": "1"}, ["seed= takes a whole number", "'1'"]),
        ({"ensemble": 2, "method": "median"}, ["ensemble= averages models", "median"]),
        ({"refit": True, "cross_validate": 3}, ["refit= has no effect together with"]),
    ],
)
def test_misuse_gives_one_sentence(homes, arguments, facts):
    with raises_with((DataError, UsageError), *facts):
        ranksim.fit(homes, **QUIET, **arguments)


def test_default_methods_are_the_same(monkeypatch, capsys):
    for each in (ranksim.fit, RankSimRegressor):
        assert inspect.signature(each).parameters["method"].default == DEFAULT_METHOD
    run_main(monkeypatch, "fit", "--help")
    assert f"[default: {DEFAULT_METHOD}]" in " ".join(capsys.readouterr().out.split())
