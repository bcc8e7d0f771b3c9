import itertools

import numpy as np
import pytest
import scipy.stats
import torch

from ranksim.data.images.augment import CropFlip, crop_flip
from ranksim.data.random_bits import splitmix64
from ranksim.models.vision import Pixels
from tests.oracles import images as oracle

MIN_P = 1e-4  # all draws are fixed, so smaller p-values are errors


def noise(*shape, seed=0):
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.integers(0, 256, shape, dtype=np.uint8))


def assert_crops(images, top, left, flipped, pad):
    before = images.clone()
    got = crop_flip(images, top, left, flipped, pad)
    assert got.dtype == torch.uint8
    assert got.shape == images.shape
    assert got.is_contiguous()
    assert torch.equal(images, before)
    for k in range(len(images)):
        expected = oracle.crop(images[k].numpy(), int(top[k]), int(left[k]), bool(flipped[k]), pad)
        np.testing.assert_array_equal(got[k], expected, err_msg=f"{top[k]} {left[k]} {pad}")
    return got


def all_crops(pad):
    """Return every offset, with and without a flip."""
    places = itertools.product(range(2 * pad + 1), range(2 * pad + 1), (False, True))
    top, left, flipped = zip(*places, strict=True)
    return torch.tensor(top), torch.tensor(left), torch.tensor(flipped)


@pytest.mark.parametrize("pad", [0, 1, 2, 5])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 7), (7, 2), (1, 6)])
def test_every_crop_and_flip(size, pad):
    places = all_crops(pad)
    assert_crops(noise(len(places[0]), *size, 3), *places, pad)


@pytest.mark.parametrize("pad", [0, 2])
def test_accepts_strided_images(pad):
    places = all_crops(pad)
    count = len(places[0])
    for images in (
        noise(count, 3, 6, 5).permute(0, 2, 3, 1),  # channels first
        noise(2 * count, 6, 12, 4)[::2, :, 1::2, :3],
        noise(count, 6, 5, 3).flip(1).transpose(1, 2),
        noise(1, 6, 5, 3).expand(count, 6, 5, 3),
        noise(count + 3, 6, 5, 3)[3:],
    ):
        assert_crops(images, *places, pad)


@pytest.mark.parametrize("pad", [0, 3])
def test_result_is_a_copy(pad):
    images = noise(4, 6, 6, 3)
    before = images.clone()
    for flipped in (torch.zeros(4).bool(), torch.ones(4).bool()):
        augmented = crop_flip(images, torch.zeros(4).long(), torch.zeros(4).long(), flipped, pad)
        augmented.zero_()
        assert torch.equal(images, before)


@pytest.mark.parametrize("pad", [0, 2])
def test_accepts_an_empty_batch(pad):
    (augmented,) = CropFlip(0, pad, True)(
        (noise(0, 5, 4, 3),), torch.tensor([], dtype=torch.int64), 0
    )
    assert augmented.shape == (0, 5, 4, 3)


def test_oracle_detects_wrong_crops():
    images, (top, left, flipped) = noise(18, 4, 5, 3), all_crops(1)
    got = crop_flip(images, left, top, flipped, 1)
    expected = np.stack([
        oracle.crop(image.numpy(), int(d), int(r), bool(m), 1)
        for image, d, r, m in zip(images, top, left, flipped, strict=True)
    ])  # fmt: skip
    alike = (got.numpy() == expected).all((1, 2, 3))
    np.testing.assert_array_equal(alike, (top == left).numpy())


def test_splitmix64_matches_the_oracle():
    assert oracle.splitmix64(0) == 0xE220A8397B1DCDAF  # published
    states = [0, 1, -1, 2**62, -(2**63), 2**63 - 1]
    states += np.random.default_rng(0).integers(-(2**63), 2**63, 500).tolist()
    got = splitmix64(torch.tensor(states))
    assert got.dtype == torch.int64
    assert [bits & oracle.WORD for bits in got.tolist()] == [
        oracle.splitmix64(state & oracle.WORD) for state in states
    ]


@pytest.mark.parametrize("seed", [0, 1, 666, -3, 2**31, 2**63 - 1])
@pytest.mark.parametrize("pad", [0, 1, 16, 1_000])
def test_draws_match_the_oracle(seed, pad):
    index = torch.tensor([0, 1, 2, 12_207, 2**31, 2**32 + 1, 2**53 + 1, 2**62, 2**63 - 1])
    for epoch in (0, 1, 89, 10**6):
        got = CropFlip(seed, pad, True).draw(index, epoch)
        expected = [oracle.draws(seed, epoch, k, pad) for k in index.tolist()]
        assert list(zip(*(part.tolist() for part in got), strict=True)) == expected
        assert not CropFlip(seed, pad, False).draw(index, epoch)[2].any()


def cells(seed, epoch, count=20_000, pad=2, start=0):
    """Return the draw of each sample as one number, and the number of outcomes."""
    index = torch.arange(start, start + count)
    top, left, flipped = CropFlip(seed, pad, True).draw(index, epoch)
    side = 2 * pad + 1
    return (((top * side) + left) * 2 + flipped).numpy(), 2 * side**2


def independence_p(first, second, count):
    """Return the p-value of a test of independence of two draws."""
    table = np.bincount(first * count + second, minlength=count**2).reshape(count, count)
    return scipy.stats.chi2_contingency(table[table.any(1)][:, table.any(0)]).pvalue


def uniformity_p(drawn, count):
    return scipy.stats.chisquare(np.bincount(drawn, minlength=count)).pvalue


