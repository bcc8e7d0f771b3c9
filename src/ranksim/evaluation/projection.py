"""Features in two dimensions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.exceptions import require_optional

_FEWEST = 10  # samples, below which t-SNE says nothing
_PERPLEXITY = 30.0
_SPREAD = 1e-4  # of the places that t-SNE starts from


def embed(labels: np.ndarray, features: np.ndarray) -> dict[str, Any] | None:
    """Two-dimensional places of samples by their features: PCA, and t-SNE that starts from it.

    Args:
        labels: ``(P,)``.
        features: ``(P, D)``.

    Returns:
        ``labels``, ``pca`` and ``tsne``, the latter ``None`` below 10 samples and where all
        features are the same; ``None`` in all for features that are not finite.
    """
    if not np.isfinite(features).all():
        return None
    places = pca(features)
    return {"labels": labels, "pca": places, "tsne": _tsne(features, places)}


def pca(features: np.ndarray) -> NDArray[np.float64]:
    """The first two principal components ``(P, 2)``, zero where there is no second.

    Of each direction the largest entry is above zero, so that a picture does not turn over.

    Example:
        >>> pca(np.array([[0.0, 0.0], [-3.0, -4.0]])).round(6).tolist()
        [[2.5, 0.0], [-2.5, 0.0]]
    """
    centred = features.astype(np.float64) - features.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    kept = directions[:2]
    largest = np.take_along_axis(kept, np.abs(kept).argmax(axis=1)[:, None], axis=1)
    places = centred @ (kept * np.where(largest < 0, -1.0, 1.0)).T
    return np.pad(places, ((0, 0), (0, 2 - len(kept))))


def _tsne(features: np.ndarray, places: NDArray[np.float64]) -> NDArray[np.float64] | None:
    spread = places[:, 0].std()
    if len(features) < _FEWEST or spread == 0:
        return None
    manifold, threads = (
        require_optional("sklearn.manifold", "train"),
        require_optional("threadpoolctl", "train"),
    )
    with threads.threadpool_limits(1):  # sums of several threads would change with their number
        made: NDArray[np.float64] = manifold.TSNE(
            perplexity=min(_PERPLEXITY, (len(features) - 1) / 3),
            init=(places / spread * _SPREAD).astype(np.float32),
            random_state=0,
        ).fit_transform(features)
    return made
