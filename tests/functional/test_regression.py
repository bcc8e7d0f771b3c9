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
    """Predictions, targets and sample_weight; every fifth error is zero, some pass any δ."""
    draw = np.random.default_rng(seed)
    target = draw.integers(-30, 30, shape) / 4
    error = np.asarray(draw.normal(size=shape) * 4)
    error.reshape(-1)[::5] = 0
    return target + error, target, draw.uniform(0, 3, shape) if weighted else None


def check(
    loss, expected, preds, target, sample_weight, dtype=torch.float64, *, reduction, **settings
):
    """Hold value, gradient, dtype and shape against the oracle, the upstream gradient not one."""
    preds = torch.as_tensor(preds).to(dtype).requires_grad_()
    target = torch.as_tensor(target).to(dtype)
    sample_weight = None if sample_weight is None else torch.as_tensor(sample_weight).to(dtype)
    value = loss(preds, target, sample_weight, reduction=reduction, **settings)
    upstream = torch.linspace(-3, 5, value.numel(), dtype=value.dtype).reshape(value.shape)
    value.backward(upstream)

    exact = [None if t is None else t.detach().double() for t in (preds, target, sample_weight)]
    want, gradient = oracle.weighted(expected, *exact, reduction, **settings)
    of_value, of_gradient = TOLERANCE[dtype]
    assert value.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(
        value.detach().double(), torch.as_tensor(want).double(), rtol=of_value, atol=of_value / 10
    )
    assert preds.grad.dtype == dtype
    torch.testing.assert_close(
        preds.grad.double(),
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


def unweighted(preds, target, sample_weight, **settings):
    return focal_r_loss(preds, target, **settings)


def constant_factor(preds, target, sample_weight, *, reduction):
    """No gradient through the factor."""
    factor = torch.tanh(0.1 * (preds - target).abs()).detach()
    return mse_loss(preds, target, sample_weight * factor, reduction=reduction)


def over_sum_of_weights(preds, target, sample_weight, *, reduction):
    return focal_r_loss(preds, target, sample_weight, reduction="sum") / sample_weight.sum()


def textbook(preds, target, sample_weight, *, reduction):
    """A NaN at e = 0: f^(γ−1) is infinite there."""
    error = (preds - target).abs()
    values = sample_weight * error**2 * torch.tanh(0.1 * error) ** 0.5
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
    target, sample_weight = (
        torch.randn(12, dtype=torch.float64),
        torch.rand(12, dtype=torch.float64),
    )
    preds = (target + torch.as_tensor(error)).requires_grad_()

    def run(preds):
        return loss(preds, target, sample_weight, reduction=reduction, **settings)

    assert torch.autograd.gradcheck(run, preds)
    assert torch.autograd.gradgradcheck(run, preds)


@over_losses
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_weights_reach_every_loss(loss, settings, reduction):
    """Doubling one weight adds that sample's share, no more: the published Focal-R lost it."""
    preds, target, sample_weight = map(torch.as_tensor, case((9,), seed=2))
    preds.requires_grad_()
    share = loss(preds, target, reduction="none", **settings) * sample_weight
    (alone,) = torch.autograd.grad(share.sum(), preds)
    size = 9 if reduction == "mean" else 1

    def measured(sample_weight):
        value = loss(preds, target, sample_weight, reduction=reduction, **settings).sum()
        return value, torch.autograd.grad(value, preds)[0]

    before, gradient = measured(sample_weight)
    for i in (1, 3, 8):
        assert share[i] > 0
        doubled = sample_weight.clone()
        doubled[i] *= 2
        after, moved = measured(doubled)
        torch.testing.assert_close(after - before, share[i] / size)
        only = torch.zeros(9, dtype=torch.float64).index_fill(0, torch.tensor(i), 1.0)
        torch.testing.assert_close(moved - gradient, only * alone / size)


@over_losses
def test_the_mean_is_not_divided_by_the_sum_of_weights(loss, settings):
    preds, target, _ = map(torch.as_tensor, case((8,), weighted=True))
    twos = torch.full((8,), 2.0)
    torch.testing.assert_close(
        loss(preds, target, twos, **settings), 2 * loss(preds, target, **settings)
    )


@over_losses
def test_weights_get_no_gradient(loss, settings):
    preds, target, sample_weight = map(torch.as_tensor, case((8,)))
    loss(preds.requires_grad_(), target, sample_weight, **settings).backward()
    assert sample_weight.grad is None
    assert not sample_weight.requires_grad


@pytest.mark.parametrize("base", ["mse", "l1"])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
@pytest.mark.parametrize("gamma", [0, 0.01, 0.5, 1.0, 1.5, 3.0, 50.0])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_a_zero_error_has_zero_loss_and_gradient(base, activation, gamma, dtype):
    target = torch.tensor([0.0, 21.0, -3.5], dtype=dtype)
    preds = target.clone().requires_grad_()
    settings = {"base": base, "activation": activation, "beta": 20.0, "gamma": gamma}
    loss = focal_r_loss(preds, target, torch.full_like(target, 3.0), **settings)
    (7.0 * loss).backward()
    assert loss == 0
    assert (preds.grad == 0).all()


@pytest.mark.parametrize("error", [1e-7, 1e-12, 1e-30, 1e-37, 1e-44])
@pytest.mark.parametrize("gamma", [0.01, 0.5, 1.0])
@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
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
    if error >= 1e-30:  # below, float32 itself has no digits left
        assert loss.item() == pytest.approx(exact * factor, rel=1e-5, abs=1e-44)
        assert preds.grad.item() == pytest.approx((1 + gamma) * factor, rel=1e-5)


@over_losses
@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("shape", [(0,), (0, 1), (0, 1, 4, 4)])
def test_no_samples_give_a_differentiable_zero(loss, settings, reduction, shape):
    preds = torch.zeros(shape, requires_grad=True)
    for sample_weight in (None, torch.ones(shape)):
        value = loss(preds, torch.zeros(shape), sample_weight, reduction=reduction, **settings)
        assert value.shape == (shape if reduction == "none" else ())
        assert value.sum() == 0
        value.sum().backward()
        assert preds.grad.shape == shape


@over_losses
def test_strides_do_not_matter(loss, settings):
    preds, target, sample_weight = map(torch.as_tensor, case((6, 1, 4, 5)))
    moved = preds.permute(3, 1, 2, 0)[::2].requires_grad_()
    assert not moved.is_contiguous()
    plain = moved.detach().contiguous().requires_grad_()
    target, sample_weight = target.permute(3, 1, 2, 0)[::2], sample_weight.permute(3, 1, 2, 0)[::2]
    value = loss(moved, target, sample_weight, **settings)
    expected = loss(plain, target.contiguous(), sample_weight.contiguous(), **settings)
    torch.testing.assert_close(value, expected)
    (gradient,) = torch.autograd.grad(value, moved)
    torch.testing.assert_close(gradient, torch.autograd.grad(expected, plain)[0])


@over_losses
@pytest.mark.parametrize("target_dtype", [torch.int64, torch.uint8, torch.float64])
def test_the_result_has_the_dtype_of_the_prediction(loss, settings, target_dtype):
    preds = torch.tensor([20.5, 250.0])
    target = torch.tensor([30, 255], dtype=target_dtype)
    sample_weight = torch.tensor([0.5, 1.5], dtype=torch.float64)
    value = loss(preds, target, sample_weight, reduction="none", **settings)
    expected = loss(preds, target.float(), sample_weight.float(), reduction="none", **settings)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, expected)


