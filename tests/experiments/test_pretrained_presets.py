import importlib
import re

import pytest
import torch
from rich.console import Console

from ranksim.api.options import make_sweep_request
from ranksim.data import text
from ranksim.evaluation.record import upgrade_identity
from ranksim.exceptions import UsageError
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.models import pretrained
from ranksim.models.tuned_layers import LowerLayers
from ranksim.training import task_loading
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.recipe import MINILM_PRESETS, TEXTS, SentenceRecipe, TextRecipe
from tests.helpers.language import save_bert
from tests.helpers.requests import make_request

SPECS = {
    "sts-b-dir": {"split": "borealis", "regions_from": "published"},
    "sentiment-dir": {"domains": ("tweets",)},
}


@pytest.fixture(params=TEXTS)
def sweep(request, tmp_path, monkeypatch):
    """A function that trains methods on a small benchmark of texts with a preset."""
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))
    fixture = {"sts-b-dir": "small_sts", "sentiment-dir": "small_sentiment"}
    folder = request.getfixturevalue(fixture[request.param])
    folder = folder if folder.is_dir() else folder.parent
    bert = save_bert(tmp_path / "bert")

    def run(preset, methods, out="out", **settings):
        sweep_request = make_request(
            *(request.param, tmp_path / out),
            options=SPECS[request.param],
            data_dir=folder,
            preset=preset,
            methods=methods,
            encoder=bert,
            max_epochs=1,
            **settings,
        )
        return run_benchmark(sweep_request, Console(quiet=True))["runs"]

    return run


@pytest.mark.slow
@pytest.mark.parametrize("preset", MINILM_PRESETS)
def test_all_kinds_of_methods_train(sweep, preset):
    tuned = preset == MINILM_PRESETS[1]
    changes = ("tuned_layers=1",) if tuned else ()
    methods = "vanilla,vanilla+ranksim,vanilla+fds,rrt" + ("" if tuned else ",linear")
    runs = sweep(preset, methods, changes=("hidden=4", *changes))
    assert {run["status"] for run in runs} == {"done"}
    networks = [run for run in runs if run["identity"]["method"] != "linear"]
    for run in networks:
        recipe = run["identity"]["recipe"]
        assert re.fullmatch(r"bert@[0-9a-f]{16}", recipe["encoder"])
        assert SentenceRecipe.from_table(recipe).frozen is not tuned
        assert run["identity"]["preset"] == preset


def test_features_are_computed_once(sweep, monkeypatch):
    sweep("minilm", "vanilla", changes=("hidden=4",))
    monkeypatch.setattr(text, "compute_features", None)
    task_loading._load_cached.cache_clear()
    (run,) = sweep("minilm", "vanilla", changes=("hidden=4",), out="other")
    assert run["status"] == "done"


@pytest.mark.parametrize("benchmark", TEXTS)
def test_classes_of_recipes(benchmark):
    method = parse_method("vanilla+ranksim", "inverse")
    assert type(load_recipe(benchmark, "small", method)) is TextRecipe
    frozen, tuned = (load_recipe(benchmark, preset, method) for preset in MINILM_PRESETS)
    assert frozen.encoder == tuned.encoder == pretrained.MINILM
    assert (frozen.frozen, tuned.frozen) == (True, False)
    assert tuned.tuned_layers
    assert tuned.head_layers


