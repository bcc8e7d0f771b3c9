"""Networks of the user: equal to a built-in network of the same layers, saved, and refused."""

import json

import pandas as pd
import pytest
import torch
from torch import nn

import ranksim
from ranksim.cli import main
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.reproduce import ReproduceRequest, reproduce
from tests.helpers import networks, user_data
from tests.helpers.api import QUIET, read_numbers
from tests.helpers.errors import raises_with

METHODS = ["vanilla", "inv+lds+fds+ranksim", "rrt", "focal-r", "median"]
SHARED = nn.Linear(6, 3)


def read_scores(comparison):
    return read_numbers(comparison.results)["summary"]


@pytest.mark.slow
def test_results_equal_those_of_a_built_in_network(homes):
    arguments = {"methods": METHODS, "seeds": 1, "max_epochs": 2, **QUIET}
    ours = ranksim.compare(homes, model=networks.build_mlp, **arguments)
    theirs = ranksim.compare(homes, set={"hidden": 8}, **arguments)
    assert read_scores(ours) == read_scores(theirs)
    identities = {r["identity"]["method"]: r["identity"] for r in ours.results["runs"]}
    assert identities["rrt"]["network"]["name"] == "build_mlp"
    assert identities["rrt"]["network"]["module"] == "tests.helpers.networks"
    assert identities["rrt"]["stage_one"]["network"] == identities["rrt"]["network"]
    assert "network" not in identities["median"]


@pytest.mark.slow
def test_command_equals_the_function(homes, homes_file, tmp_path, monkeypatch):
    name = "tests.helpers.networks:build_lazy"
    words = ["--target", "price", "--methods", "vanilla", "--seeds", "1", "--max-epochs", "1",
             "--model", name]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["ranksim", "compare", str(homes_file), *words, "--out",
                                     str(tmp_path / "sweep")])  # fmt: skip
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    command = json.loads((tmp_path / "sweep/results.json").read_text())
    arguments = {"methods": "vanilla", "seeds": 1, "max_epochs": 1, **QUIET}
    for model in (name, networks.build_lazy):
        ours = ranksim.compare(homes, model=model, **arguments)
        assert read_numbers(ours.results) == read_numbers(command)
    with raises_with(UsageError, "network of the user (tests.helpers.networks:build_lazy)"):
        list(reproduce(ReproduceRequest(tmp_path / "sweep", row="vanilla")))
    with raises_with(UsageError, "vanilla seed 0 trained with network.module", "out="):
        ranksim.compare(homes_file, out=tmp_path / "sweep", **arguments)


