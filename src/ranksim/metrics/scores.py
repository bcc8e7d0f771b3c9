"""MAE, MSE, geometric mean, Pearson and Spearman of plain tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ranksim._utils.checks import check_positive

if TYPE_CHECKING:
    from torch import Tensor

METRICS = ("mae", "mse", "gm", "pearson", "spearman")
_TINY = 1e-100
Scores = dict[str, float | None]


def regression_scores(preds: Tensor, target: Tensor, *, gmean_epsilon: float = 0.0) -> Scores:
    r"""Return errors and correlations of predictions, in float64.

    With :math:`e_i = |\hat y_i - y_i|`: ``mae`` and ``mse`` are the means of e and e²; ``gm`` is
    :math:`(\prod_i e_i)^{1/n}`; ``pearson`` and ``spearman`` (average ranks for ties) are in
    percent.

    Args:
        preds: predictions, shape ``(N,)``, real.
        target: labels, shape ``(N,)``, real, in the same unit.
        gmean_epsilon: replaces errors of exactly zero in ``gm`` (STS-B-DIR: 1e-10; ages: 0).

    Returns:
        The five scores and ``n``. A score that is undefined is None: all scores without samples,
        correlations with fewer than two samples or a constant input.

    Example:
        >>> import torch
        >>> scores = regression_scores(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 3.0, 5.0]))
        >>> scores["n"], round(scores["mae"], 4), round(scores["spearman"], 4)
        (3, 0.6667, 100.0)
    """
    from ranksim.functional import rank
    from ranksim.functional._validation import check_tensors

    for name, value in (("preds", preds), ("target", target)):
        check_tensors(**{name: value})
        if value.is_complex():
            raise TypeError(f"{name} must be real, got {value.dtype}")
    epsilon = check_positive("gmean_epsilon", gmean_epsilon, or_zero=True)
    if preds.shape != target.shape or preds.ndim != 1:
        raise ValueError(
            f"preds and target must both have shape (N,), got {tuple(preds.shape)} and "
            f"{tuple(target.shape)}"
        )
    count = len(target)
    if count == 0:
        return {"n": 0, **dict.fromkeys(METRICS)}
    preds, target = preds.detach().cpu().double(), target.detach().cpu().double()
    error = (preds - target).abs()
    positive = error.masked_fill(error == 0, epsilon)
    return {
        "n": count,
        "mae": error.mean().item(),
        "mse": error.square().mean().item(),
        "gm": positive.log().mean().exp().item(),
        "pearson": _correlation(preds, target),
        "spearman": _correlation(rank(preds, ties="average"), rank(target, ties="average")),
    }


def _correlation(a: Tensor, b: Tensor) -> float | None:
    """Return Pearson's correlation in percent; None if an input is constant."""
    if (a == a[0]).all() or (b == b[0]).all():
        return None
    a, b = _rescale(a), _rescale(b)
    a, b = a - a.mean(), b - b.mean()
    return 100 * float((a / a.norm() @ (b / b.norm())).clamp(-1, 1))


def _rescale(values: Tensor) -> Tensor:
    """Divide values by the largest one if their squares would overflow or underflow."""
    largest = values.abs().max()
    return values if _TINY < largest < 1 / _TINY else values / largest
