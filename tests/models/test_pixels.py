import copy
import gc
import io
import pickle
import sys
import threading
import time

import numpy as np
import pytest
import torch

from ranksim.models.pixels import Pixels
from tests.oracles import images as oracle

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLOSE = {torch.float64: 1e-13, torch.float32: 2e-6, torch.float16: 4e-3, torch.bfloat16: 3e-2}


def noise(*shape, seed=0):
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.integers(0, 256, shape, dtype=np.uint8))


def expected(images, mean=MEAN, std=STD, bgr=False):
    made = oracle.normalised(images.numpy().astype(np.float64), mean, std)
    return torch.from_numpy(made[:, ::-1].copy() if bgr else made)


@pytest.mark.parametrize("dtype", CLOSE)
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize(
    ("mean", "std"),
    [(MEAN, STD), ((0.5,) * 3, (0.5,) * 3), ((0.0,) * 3, (1.0,) * 3), ((0.5,) * 3, STD),
     (list(MEAN), [0.5] * 3)],
)  # fmt: skip
def test_every_colour_is_scaled(mean, std, bgr, channels_last, dtype):
    """Red's mean is red's, whichever colour the network takes first."""
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


def held(pixels, images):
    """What may hold a result, each by itself."""
    made = pixels(images, torch.float32)
    yield "tensor", made
    yield "view", pixels(images, torch.float32)[1, :, 2:]
    yield "array", pixels(images, torch.float32).numpy()
    yield "detached", pixels(images, torch.float32).detach()
    yield "storage", pixels(images, torch.float32).untyped_storage()


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_result_stays_valid_while_anything_holds_it(channels_last):
    pixels, images = Pixels(MEAN, STD, channels_last=channels_last), noise(2, 5, 4, 3)
    kept = dict(held(pixels, images))
    for seed in range(1, 6):  # others would write over it
        pixels(noise(2, 5, 4, 3, seed=seed), torch.float32)
    exact = Pixels(MEAN, STD, channels_last=channels_last)(images, torch.float64).float()
    close = {"rtol": 0, "atol": 2e-6}
    for name in ("tensor", "detached"):
        torch.testing.assert_close(kept[name], exact, **close)
    torch.testing.assert_close(kept["view"], exact[1, :, 2:], **close)
    torch.testing.assert_close(torch.from_numpy(kept["array"]), exact, **close)
    flat = torch.frombuffer(bytearray(bytes(kept["storage"])), dtype=torch.float32)
    order = exact.permute(0, 2, 3, 1) if channels_last else exact
    torch.testing.assert_close(flat, order.flatten(), **close)


def test_results_that_are_all_held():
    pixels = Pixels(MEAN, STD)
    batches = [noise(2, 5, 4, 3, seed=seed) for seed in range(6)]
    made = [pixels(images, torch.float32) for images in batches]
    assert len({result.data_ptr() for result in made}) == 6
    for images, result in zip(batches, made, strict=True):
        torch.testing.assert_close(result, expected(images).float(), rtol=0, atol=2e-6)


def gradients(pixels, batches, together):
    """Of a convolution, which keeps its input until backward."""
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(3, 2, 3)
    losses, found = [], []
    for images in batches:
        losses.append((conv(pixels(images, torch.float32)) ** 2).sum())
        if not together:
            losses.pop().backward()
            found.append(conv.weight.grad.clone())
            conv.weight.grad = None
    for loss in losses:
        loss.backward()
        found.append(conv.weight.grad.clone())
        conv.weight.grad = None
    return found


