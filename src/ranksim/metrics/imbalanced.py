"""Scores for imbalanced labels: balanced errors, concordance, SERA, detection of rare labels."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.checks import describe_value
from ranksim.imbalance.bins import LabelBins, LabelRange, check_bins, label_vector

Floats = NDArray[np.float64]
_TINY = 1e-100


def balanced_errors(
    preds: ArrayLike, target: ArrayLike, bins: LabelBins
) -> dict[str, float | None]:
    r"""Return the mean over label bins of the mean absolute and the mean squared error of each.

    .. math::
        \frac 1B \sum_b \frac{1}{n_b} \sum_{i \in b} |\hat y_i - y_i|

    Each of the B bins with samples counts the same, however many it has.

    Args:
        preds: predictions ``(N,)``.
        target: labels ``(N,)``.
        bins: of the labels; those outside belong to the first or last one.

    Returns:
        ``mae``, ``mse`` and ``bins``, the number B; None without samples.

    Raises:
        TypeError: the values are not real numbers, or ``bins`` has another type.
        ValueError: shapes differ, or a value is not finite.

    Example:
        >>> ages = LabelBins.uniform(0, 100, 10)
        >>> balanced_errors([22, 24, 25, 60], [21, 23, 24, 80], ages)
        {'mae': 10.5, 'mse': 200.5, 'bins': 2}

    References:
        Baccianella, Esuli, Sebastiani, "Evaluation Measures for Ordinal Regression" (ISDA 2009).
    """
    check_bins(bins)
    preds, target = _check_pair(preds, target)
    index = bins.digitize(target)
    counts = np.bincount(index, minlength=len(bins))
    used = counts > 0
    errors = np.abs(preds - target)
    scores: dict[str, float | None] = {}
    for name, values in (("mae", errors), ("mse", errors**2)):
        sums = np.bincount(index, weights=values, minlength=len(bins))
        scores[name] = float((sums[used] / counts[used]).mean()) if len(target) else None
    return {**scores, "bins": int(used.sum())}


def concordance(preds: ArrayLike, target: ArrayLike) -> float | None:
    r"""Return the concordance correlation of predictions and labels ``(N,)``, from −1 to 1.

    .. math::
        \frac{2 \operatorname{cov}(p, y)}
        {\operatorname{var} p + \operatorname{var} y + (\bar p - \bar y)^2}

    It is 1 where all predictions equal their labels, and None without samples.

    Raises:
        TypeError: the values are not real numbers.
        ValueError: shapes differ, or a value is not finite.

    Example:
        >>> round(concordance([1.0, 2.0, 4.0], [1, 3, 5]), 4)
        0.8571

    References:
        Lin, "A Concordance Correlation Coefficient to Evaluate Reproducibility" (Biometrics 1989).
    """
    preds, target = _check_pair(preds, target)
    if len(target) == 0:
        return None
    preds, target = _rescale(preds, target)
    p, y = preds - preds[0], target - target[0]
    p, y = p - p.mean(), y - y.mean()
    total = float(p @ p + y @ y) / len(p) + float((preds - target).mean()) ** 2
    return 2 * float(p @ y) / len(p) / total if total else 1.0


def sera(
    preds: ArrayLike, target: ArrayLike, relevance: Callable[[Floats], Floats]
) -> float | None:
    r"""Return SERA, the squared error-relevance area: the sum of φ(y)(ŷ − y)².

    .. math::
        \int_0^1 \mathrm{SER}_t \, dt, \qquad
        \mathrm{SER}_t = \sum_{\varphi(y_i) \ge t} (\hat y_i - y_i)^2

    Args:
        preds: predictions ``(N,)``.
        target: labels ``(N,)``.
        relevance: φ of labels, such as ``PchipRelevance.from_fences(training_labels)``.

    Returns:
        The area; None without samples.

    Raises:
        TypeError: the values are not real numbers.
        ValueError: shapes differ, or a value is not finite.

    Example:
        >>> sera([30, 42, 50], [31, 40, 60], lambda ages: np.array([0.0, 0.5, 1.0]))
        102.0

    References:
        Ribeiro, Moniz, "Imbalanced regression and extreme value prediction" (Machine Learning
        2020).
    """
    preds, target = _check_pair(preds, target)
    if len(target) == 0:
        return None
    return float(_evaluate(relevance, target) @ (preds - target) ** 2)


def imbalanced_scores(
    preds: ArrayLike,
    target: ArrayLike,
    bins: LabelBins,
    relevance: Callable[[Floats], Floats] | None = None,
) -> dict[str, float | None]:
    """Return the scores of all samples in which rare labels count more than in plain means.

    Args:
        preds: predictions ``(N,)``.
        target: labels ``(N,)``.
        bins: of the labels, for the balanced errors.
        relevance: φ of labels, as of :func:`sera`.

    Returns:
        ``balanced_mae`` and ``balanced_mse`` of :func:`balanced_errors`, ``ccc`` of
        :func:`concordance`, and with a ``relevance`` ``sera``, the area per sample. None without
        samples.

    Raises:
        TypeError: the values are not real numbers, or ``bins`` has another type.
        ValueError: shapes differ, or a value is not finite.

    Example:
        >>> ages = LabelBins.uniform(0, 100, 10)
        >>> imbalanced_scores([22, 24, 25, 60], [21, 23, 24, 80], ages)["balanced_mae"]
        10.5
    """
    errors = balanced_errors(preds, target, bins)
    scores = {f"balanced_{name}": errors[name] for name in ("mae", "mse")}
    scores["ccc"] = concordance(preds, target)
    if relevance is not None:
        area = sera(preds, target, relevance)
        scores["sera"] = None if area is None else area / np.size(target)
    return scores


def sera_curve(
    preds: ArrayLike, target: ArrayLike, relevance: Callable[[Floats], Floats]
) -> tuple[Floats, Floats]:
    """Return thresholds t and SER_t, the squared error of labels of relevance at least t.

    The thresholds ``(K,)`` are 0, every relevance of a label, and 1, ascending. SER_t is constant
    from above one threshold up to the next one, so that the area under these steps is
    :func:`sera`, whose arguments and errors it has.

    Example:
        >>> t, ser = sera_curve([30, 42, 50], [31, 40, 60], lambda y: np.array([0.0, 0.5, 1.0]))
        >>> t.tolist(), ser.tolist()
        ([0.0, 0.5, 1.0], [105.0, 104.0, 100.0])
    """
    preds, target = _check_pair(preds, target)
    phi, squared = _evaluate(relevance, target), (preds - target) ** 2
    thresholds = np.unique(np.concatenate([[0.0, 1.0], phi]))
    place = np.searchsorted(thresholds, phi)
    sums = np.bincount(place, weights=squared, minlength=len(thresholds))
    return thresholds, np.cumsum(sums[::-1])[::-1].astype(np.float64)


def detection_scores(
    preds: ArrayLike,
    target: ArrayLike,
    rare: LabelRange,
    top: Sequence[float] | NDArray[Any] = (1, 5, 10),
) -> dict[str, float | None]:
    """Return how well predictions find the samples whose label lies in a range.

    A sample is found if its prediction lies in the range. For the rest, samples are ranked by how
    far the prediction is within the range, or else near it.

    Args:
        preds: predictions ``(N,)``.
        target: labels ``(N,)``.
        rare: the range, such as that of ``parse_ranges(">250")``.
        top: percentages of the samples, above 0 and at most 100.

    Returns:
        ``rare``, the number of such labels; ``precision`` and ``recall`` of the samples found;
        ``pr_auc``, the average precision of the ranking; ``enrichment_K`` for the top K percent:
        the share of rare labels among them over that of all samples. Equal predictions share their
        places. None where nothing is found, or no label is rare.

    Raises:
        TypeError: the values are not real numbers.
        ValueError: shapes differ, a value is not finite, or a percentage is out of range.

    Example:
        >>> high = LabelRange(250, None, strict=True)
        >>> scores = detection_scores([100, 260, 240, 300], [90, 255, 280, 120], high, top=(50,))
        >>> scores["precision"], scores["recall"], scores["enrichment_50"]
        (0.5, 0.5, 1.0)
    """
    preds, target = _check_pair(preds, target)
    if not isinstance(rare, LabelRange):
        raise TypeError(
            f"rare must be a LabelRange, got {describe_value(rare)}: pass parse_ranges('>250')[0]"
        )
    if not _are_percentages(top):
        raise ValueError(
            f"top must be percentages above 0 and at most 100, got {describe_value(top)}"
        )
    is_rare, predicted = rare.contains(target), rare.contains(preds)
    hits, count = int((is_rare & predicted).sum()), int(is_rare.sum())
    scores: dict[str, float | None] = {
        "rare": count,
        "precision": hits / int(predicted.sum()) if predicted.any() else None,
        "recall": hits / count if count else None,
    }
    order = _rank_depths(preds, rare)
    scores["pr_auc"] = _average_precision(order, is_rare) if count else None
    for percentage in top:
        share = _share_of_top(order, is_rare, percentage / 100) if count else None
        ratio = None if share is None else share * len(target) / count
        scores[f"enrichment_{percentage:g}"] = ratio
    return scores


def _are_percentages(top: object) -> bool:
    """Return whether a list, tuple or array ``(K,)`` has numbers above 0 and at most 100."""
    is_vector = isinstance(top, list | tuple) or (isinstance(top, np.ndarray) and top.ndim == 1)
    return is_vector and all(
        isinstance(each, numbers.Real) and not isinstance(each, bool) and 0 < float(each) <= 100
        for each in top  # type: ignore[attr-defined]
    )


def _rank_depths(preds: Floats, rare: LabelRange) -> Floats:
    """Return how deep predictions lie in a range, negative outside it."""
    depths = [preds - rare.low] if rare.low is not None else []
    depths += [rare.high - preds] if rare.high is not None else []
    nearest: Floats = np.min(depths, axis=0)
    return nearest


def _average_precision(scores: Floats, is_rare: NDArray[np.bool_]) -> float:
    """Return the mean precision at each recall, where equal scores count as one threshold."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(is_rare[order])
    last = np.append(np.diff(scores[order]) != 0, True)  # of a group of equal scores
    precision = hits[last] / (np.flatnonzero(last) + 1)
    recall = hits[last] / hits[-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def _share_of_top(scores: Floats, is_rare: NDArray[np.bool_], share: float) -> float:
    """Return the share of rare samples among the best ones, of equal scores in expectation."""
    places = max(1, math.ceil(share * len(scores) - 1e-9))
    limit = np.sort(scores)[-places]
    above, tied = scores > limit, scores == limit
    rest = (places - int(above.sum())) * float(is_rare[tied].mean())
    return (int(is_rare[above].sum()) + rest) / places


def _rescale(preds: Floats, target: Floats) -> tuple[Floats, Floats]:
    """Divide both by the largest value if their squares would overflow or underflow."""
    largest = float(max(np.abs(preds).max(), np.abs(target).max()))
    if largest == 0 or _TINY < largest < 1 / _TINY:
        return preds, target
    return preds / largest, target / largest


def _evaluate(relevance: Callable[[Floats], Floats], target: Floats) -> Floats:
    """Return the relevance of labels; raise an error unless it is from 0 to 1."""
    if not callable(relevance):
        raise TypeError(
            f"relevance must be a function of labels, got {describe_value(relevance)}: pass "
            "PchipRelevance.from_fences(training_labels)"
        )
    phi = np.asarray(relevance(target), np.float64)
    if phi.shape != target.shape or not ((phi >= 0) & (phi <= 1)).all():
        raise ValueError(
            f"relevance must return a number from 0 to 1 per label, got {describe_value(phi)}"
        )
    return phi


def _check_pair(preds: ArrayLike, target: ArrayLike) -> tuple[Floats, Floats]:
    """Return predictions and labels as float64 ``(N,)``; raise an error unless they match."""
    first = label_vector(preds, allow_empty=True, name="preds")
    second = label_vector(target, allow_empty=True, name="target")
    if first.shape != second.shape:
        raise ValueError(
            f"preds and target must both have shape (N,), got {first.shape} and {second.shape}"
        )
    return first, second
