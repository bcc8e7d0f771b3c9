"""Weighted regression losses, compared with float64 loops over samples."""

import functools
import re

import numpy as np
import pytest
import torch

from ranksim.functional import focal_r_loss, huber_loss, l1_loss, mse_loss
from tests.helpers.pairwise import pairwise, parametrize_pairwise
from tests.oracles import regression as oracle

FOCAL_SETTINGS = [
    {"base": case["base"], "activation": case["activation"]}
    | dict(zip(("beta", "gamma"), case["beta_gamma"], strict=True))
    for case in pairwise(
        base=["mse", "l1"],
        activation=["sigmoid", "tanh"],
        beta_gamma=[(0.2, 1.0), (20.0, 0.5), (0.2, 2.0), (1.0, 0.0)],
    )
]
CASES = [
    (l1_loss, oracle.l1, {}),
    (mse_loss, oracle.mse, {}),
    (huber_loss, oracle.huber, {}),
    (huber_loss, oracle.huber, {"delta": 2.5}),
    *((focal_r_loss, oracle.focal_r, settings) for settings in FOCAL_SETTINGS),
]
LOSSES = [l1_loss, mse_loss, huber_loss, focal_r_loss]
REDUCTIONS = ("mean", "weighted_mean", "sum", "none")
SHAPES = [(0,), (1,), (41,), (41, 1), (3, 1, 5, 7), (0, 1, 5, 7), ()]
# result and gradient, compared with float64 on the inputs as rounded to the dtype
TOLERANCE = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (1e-5, 1e-5),
    torch.bfloat16: (1e-5, 2**-8),
    torch.float16: (1e-5, 2**-10),
}

over_losses = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)


def make_case(shape, weighted=True, seed=0):
    """Return predictions, targets and weights; every fifth error is zero, some exceed any δ."""
    draw = np.random.default_rng(seed)
    target = draw.integers(-30, 30, shape) / 4
    error = np.asarray(draw.normal(size=shape) * 4)
    error.reshape(-1)[::5] = 0
    return target + error, target, draw.uniform(0, 3, shape) if weighted else None


def assert_matches_oracle(
    loss, expected, preds, target, weights, dtype=torch.float64, *, reduction, **settings
):
    """Compare value, gradient, dtype and shape with the oracle; the upstream gradient varies."""
    preds = torch.as_tensor(preds).to(dtype).requires_grad_()
    target = torch.as_tensor(target).to(dtype)
    weights = None if weights is None else torch.as_tensor(weights).to(dtype)
    value = loss(preds, target, weights, reduction=reduction, **settings)
    upstream = torch.linspace(-3, 5, value.numel(), dtype=value.dtype).reshape(value.shape)
    value.backward(upstream)

    exact = [None if t is None else t.detach().double() for t in (preds, target, weights)]
    expected_value, gradient = oracle.weighted(expected, *exact, reduction, **settings)
    value_tolerance, gradient_tolerance = TOLERANCE[dtype]
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(
        value.detach().double(),
        torch.as_tensor(expected_value).double(),
        rtol=value_tolerance,
        atol=value_tolerance / 10,
    )
    assert preds.grad.dtype == dtype
    torch.testing.assert_close(
        preds.grad.double(),
        torch.as_tensor(gradient) * upstream.double(),
        rtol=gradient_tolerance,
        atol=gradient_tolerance / 100,
    )


@parametrize_pairwise(case=CASES, reduction=REDUCTIONS, weighted=[True, False])
def test_value_and_gradient_match_oracle(case, reduction, weighted):
    loss, expected, settings = case
    for shape in SHAPES:
        batch = make_case(shape, weighted)
        assert_matches_oracle(loss, expected, *batch, reduction=reduction, **settings)


@parametrize_pairwise(case=CASES, dtype=list(TOLERANCE), reduction=REDUCTIONS)
def test_every_dtype_matches_oracle(case, dtype, reduction):
    loss, expected, settings = case
    batch = make_case((129,))
    assert_matches_oracle(loss, expected, *batch, dtype, reduction=reduction, **settings)


def unweighted(preds, target, weights, **settings):
    return focal_r_loss(preds, target, **settings)


def constant_factor(preds, target, weights, *, reduction):
    """Focal-R without a gradient through the factor."""
    factor = torch.tanh(0.1 * (preds - target).abs()).detach()
    return mse_loss(preds, target, weights * factor, reduction=reduction)


