"""Similarities of features and of labels, and their ranks."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

from ranksim._utils.checks import check_choice, check_flag, describe_value
from ranksim.functional._validation import check_tensors

Ties = Literal["min", "average", "ordinal"]
TIES: tuple[str, ...] = get_args(Ties)
LabelSimilarityName = Literal["neg_l1", "neg_l2", "cosine"]
_NAMES: tuple[str, ...] = get_args(LabelSimilarityName)
LabelSimilarity = LabelSimilarityName | Callable[[Tensor], Tensor]

GRID = 2.0**-40  # far above the rounding of float64 (1e-16), far below any meaningful difference


def round_to_grid(values: Tensor) -> Tensor:
    """Round float64 values, in place, to multiples of 2⁻⁴⁰, so that equal similarities tie.

    Other dtypes are returned unchanged: they are coarser than the grid.
    """
    return values.div_(GRID).round_().mul_(GRID) if values.dtype == torch.float64 else values


def normalize_rows(vectors: Tensor, smallest: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return rows ``(M, D)`` divided by their norms, and the norms ``(M, 1)``.

    Rows not longer than ``smallest`` count as zero, and so do their norms.
    """
    norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    zero = norm <= smallest
    unit = (vectors / norm.masked_fill(zero, 1.0)).masked_fill(zero, 0.0)
    return unit, norm.masked_fill(zero, 0.0)


def label_similarity(labels: Tensor, kind: LabelSimilarity = "neg_l1") -> Tensor:
    r"""Compute pairwise label similarities; larger means more similar.

    ``neg_l1``: :math:`-\sum_k |y_{ik} - y_{jk}|`; ``neg_l2``: :math:`-\lVert y_i - y_j \rVert_2`;
    ``cosine``: :math:`\langle y_i, y_j \rangle / (\lVert y_i \rVert \lVert y_j \rVert)`; or a
    callable from labels ``(M, K)`` to similarities ``(M, M)``.

    Args:
        labels: shape ``(M, K)``, real or integer.
        kind: one of the names above, or a callable.

    Returns:
        Similarities of shape ``(M, M)``, float64 (float32 on MPS).

    Raises:
        ValueError: if the name is unknown, or the callable's result does not have shape ``(M, M)``.

    Example:
        >>> label_similarity(torch.tensor([[19], [20], [23]]))
        tensor([[-0., -1., -4.],
                [-1., -0., -3.],
                [-4., -3., -0.]], dtype=torch.float64)
    """
    check_label_similarity(kind)
    check_tensors(labels=labels)
    if labels.ndim != 2 or labels.is_complex():
        raise ValueError(
            f"labels must be real numbers of shape (M, K), got {labels.dtype} of shape "
            f"{tuple(labels.shape)}"
        )
    if not callable(kind):
        labels = labels.detach().to(working_dtype(labels.device))
        return pairwise_similarity(labels, labels, kind)
    similarity = kind(labels)
    shape = (labels.shape[0],) * 2
    if not isinstance(similarity, Tensor) or similarity.shape != shape:
        result = tuple(similarity.shape) if isinstance(similarity, Tensor) else type(similarity)
        raise ValueError(
            f"label_similarity must return a tensor of shape {shape} for labels of shape "
            f"{tuple(labels.shape)}, got {result}"
        )
    similarity = similarity.detach()
    dtype = torch.promote_types(similarity.dtype, working_dtype(similarity.device))
    return similarity if similarity.device.type == "mps" else similarity.to(dtype)


def pairwise_similarity(rows: Tensor, columns: Tensor, kind: str) -> Tensor:
    """Compute similarities ``(R, M)`` of labels ``(R, K)`` to labels ``(M, K)``."""
    if kind == "cosine":
        return round_to_grid(normalize_rows(rows)[0] @ normalize_rows(columns)[0].T)
    if rows.shape[1] == 1:
        return -(rows - columns.T).abs()
    difference = rows.unsqueeze(1) - columns.unsqueeze(0)
    if kind == "neg_l1":
        return -difference.abs().sum(dim=-1)
    distance: Tensor = torch.linalg.vector_norm(difference, dim=-1)
    return -distance