@pytest.mark.parametrize("method", ["vanilla+ranksim", "rrt"])
def test_saved_model_needs_the_function(homes, tmp_path, method, monkeypatch):
    folder = tmp_path / "model"
    model = ranksim.fit(
        homes, method=method, model=networks.build_mlp, max_epochs=1, out=folder, **QUIET
    )
    preds = model.predict(homes).preds.tolist()
    loaded = ranksim.Model.load(folder, model="tests.helpers.networks:build_mlp")
    assert loaded.predict(homes).preds.tolist() == preds
    assert "a network that `tests.helpers.networks:build_mlp` builds" in loaded.card
    loaded = ranksim.load_model(folder, network=networks.build_mlp)
    assert loaded.predict(homes).preds.tolist() == preds
    bare = ranksim.Model.load(folder)
    assert repr(bare) == repr(model)
    with raises_with(UsageError, "tests.helpers.networks:build_mlp builds", "model="):
        bare.predict(homes)
    with raises_with(UsageError, "was trained with tests.helpers.networks:build_mlp"):
        ranksim.Model.load(folder, model=networks.build_lazy)

    def build_mlp(batch):
        return nn.Linear(batch.shape[1], 8)

    build_mlp.__qualname__ = "build_mlp"
    with raises_with(DataError, "do not match config.json"):
        ranksim.Model.load(folder, model=build_mlp).predict(homes)
    plain = ranksim.fit(homes, method="median", **QUIET)
    with raises_with(UsageError, "has a network of ranksim", "leave model= out"):
        ranksim.Model.load(plain.path, model=networks.build_mlp)
    homes.to_csv(tmp_path / "new.csv", index=False)
    words = ["predict", folder, tmp_path / "new.csv", "--out", tmp_path / "preds.parquet",
             "--model", "tests.helpers.networks:build_mlp"]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["ranksim", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    assert pd.read_parquet(tmp_path / "preds.parquet")["prediction"].tolist() == preds


@pytest.mark.parametrize(
    ("kind", "build"),
    [
        (user_data.SENTENCES, networks.build_words),
        (user_data.SERIES, networks.build_windows),
        pytest.param(user_data.PICTURES, networks.build_pixels, marks=pytest.mark.slow),
    ],
)
def test_other_kinds_of_data(kind, build, tmp_path):
    data = user_data.WRITERS[kind](tmp_path)
    size = {"image_size": 16} if kind == user_data.PICTURES else {}
    arguments = {**user_data.OPTIONS[kind], **size, "max_epochs": 1, "progress": False}
    model = ranksim.fit(data, method="vanilla+ranksim", model=build, **arguments)
    assert model.metrics["test"]["all"]["mae"] > 0
    names = [name for name in model.weights if name.startswith("encoder.network.")]
    assert names
    copy = ranksim.Model.load(model.path, model=build)
    assert copy.predict(data).preds.tolist() == model.predict(data).preds.tolist()


@pytest.mark.slow
def test_processes_import_the_function(homes):
    arguments = {"methods": ["vanilla", "rrt"], "seeds": 2, "max_epochs": 1, **QUIET}
    one, two = (
        ranksim.compare(homes, model=networks.build_mlp, jobs=jobs, **arguments) for jobs in (1, 2)
    )
    assert read_scores(one) == read_scores(two)


@pytest.mark.parametrize(
    ("model", "facts"),
    [
        (3, ["takes a function", "got 3"]),
        (nn.Linear(6, 3), ["is a network, Linear", "function that builds it"]),
        (lambda batch: None, ["must return a torch.nn.Module", "got None"]),
        (lambda: nn.Linear(6, 3), ["could not build a network (TypeError"]),
        (networks.build_broken, ["could not build a network (RuntimeError: no layers)"]),
        (lambda batch: nn.Identity(), ["has no parameters"]),
        (lambda batch: nn.Linear(6, 3).requires_grad_(False), ["has no parameters"]),
        (lambda batch: nn.Sequential(nn.Linear(6, 3), nn.Flatten(0)), ["(N, D)", "(24,)"]),
        (lambda batch: nn.GRU(6, 3), ["a tensor, got a tuple of 2"]),
        (lambda batch: nn.Linear(99, 3), ["could not read a batch", "8x6 and 99x3"]),
        (lambda batch: SHARED, ["returns the same network", "at each call"]),
        ("networks", ["takes package.module:object"]),
        ("tests.helpers.networks:build_nothing", ["has no build_nothing"]),
    ],
)
def test_misuse_gives_one_sentence(homes, model, facts):
    with raises_with(UsageError, "model=", *facts):
        ranksim.compare(homes, methods="vanilla", model=model, seeds=1, **QUIET)


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({"methods": "trees"}, ["model= builds networks, and methods= has none"]),
        ({"set": {"hidden": 4}}, ["set= hidden has no effect on the network of model="]),
        ({"jobs": 2}, ["cannot be sent to other processes", "jobs=1"]),
    ],
)
def test_options_that_do_not_apply_are_refused(homes, arguments, facts):
    arguments = {"methods": "vanilla", "seeds": 1, **arguments, **QUIET}
    with raises_with(UsageError, *facts):
        ranksim.compare(homes, model=lambda batch: nn.Linear(batch.shape[1], 3), **arguments)


def test_forward_pass_changes_no_random_numbers():
    from ranksim.training.custom_encoder import make_encoder
    from ranksim.training.custom_network import CustomNetwork

    inputs = (torch.randn(8, 5),)
    torch.manual_seed(0)
    encoder = make_encoder(CustomNetwork(networks.build_lazy), inputs, "table", None)
    drawn = torch.rand(1)
    torch.manual_seed(0)
    assert torch.equal(torch.rand(1), drawn)  # lazy layers are filled aside
    assert encoder.width == 6
    assert encoder.training
    assert encoder.network[2].num_batches_tracked == 0
