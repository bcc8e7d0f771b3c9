import copy
import json
import math
import pickle
import re
import subprocess
import sys

import pytest
import torch
import transformers
from torch import nn

from ranksim.exceptions import MissingDependencyError, UsageError, install_command
from ranksim.models import ImageEncoder, Regressor

VIT = {  # 16 numbers a token
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
}


def images(count=2, height=32, width=32):
    torch.manual_seed(1)
    return torch.randint(0, 256, (count, height, width, 3), dtype=torch.uint8)


@pytest.fixture
def saved(tmp_path):
    """Save a tiny model with random weights; return its folder's name."""

    def run(model, **processing):
        torch.manual_seed(0)
        model.save_pretrained(tmp_path / "model")
        if processing:
            text = json.dumps(processing)
            (tmp_path / "model" / "preprocessor_config.json").write_text(text, encoding="utf-8")
        return str(tmp_path / "model")

    transformers.utils.logging.disable_progress_bar()
    yield run
    transformers.utils.logging.enable_progress_bar()


def vit(**options):
    return transformers.ViTConfig(image_size=32, patch_size=8, **VIT | options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "width", "count"),
    # parameters of the published networks, less their last layer of 1,000 outputs
    [
        ("resnet18", 512, 11_689_512 - 513_000),
        ("resnet34", 512, 21_797_672 - 513_000),
        ("resnet50", 2048, 25_557_032 - 2_049_000),
    ],
)
@pytest.mark.usefixtures("real_resnet18")
def test_resnets_from_scratch(name, width, count):
    torch.manual_seed(0)
    encoder = ImageEncoder(name)
    assert encoder.width == width
    assert encoder.training
    assert encoder.backbone.training
    assert sum(p.numel() for p in encoder.parameters()) == count
    for module in encoder.modules():
        if isinstance(module, nn.Conv2d):
            assert module.bias is None
            fan_out = module.out_channels * math.prod(module.kernel_size)
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
            assert abs(module.weight.mean().item()) < 0.05 * math.sqrt(2 / fan_out)
        elif isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all()
            assert (module.bias == 0).all()
            assert (module.running_mean == 0).all()
            assert (module.running_var == 1).all()


def test_a_seed_fixes_the_weights():
    encoders = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        encoders.append(ImageEncoder("resnet18").backbone.embedder.embedder.convolution.weight)
    assert torch.equal(encoders[0], encoders[1])
    assert not torch.equal(encoders[0], encoders[2])


