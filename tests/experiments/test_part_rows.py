"""Rows of losses published since RankSim: trained by name, recorded, reproduced and saved."""

import dataclasses
from dataclasses import replace
from unittest import mock

import numpy as np
import pytest

from ranksim.evaluation import diagnostics
from ranksim.evaluation.record import read_record
from ranksim.exceptions import UsageError
from ranksim.experiments import sweep_request
from ranksim.experiments.reproduce import ReproduceRequest, reproduce
from ranksim.experiments.search_space import TuneRequest
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.experiments.tune import tune
from ranksim.inference import load_model
from ranksim.inference.fit import fit_model
from ranksim.inference.fit_request import FitRequest
from ranksim.training.parts import PARTS, PartSettings, part_fields
from tests.helpers import user_data
from tests.helpers.requests import make_request

TABLE = user_data.OPTIONS[user_data.TABLE]
PLAIN = [f"vanilla+{name}" for name, part in PARTS.items() if part.kind.startswith("loss")]
COMBINED = ["inv+ccc+ranksim", "rrt+bmse", "gar+fds", "denseweight+dist", "ccc(log)"]
FIELDS = {item.name for item in dataclasses.fields(PartSettings)}


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    return user_data.write_table(tmp_path_factory.mktemp("homes"))


def make(homes, out, methods, **more):
    settings = {"max_epochs": 1, "changes": ("hidden=4", "batch_size=32")} | more
    return make_request(homes, out, options=TABLE, methods=",".join(methods), **settings)


@pytest.fixture(scope="module")
def sweep(homes, tmp_path_factory):
    request = make(homes, tmp_path_factory.mktemp("sweep"), ["vanilla", *PLAIN, *COMBINED])
    with (
        mock.patch.object(diagnostics, "_tsne", lambda features, points: points),
        mock.patch.object(sweep_request, "write_page", lambda results, out: out),
    ):
        return run_benchmark(request), request


def test_every_row_has_finite_scores(sweep):
    results, _ = sweep
    rows = {row["method"]: row for row in results["summary"]}
    assert len(rows) == 1 + len(PLAIN) + len(COMBINED)
    for row in rows.values():
        assert np.isfinite(row["test"]["all"]["mae"]["mean"]), row["method"]


def test_records_name_the_parts_and_their_fields(sweep):
    results, request = sweep
    for run in results["runs"]:
        identity = run["identity"]
        parts = identity["technique"].get("parts", [])
        expected = {field for name in parts for field in part_fields(name)}
        assert FIELDS & {*identity["recipe"]} == expected, identity["method"]
    record = read_record(request.out / "runs" / "rrt+bmse" / "seed-0")
    stage_one = record["identity"]["stage_one"]
    assert stage_one["method"] == "vanilla"
    assert "parts" not in stage_one["technique"]
    assert not FIELDS & {*stage_one["recipe"]}


@pytest.mark.parametrize("method", ["inv+ccc+ranksim", "rrt+bmse"])
def test_record_is_reproduced(sweep, homes, tmp_path, method):
    _, request = sweep
    results = request.out / "results.json"
    location = request.source.location
    (outcome,) = reproduce(
        ReproduceRequest(results, method, 0, location=location, accelerator="cpu", out=tmp_path)
    )
    assert outcome["matches"], outcome


@pytest.mark.slow
def test_part_is_tuned_and_saved(homes, tmp_path):
    request = make(homes, tmp_path / "tune", ["ccc"], seeds="1")
    result = tune(TuneRequest(request, n_trials=2, fields=("ccc_weight",)))
    assert "ccc_weight" in result.values
    bench = make(homes, tmp_path / "runs", ["vanilla"], recipe_file=result.recipe)
    fit_model(FitRequest(replace(bench, out=tmp_path / "model"), "rrt+bmse", 0))
    model = load_model(tmp_path / "model")
    assert model.config["technique"]["parts"] == ["bmse"]
    assert "`rrt+bmse`" in (tmp_path / "model" / "README.md").read_text(encoding="utf-8")


def test_batches_of_one_sample_are_refused(homes, tmp_path):
    request = make(homes, tmp_path, ["bmse"], changes=("batch_size=1",))
    with pytest.raises(UsageError, match="compares the samples of a batch: set batch_size to 2"):
        run_benchmark(request)
