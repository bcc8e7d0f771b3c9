"""The public function ``ranksim_loss``."""

import re

import numpy as np
import pytest
import torch

from ranksim.functional import draw_unique, ranksim_loss
from tests.helpers.pairwise import parametrize_pairwise
from tests.helpers.ranksim_cases import (
    TIES,
    assert_matches_oracle,
    make_batch,
    oracle_of_batch,
    relative_error,
)


def compute(z, y, dtype=torch.float64, upstream=None, **settings):
    """Return the loss of all samples, and its gradient for an upstream gradient."""
    features = torch.tensor(z, dtype=dtype, requires_grad=True)
    loss = ranksim_loss(features, torch.as_tensor(y), **{"unique_labels": False} | settings)
    loss.backward(torch.ones_like(loss) if upstream is None else upstream)
    return loss.detach(), features.grad


@parametrize_pairwise(size=[1, 2, 3, 5, 33, 100], kind=["random", "ages", "ties"], ties=TIES)
def test_value_and_gradient_match_oracle(size, kind, ties):
    value, gradient = oracle_of_batch(kind, size, ties)
    result = compute(*make_batch(kind, size), ties=ties)
    assert_matches_oracle(result, (value.sum(), gradient.sum(0)))


@pytest.mark.parametrize("size", [2, 33, 127])
def test_float32_features_are_ranked_exactly(size):
    """One exchanged pair of ranks is 1e-4 of the gradient, a float32 product 1e-6."""
    value, gradient = oracle_of_batch("random", size, dtype=torch.float32)
    result = compute(*make_batch("random", size), dtype=torch.float32)
    assert_matches_oracle(result, (value.sum(), gradient.sum(0)), torch.float32)


def test_comparison_fails_for_wrong_settings():
    """A tolerance that lets a wrong rank, sign or factor pass would not be a test."""
    value, gradient = oracle_of_batch("ages", 33)
    for wrong in ({"ties": "average"}, {"gamma": 99.99}, {"lambda_": 2.1}, {"weight": 1.001}):
        result = compute(*make_batch("ages", 33), **wrong)
        with pytest.raises(AssertionError, match="is off by"):
            assert_matches_oracle(result, (value.sum(), gradient.sum(0)), tolerance=1e-5)


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_reductions_with_an_upstream_gradient(reduction):
    value, gradient = oracle_of_batch("ages", 33, gamma=10.0)
    upstream = torch.tensor(-3.5).double()
    weights, divisor = np.full(33, -3.5), 33 if reduction == "mean" else 1
    if reduction == "none":
        weights = np.random.default_rng(0).normal(size=33)
        upstream = torch.tensor(weights)
    expected = (
        value if reduction == "none" else value.sum() / divisor,
        np.einsum("i,ijd->jd", weights, gradient) / divisor,
    )
    result = compute(*make_batch("ages", 33), upstream=upstream, gamma=10.0, reduction=reduction)
    assert_matches_oracle(result, expected)


@parametrize_pairwise(
    factor=[0.25, 65536.0, 1e-3],
    dtype=[torch.float32, torch.float64],
    reduction=["sum", "mean", "none"],
)
def test_linear_in_any_outer_factor(factor, dtype, reduction):
    z, y = make_batch("ages", 64)

    def gradient(scale, **settings):
        features = torch.tensor(z, dtype=dtype, requires_grad=True)
        draw = torch.Generator().manual_seed(0)
        loss = ranksim_loss(
            features, torch.tensor(y), reduction=reduction, generator=draw, **settings
        )
        (loss.sum() * scale).backward()
        return features.grad

    plain = gradient(1.0)
    assert plain.abs().max() > 0
    assert relative_error(gradient(factor) / factor, plain.double().numpy()) < 1e-6
    assert relative_error(gradient(1.0, weight=factor) / factor, plain.double().numpy()) < 1e-6


def test_gamma_saturates_and_weight_does_not():
    z, y = make_batch("random", 64)
    base = compute(z, y, gamma=100.0)[1].numpy()
    assert relative_error(compute(z, y, gamma=200.0)[1], base) < 0.1
    assert relative_error(compute(z, y, weight=2.0)[1], 2 * base) < 1e-12


