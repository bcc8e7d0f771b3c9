"""Ranks and label similarities."""

import numpy as np
import pytest
import scipy.stats
import torch

from ranksim.functional import label_similarity, rank
from tests.helpers.ranksim_cases import TIES
from tests.oracles import ranksim as oracle


@pytest.mark.parametrize("ties", TIES)
@pytest.mark.parametrize("size", [1, 2, 3, 17, 41])
def test_ranks_match_the_definition(ties, size):
    draw = np.random.default_rng(size)
    for values in (draw.normal(size=size), draw.integers(0, max(size // 3, 1), size)):
        expected = oracle.rank(values, ties)
        np.testing.assert_array_equal(oracle.fast_rank(values, ties), expected)
        np.testing.assert_array_equal(rank(torch.tensor(values), ties=ties).numpy(), expected)


@pytest.mark.parametrize("ties", TIES)
def test_ranks_match_scipy_on_negated_values(ties):
    values = np.random.default_rng(0).integers(0, 9, (5, 7, 31)).astype(float)
    expected = scipy.stats.rankdata(-values, method=ties, axis=-1)
    np.testing.assert_array_equal(rank(torch.tensor(values), ties=ties).numpy(), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.int64])
def test_every_dtype_ranks_beyond_what_bfloat16_can_count(dtype):
    values = torch.arange(128).repeat(3).to(dtype)
    assert sorted(rank(values, ties="ordinal").tolist()) == list(range(1, 385))


def test_normalized_strided_and_empty_rows():
    values = torch.randn(6, 4).T
    torch.testing.assert_close(rank(values, normalize=True), rank(values.contiguous()) / 6)
    assert rank(torch.empty(3, 0)).shape == (3, 0)


@pytest.mark.parametrize("ties", TIES)
def test_nan_affects_its_row_only(ties):
    ranks = rank(torch.tensor([[1.0, float("nan"), 2.0], [1.0, 3.0, 2.0]]), ties=ties)
    assert ranks[0].isnan().all()
    assert ranks[1].tolist() == [3.0, 1.0, 2.0]


def test_infinities_are_ranked():
    assert rank(torch.tensor([-torch.inf, 0.0, torch.inf])).tolist() == [3.0, 2.0, 1.0]


def test_wrong_arguments_raise():
    with pytest.raises(ValueError, match=r"^ties must be one of min, average, ordinal, got 'max'$"):
        rank(torch.zeros(3), ties="max")
    with pytest.raises(ValueError, match=r"^values must have shape \(\.\.\., M\), got a scalar$"):
        rank(torch.tensor(1.0))


def test_label_similarity_of_ages():
    ages = torch.tensor([[20], [25], [18]])
    np.testing.assert_array_equal(label_similarity(ages).numpy(), oracle.neg_l1(ages.numpy()))
