"""Compute what the report shows of a run: errors by label, bin ranks and feature projections."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ranksim._utils.arrays import copy_to_numpy
from ranksim.datasets.base import Benchmark
from ranksim.evaluation.views import ViewCounts
from ranksim.exceptions import require_optional
from ranksim.functional.similarity import normalize_rows, rank, round_to_grid
from ranksim.imbalance import LabelBins
from ranksim.metrics import SHOT_NAMES, imbalanced_scores
from ranksim.training.data_loader import DisplaySamples, select_display_samples
from ranksim.training.loss_parts import fit_sera_relevance

Diagnostics = dict[str, Any]
MAX_AXIS_BINS = 200
MAX_DISTANCES, NUM_DRAWS = 10, 100
MAX_RELEVANCE = 10_000  # training labels that the relevance of SERA is fitted to
_MIN_SAMPLES, _PERPLEXITY = 10, 30.0  # t-SNE of fewer samples is meaningless
_INITIAL_STD = 1e-4


def label_axis(benchmark: Benchmark[Any], regions_from: str) -> Diagnostics:
    """Count the training and test samples of each label bin.

    More than 200 bins are merged into equal groups. The region of a group is the one of most of
    its training samples, or of most of its bins if it has no samples. ``views`` holds the counts
    from which the weights of the test views follow.
    """
    bins, regions = benchmark.bins, benchmark.regions(regions_from)
    starts = _axis_starts(bins)
    weights = regions.counts + 1 / (len(bins) + 1)  # one sample outweighs all empty bins
    names = np.array(regions.names)
    votes = [np.add.reduceat(weights * (names == shot), starts) for shot in SHOT_NAMES]
    has_thresholds = regions_from != "published" or benchmark.published_shots is None
    axis: Diagnostics = round_for_json(
        {
            "name": benchmark.quantity,
            "unit": benchmark.unit,
            "edges": np.append(bins.edges[starts], bins.edges[-1]),
            "train": np.add.reduceat(regions.counts, starts),
            "test": np.add.reduceat(bins.histogram(benchmark.test.labels), starts),
            "regions": [SHOT_NAMES[k] for k in np.argmax(votes, axis=0)],
            "many": benchmark.many if has_thresholds else None,
            "few": benchmark.few if has_thresholds else None,
            "named": {k: [span.low, span.high] for k, span in benchmark.named_regions.items()},
            "dropped": benchmark.facts.get("dropped", []),
        }
    )
    return axis | {"views": ViewCounts.from_benchmark(benchmark).to_dict()}


def diagnose_run(
    benchmark: Benchmark[Any],
    preds: np.ndarray,
    features: np.ndarray,
    *,
    project: bool = True,
) -> dict[str, Diagnostics | None]:
    """Compute all diagnostics of a run from its predictions of the N test samples.

    ``features``, ``(P, D)``, are those of the samples that :func:`select_display_samples` chooses.
    Their projection, which takes a second, is left out without ``project``.
    """
    labels = benchmark.test.labels
    samples, has_features = select_display_samples(benchmark.bins, labels), features.shape[1] > 0
    displayed = labels[samples.rows]
    diagnostics: dict[str, Any] = {
        "error_by_bin": error_by_bin(benchmark.bins, labels, preds),
        "gaps": error_in_gaps(benchmark.bins, benchmark.train.labels, labels, preds),
        # estimators have no features
        "ranks": rank_bins(samples, displayed, features) if has_features else None,
    }
    if project:
        projection = project_features(displayed, features) if has_features else None
        diagnostics["projection"] = projection
    rounded: dict[str, Diagnostics | None] = round_for_json(diagnostics)
    return rounded


def score_imbalance(
    benchmark: Benchmark[Any], labels: np.ndarray, preds: np.ndarray
) -> dict[str, float | None]:
    """Return the scores of :func:`ranksim.metrics.imbalanced_scores` of labels and preds ``(N,)``.

    The bins of the shot regions are used. The relevance of SERA follows the training labels; more
    than 10,000 are replaced by that many order statistics, as the fit would take seconds.
    """
    train = np.sort(benchmark.train.labels.astype(np.float64))
    if len(train) > MAX_RELEVANCE:
        train = train[np.linspace(0, len(train) - 1, MAX_RELEVANCE).round().astype(np.int64)]
    return imbalanced_scores(preds, labels, benchmark.bins, fit_sera_relevance(train, []))


def error_by_bin(bins: LabelBins, labels: np.ndarray, preds: np.ndarray) -> Diagnostics:
    """Return the test error in each bin of :func:`label_axis`; labels and preds are ``(N,)``."""
    num_bins = len(_axis_starts(bins))
    return _group_errors(bins.digitize(labels) // _merged_bins(bins), num_bins, preds - labels)


def error_in_gaps(
    bins: LabelBins, train: np.ndarray, labels: np.ndarray, preds: np.ndarray
) -> Diagnostics | None:
    """Return test errors in bins without training samples, by distance to the nearest label.

    The distance from a test label to the nearest training label is divided into equal groups from
    0 to the largest distance, at most 10 and not more than there are distances. The result is
    ``None`` if every test bin has training samples.
    """
    unseen = bins.histogram(train)[bins.digitize(labels)] == 0
    if not unseen.any():
        return None
    train = np.sort(train)
    after = np.searchsorted(train, labels[unseen]).clip(1, max(len(train) - 1, 1))
    nearest = np.minimum(
        np.abs(labels[unseen] - train[after - 1]),
        np.abs(labels[unseen] - train[np.minimum(after, len(train) - 1)]),
    )
    num_groups = min(MAX_DISTANCES, len(np.unique(nearest)))
    edges = np.linspace(0, nearest.max(), num_groups + 1)
    group = (np.searchsorted(edges, nearest, side="right") - 1).clip(0, num_groups - 1)
    return {"distance": edges, **_group_errors(group, num_groups, (preds - labels)[unseen])}


def rank_bins(
    samples: DisplaySamples, labels: np.ndarray, features: np.ndarray
) -> Diagnostics | None:
    r"""Rank the label bins by similarity to a sample of each bin, in feature and in label space.

    A draw takes one sample of each of the B bins; each is the anchor once and ranks all of them,
    1 for the most similar with ties averaged, by the cosine of features and by
    :math:`-|y_a - y_b|`. Both are averaged over 100 draws, the same for all methods: ``feature``
    and ``label``, ``(B, B)`` with one row per anchor. ``agreement`` is the mean of Spearman's
    correlation of the two rankings over anchors and draws where it exists. The result is ``None``
    for one bin, or for features that are not finite.
    """
    num_bins = len(samples.edges) - 1
    if num_bins < 2 or not np.isfinite(features).all():
        return None
    generator = np.random.default_rng(0)
    members = [np.flatnonzero(samples.group == k) for k in range(num_bins)]
    draws = np.stack([generator.choice(rows, NUM_DRAWS) for rows in members], axis=1)
    chosen = torch.from_numpy(draws)
    unit = normalize_rows(torch.from_numpy(features))[0][chosen]
    values = torch.from_numpy(labels)[chosen]
    distance = (values.unsqueeze(2) - values.unsqueeze(1)).abs()
    by_feature = rank(round_to_grid(unit @ unit.transpose(1, 2)), ties="average")
    by_label = rank(round_to_grid(-distance), ties="average")
    a, b = (ranks - (num_bins + 1) / 2 for ranks in (by_feature, by_label))
    spearman = (a * b).sum(2) / ((a**2).sum(2) * (b**2).sum(2)).sqrt()
    defined = spearman[~spearman.isnan()]
    return {
        "edges": samples.edges,
        "centres": [labels[rows].mean() for rows in members],
        "anchors": [len(rows) for rows in members],
        "label": copy_to_numpy(by_label.mean(0)),
        "feature": copy_to_numpy(by_feature.mean(0)),
        "agreement": defined.mean().item() if len(defined) else None,
    }


def project_features(labels: np.ndarray, features: np.ndarray) -> dict[str, Any] | None:
    """Project features ``(P, D)`` to two dimensions by PCA and by t-SNE.

    Returns ``labels``, ``(P,)``, and the points ``pca`` and ``tsne``, ``(P, 2)``. t-SNE starts from
    PCA; ``tsne`` is ``None`` below 10 samples or if all features are equal, and the result is
    ``None`` if features are not finite.
    """
    if not np.isfinite(features).all():
        return None
    points = pca(features)
    return {"labels": labels, "pca": points, "tsne": _tsne(features, points)}


def pca(features: np.ndarray) -> NDArray[np.float64]:
    """Project features to their first two principal components, ``(P, 2)``.

    The largest entry of each direction is positive, so that signs are deterministic. The second
    coordinate is 0 if there is only one component.
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