def divided_by_sum_of_weights(preds, target, weights, *, reduction):
    return focal_r_loss(preds, target, weights, reduction="sum") / weights.sum()


def nan_at_zero_error(preds, target, weights, *, reduction):
    """Focal-R as in textbooks: f^(γ−1) is infinite at e = 0."""
    error = (preds - target).abs()
    values = weights * error**2 * torch.tanh(0.1 * error) ** 0.5
    return values.mean()


@pytest.mark.parametrize(
    ("wrong", "gamma"),
    [
        (unweighted, 1.0),
        (constant_factor, 1.0),
        (divided_by_sum_of_weights, 1.0),
        (nan_at_zero_error, 0.5),
    ],
)
def test_comparison_fails_for_wrong_losses(wrong, gamma):
    expected = functools.partial(oracle.focal_r, gamma=gamma)
    right = functools.partial(focal_r_loss, gamma=gamma)
    assert_matches_oracle(right, expected, *make_case((41,)), reduction="mean")
    with pytest.raises(AssertionError, match=r"^(Tensor-likes|Scalars) are not close!"):
        assert_matches_oracle(wrong, expected, *make_case((41,)), reduction="mean")


@pytest.mark.parametrize("case", CASES)
def test_slopes_of_the_oracle_are_derivatives_of_its_values(case):
    _, expected, settings = case
    for e in (-7.0, -0.3, 0.11, 1.7, 9.0):
        step = 1e-6
        rise = expected(e + step, **settings)[0] - expected(e - step, **settings)[0]
        assert expected(e, **settings)[1] == pytest.approx(rise / (2 * step), rel=1e-7, abs=1e-8)


@parametrize_pairwise(case=CASES, reduction=REDUCTIONS)
def test_gradcheck(case, reduction):
    loss, _, settings = case
    draw = np.random.default_rng(1)
    error = draw.choice([-1, 1], 12) * draw.uniform(1.2, 2.2, 12)  # away from kinks at 0, 1, 2.5
    target, weights = torch.randn(12, dtype=torch.float64), torch.rand(12, dtype=torch.float64)
    preds = (target + torch.as_tensor(error)).requires_grad_()

    def run(preds):
        return loss(preds, target, weights, reduction=reduction, **settings)

    assert torch.autograd.gradcheck(run, preds)
    assert torch.autograd.gradgradcheck(run, preds)


@parametrize_pairwise(loss=LOSSES, reduction=("mean", "sum", "none"))
def test_doubling_a_weight_adds_that_samples_share(loss, reduction):
    """The published Focal-R ignores the weights."""
    preds, target, weights = map(torch.as_tensor, make_case((9,), seed=2))
    preds.requires_grad_()
    share = loss(preds, target, reduction="none") * weights
    (sample_gradient,) = torch.autograd.grad(share.sum(), preds)
    size = 9 if reduction == "mean" else 1

    def compute(weights):
        value = loss(preds, target, weights, reduction=reduction).sum()
        return value, torch.autograd.grad(value, preds)[0]

    before, gradient = compute(weights)
    for i in (1, 3, 8):
        assert share[i] > 0
        doubled = weights.clone()
        doubled[i] *= 2
        after, changed = compute(doubled)
        torch.testing.assert_close(after - before, share[i] / size)
        expected = torch.zeros(9, dtype=torch.float64)
        expected[i] = sample_gradient[i] / size
        torch.testing.assert_close(changed - gradient, expected)


@over_losses
def test_mean_is_not_divided_by_the_sum_of_weights(loss):
    preds, target, _ = map(torch.as_tensor, make_case((8,)))
    doubled = loss(preds, target, torch.full((8,), 2.0))
    torch.testing.assert_close(doubled, 2 * loss(preds, target))


@over_losses
def test_weights_get_no_gradient(loss):
    preds, target, weights = map(torch.as_tensor, make_case((8,)))
    loss(preds.requires_grad_(), target, weights).backward()
    assert weights.grad is None
    assert not weights.requires_grad


@parametrize_pairwise(
    base=["mse", "l1"],
    activation=["sigmoid", "tanh"],
    gamma=[0, 0.01, 0.5, 1.0, 1.5, 3.0, 50.0],
    dtype=list(TOLERANCE),
)
def test_zero_error_has_zero_loss_and_gradient(base, activation, gamma, dtype):
    target = torch.tensor([0.0, 21.0, -3.5], dtype=dtype)
    preds = target.clone().requires_grad_()
    settings = {"base": base, "activation": activation, "beta": 20.0, "gamma": gamma}
    loss = focal_r_loss(preds, target, torch.full_like(target, 3.0), **settings)
    (7.0 * loss).backward()
    assert loss == 0
    assert (preds.grad == 0).all()


