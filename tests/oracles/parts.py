"""Losses on predictions published since RankSim, in loops of plain float64 numbers.

Each takes lists of predictions and labels and optional weights, and returns a number. Gradients are
central differences of these values.
"""

import math

import numpy as np


def shares(count, weights):
    """Weights divided by their sum, or equal shares."""
    if weights is None:
        return [1 / count] * count
    total = math.fsum(weights)
    return [w / total for w in weights] if total else [0.0] * count


def mean(values, share):
    return math.fsum(s * v for s, v in zip(share, values, strict=True))


def covariance(a, b, share):
    mean_a, mean_b = mean(a, share), mean(b, share)
    products = [(x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)]
    return mean(products, share)


def ccc(preds, target, weights=None):
    """1 − 2 cov / (var p + var y + (mean p − mean y)²)."""
    share = shares(len(preds), weights)
    gap = mean(preds, share) - mean(target, share)
    total = covariance(preds, preds, share) + covariance(target, target, share) + gap**2
    if total == 0:
        return 0.0
    return 1 - 2 * covariance(preds, target, share) / total


def gar(preds, target, weights=None, base="l1", join="softmax", alpha=0.1, label_std=1.0):
    """Errors, all pairs of differences, and the correlation, joined."""
    preds = [p / label_std for p in preds]
    target = [y / label_std for y in target]
    count, share = len(preds), shares(len(preds), weights)
    factors = [1.0] * count if weights is None else weights
    errors = [p - y for p, y in zip(preds, target, strict=True)]
    sizes = [abs(e) if base == "l1" else e * e for e in errors]
    first = math.fsum(w * e for w, e in zip(factors, sizes, strict=True)) / count
    second = math.fsum(
        share[i] * share[j] * ((preds[i] - preds[j]) - (target[i] - target[j])) ** 2
        for i in range(count)
        for j in range(count)
    )
    variances = covariance(preds, preds, share) * covariance(target, target, share)
    constant = len(set(preds)) == 1 or len(set(target)) == 1 or variances <= 0
    correlation = 0.0 if constant else covariance(preds, target, share) / math.sqrt(variances)
    parts = [first, second, 1 - correlation]
    if join == "sum":
        return math.fsum(parts)
    largest = max(parts)
    total = math.fsum(math.exp((part - largest) / alpha) for part in parts)
    return largest + alpha * math.log(total / 3)


def replace_base(names):
    """Return whether a part replaces the base loss."""
    return bool({"gar"} & set(names))


def in_training(name, recipe, labels, target, weights):
    """Return the loss of a part as a function of the predictions of a batch.

    ``labels`` are all training labels, ``target`` those of the batch, divided by the label scale.
    """
    target, std = target.tolist(), float(np.std(labels))
    if name == "ccc":
        return lambda preds: recipe.ccc_weight * ccc(preds, target, weights)
    settings = {"base": recipe.gar_base, "join": recipe.gar_join, "alpha": recipe.gar_alpha}
    return lambda preds: gar(preds, target, weights, **settings, label_std=std)


def gradient(value, preds, step=1e-6):
    """Central differences of a function of the predictions ``(N,)``."""
    preds, slopes = list(map(float, preds)), []
    for i, pred in enumerate(preds):
        shifted = [value([*preds[:i], pred + sign * step, *preds[i + 1 :]]) for sign in (1, -1)]
        slopes.append((shifted[0] - shifted[1]) / (2 * step))
    return np.array(slopes)
