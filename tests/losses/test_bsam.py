"""Balanced sharpness-aware minimization: the equation, exact restoration, BatchNorm."""

import numpy as np
import pytest
import torch
from torch import nn

from ranksim.functional import ascent_step
from ranksim.losses import BSAM


def make_problem():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    x, y = torch.randn(6, 3).double(), torch.randn(6, 1).double()
    return model, x, y, torch.rand(6, 1).double()


def test_gradient_is_that_at_the_moved_weights():
    model, x, y, weight = make_problem()
    before = [p.detach().numpy().copy() for p in model.parameters()]
    with BSAM(model, rho=0.3).perturbed((weight * (model(x) - y) ** 2).mean()):
        ((model(x) - y) ** 2).mean().backward()
    gradients = [p.grad.numpy() for p in model.parameters()]
    for param, values in zip(model.parameters(), before, strict=True):
        assert np.array_equal(param.detach().numpy(), values)

    def slopes(values, weights):  # central differences
        result = []
        for k, value in enumerate(values):
            slope = np.zeros_like(value)
            for place in np.ndindex(*value.shape):
                ends = []
                for sign in (1, -1):
                    moved = [each.copy() for each in values]
                    moved[k][place] += sign * 1e-6
                    w1, b1, w2, b2 = moved
                    preds = np.tanh(x.numpy() @ w1.T + b1) @ w2.T + b2
                    ends.append((weights * (preds - y.numpy()) ** 2).mean())
                slope[place] = (ends[0] - ends[1]) / 2e-6
            result.append(slope)
        return result

    ascent = slopes(before, weight.numpy())
    norm = np.sqrt(sum((each**2).sum() for each in ascent))
    moved = [value + 0.3 * each / norm for value, each in zip(before, ascent, strict=True)]
    for gradient, expected in zip(gradients, slopes(moved, 1.0), strict=True):
        np.testing.assert_allclose(gradient, expected, atol=1e-7)


def test_step_has_the_length_rho():
    steps = ascent_step([torch.tensor([3.0, 0.0]), None, torch.tensor([[4.0]])], 0.5)
    assert steps[0].tolist() == pytest.approx([0.3, 0.0])
    assert steps[1] is None
    assert steps[2].item() == pytest.approx(0.4)


@pytest.mark.parametrize("value", [0.0, torch.nan, torch.inf])
def test_gradients_without_a_direction_have_no_step(value):
    assert ascent_step([torch.full((2,), value)], 0.5)[0].tolist() == [0.0, 0.0]
    assert ascent_step([None], 0.5) == [None]


def test_weights_return_after_an_error():
    model, x, y, _ = make_problem()
    before = [p.clone() for p in model.parameters()]
    sam = BSAM(model, 0.2)

    def fail():
        with sam.perturbed((model(x) - y).square().mean()):
            assert not torch.equal(model[0].weight, before[0])
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert all(map(torch.equal, model.parameters(), before))
    with pytest.raises(ValueError, match="rho must be a finite number above 0"):
        BSAM(model, 0.0)


def test_batch_norm_counts_the_batch_once_and_frozen_weights_stay():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2), nn.Linear(2, 1))
    model[0].requires_grad_(False)
    x, expected = torch.randn(8, 3), nn.BatchNorm1d(2)
    expected(model[0](x))
    with BSAM(model).perturbed(model(x).square().mean()):
        model(x).square().mean().backward()
    torch.testing.assert_close(model[1].running_mean, expected.running_mean)
    torch.testing.assert_close(model[1].running_var, expected.running_var)
    assert model[1].momentum == 0.1
    assert model[0].weight.grad is None


def test_autocast_uses_the_moved_weights():
    """Autocast keeps rounded copies of weights, which are stale after the ascent."""
    model, x, y, _ = make_problem()
    model, x, y = model.float(), x.float(), y.float()
    with torch.autocast("cpu", torch.bfloat16):
        loss = (model(x).float() - y).square().mean()
        with BSAM(model, 0.5).perturbed(loss):
            assert not torch.equal((model(x).float() - y).square().mean(), loss)


@pytest.mark.parametrize("momentum", [None, 0.1, 0.0])
def test_batch_norm_is_that_of_one_pass_a_batch(momentum):
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm1d(3, momentum=momentum), nn.Linear(3, 1))
    expected = nn.BatchNorm1d(3, momentum=momentum)
    sam = BSAM(model, rho=0.5)
    for _ in range(3):
        x = torch.randn(6, 3) + 5
        expected(x)
        with sam.perturbed(model(x).square().mean()):
            model(x).square().mean().backward()
        assert model[0].momentum == momentum
    for buffer, value in zip(model[0].buffers(), expected.buffers(), strict=True):
        assert torch.equal(buffer, value)


def test_batch_norm_without_statistics():
    model = nn.Sequential(nn.BatchNorm1d(3, track_running_stats=False), nn.Linear(3, 1))
    with BSAM(model).perturbed(model(torch.randn(6, 3)).mean()):
        assert model[0].num_batches_tracked is None


@pytest.mark.parametrize("way", ["ascend", "perturbed"])
def test_second_ascent_before_restore_is_refused(way):
    model, x, y, _ = make_problem()
    before = [p.detach().clone() for p in model.parameters()]
    sam = BSAM(model, rho=0.3)
    sam.ascend((model(x) - y).square().mean())
    moved = [p.detach().clone() for p in model.parameters()]
    loss = (model(x) - y).square().mean()
    with pytest.raises(RuntimeError, match=r"needs BSAM\.restore\(\) before the next ascent"):
        sam.ascend(loss) if way == "ascend" else sam.perturbed(loss).__enter__()
    assert all(map(torch.equal, model.parameters(), moved))
    for _ in range(2):  # the second one has nothing to restore
        sam.restore()
        assert all(map(torch.equal, model.parameters(), before))
    with sam.perturbed((model(x) - y).square().mean()):
        assert all(map(torch.equal, model.parameters(), moved))


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda model, x: 1.0, TypeError, "loss must be a torch.Tensor, got float"),
        (lambda model, x: None, TypeError, "loss must be a torch.Tensor, got NoneType"),
        (lambda model, x: model(x), ValueError, r"loss must be a scalar, got shape \(6, 1\)"),
        (lambda model, x: model(x)[:0].sum(1), ValueError, r"a scalar, got shape \(0,\)"),
        (lambda model, x: model(x).mean().detach(), ValueError, "loss must have a gradient"),
        (
            lambda model, x: x.clone().requires_grad_().mean(),
            ValueError,
            "loss must depend on parameters of the model",
        ),
    ],
)
def test_loss_of_the_ascent_is_checked(make, error, words):
    model, x, _, _ = make_problem()
    before = [p.detach().clone() for p in model.parameters()]
    sam = BSAM(model)
    with pytest.raises(error, match=words):
        sam.ascend(make(model, x))
    assert all(map(torch.equal, model.parameters(), before))
    sam.ascend(model(x).mean())  # it is usable as before


def test_model_without_trainable_parameters_is_refused():
    model, x, _, _ = make_problem()
    model.requires_grad_(False)
    with pytest.raises(ValueError, match="model must have parameters that require gradients"):
        BSAM(model).ascend(model(x).mean())