@parametrize_pairwise(
    error=[1e-7, 1e-12, 1e-30, 1e-37, 1e-44],
    gamma=[0.01, 0.5, 1.0],
    activation=["sigmoid", "tanh"],
)
def test_small_errors_keep_their_precision(error, gamma, activation):
    """For x → 0 the factor is x/2 or x; 2σ(x) − 1 in float32 would be zero below 6e-8."""
    preds = torch.tensor([error], requires_grad=True)
    settings = {"base": "l1", "activation": activation, "beta": 0.2, "gamma": gamma}
    loss = focal_r_loss(preds, torch.zeros(1), **settings)
    loss.backward()
    exact = preds.item()
    factor = (exact * (0.1 if activation == "sigmoid" else 0.2)) ** gamma
    assert loss.isfinite()
    assert preds.grad.isfinite().all()
    if error >= 1e-30:  # float32 has too few digits below
        assert loss.item() == pytest.approx(exact * factor, rel=1e-5, abs=1e-44)
        assert preds.grad.item() == pytest.approx((1 + gamma) * factor, rel=1e-5)


@parametrize_pairwise(
    loss=LOSSES, reduction=REDUCTIONS, shape=[(0,), (0, 1), (0, 1, 4, 4)], weighted=[True, False]
)
def test_empty_batch_is_a_differentiable_zero(loss, reduction, shape, weighted):
    preds = torch.zeros(shape, requires_grad=True)
    weights = torch.ones(shape) if weighted else None
    value = loss(preds, torch.zeros(shape), weights, reduction=reduction)
    assert value.shape == (shape if reduction == "none" else ())
    assert value.sum() == 0
    value.sum().backward()
    assert preds.grad.shape == shape


@over_losses
def test_strides_do_not_matter(loss):
    tensors = [torch.as_tensor(x) for x in make_case((6, 1, 4, 5))]
    strided, target, weights = (tensor.permute(3, 1, 2, 0)[::2] for tensor in tensors)
    assert not strided.is_contiguous()
    plain = strided.contiguous().requires_grad_()
    strided.requires_grad_()
    value = loss(strided, target, weights)
    expected = loss(plain, target.contiguous(), weights.contiguous())
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value, strided)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, plain)[0])


@parametrize_pairwise(loss=LOSSES, target_dtype=[torch.int64, torch.uint8, torch.float64])
def test_result_has_the_dtype_of_predictions(loss, target_dtype):
    preds = torch.tensor([20.5, 250.0])
    target = torch.tensor([30, 255], dtype=target_dtype)
    weights = torch.tensor([0.5, 1.5], dtype=torch.float64)
    value = loss(preds, target, weights, reduction="none")
    assert value.dtype == torch.float32
    expected = loss(preds, target.float(), weights.float(), reduction="none")
    torch.testing.assert_close(value, expected)


@over_losses
def test_autocast_changes_nothing(loss):
    batch = [torch.as_tensor(x).float() for x in make_case((33,))]
    plain = loss(*batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(*batch), plain)


@parametrize_pairwise(loss=LOSSES, value=[float("nan"), float("inf")], position=[0, 1, 2])
def test_non_finite_inputs_propagate(loss, value, position):
    tensors = [torch.full((4,), 2.0), torch.ones(4), torch.ones(4)]
    tensors[position][1] = value
    assert not loss(*tensors).isfinite()


@over_losses
def test_permuted_batch_permutes_the_values(loss):
    preds, target, weights = map(torch.as_tensor, make_case((41,)))
    order = torch.randperm(41, generator=torch.Generator().manual_seed(0))
    values = loss(preds, target, weights, reduction="none")
    permuted = loss(preds[order], target[order], weights[order], reduction="none")
    torch.testing.assert_close(permuted, values[order])


