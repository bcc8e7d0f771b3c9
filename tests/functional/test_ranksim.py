import re

import numpy as np
import pytest
import torch

from ranksim.functional import draw_unique, label_similarity, ranksim_loss
from tests.oracles import ranksim as oracle

TIES = ["min", "average", "ordinal"]
SIZES = [1, 2, 3, 5, 16, 33, 64, 127, 300]


def case(kind, size, seed):
    """Features (M, D) and labels (M,): random ones, or ones full of exact ties."""
    draw = np.random.default_rng((seed, size))
    if kind == "random":
        return draw.normal(size=(size, 7)), draw.normal(size=size) * 10
    if kind == "ages":
        return draw.normal(size=(size, 7)), draw.integers(18, 40, size)
    # rows of ±1 have a length that is exact, so similarities tie exactly; one row is zero
    z = draw.choice([-1.0, 1.0], size=(size, 4))
    z[size // 2] = 0
    return z, draw.integers(0, 4, size)


def measured(z, y, dtype=torch.float64, **settings):
    features = torch.tensor(z, dtype=dtype, requires_grad=True)
    loss = ranksim_loss(features, torch.as_tensor(y), unique_labels=False, **settings)
    loss.sum().backward()
    return loss.detach(), features.grad


def relative_error(got, expected):
    got = np.asarray(got.detach().double())
    return np.linalg.norm(got - expected) / max(np.linalg.norm(expected), 1e-12)


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("kind", ["random", "ages", "ties"])
@pytest.mark.parametrize("size", SIZES)
def test_value_and_gradient_equal_the_oracle(size, kind, ties):
    z, y = case(kind, size, seed=1)
    gamma, lambda_ = 100.0, 2.0
    value, gradient = oracle.ranksim(z, oracle.neg_l1(y), gamma, lambda_, ties)
    if len(set(y)) == 1:
        value, gradient = value * 0, gradient * 0
    got_value, got_gradient = measured(z, y, gamma=gamma, lambda_=lambda_, ties=ties)
    assert relative_error(got_value, value.sum()) < 1e-9
    assert relative_error(got_gradient, gradient.sum(0)) < 1e-9


@pytest.mark.parametrize("size", SIZES)
def test_float32_features_are_ranked_exactly(size):
    """float32 features give what the oracle gives for the same numbers: ranks are not rounded.

    One pair of ranks exchanged is 1e-4 of the gradient at M = 300; a product of float32 is 1e-6.
    """
    z, y = case("random", size, seed=2)
    z = z.astype(np.float32)
    value, gradient = oracle.ranksim(z, oracle.neg_l1(y), 100.0, 2.0)
    got_value, got_gradient = measured(z, y, dtype=torch.float32)
    assert relative_error(got_value, value.sum()) < 1e-6
    assert relative_error(got_gradient, gradient.sum(0)) < 4e-6


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("size", [2, 10, 20, 33, 40])
def test_ties_after_the_perturbation_are_exact_too(size, ties):
    """S + λg is rational here: what is equal in fractions must tie, whatever floats make of it."""
    draw = np.random.default_rng(size)
    for _ in range(3):
        z, y = draw.choice([-1, 1], size=(size, 4)), draw.integers(0, 9, size)
        if len(set(y)) == 1:
            continue
        expected = oracle.rational_ranksim(z, y, 100, 2, ties)
        _, gradient = measured(z, y, gamma=100.0, lambda_=2.0, ties=ties)
        assert relative_error(gradient, expected) < 1e-12


def test_a_float32_label_similarity_is_ranked_like_a_float64_one():
    z, y = case("random", 33, seed=8)
    exact = measured(z, y, label_similarity=lambda labels: -(labels - labels.T).abs())
    rounded = measured(z, y, label_similarity=lambda labels: -(labels - labels.T).abs().float())
    torch.testing.assert_close(rounded[1], exact[1], rtol=1e-12, atol=1e-14)


def test_a_feature_too_small_to_divide_by_counts_as_zero():
    features = torch.randn(5, 4)
    features[2] = 1e-42
    features.requires_grad_()
    ranksim_loss(features, torch.arange(5)).backward()
    assert features.grad.isfinite().all()
    assert (features.grad[2] == 0).all()


def test_the_comparison_fails_on_wrong_implementations():
    """A tolerance that lets a wrong rank, sign or factor pass would be no test."""
    z, y = case("ages", 33, seed=1)
    value, gradient = oracle.ranksim(z, oracle.neg_l1(y), 100.0, 2.0, "min")
    for wrong in ({"ties": "average"}, {"gamma": 99.99}, {"lambda_": 2.1}, {"weight": 1.001}):
        settings = {"gamma": 100.0, "lambda_": 2.0, "ties": "min"} | wrong
        got_value, got_gradient = measured(z, y, **settings)
        off = relative_error(got_gradient, gradient.sum(0))
        assert off > 1e-5 or relative_error(got_value, value.sum()) > 1e-5


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_reductions_and_an_upstream_gradient_other_than_one(reduction):
    z, y = case("ages", 33, seed=3)
    value, gradient = oracle.ranksim(z, oracle.neg_l1(y), 10.0, 2.0)
    features = torch.tensor(z, requires_grad=True)
    loss = ranksim_loss(
        features, torch.tensor(y), 10.0, 2.0, unique_labels=False, reduction=reduction
    )
    if reduction == "none":
        upstream = np.random.default_rng(0).normal(size=33)
        expected_value, expected = value, np.einsum("i,ijd->jd", upstream, gradient)
        loss.backward(torch.tensor(upstream))
    else:
        divisor = 33 if reduction == "mean" else 1
        expected_value, expected = value.sum() / divisor, -3.5 * gradient.sum(0) / divisor
        (-3.5 * loss).backward()
    assert relative_error(loss, expected_value) < 1e-9
    assert relative_error(features.grad, expected) < 1e-9


@pytest.mark.parametrize("factor", [0.25, 65536.0, 1e-3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
def test_exactly_linear_in_any_outer_factor(factor, dtype, reduction):
    z, y = case("ages", 64, seed=4)

    def gradient(scale, **settings):
        features = torch.tensor(z, dtype=dtype, requires_grad=True)
        loss = ranksim_loss(
            features,
            torch.tensor(y),
            reduction=reduction,
            generator=torch.Generator().manual_seed(0),
            **settings,
        )
        (loss.sum() * scale).backward()
        return features.grad

    plain = gradient(1.0)
    assert plain.abs().max() > 0
    assert relative_error(gradient(factor) / factor, plain.double().numpy()) < 1e-6
    assert relative_error(gradient(1.0, weight=factor) / factor, plain.double().numpy()) < 1e-6


def test_gamma_saturates_and_strength_does_not():
    z, y = case("random", 64, seed=5)
    base = measured(z, y, gamma=100.0)[1]
    doubled = measured(z, y, gamma=200.0)[1]
    assert relative_error(doubled, base.numpy()) < 0.1
    assert relative_error(measured(z, y, weight=2.0)[1], 2 * base.numpy()) < 1e-12


@pytest.mark.parametrize("ties", ["min", "average"])
def test_permuting_the_batch_permutes_the_gradient(ties):
    z, y = case("ties", 41, seed=6)
    order = np.random.default_rng(0).permutation(41)
    value, gradient = measured(z, y, ties=ties)
    moved_value, moved_gradient = measured(z[order], y[order], ties=ties)
    torch.testing.assert_close(moved_value, value)
    torch.testing.assert_close(moved_gradient, gradient[order])


def test_ordinal_ties_go_by_index():
    """19 and 21 are equally far from 20: the lower index ranks first."""
    features = torch.tensor([[1.0, 0.0], [0.9, 0.2], [0.8, 0.6]], dtype=torch.float64)
    ages = torch.tensor([20, 19, 21])
    settings = {"unique_labels": False, "reduction": "none", "gamma": 1.0}
    assert ranksim_loss(features, ages, ties="ordinal", **settings)[0] == 0
    assert ranksim_loss(features, ages, ties="min", **settings)[0] == pytest.approx(1 / 27)


def test_scaled_copies_tie_whatever_the_matrix_product_does():
    """Rows that point the same way are equally similar to all: none comes before the others."""
    torch.manual_seed(0)
    direction = torch.randn(300, dtype=torch.float64)
    features = torch.stack([torch.randn(300), direction, 3 * direction, direction / 7])
    ages = torch.tensor([10, 20, 20, 20])
    loss = ranksim_loss(
        features, ages, unique_labels=False, reduction="none", gamma=1.0, ties="average"
    )
    assert loss[0] == 0


@pytest.mark.parametrize("kind", ["neg_l1", "neg_l2", "cosine"])
def test_labels_of_several_dimensions(kind):
    draw = np.random.default_rng(0)
    z, y = draw.normal(size=(20, 5)), draw.normal(size=(20, 3))
    length = np.linalg.norm(y, axis=1)
    similarity = {
        "neg_l1": oracle.neg_l1(y),
        "neg_l2": np.array([[-np.sqrt(((a - b) ** 2).sum()) for b in y] for a in y]),
        "cosine": np.array([[a @ b for b in y / length[:, None]] for a in y / length[:, None]]),
    }[kind]
    similarity = np.round(similarity, 12)
    value, gradient = oracle.ranksim(z, similarity, 100.0, 2.0)
    got_value, got_gradient = measured(z, y, label_similarity=kind)
    assert relative_error(got_value, value.sum()) < 1e-9
    assert relative_error(got_gradient, gradient.sum(0)) < 1e-9
    called = measured(z, y, label_similarity=lambda labels: torch.from_numpy(similarity))
    torch.testing.assert_close(called[1], got_gradient)


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_label_and_feature_shapes(shape):
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
def test_half_precision_ranks_in_full_and_rounds_only_the_gradient(dtype, tolerance):
    z, y = case("random", 300, seed=7)
    features = torch.tensor(z).to(dtype).requires_grad_()
    loss = ranksim_loss(features, torch.tensor(y))
    loss.backward()
    value, gradient = measured(features.detach().double().numpy(), y)
    assert loss.dtype == torch.float32
    assert features.grad.dtype == dtype
    torch.testing.assert_close(loss.double(), value, rtol=1e-6, atol=0)
    largest = gradient.abs().max().item()
    torch.testing.assert_close(
        features.grad.double(), gradient, rtol=tolerance, atol=tolerance * largest / 100
    )


@pytest.mark.parametrize("reduction", ["sum", "mean", "none"])
@pytest.mark.parametrize(
    ("features", "labels", "unique"),
    [
        (torch.empty(0, 4), torch.empty(0), True),
        (torch.empty(0, 4), torch.empty(0, 2), False),
        (torch.randn(1, 4), torch.tensor([3]), True),
        (torch.randn(5, 4), torch.full((5,), 30.5), True),
        (torch.randn(5, 4), torch.full((5,), 30.5), False),
        (torch.randn(5, 0), torch.arange(5), True),
    ],
    ids=["empty", "empty-2d", "one", "equal", "equal-all", "no-features"],
)
def test_nothing_to_rank_is_a_differentiable_zero(features, labels, unique, reduction):
    features = features.clone().requires_grad_()
    loss = ranksim_loss(features, labels, unique_labels=unique, reduction=reduction)
    if features.shape[1]:
        assert loss.detach().abs().sum() == 0
    loss.sum().backward()
    assert features.grad.abs().sum() == 0


def test_a_zero_feature_vector_gives_no_nan_and_gets_no_gradient():
    features = torch.randn(5, 4)
    features[2] = 0
    features.requires_grad_()
    loss = ranksim_loss(features, torch.arange(5))
    loss.backward()
    assert loss.isfinite()
    assert features.grad.isfinite().all()
    assert (features.grad[2] == 0).all()
    assert features.grad.abs().sum() > 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["features", "labels"])
def test_what_is_not_finite_is_never_hidden(value, where):
    features, labels = torch.randn(5, 4), torch.arange(5.0)
    (features if where == "features" else labels)[1] = value
    features.requires_grad_()
    loss = ranksim_loss(features, labels, unique_labels=False)
    loss.backward()
    assert loss.isnan()
    assert features.grad.isnan().any()


def test_no_second_derivative_is_pretended():
    features = torch.randn(4, 3, requires_grad=True)
    weight = torch.tensor(2.0, requires_grad=True)
    loss = weight * ranksim_loss(features, torch.arange(4))
    (gradient,) = torch.autograd.grad(loss, features, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice.*once_differentiable"):
        gradient.sum().backward()


def test_saves_one_matrix_of_the_size_of_the_features():
    saved = []

    def keep(tensor):
        saved.append(tuple(tensor.shape))
        return tensor

    features = torch.randn(50, 7, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ranksim_loss(features, torch.arange(50), unique_labels=False)
    assert (50, 50) not in saved
    assert saved.count((50, 7)) == 1


@pytest.mark.parametrize(
    ("features", "labels", "message"),
    [
        ((3, 2), (4,), "the same length N, got features (3, 2) and labels (4,)"),
        ((), (1,), "shape (N, ...) and labels (N,), (N, 1) or (N, K), got features () and labels"),
        ((3, 2), (3, 1, 1), "or (N, K), got features (3, 2) and labels (3, 1, 1)"),
        ((3, 2), (3, 0), "at least one dimension K, got features (3, 2) and labels (3, 0)"),
    ],
)
def test_wrong_shapes_are_named(features, labels, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        ranksim_loss(torch.zeros(features), torch.zeros(labels))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gamma": -1.0}, "gamma must be a finite number of at least 0, got -1.0"),
        ({"lambda_": 0.0}, "lambda_ must be a finite number above 0, got 0.0"),
        ({"weight": float("nan")}, "weight must be a finite number of at least 0, got nan"),
        ({"gamma": "1"}, "gamma must be a finite number of at least 0, got '1'"),
        ({"unique_labels": 0.5}, "unique_labels must be True or False, got 0.5; give the width of"),
        ({"ties": "first"}, "ties must be one of min, average, ordinal, got 'first'"),
        ({"reduction": "max"}, "reduction must be one of sum, mean, none, got 'max'"),
        ({"label_width": 0.0}, "label_width must be a finite number above 0, got 0.0"),
        ({"label_width": 1.0, "unique_labels": False}, "label_width 1.0 has no effect with"),
        ({"label_similarity": "l1"}, "label_similarity must be one of neg_l1, neg_l2, cosine or a"),
        ({"label_similarity": lambda y: y}, r"must return a tensor of shape \(3, 3\) for labels"),
    ],
)
def test_wrong_settings_are_named(settings, message):
    with pytest.raises(ValueError, match=message):
        ranksim_loss(torch.randn(3, 2), torch.arange(3), **settings)


def test_wrong_types_are_named():
    with pytest.raises(TypeError, match="features must be floating point, got torch.int64"):
        ranksim_loss(torch.zeros(3, 2, dtype=torch.int64), torch.arange(3))
    with pytest.raises(TypeError, match=r"labels must be a torch\.Tensor, got list"):
        ranksim_loss(torch.zeros(3, 2), [1, 2, 3])


class TestUniqueLabels:
    def test_one_of_each_uniformly(self):
        labels = torch.tensor([5, 7, 5, 5, 7, 9])
        generator = torch.Generator().manual_seed(0)
        draws = torch.stack([draw_unique(labels, generator=generator) for _ in range(6000)])
        assert (labels[draws].sort(dim=1).values == torch.tensor([5, 7, 9])).all()
        share = torch.bincount(draws.flatten(), minlength=6) / 6000
        expected = torch.tensor([1 / 3, 1 / 2, 1 / 3, 1 / 3, 1 / 2, 1.0])
        torch.testing.assert_close(share, expected, atol=0.03, rtol=0)

    def test_the_generator_fixes_the_draw(self):
        labels = torch.randint(0, 9, (64,))
        draws = [
            draw_unique(labels, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)
        ]
        assert torch.equal(draws[0], draws[1])
        assert not torch.equal(draws[0], draws[2])
        assert torch.equal(draws[0], draws[0].sort().values)

    def test_a_width_makes_real_labels_the_same(self):
        labels = torch.tensor([0.30, 0.1 * 3, 0.39, 0.40, -0.05], dtype=torch.float32)
        assert len(draw_unique(labels, 0.1)) == 3
        assert len(draw_unique(labels)) >= 4

    def test_numpy_booleans_are_booleans(self):
        features, labels = torch.randn(6, 4), torch.arange(6) / 10
        whole = ranksim_loss(features, labels, unique_labels=np.False_)
        torch.testing.assert_close(ranksim_loss(features, labels, unique_labels=np.True_), whole)

    def test_labels_of_several_dimensions(self):
        labels = torch.tensor([[1, 2], [1, 2], [2, 1]])
        assert len(draw_unique(labels)) == 2

    def test_loss_equals_the_loss_of_the_drawn_samples(self):
        features, labels = torch.randn(40, 6), torch.randint(0, 12, (40,))
        chosen = draw_unique(labels, generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(
            ranksim_loss(features, labels, generator=torch.Generator().manual_seed(3)),
            ranksim_loss(features[chosen], labels[chosen], unique_labels=False),
        )


def test_label_similarity_of_ages():
    ages = torch.tensor([[20], [25], [18]])
    np.testing.assert_array_equal(label_similarity(ages).numpy(), oracle.neg_l1(ages.numpy()))