@pytest.mark.parametrize("channels_last", [False, True])
def test_graphs_hold_their_input(channels_last):
    batches = [noise(2, 6, 6, 3, seed=seed) for seed in range(4)]
    pixels = Pixels(MEAN, STD, channels_last=channels_last)
    together, apart = (gradients(pixels, batches, held) for held in (True, False))
    for one, other in zip(together, apart, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(apart[0], apart[1])


def test_memory_is_used_again_once_it_is_free():
    pixels, images = Pixels(MEAN, STD), noise(2, 5, 4, 3)
    first = pixels(images, torch.float32)
    place = first.data_ptr()
    del first
    for seed in range(3):
        assert pixels(noise(2, 5, 4, 3, seed=seed), torch.float32).data_ptr() == place
    view = pixels(images, torch.float32)[0]
    other = pixels(images, torch.float32)
    assert other.data_ptr() != place
    del view
    assert pixels(images, torch.float32).data_ptr() == place
    del other
    graph = (pixels(images, torch.float32) * torch.ones(1, requires_grad=True)).sum()
    assert pixels(images, torch.float32).data_ptr() != place
    del graph
    gc.collect()
    assert pixels(images, torch.float32).data_ptr() == place
    small = pixels(images[:1], torch.float32)
    assert small.shape == (1, 3, 5, 4)
    torch.testing.assert_close(small, expected(images[:1]).float(), rtol=0, atol=2e-6)


def test_threads_do_not_share_memory(monkeypatch):
    """Two of them ask while the other one is about to decide."""
    real = sys.getrefcount

    def slow(array):
        count = real(array)
        del array  # it holds the memory too
        time.sleep(0.01)
        return count

    monkeypatch.setattr(sys, "getrefcount", slow)
    pixels, made = Pixels((0.0,) * 3, (1 / 255,) * 3), {}
    pixels(noise(1, 2, 2, 3), torch.float32)
    start = threading.Barrier(2)

    def work(value):
        start.wait()
        made[value] = pixels(torch.full((1, 2, 2, 3), value, dtype=torch.uint8), torch.float32)

    threads = [threading.Thread(target=work, args=(value,)) for value in (7, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {value: set(result.flatten().tolist()) for value, result in made.items()} == {
        7: {7.0},
        9: {9.0},
    }


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
def test_constants_keep_their_digits(how, mean):
    std = STD if mean is MEAN else (0.3,) * 3
    pixels, images = Pixels(mean, std), noise(2, 5, 4, 3)
    exact, single = pixels(images, torch.float64), pixels(images, torch.float32)
    single = single.clone()
    made = COPIES[how](pixels)
    assert made.scale.device.type == made.shift.device.type == "cpu"
    assert torch.equal(made(images, torch.float64), exact)
    assert torch.equal(made(images, torch.float32), single)
    assert made.state_dict() == {}


def test_a_copy_has_memory_of_its_own():
    pixels, images = Pixels(MEAN, STD), noise(2, 5, 4, 3)
    pixels(images, torch.float32)
    for how in ("deepcopy", "pickle"):
        assert len(pickle.dumps(pixels)) < 4_000
        other = COPIES[how](pixels)
        places = {p(images, torch.float32).data_ptr() for p in (pixels, other)}
        assert len(places) == 2


def test_constants_go_where_the_network_goes():
    pixels = Pixels(MEAN, STD).to("meta")
    assert pixels(noise(2, 5, 4, 3).to("meta"), torch.float32).shape == (2, 3, 5, 4)
    with torch.device("meta"):  # a network made without memory
        made = Pixels(MEAN, STD)
    images = noise(2, 5, 4, 3)
    torch.testing.assert_close(made(images, torch.float64), expected(images), rtol=0, atol=1e-13)


def test_no_device_is_asked_for_float64():
    """MPS has none."""

    def move(tensor):
        assert tensor.dtype != torch.float64
        return tensor.clone()

    pixels = Pixels(MEAN, STD)
    for _ in range(2):
        pixels._apply(move)
        assert pixels.scale.dtype == torch.float64


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


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_recorded_program_holds_no_memory():
    pixels, images = Pixels(MEAN, STD), noise(2, 5, 4, 3)
    traced = torch.jit.trace(lambda images: pixels(images, torch.float32), images)
    first, second = traced(images), traced(noise(2, 5, 4, 3, seed=1))
    assert first.data_ptr() != second.data_ptr()
    torch.testing.assert_close(first, expected(images).float(), rtol=0, atol=2e-6)
