"""Modules of losses that compare the samples of a batch."""

import copy
import pickle

import pytest
import torch

from ranksim import functional, losses

CASES = [  # module, function, settings, repr
    (losses.CCCLoss, None, {"weight": 2.0}, "CCCLoss(weight=2.0)"),
    (
        losses.GARLoss,
        functional.gar_loss,
        {"base": "mse", "join": "sum", "alpha": 0.2, "label_std": 3.0},
        "GARLoss(base='mse', join='sum', alpha=0.2, label_std=3.0)",
    ),
]
over_modules = pytest.mark.parametrize("case", CASES, ids=[case[0].__name__ for case in CASES])


def make_batch(count=20):
    draw = torch.Generator().manual_seed(0)
    preds, target = (torch.randn(count, generator=draw) * 4 for _ in range(2))
    return preds, target, torch.rand(count, generator=draw) * 2


@over_modules
def test_module_is_the_function_with_its_settings(case):
    module, function, settings, text = case
    criterion = module(**settings)
    assert repr(criterion) == text
    if function is not None:
        assert torch.equal(criterion(*make_batch()), function(*make_batch(), **settings))
        assert torch.equal(module()(*make_batch()), function(*make_batch()))
    for clone in (copy.deepcopy(criterion), pickle.loads(pickle.dumps(criterion))):
        assert torch.equal(clone(*make_batch()), criterion(*make_batch()))


def test_weight_is_a_factor():
    plain = functional.ccc_loss(*make_batch())
    assert torch.equal(losses.CCCLoss(weight=0.5)(*make_batch()), 0.5 * plain)
    with pytest.raises(ValueError, match="weight must be a finite number above 0"):
        losses.CCCLoss(weight=0.0)