@over_losses
def test_autocast_changes_nothing(loss, settings):
    preds, target, sample_weight = (torch.as_tensor(x).float() for x in case((33,)))
    plain = loss(preds, target, sample_weight, **settings)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(loss(preds, target, sample_weight, **settings), plain)


@over_losses
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", [0, 1, 2], ids=["preds", "target", "sample_weight"])
def test_what_is_not_finite_is_never_hidden(loss, settings, value, where):
    tensors = [torch.full((4,), 2.0), torch.ones(4), torch.ones(4)]
    tensors[where][1] = value
    assert not loss(*tensors, **settings).isfinite()


@over_losses
def test_permuting_the_batch_permutes_the_values(loss, settings):
    """No sample meets the target or the weight of another."""
    preds, target, sample_weight = map(torch.as_tensor, case((41,)))
    order = torch.randperm(41, generator=torch.Generator().manual_seed(0))
    values = loss(preds, target, sample_weight, reduction="none", **settings)
    moved = loss(preds[order], target[order], sample_weight[order], reduction="none", **settings)
    torch.testing.assert_close(moved, values[order])


def whole(message):
    return f"^{re.escape(message)}$"


@over_losses
@pytest.mark.parametrize(
    ("preds", "target", "sample_weight", "message"),
    [
        (
            (4, 1),
            (4,),
            None,
            "preds and target must have the same shape, got preds (4, 1) and target (4,)",
        ),
        (
            (3,),
            (4,),
            None,
            "preds and target must have the same shape, got preds (3,) and target (4,)",
        ),
        (
            (4,),
            (4,),
            (4, 1),
            "sample_weight and target must have the same shape, got sample_weight (4, 1) and target (4,)",
        ),
        (
            (4, 1),
            (4, 1),
            (4,),
            "sample_weight and target must have the same shape, got sample_weight (4,) and target (4, 1)",
        ),
        (
            (4,),
            (4,),
            (),
            "sample_weight and target must have the same shape, got sample_weight () and target (4,)",
        ),
    ],
)
def test_nothing_is_broadcast(loss, settings, preds, target, sample_weight, message):
    sample_weight = None if sample_weight is None else torch.ones(sample_weight)
    with pytest.raises(ValueError, match=whole(message)):
        loss(torch.zeros(preds), torch.zeros(target), sample_weight, **settings)


@over_losses
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preds": [1.0]}, "preds must be a torch.Tensor, got list"),
        ({"target": 1.0}, "target must be a torch.Tensor, got float"),
        ({"sample_weight": np.ones(4)}, "sample_weight must be a torch.Tensor, got ndarray"),
        (
            {"preds": torch.zeros(4, dtype=torch.int64)},
            "preds must be floating point, got torch.int64",
        ),
        (
            {"target": torch.zeros(4, dtype=torch.complex64)},
            "target must be real, got torch.complex64",
        ),
        (
            {"sample_weight": torch.ones(4, dtype=torch.int32)},
            "sample_weight must be floating point, got torch.int32",
        ),
    ],
)
def test_wrong_types_are_named(loss, settings, change, message):
    tensors = {name: torch.zeros(4) for name in ("preds", "target", "sample_weight")} | change
    with pytest.raises(TypeError, match=whole(message)):
        loss(**tensors, **settings)


@over_losses
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"preds": torch.zeros(4, device="meta")},
            "preds and target must be on one device, got preds on meta and target on cpu",
        ),
        (
            {"sample_weight": torch.zeros(4, device="meta")},
            "sample_weight and target must be on one device, got sample_weight on meta and target on cpu",
        ),
        (
            {"sample_weight": torch.ones(4, requires_grad=True)},
            "sample_weight must not require gradients, got requires_grad=True",
        ),
        ({"reduction": "max"}, "reduction must be one of sum, mean, none, got 'max'"),
    ],
)
def test_wrong_arguments_are_named(loss, settings, change, message):
    arguments = {name: torch.zeros(4) for name in ("preds", "target", "sample_weight")} | change
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
