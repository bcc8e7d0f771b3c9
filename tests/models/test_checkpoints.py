import copy
import functools
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch

from ranksim.exceptions import DataError
from ranksim.models import ImageEncoder, Regressor, load_checkpoint, read_checkpoint
from tests.oracles.resnet import ResNet

pytestmark = pytest.mark.usefixtures("real_resnet18")


def oracle(depth):
    """Random weights, and BatchNorm statistics that matter."""
    return copy.deepcopy(build_oracle(depth))


@functools.cache
def build_oracle(depth):
    torch.manual_seed(depth)
    model = ResNet(depth).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.3)
            module.running_mean.normal_(std=0.3)
            module.running_var.uniform_(0.5, 2)
            module.num_batches_tracked.fill_(77)
    return model


def published(model, prefix="module."):
    """The file as such a training leaves it behind."""
    fds = {"FDS.epoch": torch.tensor([3.0]), "FDS.running_mean": torch.rand(97, 8)}
    state = {prefix + key: value for key, value in (model.state_dict() | fds).items()}
    return {
        "epoch": 89,
        "model": "resnet",
        "best_loss": np.float64(7.125),
        "state_dict": state,
        "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999)}]},
    }


@pytest.fixture
def save(tmp_path):
    def run(content):
        torch.save(content, tmp_path / "ckpt.pth.tar")
        return tmp_path / "ckpt.pth.tar"

    return run


def images(count, side):
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8)


@pytest.mark.parametrize(
    ("depth", "side"),
    [(18, 64), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((34, 95), (50, 96)))],
)
def test_equals_a_plain_resnet(save, depth, side):
    plain = oracle(depth)
    model = load_checkpoint(save(published(plain)))
    assert not model.training
    assert all(parameter.requires_grad for parameter in model.parameters())
    batch = images(2, side)
    normalised = (batch.double() / 255 * 2 - 1).permute(0, 3, 1, 2)
    with torch.no_grad():
        for result, expected in zip(model(batch), plain(normalised.float()), strict=True):
            torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
        for result, expected in zip(model.double()(batch), plain.double()(normalised), strict=True):
            torch.testing.assert_close(result, expected, rtol=1e-10, atol=1e-10)


@pytest.mark.slow
def test_trains_like_a_plain_resnet(save):
    """With the statistics of the batch, and to the same gradients."""
    plain = oracle(18).double().train()
    model = load_checkpoint(save(published(plain.float()))).double().train()
    plain.double()
    batch = images(3, 64)
    model(batch)[0].pow(2).sum().backward()
    plain((batch.double() / 255 * 2 - 1).permute(0, 3, 1, 2))[0].pow(2).sum().backward()
    first = model.encoder.backbone.embedder.embedder.convolution.weight.grad
    torch.testing.assert_close(first, plain.conv1.weight.grad, rtol=1e-8, atol=1e-8)
    torch.testing.assert_close(model.head.weight.grad, plain.linear.weight.grad)


def bare(model):
    return dict(model.state_dict())


def uncounted(model):
    return {k: v for k, v in model.state_dict().items() if "num_batches" not in k}


@pytest.mark.parametrize(
    "form",
    [
        uncounted,
        lambda model: {"state_dict": {k: v.double() for k, v in bare(model).items()}},
        *(
            pytest.param(form, marks=pytest.mark.slow)
            for form in (
                bare,
                lambda model: {"model": bare(model)},
                lambda model: published(model, prefix=""),
            )
        ),
    ],
    ids=["old", "double", "bare", "model", "no prefix"],
)
def test_reads_other_checkpoint_layouts(save, form):
    plain = oracle(18)
    name, state = read_checkpoint(save(form(plain)))
    assert name == "resnet18"
    torch.testing.assert_close(state["head.weight"], plain.linear.weight.data)
    with torch.device("meta"):
        model = Regressor(ImageEncoder(name))
    model.load_state_dict(state, assign=True)


def test_reading_draws_no_random_numbers(save):
    path = save(published(oracle(18)))
    before = torch.get_rng_state()
    load_checkpoint(path)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["resnet18", pytest.param("resnet34", marks=pytest.mark.slow)])
