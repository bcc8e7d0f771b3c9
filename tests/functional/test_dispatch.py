"""The term as autograd, compilers, function transforms and other devices see it."""

import logging

import pytest
import torch

from ranksim.functional import ranksim_loss
from ranksim.functional._kernels import dispatch, reference
from ranksim.losses import RankSimLoss
from tests.helpers.pairwise import parametrize_pairwise


def make_batch(size, width=64):
    draw = torch.Generator().manual_seed(0)
    features = torch.randn(size, width, generator=draw)
    return features, torch.randint(0, 101, (size,), generator=draw)


@pytest.mark.slow
@pytest.mark.parametrize(("unique", "reduction"), [(True, "sum"), (False, "mean")])
def test_compiles_to_one_graph(unique, reduction):
    """Labels all differ, so that nothing is random."""
    features, labels = make_batch(20)[0], torch.randperm(20)
    loss = RankSimLoss(unique_labels=unique, reduction=reduction, weight=0.5)
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    inputs = [features.clone().requires_grad_() for _ in range(2)]
    values = compiled(inputs[0], labels), loss(inputs[1], labels)
    for value in values:
        (3 * value).backward()
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad)


def test_compiled_loss_draws_anew_each_call():
    features, labels = make_batch(40)[0], torch.arange(40) // 4
    torch._dynamo.reset()
    compiled = torch.compile(ranksim_loss, fullgraph=True, backend="aot_eager")
    assert len({float(compiled(features, labels)) for _ in range(4)}) > 1


@parametrize_pairwise(per_anchor=[False, True], gradient=[False, True])
def test_operator_matches_its_schema_and_fake(per_anchor, gradient):
    features, labels = make_batch(12)
    keep = torch.arange(12) % 3 != 0
    arguments = (
        *(features, labels[:, None], keep, None, 9),
        *(100.0, 2.0, "min", "neg_l1", per_anchor, 0.5, gradient),
    )
    checks = ("test_schema", "test_faketensor", "test_aot_dispatch_static")
    torch.library.opcheck(torch.ops.ranksim.term, arguments, test_utils=checks)


def test_torch_func_transforms_raise():
    features, labels = torch.randn(3, 8, 4), torch.arange(8)
    for transform, batch in ((torch.func.vmap, features), (torch.func.grad, features[0])):
        with pytest.raises(RuntimeError, match="functorch transforms"):
            transform(lambda z: ranksim_loss(z, labels, unique_labels=False))(batch)


def test_unknown_device_uses_reference_and_logs_once(caplog):
    dispatch.path_for.cache_clear()
    with caplog.at_level(logging.INFO, logger="ranksim"):
        for _ in range(3):
            assert dispatch.path_for(torch.device("meta")) is reference.compute_term
    (message,) = caplog.messages
    assert message == "RankSim runs as plain PyTorch on meta: it has no implementation of its own"


def test_unreduced_loss_allows_in_place_changes_of_features():
    features = torch.randn(12, 4, requires_grad=True)
    hidden = features * 2
    loss = ranksim_loss(hidden, torch.arange(12), reduction="none")
    expected = torch.autograd.grad(loss.sum(), hidden, retain_graph=True)[0]
    hidden.relu_()
    loss.sum().backward()
    torch.testing.assert_close(features.grad, 2 * expected)


@parametrize_pairwise(reduction=["sum", "mean", "none"], size=[6, 200])
def test_batched_and_scaled_upstream_gradients(reduction, size):
    """Each is the gradient of an upstream of one times the factor; 200 × 300 is copied by NumPy."""
    features = torch.randn(size, 300, requires_grad=True)
    loss = ranksim_loss(features, torch.arange(size), reduction=reduction)
    plain = torch.autograd.grad(loss.sum(), features, retain_graph=True)[0]
    factors = torch.tensor([1.0, -3.0])
    upstream = factors[:, None].expand(-1, size) if reduction == "none" else factors
    if reduction != "none":
        batched = torch.autograd.grad(
            loss, features, upstream, is_grads_batched=True, retain_graph=True
        )[0]
        torch.testing.assert_close(batched, factors[:, None, None] * plain)
    for factor, each in zip(factors, upstream, strict=True):
        gradient = torch.autograd.grad(loss, features, each, retain_graph=True)[0]
        torch.testing.assert_close(gradient, factor * plain, rtol=1e-4, atol=1e-6)


def test_second_derivative_raises():
    features = torch.randn(4, 3, requires_grad=True)
    weight = torch.tensor(2.0, requires_grad=True)
    loss = weight * ranksim_loss(features, torch.arange(4))
    (gradient,) = torch.autograd.grad(loss, features, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice.*once_differentiable"):
        gradient.sum().backward()


def test_saves_one_tensor_of_the_size_of_features():
    saved = []

    def record_shape(tensor):
        saved.append(tuple(tensor.shape))
        return tensor

    features = torch.randn(50, 7, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(record_shape, lambda tensor: tensor):
        ranksim_loss(features, torch.arange(50), unique_labels=False)
    assert (50, 50) not in saved
    assert saved.count((50, 7)) == 1
