"""Losses that compare the samples of a batch: oracle, special cases, precision."""

import math

import pytest
import torch

from ranksim.functional import (
    bmc_loss,
    ccc_loss,
    dila_loss,
    dist_loss,
    gai_loss,
    gar_loss,
    sera_loss,
)
from tests.oracles import parts

KNOTS = [0.0, 1.0, 2.0, 3.0]  # labels of make_batch
MIXTURE = ([0.4, 1.0, 3.0], [0.3, 0.0, 2.0], [5.0, 0.0, 1.0])  # the second component is empty


def exact(values):
    return torch.tensor(values, dtype=torch.float64)


def bmc(preds, target, weights=None):
    return bmc_loss(preds, target, 0.8, weights)


def gai(preds, target, weights=None):
    return gai_loss(preds, target, 0.8, *map(exact, MIXTURE), weights)


def dist(preds, target, weights=None):
    return dist_loss(preds, exact([0.0, 0.2, 1.0, 4.0, 9.0]), label_std=1.3)


def look_up(target, values):
    return exact(values)[target.flatten().round().clamp(0, 3).long()].view_as(target)


DENSITY, RELEVANCE = [5.0, 9.0, 9.0, 0.5], [1.0, 0.0, 0.25, 1.0]


def dila(preds, target, weights=None):
    return dila_loss(preds, target, look_up(target, DENSITY))


def sera(preds, target, weights=None):
    return sera_loss(preds, target, look_up(target, RELEVANCE), weights)


def listed(target, values):
    return [values[min(max(round(y), 0), 3)] for y in target]


