"""Losses of heads that predict a distribution: oracle, special cases, precision."""

import math

import numpy as np
import pytest
import torch

from ranksim.functional import gaussian_loss, laplace_loss, quantile_loss, uvote_loss
from ranksim.functional.nll import split_scale
from ranksim.functional.uvote import vote
from ranksim.losses import GaussianLoss, LaplaceLoss, QuantileLoss, UVoteLoss
from tests.oracles import parts

LEVELS, STD, HEADS = (0.1, 0.5, 0.6, 0.99), 1.7, 3
FACTORS = [[1.0, 2.0, 0.1], [1.0, 0.5, 9.0], [1.0, 0.0, 3.0]]  # by label, of each head
NLL = {"gaussian": gaussian_loss, "laplace": laplace_loss}
WIDTHS = {"gaussian": 2, "laplace": 2, "quantile": len(LEVELS), "uvote": 2 * HEADS}
BATCHES = {  # labels
    "one sample": [2.0],
    "equal labels": [1.0] * 5,
    "ties": [0.0, 1.0, 1.0, 2.0, 0.0, 2.0, 2.0],
}
over_losses = pytest.mark.parametrize("name", WIDTHS)


def exact(values):
    return torch.tensor(values, dtype=torch.float64)


def compute(name, outputs, target, weights=None):
    """Return the loss of tensors, by this library."""
    if name == "quantile":
        return quantile_loss(outputs, target, weights, levels=LEVELS)
    if name == "uvote":
        factors = exact(FACTORS)[target.long()].to(outputs.device)
        return uvote_loss(outputs, target, factors, weights, label_std=STD)
    return NLL[name](outputs, target, weights, beta=0.3, label_std=STD)


def explain(name, outputs, target, weights=None, fixed=None):
    """Return the loss of lists, by the oracle; factors that get no gradient are of ``fixed``."""
    if name == "quantile":
        return parts.quantile(outputs, target, weights, LEVELS)
    if name == "uvote":
        factors = [FACTORS[int(y)] for y in target]
        return parts.uvote(outputs, target, factors, weights, STD)
    return parts.located(name, outputs, target, weights, 0.3, STD, fixed)


def draw_outputs(name, target, spread=1.0):
    draw = np.random.default_rng(0)
    return (draw.normal(size=(len(target), WIDTHS[name])) * spread).tolist()


def slopes(name, outputs, target, weights=None):
    width = WIDTHS[name]

    def value(flat):
        rows = [list(flat[k : k + width]) for k in range(0, len(flat), width)]
        return explain(name, rows, target, weights, outputs)

    return parts.gradient(value, [x for row in outputs for x in row]).reshape(-1, width)


@over_losses
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("weighted", [False, True])
def test_value_and_gradient(name, batch, weighted):
    target = BATCHES[batch]
    outputs = draw_outputs(name, target)
    weights = [0.2 + k for k in range(len(target))] if weighted else None
    leaf = exact(outputs).requires_grad_()
    loss = compute(name, leaf, exact(target), None if weights is None else exact(weights))
    loss.backward()
    assert loss.dtype == torch.float64
    assert loss.item() == pytest.approx(explain(name, outputs, target, weights), rel=1e-12)
    np.testing.assert_allclose(
        leaf.grad.numpy(), slopes(name, outputs, target, weights), rtol=1e-6, atol=1e-8
    )


@over_losses
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("spread", [1e-30, 20.0, 1e4])
def test_scales_of_any_size_are_finite(name, dtype, spread):
    target = BATCHES["ties"]
    outputs = torch.tensor(draw_outputs(name, target, spread)).to(dtype).requires_grad_()
    loss = compute(name, outputs, torch.tensor(target))
    loss.backward()
    assert loss.isfinite()
    assert loss.dtype == torch.promote_types(dtype, torch.float32)
    assert not outputs.grad.isnan().any()
    assert outputs.grad.isfinite().all() or dtype == torch.float16  # which ends at 65,504
    expected = explain(name, outputs.tolist(), target)
    assert loss.item() == pytest.approx(expected, rel=1e-5, abs=1e-6)


