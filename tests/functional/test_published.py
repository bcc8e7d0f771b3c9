"""Comparison with the published algorithm, differentiated by autograd."""

import pytest
import torch

from ranksim.functional import ranksim_loss
from tests.oracles.loop import ranksim_loop


def gradient(loss_function, size, factor=1.0):
    generator = torch.Generator().manual_seed(size)
    features = torch.randn(size, 9, dtype=torch.float64, generator=generator, requires_grad=True)
    ages = torch.randint(18, 60, (size,), generator=generator)
    loss = loss_function(features, ages)
    (loss * factor).backward()
    return loss.detach(), features.grad / factor


def ours(features, ages):
    return ranksim_loss(features, ages, 100.0, 2.0, unique_labels=False)


def published(features, ages):
    return ranksim_loop(features, ages, 100.0, 2.0)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100])
def test_equal_for_an_upstream_gradient_of_one(size):
    expected, result = gradient(published, size), gradient(ours, size)
    torch.testing.assert_close(result[0], expected[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(result[1], expected[1], rtol=1e-7, atol=1e-9)


def test_only_the_published_gradient_changes_with_an_outer_factor():
    """A loss scaler of 65,536 leaves little of its term, a factor of 1/4 makes it too large."""
    base = gradient(published, 64)[1].norm()
    assert gradient(published, 64, 65536.0)[1].norm() / base < 1e-4
    assert gradient(published, 64, 0.25)[1].norm() / base > 3
    for factor in (65536.0, 0.25):
        torch.testing.assert_close(
            gradient(ours, 64, factor)[1], gradient(ours, 64)[1], rtol=1e-6, atol=1e-12
        )
