"""Means of the plain and a modified network: rows, records, saved models, refusals."""

import dataclasses
from unittest import mock

import numpy as np
import pytest
import torch
from sklearn.base import clone

from ranksim._utils.storage import read_arrays
from ranksim.evaluation import diagnostics
from ranksim.evaluation.families import NETWORK, choose_pairs, find_family, find_plain
from ranksim.evaluation.predictions import PREDICTIONS, read_predictions
from ranksim.evaluation.record import RECORD, read_record
from ranksim.evaluation.summary import describe_failure
from ranksim.exceptions import RankSimError, UsageError
from ranksim.experiments import sweep_request
from ranksim.experiments.reproduce import ReproduceRequest, reproduce
from ranksim.experiments.run import VALIDATION
from ranksim.experiments.search_space import TuneRequest
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.experiments.tuned_sweep import _order_stages
from ranksim.inference import load_model
from ranksim.inference.fit import fit_model
from ranksim.inference.fit_request import FitRequest
from ranksim.metrics import regression_scores
from ranksim.sklearn import RankSimRegressor
from ranksim.training.method import (
    Technique,
    average_members,
    describe_method,
    find_averaged,
    first_stage,
    parse_method,
    without_ranksim,
)
from ranksim.training.module import RegressionModule
from tests.helpers import user_data
from tests.helpers.requests import make_request

NAMES = {  # key, keys of the members
    "average+sqinv": ("average+sqinv", "vanilla", "sqinv"),
    "sqinv+average+ranksim": ("average+sqinv+ranksim", "vanilla", "sqinv+ranksim"),
    "average+ranksim": ("average+ranksim", "vanilla", "vanilla+ranksim"),
    "average+lds": ("average+inv+lds", "vanilla", "inv+lds"),
    "average+rrt+fds": ("average+rrt+fds", "vanilla", "rrt+fds"),
    "average+focal-r": ("average+focal-r", "vanilla", "focal-r"),
    "average+uvote(log)": ("average+uvote(log)", "vanilla(log)", "vanilla+uvote(log)"),
    "average+smogn": ("average+smogn", "vanilla", "vanilla+smogn"),
    "rnc+average": ("average+rnc", "vanilla", "vanilla+rnc"),
}
METHODS = ("average+sqinv", "average+rrt(log)", "average+uvote+ranksim")


@pytest.mark.parametrize("text", NAMES)
def test_names_and_members(text):
    key, *members = NAMES[text]
    method = parse_method(text, "inverse")
    assert method.key == key
    assert method.technique.average
    again = parse_method(key, "inverse")
    assert (again.key, again.technique) == (method.key, method.technique)
    networks = average_members(method)
    assert [each.key for each in networks] == members == list(find_averaged(key))
    assert list(networks) == [
        dataclasses.replace(parse_method(each, "inverse"), name=each) for each in members
    ]
    assert first_stage(method) is None
    assert find_family(key) == NETWORK
    assert find_plain(key) is None
    descriptions = [describe_method(each, "mse") for each in networks]
    assert describe_method(method, "mse") == f"mean of {' and '.join(descriptions)}"
    assert not average_members(networks[1])
    assert Technique(**method.technique.to_dict()) == method.technique


@pytest.mark.parametrize("text", ["average", "average+vanilla", "average(log)"])
def test_a_mean_needs_another_network(text):
    with pytest.raises(UsageError, match=r"name what that one has, as in average\+sqinv"):
        parse_method(text, "inverse")


def test_estimators_keep_their_averages():
    method = parse_method("trees+average+inv", "inverse")
    assert (method.key, average_members(method)) == ("trees+average+inv", ())
    with pytest.raises(UsageError, match="averages a plain and a weighted estimator"):
        parse_method("trees+average", "inverse")


def test_partners_in_comparisons():
    assert without_ranksim("average+sqinv+ranksim") == "average+sqinv"
    assert without_ranksim("average+ranksim") is None
    rows = [{"method": name, "seeds": [0]} for name in ("vanilla", "sqinv", "average+sqinv")]
    pairs = choose_pairs(rows, [], "mae", "vanilla")
    assert ("sqinv", "average+sqinv") in pairs


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    return user_data.write_table(tmp_path_factory.mktemp("homes"))