def test_identity_of_runs_before_the_fields_existed():
    method = parse_method("vanilla", "inverse")
    recipe = vars(load_recipe("sts-b-dir", "minilm", method))
    old = {k: v for k, v in recipe.items() if k not in SentenceRecipe.optional_fields()}
    data = {"benchmark": "sentences", "options": {}, "regions_from": "rule"}
    identity = {"data": data, "preset": "small", "recipe": old}
    upgraded = upgrade_identity(identity)["recipe"]
    assert (upgraded["pair_features"], upgraded["tuned_layers"]) == ("all", 0)
    small = vars(load_recipe("sts-b-dir", "small", method))
    identity = {"data": data | {"benchmark": "sts-b-dir"}, "preset": "small", "recipe": small}
    assert "pair_features" not in upgrade_identity(identity)["recipe"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"tuned_layers": 2}, "tuned_layers must be 0 if frozen is true, got 2"),
        ({"head_layers": 1}, "head_layers must be 0 if frozen is true, got 1"),
        ({"encoder_lr": 0.1}, "encoder_lr must be 0 if frozen is true, got 0.1"),
        ({"pair_features": "both"}, "pair_features must be one of all, symmetric, got 'both'"),
    ],
)
def test_settings_without_effect(changes, words):
    with pytest.raises(UsageError, match=words):
        load_recipe("sts-b-dir", "minilm", parse_method("vanilla", "inverse"), changes)


@pytest.mark.parametrize("benchmark", TEXTS)
def test_an_encoder_without_its_preset(benchmark, tmp_path):
    values = {"encoder": "bert", "preset": "small", "split": "borealis", "domains": ("tweets",)}
    message = "^--encoder has no effect without --preset minilm or minilm-finetuned: add one"
    with pytest.raises(UsageError, match=message):
        make_sweep_request(benchmark, tmp_path, values, user_data=False)
    request = make_sweep_request(
        benchmark, tmp_path, values | {"preset": "minilm"}, user_data=False
    )
    assert request.changes == ("encoder=bert",)


@pytest.mark.parametrize("is_installed", [True, False])
def test_a_model_of_an_installed_package(is_installed, tmp_path, monkeypatch):
    name = "owner/model-of-a-package"
    monkeypatch.setitem(pretrained.PACKAGES, name, ("package_with_bert", "weights"))
    if is_installed:
        (tmp_path / "package_with_bert").mkdir()
        (tmp_path / "package_with_bert" / "__init__.py").touch()
        save_bert(tmp_path / "package_with_bert" / "weights")
        monkeypatch.syspath_prepend(tmp_path)
        importlib.invalidate_caches()
        encoder = pretrained.SentenceEncoder(name, texts=1)
        assert encoder.width == 16
        ids = pretrained.load_tokenizer(name)("a man")["input_ids"]
        assert ids == [2, 4, 5, 3]
    else:
        assert pretrained._make_hub(name).source == name


def test_states_of_a_batch():
    draw = torch.Generator().manual_seed(0)
    lengths = torch.randint(1, 7, (2, 9), generator=draw)
    states = torch.randn(int(lengths.sum()), 5, generator=draw).half()
    means = torch.randn(2, 9, 3, 5, generator=draw).half()
    labels = torch.zeros(9).double().numpy()
    data = text.StateDataset(states.numpy(), lengths.numpy(), means.numpy(), labels)
    index = torch.tensor([4, 0, 7])
    batch, counts, lower = data.get_inputs(index)
    assert batch.dtype == lower.dtype == torch.float32
    assert torch.equal(lower, means[:, index].float())
    assert torch.equal(counts, lengths[:, index])
    assert batch.shape == (2, 3, int(counts.max()), 5)
    ends = lengths.flatten().cumsum(0)
    for k in range(2):
        for column, row in enumerate(index.tolist()):
            count, end = int(lengths[k, row]), int(ends[9 * k + row])
            assert torch.equal(batch[k, column, :count], states[end - count : end].float())
    assert data.length_order().tolist() == lengths.amax(0).argsort(stable=True).tolist()


def test_too_many_states(tmp_path, monkeypatch):
    name = save_bert(tmp_path)
    samples = text.TextSamples((["a man", "the dog"],), torch.zeros(2).numpy())
    tokens = text.tokenize([samples], pretrained.load_tokenizer(name), max_tokens=5)
    monkeypatch.setattr(text, "_MAX_STATES", 16 * 2 * (8 + 2) - 1)
    lower = LowerLayers(pretrained.SentenceEncoder(name, texts=1), 1)
    with pytest.raises(UsageError, match=r"^The states of 2 texts below .* lower max_tokens, or"):
        text.compute_states(tokens, lower)