@pytest.mark.slow
def test_draws_are_uniform():
    p_values = []
    for pad, (seed, epoch) in itertools.product((0, 1, 2, 16), ((0, 0), (0, 1), (1, 0), (7, 89))):
        drawn, count = cells(seed, epoch, 50_000, pad)
        assert drawn.min() >= 0
        assert drawn.max() < count
        p_values.append(uniformity_p(drawn, count))
    # of one sample over the epochs
    for sample in (0, 1, 12_207):
        drawn = [cells(0, epoch, 1, start=sample)[0][0] for epoch in range(2_000)]
        p_values.append(uniformity_p(np.array(drawn), 50))
    for pad in (1, 16):
        offsets = CropFlip(3, pad, True).draw(torch.arange(100_000), 5)
        for drawn, count in zip(offsets, (2 * pad + 1, 2 * pad + 1, 2), strict=True):
            p_values.append(uniformity_p(drawn.numpy().astype(int), count))
    assert min(p_values) > MIN_P
    assert scipy.stats.kstest(p_values, "uniform").pvalue > MIN_P  # but not more even than chance


@pytest.mark.slow
def test_draws_are_independent():
    p_values = {}
    drawn, count = cells(0, 0, 200_000)
    for apart in (1, 2, 64, 12_208):  # neighboring samples
        p_values["sample", apart] = independence_p(drawn[:-apart], drawn[apart:], count)
    for epoch in (1, 2, 90):
        p_values["epoch", epoch] = independence_p(drawn, cells(0, epoch, 200_000)[0], count)
    for seed in (1, 2, 666):
        p_values["seed", seed] = independence_p(drawn, cells(seed, 0, 200_000)[0], count)
        p_values["both", seed] = independence_p(drawn, cells(seed, seed, 200_000)[0], count)
    # sample k in epoch e against sample k + 1 in epoch e − 1: epoch and position are not added
    p_values["moved"] = independence_p(drawn[1:], cells(0, 1, 200_000)[0][:-1], count)
    p_values["seed for epoch"] = independence_p(
        cells(1, 0, 200_000)[0], cells(0, 1, 200_000)[0], count
    )
    top, left, flipped = (
        part.numpy().astype(int) for part in CropFlip(0, 2, True).draw(torch.arange(200_000), 0)
    )
    p_values["directions"] = independence_p(top, left, 5)
    p_values["top and flip"] = independence_p(top, flipped, 5)
    p_values["left and flip"] = independence_p(left, flipped, 5)
    assert min(p_values.values()) > MIN_P, p_values
    assert independence_p(drawn, drawn, count) < MIN_P  # the test can fail
    assert independence_p(drawn, (drawn + (np.arange(200_000) % 40 == 0)) % count, count) < MIN_P


def test_draws_do_not_depend_on_the_batch():
    images, index = noise(30, 6, 5, 3), torch.arange(30) * 11
    augment = CropFlip(4, 2, True)
    (whole,) = augment((images,), index, 3)
    draw = np.random.default_rng(0)
    for size in (1, 7, 29):
        torch.manual_seed(size)  # the global generator is neither used nor changed
        before = torch.random.get_rng_state()
        order = torch.from_numpy(draw.permutation(30))
        for rows in order.split(size):
            (part,) = CropFlip(4, 2, True)((images[rows],), index[rows], 3)
            assert torch.equal(part, whole[rows])
        assert torch.equal(torch.random.get_rng_state(), before)
    for other in (augment((images,), index, 4), CropFlip(5, 2, True)((images,), index, 3)):
        assert (other[0] != whole).flatten(1).any(1).sum() > 25


@pytest.mark.parametrize("flip", [False, True])
def test_without_padding(flip):
    images = noise(40, 5, 4, 3)
    (augmented,) = CropFlip(1, 0, flip)((images,), torch.arange(40), 2)
    turned = (augmented == images.flip(2)).flatten(1).all(1)
    assert ((augmented == images).flatten(1).all(1) | turned).all()
    assert 5 < turned.sum() < 35 if flip else not turned.any()


@pytest.mark.slow
def test_batches_have_the_distribution_of_single_images():
    """The same outcomes, equally often; the same mean and deviation of every pixel."""
    mean, std, pad, count = (0.5, 0.4, 0.3), (0.2, 0.3, 0.5), 1, 6_000
    image = noise(4, 5, 3, seed=3)
    pixels = Pixels(mean, std)
    (augmented,) = CropFlip(2, pad, True)(
        (image.expand(count, -1, -1, -1),), torch.arange(count), 7
    )
    batch = pixels(augmented, torch.float64).numpy()
    draw = np.random.default_rng(1)
    single = np.stack([oracle.augment(image.numpy(), draw, pad, mean, std) for _ in range(count)])
    assert batch.shape == single.shape == (count, 3, 4, 5)
    outcomes, place = np.unique(
        np.concatenate([batch, single]).round(9).reshape(2 * count, -1), axis=0, return_inverse=True
    )
    assert len(outcomes) == 18
    table = np.stack([np.bincount(half, minlength=18) for half in np.split(place.ravel(), 2)])
    assert scipy.stats.chi2_contingency(table).pvalue > MIN_P
    spread = np.sqrt((batch.var(0) + single.var(0)) / count)
    assert (np.abs(batch.mean(0) - single.mean(0)) < 5 * spread + 1e-12).all()
    np.testing.assert_allclose(batch.std(0), single.std(0), rtol=0.1, atol=1e-9)
    exact = np.stack([
        oracle.normalize(oracle.crop(image.numpy(), d, r, m, pad)[None], mean, std)[0]
        for d, r, m in itertools.product(range(3), range(3), (False, True))
    ])  # fmt: skip
    assert (np.abs(batch.mean(0) - exact.mean(0)) < 5 * spread + 1e-12).all()
