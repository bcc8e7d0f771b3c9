import functools
import re

import numpy as np
import pytest
import torch

from ranksim.functional import focal_r_loss, huber_loss, l1_loss, mse_loss
from tests.oracles import regression as oracle

FOCAL = [
    {"base": base, "activation": activation, "beta": beta, "gamma": gamma}
    for base in ("mse", "l1")
    for activation in ("sigmoid", "tanh")
    for beta, gamma in ((0.2, 1.0), (20.0, 0.5), (0.2, 2.0), (1.0, 0.0))
]
CASES = [
    (l1_loss, oracle.l1, {}),
    (mse_loss, oracle.mse, {}),
    (huber_loss, oracle.huber, {}),
    (huber_loss, oracle.huber, {"delta": 2.5}),
    *((focal_r_loss, oracle.focal_r, settings) for settings in FOCAL),
]
LOSSES = [(l1_loss, {}), (mse_loss, {}), (huber_loss, {}), (focal_r_loss, {})]
NAMES = [loss.__name__ for loss, _ in LOSSES]
REDUCTIONS = ["mean", "sum", "none"]
SHAPES = [(0,), (1,), (41,), (41, 1), (3, 1, 5, 7), (0, 1, 5, 7), ()]
# result and gradient, against float64 on the inputs as rounded to the dtype
TOLERANCE = {
    torch.float64: (1e-12, 1e-12),
    torch.float32: (1e-5, 1e-5),
    torch.bfloat16: (1e-5, 2**-8),
    torch.float16: (1e-5, 2**-10),
}

over_cases = pytest.mark.parametrize(
    ("loss", "expected", "settings"),
    CASES,
    ids=["-".join([loss.__name__, *map(str, settings.values())]) for loss, _, settings in CASES],
)
over_losses = pytest.mark.parametrize(("loss", "settings"), LOSSES, ids=NAMES)


def case(shape, weighted=True, seed=0):
    """Predictions, targets and weights; every fifth error is zero, some pass any δ."""
    draw = np.random.default_rng(seed)
    target = draw.integers(-30, 30, shape) / 4
    error = np.asarray(draw.normal(size=shape) * 4)
    error.reshape(-1)[::5] = 0
    return target + error, target, draw.uniform(0, 3, shape) if weighted else None


def check(
    loss, expected, prediction, target, weights, dtype=torch.float64, *, reduction, **settings
):
    """Hold value, gradient, dtype and shape against the oracle, the upstream gradient not one."""
    prediction = torch.as_tensor(prediction).to(dtype).requires_grad_()
    target = torch.as_tensor(target).to(dtype)
    weights = None if weights is None else torch.as_tensor(weights).to(dtype)
    value = loss(prediction, target, weights, reduction=reduction, **settings)
    upstream = torch.linspace(-3, 5, value.numel(), dtype=value.dtype).reshape(value.shape)
    value.backward(upstream)

    exact = [None if t is None else t.detach().double() for t in (prediction, target, weights)]
    want, gradient = oracle.weighted(expected, *exact, reduction, **settings)
    of_value, of_gradient = TOLERANCE[dtype]
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(
        value.detach().double(), torch.as_tensor(want).double(), rtol=of_value, atol=of_value / 10
    )
    assert prediction.grad.dtype == dtype
    torch.testing.assert_close(
        prediction.grad.double(),
        torch.as_tensor(gradient) * upstream.double(),
        rtol=of_gradient,
        atol=of_gradient / 100,
    )


@over_cases
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("weighted", [True, False], ids=["weighted", "plain"])
def test_value_and_gradient(loss, expected, settings, reduction, weighted):
    for shape in SHAPES:
        check(loss, expected, *case(shape, weighted), reduction=reduction, **settings)


@over_cases
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_every_dtype(loss, expected, settings, dtype):
    for reduction in REDUCTIONS:
        check(loss, expected, *case((129,)), dtype, reduction=reduction, **settings)


def unweighted(prediction, target, weights, **settings):
    return focal_r_loss(prediction, target, **settings)


