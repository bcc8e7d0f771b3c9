"""Draws of unique labels, and of positions of dense targets."""

import re

import numpy as np
import pytest
import torch

from ranksim.functional import draw_unique, sample_positions, sampling
from tests.helpers.dense import SHAPES, labeled_positions, make_dense_batch
from tests.helpers.pairwise import parametrize_pairwise


class TestDrawUnique:
    def test_draws_one_sample_per_label_uniformly(self):
        labels = torch.tensor([5, 7, 5, 5, 7, 9])
        generator = torch.Generator().manual_seed(0)
        draws = torch.stack([draw_unique(labels, generator=generator) for _ in range(3000)])
        assert (labels[draws].sort(dim=1).values == torch.tensor([5, 7, 9])).all()
        share = torch.bincount(draws.flatten(), minlength=6) / 3000
        expected = torch.tensor([1 / 3, 1 / 2, 1 / 3, 1 / 3, 1 / 2, 1.0])
        torch.testing.assert_close(share, expected, atol=0.04, rtol=0)

    def test_generator_determines_the_draw(self):
        labels = torch.randint(0, 9, (64,))
        draws = [
            draw_unique(labels, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
        ]
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])
        assert torch.equal(draws[0], draws[0].sort().values)

    def test_width_merges_real_labels(self):
        labels = torch.tensor([0.30, 0.1 * 3, 0.39, 0.40, -0.05], dtype=torch.float32)
        assert len(draw_unique(labels, 0.1)) == 3
        assert len(draw_unique(labels)) >= 4

    def test_labels_of_several_dimensions(self):
        assert len(draw_unique(torch.tensor([[1, 2], [1, 2], [2, 1]]))) == 2


@parametrize_pairwise(shape=SHAPES, columns=[1, 2])
def test_all_positions_in_batch_order(shape, columns):
    missing = 0.3 if len(shape) > 3 else 0.0
    features, labels = make_dense_batch(shape, columns=columns, missing=missing)
    result = sample_positions(features, labels, 10_000)
    for tensor, expected in zip(result, labeled_positions(features, labels), strict=True):
        np.testing.assert_array_equal(tensor.numpy(), expected)


def test_positions_are_drawn_uniformly_without_replacement():
    labels = torch.arange(12.0).view(2, 1, 2, 3)
    labels[1, 0, 0, 1] = torch.nan  # position 7
    features, draw = labels.expand(2, 4, 2, 3), torch.Generator().manual_seed(0)
    counts, rounds = np.zeros(12, int), 1_000
    for _ in range(rounds):
        z, y = sample_positions(features, labels, 5, generator=draw)
        assert z.shape == (5, 4)
        assert torch.equal(z, y.expand(5, 4))
        drawn = y.flatten().int().tolist()
        assert drawn == sorted(set(drawn))
        counts[drawn] += 1
    assert counts[7] == 0
    deviation = np.sqrt(rounds * 5 / 11 * 6 / 11)
    assert np.abs(np.delete(counts, 7) - rounds * 5 / 11).max() < 5 * deviation


def test_missing_labels_do_not_change_the_generator():
    states = []
    for missing in (0.0, 0.9):
        draw = torch.Generator().manual_seed(0)
        sample_positions(*make_dense_batch((2, 4, 5, 5), missing=missing), 7, generator=draw)
        states.append(draw.get_state())
    assert torch.equal(*states)


def test_gradient_flows_to_drawn_positions():
    features, labels = make_dense_batch((2, 3, 3, 2))
    features.requires_grad_()

    def draw_features(features):
        return sample_positions(features, labels, 5, generator=torch.Generator().manual_seed(1))[0]

    assert torch.autograd.gradcheck(draw_features, features)
    upstream = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    rows = draw_features(features)
    (rows * upstream).sum().backward()
    expected, z = np.zeros(features.shape), features.detach().numpy()
    for row, gradient in zip(rows.detach().numpy(), upstream.numpy(), strict=True):
        ((n, i, j),) = np.argwhere((z == row[None, :, None, None]).all(1))
        expected[n, :, i, j] = gradient
    np.testing.assert_array_equal(features.grad.numpy(), expected)


@pytest.mark.parametrize("memory_format", [torch.channels_last, torch.contiguous_format])
def test_half_precision_in_any_memory_format(memory_format):
    features, labels = make_dense_batch((2, 4, 3, 3), dtype=torch.float32)
    features = features.bfloat16().contiguous(memory_format=memory_format)
    z, _ = sample_positions(features, labels, 100)
    expected, _ = labeled_positions(features.float(), labels)
    np.testing.assert_array_equal(z.float().numpy(), expected)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            (torch.zeros(2, 4, 3), torch.zeros(2, 1, 4), 8),
            ValueError,
            "dense features must have shape (N, D, ...) and labels (N, K, ...) on the same "
            "positions, got features (2, 4, 3) and labels (2, 1, 4)",
        ),
        (
            ([1], torch.zeros(2, 1, 4), 8),
            TypeError,
            "features must be a torch.Tensor, got list: convert numbers with torch.as_tensor",
        ),
        (
            (torch.zeros(2, 4, 3), torch.zeros(2, 1, 3, device="meta"), 8),
            ValueError,
            "features and labels must be on one device, got features on cpu and labels on meta",
        ),
        (
            (torch.zeros(2, 4, 3), torch.zeros(2, 1, 3), 0),
            ValueError,
            "num_positions must be at least 1, got 0",
        ),
    ],
)
def test_wrong_arguments_raise(arguments, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        sample_positions(*arguments)


@parametrize_pairwise(
    size=[0, 1, 2, 17, 64],
    values=[1, 5, 1000],
    dtype=[torch.int64, torch.float32, torch.float64],
    scale=[1, 0.1, 2**52],
    shape=[(-1,), (-1, 1)],
)
def test_compiled_draw_equals_numpy(size, values, dtype, scale, shape):
    draw = torch.Generator().manual_seed(size)
    labels = (torch.randint(-values, values + 1, (size,), generator=draw) * scale).to(dtype)
    labels, order = labels.reshape(shape), torch.randperm(size, generator=draw)
    expected = sampling._unique_mask_numpy(labels, order)
    mask = sampling._mark_unique(labels, order)
    assert mask is None or torch.equal(mask, expected)
    assert (mask is None) == bool((labels.abs() >= 2**53).any())
    assert int(expected.sum()) == len(labels.unique())


@pytest.mark.parametrize("number", [torch.nan, torch.inf, 2.0**53])
def test_compiled_draw_leaves_extreme_labels_to_numpy(number):
    labels = torch.tensor([1.0, number, number, 2.0])
    assert sampling._mark_unique(labels, torch.arange(4)) is None
    assert len(draw_unique(labels)) == (4 if np.isnan(number) else 3)
    large = torch.tensor([2**53, 2**53 + 1, 2**53, 5])  # two of them are one float64 number
    assert len(draw_unique(large)) == 3
