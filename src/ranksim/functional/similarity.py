"""Similarities: cosine between features, and several between labels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

LabelSimilarityName = Literal["neg_l1", "neg_l2", "cosine"]
LabelSimilarity = LabelSimilarityName | Callable[[Tensor], Tensor]
LABEL_SIMILARITIES: tuple[str, ...] = get_args(LabelSimilarityName)

GRID = 2.0**-40  # similarities are compared as multiples of it, so that what is equal ties


def on_grid(values: Tensor) -> Tensor:
    """Round float64 values, in place, to multiples of 2⁻⁴⁰, so that what is equal ties.

    In whatever order sums are made: the grid lies far above the noise of float64 (1e-16) and far
    below any difference that means something. Other types are coarser and stay as they are.
    """
    return values.div_(GRID).round_().mul_(GRID) if values.dtype == torch.float64 else values


def unit_rows(vectors: Tensor, smallest: float = 0.0) -> tuple[Tensor, Tensor]:
    """Rows divided by their length: ``(M, D) -> (M, D), (M, 1)``.

    A row not longer than ``smallest`` counts as zero: it and its length become zero.
    """
    norm = torch.linalg.vector_norm(vectors, dim=-1, keepdim=True)
    zero = norm <= smallest
    unit = (vectors / norm.masked_fill(zero, 1.0)).masked_fill(zero, 0.0)
    return unit, norm.masked_fill(zero, 0.0)


def label_similarity(labels: Tensor, kind: LabelSimilarity = "neg_l1") -> Tensor:
    r"""Pairwise label similarities; larger means closer.

    ``neg_l1``: :math:`-\sum_k |y_{ik} - y_{jk}|`; ``neg_l2``: :math:`-\lVert y_i - y_j \rVert_2`;
    ``cosine``: :math:`\langle y_i, y_j \rangle / (\lVert y_i \rVert \lVert y_j \rVert)`; or any
    callable from labels ``(M, K)`` to similarities ``(M, M)``.

    Args:
        labels: shape ``(M, K)``, real or integer.
        kind: one of the names above, or a callable.

    Returns:
        Similarities of shape ``(M, M)``.

    Raises:
        ValueError: unknown name, or a callable whose result is not ``(M, M)``.

    Example:
        >>> label_similarity(torch.tensor([[19], [20], [23]]))
        tensor([[-0., -1., -4.],
                [-1., -0., -3.],
                [-4., -3., -0.]], dtype=torch.float64)
    """
    if callable(kind):
        similarity = kind(labels)
        size = labels.shape[0]
        if not isinstance(similarity, Tensor) or similarity.shape != (size, size):
            got = tuple(similarity.shape) if isinstance(similarity, Tensor) else type(similarity)
            raise ValueError(
                f"label_similarity must return a tensor of shape {(size, size)} for labels of "
                f"shape {tuple(labels.shape)}, got {got}"
            )
        similarity = similarity.detach()
        dtype = torch.promote_types(similarity.dtype, working_dtype(similarity.device))
        return similarity if similarity.device.type == "mps" else similarity.to(dtype)
    check_label_similarity(kind)
    labels = labels.detach().to(working_dtype(labels.device))
    return pairwise_similarity(labels, labels, kind)


def pairwise_similarity(rows: Tensor, columns: Tensor, kind: str) -> Tensor:
    """Similarities ``(R, M)`` of labels ``(R, K)`` to labels ``(M, K)`` of the working dtype."""
    if kind == "cosine":
        return on_grid(unit_rows(rows)[0] @ unit_rows(columns)[0].T)
    if rows.shape[1] == 1:
        return -(rows - columns.T).abs()
    difference = rows.unsqueeze(1) - columns.unsqueeze(0)
    if kind == "neg_l1":
        return -difference.abs().sum(dim=-1)
    distance: Tensor = torch.linalg.vector_norm(difference, dim=-1)
    return -distance


def check_label_similarity(kind: object) -> None:
    """Refuse a label similarity that is neither a known name nor a callable."""
    if not callable(kind) and kind not in LABEL_SIMILARITIES:
        raise ValueError(
            f"label_similarity must be one of {', '.join(LABEL_SIMILARITIES)} or a callable, "
            f"got {kind!r}"
        )


def working_dtype(device: torch.device) -> torch.dtype:
    """float64 wherever the device has it: a rank jumps where two similarities cross."""
    return torch.float32 if device.type == "mps" else torch.float64