def check_label_similarity(kind: object) -> None:
    """Raise a ValueError if a label similarity is neither a known name nor a callable."""
    if not (isinstance(kind, str) and kind in _NAMES) and not callable(kind):
        raise ValueError(
            f"label_similarity must be one of {', '.join(_NAMES)} or a callable, got "
            f"{describe_value(kind)}"
        )


def working_dtype(device: torch.device) -> torch.dtype:
    """Return float64 if the device supports it, because ranks are sensitive to rounding."""
    return torch.float32 if device.type == "mps" else torch.float64


def rank(values: Tensor, *, ties: Ties = "min", normalize: bool = False) -> Tensor:
    r"""Rank the values along the last dimension, the largest first.

    .. math::  \mathrm{rk}(a)_i = 1 + |\{ j : a_j > a_i \}|

    Args:
        values: real numbers of shape ``(..., M)``, any real dtype.
        ties: rule for equal values. ``"min"``: they share the smallest rank (the equation above);
            ``"average"``: they share their mean rank; ``"ordinal"``: distinct ranks, the lower
            index first.
        normalize: divide the ranks by M, so that they lie in (0, 1].

    Returns:
        Ranks of shape ``(..., M)``: float64 for float64 and integer values, else float32 (exact up
        to M = 2²⁴). All ranks of a row with a NaN are NaN. No gradient flows through ranks, which
        are piecewise constant.

    Raises:
        ValueError: if ``ties`` is unknown or ``values`` is a scalar.

    Example:
        >>> rank(torch.tensor([0.3, 0.9, 0.3, 0.1]))
        tensor([2., 1., 2., 4.])
        >>> rank(torch.tensor([0.3, 0.9, 0.3, 0.1]), ties="average")
        tensor([2.5000, 1.0000, 2.5000, 4.0000])
        >>> rank(torch.tensor([0.3, 0.9, 0.3, 0.1]), ties="ordinal")
        tensor([2., 1., 3., 4.])

    References:
        Gong, Mori, Tung, "RankSim" (ICML 2022), section 3. ``"min"`` is the paper's formula,
        ``"ordinal"`` is the rule behind its published results.
    """
    check_choice("ties", ties, TIES)
    check_flag("normalize", normalize)
    check_tensors(values=values)
    if values.ndim == 0:
        raise ValueError("values must have shape (..., M), got a scalar")
    if values.is_complex():
        raise TypeError(f"values must be real, got {values.dtype}")
    values = values.detach()
    size = values.shape[-1]
    exact = values.dtype == torch.float64 or not values.dtype.is_floating_point
    dtype = torch.float64 if exact and values.device.type != "mps" else torch.float32
    if values.dtype in (torch.bfloat16, torch.float16, torch.bool):
        values = values.to(torch.float32)  # searchsorted has no kernel for these dtypes

    if ties == "ordinal":
        order = values.argsort(dim=-1, descending=True, stable=True)
        positions = torch.arange(1, size + 1, dtype=dtype, device=values.device)
        ranks = torch.empty(values.shape, dtype=dtype, device=values.device)
        ranks.scatter_(-1, order, positions.expand(values.shape))
    else:
        ordered = values.contiguous().sort(dim=-1).values
        num_larger = size - torch.searchsorted(ordered, values.contiguous(), right=True)
        if ties == "min":
            ranks = (num_larger + 1).to(dtype)
        else:
            num_not_smaller = size - torch.searchsorted(ordered, values.contiguous())
            ranks = (num_larger + num_not_smaller + 1).to(dtype) / 2

    if values.dtype.is_floating_point:
        ranks = ranks.masked_fill(values.isnan().any(dim=-1, keepdim=True), float("nan"))
    return ranks / size if normalize else ranks
