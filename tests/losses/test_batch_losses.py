"""Modules of losses that compare the samples of a batch."""

import copy
import math
import pickle
import re

import numpy as np
import pytest
import torch

from ranksim import functional, losses
from ranksim.functional._batch import interpolate
from ranksim.losses.label_table import LabelTable

LABELS = torch.tensor([1.0, 2.0, 2.0, 5.0, 9.0])
DENSITY = torch.tensor([3.0, 8.0, 8.0, 1.0, 0.5])
RELEVANCE = torch.tensor([0.5, 0.0, 0.0, 0.7, 1.0])
CENTERS, COUNTS = torch.tensor([1.0, 3.0, 9.0]), torch.tensor([20.0, 30.0, 1.0])
GAI = {"means": CENTERS, "variances": torch.tensor([0.1, 2.0, 0.0]), "weights": COUNTS}


def make_batch(count=20):
    draw = torch.Generator().manual_seed(0)
    preds, target = (torch.randn(count, generator=draw) * 4 for _ in range(2))
    return preds, target, torch.rand(count, generator=draw) * 2


def look_up(values, target):
    """Interpolate at the labels, in NumPy."""
    order = np.argsort(LABELS.numpy(), kind="stable")
    knots, first = np.unique(LABELS.numpy()[order], return_index=True)
    table = values.numpy()[order][first]
    return torch.from_numpy(np.interp(target.numpy(), knots, table)).float()


