"""Terms on features: oracle in value and gradient, ties, special batches, precision."""

from functools import partial

import numpy as np
import pytest
import torch

from ranksim.functional import conr_loss, ordinal_entropy_loss, rnc_loss
from ranksim.losses import ConRLoss, OrdinalEntropyLoss, RnCLoss, SRLLoss
from tests.oracles import feature_terms as oracle

PREDS = np.random.default_rng(5).normal(2.0, 1.2, 18).round(3).tolist()
CONR_PREDS = torch.tensor(PREDS, dtype=torch.float64)


def conr(features, labels, **settings):
    return conr_loss(features, labels, CONR_PREDS[: len(labels)], **settings)


def conr_oracle(features, labels, **settings):
    settings["weights"] = settings.pop("sample_weight", None)
    return oracle.conr(features, labels, PREDS[: len(labels)], **settings)


CASES = {  # function, oracle, settings
    "oe": (ordinal_entropy_loss, oracle.ordinal_entropy, {}),
    "oe, range": (ordinal_entropy_loss, oracle.ordinal_entropy, {"label_range": 9.0}),
    "rnc": (rnc_loss, oracle.rnc, {}),
    "rnc, cold": (rnc_loss, oracle.rnc, {"temperature": 0.1}),
    "conr": (conr, conr_oracle, {"width": 1.5}),
    "conr, cold": (conr, conr_oracle, {"width": 0.75, "temperature": 0.05, "label_std": 2.0}),
}
over_cases = pytest.mark.parametrize("name", CASES)


def make_batch(count=9, width=3, seed=0, dtype=torch.float64):
    draw = torch.Generator().manual_seed(seed)
    features = torch.randn(count, width, generator=draw, dtype=dtype)
    labels = torch.randint(0, 5, (count,), generator=draw)  # ties
    return features, labels


def value_and_gradient(function, features, *inputs, **settings):
    features = features.detach().clone().requires_grad_()
    value = function(features, *inputs, **settings)
    value.backward()
    return value.item(), features.grad


@over_cases
@pytest.mark.parametrize("count", [2, 9])
def test_equals_the_oracle(name, count):
    function, slow, settings = CASES[name]
    features, labels = make_batch(count, seed=count)
    value, gradient = value_and_gradient(function, features, labels, **settings)

    def compute(rows):
        return slow(rows, labels.tolist(), **settings)

    assert value == pytest.approx(compute(features.numpy()), rel=1e-10, abs=1e-12)
    expected = oracle.gradient(compute, features.numpy())
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-5, atol=1e-8)


def test_weights_of_conr_are_those_of_the_anchors():
    features, labels = make_batch(12)
    weights = [0.0, 0.5, 1.0, 2.0] * 3
    settings = {"width": 1.0, "sample_weight": torch.tensor(weights)}
    value, gradient = value_and_gradient(conr, features, labels, **settings)

    def compute(rows):
        return conr_oracle(rows, labels.tolist(), width=1.0, sample_weight=weights)

    assert value == pytest.approx(compute(features.numpy()), rel=1e-10)
    expected = oracle.gradient(compute, features.numpy())
    np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-5, atol=1e-8)


def test_second_views_double_the_samples():
    features, labels = make_batch()
    other, _ = make_batch(seed=1)
    joined, doubled = torch.cat([features, other]), labels.repeat(2)
    assert torch.equal(rnc_loss(features, labels, features_2=other), rnc_loss(joined, doubled))
    preds = CONR_PREDS
    weights = torch.rand(9, dtype=torch.float64)
    views = {"sample_weight": weights, "view_2": (other, preds[9:])}
    two = conr_loss(features, labels, preds[:9], width=1, **views)
    one = conr_loss(joined, doubled, preds, width=1, sample_weight=weights.repeat(2))
    assert torch.equal(one, two)
    with pytest.raises(ValueError, match="preds_2 must have the shape and device of preds"):
        conr_loss(features, labels, preds[:9], width=1, view_2=(other, preds))
    with pytest.raises(ValueError, match="features_2 must have the shape and device of features"):
        rnc_loss(features, labels, features_2=other[:2])


def test_equal_distances_of_rnc_are_in_each_others_sum():
    """Labels 1 and 3 are equally far from 2, so each is in the denominator of the other."""
    features = torch.tensor([[0.0], [1.0], [5.0]], dtype=torch.float64)
    value = rnc_loss(features, torch.tensor([2, 1, 3]), temperature=1.0)
    terms = [np.log(1 + np.exp(-4)), np.log(1 + np.exp(4))]  # anchor 2
    terms += [np.log(1 + np.exp(-3)), 0.0]  # anchor 1: label 2 is nearer than 3
    terms += [np.log(1 + np.exp(1)), 0.0]  # anchor 3, whose features are nearer to 1 than to 2
    assert value.item() == pytest.approx(sum(terms) / 6, rel=1e-12)


