import itertools

import numpy as np
import pytest
import scipy.stats
import torch

from ranksim.data.images.augment import CropFlip, _mixed, crop_flip
from ranksim.models.pixels import Pixels
from tests.oracles import images as oracle

ENOUGH = 1e-4  # a smaller p-value is no chance; every draw here is fixed


def noise(*shape, seed=0):
    draw = np.random.default_rng(seed)
    return torch.from_numpy(draw.integers(0, 256, shape, dtype=np.uint8))


def same(images, down, right, mirrored, pad):
    before = images.clone()
    got = crop_flip(images, down, right, mirrored, pad)
    assert got.dtype == torch.uint8
    assert got.shape == images.shape
    assert got.is_contiguous()
    assert torch.equal(images, before)
    for k in range(len(images)):
        expected = oracle.cropped(
            images[k].numpy(), int(down[k]), int(right[k]), bool(mirrored[k]), pad
        )
        np.testing.assert_array_equal(got[k], expected, err_msg=f"{down[k]} {right[k]} {pad}")
    return got


def everywhere(pad):
    """Every offset, with and without a mirror."""
    places = itertools.product(range(2 * pad + 1), range(2 * pad + 1), (False, True))
    down, right, mirrored = zip(*places, strict=True)
    return torch.tensor(down), torch.tensor(right), torch.tensor(mirrored)


@pytest.mark.parametrize("pad", [0, 1, 2, 5])
@pytest.mark.parametrize("size", [(1, 1), (4, 4), (5, 7), (7, 2), (1, 6)])
def test_every_crop_and_mirror(size, pad):
    places = everywhere(pad)
    same(noise(len(places[0]), *size, 3), *places, pad)


@pytest.mark.parametrize("pad", [0, 2])
def test_images_that_are_views(pad):
    places = everywhere(pad)
    count = len(places[0])
    for images in (
        noise(count, 3, 6, 5).permute(0, 2, 3, 1),  # channels first
        noise(2 * count, 6, 12, 4)[::2, :, 1::2, :3],
        noise(count, 6, 5, 3).flip(1).transpose(1, 2),
        noise(1, 6, 5, 3).expand(count, 6, 5, 3),
        noise(count + 3, 6, 5, 3)[3:],
    ):
        same(images, *places, pad)


@pytest.mark.parametrize("pad", [0, 3])
def test_a_result_is_a_copy(pad):
    images = noise(4, 6, 6, 3)
    before = images.clone()
    for mirrored in (torch.zeros(4).bool(), torch.ones(4).bool()):
        made = crop_flip(images, torch.zeros(4).long(), torch.zeros(4).long(), mirrored, pad)
        made.zero_()
        assert torch.equal(images, before)


@pytest.mark.parametrize("pad", [0, 2])
def test_no_images(pad):
    (made,) = CropFlip(0, pad, True)((noise(0, 5, 4, 3),), torch.tensor([], dtype=torch.int64), 0)
    assert made.shape == (0, 5, 4, 3)


def test_the_oracle_tells_wrong_crops():
    images, (down, right, mirrored) = noise(18, 4, 5, 3), everywhere(1)
    got = crop_flip(images, right, down, mirrored, 1)
    expected = np.stack([
        oracle.cropped(image.numpy(), int(d), int(r), bool(m), 1)
        for image, d, r, m in zip(images, down, right, mirrored, strict=True)
    ])  # fmt: skip
    alike = (got.numpy() == expected).all((1, 2, 3))
    np.testing.assert_array_equal(alike, (down == right).numpy())


def test_splitmix64():
    assert oracle.splitmix64(0) == 0xE220A8397B1DCDAF  # published
    states = [0, 1, -1, 2**62, -(2**63), 2**63 - 1]
    states += np.random.default_rng(0).integers(-(2**63), 2**63, 500).tolist()
    got = _mixed(torch.tensor(states))
    assert got.dtype == torch.int64
    assert [bits & oracle.WORD for bits in got.tolist()] == [
        oracle.splitmix64(state & oracle.WORD) for state in states
    ]


@pytest.mark.parametrize("seed", [0, 1, 666, -3, 2**31, 2**63 - 1])
@pytest.mark.parametrize("pad", [0, 1, 16, 1_000])
def test_draws_are_those_of_the_oracle(seed, pad):
    index = torch.tensor([0, 1, 2, 12_207, 2**31, 2**32 + 1, 2**53 + 1, 2**62, 2**63 - 1])
    for epoch in (0, 1, 89, 10**6):
        got = CropFlip(seed, pad, True).draw(index, epoch)
        expected = [oracle.draws(seed, epoch, k, pad) for k in index.tolist()]
        assert list(zip(*(part.tolist() for part in got), strict=True)) == expected
        assert not CropFlip(seed, pad, False).draw(index, epoch)[2].any()


def cells(seed, epoch, count=20_000, pad=2, start=0):
    """What each sample is given, as one number, and how many there are."""
    index = torch.arange(start, start + count)
    down, right, mirrored = CropFlip(seed, pad, True).draw(index, epoch)
    side = 2 * pad + 1
    return (((down * side) + right) * 2 + mirrored).numpy(), 2 * side**2


def independent(first, second, count):
    """The p-value of a test that two draws have nothing to do with each other."""
    table = np.bincount(first * count + second, minlength=count**2).reshape(count, count)
    return scipy.stats.chi2_contingency(table[table.any(1)][:, table.any(0)]).pvalue


def uniform(drawn, count):
    return scipy.stats.chisquare(np.bincount(drawn, minlength=count)).pvalue


