"""`fit` and `compare` of user data on two devices against one: the same labels everywhere."""

import numpy as np
import pyarrow.parquet as parquet
import pytest
import safetensors.torch

from ranksim._utils.storage import read_verified_json
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.inference import load_model
from ranksim.inference.fit import fit_model
from ranksim.inference.fit_request import FitRequest
from ranksim.inference.saved_model import CARD, CONFIG, METRICS, WEIGHTS
from ranksim.training.lightning import trainer
from tests.helpers import user_data
from tests.helpers.requests import make_request
from tests.helpers.trained_models import Process

# no dropout, whose draws depend on the device
SMALL = {
    user_data.TABLE: ("hidden=8", "dropout=0"),
    user_data.SENTENCES: ("hidden=4", "dropout=0"),
    user_data.PICTURES: ("image_size=16",),
    user_data.SERIES: ("hidden=4", "dropout=0"),
}


def train_and_predict(kind, data, out, devices):
    """Fit a model, run a comparison and predict the data on a number of devices."""
    trainer._START_METHOD = "fork"  # starts faster than spawning
    values = {
        "options": user_data.OPTIONS[kind],
        # equal numbers of samples in a step, and steps that barely change the initial network
        "changes": (f"batch_size={8 // devices}", "lr=1e-9", *SMALL[kind]),
        "seeds": "1",
        "max_steps": 2,
        "devices": str(devices),
        "precision": "64-true",
    }
    fit_model(FitRequest(make_request(data, out / "model", **values), "vanilla", 0))
    run_benchmark(make_request(data, out / "sweep", **values))
    load_model(out / "model").predict(str(data)).write(out / "predictions.parquet")


def describe(out, kind):
    """Return what a model and a comparison state about labels."""
    config = read_verified_json(out / "model" / CONFIG)
    results = read_verified_json(out / "sweep" / "results.json")
    metrics = read_verified_json(out / "model" / METRICS)
    (run,) = results["runs"]
    card = (out / "model" / CARD).read_text()
    if kind == user_data.PICTURES:  # each device has its own statistics of BatchNorm
        card = card.partition("## Test scores")[0]
    names = ("density", "data", "data_report", "options", "reader")
    return {
        "card": card,
        "config": [config[name] for name in names],
        "scale": [config["recipe"][name] for name in ("label_scale", "label_step")],
        "samples": [
            {region: scores["n"] for region, scores in part.items()}
            for metrics in (metrics, run["result"]["metrics"])
            for part in (metrics["val"], metrics["test"])
        ],
        "results": [results["labels"], run["identity"]["data"]],
    }


def assert_equal_predictions(*paths, ignored=()):
    tables = [parquet.read_table(path).to_pydict() for path in paths]
    assert list(tables[0]) == list(tables[1])
    for name in set(tables[0]) - set(ignored):
        if name in ("prediction", "error"):
            one, two = (np.array(table[name], dtype=np.float64) for table in tables)  # None: NaN
            np.testing.assert_allclose(one, two, rtol=1e-6, atol=1e-6)
        else:
            assert tables[0][name] == tables[1][name], name


@pytest.mark.slow
@pytest.mark.distributed
@pytest.mark.parametrize("kind", user_data.WRITERS)
def test_labels_equal_those_of_one_device(kind, tmp_path):
    data = user_data.WRITERS[kind](tmp_path)
    one, two = tmp_path / "1", tmp_path / "2"
    for folder in (one, two):
        Process(train_and_predict, kind, data, folder, int(folder.name)).result(timeout=300)
    assert describe(one, kind) == describe(two, kind)
    weights = [safetensors.torch.load_file(out / "model" / WEIGHTS) for out in (one, two)]
    np.testing.assert_allclose(*(part["head.bias"] for part in weights), rtol=1e-6)
    ignored = ("prediction", "error") if kind == user_data.PICTURES else ()
    runs = (next((out / "sweep").rglob("predictions.parquet")) for out in (one, two))
    assert_equal_predictions(*runs, ignored=ignored)
    if kind == user_data.PICTURES:
        ignored += ("region", "zero_shot")  # of the predictions
    name = "predictions.parquet"
    assert_equal_predictions(one / name, two / name, ignored=ignored)
