"""Comparisons with estimators, transforms, resampling, predictions made elsewhere, ensembles."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from ranksim.data.spec import DataLocation
from ranksim.evaluation.predictions import PREDICTIONS, read_predictions
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.reproduce import ReproduceRequest, reproduce
from ranksim.experiments.sweep_request import choose_methods, run_benchmark
from ranksim.experiments.tune import TuneRequest, tune
from ranksim.inference import load_model
from ranksim.inference.fit import FitRequest, fit_model
from ranksim.training.task_loading import load_plan
from tests.helpers import user_data
from tests.helpers.requests import make_request

TABLE = user_data.OPTIONS[user_data.TABLE]


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    return user_data.write_table(tmp_path_factory.mktemp("homes"), rows=200)


@pytest.fixture(scope="module")
def sweep(homes, tmp_path_factory):
    """The results of networks and estimators, three seeds each, and the request."""
    request = make_request(
        homes,
        tmp_path_factory.mktemp("sweep"),
        options=TABLE,
        methods="vanilla,vanilla+over(log),trees,trees+sqinv,linear,median,trees+smogn",
        seeds="3",
        max_epochs=2,
        changes=("hidden=8",),
    )
    return run_benchmark(request), request


def row_of(results, name):
    return next(row for row in results["summary"] if row["method"] == name)


def read(request, method, seed=0):
    return read_predictions(request.out / "runs" / method / f"seed-{seed}" / PREDICTIONS)


@pytest.mark.parametrize(
    ("method", "words"),
    [("last-value", "it needs --window"), ("trees+smogn", "the rows of a table")],
)
def test_methods_of_other_data_are_refused_before_training(tmp_path, method, words):
    texts = user_data.write_sentences(tmp_path)
    request = make_request(
        texts,
        tmp_path / "out",
        options=user_data.OPTIONS[user_data.SENTENCES],
        methods=f"median,{method}",
    )
    with pytest.raises(UsageError, match=words):
        run_benchmark(request)
    assert not (tmp_path / "out").exists()


def test_methods_without_a_seed_are_fitted_once(sweep):
    results, request = sweep
    once = {row["method"] for row in results["summary"] if row.get("fitted_once")}
    assert once == {"trees", "trees+sqinv", "linear", "median"}
    assert row_of(results, "trees")["seeds"] == [0]
    assert row_of(results, "trees+smogn")["seeds"] == [0, 1, 2]
    assert len(list((request.out / "runs/trees").iterdir())) == 1


def test_a_method_without_a_seed_is_compared_with_every_seed(sweep):
    results, request = sweep
    comparison = row_of(results, "trees")["vs_baseline"]
    assert comparison["seeds"] == [0, 1, 2]
    effect = comparison["test"]["all"]["mae"]
    trees = np.abs(read(request, "trees").errors).mean()
    changes = [trees - np.abs(read(request, "vanilla", k).errors).mean() for k in range(3)]
    assert effect["mean"] == pytest.approx(np.mean(changes))
    assert effect["n"] == 3
    assert effect["ci_adjusted"] is not None


def test_ensemble_scores_the_mean_prediction(sweep):
    results, request = sweep
    runs = [read(request, "vanilla", seed) for seed in range(3)]
    mean = np.mean([run.preds for run in runs], axis=0)
    many = runs[0].regions["many"]
    ensemble = row_of(results, "vanilla")["ensemble"]
    assert ensemble["many"]["mae"] == pytest.approx(np.abs(mean - runs[0].labels)[many].mean())
    assert "ensemble" not in row_of(results, "trees")


def test_median_predicts_the_median_training_label(sweep):
    _, request = sweep
    plan = load_plan(request.source)
    expected = np.median(plan.labels[plan.split.train])
    assert np.allclose(read(request, "median").preds, expected)


def test_rows_are_reproduced_bit_by_bit(sweep, homes):
    _, request = sweep
    for row in ("trees+sqinv", "trees+smogn"):
        again = ReproduceRequest(request.out, row, 0, DataLocation(str(homes)), accelerator="cpu")
        assert [report["matches"] for report in reproduce(again)] == [True]


def test_intervals_of_two_methods_without_a_seed_are_over_samples(homes, tmp_path):
    request = make_request(homes, tmp_path, options=TABLE, methods="trees,linear,median", seeds="3")
    results = run_benchmark(request)
    assert results["baseline"] == "trees"
    effect = row_of(results, "median")["vs_baseline"]["test"]["all"]["mae"]
    assert row_of(results, "median")["vs_baseline"]["fitted_once"]
    assert effect["ci_total"] == effect["ci_samples"]
    low, high = effect["ci_adjusted"]
    assert low <= effect["ci_samples"][0] <= effect["ci_samples"][1] <= high
    assert "median" in results["conclusion"]["regions"]["all"]["worse"]
    assert "seeds" not in results["conclusion"]["sentence"]


class TestExternalPredictions:
    def write(self, request, path, key="line", label="label", shift=1.0, drop=0, shuffle=True):
        plan = load_plan(request.source)
        origin, labels = plan.describe_test(), plan.labels[plan.split.test]
        keys = origin.get(key, range(len(labels)))
        rows = [[k, y + shift, y] for k, y in zip(keys, labels, strict=True)]
        if shuffle:
            np.random.default_rng(0).shuffle(rows)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([[key, "prediction", label], *rows[drop:]])

    def request(self, homes, out, *paths, name=()):
        return make_request(
            homes, out, options=TABLE, methods="median", predictions=tuple(map(str, paths)),
            name=name,
        )  # fmt: skip

    @pytest.mark.parametrize("key", ["line", "row", "index"])
    def test_become_a_row(self, homes, tmp_path, key):
        path = tmp_path / "theirs.csv"
        self.write(self.request(homes, tmp_path), path, key)
        request = self.request(homes, tmp_path / "out", path, name=("their model",))
        results = run_benchmark(request)
        assert row_of(results, "their model")["test"]["all"]["mae"]["mean"] == pytest.approx(1.0)
        assert row_of(results, "their model")["fitted_once"]
        assert json.loads((tmp_path / "out/results.json").read_text())["summary"]

    def test_stay_when_the_folder_is_used_again(self, homes, tmp_path):
        path, out = tmp_path / "theirs.csv", tmp_path / "out"
        self.write(self.request(homes, tmp_path), path)
        for _ in range(2):
            run_benchmark(self.request(homes, out, path, name=("their model",)))
        path.unlink()
        location = DataLocation(str(homes))
        with pytest.raises(UsageError, match="predictions made elsewhere: choose another row"):
            list(reproduce(ReproduceRequest(out, "their model", location=location)))
        request = self.request(homes, out)
        results = run_benchmark(dataclasses.replace(request, methods="linear"))
        assert [row["method"] for row in results["summary"]] == ["linear", "median", "their model"]
        assert row_of(results, "their model")["test"]["all"]["mae"]["mean"] == pytest.approx(1.0)
        other = make_request(homes, out, options={**TABLE, "split_seed": 1}, methods="knn")
        with pytest.raises(UsageError, match="choose another folder with --out"):
            run_benchmark(other)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"drop": 2}, "has no prediction for 2 of"),
            ({"key": "number", "drop": 1}, "add a column line, row or index"),
        ],
    )
    def test_of_another_split_are_rejected(self, homes, tmp_path, change, words):
        path = tmp_path / "theirs.csv"
        self.write(self.request(homes, tmp_path), path, **change)
        with pytest.raises(DataError, match=words):
            run_benchmark(self.request(homes, tmp_path / "out", path))
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("label", ["label", "price"])
    def test_in_another_order_are_rejected_by_their_labels(self, homes, tmp_path, label):
        path = tmp_path / "theirs.csv"
        self.write(self.request(homes, tmp_path), path, key="number", label=label)
        with pytest.raises(DataError, match="other labels than the test set"):
            run_benchmark(self.request(homes, tmp_path / "out", path))

    @pytest.mark.parametrize("name", ["trees", "a/b", "", ".."])
    def test_unusable_names_are_rejected(self, homes, tmp_path, name):
        path = tmp_path / "theirs.csv"
        self.write(self.request(homes, tmp_path), path)
        with pytest.raises(UsageError, match="cannot name a row"):
            run_benchmark(self.request(homes, tmp_path / "out", path, name=(name,)))


def test_default_methods_suit_the_data(homes, tmp_path):
    request = make_request(homes, tmp_path, options=TABLE)
    assert choose_methods(request.source).split(",") == [
        *("vanilla", "sqinv", "rrt", "vanilla+ranksim"),
        *("trees", "trees+sqinv", "trees(log)", "linear", "median"),
    ]
    lines = homes.read_text().splitlines()
    path = tmp_path / "zero.csv"
    path.write_text("\n".join([*lines, "50.0,flat,2020-01-01,0"]) + "\n")
    request = make_request(path, tmp_path, options=TABLE)
    assert "trees(yeo-johnson)" in choose_methods(request.source)
    series = user_data.write_series(tmp_path)
    request = make_request(series, tmp_path, options=user_data.OPTIONS[user_data.SERIES])
    assert choose_methods(request.source).endswith(",linear,median,last-value")


def test_changes_that_no_method_uses_are_rejected(homes, tmp_path):
    values = {"options": TABLE, "changes": ("max_leaves=5",)}
    with pytest.raises(UsageError, match="max_leaves changes only estimators"):
        run_benchmark(make_request(homes, tmp_path / "out", **values))
    values["changes"] = ("hidden=5",)
    with pytest.raises(UsageError, match="hidden changes only networks"):
        run_benchmark(make_request(homes, tmp_path / "out", methods="trees", **values))


def test_trees_are_tuned(homes, tmp_path):
    request = make_request(homes, tmp_path, options=TABLE, methods="trees+inv")
    result = tune(TuneRequest(request, 3), lambda line: None)
    assert set(result.values) == {"learning_rate", "max_leaves", "min_samples_leaf", "l2"}
    assert isinstance(result.values["max_leaves"], int)


@pytest.mark.parametrize("method", ["trees+average+inv(log)", "vanilla(quantile)", "smoter"])
def test_saved_models_predict_as_the_run_did(homes, tmp_path, method):
    request = make_request(
        homes, tmp_path / "model", options=TABLE, max_epochs=2,
        changes=("hidden=8",) if "trees" not in method else (),
    )  # fmt: skip
    result = fit_model(FitRequest(request, method, 0))
    model = load_model(tmp_path / "model")
    predictions = model.predict(str(homes))
    is_test = np.array(predictions.origin["part"]) == "test"
    mae = np.abs(predictions.errors)[is_test].mean()
    assert mae == pytest.approx(result["metrics"]["test"]["all"]["mae"], rel=1e-5)
    request = dataclasses.replace(request, changes=())
    fit_model(FitRequest(request, "median", 0))  # replaces the model
    assert len(set(load_model(tmp_path / "model").predict(str(homes)).preds)) == 1


@pytest.mark.parametrize(
    ("kind", "write", "method"),
    [
        (user_data.SENTENCES, user_data.write_sentences, "linear"),
        (user_data.PICTURES, user_data.write_pictures, "trees"),
        (user_data.SERIES, user_data.write_series, "last-value"),
        (user_data.SERIES, user_data.write_series, "trees+inv"),
    ],
)
def test_estimators_read_every_kind_of_data(tmp_path, monkeypatch, kind, write, method):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))
    data = write(tmp_path)
    size = {"image_size": 16} if kind == user_data.PICTURES else {}
    request = make_request(data, tmp_path / "model", options=user_data.OPTIONS[kind], **size)
    result = fit_model(FitRequest(request, method, 0))
    predictions = load_model(tmp_path / "model").predict(str(data))
    parts = predictions.origin.get("part")
    errors = np.abs(predictions.errors)[np.array(parts) == "test"]
    assert errors.mean() == pytest.approx(result["metrics"]["test"]["all"]["mae"], rel=1e-5)