SPECIAL = {
    "one sample": ([[1.0, 2.0]], [3]),
    "one of zeros": ([[0.0, 0.0]], [3]),
    "equal labels": ([[1.0, 2.0], [0.5, -1.0], [3.0, 0.1]], [4, 4, 4]),
    "equal samples": ([[1.0, 2.0]] * 3, [4, 4, 4]),
    "equal features": ([[0.3, 0.7]] * 4, [1, 2, 3, 4]),
    "zero features": ([[0.0, 0.0]] * 4, [1, 2, 3, 3]),
    "a rare label": ([[1.0, 0.0], [0.9, 0.1], [0.8, 0.3], [-1.0, 0.2]], [1, 1, 1, 90]),
    "far features": ([[1e4, 1e4], [1e4 + 1, 1e4], [-1e4, 3.0]], [1, 2, 3]),
}


@over_cases
@pytest.mark.parametrize("batch", SPECIAL)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_special_batches_are_finite(name, batch, dtype):
    function, slow, settings = CASES[name]
    features, labels = SPECIAL[batch]
    rows = torch.tensor(features, dtype=dtype)
    value, gradient = value_and_gradient(function, rows, torch.tensor(labels), **settings)
    expected = slow(rows.double().numpy(), labels, **settings)
    assert value == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert gradient.isfinite().all()
    if batch in ("one sample", "one of zeros", "equal samples", "zero features"):
        assert gradient.abs().max() < 1e-6 or name.startswith("conr")


@over_cases
def test_empty_batch(name):
    function, _, settings = CASES[name]
    value, gradient = value_and_gradient(
        function, torch.empty(0, 3), torch.empty(0, dtype=torch.int64), **settings
    )
    assert value == 0
    assert gradient.shape == (0, 3)


@over_cases
def test_order_dtypes_and_scale(name):
    function, _, settings = CASES[name]
    if name.startswith("conr"):
        return
    features, labels = make_batch(12)
    value, gradient = value_and_gradient(function, features, labels, **settings)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    permuted, moved = value_and_gradient(function, features[order], labels[order], **settings)
    assert permuted == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(moved, gradient[order])
    single = function(features.float(), labels.int(), **settings)
    assert single.dtype == torch.float32
    half = function(features.bfloat16(), labels, **settings)
    assert half.dtype == torch.float32
    rounded = function(features.bfloat16().double(), labels, **settings)
    assert half.item() == pytest.approx(rounded.item(), rel=1e-5)
    leaf = features.clone().requires_grad_()
    (3 * function(leaf, labels, **settings)).backward()
    torch.testing.assert_close(leaf.grad, 3 * gradient)
    columns = torch.stack([labels, 0 * labels], dim=1)  # a second label that is constant
    assert torch.equal(
        function(features, columns, **settings), function(features, labels, **settings)
    )


@over_cases
def test_autocast_does_not_round(name):
    function, _, settings = CASES[name]
    features, labels = make_batch(dtype=torch.float32)
    exact = function(features, labels, **settings)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(function(features, labels, **settings), exact)


@over_cases
def test_not_finite_features_are_noticed(name):
    function, _, settings = CASES[name]
    features, labels = make_batch()
    features[0] = torch.nan
    assert function(features, labels, **settings).isnan()


@over_cases
def test_wrong_arguments_are_named(name):
    function, _, settings = CASES[name]
    features, labels = make_batch()
    with pytest.raises(ValueError, match="same length"):
        function(features[:4], labels, **settings)
    with pytest.raises(TypeError, match="features must be floating point"):
        function(features.long(), labels, **settings)


def make_srl(labels=(0, 5), points=40, **settings):
    edges = np.arange(labels[0], labels[1] + 1.0)
    term = SRLLoss(3, edges, points=points, label_std=1.4, **settings)
    slow = oracle.SRL(3, edges.tolist(), term.points.double().tolist(), 1.4)
    return term, slow