def constant_factor(prediction, target, weights, *, reduction):
    """No gradient through the factor."""
    factor = torch.tanh(0.1 * (prediction - target).abs()).detach()
    return mse_loss(prediction, target, weights * factor, reduction=reduction)


def over_sum_of_weights(prediction, target, weights, *, reduction):
    return focal_r_loss(prediction, target, weights, reduction="sum") / weights.sum()


def textbook(prediction, target, weights, *, reduction):
    """A NaN at e = 0: f^(γ−1) is infinite there."""
    error = (prediction - target).abs()
    values = weights * error**2 * torch.tanh(0.1 * error) ** 0.5
    return values.mean()


@pytest.mark.parametrize(
    ("wrong", "gamma"),
    [(unweighted, 1.0), (constant_factor, 1.0), (over_sum_of_weights, 1.0), (textbook, 0.5)],
)
def test_the_check_refuses_wrong_losses(wrong, gamma):
    expected = functools.partial(oracle.focal_r, gamma=gamma)
    right = functools.partial(focal_r_loss, gamma=gamma)
    check(right, expected, *case((41,)), reduction="mean")
    with pytest.raises(AssertionError, match=r"^(Tensor-likes|Scalars) are not close!"):
        check(wrong, expected, *case((41,)), reduction="mean")


@over_cases
def test_the_oracles_slopes_are_those_of_its_values(loss, expected, settings):
    for e in (-7.0, -0.3, 0.11, 1.7, 9.0):
        step = 1e-6
        rise = expected(e + step, **settings)[0] - expected(e - step, **settings)[0]
        assert expected(e, **settings)[1] == pytest.approx(rise / (2 * step), rel=1e-7, abs=1e-8)


@over_cases
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradcheck(loss, expected, settings, reduction):
    draw = np.random.default_rng(1)
    error = draw.choice([-1, 1], 12) * draw.uniform(1.2, 2.2, 12)  # away from kinks at 0, 1, 2.5
    target, weights = torch.randn(12, dtype=torch.float64), torch.rand(12, dtype=torch.float64)
    prediction = (target + torch.as_tensor(error)).requires_grad_()

    def run(prediction):
        return loss(prediction, target, weights, reduction=reduction, **settings)

    assert torch.autograd.gradcheck(run, prediction)
    assert torch.autograd.gradgradcheck(run, prediction)


@over_losses
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights_reach_every_loss(loss, settings, reduction):
    """Doubling one weight adds that sample's share, no more: the published Focal-R lost it."""
    prediction, target, weights = map(torch.as_tensor, case((9,), seed=2))
    prediction.requires_grad_()
    share = loss(prediction, target, reduction="none", **settings) * weights
    (alone,) = torch.autograd.grad(share.sum(), prediction)
    size = 9 if reduction == "mean" else 1

    def measured(weights):
        value = loss(prediction, target, weights, reduction=reduction, **settings).sum()
        return value, torch.autograd.grad(value, prediction)[0]

    before, gradient = measured(weights)
    for i in (1, 3, 8):
        assert share[i] > 0
        doubled = weights.clone()
        doubled[i] *= 2
        after, moved = measured(doubled)
        torch.testing.assert_close(after - before, share[i] / size)
        only = torch.zeros(9, dtype=torch.float64).index_fill(0, torch.tensor(i), 1.0)
        torch.testing.assert_close(moved - gradient, only * alone / size)


@over_losses
def test_the_mean_is_not_divided_by_the_sum_of_weights(loss, settings):
    prediction, target, _ = map(torch.as_tensor, case((8,), weighted=True))
    twos = torch.full((8,), 2.0)
    torch.testing.assert_close(
        loss(prediction, target, twos, **settings), 2 * loss(prediction, target, **settings)
    )


@over_losses
def test_weights_get_no_gradient(loss, settings):
    prediction, target, weights = map(torch.as_tensor, case((8,)))
    loss(prediction.requires_grad_(), target, weights, **settings).backward()
    assert weights.grad is None
    assert not weights.requires_grad


