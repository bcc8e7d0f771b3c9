"""Features as rows with a label each, whether a sample has one label or one for each position."""

from __future__ import annotations

from torch import Tensor


def flatten_positions(features: Tensor, labels: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Features ``(P, width)`` and labels ``(P,)`` of a batch.

    Args:
        features: ``(N, width)`` or ``(N, width, 1, ...)``; dense: ``(N, width, ...)``.
        labels: ``(N,)`` or ``(N, 1)``; dense, with three axes or more: ``(N, 1, ...)`` on the
            positions of the features, P = N · positions.
        width: number of features.

    Raises:
        ValueError: shapes that do not fit.
    """
    dense, got = labels.ndim > 2, tuple(features.shape)
    fits = features.ndim > 1 and features.shape[1] == width
    if not fits or not (dense or features[:1].numel() in (0, width)):
        raise ValueError(f"features must have shape (N, {width}), got {got}")
    if dense:
        wanted = (len(features), 1, *features.shape[2:])
        if labels.shape != wanted:
            raise ValueError(f"dense labels must have shape {wanted}, got {tuple(labels.shape)}")
        return features.movedim(1, -1).reshape(-1, width), labels.flatten()
    if labels.shape not in ((len(features),), (len(features), 1)):
        raise ValueError(
            f"labels must have shape ({len(features)},) or ({len(features)}, 1), got "
            f"{tuple(labels.shape)}"
        )
    return features.flatten(1), labels.flatten()
