"""MAE, MSE, geometric mean, Pearson and Spearman of plain tensors."""

from __future__ import annotations

from torch import Tensor

from ranksim.functional import rank

METRICS = ("mae", "mse", "gm", "pearson", "spearman")
_SMALL = 1e-100
Scores = dict[str, float | None]


def regression_scores(prediction: Tensor, target: Tensor, *, gm_guard: float = 0.0) -> Scores:
    r"""Errors and correlations of predictions, in float64.

    With :math:`e_i = |\hat y_i - y_i|`: ``mae`` and ``mse`` are the means of e and e²; ``gm`` is
    :math:`(\prod_i e_i)^{1/n}`; ``pearson`` and ``spearman`` (mean ranks for ties) in per cent.

    Args:
        prediction: shape ``(N,)``, real.
        target: shape ``(N,)``, real, in the same unit.
        gm_guard: stands in for errors of exactly zero in ``gm`` (STS-B-DIR: 1e-10; ages: 0).

    Returns:
        The five scores and ``n``. Where a score does not exist it is ``None``: all of them without
        samples, the correlations with fewer than two samples or a constant side.

    Example:
        >>> import torch
        >>> scores = regression_scores(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([1.0, 3.0, 5.0]))
        >>> scores["n"], round(scores["mae"], 4), round(scores["spearman"], 4)
        (3, 0.6667, 100.0)
    """
    if prediction.shape != target.shape or prediction.ndim != 1:
        raise ValueError(
            "prediction and target must both have shape (N,), got "
            f"{tuple(prediction.shape)} and {tuple(target.shape)}"
        )
    count = len(target)
    if count == 0:
        return {"n": 0, **dict.fromkeys(METRICS)}
    prediction, target = prediction.detach().cpu().double(), target.detach().cpu().double()
    error = (prediction - target).abs()
    guarded = error.masked_fill(error == 0, gm_guard)
    return {
        "n": count,
        "mae": error.mean().item(),
        "mse": error.square().mean().item(),
        "gm": guarded.log().mean().exp().item(),
        "pearson": _correlation(prediction, target),
        "spearman": _correlation(rank(prediction, ties="average"), rank(target, ties="average")),
    }


def _correlation(a: Tensor, b: Tensor) -> float | None:
    """Pearson's correlation in per cent; ``None`` where a side is constant."""
    if (a == a[0]).all() or (b == b[0]).all():
        return None
    a, b = _moderate(a), _moderate(b)
    a, b = a - a.mean(), b - b.mean()
    return 100 * float((a / a.norm() @ (b / b.norm())).clamp(-1, 1))


def _moderate(values: Tensor) -> Tensor:
    """Values in another unit where their squares would overflow or vanish."""
    largest = values.abs().max()
    return values if _SMALL < largest < 1 / _SMALL else values / largest
