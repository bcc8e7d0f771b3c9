import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from rich.console import Console

from ranksim.data import features
from ranksim.exceptions import UsageError
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.inference.fit import fit_model
from ranksim.inference.fit_request import FitRequest
from ranksim.inference.saved_model import load_model
from ranksim.models import ImageEncoder
from ranksim.training import task_loading
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.recipe import IMAGES
from tests.helpers import user_data
from tests.helpers.requests import make_request

SHAPE = {
    "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
}  # fmt: skip

PRESETS = ("frozen", "finetuned")


@pytest.fixture
def vit(tmp_path, monkeypatch):
    """The folder of a small vision model with random weights."""
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    transformers.utils.logging.disable_progress_bar()
    config = transformers.ViTConfig(image_size=16, patch_size=8, **SHAPE)
    transformers.ViTModel(config).save_pretrained(tmp_path / "vit")
    transformers.utils.logging.enable_progress_bar()
    return str(tmp_path / "vit")


def make_image_request(tmp_path, vit, *changes, out="out", **settings):
    data = tmp_path / "faces"
    if not data.exists():
        user_data.write_pictures(tmp_path)
    return make_request(
        *(data, tmp_path / out),
        options=user_data.OPTIONS["pictures"],
        encoder=vit,
        image_size=16,
        changes=changes,
        max_epochs=2,
        **settings,
    )


def test_frozen_features_are_computed_once_for_networks_and_estimators(tmp_path, vit, monkeypatch):
    request = make_image_request(
        *(tmp_path, vit, "frozen=true", "hidden=4"), methods="vanilla+ranksim,linear"
    )
    runs = run_benchmark(request, Console(quiet=True))["runs"]
    assert {run["status"] for run in runs} == {"done"}
    assert len(list((tmp_path / "cache" / "image_features").iterdir())) == 3
    recipe = load_recipe(
        *("images", "small", parse_method("vanilla", "inverse")),
        {"frozen": True, "encoder": vit, "image_size": 16},
    )
    monkeypatch.setattr(features, "compute_features", None)
    task_loading._load_cached.cache_clear()
    _, task = task_loading.load_task(request.source, recipe)
    assert task.augment is None
    (vectors,) = task.train.get_inputs(torch.arange(5))
    assert vectors.shape == (5, ImageEncoder(vit).width)
    assert np.ptp(vectors.numpy(), axis=0).all()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "names"),
    [
        (("frozen=true",), {"head.bias", "head.weight"}),
        (
            ("frozen=true", "head_layers=1"),
            {"head.bias", "head.weight", "encoder.layers.0.weight", "encoder.layers.0.bias"},
        ),
        (("pad=0", "flip=false", "head_layers=1", "encoder_lr=1e-4"), None),
    ],
)
def test_heads_and_fine_tuned_networks_are_saved(tmp_path, vit, changes, names):
    request = make_image_request(tmp_path, vit, "hidden=4", *changes, seeds="0,")
    fit_model(FitRequest(request, "vanilla", 0))
    model = load_model(request.out, encoder=vit)
    if names is None:
        assert any(".backbone." in name for name in model.weights)
        assert any(".mlp." in name for name in model.weights)
    else:
        assert set(model.weights) == names
    data = tmp_path / "faces"
    predictions = model.predict(str(data))
    parts = predictions.origin["part"]
    test = np.array([part == "test" for part in parts])
    errors = np.abs(predictions.preds - predictions.labels)[test]
    expected = model.metrics["test"]["all"]
    assert expected["n"] == test.sum()
    assert errors.mean() == pytest.approx(expected["mae"], rel=1e-5)


@pytest.mark.parametrize("benchmark", IMAGES)
def test_presets_of_pretrained_models(benchmark):
    method = parse_method("vanilla+ranksim", "inverse")
    with pytest.raises(
        UsageError, match=r"frozen must be false without a pretrained encoder \(--encoder NAME\)"
    ):
        load_recipe(benchmark, "frozen", method)
    changes = {"encoder": "owner/model"}
    frozen, tuned = (load_recipe(benchmark, name, method, changes) for name in PRESETS)
    assert (frozen.frozen, frozen.pad, frozen.flip) == (True, 0, False)
    assert not tuned.frozen
    assert 0 < tuned.encoder_lr < tuned.lr


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"frozen": True},
            "frozen must be false without a pretrained encoder .--encoder NAME., got True",
        ),
        (
            {"frozen": True, "encoder": "vit", "encoder_lr": 1e-3},
            "encoder_lr must be 0 if frozen is true",
        ),
    ],
)
def test_settings_without_effect(changes, words):
    with pytest.raises(UsageError, match=words):
        load_recipe("images", "small", parse_method("vanilla", "inverse"), changes)


@pytest.mark.parametrize("count", [0, 1, 70])
def test_features_of_images_equal_those_one_by_one(tmp_path, vit, count):
    draw = np.random.default_rng(count)
    pixels = torch.from_numpy(draw.integers(0, 256, (count, 16, 16, 3), dtype=np.uint8))

    class Pixels(features.BatchDataset):
        labels = torch.arange(float(count)).double()

        def get_inputs(self, index):
            return (pixels[index],)

    encoder = ImageEncoder(vit)
    for part in (Pixels(), Pixels()):
        (data,) = features.embed_images([part], encoder)
        assert data.features.shape == (count, 16)
        assert torch.equal(data.labels, part.labels)
        with torch.no_grad():
            rows = [encoder.eval()(pixels[k : k + 1])[0] for k in range(count)]
        if rows:
            torch.testing.assert_close(data.features, torch.stack(rows), rtol=1e-4, atol=1e-5)
    assert len(list((tmp_path / "cache" / "image_features").iterdir())) == 1
    if count:
        pixels[0, 0, 0, 0] += 1
        features.embed_images([Pixels()], encoder)
        assert len(list((tmp_path / "cache" / "image_features").iterdir())) == 2


def test_features_are_computed_anew_for_another_scale_of_pixels(vit):
    """Models with equal weights may read pixels of another mean and deviation."""
    pixels = torch.full((2, 16, 16, 3), 60, dtype=torch.uint8)

    class Pixels(features.BatchDataset):
        labels = torch.arange(2.0).double()

        def get_inputs(self, index):
            return (pixels[index],)

    results = []
    for mean in (0.5, 0.2):
        content = {"image_mean": [mean] * 3, "image_std": [0.5] * 3, "do_normalize": True}
        (Path(vit) / "preprocessor_config.json").write_text(json.dumps(content))
        encoder = ImageEncoder(vit)
        (data,) = features.embed_images([Pixels()], encoder)
        with torch.no_grad():
            torch.testing.assert_close(data.features, encoder.eval()(pixels))
        results.append(data.features)
    assert not torch.allclose(*results)