@pytest.mark.parametrize("base", ["mse", "l1"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("gamma", [0, 0.01, 0.5, 1.0, 1.5, 3.0, 50.0])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_zero_error_has_zero_loss_and_gradient(base, activation, gamma, dtype):
    target = torch.tensor([0.0, 21.0, -3.5], dtype=dtype)
    prediction = target.clone().requires_grad_()
    settings = {"base": base, "activation": activation, "beta": 20.0, "gamma": gamma}
    loss = focal_r_loss(prediction, target, torch.full_like(target, 3.0), **settings)
    (7.0 * loss).backward()
    assert loss == 0
    assert (prediction.grad == 0).all()


@pytest.mark.parametrize("error", [1e-7, 1e-12, 1e-30, 1e-37, 1e-44])
@pytest.mark.parametrize("gamma", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_small_errors_keep_their_precision(error, gamma, activation):
    """For x → 0 the factor is x/2 or x; 2σ(x) − 1 in float32 would be zero below 6e-8."""
    prediction = torch.tensor([error], requires_grad=True)
    settings = {"base": "l1", "activation": activation, "beta": 0.2, "gamma": gamma}
    loss = focal_r_loss(prediction, torch.zeros(1), **settings)
    loss.backward()
    exact = prediction.item()
    factor = (exact * (0.1 if activation == "sigmoid" else 0.2)) ** gamma
    assert loss.isfinite()
    assert prediction.grad.isfinite().all()
    if error >= 1e-30:  # below, float32 itself has no digits left
        assert loss.item() == pytest.approx(exact * factor, rel=1e-5, abs=1e-44)
        assert prediction.grad.item() == pytest.approx((1 + gamma) * factor, rel=1e-5)


@over_losses
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(0,), (0, 1), (0, 1, 4, 4)])
def test_no_samples_give_a_differentiable_zero(loss, settings, reduction, shape):
    prediction = torch.zeros(shape, requires_grad=True)
    for weights in (None, torch.ones(shape)):
        value = loss(prediction, torch.zeros(shape), weights, reduction=reduction, **settings)
        assert value.shape == (shape if reduction == "none" else ())
        assert value.sum() == 0
        value.sum().backward()
        assert prediction.grad.shape == shape


@over_losses
def test_strides_do_not_matter(loss, settings):
    prediction, target, weights = map(torch.as_tensor, case((6, 1, 4, 5)))
    moved = prediction.permute(3, 1, 2, 0)[::2].requires_grad_()
    assert not moved.is_contiguous()
    plain = moved.detach().contiguous().requires_grad_()
    target, weights = target.permute(3, 1, 2, 0)[::2], weights.permute(3, 1, 2, 0)[::2]
    value = loss(moved, target, weights, **settings)
    expected = loss(plain, target.contiguous(), weights.contiguous(), **settings)
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value, moved)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, plain)[0])


@over_losses
@pytest.mark.parametrize("target_dtype", [torch.int64, torch.uint8, torch.float64])
def test_the_result_has_the_dtype_of_the_prediction(loss, settings, target_dtype):
    prediction = torch.tensor([20.5, 250.0])
    target = torch.tensor([30, 255], dtype=target_dtype)
    weights = torch.tensor([0.5, 1.5], dtype=torch.float64)
    value = loss(prediction, target, weights, reduction="none", **settings)
    expected = loss(prediction, target.float(), weights.float(), reduction="none", **settings)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected)


@over_losses
def test_autocast_changes_nothing(loss, settings):
    prediction, target, weights = (torch.as_tensor(x).float() for x in case((33,)))
    plain = loss(prediction, target, weights, **settings)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(prediction, target, weights, **settings), plain)


@over_losses
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", [0, 1, 2], ids=["prediction", "target", "weights"])
def test_what_is_not_finite_is_never_hidden(loss, settings, value, where):
    tensors = [torch.full((4,), 2.0), torch.ones(4), torch.ones(4)]
    tensors[where][1] = value
    assert not loss(*tensors, **settings).isfinite()


@over_losses
def test_permuting_the_batch_permutes_the_values(loss, settings):
    """No sample meets the target or the weight of another."""
    prediction, target, weights = map(torch.as_tensor, case((41,)))
    order = torch.randperm(41, generator=torch.Generator().manual_seed(0))
    values = loss(prediction, target, weights, reduction="none", **settings)
    moved = loss(prediction[order], target[order], weights[order], reduction="none", **settings)
    torch.testing.assert_close(moved, values[order])


