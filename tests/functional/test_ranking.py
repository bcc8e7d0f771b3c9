import numpy as np
import pytest
import scipy.stats
import torch

from ranksim.functional import rank
from tests.oracles import ranksim as oracle

TIES = ["min", "average", "ordinal"]


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("size", [1, 2, 3, 17, 41])
def test_equals_the_definition(ties, size):
    draw = np.random.default_rng(size)
    for values in (draw.normal(size=size), draw.integers(0, max(size // 3, 1), size)):
        expected = oracle.rank(values, ties)
        np.testing.assert_array_equal(oracle.fast_rank(values, ties), expected)
        np.testing.assert_array_equal(rank(torch.tensor(values), ties=ties).numpy(), expected)


@pytest.mark.parametrize(("ties", "scipy_name"), [(t, t) for t in TIES])
def test_equals_scipy_on_negated_values(ties, scipy_name):
    values = np.random.default_rng(0).integers(0, 9, (5, 7, 31)).astype(float)
    expected = scipy.stats.rankdata(-values, method=scipy_name, axis=-1)
    np.testing.assert_array_equal(rank(torch.tensor(values), ties=ties).numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_every_dtype_ranks_beyond_what_bf16_can_count(dtype):
    values = torch.arange(128).repeat(3).to(dtype)
    ranks = rank(values, ties="ordinal")
    assert sorted(ranks.tolist()) == list(range(1, 385))


def test_normalised_non_contiguous_and_empty():
    values = torch.randn(6, 4).T
    torch.testing.assert_close(rank(values, normalize=True), rank(values.contiguous()) / 6)
    assert rank(torch.empty(3, 0)).shape == (3, 0)


def test_a_nan_makes_its_row_nan_and_no_other():
    values = torch.tensor([[1.0, float("nan"), 2.0], [1.0, 3.0, 2.0]])
    for ties in TIES:
        ranks = rank(values, ties=ties)
        assert ranks[0].isnan().all()
        assert ranks[1].tolist() == [3.0, 1.0, 2.0]


def test_infinities_are_values_like_others():
    assert rank(torch.tensor([-torch.inf, 0.0, torch.inf])).tolist() == [3.0, 2.0, 1.0]


def test_errors_name_what_was_wrong():
    with pytest.raises(ValueError, match=r"^ties must be one of min, average, ordinal, got 'max'$"):
        rank(torch.zeros(3), ties="max")
    with pytest.raises(ValueError, match=r"^values must have shape \(\.\.\., M\), got a scalar$"):
        rank(torch.tensor(1.0))