@over_losses
@pytest.mark.parametrize(
    ("preds", "target", "weights", "message"),
    [
        ((4, 1), (4,), None, "preds and target .* same shape, got preds (4, 1) and target (4,)"),
        ((3,), (4,), None, "preds and target .* same shape, got preds (3,) and target (4,)"),
        ((4,), (4,), (4, 1), "sample_weight and target .* got sample_weight (4, 1) and target"),
        ((4, 1), (4, 1), (4,), "sample_weight and target .* got sample_weight (4,) and target (4,"),
        ((4,), (4,), (), "sample_weight and target .* got sample_weight () and target (4,)"),
    ],
)
def test_shapes_are_not_broadcast(loss, preds, target, weights, message):
    weights = None if weights is None else torch.ones(weights)
    with pytest.raises(ValueError, match=re.escape(message).replace(r"\.\*", ".*")):
        loss(torch.zeros(preds), torch.zeros(target), weights)


@parametrize_pairwise(
    loss=LOSSES,
    wrong=[
        ({"preds": [1.0]}, TypeError, "preds must be a torch.Tensor, got list"),
        ({"target": 1.0}, TypeError, "target must be a torch.Tensor, got float"),
        ({"sample_weight": np.ones(4)}, TypeError, "sample_weight must be a torch.Tensor, got nd"),
        ({"preds": torch.zeros(4).long()}, TypeError, "preds must be floating point, got torch.in"),
        ({"target": torch.zeros(4) * 1j}, TypeError, "target must be real, got torch.complex64"),
        (
            {"sample_weight": torch.ones(4).int()},
            TypeError,
            "sample_weight must be floating point, got torch.int32",
        ),
        (
            {"preds": torch.zeros(4, device="meta")},
            ValueError,
            "preds and target and sample_weight must be on one device, got preds on meta and "
            "target on cpu and sample_weight on cpu",
        ),
        (
            {"sample_weight": torch.zeros(4, device="meta")},
            ValueError,
            "preds and target and sample_weight must be on one device, got preds on cpu and target "
            "on cpu and sample_weight on meta",
        ),
        (
            {"sample_weight": torch.ones(4, requires_grad=True)},
            ValueError,
            "sample_weight must not require gradients, got requires_grad=True",
        ),
        (
            {"reduction": "max"},
            ValueError,
            "reduction must be one of sum, mean, none, weighted_mean, got 'max'",
        ),
    ],
)
def test_wrong_arguments_raise(loss, wrong):
    change, error, message = wrong
    tensors = {name: torch.zeros(4) for name in ("preds", "target", "sample_weight")}
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        loss(**tensors | change)


@pytest.mark.parametrize(
    ("loss", "settings", "message"),
    [
        (huber_loss, {"delta": 0.0}, "delta must be a finite number above 0, got 0.0"),
        (huber_loss, {"delta": "1"}, "delta must be a finite number above 0, got '1'"),
        (focal_r_loss, {"base": "huber"}, "base must be one of mse, l1, got 'huber'"),
        (focal_r_loss, {"activation": "relu"}, "activation must be one of sigmoid, tanh, got 'rel"),
        (focal_r_loss, {"beta": 0}, "beta must be a finite number above 0, got 0"),
        (focal_r_loss, {"beta": float("inf")}, "beta must be a finite number above 0, got inf"),
        (focal_r_loss, {"gamma": -1.0}, "gamma must be a finite number of at least 0, got -1.0"),
        (focal_r_loss, {"gamma": float("nan")}, "gamma must be a finite number of at least 0, got"),
    ],
)
def test_wrong_settings_raise(loss, settings, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        loss(torch.zeros(3), torch.zeros(3), **settings)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("factor", [1e-3, 1 / 3, 7e4])
def test_weights_of_a_weighted_mean_are_relative(loss, factor):
    preds, target, weights = map(torch.from_numpy, make_case((23,)))
    one = loss(preds, target, weights, reduction="weighted_mean")
    two = loss(preds, target, weights * factor, reduction="weighted_mean")
    torch.testing.assert_close(one, two, rtol=1e-6, atol=0.0)
    repeats = torch.arange(23) % 4
    rows = torch.arange(23).repeat_interleave(repeats)
    repeated = loss(preds[rows], target[rows])  # a whole weight is that many rows
    weighted = loss(preds, target, repeats.to(preds), reduction="weighted_mean")
    torch.testing.assert_close(weighted, repeated, rtol=1e-6, atol=0.0)


def test_weighted_mean_of_nothing_is_zero():
    preds = torch.ones(3, requires_grad=True)
    loss = mse_loss(preds, torch.zeros(3), torch.zeros(3), reduction="weighted_mean")
    loss.backward()
    assert loss.item() == 0
    assert preds.grad.tolist() == [0, 0, 0]