preds, target, weights = make_batch()
CASES = {  # module, arguments, expected value, repr
    "ccc": (
        losses.CCCLoss(weight=2.0), (preds, target, weights),
        2 * functional.ccc_loss(preds, target, weights), "CCCLoss(weight=2.0)",
    ),
    "gar": (
        losses.GARLoss("mse", "sum", 0.2, label_std=3.0), (preds, target, weights),
        functional.gar_loss(
            preds, target, weights, base="mse", join="sum", alpha=0.2, label_std=3.0
        ),
        "GARLoss(base='mse', join='sum', alpha=0.2, label_std=3.0)",
    ),
    "dist": (
        losses.DistLoss(LABELS.flip(0), 0.5, label_std=2.0), (preds,),
        0.5 * functional.dist_loss(preds, LABELS, label_std=2.0),
        "DistLoss(weight=0.5, label_std=2.0)",
    ),
    "dila": (
        losses.DILALoss(LABELS, DENSITY, 0.3), (preds, target),
        0.3 * functional.dila_loss(preds, target, look_up(DENSITY, target)), "DILALoss(",
    ),
    "sera": (
        losses.SERALoss(LABELS, RELEVANCE, 4.0), (preds, target, weights),
        4 * functional.sera_loss(preds, target, look_up(RELEVANCE, target), weights), "SERALoss(",
    ),
    "bmc": (
        losses.BalancedMSELoss(sigma=0.5, label_std=3.0), (preds, target, weights),
        functional.bmc_loss(preds, target, 1.5, weights),
        "BalancedMSELoss(variant='bmc', sigma=1.5)",
    ),
    "gai": (
        losses.BalancedMSELoss("gai", sigma=2.0, **GAI), (preds, target, weights),
        functional.gai_loss(preds, target, 2.0, *GAI.values(), weights),
        "BalancedMSELoss(variant='gai', sigma=2)",
    ),
    "bni": (
        losses.BalancedMSELoss("bni", means=CENTERS, weights=COUNTS), (preds, target),
        functional.gai_loss(preds, target, 1.0, CENTERS, torch.zeros(3), COUNTS),
        "BalancedMSELoss(variant='bni', sigma=1)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_module_is_the_function_with_its_settings(name):
    module, arguments, expected, text = CASES[name]
    assert repr(module).startswith(text)
    for criterion in (module, copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
        torch.testing.assert_close(criterion(*arguments), expected, rtol=1e-6, atol=0)
    # what the training labels determine is not stored
    assert {*module.state_dict()} == ({"log_sigma"} if name in ("bmc", "gai", "bni") else set())
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(module(*arguments), expected, rtol=1e-6, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_module_compiles_to_one_graph(name):
    module, arguments, expected, _ = CASES[name]
    compiled = torch.compile(copy.deepcopy(module), fullgraph=True, backend="eager")
    arguments = [each.clone().requires_grad_() if k == 0 else each
                 for k, each in enumerate(arguments)]  # fmt: skip
    torch.testing.assert_close(compiled(*arguments), expected, rtol=1e-5, atol=0)
    plain = torch.autograd.grad(module(*arguments), arguments[0])
    torch.testing.assert_close(
        torch.autograd.grad(compiled(*arguments), arguments[0]), plain, rtol=1e-4, atol=1e-7
    )


def test_noise_is_trained_and_stays_above_zero():
    """Predictions of large errors make it grow, perfect ones shrink."""
    for scale, grows in ((10.0, True), (0.0, False)):
        criterion = losses.BalancedMSELoss(label_std=2.0)
        optimizer = torch.optim.Adam(criterion.parameters(), lr=0.1)
        target = 2 * torch.arange(8.0)
        errors = scale * torch.tensor([1.0, -1, 1, -1, 1, -1, 1, -1])
        for _ in range(30):
            optimizer.zero_grad()
            criterion(target + errors, target).backward()
            optimizer.step()
        assert (criterion.sigma.item() > 2) == grows
        assert criterion.sigma.item() > 0


def test_rare_labels_are_predicted_without_shrinkage():
    """One feature, noisy labels: the plain squared error shrinks to the common label."""
    draw = torch.Generator().manual_seed(0)
    true = torch.cat([torch.randn(1900, generator=draw), 6 + torch.randn(100, generator=draw)])
    noisy = true + 2 * torch.randn(2000, generator=draw)
    means = {}
    for name, criterion in (
        ("mse", torch.nn.MSELoss()),
        ("bmc", losses.BalancedMSELoss(sigma=2.0).requires_grad_(False)),
    ):
        layer = torch.nn.Sequential(torch.nn.Linear(1, 8), torch.nn.Tanh(), torch.nn.Linear(8, 1))
        for param in layer.parameters():
            torch.nn.init.normal_(param, 0, 0.5, generator=draw)
        optimizer = torch.optim.Adam(layer.parameters(), lr=0.05)
        for _ in range(120):
            rows = torch.randperm(2000, generator=draw)[:256]
            optimizer.zero_grad()
            criterion(layer(noisy[rows, None])[:, 0], true[rows]).backward()
            optimizer.step()
        means[name] = layer(noisy[:, None])[1900:, 0].mean().item()
    assert means["mse"] < 5
    assert means["bmc"] > means["mse"] + 0.3


def test_dense_labels_are_drawn():
    criterion = losses.BalancedMSELoss(num_positions=5, generator=torch.Generator().manual_seed(0))
    depth = torch.full((2, 1, 3, 3), math.nan)
    depth[0, 0, 0] = torch.tensor([1.0, 2.0, 3.0])
    preds = torch.zeros(2, 1, 3, 3, requires_grad=True)
    loss = criterion(preds, depth)
    loss.backward()
    expected = functional.bmc_loss(torch.zeros(3), torch.tensor([1.0, 2.0, 3.0]), 1.0)
    torch.testing.assert_close(loss, expected)
    assert preds.grad[0, 0, 0].abs().min() > 0
    assert preds.grad.isfinite().all()
    bins = losses.BalancedMSELoss("bni", means=CENTERS, weights=COUNTS)
    assert bins(preds, depth).isfinite()


def make_dense(labels, shape=(2, 1, 3, 3)):
    """Return labels ``(2, K, 3, 3)`` that are NaN but in the first row, and weights of each."""
    target = torch.full(shape, math.nan)
    target[0, :, 0, : len(labels)] = torch.tensor(labels)
    return target, torch.arange(1.0, 19.0).reshape(2, 1, 3, 3)


@pytest.mark.parametrize("dims", [1, 2])
def test_weights_of_dense_labels_are_drawn(dims):
    criterion = losses.BalancedMSELoss(num_positions=9)
    target, weight = make_dense([1.0, 2.0, 3.0], (2, dims, 3, 3))
    preds = torch.zeros_like(target, requires_grad=True)
    known = torch.tensor([[1.0], [2.0], [3.0]]).expand(3, dims)
    expected = functional.bmc_loss(torch.zeros(3, dims), known, 1.0, known[:, 0])
    loss = criterion(preds, target, weight)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert preds.grad.isfinite().all()
    assert loss.dtype == torch.float32
    some = losses.BalancedMSELoss(num_positions=2, generator=torch.Generator().manual_seed(1))
    pairs = [[0, 1], [0, 2], [1, 2]]
    values = [
        functional.bmc_loss(torch.zeros(2, dims), known[rows], 1.0, known[rows, 0]).item()
        for rows in pairs
    ]
    drawn = some(preds, target, weight).item()
    assert any(drawn == pytest.approx(value) for value in values)


@pytest.mark.parametrize("shape", [(2,), (2, 1), (2, 3, 3), (2, 2, 3, 3), (1, 1, 3, 3)])
def test_weights_of_another_shape_are_refused(shape):
    target, _ = make_dense([1.0, 2.0, 3.0])
    words = f"per position, shape (2, 1, 3, 3), got {shape} for target (2, 1, 3, 3)"
    with pytest.raises(ValueError, match=re.escape(words)):
        losses.BalancedMSELoss(num_positions=5)(torch.zeros_like(target), target, torch.ones(shape))


def test_one_position_with_a_label_is_refused():
    target, weight = make_dense([1.0])
    words = "target must have labels at 2 positions or more, got 1 in shape (2, 1, 3, 3): BMC"
    for weights in ((), (weight,)):
        with pytest.raises(ValueError, match=re.escape(words)) as error:
            losses.BalancedMSELoss(num_positions=5)(torch.zeros_like(target), target, *weights)
        assert "drop_last" not in str(error.value)
    with pytest.raises(ValueError, match="num_positions must be at least 2, .*, got 1"):
        losses.BalancedMSELoss(num_positions=1)


FAR = 70_000 + LABELS  # infinite in float16, and equal in bfloat16
CAST = {
    "dist": lambda: (losses.DistLoss(FAR), False),
    "dila": lambda: (losses.DILALoss(FAR, DENSITY * 1e6), True),
    "sera": lambda: (losses.SERALoss(FAR, RELEVANCE), True),
    "gai": lambda: (losses.BalancedMSELoss("gai", **GAI | {"means": CENTERS + 7e4}), True),
    "bni": lambda: (losses.BalancedMSELoss("bni", means=CENTERS + 7e4, weights=COUNTS * 1e6), True),
}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", CAST)
def test_tables_are_not_rounded(name, dtype):
    module, takes_labels = CAST[name]()
    arguments = (70_000 + preds, 70_000 + target)[: 1 + takes_labels]
    expected = module(*arguments)
    assert expected.isfinite()
    cast = torch.nn.ModuleDict({"criterion": copy.deepcopy(module)}).to(dtype)["criterion"]
    torch.testing.assert_close(cast(*arguments), expected, rtol=1e-5, atol=0)
    for values in (*cast.buffers(), *cast.parameters()):
        assert values.dtype in (torch.float32, torch.float64)
    method = {torch.float16: "half", torch.bfloat16: "bfloat16"}.get(dtype)
    if method:
        again = getattr(copy.deepcopy(module), method)()
        torch.testing.assert_close(again(*arguments), expected, rtol=1e-5, atol=0)


def test_knots_that_a_cast_makes_equal():
    knots = torch.tensor([1.0, 1.0 + 1e-12, 2.0, 3.0, 3.0 + 1e-12], dtype=torch.float64)
    values, x = torch.tensor([0.1, 0.2, 0.5, 0.7, 0.8]), torch.tensor([0.0, 1, 1.5, 2, 3, 9])
    expected = pytest.approx([0.1, 0.1, 0.35, 0.5, 0.7, 0.8])
    assert interpolate(x, knots.float(), values).tolist() == expected
    assert LabelTable(knots, values, "values").float()(x).tolist() == expected


@pytest.mark.parametrize("name", GAI)
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_components_must_be_finite(name, value):
    wrong = GAI | {name: torch.tensor([1.0, value, 2.0])}
    with pytest.raises(ValueError, match=f"{name} must be finite, got NaN or infinity"):
        losses.BalancedMSELoss("gai", **wrong)
    with pytest.raises(ValueError, match=f"{name} must be finite, got NaN or infinity"):
        functional.gai_loss(preds, target, 1.0, *wrong.values())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: losses.CCCLoss(weight=0.0), "weight must be a finite number above 0"),
        (lambda: losses.BalancedMSELoss("gai"), "variant 'gai' takes means and variances and we"),
        (lambda: losses.BalancedMSELoss("bni", **GAI), "variant 'bni' takes means and weights"),
        (lambda: losses.BalancedMSELoss(means=CENTERS), "takes no means, variances or weights"),
        (lambda: losses.BalancedMSELoss("bmc", sigma=0.0), "sigma must be a finite number above"),
        (
            lambda: losses.BalancedMSELoss("bni", means=CENTERS, weights=COUNTS, num_positions=3),
            "num_positions is for variant 'bmc' only",
        ),
        (lambda: losses.DILALoss(LABELS, DENSITY[:2]), r"labels and density must have shape"),
        (lambda: losses.DILALoss(LABELS, DENSITY / 0), "labels and density must be finite"),
        (lambda: losses.SERALoss(LABELS, 2 * RELEVANCE), "relevance must be from 0 to 1, got 0"),
        (lambda: losses.DistLoss(LABELS[:0]), "quantiles must have shape"),
    ],
)
def test_wrong_settings_are_named(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_one_label_is_a_table():
    criterion = losses.DILALoss(LABELS[:1], DENSITY[:1])
    assert criterion(preds, target).item() == 0
