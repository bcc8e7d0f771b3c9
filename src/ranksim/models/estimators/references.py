"""Reference estimators: ridge regression, nearest neighbors, and the median."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.storage import read_arrays, write_arrays
from ranksim.exceptions import require_optional
from ranksim.models.estimators.base import Course, Estimator, TrainingContext, read_number
from ranksim.models.estimators.data import LOSSES, EstimatorData, EstimatorSettings, Floats

FILE = "neighbors.npz"
_PENALTIES = tuple(10.0**power for power in range(-6, 4))  # of standardized vectors, per sample
_NEIGHBORS = (1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 70, 100)


class Ridge(Estimator):
    """Linear regression with an L2 penalty, chosen by the validation score unless ``l2`` is set.

    Minimizes Σ wᵢ (yᵢ − xᵢ·β − β₀)² + l2 · N · |β|², with weights wᵢ of mean one.
    """

    name = "linear"
    losses = ("squared",)
    missing_losses = "it is a ridge regression"
    options = ("l2",)
    reads = "vectors"

    def __init__(self) -> None:
        super().__init__()
        self.coefficients = np.zeros(0)
        self.intercept = 0.0

    def _fit(
        self,
        train: EstimatorData,
        val: EstimatorData,
        settings: EstimatorSettings,
        context: TrainingContext,
    ) -> Course:
        shares = train.weights / train.weights.sum()
        center, mean = shares @ train.values, float(shares @ train.labels)
        centered = train.values - center
        weighted = centered * shares[:, None]
        variances, axes = np.linalg.eigh(weighted.T @ centered)
        products = axes.T @ (weighted.T @ (train.labels - mean))
        penalties = _PENALTIES if settings.l2 is None else (settings.l2,)
        if "l2" in context.choices:
            penalties = (context.choices["l2"],)
        # rounding leaves axes without variance slightly above or below zero
        least = max(float(variances[-1]), 0.0) * len(variances) * np.finfo(np.float64).eps
        is_used = variances > least
        results = []
        for penalty in penalties:
            divisors = np.where(is_used, variances + penalty, 1.0)
            coefficients = axes @ np.where(is_used, products / divisors, 0.0)
            intercept = mean - float(center @ coefficients)
            results.append((coefficients, intercept))
        scores = [
            context.score(val.values @ beta + intercept, val.labels, val.weights)
            for beta, intercept in results
        ]
        best = int(np.argmin(scores))
        self.coefficients, self.intercept = results[best]
        return Course(tuple(scores), choices={"l2": penalties[best]})

    def _predict(self, values: Floats, threads: int) -> Floats:
        preds: Floats = values @ self.coefficients + self.intercept
        return preds

    def _details(self) -> dict[str, Any]:
        return {"coefficients": self.coefficients.tolist(), "intercept": self.intercept}

    def _read(self, path: Path, content: Mapping[str, Any]) -> None:
        self.coefficients = np.array(content["coefficients"], dtype=np.float64)
        self.intercept = read_number(content, "intercept")
        if self.coefficients.shape != (len(self.categories),):
            raise ValueError(f"it has {self.coefficients.size} coefficients")
        if not np.isfinite(self.coefficients).all():
            raise ValueError("a coefficient is not a finite number")


class Neighbors(Estimator):
    """Weighted mean of the nearest training labels; their number is chosen by validation score.

    The saved model contains the vectors and labels of all training samples.
    """

    name = "knn"
    library = "sklearn"
    losses = ("squared",)
    missing_losses = "it is a mean of neighbors"
    reads = "vectors"

    def __init__(self) -> None:
        super().__init__()
        self.vectors: NDArray[np.float32] = np.zeros((0, 0), dtype=np.float32)
        self.labels, self.weights = np.zeros(0), np.zeros(0)
        self.neighbors = 1
        self._index: Any = None

    def _fit(
        self,
        train: EstimatorData,
        val: EstimatorData,
        settings: EstimatorSettings,
        context: TrainingContext,
    ) -> Course:
        self.vectors, self.labels = train.values.astype(np.float32), train.labels
        self.weights = train.weights
        self._index = None
        candidates: tuple[int, ...] = _NEIGHBORS
        if "neighbors" in context.choices:
            candidates = (int(context.choices["neighbors"]),)
        counts = [count for count in candidates if count <= len(self.labels)]
        nearest = self._find_nearest(val.values, counts[-1], context.threads)
        scores = [
            context.score(self._average(nearest[:, :count]), val.labels, val.weights)
            for count in counts
        ]
        best = int(np.argmin(scores))
        self.neighbors = counts[best]
        return Course(tuple(scores), choices={"neighbors": counts[best]})

    def _find_nearest(self, values: Floats, count: int, threads: int) -> NDArray[np.int64]:
        """Return the positions of the nearest training samples, nearest first ``(N, count)``."""
        pools = require_optional("threadpoolctl", self.extra)
        with pools.threadpool_limits(threads):
            if self._index is None:
                neighbors = require_optional("sklearn.neighbors", self.extra)
                self._index = neighbors.NearestNeighbors().fit(self.vectors)
            vectors = values.astype(np.float32)
            nearest: NDArray[np.int64]
            _, nearest = self._index.kneighbors(vectors, n_neighbors=count)
        return nearest

    def _average(self, nearest: NDArray[np.int64]) -> Floats:
        weights = self.weights[nearest]
        means: Floats = (weights * self.labels[nearest]).sum(axis=1) / weights.sum(axis=1)
        return means

    def _predict(self, values: Floats, threads: int) -> Floats:
        return self._average(self._find_nearest(values, self.neighbors, threads))

    def _details(self) -> dict[str, Any]:
        return {"neighbors": self.neighbors}

    def _write(self, folder: Path) -> Path:
        arrays: dict[str, NDArray[Any]] = {
            "vectors": self.vectors,
            "labels": self.labels,
            "weights": self.weights,
        }
        write_arrays(folder / FILE, arrays)
        return folder / FILE

    def _read(self, path: Path, content: Mapping[str, Any]) -> None:
        arrays = read_arrays(path)
        if arrays is None:
            raise ValueError("its checksum differs")
        self.vectors, self.labels = arrays["vectors"], arrays["labels"]
        self.weights, self.neighbors = arrays["weights"], int(read_number(content, "neighbors"))
        size = len(self.labels)
        shapes = self.vectors.shape, self.labels.shape, self.weights.shape
        if shapes != ((size, len(self.categories)), (size,), (size,)):
            raise ValueError("its arrays have different lengths")
        if not 1 <= self.neighbors <= size or not (self.weights > 0).all():
            raise ValueError("its neighbors or weights are out of range")


class Median(Estimator):
    """The weighted median of the training labels, whatever the loss."""

    name = "median"
    losses = LOSSES
    reads = "labels"

    def __init__(self) -> None:
        super().__init__()
        self.median = 0.0

    def _fit(
        self,
        train: EstimatorData,
        val: EstimatorData,
        settings: EstimatorSettings,
        context: TrainingContext,
    ) -> Course:
        self.median = weighted_median(train.labels, train.weights)
        return Course((context.score(self._predict(val.values, 1), val.labels, val.weights),))

    def _predict(self, values: Floats, threads: int) -> Floats:
        return np.full(len(values), self.median)

    def _details(self) -> dict[str, Any]:
        return {"median": self.median}

    def _read(self, path: Path, content: Mapping[str, Any]) -> None:
        self.median = read_number(content, "median")


def weighted_median(values: Floats, weights: Floats) -> float:
    """Return the weighted median; as of equal weights, the middle between two candidates."""
    order = np.argsort(values, kind="stable")
    shares = np.cumsum(weights[order]) / weights.sum()
    low = np.searchsorted(shares, 0.5 - 1e-12)
    high = np.searchsorted(shares, 0.5 + 1e-12)
    return float(values[order[low]] / 2 + values[order[high]] / 2)