def test_all_places_are_equally_likely():
    found = []
    for pad, (seed, epoch) in itertools.product((0, 1, 2, 16), ((0, 0), (0, 1), (1, 0), (7, 89))):
        drawn, count = cells(seed, epoch, 50_000, pad)
        assert drawn.min() >= 0
        assert drawn.max() < count
        found.append(uniform(drawn, count))
    # of one sample over the epochs
    for sample in (0, 1, 12_207):
        drawn = [cells(0, epoch, 1, start=sample)[0][0] for epoch in range(5_000)]
        found.append(uniform(np.array(drawn), 50))
    for pad in (1, 16):
        offsets = CropFlip(3, pad, True).draw(torch.arange(100_000), 5)
        for drawn, count in zip(offsets, (2 * pad + 1, 2 * pad + 1, 2), strict=True):
            found.append(uniform(drawn.numpy().astype(int), count))
    assert min(found) > ENOUGH
    assert scipy.stats.kstest(found, "uniform").pvalue > ENOUGH  # and not suspiciously even


def test_draws_know_nothing_of_each_other():
    found = {}
    drawn, count = cells(0, 0, 200_000)
    for apart in (1, 2, 64, 12_208):  # neighbouring samples
        found["sample", apart] = independent(drawn[:-apart], drawn[apart:], count)
    for epoch in (1, 2, 90):
        found["epoch", epoch] = independent(drawn, cells(0, epoch, 200_000)[0], count)
    for seed in (1, 2, 666):
        found["seed", seed] = independent(drawn, cells(seed, 0, 200_000)[0], count)
        found["both", seed] = independent(drawn, cells(seed, seed, 200_000)[0], count)
    # sample k in epoch e against sample k + 1 in epoch e − 1: epoch and position are not added
    found["moved"] = independent(drawn[1:], cells(0, 1, 200_000)[0][:-1], count)
    found["seed for epoch"] = independent(cells(1, 0, 200_000)[0], cells(0, 1, 200_000)[0], count)
    down, right, mirrored = (
        part.numpy().astype(int) for part in CropFlip(0, 2, True).draw(torch.arange(200_000), 0)
    )
    found["directions"] = independent(down, right, 5)
    found["down and mirror"] = independent(down, mirrored, 5)
    found["right and mirror"] = independent(right, mirrored, 5)
    assert min(found.values()) > ENOUGH, found
    assert independent(drawn, drawn, count) < ENOUGH  # the test can fail
    assert independent(drawn, (drawn + (np.arange(200_000) % 40 == 0)) % count, count) < ENOUGH


def test_a_sample_is_given_the_same_in_any_batch():
    images, index = noise(30, 6, 5, 3), torch.arange(30) * 11
    augment = CropFlip(4, 2, True)
    (whole,) = augment((images,), index, 3)
    draw = np.random.default_rng(0)
    for size in (1, 7, 29):
        torch.manual_seed(size)  # nobody's generator matters, and none is moved
        before = torch.random.get_rng_state()
        order = torch.from_numpy(draw.permutation(30))
        for rows in order.split(size):
            (part,) = CropFlip(4, 2, True)((images[rows],), index[rows], 3)
            assert torch.equal(part, whole[rows])
        assert torch.equal(torch.random.get_rng_state(), before)
    for other in (augment((images,), index, 4), CropFlip(5, 2, True)((images,), index, 3)):
        assert (other[0] != whole).flatten(1).any(1).sum() > 25


@pytest.mark.parametrize("flip", [False, True])
def test_without_a_border(flip):
    images = noise(40, 5, 4, 3)
    (made,) = CropFlip(1, 0, flip)((images,), torch.arange(40), 2)
    turned = (made == images.flip(2)).flatten(1).all(1)
    assert ((made == images).flatten(1).all(1) | turned).all()
    assert 5 < turned.sum() < 35 if flip else not turned.any()


def test_batches_have_the_distribution_of_the_recipe_of_single_images():
    """The same outcomes, equally often; the same mean and deviation of every pixel."""
    mean, std, pad, count = (0.5, 0.4, 0.3), (0.2, 0.3, 0.5), 1, 6_000
    image = noise(4, 5, 3, seed=3)
    pixels = Pixels(mean, std)
    (made,) = CropFlip(2, pad, True)((image.expand(count, -1, -1, -1),), torch.arange(count), 7)
    batch = pixels(made, torch.float64).numpy()
    draw = np.random.default_rng(1)
    single = np.stack([oracle.recipe(image.numpy(), draw, pad, mean, std) for _ in range(count)])
    assert batch.shape == single.shape == (count, 3, 4, 5)
    outcomes, place = np.unique(
        np.concatenate([batch, single]).round(9).reshape(2 * count, -1), axis=0, return_inverse=True
    )
    assert len(outcomes) == 18
    table = np.stack([np.bincount(half, minlength=18) for half in np.split(place.ravel(), 2)])
    assert scipy.stats.chi2_contingency(table).pvalue > ENOUGH
    spread = np.sqrt((batch.var(0) + single.var(0)) / count)
    assert (np.abs(batch.mean(0) - single.mean(0)) < 5 * spread + 1e-12).all()
    np.testing.assert_allclose(batch.std(0), single.std(0), rtol=0.1, atol=1e-9)
    exact = np.stack([
        oracle.normalised(oracle.cropped(image.numpy(), d, r, m, pad)[None], mean, std)[0]
        for d, r, m in itertools.product(range(3), range(3), (False, True))
    ])  # fmt: skip
    assert (np.abs(batch.mean(0) - exact.mean(0)) < 5 * spread + 1e-12).all()
