"""What a run leaves for pictures: errors along the labels, inside gaps, rankings, curves."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ranksim.datasets.base import Benchmark
from ranksim.evaluation.projection import embed
from ranksim.functional.ranking import rank
from ranksim.functional.similarity import normalize_rows, round_to_grid
from ranksim.imbalance import LabelBins
from ranksim.metrics import SHOT_NAMES
from ranksim.training.display_samples import DisplaySamples, select_display_samples

Insight = dict[str, Any]
AXIS = 200  # most bins of the axis
DISTANCES, DRAWS = 10, 100


def label_axis(benchmark: Benchmark[Any], shots: str) -> Insight:
    """The label axis of a benchmark: what trains and what is tested in each bin.

    More than 200 bins are merged in equal groups; the region of a group is the one that most of
    its training samples have, and where there are none most of its bins.

    Args:
        benchmark: any.
        shots: regions by the ``"rule"`` or by the ``"published"`` list.
    """
    bins, regions = benchmark.bins, benchmark.regions(shots)
    starts = _starts(bins)
    # a sample counts more than all bins without any
    weight = regions.counts + 1 / (len(bins) + 1)
    names = np.array(regions.names)
    own = [np.add.reduceat(weight * (names == shot), starts) for shot in SHOT_NAMES]
    by_rule = shots != "published" or benchmark.shot_lists is None
    axis: Insight = rounded(
        {
            "name": benchmark.quantity,
            "unit": benchmark.unit,
            "edges": np.append(bins.edges[starts], bins.edges[-1]),
            "train": np.add.reduceat(regions.counts, starts),
            "test": np.add.reduceat(bins.histogram(benchmark.test.labels), starts),
            "regions": [SHOT_NAMES[k] for k in np.argmax(own, axis=0)],
            "many": benchmark.many if by_rule else None,
            "few": benchmark.few if by_rule else None,
            "named": {name: [own.low, own.high] for name, own in benchmark.named.items()},
            "dropped": benchmark.facts.get("dropped", []),
        }
    )
    return axis


def insight(
    benchmark: Benchmark[Any], prediction: np.ndarray, features: np.ndarray
) -> dict[str, Insight | None]:
    """What the test predictions and features of a run show.

    Args:
        benchmark: what it was trained on.
        prediction: of all test samples, in their order, ``(N,)``.
        features: of those that :func:`select_display_samples` chooses, ``(P, D)``.
    """
    labels = benchmark.test.labels
    shown = select_display_samples(benchmark.bins, labels)
    found: dict[str, Insight | None] = rounded(
        {
            "error_by_bin": by_bin(benchmark.bins, labels, prediction),
            "gaps": gaps(benchmark.bins, benchmark.train.labels, labels, prediction),
            "ranks": rankings(shown, labels[shown.rows], features),
            "projection": embed(labels[shown.rows], features),
        }
    )
    return found


def by_bin(bins: LabelBins, labels: np.ndarray, prediction: np.ndarray) -> Insight:
    """Test errors in each bin of :func:`label_axis`; labels and predictions ``(N,)``."""
    starts = _starts(bins)
    return _errors(bins.digitize(labels) // _width(bins), len(starts), prediction - labels)


def gaps(
    bins: LabelBins, train: np.ndarray, labels: np.ndarray, prediction: np.ndarray
) -> Insight | None:
    """Errors of test samples in label bins without a training sample, by the distance.

    The distance is that of the label to the nearest training label, in equal groups from 0 to the
    largest, at most 10 and no more than there are distances.

    Args:
        bins: those of the label axis.
        train: training labels, ``(M,)``.
        labels: of the test set, ``(N,)``.
        prediction: of the test set, ``(N,)``.

    Returns:
        Edges, counts and errors; ``None`` where every test sample's bin was seen in training.
    """
    unseen = bins.histogram(train)[bins.digitize(labels)] == 0
    if not unseen.any():
        return None
    seen = np.sort(train)
    after = np.searchsorted(seen, labels[unseen]).clip(1, max(len(seen) - 1, 1))
    nearest = np.minimum(
        np.abs(labels[unseen] - seen[after - 1]),
        np.abs(labels[unseen] - seen[np.minimum(after, len(seen) - 1)]),
    )
    count = min(DISTANCES, len(np.unique(nearest)))
    edges = np.linspace(0, nearest.max(), count + 1)
    group = (np.searchsorted(edges, nearest, side="right") - 1).clip(0, count - 1)
    error = (prediction - labels)[unseen]
    return {"distance": edges, **_errors(group, count, error)}


def rankings(shown: DisplaySamples, labels: np.ndarray, features: np.ndarray) -> Insight | None:
    r"""How an anchor of each bin ranks all bins, by features and by labels.

    A draw takes one sample of each of the B bins; each is the anchor once and ranks all of them,
    1 for the most similar and ties on average, by the cosine of features and by
    :math:`-|y_a - y_b|`. Both are averaged over 100 draws, the same for all methods.

    Args:
        shown: the samples.
        labels: theirs, ``(P,)``.
        features: theirs, ``(P, D)``.

    Returns:
        ``feature`` and ``label``, ``(B, B)`` with a row an anchor, and ``agreement``, the mean of
        Spearman's correlation of the two rankings over anchors and draws where it exists; ``None``
        for one bin, or for features that are not finite.
    """
    count = len(shown.edges) - 1
    if count < 2 or not np.isfinite(features).all():
        return None
    draw = np.random.default_rng(0)
    own = [np.flatnonzero(shown.group == k) for k in range(count)]
    chosen = torch.from_numpy(np.stack([draw.choice(rows, DRAWS) for rows in own], axis=1))
    unit, values = (
        normalize_rows(torch.from_numpy(features))[0][chosen],
        torch.from_numpy(labels)[chosen],
    )
    far = (values.unsqueeze(2) - values.unsqueeze(1)).abs()
    by_feature = rank(round_to_grid(unit @ unit.transpose(1, 2)), ties="average")
    by_label = rank(round_to_grid(-far), ties="average")
    one, two = (ranks - (count + 1) / 2 for ranks in (by_feature, by_label))
    spearman = (one * two).sum(2) / ((one**2).sum(2) * (two**2).sum(2)).sqrt()
    known = spearman[~spearman.isnan()]
    return {
        "edges": shown.edges,
        "centres": [labels[rows].mean() for rows in own],
        "anchors": [len(rows) for rows in own],
        "label": by_label.mean(0).numpy(),
        "feature": by_feature.mean(0).numpy(),
        "agreement": known.mean().item() if len(known) else None,
    }


def rounded(content: Any) -> Any:
    """Numbers of nested tables, lists and arrays with six digits that count; NaN is ``None``.

    Example:
        >>> rounded({"mae": np.array([1 / 3, np.nan]), "n": 1_234_567})
        {'mae': [0.333333, None], 'n': 1234567}
    """
    if isinstance(content, dict):
        return {name: rounded(value) for name, value in content.items()}
    if isinstance(content, np.ndarray):
        return rounded(content.tolist())
    if isinstance(content, list | tuple):
        return [rounded(value) for value in content]
    if isinstance(content, float):
        return float(f"{content:.6g}") if math.isfinite(content) else None
    return content


def _errors(group: np.ndarray, count: int, error: np.ndarray) -> Insight:
    """Samples, MAE and MSE of each group; NaN without any."""
    n = np.bincount(group, minlength=count)
    with np.errstate(invalid="ignore"):
        mae = np.bincount(group, np.abs(error), count) / n
        mse = np.bincount(group, error**2, count) / n
    return {"n": n, "mae": mae, "mse": mse}


def _width(bins: LabelBins) -> int:
    """How many bins are merged into one of the axis."""
    return math.ceil(len(bins) / AXIS)


def _starts(bins: LabelBins) -> NDArray[np.int64]:
    return np.arange(0, len(bins), _width(bins))
