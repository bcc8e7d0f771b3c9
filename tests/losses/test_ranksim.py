import copy

import pytest
import torch
from torch import nn

from ranksim import RankSimLoss, functional


def test_hands_every_argument_on():
    features, labels = torch.randn(20, 4), torch.randn(20)
    settings = {
        "weight": 0.5,
        "ties": "average",
        "label_width": 0.25,
        "reduction": "mean",
        "label_similarity": "neg_l2",
    }
    made = RankSimLoss(3.0, 1.5, generator=torch.Generator().manual_seed(1), **settings)
    direct = functional.ranksim_loss(
        features, labels, 3.0, 1.5, generator=torch.Generator().manual_seed(1), **settings
    )
    torch.testing.assert_close(made(features, labels), direct)
    assert "gamma=3.0" in repr(made)
    assert "ties='average'" in repr(made)


def test_settings_are_checked_when_it_is_made():
    with pytest.raises(ValueError, match="^lambda_ must be a finite number above 0, got -2$"):
        RankSimLoss(lambda_=-2)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_amp_does_not_change_the_method(dtype):
    """Under autocast and a loss scaler, the term's gradient is the one of float32 features."""
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

    # ranks need the same features: those that autocast made, in float32
    features, scaled = gradient(65536.0 if dtype == torch.float16 else 1.0, enabled=True)
    assert features.dtype == dtype
    plain = features.detach().float().requires_grad_()
    criterion.generator = torch.Generator().manual_seed(0)
    criterion(plain, y).backward()
    error = (scaled - plain.grad.double()).norm() / plain.grad.double().norm()
    assert error < (1e-3 if dtype == torch.float16 else 5e-3)
    assert gradient(1.0, enabled=False)[1].abs().max() > 0


def test_grad_scaler_trains_as_without_it():
    """The scaler's factor of 65,536 cancels: the published code loses the term here."""
    torch.manual_seed(0)
    x, y = torch.randn(64, 8), torch.randint(18, 80, (64,))

    def trained(scaler):
        torch.manual_seed(1)
        model = nn.Linear(8, 16)
        optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
        criterion = RankSimLoss(generator=torch.Generator().manual_seed(0))
        for _ in range(5):
            optimiser.zero_grad()
            scaler.scale(criterion(model(x), y)).backward()
            scaler.step(optimiser)
            scaler.update()
        return model.weight.detach()

    with_scaler = trained(torch.amp.GradScaler("cpu", init_scale=65536.0))
    without = trained(torch.amp.GradScaler("cpu", enabled=False))
    torch.testing.assert_close(with_scaler, without, rtol=1e-6, atol=1e-7)


def test_accumulation_is_the_mean_of_the_parts():
    features, labels = torch.randn(4, 16, 8), torch.randint(18, 80, (4, 16))
    criterion = RankSimLoss(unique_labels=False)
    accumulated = features.clone().requires_grad_()
    for part in range(4):
        (criterion(accumulated[part], labels[part]) / 4).backward()
    alone = features.clone().requires_grad_()
    for part in range(4):
        criterion(alone[part], labels[part]).backward()
    torch.testing.assert_close(4 * accumulated.grad, alone.grad, rtol=1e-6, atol=1e-8)