ORACLES = {
    "bmc": lambda p, y, w=None: parts.bmc(p, y, 0.8, w),
    "gai": lambda p, y, w=None: parts.gai(p, y, 0.8, MIXTURE, w),
    "dist": lambda p, y, w=None: parts.dist(p, [0.0, 0.2, 1.0, 4.0, 9.0], 1.3),
    "dila": lambda p, y, w=None: parts.dila(p, y, listed(y, DENSITY)),
    "sera": lambda p, y, w=None: parts.sera(p, y, listed(y, RELEVANCE), w),
}
CASES = {
    **{name: (globals()[name], oracle, {}) for name, oracle in ORACLES.items()},
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
    if name == "bmc" and len(preds) == 1:
        return  # refused
    function, oracle, settings = CASES[name]
    inputs = torch.tensor(preds, dtype=dtype), torch.tensor(target, dtype=dtype)
    value, gradient = value_and_gradient(function, *inputs, **settings)
    if not (name == "gai" and preds[0] > 1e3):  # where the oracle's densities underflow
        expected = oracle(inputs[0].tolist(), inputs[1].tolist(), **settings)
        assert value == pytest.approx(expected, rel=1e-4, abs=1e-6)
    assert math.isfinite(value)
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
    value = function(preds, target, weights, **settings)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    permuted = function(preds[order], target[order], weights[order], **settings)
    assert permuted.item() == pytest.approx(value.item(), rel=1e-12)
    if name != "bmc":  # which compares vectors
        dense = [each.reshape(3, 1, 4) for each in (preds, target, weights)]
        assert torch.equal(function(*dense, **settings), value)
    strided = torch.stack([preds, preds], dim=1)[:, 0]
    assert torch.equal(function(strided, target, weights, **settings), value)
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
    value = function(preds, target, weights, **settings)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(function(preds, target, weights, **settings), value)


@over_cases
def test_not_a_number_propagates(name):
    function, _, settings = CASES[name]
    preds, target, _ = make_batch()
    preds[3] = math.nan
    assert math.isnan(function(preds, target, **settings))


@over_cases
def test_wrong_arguments_are_named(name):
    function, _, settings = CASES[name]
    preds, target, weights = make_batch()
    with pytest.raises(TypeError, match="preds must be floating point"):
        function(preds.long(), target, **settings)
    if name != "dist":
        with pytest.raises(ValueError, match="same shape"):
            function(preds.unsqueeze(1), target, **settings)
    if name in ("dist", "dila"):
        return
    with pytest.raises(ValueError, match="must not require gradients"):
        function(preds, target, weights.requires_grad_(), **settings)


def test_noise_of_balanced_mse_gets_a_gradient():
    preds, target, weights = make_batch()
    listed_preds, listed_target = preds.tolist(), target.tolist()
    for function, oracle, more in (
        (bmc_loss, parts.bmc, ()),
        (gai_loss, parts.gai, MIXTURE),
    ):
        sigma = torch.tensor(0.7, dtype=torch.float64, requires_grad=True)
        function(preds, target, sigma, *map(exact, more), weights).backward()
        mixture = (more,) if more else ()

        def likelihood(values, oracle=oracle, mixture=mixture):
            value = oracle(listed_preds, listed_target, values[0], *mixture, weights.tolist())
            return value / (2 * values[0] ** 2)

        expected = 2 * 0.7**2 * parts.gradient(likelihood, [0.7])[0]
        assert sigma.grad.item() == pytest.approx(expected, rel=1e-6)


def test_learned_noise_has_a_minimum():
    """Without the constant of the density, GAI would fall without bound as σ grows."""
    preds, target, _ = make_batch()
    mixture = [exact(values) for values in MIXTURE]
    values = [gai_loss(preds, target, s, *mixture).item() / (2 * s * s) for s in (0.5, 5, 5e3)]
    assert values[2] == pytest.approx(0, abs=1e-5)


def test_labels_of_several_dimensions_compete_by_distance():
    draw = torch.Generator().manual_seed(4)
    preds, target = torch.randn(2, 7, 3, generator=draw, dtype=torch.float64)
    value = bmc_loss(preds, target, 0.9).item()
    assert value == pytest.approx(parts.bmc(preds.tolist(), target.tolist(), 0.9), rel=1e-12)
    weights = torch.rand(7, generator=draw, dtype=torch.float64)
    value = bmc_loss(preds, target, 0.9, weights).item()
    expected = parts.bmc(preds.tolist(), target.tolist(), 0.9, weights.tolist())
    assert value == pytest.approx(expected, rel=1e-12)


def test_unknown_dense_labels_do_not_count():
    preds, target, _ = make_batch(8)
    mixture = [exact(values) for values in MIXTURE]
    unknown = torch.tensor([0, 1] * 4, dtype=torch.bool)
    dense = target.where(~unknown, math.nan).view(2, 1, 4), preds.view(2, 1, 4).requires_grad_()
    value = gai_loss(dense[1], dense[0], 0.8, *mixture)
    expected = gai_loss(preds[~unknown], target[~unknown], 0.8, *mixture)
    assert value.item() == pytest.approx(expected.item(), rel=1e-12)
    (gradient,) = torch.autograd.grad(value, dense[1])
    assert gradient.isfinite().all()
    assert (gradient.flatten()[unknown] == 0).all()


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda p, y: bmc_loss(p[:1], y[:1], 1.0), ValueError, "at least 2 samples, got 1"),
        (lambda p, y: bmc_loss(p.view(3, 1, 3), y.view(3, 1, 3), 1.0), ValueError, "shape .N,. or"),
        (lambda p, y: bmc_loss(p, y, 0.0), ValueError, "sigma must be a finite number above 0"),
        (lambda p, y: bmc_loss(p, y, p), ValueError, "sigma must be one number"),
        (lambda p, y: gai_loss(p, y, 1.0, p, p, p[:2]), ValueError, "vectors of one length"),
        (lambda p, y: gai_loss(p, y, 1.0, p, -y - 1, y), ValueError, "variances must be at least"),
        (lambda p, y: gai_loss(p, y, 1.0, p, y, 0 * y), ValueError, "weights must not all be 0"),
        (lambda p, y: dist_loss(p, y[:0]), ValueError, r"quantiles must have shape \(M,\)"),
        (lambda p, y: dist_loss(p, y.long()), TypeError, "quantiles must be floating point"),
        (lambda p, y: sera_loss(p, y, y[:3]), ValueError, "relevance and target must have"),
        (lambda p, y: dila_loss(p, y, y[:3]), ValueError, "density and target must have"),
    ],
)
def test_wrong_tables_are_named(call, error, words):
    preds, target, _ = make_batch()
    with pytest.raises(error, match=words):
        call(preds, target)


def test_sorted_predictions_match_quantiles_without_a_loss():
    """A batch with the distribution of the labels has no distance, in any order."""
    quantiles = torch.rand(64, dtype=torch.float64).sort().values
    order = torch.randperm(64)
    preds = quantiles[order].requires_grad_()
    assert dist_loss(preds, quantiles).item() == pytest.approx(0, abs=1e-15)
    half = (quantiles[::2] + quantiles[1::2]) / 2
    assert dist_loss(half, quantiles).item() == pytest.approx(0, abs=1e-15)


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
