"""Losses that compare the samples of a batch: oracle, special cases, precision."""

import math

import pytest
import torch

from ranksim.functional import ccc_loss, gar_loss
from tests.oracles import parts

CASES = {
    "ccc": (ccc_loss, parts.ccc, {}),
    "gar": (gar_loss, parts.gar, {"label_std": 1.7}),
    "gar, sum": (gar_loss, parts.gar, {"join": "sum", "label_std": 0.4}),
    "gar, squared": (gar_loss, parts.gar, {"base": "mse", "alpha": 0.5}),
}
over_cases = pytest.mark.parametrize("name", CASES)


def make_batch(count=9, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    preds = torch.randn(count, generator=draw, dtype=dtype) * 2
    target = torch.randint(0, 4, (count,), generator=draw).to(dtype)  # ties
    weights = torch.rand(count, generator=draw, dtype=dtype) * 2
    return preds, target, weights


def value_and_gradient(function, preds, target, weights=None, **settings):
    preds = preds.detach().clone().requires_grad_()
    value = function(preds, target, weights, **settings)
    value.backward()
    return value.item(), preds.grad


@over_cases
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("count", [2, 9])
def test_equals_the_oracle(name, weighted, count):
    function, oracle, settings = CASES[name]
    preds, target, weights = make_batch(count)
    if not weighted:
        weights = None
    listed = None if weights is None else weights.tolist()
    value, gradient = value_and_gradient(function, preds, target, weights, **settings)

    def compute(values):
        return oracle(values, target.tolist(), listed, **settings)

    assert value == pytest.approx(compute(preds.tolist()), rel=1e-12)
    expected = parts.gradient(compute, preds.tolist())
    assert gradient.tolist() == pytest.approx(expected.tolist(), rel=1e-6, abs=1e-8)


@over_cases
def test_gradcheck(name):
    function, _, settings = CASES[name]
    preds, target, weights = make_batch(6, seed=3)
    preds.requires_grad_()
    assert torch.autograd.gradcheck(lambda p: function(p, target, weights, **settings), (preds,))


@over_cases
@pytest.mark.parametrize(
    ("preds", "target"),
    [
        ([2.0], [3.0]),  # one sample
        ([2.0, 2.0, 2.0], [2.0, 2.0, 2.0]),  # all equal, and right
        ([0.1, 0.1, 0.1], [3.0, 3.0, 3.0]),  # all equal, and wrong
        ([0.1, 0.5, 0.9], [3.0, 3.0, 3.0]),  # equal labels
        ([0.1, 0.1, 0.1], [1.0, 2.0, 3.0]),  # equal predictions
        ([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]),  # perfect
        ([1e4, 1e4 + 1, 1e4 - 1], [1e4, 1e4, 1e4 + 2]),  # far from zero
    ],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_special_batches_are_finite(name, preds, target, dtype):
    function, oracle, settings = CASES[name]
    inputs = torch.tensor(preds, dtype=dtype), torch.tensor(target, dtype=dtype)
    value, gradient = value_and_gradient(function, *inputs, **settings)
    expected = oracle(inputs[0].tolist(), inputs[1].tolist(), **settings)
    assert value == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert gradient.isfinite().all()


@over_cases
def test_empty_batch_and_weights_of_zero(name):
    function, _, settings = CASES[name]
    value, gradient = value_and_gradient(function, torch.empty(0), torch.empty(0), **settings)
    assert value == 0
    assert gradient.shape == (0,)
    preds, target, weights = make_batch()
    value, gradient = value_and_gradient(function, preds, target, 0 * weights, **settings)
    assert math.isfinite(value)
    assert gradient.isfinite().all()


@over_cases
def test_dtypes_shapes_and_order(name):
    function, _, settings = CASES[name]
    preds, target, weights = make_batch(12)
    exact = function(preds, target, weights, **settings)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    permuted = function(preds[order], target[order], weights[order], **settings)
    assert permuted.item() == pytest.approx(exact.item(), rel=1e-12)
    dense = [each.reshape(3, 1, 4) for each in (preds, target, weights)]
    assert torch.equal(function(*dense, **settings), exact)
    strided = torch.stack([preds, preds], dim=1)[:, 0]
    assert torch.equal(function(strided, target, weights, **settings), exact)
    single = function(preds.float(), target.int(), **settings)
    assert single.dtype == torch.float32
    half = function(preds.bfloat16(), target, **settings)
    assert half.dtype == torch.float32
    rounded = function(preds.bfloat16().double(), target, **settings)
    assert half.item() == pytest.approx(rounded.item(), rel=1e-5)


@over_cases
def test_accumulated_and_scaled_gradients_add_up(name):
    function, _, settings = CASES[name]
    preds, target, weights = make_batch(8)
    _, gradient = value_and_gradient(function, preds, target, weights, **settings)
    preds = preds.requires_grad_()
    for _ in range(2):
        (4 * function(preds, target, weights, **settings)).backward()
    torch.testing.assert_close(preds.grad, 8 * gradient)


@over_cases
def test_autocast_does_not_round(name):
    function, _, settings = CASES[name]
    preds, target, weights = (each.float() for each in make_batch(16))
    exact = function(preds, target, weights, **settings)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(function(preds, target, weights, **settings), exact)


@over_cases
def test_wrong_arguments_are_named(name):
    function, _, settings = CASES[name]
    preds, target, weights = make_batch()
    with pytest.raises(ValueError, match="same shape"):
        function(preds.unsqueeze(1), target, **settings)
    with pytest.raises(TypeError, match="preds must be floating point"):
        function(preds.long(), target, **settings)
    with pytest.raises(ValueError, match="must not require gradients"):
        function(preds, target, weights.requires_grad_(), **settings)


def test_constant_predictions_far_from_zero_have_no_correlation():
    """Rounding must not make noise of them, whose gradient would be huge."""
    preds = torch.full((100,), 12345.678)
    value, gradient = value_and_gradient(gar_loss, preds, torch.arange(100.0), label_std=29.0)
    assert math.isfinite(value)
    assert gradient.abs().max() < 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"alpha": 0.0}, "alpha must be a finite number above 0, got 0.0"),
        ({"label_std": -1.0}, "label_std must be a finite number above 0"),
        ({"join": "max"}, "join must be one of softmax, sum, got 'max'"),
        ({"base": "huber"}, "base must be one of mse, l1"),
    ],
)
def test_settings_of_gar_are_checked(settings, words):
    with pytest.raises(ValueError, match=words):
        gar_loss(*make_batch(), **settings)
