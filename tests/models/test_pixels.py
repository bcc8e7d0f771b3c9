import copy
import io
import pickle

import numpy as np
import pytest
import torch

from ranksim.models.vision import Pixels
from tests.helpers.pairwise import pairwise
from tests.oracles import images as oracle

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLOSE = {torch.float64: 1e-13, torch.float32: 2e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def noise(*shape, seed=0):
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.integers(0, 256, shape, dtype=np.uint8))


def expected(images, mean=MEAN, std=STD, bgr=False):
    result = oracle.normalize(images.numpy().astype(np.float64), mean, std)
    return torch.from_numpy(result[:, ::-1].copy() if bgr else result)


CASES = pairwise(
    constants=[(MEAN, STD), ((0.5,) * 3, (0.5,) * 3), ((0.5,) * 3, STD), (list(MEAN), [0.5] * 3)],
    bgr=[False, True],
    channels_last=[False, True],
    dtype=list(CLOSE),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case.values())))
def test_normalizes_every_channel(case):
    """The mean of red applies to red, whatever the order of the channels."""
    (mean, std), bgr, channels_last, dtype = case.values()
    images = noise(3, 5, 4, 3)
    images[0, 0, :3] = torch.tensor([[0, 127, 255], [255, 0, 128], [128, 255, 0]])
    before = images.clone()
    got = Pixels(mean, std, channels_last=channels_last, bgr=bgr)(images, dtype)
    assert got.dtype == dtype
    assert torch.equal(images, before)
    kind = torch.channels_last if channels_last else torch.contiguous_format
    assert got.is_contiguous(memory_format=kind)
    torch.testing.assert_close(
        got.double(), expected(images, mean, std, bgr), rtol=0, atol=CLOSE[dtype]
    )
    if dtype in (torch.float16, torch.bfloat16):  # rounded once, at the end
        exact = Pixels(mean, std, bgr=bgr)(images, torch.float32)
        assert torch.equal(got.contiguous(), exact.to(dtype))


@pytest.mark.parametrize("channels_last", [False, True])
def test_images_that_are_views(channels_last):
    pixels = Pixels(MEAN, STD, channels_last=channels_last)
    for images in (
        noise(2, 3, 5, 4).permute(0, 2, 3, 1),
        noise(4, 6, 8, 4)[::2, :, 1::2, :3],
        noise(1, 5, 4, 3).expand(3, -1, -1, -1),
        noise(1, 1, 1, 3),
        noise(0, 5, 4, 3),
    ):
        torch.testing.assert_close(
            pixels(images, torch.float32), expected(images).float(), rtol=0, atol=2e-6
        )


def through_a_file(pixels):
    buffer = io.BytesIO()
    torch.save(pixels, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "pickle": lambda pixels: pickle.loads(pickle.dumps(pixels)),
    "file": through_a_file,
    "half": lambda pixels: pixels.half(),
    "half and back": lambda pixels: pixels.bfloat16().float(),
    "double": lambda pixels: pixels.double(),
    "meta and back": lambda pixels: pixels.to("meta").to_empty(device="cpu"),
    "copy on meta": lambda pixels: copy.deepcopy(pixels.to("meta")).to_empty(device="cpu"),
    "within a network": lambda pixels: torch.nn.Sequential(pixels).half().cpu()[0],
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("mean", [MEAN, (0.1,) * 3])
def test_pixel_constants_are_not_rounded(how, mean):
    std = STD if mean is MEAN else (0.3,) * 3
    pixels, images = Pixels(mean, std), noise(2, 5, 4, 3)
    exact, single = pixels(images, torch.float64), pixels(images, torch.float32)
    single = single.clone()
    result = COPIES[how](pixels)
    assert result.scale.device.type == result.shift.device.type == "cpu"
    assert torch.equal(result(images, torch.float64), exact)
    assert torch.equal(result(images, torch.float32), single)
    assert result.state_dict() == {}


def test_pixel_constants_follow_device():
    pixels = Pixels(MEAN, STD).to("meta")
    assert pixels(noise(2, 5, 4, 3).to("meta"), torch.float32).shape == (2, 3, 5, 4)
    with torch.device("meta"):  # a network made without memory
        result = Pixels(MEAN, STD)
    images = noise(2, 5, 4, 3)
    torch.testing.assert_close(result(images, torch.float64), expected(images), rtol=0, atol=1e-13)


def test_no_float64_on_mps():
    """MPS has none."""

    def move(tensor):
        assert tensor.dtype != torch.float64
        return tensor.clone()

    pixels = Pixels(MEAN, STD)
    for _ in range(2):
        pixels._apply(move)
        assert pixels.scale.dtype == torch.float64


@pytest.mark.slow
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("bgr", [False, True])
def test_compiled(channels_last, bgr):
    pixels = Pixels(MEAN, STD, channels_last=channels_last, bgr=bgr)
    torch._dynamo.reset()  # it counts compilations of one function
    compiled = torch.compile(pixels, fullgraph=True, backend="eager")
    for count in (2, 3, 2):
        images = noise(count, 5, 4, 3, seed=count)
        got = [compiled(images, dtype) for dtype in (torch.float32, torch.float64)]
        torch.testing.assert_close(got[0], pixels(images, torch.float32))
        torch.testing.assert_close(got[1], expected(images, bgr=bgr), rtol=0, atol=1e-13)
