"""Against the published algorithm, differentiated by autograd instead of in closed form."""

import pytest
import torch

from ranksim.functional import ranksim_loss
from tests.oracles.loop import ranksim_loop


def gradient(loss_of, size, factor=1.0):
    generator = torch.Generator().manual_seed(size)
    features = torch.randn(size, 9, dtype=torch.float64, generator=generator, requires_grad=True)
    ages = torch.randint(18, 60, (size,), generator=generator)
    loss = loss_of(features, ages)
    (loss * factor).backward()
    return loss.detach(), features.grad / factor


def ours(features, ages):
    return ranksim_loss(features, ages, 100.0, 2.0, unique_labels=False)


def published(features, ages):
    return ranksim_loop(features, ages, 100.0, 2.0)


@pytest.mark.parametrize("size", [1, 2, 7, 64, 100])
def test_equals_it_at_an_upstream_gradient_of_one(size):
    expected, got = gradient(published, size), gradient(ours, size)
    torch.testing.assert_close(got[0], expected[0], rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(got[1], expected[1], rtol=1e-7, atol=1e-9)


def test_the_published_one_changes_under_a_loss_scaler_and_accumulation_and_ours_does_not():
    """Deviation 1 of the protocol: 65,536 leaves little of its term, 1/4 far too much."""
    base = gradient(published, 64)[1].norm()
    assert gradient(published, 64, 65536.0)[1].norm() / base < 1e-4
    assert gradient(published, 64, 0.25)[1].norm() / base > 3
    for factor in (65536.0, 0.25):
        torch.testing.assert_close(
            gradient(ours, 64, factor)[1], gradient(ours, 64)[1], rtol=1e-6, atol=1e-12
        )
