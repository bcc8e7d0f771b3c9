"""Similarities: cosine between features, and several kinds between labels."""

from collections.abc import Callable
from typing import Literal, get_args

import torch
from torch import Tensor

LabelSimilarityName = Literal["neg_l1", "neg_l2", "cosine"]
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
    names = get_args(LabelSimilarityName)
    if not callable(kind) and kind not in names:
        raise ValueError(
            f"label_similarity must be one of {', '.join(names)} or a callable, got {kind!r}"
        )


def working_dtype(device: torch.device) -> torch.dtype:
    """Return float64 if the device has it: a rank jumps where two similarities cross."""
    return torch.float32 if device.type == "mps" else torch.float64
