"""Losses of arbitrary features, labels and weights equal those of the oracles, or are NaN."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ranksim.functional import draw_unique, ranksim_loss
from ranksim.functional.regression import focal_r_loss, huber_loss, l1_loss, mse_loss
from ranksim.imbalance import FDS, LabelBins
from ranksim.integrations.sklearn.weights import WeightedSamples
from tests.oracles import regression as plain
from tests.oracles.ranksim import neg_l1
from tests.oracles.ranksim import ranksim as oracle
from tests.reliability.properties import FINITE, MODERATE, NOT_FINITE, outcome

ERRORS = (ValueError, TypeError)
# few values, so that ties, duplicates and zero vectors are common
SMALL = st.integers(-2, 2).map(float)
# incommensurable with cosines of integers: whether 8/9 moved by 1/9 ties with 1 would depend on
# rounding
GAMMA, LAMBDA = 2.0317, 0.9713
LOSSES = {
    "l1": (l1_loss, plain.l1),
    "mse": (mse_loss, plain.mse),
    "huber": (huber_loss, plain.huber),
    "focal_r": (focal_r_loss, plain.focal_r),
}


@st.composite
def batches(draw, values=SMALL, min_size=0):
    count, width = draw(st.integers(min_size, 7)), draw(st.integers(1, 4))
    features = draw(arrays.arrays(np.float64, (count, width), elements=values))
    labels = draw(arrays.arrays(np.float64, count, elements=st.integers(0, 4).map(float)))
    return torch.from_numpy(features), torch.from_numpy(labels)


def compute_term(features, labels, **options):
    features = features.clone().requires_grad_()
    value = ranksim_loss(features, labels, GAMMA, LAMBDA, unique_labels=False, **options)
    value.backward()
    return value.detach().double(), features.grad


@given(batches(), st.sampled_from(["min", "average", "ordinal"]))
def test_ranksim_equals_the_equation(batch, ties):
    features, labels = batch
    value, gradient = outcome(lambda: compute_term(features, labels, ties=ties))
    if len(labels) < 2 or bool((labels == labels[:1]).all()):
        assert value == 0
        assert not gradient.any()
        return
    values, parts = oracle(features.numpy(), neg_l1(labels.numpy()[:, None]), GAMMA, LAMBDA, ties)
    torch.testing.assert_close(value, torch.tensor(values.sum()))
    torch.testing.assert_close(gradient, torch.from_numpy(parts.sum(0)), atol=1e-9, rtol=1e-9)


@given(batches(min_size=2), st.randoms(use_true_random=False), st.sampled_from([-300, -9, 5, 500]))
def test_ranksim_ignores_order_and_units(batch, draw, power):
    """Cosine similarities ignore lengths, and only the order of label distances matters."""
    features, labels = batch
    value, gradient = compute_term(features, labels)
    order = list(range(len(labels)))
    draw.shuffle(order)
    shuffled_value, shuffled_gradient = compute_term(features[order], labels[order])
    torch.testing.assert_close(shuffled_value, value)
    torch.testing.assert_close(shuffled_gradient, gradient[order], atol=1e-9, rtol=1e-9)
    scaled, _ = outcome(lambda: compute_term(features * 2.0**power, labels * 2.0**power))
    torch.testing.assert_close(scaled, value)


@given(batches(min_size=1), st.sampled_from([torch.float32, torch.bfloat16, torch.float16]))
def test_ranksim_is_exact_in_narrow_types(batch, dtype):
    features, labels = batch
    value, _ = compute_term(features, labels)
    for narrow in (features.to(dtype), features.to(dtype).T.contiguous().T):
        narrow_value, gradient = compute_term(narrow, labels.to(torch.int32))
        torch.testing.assert_close(narrow_value, value, rtol=1e-6, atol=1e-6)
        assert gradient.dtype == dtype


@given(batches(FINITE | NOT_FINITE), st.sampled_from([torch.float64, torch.float32]))
def test_ranksim_is_nan_only_for_features_that_are_not_finite(batch, dtype):
    features, labels = batch[0].to(dtype), batch[1]
    value, gradient = outcome(lambda: compute_term(features, labels))
    differ = len(labels) > 1 and bool((labels != labels[0]).any())
    if bool(features.isfinite().all()):
        assert value.isfinite()
        assert bool(gradient.isfinite().all())
    elif differ:
        assert value.isnan()


ROWS = st.lists(st.tuples(FINITE | NOT_FINITE, MODERATE, MODERATE), max_size=6)


@given(ROWS, st.sampled_from(list(LOSSES)), st.sampled_from(["mean", "sum", "none"]), st.booleans())
def test_losses_equal_their_definitions(rows, name, reduction, is_weighted):
    columns = [torch.tensor([row[k] for row in rows], dtype=torch.float64) for k in range(3)]
    prediction, target, weights = columns
    loss, definition = LOSSES[name]
    given_weights = weights.abs() if is_weighted else None
    values = outcome(lambda: loss(prediction, target, given_weights, reduction=reduction), *ERRORS)
    assert values is not None
    with np.errstate(over="ignore", invalid="ignore"):
        errors = (prediction - target).tolist()
        expected = [definition(error)[0] for error in errors]
        expected = np.array(expected) * (given_weights.numpy() if is_weighted else 1.0)
        if reduction != "none":
            expected = expected.sum() / (max(len(rows), 1) if reduction == "mean" else 1)
    np.testing.assert_allclose(values.numpy(), expected, rtol=1e-9, atol=1e-30)


SHAPES = st.sampled_from([(3,), (3, 1), (1, 3), (2,), (0,), (), (3, 2)])
DTYPES = st.sampled_from([torch.float32, torch.int64, torch.bool, torch.complex64, torch.float16])


@given(SHAPES, SHAPES, DTYPES, DTYPES, st.sampled_from([None, "x", float("nan"), -1.0, 0.0, 2.0]))
def test_mismatched_shapes_and_types_are_rejected(shape, other_shape, dtype, other_dtype, delta):
    a, b = torch.zeros(shape, dtype=dtype), torch.zeros(other_shape, dtype=other_dtype)
    is_valid = shape == other_shape and dtype.is_floating_point and not other_dtype.is_complex
    assert (outcome(lambda: l1_loss(a, b), *ERRORS) is not None) == is_valid
    outcome(lambda: ranksim_loss(a, b), *ERRORS)
    value = outcome(lambda: huber_loss(torch.zeros(2), torch.ones(2), delta=delta), *ERRORS)
    assert (value is None) == (delta != 2.0)


@given(batches(MODERATE, min_size=1), st.integers(1, 5))
def test_fds_is_finite_and_does_not_depend_on_batches(batch, size):
    features, labels = batch[0].float(), batch[1]
    whole, parts = (FDS(features.shape[1], LabelBins.integers(0, 9)) for _ in range(2))
    whole.accumulate(features, labels)
    for first in range(0, len(labels), size):
        parts.accumulate(features[first : first + size], labels[first : first + size])
    whole.update()
    parts.update()
    smoothed = whole(features, labels)
    assert bool(smoothed.isfinite().all())
    tolerance = 1e-4 * max(1.0, float(features.abs().max()))
    torch.testing.assert_close(parts(features, labels), smoothed, atol=tolerance, rtol=1e-3)
    distant_labels = torch.tensor([-1e38, 1e38, 0.5])
    assert bool(whole(features[:1].expand(3, -1), distant_labels).isfinite().all())


@given(st.lists(st.integers(0, 5) | NOT_FINITE, max_size=9), st.sampled_from([None, 0.5, 2.0]))
def test_one_sample_per_label_is_drawn(labels, width):
    values = torch.tensor(labels, dtype=torch.float64)
    drawn = draw_unique(values, width, generator=torch.Generator().manual_seed(0))
    cells = values if width is None else (values / width).floor()
    known = cells[~cells.isnan()]
    assert sorted(set(known.tolist())) == sorted(cells[drawn][~cells[drawn].isnan()].tolist())


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.7, 9.0, 1e9, 1e99]), min_size=2, max_size=6))
def test_expanded_samples_keep_the_sums_of_weights(weights):
    given_weights = np.array(weights)
    if not given_weights.any():
        return
    x, y = np.arange(len(weights), dtype=float)[:, None], np.arange(len(weights), dtype=float)
    samples = outcome(lambda: WeightedSamples.from_arrays(x, y, given_weights))
    relative = given_weights / given_weights[given_weights > 0].min()
    for value, weight in zip(y, relative, strict=True):
        assert samples.weight[samples.y == value].sum() == pytest.approx(weight, rel=1e-12)