def test_reads_ranksim_checkpoints(save, name):
    torch.manual_seed(0)
    model = Regressor(ImageEncoder(name))
    state = {f"model.{key}": value for key, value in model.state_dict().items()}
    extra = {"fds.mean": torch.rand(3, 4), "metrics.sums": torch.rand(3)}
    path = save({"epoch": 3, "state_dict": state | extra, "callbacks": {"best": 1.0}})
    result, loaded = read_checkpoint(path)
    assert result == name
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(loaded[key], value) for key, value in model.state_dict().items())
    del state["model.head.bias"]
    with pytest.raises(DataError, match=f"read as {name}, lacks head.bias .1 in total.: use a"):
        read_checkpoint(save({"state_dict": state}))


def changed(**values):
    """A published file with other values; ``None`` takes one out."""
    content = published(oracle(18))
    for key, value in values.items():
        key = "module." + key.replace("__", ".")
        content["state_dict"][key] = value
        if value is None:
            del content["state_dict"][key]
    return content


BAD = {
    "lacks layer3.1.bn2.running_var, linear.bias .2 in total": {
        "layer3__1__bn2__running_var": None,
        "linear__bias": None,
    },
    "has the unknown layer3.2.conv3.weight .1 in total": {
        "layer3__2__conv3__weight": torch.zeros(256, 256, 3, 3)
    },
    "has linear.weight of shape .2, 512. instead of .1, 512.": {
        "linear__weight": torch.zeros(2, 512),
        "linear__bias": torch.zeros(2),
    },
    "has values in layer1.0.bn1.bias that are not finite": {
        "layer1__0__bn1__bias": torch.full((64,), torch.nan)
    },
}


@pytest.mark.parametrize("match", BAD)
def test_rejects_checkpoints_with_other_weights(save, match):
    path = save(changed(**BAD[match]))
    with pytest.raises(
        DataError, match=f"{path.name}, read as resnet18, {match}.*: [ud]"
    ) as caught:
        read_checkpoint(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ({"a": torch.zeros(3)}, "is not a ResNet-18, -34 or -50 with the published names"),
        ({}, "is not a ResNet"),
        ([1, 2], "has no state_dict"),
        ({1: 2}, "has no state_dict"),
        ({"state_dict": {"a": 3}}, "has no tensor under 'a'"),
    ],
)
def test_rejects_other_checkpoint_contents(save, content, match):
    with pytest.raises(DataError, match=f"ckpt.pth.tar {match}.*: use another checkpoint.$"):
        read_checkpoint(save(content))


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Odd:
    pass


def test_checkpoint_code_is_not_run(save, tmp_path):
    trace = tmp_path / "trace"
    path = save(published(oracle(18)) | {"best_loss": Evil(f"touch {trace}")})
    with pytest.raises(DataError, match=r"contains an object \(\w+.system\)"):
        read_checkpoint(path)
    path.write_bytes(pickle.dumps(Evil(f"touch {trace}"), protocol=2))
    with pytest.raises(DataError, match="only tensors and plain values are loaded"):
        read_checkpoint(path)
    with pytest.raises(DataError, match=r"contains an object \(.*Odd\)"):
        read_checkpoint(save({"args": Odd()}))
    assert not trace.exists()


def test_damaged_files(save, tmp_path):
    whole = save(published(oracle(18)))
    for content in (b"", b"garbage", whole.read_bytes()[:5000], whole.read_bytes()[:-50]):
        path = tmp_path / "damaged"
        path.write_bytes(content)
        with pytest.raises(DataError, match="damaged is damaged or not a PyTorch checkpoint: "):
            read_checkpoint(path)
    with pytest.raises(DataError, match="Checkpoint .*/nothing does not exist: "):
        read_checkpoint(tmp_path / "nothing")


def test_numpy_scalars_of_other_versions(save, tmp_path):
    numbers = [np.float32(1), np.int64(2), np.bool_(True)]
    path = save(published(oracle(18)) | {"best_loss": numbers})
    other = tmp_path / "other"
    names = [b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n"]  # since NumPy 2, and before
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(other, "w") as target:
        for info in source.infolist():
            content = source.read(info)
            if info.filename.endswith("data.pkl"):
                here, there = sorted(names, key=lambda name: name not in content)
                assert here in content
                content = content.replace(here, there)
            target.writestr(info, content)
    assert read_checkpoint(path)[0] == read_checkpoint(other)[0] == "resnet18"