def whole(message):
    return f"^{re.escape(message)}$"


@over_losses
@pytest.mark.parametrize(
    ("prediction", "target", "weights", "message"),
    [
        (
            (4, 1),
            (4,),
            None,
            "prediction and target must have the same shape, got prediction (4, 1) and target (4,)",
        ),
        (
            (3,),
            (4,),
            None,
            "prediction and target must have the same shape, got prediction (3,) and target (4,)",
        ),
        (
            (4,),
            (4,),
            (4, 1),
            "weights and target must have the same shape, got weights (4, 1) and target (4,)",
        ),
        (
            (4, 1),
            (4, 1),
            (4,),
            "weights and target must have the same shape, got weights (4,) and target (4, 1)",
        ),
        (
            (4,),
            (4,),
            (),
            "weights and target must have the same shape, got weights () and target (4,)",
        ),
    ],
)
def test_nothing_is_broadcast(loss, settings, prediction, target, weights, message):
    weights = None if weights is None else torch.ones(weights)
    with pytest.raises(ValueError, match=whole(message)):
        loss(torch.zeros(prediction), torch.zeros(target), weights, **settings)


@over_losses
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"prediction": [1.0]}, "prediction must be a torch.Tensor, got list"),
        ({"target": 1.0}, "target must be a torch.Tensor, got float"),
        ({"weights": np.ones(4)}, "weights must be a torch.Tensor, got ndarray"),
        (
            {"prediction": torch.zeros(4, dtype=torch.int64)},
            "prediction must be floating point, got torch.int64",
        ),
        (
            {"target": torch.zeros(4, dtype=torch.complex64)},
            "target must be real, got torch.complex64",
        ),
        (
            {"weights": torch.ones(4, dtype=torch.int32)},
            "weights must be floating point, got torch.int32",
        ),
    ],
)
def test_wrong_types_are_named(loss, settings, change, message):
    tensors = {name: torch.zeros(4) for name in ("prediction", "target", "weights")} | change
    with pytest.raises(TypeError, match=whole(message)):
        loss(**tensors, **settings)


@over_losses
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"prediction": torch.zeros(4, device="meta")},
            "prediction and target must be on one device, got prediction on meta and target on cpu",
        ),
        (
            {"weights": torch.zeros(4, device="meta")},
            "weights and target must be on one device, got weights on meta and target on cpu",
        ),
        (
            {"weights": torch.ones(4, requires_grad=True)},
            "weights must not require gradients, got requires_grad=True",
        ),
        ({"reduction": "max"}, "reduction must be one of sum, mean, none, got 'max'"),
    ],
)
def test_wrong_arguments_are_named(loss, settings, change, message):
    arguments = {name: torch.zeros(4) for name in ("prediction", "target", "weights")} | change
    with pytest.raises(ValueError, match=whole(message)):
        loss(**arguments, **settings)


@pytest.mark.parametrize(
    ("loss", "settings", "message"),
    [
        (huber_loss, {"delta": 0.0}, "delta must be a finite number above 0, got 0.0"),
        (huber_loss, {"delta": "1"}, "delta must be a finite number above 0, got '1'"),
        (focal_r_loss, {"base": "huber"}, "base must be one of mse, l1, got 'huber'"),
        (
            focal_r_loss,
            {"activation": "relu"},
            "activation must be one of sigmoid, tanh, got 'relu'",
        ),
        (focal_r_loss, {"beta": 0}, "beta must be a finite number above 0, got 0"),
        (
            focal_r_loss,
            {"beta": float("inf")},
            "beta must be a finite number above 0, got inf",
        ),
        (focal_r_loss, {"gamma": -1.0}, "gamma must be a finite number of at least 0, got -1.0"),
        (
            focal_r_loss,
            {"gamma": float("nan")},
            "gamma must be a finite number of at least 0, got nan",
        ),
    ],
)
def test_wrong_settings_are_named(loss, settings, message):
    with pytest.raises(ValueError, match=whole(message)):
        loss(torch.zeros(3), torch.zeros(3), **settings)
