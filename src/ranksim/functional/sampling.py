"""Dense targets: a label for each pixel of an image, or for each step of a series."""

from __future__ import annotations

import torch
from torch import Tensor


def sample_positions(
    features: Tensor,
    labels: Tensor,
    count: int,
    *,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Features and labels of positions drawn from a whole batch, uniformly, without replacement.

    All positions of all samples are one pool, so that a batch of eight images of 480 × 640 with
    ``count`` 256 gives 256 samples, as if they were 256 images. A position without a label, where
    any of its K numbers is NaN, is not drawn. The gradient goes to the positions that were drawn.

    Args:
        features: shape ``(N, D, H, W)``, ``(N, D, T)`` or with any number of position axes, of any
            memory format; they are not copied as a whole.
        labels: shape ``(N, K, H, W)`` or alike, on the same positions, K mostly 1.
        count: positions to draw, at least 1; where fewer have a label, all of those.
        generator: draws them. How far it moves on depends on the shape alone, not on NaN.

    Returns:
        Features ``(P, D)`` and labels ``(P, K)`` with P ≤ ``count``, in the order in which the
        positions stand in the batch.

    Raises:
        TypeError: arguments that are not tensors, or a count that is not a whole number.
        ValueError: shapes that do not fit, or a count below 1.

    Example:
        >>> depth = torch.full((2, 1, 4, 4), torch.nan)  # metres, known at three pixels
        >>> depth[0, 0, 1, :3] = torch.tensor([1.0, 2.5, 7.0])
        >>> features, labels = sample_positions(torch.randn(2, 8, 4, 4), depth, 16)
        >>> features.shape, labels.flatten().tolist()
        (torch.Size([3, 8]), [1.0, 2.5, 7.0])
    """
    _check(features, labels, count)
    known = labels.isnan().any(dim=1).logical_not()
    where = labels.device if generator is None else generator.device
    order = torch.randperm(known.numel(), generator=generator, device=where).to(labels.device)
    chosen = order[known.flatten()[order]][:count].sort().values
    place = torch.unravel_index(chosen, known.shape)
    return features.movedim(1, -1)[place], labels.movedim(1, -1)[place]


def _check(features: Tensor, labels: Tensor, count: int) -> None:
    for name, value in (("features", features), ("labels", labels)):
        if not isinstance(value, Tensor):
            raise TypeError(f"{name} must be a torch.Tensor, got {type(value).__name__}")
    there, wanted = tuple(labels.shape), (*features.shape[:1], *features.shape[2:])
    if features.ndim < 3 or labels.ndim != features.ndim or (there[0], *there[2:]) != wanted:
        raise ValueError(
            "dense features must have shape (N, D, ...) and labels (N, K, ...) on the same "
            f"positions, got features {tuple(features.shape)} and labels {there}"
        )
    if features.device != labels.device:
        raise ValueError(
            f"features and labels must be on one device, got features on {features.device} and "
            f"labels on {labels.device}"
        )
    check_count(count)


def check_count(count: int) -> None:
    """Refuse what is no number of positions."""
    if not isinstance(count, int) or isinstance(count, bool):
        raise TypeError(f"positions must be a whole number, got {count!r}")
    if count < 1:
        raise ValueError(f"positions must be at least 1, got {count!r}")