class Handed(nn.Module):
    """Keeps what it gets."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, pixels):
        self.got = pixels
        return transformers.modeling_outputs.BaseModelOutput(last_hidden_state=pixels)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("channels_last", [False, True])
def test_pixels_are_scaled_exactly(dtype, channels_last):
    encoder = ImageEncoder("resnet18", channels_last=channels_last)
    encoder.backbone = Handed()
    encoder.to(dtype)
    batch = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).repeat(2, 1, 1, 3)
    batch[..., 1] = 255 - batch[..., 1]
    before = batch.clone()
    features = encoder(batch)
    got = encoder.backbone.got
    expected = (batch.double() / 127.5 - 1).permute(0, 3, 1, 2)
    atol = {torch.float32: 1e-6, torch.float64: 1e-15, torch.bfloat16: 2**-9}[dtype]
    assert got.dtype == dtype
    torch.testing.assert_close(got.double(), expected, rtol=0, atol=atol)
    torch.testing.assert_close(features.double(), got.double().mean(dim=(2, 3)), rtol=0, atol=0.01)
    if dtype == torch.bfloat16:  # rounded once, at the end
        assert torch.equal(got, expected.float().to(dtype))
    kind = torch.channels_last if channels_last else torch.contiguous_format
    assert got.is_contiguous(memory_format=kind)
    assert torch.equal(batch, before)


def test_channels_last_gives_equal_features():
    torch.manual_seed(0)
    encoder = ImageEncoder("resnet18").eval()
    torch.manual_seed(0)
    last = ImageEncoder("resnet18", channels_last=True).eval()
    weight = last.backbone.embedder.embedder.convolution.weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert weight.is_leaf
    batch = images(3, 61, 75)
    expected = encoder(batch)
    torch.testing.assert_close(last(batch), expected, rtol=1e-4, atol=1e-4)
    strided = images(3, 61, 150)
    strided[:, :, ::2] = batch
    torch.testing.assert_close(encoder(strided[:, :, ::2]), expected)


@pytest.mark.parametrize(
    ("wrong", "error", "match"),
    [
        (torch.rand(1, 8, 8, 3), TypeError, "^images must be uint8, got torch.float32$"),
        (images()[0], ValueError, r"^images must have shape \(N, H, W, 3\), got \(32, 32, 3\)$"),
        (images().permute(0, 3, 1, 2), ValueError, r"got \(2, 3, 32, 32\)$"),
    ],
)
def test_rejects_invalid_images(wrong, error, match):
    with pytest.raises(error, match=match):
        ImageEncoder("resnet18")(wrong)


@pytest.mark.parametrize("make", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))])
@pytest.mark.parametrize("name", ["resnet18", "vit"])
def test_copied_encoder_gives_equal_features(saved, make, name):
    encoder = ImageEncoder(
        saved(transformers.ViTModel(vit())) if name == "vit" else name, channels_last=True
    ).eval()
    torch.testing.assert_close(make(encoder)(images()), encoder(images()))


def test_regressor_trains():
    torch.manual_seed(0)
    model = Regressor(ImageEncoder("resnet18"))
    prediction, features = model(images(3, 33, 47))
    assert prediction.shape == (3,)
    assert features.shape == (3, model.encoder.width)
    prediction.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def normalised(batch, mean=0.5, std=0.5):
    shape = (1, 3, 1, 1)
    mean, std = (torch.as_tensor(v).expand(3).reshape(shape) for v in (mean, std))
    return (batch.permute(0, 3, 1, 2) / 255 - mean) / std


MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def test_a_pretrained_resnet(saved):
    model = transformers.ResNetModel(
        transformers.ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 24], depths=[1, 1], layer_type="basic"
        )
    ).eval()
    name = saved(model, image_mean=MEAN, image_std=STD)
    encoder = ImageEncoder(name)
    assert encoder.training
    assert encoder.backbone.training
    assert encoder.width == 24
    for batch in (images(), images(2, 65, 41)):
        expected = model(normalised(batch, torch.tensor(MEAN), torch.tensor(STD))).pooler_output
        torch.testing.assert_close(encoder.eval()(batch), expected.flatten(1))


def test_a_pretrained_vit_of_any_size(saved):
    model = transformers.ViTModel(vit()).eval()
    encoder = ImageEncoder(saved(model)).eval()
    assert encoder.width == 16
    torch.testing.assert_close(encoder(images()), model(normalised(images())).pooler_output)
    larger = images(2, 48, 40)
    expected = model(normalised(larger), interpolate_pos_encoding=True).pooler_output
    torch.testing.assert_close(encoder(larger), expected)


def test_untrained_pooler_is_removed(saved):
    """A ViT trained to classify has none; transformers makes one of random weights."""
    model = transformers.ViTForImageClassification(vit()).eval()
    encoder = ImageEncoder(saved(model)).eval()
    hidden = model.vit(normalised(images())).last_hidden_state
    torch.testing.assert_close(encoder(images()), hidden.mean(dim=1))
    assert not any("pooler" in key for key in encoder.state_dict())


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("ConvNext", {"depths": [1, 1], "hidden_sizes": [8, 20], "num_stages": 2}),
        ("Dinov2", VIT | {"image_size": 28, "patch_size": 14}),
        ("Swin", {"embed_dim": 10, "depths": [1, 1], "num_heads": [2, 2], "window_size": 4}),
        ("MobileNetV2", {"depth_multiplier": 0.1}),
    ],
)
def test_pretrained_model_families(saved, kind, options):
    config = getattr(transformers, f"{kind}Config")(**options)
    model = getattr(transformers, f"{kind}Model")(config).eval()
    encoder = ImageEncoder(saved(model)).eval()
    side = 224 if kind == "Swin" else 56
    batch = images(2, side, side)
    expected = model(normalised(batch)).pooler_output
    assert encoder(batch).shape == (2, encoder.width) == expected.shape
    torch.testing.assert_close(encoder(batch), expected)


@pytest.mark.parametrize(
    ("processing", "mean", "std"),
    [
        ({"image_mean": MEAN, "image_std": STD}, MEAN, STD),
        ({"image_mean": MEAN, "image_std": STD, "do_normalize": False}, [0.0] * 3, [1.0] * 3),
        ({"do_resize": True}, [0.0] * 3, [1.0] * 3),
        ({}, [0.5] * 3, [0.5] * 3),
    ],
)
def test_normalization_of_pretrained_model(saved, processing, mean, std):
    encoder = ImageEncoder(saved(transformers.ViTModel(vit()), **processing))
    encoder.backbone, encoder.options = Handed(), {}
    encoder(images())
    expected = normalised(images(), torch.tensor(mean), torch.tensor(std))
    torch.testing.assert_close(encoder.backbone.got, expected, rtol=0, atol=1e-6)


def test_model_with_bgr_channel_order(saved):
    model = transformers.ViTModel(vit()).eval()
    encoder = ImageEncoder(saved(model, do_flip_channel_order=True)).eval()
    expected = model(normalised(images().flip(-1), 0.0, 1.0)).pooler_output
    torch.testing.assert_close(encoder(images()), expected)


def test_weights_in_half_precision_are_read_as_float32(saved):
    encoder = ImageEncoder(saved(transformers.ViTModel(vit()).half()))
    assert {p.dtype for p in encoder.parameters()} == {torch.float32}


def test_rejects_unsupported_image_size(saved):
    name = saved(transformers.ViTModel(vit()))
    encoder = ImageEncoder(name)
    encoder.options = {}  # as of one that cannot interpolate its positions
    match = "needs images of 32 × 32 pixels, got 48 × 40: resize the images, or name"
    with pytest.raises(UsageError, match=f"^{name} {match} another model.$"):
        encoder(images(2, 48, 40))


def one_sentence(name, match):
    with pytest.raises(UsageError, match=match) as caught:
        ImageEncoder(name)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_missing_models(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    match = "could not be read as an encoder of images: name resnet18, resnet34, resnet50, a local"
    for name in ("resnet51", "nobody/nothing", "a b/c", "../../x", str(tmp_path), "/no/where", ""):
        one_sentence(name, match)
    (tmp_path / "config.json").write_text('{"model_type": "resnet", "auto_map": 3', "utf-8")
    one_sentence(str(tmp_path), match)
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}', "utf-8")
    one_sentence(str(tmp_path), "The weights of .* could not be loaded: name a model with complete")


def test_code_of_models_is_not_run(tmp_path):
    trace = tmp_path / "trace"
    (tmp_path / "own.py").write_text(f"open({str(trace)!r}, 'w')\n", "utf-8")
    auto = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "own", "auto_map": auto}))
    one_sentence(str(tmp_path), "could not be read as an encoder of images")
    assert not trace.exists()


def test_pickled_weights_are_not_read(saved, tmp_path):
    name = saved(transformers.ViTModel(vit()))
    (tmp_path / "model" / "model.safetensors").unlink()
    torch.save(transformers.ViTModel(vit()).state_dict(), tmp_path / "model" / "pytorch_model.bin")
    one_sentence(name, "The weights of .* could not be loaded: .* in safetensors format")


def test_damaged_and_missing_weights(saved, tmp_path):
    config = vit(num_hidden_layers=1)
    name = saved(transformers.ViTModel(config))
    config.num_hidden_layers = 2
    config.save_pretrained(name)
    one_sentence(
        name,
        r"has no weights for (encoder\.)?layers?\.1.* in total.: name a model",
    )
    weights = tmp_path / "model" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    one_sentence(name, "The weights of .* could not be loaded: name a model with complete")


def test_rejects_models_of_other_modalities(saved):
    config = transformers.BertConfig(**VIT, vocab_size=9)
    match = "is not an encoder of images: name resnet18, resnet34"
    one_sentence(saved(transformers.BertModel(config)), match)
    gray = transformers.ViTModel(vit(num_channels=1))
    one_sentence(saved(gray), match)


def test_loading_is_quiet_and_restores_what_it_silences(saved, capfd):
    name = saved(transformers.ViTForImageClassification(vit()))
    logging = transformers.utils.logging
    logging.enable_progress_bar()
    before = logging.get_verbosity()
    capfd.readouterr()
    ImageEncoder(name)
    assert capfd.readouterr() == ("", "")
    assert logging.get_verbosity() == before
    assert logging.is_progress_bar_enabled()


@pytest.mark.slow
def test_imports_neither_transformers_nor_torchvision(saved):
    """ranksim.models needs neither transformers nor, with them, torchvision."""
    name = saved(transformers.ViTModel(vit()), image_mean=MEAN, image_std=STD)
    code = f"""
import sys
import ranksim.models
assert not {{"transformers", "PIL", "safetensors"}} & set(sys.modules)
encoder = ranksim.models.ImageEncoder({name!r})
print(encoder.width, sorted({{"torchvision", "timm"}} & set(sys.modules)))
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (out.stdout, out.stderr) == ("16 []\n", "")


def test_missing_transformers_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        MissingDependencyError,
        match=rf"^transformers is not .*: run {re.escape(install_command('images'))}\.$",
    ):
        ImageEncoder("resnet18")
