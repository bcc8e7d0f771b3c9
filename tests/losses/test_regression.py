"""Weighted regression losses as modules."""

import copy
import pickle
import re

import pytest
import torch
from torch import nn

from ranksim import functional
from ranksim.losses import FocalRLoss, HuberLoss, L1Loss, MSELoss
from tests.helpers.pairwise import parametrize_pairwise

FOCAL = {"base": "l1", "activation": "tanh", "beta": 0.7, "gamma": 1.5}
CASES = [  # module, function, settings, repr
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
over_modules = pytest.mark.parametrize("case", CASES, ids=[case[0].__name__ for case in CASES])


def make_batch(shape=(20,)):
    draw = torch.Generator().manual_seed(0)
    preds, target = (torch.randn(shape, generator=draw) * 4 for _ in range(2))
    return preds, target, torch.rand(shape, generator=draw) * 2


@parametrize_pairwise(case=CASES, reduction=["mean", "sum", "none"], weighted=[True, False])
def test_passes_every_argument_to_the_function(case, reduction, weighted):
    module, function, settings, _ = case
    preds, target, weights = make_batch()
    weights = weights if weighted else None
    result = module(**settings, reduction=reduction)(preds, target, weights)
    expected = function(preds, target, weights, **settings, reduction=reduction)
    assert torch.equal(result, expected)


@over_modules
def test_defaults_are_those_of_the_function(case):
    assert torch.equal(case[0]()(*make_batch()), case[1](*make_batch()))


@over_modules
def test_every_setting_changes_the_loss(case):
    module, _, settings, _ = case
    plain = module()(*make_batch())
    for name, value in settings.items():
        assert not torch.equal(module(**{name: value})(*make_batch()), plain), name


@over_modules
def test_doubling_a_weight_adds_that_samples_share(case):
    preds, target, weights = make_batch()
    criterion = case[0](**case[2])
    share = criterion(preds[3:4], target[3:4], weights[3:4]) / 20
    doubled = weights.clone()
    doubled[3] *= 2
    before, after = (criterion(preds, target, w) for w in (weights, doubled))
    assert share > 0
    torch.testing.assert_close(after - before, share, rtol=1e-4, atol=1e-6)


@over_modules
def test_repr_copy_and_pickle(case):
    module, _, settings, text = case
    criterion = module(**settings, reduction="sum")
    assert repr(criterion) == text
    assert list(criterion.parameters()) == []
    assert criterion.state_dict() == {}
    for twin in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert torch.equal(twin(*make_batch()), criterion(*make_batch()))


@parametrize_pairwise(case=CASES, dtype=[torch.float16, torch.bfloat16])
def test_trains_under_autocast(case, dtype):
    torch.manual_seed(0)
    layer, x = nn.Linear(6, 1), torch.randn(20, 6)
    _, target, weights = make_batch((20, 1))
    with torch.autocast("cpu", dtype=dtype):
        preds = layer(x)
        loss = case[0](**case[2])(preds, target, weights)
    assert preds.dtype == dtype
    assert loss.dtype == torch.float32
    loss.backward()
    assert layer.weight.grad.isfinite().all()
    assert layer.weight.grad.abs().sum() > 0


def test_compiles_to_one_graph():
    criterion = FocalRLoss(**FOCAL)
    torch._dynamo.reset()
    compiled = torch.compile(criterion, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(*make_batch()), criterion(*make_batch()))


REDUCTIONS = "reduction must be one of sum, mean, none, weighted_mean, got 'max'"


@pytest.mark.parametrize(
    ("module", "settings", "message"),
    [
        *(
            (module, {"reduction": "max"}, REDUCTIONS)
            for module in (L1Loss, MSELoss, HuberLoss, FocalRLoss)
        ),
        (HuberLoss, {"delta": -1.0}, "delta must be a finite number above 0, got -1.0"),
        (FocalRLoss, {"base": "mae"}, "base must be one of mse, l1, got 'mae'"),
        (FocalRLoss, {"activation": 1}, "activation must be one of sigmoid, tanh, got 1"),
        (FocalRLoss, {"beta": -0.2}, "beta must be a finite number above 0, got -0.2"),
        (FocalRLoss, {"gamma": None}, "gamma must be a finite number of at least 0, got None"),
    ],
)
def test_wrong_settings_raise_when_created(module, settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        module(**settings)