@over_losses
def test_infinite_scales_and_predictions(name):
    outputs = torch.zeros(2, WIDTHS[name])
    target = torch.tensor([0.0, 1.0])
    if name != "quantile":
        outputs[0, -1], outputs[1, -1] = math.inf, -math.inf
        assert compute(name, outputs, target).isfinite()
    outputs[0, 0] = math.nan
    assert compute(name, outputs, target).isnan()
    outputs[0, 0] = math.inf
    assert compute(name, outputs, target).isinf()


@over_losses
def test_shapes_and_upstream_gradient(name):
    target = BATCHES["ties"][:6]
    outputs = exact(draw_outputs(name, target)).requires_grad_()
    compute(name, outputs, exact(target)).backward()
    dense = outputs.detach().reshape(2, 3, -1).transpose(0, 1).contiguous().transpose(0, 1)
    dense.requires_grad_()
    loss = compute(name, dense, exact(target).reshape(2, 3))
    (-2 * loss).backward()
    torch.testing.assert_close(dense.grad.reshape(6, -1), -2 * outputs.grad)
    empty = torch.zeros(0, WIDTHS[name], requires_grad=True)
    loss = compute(name, empty, torch.zeros(0))
    loss.backward()
    assert loss.item() == 0
    assert empty.grad.shape == (0, WIDTHS[name])
    for shape in ((6,), (6, 1 + WIDTHS[name]), (5, WIDTHS[name])):
        with pytest.raises(ValueError, match=r"outputs must have shape|must have"):
            compute(name, torch.zeros(shape), torch.zeros(6))
    with pytest.raises(TypeError, match="outputs must be floating point"):
        compute(name, torch.zeros(6, WIDTHS[name], dtype=torch.long), torch.zeros(6))
    with pytest.raises(ValueError, match="sample_weight must not require gradients"):
        compute(name, outputs, exact(target), torch.ones(6, requires_grad=True))


@pytest.mark.parametrize("name", NLL)
def test_gradient_of_the_location_with_beta_of_one(name):
    """It does not depend on the scale: that of the squared or absolute error."""
    target = exact([0.0, 1.0, 5.0])
    outputs = exact([[1.0, -3.0], [1.0, 0.0], [2.0, 4.0]]).requires_grad_()
    NLL[name](outputs, target, beta=1.0).backward()
    preds = outputs.detach()[:, 0]
    expected = preds - target if name == "gaussian" else (preds - target).sign()
    torch.testing.assert_close(outputs.grad[:, 0], expected / 3)


@pytest.mark.parametrize("name", NLL)
def test_best_scale_is_the_error(name):
    """Without β, the best standard deviation, or mean absolute deviation, of an error is it."""
    scales = torch.linspace(-1, 2, 301, dtype=torch.float64)
    losses = [NLL[name](exact([[7.0, s]]), exact([2.0]), beta=0.0).item() for s in scales]
    assert scales[int(np.argmin(losses))].exp().item() == pytest.approx(5.0, rel=0.01)


def test_vote_and_split():
    draw = np.random.default_rng(1)
    rows = (draw.normal(size=(50, 6)) * 4).tolist()
    rows += [[1.0, 2, 3, 0, 0, 0], [1.0, 2, 3, 9, -7, -9]]
    preds, scale = vote(exact(rows), STD)
    expected = [parts.vote(row, STD) for row in rows]
    np.testing.assert_allclose(preds, [pred for pred, _ in expected])
    np.testing.assert_allclose(scale, [each for _, each in expected])
    assert preds[-2:].tolist() == [1.0, 2.0]  # the first of equal scales
    preds, scale = split_scale(exact([[3.0, 0.5], [4.0, 99.0]]), STD)
    assert preds.tolist() == [3.0, 4.0]
    np.testing.assert_allclose(scale, [STD * math.exp(0.5), STD * math.exp(5)])
    for shape in ((4,), (4, 3), (4, 0)):
        with pytest.raises(ValueError, match="outputs must have shape"):
            vote(torch.zeros(shape))


