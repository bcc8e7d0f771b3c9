"""Batches of features and labels as one row per label, for vector and dense targets."""

from __future__ import annotations

from torch import Tensor


def flatten_positions(features: Tensor, labels: Tensor, num_features: int) -> tuple[Tensor, Tensor]:
    """Return features ``(P, D)`` and labels ``(P,)`` of a batch, D being ``num_features``.

    Features are ``(N, D)`` or ``(N, D, 1, ...)`` with labels ``(N,)`` or ``(N, 1)``, or dense:
    features ``(N, D, ...)`` with labels ``(N, 1, ...)`` on the same positions, at least three axes.
    """
    dense, shape = labels.ndim > 2, tuple(features.shape)
    matches = features.ndim > 1 and features.shape[1] == num_features
    if not matches or not (dense or features[:1].numel() in (0, num_features)):
        raise ValueError(f"features must have shape (N, {num_features}), got {shape}")
    if dense:
        expected = (len(features), 1, *features.shape[2:])
        if labels.shape != expected:
            raise ValueError(f"dense labels must have shape {expected}, got {tuple(labels.shape)}")
        return features.movedim(1, -1).reshape(-1, num_features), labels.flatten()
    if labels.shape not in ((len(features),), (len(features), 1)):
        raise ValueError(
            f"labels must have shape ({len(features)},) or ({len(features)}, 1), got "
            f"{tuple(labels.shape)}"
        )
    return features.flatten(1), labels.flatten()