def test_srl_equals_the_oracle_over_batches():
    term, slow = make_srl()
    for step in range(4):
        features, labels = make_batch(7, seed=step)
        labels = labels.clamp(max=1 + step)
        value, gradient = value_and_gradient(term, features, labels)

        compute = partial(slow.loss, labels=labels.tolist())
        assert value == pytest.approx(compute(features.numpy()), rel=1e-6)
        expected = oracle.gradient(compute, features.numpy())
        np.testing.assert_allclose(gradient.numpy(), expected, rtol=1e-4, atol=1e-7)
        slow.centroids = slow.moved(features.numpy(), labels.tolist())
        for stored, exact in zip(term.centroids, slow.centroids, strict=True):
            np.testing.assert_allclose(stored.numpy(), 0 if exact is None else exact, atol=1e-6)


def test_srl_collects_before_it_trains():
    first, second = make_srl()[0], make_srl()[0]
    features, labels = make_batch()
    first.update(features, labels)
    second(features, labels)
    assert torch.equal(first.centroids, second.centroids)
    first.eval()
    before = first.centroids.clone()
    first(-features, labels)
    assert torch.equal(first.centroids, before)
    restored = make_srl()[0]
    restored.load_state_dict(first.state_dict())
    features.requires_grad_()
    assert torch.equal(restored.train()(features, labels), first.train()(features, labels))


@pytest.mark.parametrize("batch", SPECIAL)
def test_srl_is_finite(batch):
    features, labels = SPECIAL[batch]
    term = SRLLoss(2, range(0, 101, 10), points=8)
    for _ in range(2):
        value, gradient = value_and_gradient(term, torch.tensor(features), torch.tensor(labels))
        assert np.isfinite(value)
        assert gradient.isfinite().all()


def test_srl_without_samples_is_zero():
    term = SRLLoss(2, [0, 1, 2], points=8)
    features = torch.empty(0, 2, requires_grad=True)
    loss = term(features, torch.empty(0))
    assert loss == 0
    loss.backward()
    unseen = term.eval()(torch.ones(2, 2, requires_grad=True), torch.ones(2))
    assert unseen == 0


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SRLLoss(3, [0, 0]), "edges must be at least two ascending numbers"),
        (lambda: SRLLoss(3, [0, 1], momentum=1), "momentum must be below 1, got 1"),
        (
            lambda: SRLLoss(3, [0, 1], weights=(1, 1, -1)),
            "weights must be a finite number of at least 0",
        ),
        (lambda: SRLLoss(0, [0, 1]), "width must be at least 1"),
        (lambda: ConRLoss(0.0), "width must be a finite number above 0"),
        (lambda: ConRLoss(1.0, weight=0), "weight must be a finite number above 0"),
        (lambda: RnCLoss(temperature=0), "temperature must be a finite number above 0"),
        (lambda: OrdinalEntropyLoss(weight=-1), "weight must be a finite number above 0"),
        (lambda: OrdinalEntropyLoss(label_range=0), "label_range must be a finite number above 0"),
        (
            lambda: SRLLoss(3, [0, 1])(torch.zeros(2, 4), torch.zeros(2)),
            "features must have 3 columns and labels one",
        ),
        (
            lambda: ConRLoss(1.0)(torch.zeros(2, 4), torch.zeros(2), torch.zeros(3)),
            "preds must have the shape of labels",
        ),
    ],
)
def test_settings_are_checked(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_modules_have_their_settings():
    features, labels = make_batch()
    preds = CONR_PREDS[:9].float()
    assert torch.equal(
        OrdinalEntropyLoss(0.5, label_range=4)(features, labels),
        0.5 * ordinal_entropy_loss(features, labels, label_range=4),
    )
    assert torch.equal(RnCLoss(0.5)(features, labels), rnc_loss(features, labels, temperature=0.5))
    assert torch.equal(
        ConRLoss(1.0, weight=3, temperature=0.3, label_std=2)(features, labels, preds),
        3 * conr_loss(features, labels, preds, width=1, temperature=0.3, label_std=2),
    )
    for term in (OrdinalEntropyLoss(), RnCLoss(), ConRLoss(1.0), SRLLoss(3, [0, 1])):
        assert repr(term).startswith(type(term).__name__ + "(")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["oe", "rnc", "conr", "srl"])
def test_torch_compile(name):
    """No shape depends on values, so that there is one graph."""
    features, labels = make_batch()
    term = make_srl()[0] if name == "srl" else CASES[name][0]
    settings = {} if name == "srl" else CASES[name][2]
    value, gradient = value_and_gradient(term, features, labels, **settings)
    if name == "srl":
        term = make_srl()[0]
    compiled = torch.compile(term, fullgraph=True, backend="aot_eager")
    again, slope = value_and_gradient(compiled, features, labels, **settings)
    assert again == pytest.approx(value, rel=1e-12)
    torch.testing.assert_close(slope, gradient)
