import copy
import pickle
import re

import pytest
import torch
from torch import nn

from ranksim import functional
from ranksim.losses import FocalRLoss, HuberLoss, L1Loss, MSELoss

FOCAL = {"base": "l1", "activation": "tanh", "beta": 0.7, "gamma": 1.5}
CASES = [
    (L1Loss, functional.l1_loss, {}, "L1Loss(reduction='sum')"),
    (MSELoss, functional.mse_loss, {}, "MSELoss(reduction='sum')"),
    (HuberLoss, functional.huber_loss, {"delta": 2.5}, "HuberLoss(delta=2.5, reduction='sum')"),
    (
        FocalRLoss,
        functional.focal_r_loss,
        FOCAL,
        "FocalRLoss(base='l1', activation='tanh', beta=0.7, gamma=1.5, reduction='sum')",
    ),
]
over_modules = pytest.mark.parametrize(
    ("module", "direct", "settings", "text"), CASES, ids=[case[0].__name__ for case in CASES]
)


def batch(shape=(20,)):
    draw = torch.Generator().manual_seed(0)
    preds, target = (torch.randn(shape, generator=draw) * 4 for _ in range(2))
    return preds, target, torch.rand(shape, generator=draw) * 2


@over_modules
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("weighted", [True, False])
def test_hands_every_argument_on(module, direct, settings, text, reduction, weighted):
    preds, target, sample_weight = batch()
    sample_weight = sample_weight if weighted else None
    got = module(**settings, reduction=reduction)(preds, target, sample_weight)
    expected = direct(preds, target, sample_weight, **settings, reduction=reduction)
    assert torch.equal(got, expected)


@over_modules
def test_the_defaults_are_those_of_the_function(module, direct, settings, text):
    assert torch.equal(module()(*batch()), direct(*batch()))


@over_modules
def test_every_setting_changes_the_loss(module, direct, settings, text):
    """No setting is accepted and then ignored."""
    plain = module()(*batch())
    for name, value in settings.items():
        assert not torch.equal(module(**{name: value})(*batch()), plain), name


@over_modules
def test_weights_reach_every_loss(module, direct, settings, text):
    preds, target, sample_weight = batch()
    criterion = module(**settings)
    share = criterion(preds[3:4], target[3:4], sample_weight[3:4]) / 20
    doubled = sample_weight.clone()
    doubled[3] *= 2
    before, after = (criterion(preds, target, w) for w in (sample_weight, doubled))
    assert share > 0
    torch.testing.assert_close(after - before, share, rtol=1e-4, atol=1e-6)


@over_modules
def test_says_what_it_is_and_survives_copying(module, direct, settings, text):
    criterion = module(**settings, reduction="sum")
    assert repr(criterion) == text
    assert list(criterion.parameters()) == []
    assert criterion.state_dict() == {}
    for twin in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert torch.equal(twin(*batch()), criterion(*batch()))


@over_modules
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_trains_under_autocast(module, direct, settings, text, dtype):
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 1), torch.randn(20, 6)
    _, target, sample_weight = batch((20, 1))
    with torch.autocast("cpu", dtype=dtype):
        preds = layer(x)
        loss = module(**settings)(preds, target, sample_weight)
    assert preds.dtype == dtype
    assert loss.dtype == torch.float32
    loss.backward()
    assert layer.weight.grad.isfinite().all()
    assert layer.weight.grad.abs().sum() > 0


@over_modules
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("shape", [(0,), (0, 1), (0, 1, 4, 4)])
def test_no_samples_give_a_differentiable_zero(module, direct, settings, text, reduction, shape):
    preds = torch.zeros(shape, requires_grad=True)
    loss = module(**settings, reduction=reduction)(preds, torch.zeros(shape))
    loss.backward()
    assert loss == 0


@pytest.mark.parametrize(
    ("module", "settings", "message"),
    [
        *(
            (module, {"reduction": "max"}, "reduction must be one of sum, mean, none, got 'max'")
            for module in (L1Loss, MSELoss, HuberLoss, FocalRLoss)
        ),
        (HuberLoss, {"delta": -1.0}, "delta must be a finite number above 0, got -1.0"),
        (FocalRLoss, {"base": "mae"}, "base must be one of mse, l1, got 'mae'"),
        (FocalRLoss, {"activation": 1}, "activation must be one of sigmoid, tanh, got 1"),
        (FocalRLoss, {"beta": -0.2}, "beta must be a finite number above 0, got -0.2"),
        (FocalRLoss, {"gamma": None}, "gamma must be a finite number of at least 0, got None"),
    ],
)
def test_settings_are_checked_when_it_is_made(module, settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        module(**settings)