def make(homes, out, methods, **more):
    settings = {"max_epochs": 2, "changes": ("hidden=4", "batch_size=32")} | more
    options = user_data.OPTIONS[user_data.TABLE]
    return make_request(homes, out, options=options, methods=",".join(methods), **settings)


@pytest.fixture(scope="module")
def sweep(homes, tmp_path_factory):
    request = make(homes, tmp_path_factory.mktemp("sweep"), METHODS, seeds="2", jobs=1)
    with (
        mock.patch.object(diagnostics, "_tsne", lambda features, points: points),
        mock.patch.object(sweep_request, "write_page", lambda results, out: out),
    ):
        return run_benchmark(request), request


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_row_is_the_mean_of_its_members(sweep, name):
    results, request = sweep
    runs = request.out / "runs"
    for seed in (0, 1):
        folders = [runs / key / f"seed-{seed}" for key in (name, *find_averaged(name))]
        tables = [read_predictions(folder / PREDICTIONS) for folder in folders]
        mean = np.mean([each.preds for each in tables[1:]], axis=0)
        assert np.array_equal(tables[0].preds, mean)
        assert np.array_equal(tables[0].rows, tables[1].rows)
        assert tables[0].distribution is None
        record = read_record(folders[0])
        expected = regression_scores(torch.from_numpy(mean), torch.tensor(tables[0].labels))
        assert expected.items() <= record["result"]["metrics"]["test"]["all"].items()
        members = record["identity"]["members"]
        assert [each["method"] for each in members] == list(find_averaged(name))
        assert [each["seed"] for each in members] == [seed, seed]
        assert members == [read_record(folder)["identity"] for folder in folders[1:]]
        val = [read_arrays(folder / VALIDATION)["preds"] for folder in folders]
        assert np.array_equal(val[0], np.mean(val[1:], axis=0))
        assert record["result"]["metrics"]["val"]["all"]["n"] == len(val[0])
    rows = {row["method"]: row for row in results["summary"]}
    assert np.isfinite(rows[name]["test"]["all"]["mae"]["mean"])
    assert {*find_averaged(name)} <= {*rows}


def test_members_are_trained_once(sweep, homes):
    _, request = sweep
    times = {path: path.stat().st_mtime_ns for path in request.out.glob(f"runs/*/*/{RECORD}")}
    run_benchmark(dataclasses.replace(request, methods="average+sqinv,vanilla"))
    again = {path: path.stat().st_mtime_ns for path in request.out.glob(f"runs/*/*/{RECORD}")}
    assert again == times
    other = dataclasses.replace(request, methods="average+sqinv", changes=("hidden=5",))
    with pytest.raises(UsageError, match="choose another folder with --out"):
        run_benchmark(other)


@pytest.mark.parametrize("method", METHODS)
def test_record_is_reproduced(sweep, homes, tmp_path, method):
    _, request = sweep
    results, location = request.out / "results.json", request.source.location
    (outcome,) = reproduce(
        ReproduceRequest(results, method, 1, location=location, accelerator="cpu", out=tmp_path)
    )
    assert outcome["matches"], outcome


def test_member_without_validation_predictions_is_named(homes, tmp_path):
    request = make(homes, tmp_path / "runs", ["vanilla", "sqinv"])
    run_benchmark(request)
    (request.out / "runs/sqinv/seed-0" / VALIDATION).unlink()
    with pytest.raises(RankSimError, match=r"average\+sqinv seed 0 needs the predictions of sqinv"):
        run_benchmark(dataclasses.replace(request, methods="average+sqinv"))


