"""Rows of heads with a distribution: files, scores, tables, saved models."""

import dataclasses
import io
from unittest import mock

import numpy as np
import pytest
from rich.console import Console

from ranksim.evaluation import diagnostics
from ranksim.evaluation.predictions import PREDICTIONS, read_predictions
from ranksim.evaluation.record import read_record
from ranksim.evaluation.report.page.elements import SweepResults
from ranksim.evaluation.report.page.scores import scores_section
from ranksim.evaluation.report.terminal import print_summary
from ranksim.experiments import sweep_request
from ranksim.experiments.reproduce import ReproduceRequest, reproduce
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.inference import load_model
from ranksim.inference.fit import fit_model
from ranksim.inference.fit_request import FitRequest
from ranksim.inference.prediction import PredictRequest, predict_data
from ranksim.metrics.distributions import Distribution
from tests.helpers import user_data
from tests.helpers.requests import make_request

METHODS = {  # columns of the predictions
    "vanilla": [],
    "vanilla+uvote": ["scale"],
    "inv+laplace+ranksim": ["scale"],
    "rrt+gaussian": ["scale"],
    "vanilla+quantile(log)": ["q10", "q50", "q90"],
}


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    return user_data.write_table(tmp_path_factory.mktemp("homes"))


def make(homes, out, methods, **more):
    changes = ["hidden=4", "batch_size=32"]
    changes += ["quantile_levels=0.1,0.5,0.9"] * any("quantile" in name for name in methods)
    return make_request(
        homes, out, options=user_data.OPTIONS[user_data.TABLE], methods=",".join(methods),
        max_epochs=2, changes=changes, **more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def sweep(homes, tmp_path_factory):
    request = make(homes, tmp_path_factory.mktemp("sweep"), METHODS, seeds="2")
    with (
        mock.patch.object(diagnostics, "_tsne", lambda features, points: points),
        mock.patch.object(sweep_request, "write_page", lambda results, out: out),
    ):
        return run_benchmark(request), request


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_files_and_scores(sweep, method):
    results, request = sweep
    row = next(row for row in results["summary"] if row["method"] == method)
    expected = {}
    for seed in (0, 1):
        folder = request.out / "runs" / method / f"seed-{seed}"
        preds = read_predictions(folder / PREDICTIONS)
        scores = read_record(folder)["result"]["metrics"]["test"]
        if not METHODS[method]:
            assert preds.distribution is None
            assert not {"crps", "pinball"} & {*scores["all"]}
            continue
        assert list(preds.distribution.columns()) == METHODS[method]
        for region, mask in preds.regions.items():
            part = preds.distribution.take(mask).score(preds.preds[mask], preds.labels[mask])
            for name, value in part.items():
                assert scores[region][name] == pytest.approx(value), (region, name)
                expected.setdefault((region, name), []).append(value)
        if "quantile" in method:
            assert np.array_equal(preds.quantiles[:, 1], preds.preds)
            assert (np.diff(preds.quantiles) >= 0).all()
    for (region, name), values in expected.items():
        cell = row["test"][region][name]
        assert cell["mean"] == (None if None in values else pytest.approx(np.mean(values)))
    assert ("pinball" in row["ensemble"]["all"]) == bool(METHODS[method])


def test_tables_of_scores(sweep):
    results, _ = sweep
    console = Console(file=io.StringIO(), width=200)
    print_summary(results, console, ("crps", "pinball"))
    text = console.file.getvalue()
    crps = text.partition("CRPS, lower is better")[2].partition("pinball loss, lower is better")
    assert "vanilla+uvote" in crps[0]
    assert "vanilla+quantile(log)" in crps[2]
    _, tables = scores_section(SweepResults(results))
    titles = {table.title: table for table in tables}
    for name in ("CRPS", "pinball loss"):
        cells = {row.method: row.scores[0].text for row in titles[name].rows}
        assert cells["vanilla"] == "–"
        assert cells["vanilla+uvote"] != "–"


@pytest.mark.parametrize("method", ["rrt+gaussian", "vanilla+quantile(log)"])
def test_record_is_reproduced(sweep, tmp_path, method):
    _, request = sweep
    results, location = request.out / "results.json", request.source.location
    (outcome,) = reproduce(
        ReproduceRequest(results, method, 0, location=location, accelerator="cpu", out=tmp_path)
    )
    assert outcome["matches"], outcome


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "final"),
    [
        ("vanilla+uvote", {"ensemble": 2}),
        ("rrt+gaussian", {}),
        ("vanilla+rnc+laplace", {}),
        ("vanilla+quantile(log)", {"refit": True}),
    ],
)
def test_saved_model_predicts_distributions(sweep, homes, tmp_path, method, final):
    bench = make(homes, tmp_path / "model", ["vanilla", method], seeds="1")
    fit_model(FitRequest(bench, method, 0, **final))
    model = load_model(tmp_path / "model")
    predictions = model.predict(str(homes))
    columns = METHODS.get(method, ["scale"])
    assert list(predictions.distribution.columns()) == columns
    alone = [
        dataclasses.replace(model, members=(each,)).predict(str(homes)) for each in model.members
    ]
    mean = Distribution.mean([each.distribution for each in alone])
    for name, values in mean.columns().items():
        np.testing.assert_allclose(predictions.distribution.columns()[name], values)
    assert all((values > 0).all() for values in mean.columns().values())
    out = tmp_path / "predictions.csv"
    predict_data(PredictRequest(tmp_path / "model", str(homes), out, accelerator="cpu"))
    header = out.read_text(encoding="utf-8").splitlines()[0].split(",")
    start = header.index("prediction")
    assert header[start + 1 : start + 1 + len(columns)] == columns
    if method == "rrt+gaussian":  # the model is that of the run
        _, request = sweep
        run = read_predictions(request.out / "runs" / method / "seed-0" / PREDICTIONS)
        tested = np.array(predictions.origin["part"]) == "test"
        np.testing.assert_allclose(np.sort(predictions.scale[tested]), np.sort(run.scale), 1e-5)