LABELS, DENSITY = exact([0.0, 1.0, 1.0, 2.0, 2.0]), exact([1.0, 10.0, 10.0, 0.5, 0.5])
MODULES = {
    "gaussian": GaussianLoss(0.3, STD),
    "laplace": LaplaceLoss(0.3, label_std=STD),
    "quantile": QuantileLoss(LEVELS),
    "uvote": UVoteLoss(LABELS, DENSITY, HEADS, STD),
}


@over_losses
def test_modules(name):
    module, target = MODULES[name], BATCHES["ties"]
    outputs, weights = draw_outputs(name, target), [0.2 + k for k in range(len(target))]
    expected = explain(name, outputs, target, weights)
    if name == "uvote":
        density = [{0.0: 1.0, 1.0: 10.0, 2.0: 0.5}[y] for y in target]
        factors = parts.powers_of_density(density, DENSITY.tolist(), HEADS)
        expected = parts.uvote(outputs, target, factors, weights, STD)
    arguments = exact(outputs), exact(target), exact(weights)
    assert module(*arguments).item() == pytest.approx(expected, rel=1e-12)
    assert not module.state_dict()
    assert repr(module).startswith(type(module).__name__ + "(")
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    assert compiled(*arguments).item() == pytest.approx(expected, rel=1e-12)
    half = torch.nn.ModuleList([module]).bfloat16()[0]
    assert half(*arguments).item() == pytest.approx(expected, rel=1e-12)
    split = module.split(exact(outputs))
    if name == "quantile":
        assert split.tolist() == [sorted(row) for row in outputs]
    elif name == "uvote":
        assert torch.equal(split.preds, vote(exact(outputs), STD).preds)
    else:
        assert torch.equal(split.scale, split_scale(exact(outputs), STD).scale)


def test_powers_of_tiny_and_huge_densities():
    for unit in (1e-300, 1e300):
        again = UVoteLoss(LABELS, DENSITY * unit, HEADS, STD)
        outputs = exact(draw_outputs("uvote", [0.0] * 4)), exact([0.0, 1, 2, 2])
        assert again(*outputs).item() == pytest.approx(MODULES["uvote"](*outputs).item())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GaussianLoss(beta=1.5), "beta must be from 0 to 1, got 1.5"),
        (lambda: GaussianLoss(beta=-0.5), "beta must be a finite number of at least 0"),
        (lambda: LaplaceLoss(label_std=0.0), "label_std must be a finite number above 0"),
        (lambda: QuantileLoss(()), "levels must ascend, above 0 and below 1"),
        (lambda: QuantileLoss((0.5, 0.5)), "levels must ascend"),
        (lambda: QuantileLoss((0.0, 0.5)), "levels must ascend"),
        (lambda: UVoteLoss(LABELS, DENSITY, 1), "heads must be at least 2, got 1"),
        (lambda: UVoteLoss(LABELS, 0 * DENSITY), "density must be above 0, got 0"),
        (lambda: UVoteLoss(LABELS, DENSITY[1:]), "labels and density must have shape"),
        (
            lambda: uvote_loss(torch.zeros(3, 4), torch.zeros(3), torch.zeros(4, 2)),
            r"weights must have shape \(N, ..., M\)",
        ),
        (
            lambda: uvote_loss(torch.zeros(3, 4), torch.zeros(3), torch.ones(3, 3)),
            r"outputs must have shape \(N, ..., 6\), got \(3, 4\): give the last layer 6 outputs",
        ),
    ],
)
def test_wrong_settings_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()