def round_for_json(content: Any) -> Any:
    """Round nested floats to six significant digits; NaN and infinity become ``None``."""
    if isinstance(content, dict):
        return {name: round_for_json(value) for name, value in content.items()}
    if isinstance(content, np.ndarray):
        return round_for_json(content.tolist())
    if isinstance(content, list | tuple):
        return [round_for_json(value) for value in content]
    if isinstance(content, float):
        return float(f"{content:.6g}") if math.isfinite(content) else None
    return content


def _group_errors(group: np.ndarray, num_groups: int, error: np.ndarray) -> Diagnostics:
    """Return the sample count, MAE and MSE of each group; the errors of an empty group are NaN."""
    n = np.bincount(group, minlength=num_groups)
    with np.errstate(invalid="ignore"):
        mae = np.bincount(group, np.abs(error), num_groups) / n
        mse = np.bincount(group, error**2, num_groups) / n
    return {"n": n, "mae": mae, "mse": mse}


def _merged_bins(bins: LabelBins) -> int:
    """Return how many label bins are merged into one bin of the report's label axis."""
    return math.ceil(len(bins) / MAX_AXIS_BINS)


def _axis_starts(bins: LabelBins) -> NDArray[np.int64]:
    return np.arange(0, len(bins), _merged_bins(bins))