@pytest.mark.parametrize("ties", ["min", "average"])
def test_permuted_batch_permutes_the_gradient(ties):
    z, y = make_batch("ties", 41)
    order = np.random.default_rng(0).permutation(41)
    value, gradient = compute(z, y, ties=ties)
    permuted_value, permuted_gradient = compute(z[order], y[order], ties=ties)
    torch.testing.assert_close(permuted_value, value)
    torch.testing.assert_close(permuted_gradient, gradient[order])


def test_ordinal_ties_rank_by_index():
    """19 and 21 are equally far from 20: the lower index ranks first."""
    features = torch.tensor([[1.0, 0.0], [0.9, 0.2], [0.8, 0.6]], dtype=torch.float64)
    ages = torch.tensor([20, 19, 21])
    settings = {"unique_labels": False, "reduction": "none", "gamma": 1.0}
    assert ranksim_loss(features, ages, ties="ordinal", **settings)[0] == 0
    assert ranksim_loss(features, ages, ties="min", **settings)[0] == pytest.approx(1 / 27)


def test_float32_label_similarity_ranks_as_float64():
    z, y = make_batch("random", 33)
    exact = compute(z, y, label_similarity=lambda labels: -(labels - labels.T).abs())
    rounded = compute(z, y, label_similarity=lambda labels: -(labels - labels.T).abs().float())
    torch.testing.assert_close(rounded[1], exact[1], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_shapes_of_labels_and_features(shape):
    features = torch.randn(2, 6, 3, dtype=torch.float64).transpose(0, 1).requires_grad_()
    ages = torch.tensor([1, 5, 2, 8, 3, 9])
    loss = ranksim_loss(features, ages.reshape(shape))
    flat = features.detach().reshape(6, 6).requires_grad_()
    expected = ranksim_loss(flat, ages)
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, features)
    (flat_gradient,) = torch.autograd.grad(expected, flat)
    torch.testing.assert_close(gradient.reshape(6, 6), flat_gradient)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.bfloat16, 2**-8), (torch.float16, 2**-10)])
def test_half_precision_rounds_only_the_gradient(dtype, tolerance):
    z, y = make_batch("random", 100)
    features = torch.tensor(z).to(dtype).requires_grad_()
    loss = ranksim_loss(features, torch.tensor(y))
    loss.backward()
    value, gradient = compute(features.detach().double().numpy(), y)
    assert loss.dtype == torch.float32
    assert features.grad.dtype == dtype
    torch.testing.assert_close(loss.double(), value, rtol=1e-6, atol=0)
    atol = tolerance * gradient.abs().max().item() / 100
    torch.testing.assert_close(features.grad.double(), gradient, rtol=tolerance, atol=atol)


BATCHES_WITHOUT_ORDER = {
    "empty": (torch.empty(0, 4), torch.empty(0)),
    "empty with two label columns": (torch.empty(0, 4), torch.empty(0, 2)),
    "one sample": (torch.randn(1, 4), torch.tensor([3])),
    "equal labels": (torch.randn(5, 4), torch.full((5,), 30.5)),
    "no features": (torch.randn(5, 0), torch.arange(5)),
}


@parametrize_pairwise(
    name=list(BATCHES_WITHOUT_ORDER), unique=[True, False], reduction=["sum", "mean", "none"]
)
def test_batch_without_order_is_a_differentiable_zero(name, unique, reduction):
    features, labels = BATCHES_WITHOUT_ORDER[name]
    features = features.clone().requires_grad_()
    loss = ranksim_loss(features, labels, unique_labels=unique, reduction=reduction)
    if features.shape[1]:
        assert loss.detach().abs().sum() == 0
    loss.sum().backward()
    assert features.grad.abs().sum() == 0


@pytest.mark.parametrize("size", [0.0, 1e-42])
def test_zero_vector_gets_no_gradient(size):
    features = torch.randn(5, 4)
    features[2] = size
    features.requires_grad_()
    loss = ranksim_loss(features, torch.arange(5))
    loss.backward()
    assert loss.isfinite()
    assert features.grad.isfinite().all()
    assert (features.grad[2] == 0).all()
    assert features.grad.abs().sum() > 0


