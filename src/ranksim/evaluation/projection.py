"""Project features to two dimensions by PCA and t-SNE."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.exceptions import require_optional

_MIN_SAMPLES = 10  # t-SNE of fewer samples is meaningless
_PERPLEXITY = 30.0
_INITIAL_STD = 1e-4


def project_features(labels: np.ndarray, features: np.ndarray) -> dict[str, Any] | None:
    """Project features by PCA, and by t-SNE initialized with it.

    Args:
        labels: of the samples, ``(P,)``.
        features: of the samples, ``(P, D)``.

    Returns:
        ``labels``, and the points ``pca`` and ``tsne``, ``(P, 2)``; ``tsne`` is ``None`` below 10
        samples or if all features are equal, and the result is ``None`` if features are not finite.
    """
    if not np.isfinite(features).all():
        return None
    points = pca(features)
    return {"labels": labels, "pca": points, "tsne": _tsne(features, points)}


def pca(features: np.ndarray) -> NDArray[np.float64]:
    """Return the first two principal components, ``(P, 2)``, zero if there is no second one.

    The largest entry of each direction is positive, so that signs are deterministic.

    Example:
        >>> pca(np.array([[0.0, 0.0], [-3.0, -4.0]])).round(6).tolist()
        [[2.5, 0.0], [-2.5, 0.0]]
    """
    centered = features.astype(np.float64) - features.mean(axis=0)
    directions = np.linalg.svd(centered, full_matrices=False)[2][:2]
    largest = np.take_along_axis(directions, np.abs(directions).argmax(axis=1)[:, None], axis=1)
    points = centered @ (directions * np.where(largest < 0, -1.0, 1.0)).T
    return np.pad(points, ((0, 0), (0, 2 - len(directions))))


def _tsne(features: np.ndarray, points: NDArray[np.float64]) -> NDArray[np.float64] | None:
    std = points[:, 0].std()
    if len(features) < _MIN_SAMPLES or std == 0:
        return None
    manifold = require_optional("sklearn.manifold", "train")
    threads = require_optional("threadpoolctl", "train")
    with threads.threadpool_limits(1):  # sums depend on the number of threads
        tsne = manifold.TSNE(
            perplexity=min(_PERPLEXITY, (len(features) - 1) / 3),
            init=(points / std * _INITIAL_STD).astype(np.float32),
            random_state=0,
        )
        return np.asarray(tsne.fit_transform(features))
