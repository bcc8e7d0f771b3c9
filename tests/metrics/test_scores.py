import numpy as np
import pytest
import scipy.stats
import torch
import torchmetrics.functional.regression as reference

from ranksim.metrics import METRICS, regression_scores


@pytest.mark.parametrize("kind", ["real", "ties"])
def test_equal_scipy_and_torchmetrics(kind):
    draw = np.random.default_rng(0)
    target = draw.normal(size=101) if kind == "real" else draw.integers(0, 5, 101).astype(float)
    prediction = target + draw.normal(size=101)
    prediction = prediction if kind == "real" else prediction.round()
    scores = regression_scores(torch.tensor(prediction), torch.tensor(target), gmean_epsilon=1e-10)
    error = np.abs(prediction - target)
    expected = {
        "mae": error.mean(),
        "mse": (error**2).mean(),
        "gm": scipy.stats.gmean(np.where(error == 0, 1e-10, error)),
        "pearson": 100 * scipy.stats.pearsonr(prediction, target)[0],
        "spearman": 100 * scipy.stats.spearmanr(prediction, target)[0],
    }
    assert scores["n"] == 101
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, rel=1e-12), name
    tensors = torch.tensor(prediction), torch.tensor(target)
    assert scores["mae"] == pytest.approx(reference.mean_absolute_error(*tensors).item())
    assert scores["spearman"] == pytest.approx(
        100 * reference.spearman_corrcoef(*tensors).item(), rel=1e-6
    )


def test_geometric_mean_without_guard_is_zero_at_a_perfect_prediction():
    scores = regression_scores(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 3.0]))
    assert scores["gm"] == 0


def test_no_samples_gives_no_scores():
    scores = regression_scores(torch.empty(0), torch.empty(0))
    assert scores == {"n": 0, **dict.fromkeys(METRICS)}


def test_undefined_correlation_is_none():
    one = regression_scores(torch.tensor([1.0]), torch.tensor([2.0]))
    assert (one["mae"], one["pearson"], one["spearman"]) == (1.0, None, None)
    constant = regression_scores(torch.ones(3), torch.tensor([1.0, 2.0, 3.0]))
    assert (constant["mse"], constant["pearson"]) == (pytest.approx(5 / 3), None)


def test_large_offsets_lose_no_digits():
    target = torch.arange(10, dtype=torch.float64)
    scores = regression_scores(target + 1e6, target)
    assert scores["pearson"] == pytest.approx(100, abs=1e-9)


def test_shapes_must_fit():
    with pytest.raises(ValueError, match=r"shape \(N,\), got \(2,\) and \(3,\)"):
        regression_scores(torch.zeros(2), torch.zeros(3))