@parametrize_pairwise(value=[float("nan"), float("inf")], source=["features", "labels"])
def test_non_finite_inputs_give_nan(value, source):
    features, labels = torch.randn(5, 4), torch.arange(5.0)
    (features if source == "features" else labels)[1] = value
    features.requires_grad_()
    loss = ranksim_loss(features, labels, unique_labels=False)
    loss.backward()
    assert loss.isnan()
    assert features.grad.isnan().any()


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_loss_equals_that_of_the_drawn_samples(reduction):
    features, labels = torch.randn(40, 6), torch.randint(0, 12, (40,))
    drawn = draw_unique(labels, generator=torch.Generator().manual_seed(3))
    settings = {"reduction": reduction}
    torch.testing.assert_close(
        ranksim_loss(features, labels, generator=torch.Generator().manual_seed(3), **settings),
        ranksim_loss(features[drawn], labels[drawn], unique_labels=False, **settings),
    )


def test_label_width_merges_real_labels():
    features, labels = torch.randn(6, 4), torch.tensor([0.1, 0.2, 0.3, 1.1, 1.2, 2.5])
    loss = ranksim_loss(features, labels, label_width=1.0, reduction="none")
    assert loss.shape == (3,)


def test_numpy_booleans_are_accepted():
    features, labels = torch.randn(6, 4), torch.arange(6) / 10
    expected = ranksim_loss(features, labels, unique_labels=np.False_)
    torch.testing.assert_close(ranksim_loss(features, labels, unique_labels=np.True_), expected)


def test_references_keep_integer_labels_exact():
    features, labels, references = torch.randn(40, 8), torch.arange(40) // 2, torch.randn(20, 8)
    values = [
        ranksim_loss(
            features,
            labels + offset,
            unique_labels=False,
            ref_features=references,
            ref_labels=torch.arange(20.0, dtype=dtype) + 0.5 + offset,
        )
        for offset, dtype in ((0, torch.float32), (0, torch.float64), (2**30, torch.float64))
    ]
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(values[2], values[1])


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        ((3, 2), (4,), "the same length N, got features (3, 2) and labels (4,)"),
        ((), (1,), "shape (N, ...) and labels (N,), (N, 1) or (N, K), got features () and labels"),
        ((3, 2), (3, 1, 1), "or (N, K), got features (3, 2) and labels (3, 1, 1)"),
        ((3, 2), (3, 0), "at least one dimension K, got features (3, 2) and labels (3, 0)"),
    ],
)
def test_wrong_shapes_raise(features, labels, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ranksim_loss(torch.zeros(features), torch.zeros(labels))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": -1.0}, "gamma must be a finite number of at least 0, got -1.0"),
        ({"lambda_": 0.0}, "lambda_ must be a finite number above 0, got 0.0"),
        ({"weight": float("nan")}, "weight must be a finite number of at least 0, got nan"),
        ({"gamma": "1"}, "gamma must be a finite number of at least 0, got '1'"),
        ({"ties": "first"}, "ties must be one of min, average, ordinal, got 'first'"),
        ({"reduction": "max"}, "reduction must be one of sum, mean, none, got 'max'"),
        ({"label_width": 0.0}, "label_width must be a finite number above 0, got 0.0"),
        ({"label_width": 1.0, "unique_labels": False}, "label_width .* unique_labels=False"),
        ({"label_similarity": "l1"}, "label_similarity must be one of neg_l1, neg_l2, cosine or a"),
        ({"label_similarity": lambda y: y}, r"must return a tensor of shape \(3, 3\) for labels"),
        ({"ref_features": torch.zeros(2, 2)}, "given together, ref_labels is None"),
        (
            {"ref_features": torch.zeros(2, 4), "ref_labels": torch.zeros(2)},
            r"ref_features must have 2 columns and be on cpu .*, got shape \(2, 4\) on cpu",
        ),
    ],
)
def test_wrong_settings_raise(settings, message):
    with pytest.raises(ValueError, match=message):
        ranksim_loss(torch.randn(3, 2), torch.arange(3), **settings)


def test_wrong_types_raise():
    with pytest.raises(TypeError, match="features must be floating point, got torch.int64"):
        ranksim_loss(torch.zeros(3, 2, dtype=torch.int64), torch.arange(3))
    with pytest.raises(TypeError, match=r"labels must be a torch\.Tensor, got list"):
        ranksim_loss(torch.zeros(3, 2), [1, 2, 3])
    with pytest.raises(TypeError, match="unique_labels must be True or False, got 0.5"):
        ranksim_loss(torch.zeros(3, 2), torch.arange(3), unique_labels=0.5)