def test_diverged_member_is_named(homes, tmp_path, monkeypatch):
    plain = RegressionModule.compute_loss

    def compute_loss(self, batch, epoch):
        loss, term = plain(self, batch, epoch)
        return loss * (float("nan") if self.sample_weight is not None else 1.0), term

    monkeypatch.setattr(RegressionModule, "compute_loss", compute_loss)
    results = run_benchmark(make(homes, tmp_path, ["average+sqinv", "vanilla"]))
    runs = {run["identity"]["method"]: run for run in results["runs"]}
    failed = runs["average+sqinv"]
    assert (runs["vanilla"]["status"], failed["status"]) == ("done", "failed")
    assert failed["result"]["error"].startswith("Member, sqinv seed 0: Training diverged at step 1")
    assert describe_failure(failed).startswith("diverged in sqinv seed 0 at step 1 (lr ")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "options"),
    [
        ("average+sqinv", {}),
        ("average+uvote(log)", {"ensemble": 2}),
        ("average+rrt", {"refit": True}),
        ("average+gaussian", {"cross_validate": 2}),
    ],
)
def test_saved_model_predicts_the_mean(homes, tmp_path, method, options):
    bench = make(homes, tmp_path / "model", ["vanilla"])
    result = fit_model(FitRequest(bench, method, 0, **options))
    model = load_model(tmp_path / "model")
    count = options.get("ensemble", 1)
    assert [each["method"] for each in model.config["members"]] == [*find_averaged(method)] * count
    assert [each["seed"] for each in model.config["members"]] == sorted([*range(count)] * 2)
    predictions = model.predict(str(homes))
    alone = [
        dataclasses.replace(model, members=(each,)).predict(str(homes)) for each in model.members
    ]
    mean = np.mean([each.preds for each in alone], axis=0)
    np.testing.assert_allclose(predictions.preds, mean, rtol=1e-12)
    assert predictions.distribution is None
    assert (alone[1].distribution is None) == (method in ("average+sqinv", "average+rrt"))
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    plain, other = find_averaged(method)
    assert f"the mean of {2 * count} members (`{plain}` and `{other}`)" in card
    if not options:
        tested = np.array(predictions.origin["part"]) == "test"
        error = np.abs(predictions.errors)[tested].mean()
        assert result["metrics"]["test"]["all"]["mae"] == pytest.approx(error, rel=1e-5)
    if "refit" in options:
        lengths = [each["limits"] for each in result["training"]["refit"][0]["members"]]
        assert all(1 <= each["epochs"] <= 2 for each in lengths)
    if count > 1:
        assert [each["seed"] for each in result["metrics"]["member_scores"]] == [0, 1]


def test_mean_is_not_tuned_but_its_members(homes, tmp_path):
    request = make(homes, tmp_path, ["average+sqinv"])
    with pytest.raises(UsageError, match="it averages two networks: tune vanilla and sqinv inst"):
        TuneRequest(request, 2).check()
    methods = [parse_method(name, "inverse") for name in ("average+rrt", "sqinv", "average+sqinv")]
    assert [each.key for each in _order_stages(methods)] == ["vanilla", "rrt", "sqinv"]


def test_budget_counts_networks_once(homes, tmp_path):
    request = make(homes, tmp_path, ["vanilla", "average+sqinv"], changes=("hidden=4",))
    request = dataclasses.replace(request, limits=type(request.limits)(), budget=60.0)
    stop = mock.patch.object(sweep_request, "run_sweep", side_effect=KeyboardInterrupt)
    with stop as run_sweep, pytest.raises(KeyboardInterrupt):
        run_benchmark(request)
    (plan, *_), _ = run_sweep.call_args
    assert {run.method.key for run in plan.runs} == {"vanilla", "sqinv", "average+sqinv"}
    steps = {run.limits.steps for run in plan.runs}
    assert len(steps) == 1
    mean = next(run for run in plan.runs if run.members)
    assert {each.limits.steps for each in mean.members} == steps


def test_regressor_averages():
    draw = np.random.default_rng(0)
    x = draw.normal(size=(150, 3))
    y = np.exp(x[:, 0]) + 50
    settings = {"max_epochs": 2, "hidden": 8, "random_state": 3}
    model = RankSimRegressor("average+inv", **settings).fit(x, y)
    plain, other = (RankSimRegressor(name, **settings).fit(x, y) for name in ("vanilla", "inv"))
    np.testing.assert_allclose(model.predict(x), (plain.predict(x) + other.predict(x)) / 2)
    np.testing.assert_allclose(model.transform(x), other.transform(x))
    with pytest.raises(UsageError, match=r"average\+inv predicts no distribution: use gaussian"):
        model.predict_distribution(x)
    clone(model)
    for name in ("uvote", "laplace", "quantile"):
        each = RankSimRegressor(name, **settings).fit(x, y)
        distribution = each.predict_distribution(x)
        assert len(distribution) == 150
        if name == "quantile":
            assert np.array_equal(distribution.quantiles[:, 1], each.predict(x))
            assert 40 < distribution.quantiles.mean() < 60
        else:
            assert (distribution.scale > 0).all()
