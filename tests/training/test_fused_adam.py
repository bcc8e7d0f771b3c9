"""Adam and clipping of the CPU loop against PyTorch's own."""

import math

import pytest
import torch
from torch import nn

from ranksim.training.fused_adam import FusedAdam


def make_params():
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, 3, generator=generator, requires_grad=True) for n in (1, 4, 50)]


def group(params, lr, weight_decay=0.0):
    return {"params": params, "lr": lr, "weight_decay": weight_decay}


def set_gradients(params, step, missing=()):
    generator = torch.Generator().manual_seed(step)
    for k, param in enumerate(params):
        gradient = 10 ** (step - 3) * torch.randn(param.shape, generator=generator)
        param.grad = None if k in missing else gradient


@pytest.mark.parametrize("missing", [(), (1,), (0, 2), (0, 1, 2)])
@pytest.mark.parametrize(("max_norm", "first"), [(0.5, 3), (2.3, 3), (0.5, 1)])
def test_steps_equal_those_of_pytorch(missing, max_norm, first):
    ours, theirs = make_params(), make_params()
    groups = [
        [group(each[:first], 0.01, 0.1), group(each[first:], 0.3)][: 1 + (first < 3)]
        for each in (ours, theirs)
    ]
    optimizer = FusedAdam(groups[0])
    reference = torch.optim.Adam(groups[1], fused=True)
    for step in range(6):
        for params in (ours, theirs):
            set_gradients(params, step, missing if step % 2 else ())
        optimizer.clip_gradients(max_norm)
        nn.utils.clip_grad_norm_(theirs, max_norm)
        for mine, other in zip(ours, theirs, strict=True):
            assert (mine.grad is None) == (other.grad is None)
            assert mine.grad is None or torch.equal(mine.grad, other.grad)
        optimizer.step()
        reference.step()
        optimizer.zero_grad()
        assert all(map(torch.equal, ours, theirs))
    steps = [reference.state[param]["step"] for param in theirs]
    assert [float(step) for step in optimizer.steps] == [float(step) for step in steps]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_clipping_keeps_gradients_that_are_not_finite_visible(value):
    params, reference = make_params(), make_params()
    for each in (params, reference):
        set_gradients(each, step=3)
        each[1].grad[0, 0] = value
    FusedAdam([group(params, 0.1)]).clip_gradients(1.0)
    nn.utils.clip_grad_norm_(reference, 1.0)
    for ours, theirs in zip(params, reference, strict=True):
        assert torch.equal(ours.grad.isnan(), theirs.grad.isnan())


def test_state_is_restored(tmp_path):
    params, resumed = make_params(), make_params()
    optimizer = FusedAdam([group(params, 0.1)])
    for step in range(3):
        set_gradients(params, step, missing=(1,) if step == 1 else ())
        optimizer.step()
    torch.save(optimizer.state_dict(), tmp_path / "state.pt")
    with torch.no_grad():
        for target, source in zip(resumed, params, strict=True):
            target.copy_(source)
    other = FusedAdam([group(resumed, 0.1)])
    other.load_state_dict(torch.load(tmp_path / "state.pt"))
    for each, by in ((params, optimizer), (resumed, other)):
        set_gradients(each, step=4)
        by.step()
    assert all(map(torch.equal, params, resumed))
