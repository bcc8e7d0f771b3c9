"""``RankSimLoss``: arguments, dense targets, mixed precision and accumulation."""

import copy
import re

import pytest
import torch
from torch import nn

from ranksim import RankSimLoss, functional
from ranksim.functional import ranksim_loss, sample_positions
from tests.helpers.dense import make_dense_batch


def test_passes_every_argument_to_the_function():
    features, labels = torch.randn(20, 4), torch.randn(20)
    settings = {
        "weight": 0.5,
        "ties": "average",
        "label_width": 0.25,
        "reduction": "mean",
        "label_similarity": "neg_l2",
    }
    criterion = RankSimLoss(3.0, 1.5, generator=torch.Generator().manual_seed(1), **settings)
    expected = functional.ranksim_loss(
        features, labels, 3.0, 1.5, generator=torch.Generator().manual_seed(1), **settings
    )
    torch.testing.assert_close(criterion(features, labels), expected)
    for text in ("gamma=3.0", "ties='average'", "label_width=0.25"):
        assert text in repr(criterion)


def test_repr_shows_gathering():
    assert "gather_across_devices=True" in repr(RankSimLoss(gather_across_devices=True))


class TestDenseTargets:
    def test_loss_equals_that_of_drawn_positions(self):
        features, labels = make_dense_batch((2, 4, 6, 6), missing=0.5)
        features.requires_grad_()
        criterion = RankSimLoss(
            5.0, num_positions=12, weight=0.3, generator=torch.Generator().manual_seed(4)
        )
        loss = criterion(features, labels)
        (gradient,) = torch.autograd.grad(loss, features)
        draw = torch.Generator().manual_seed(4)
        rows, y = sample_positions(features, labels, 12, generator=draw)
        expected = ranksim_loss(rows, y, 5.0, weight=0.3, generator=draw)
        assert torch.equal(loss, expected)
        assert loss > 0
        assert torch.equal(gradient, torch.autograd.grad(expected, features)[0])

    @pytest.mark.parametrize("labels", [torch.full((2, 1, 3), torch.nan), torch.empty(0, 1, 3)])
    def test_no_label_is_a_differentiable_zero(self, labels):
        features = torch.randn(len(labels), 4, 3, requires_grad=True)
        loss = RankSimLoss(num_positions=8)(features, labels)
        loss.backward()
        assert loss == 0
        assert not features.grad.any()

    @pytest.mark.parametrize(
        ("settings", "shapes", "message"),
        [
            ({}, ((2, 4, 3, 3), (2, 1, 3, 3)), "labels (2, 1, 3, 3) are dense: give RankSimLoss"),
            (
                {"num_positions": 8},
                ((2, 4), (2,)),
                "dense features must have shape (N, D, ...) and labels (N, K, ...) on the same "
                "positions, got features (2, 4) and labels (2,)",
            ),
            (
                {"num_positions": 8},
                ((2, 4, 3, 3), (2, 3, 3)),
                "dense features must have shape (N, D, ...) and labels (N, K, ...) on the same "
                "positions, got features (2, 4, 3, 3) and labels (2, 3, 3)",
            ),
        ],
    )
    def test_wrong_shapes_raise(self, settings, shapes, message):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            RankSimLoss(**settings)(*map(torch.zeros, shapes))


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"lambda_": -2}, ValueError, "lambda_ must be a finite number above 0, got -2"),
        ({"label_width": -1.0}, ValueError, "label_width must be a finite number above 0, got -1"),
        ({"num_positions": 0}, ValueError, "num_positions must be at least 1, got 0"),
        ({"num_positions": 2.5}, TypeError, "num_positions must be a whole number of positions"),
        ({"unique_labels": 0.5}, TypeError, "unique_labels must be True or False, got 0.5"),
    ],
)
def test_wrong_settings_raise_when_created(settings, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        RankSimLoss(**settings)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_autocast_does_not_change_the_method(dtype):
    """The gradient equals that of the same features in float32, under a loss scaler too."""
    torch.manual_seed(0)
    layer, x, y = nn.Linear(8, 16), torch.randn(64, 8), torch.randint(18, 80, (64,))
    criterion = RankSimLoss(weight=0.1)

    def gradient(scale, enabled):
        model = copy.deepcopy(layer)
        criterion.generator = torch.Generator().manual_seed(0)
        with torch.autocast("cpu", dtype=dtype, enabled=enabled):
            features = model(x)
            features.retain_grad()
            loss = criterion(features, y)
        (loss * scale).backward()
        return features, features.grad.double() / scale

    # ranks need the same features: those of autocast, in float32
    features, scaled = gradient(65536.0 if dtype == torch.float16 else 1.0, enabled=True)
    assert features.dtype == dtype
    plain = features.detach().float().requires_grad_()
    criterion.generator = torch.Generator().manual_seed(0)
    criterion(plain, y).backward()
    error = (scaled - plain.grad.double()).norm() / plain.grad.double().norm()
    assert error < (1e-3 if dtype == torch.float16 else 5e-3)
    assert gradient(1.0, enabled=False)[1].abs().max() > 0


def test_grad_scaler_does_not_change_training():
    """The scaler's factor of 65,536 cancels; the published code loses the term here."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 8), torch.randint(18, 80, (64,))

    def train(scaler):
        torch.manual_seed(1)
        model = nn.Linear(8, 16)
        optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
        criterion = RankSimLoss(generator=torch.Generator().manual_seed(0))
        for _ in range(5):
            optimizer.zero_grad()
            scaler.scale(criterion(model(x), y)).backward()
            scaler.step(optimizer)
            scaler.update()
        return model.weight.detach()

    with_scaler = train(torch.amp.GradScaler("cpu", init_scale=65536.0))
    without = train(torch.amp.GradScaler("cpu", enabled=False))
    torch.testing.assert_close(with_scaler, without, rtol=1e-6, atol=1e-7)


def test_gradient_accumulation_averages_the_parts():
    features, labels = torch.randn(4, 16, 8), torch.randint(18, 80, (4, 16))
    criterion = RankSimLoss(unique_labels=False)
    accumulated, single = (features.clone().requires_grad_() for _ in range(2))
    for part in range(4):
        (criterion(accumulated[part], labels[part]) / 4).backward()
        criterion(single[part], labels[part]).backward()
    torch.testing.assert_close(4 * accumulated.grad, single.grad, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("labels", [torch.ones(6, 2), torch.ones(6, 16, dtype=torch.float64)])
def test_swapped_features_and_labels_are_rejected(labels):
    for options in ({}, {"memory_size": 4}, {"unique_labels": False}):
        criterion = RankSimLoss(**options)
        with pytest.raises(ValueError, match=r"seem to be swapped, got features \(6,\) and labels"):
            criterion(torch.arange(6.0), labels)
        for features, other in (
            (labels, torch.arange(6.0)),
            (torch.arange(6.0)[:, None], labels),
            (torch.arange(6.0), torch.ones(6, 1)),
        ):
            RankSimLoss(**options)(features, other)
