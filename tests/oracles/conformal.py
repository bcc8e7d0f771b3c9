"""Conformal intervals from their definitions, with exact fractions and label by label."""

import math
from fractions import Fraction


def split_threshold(scores, level):
    """Return the ⌈(n + 1) ℓ⌉-th smallest score, or infinity; the level is a fraction."""
    k = math.ceil((len(scores) + 1) * level)
    return sorted(scores)[k - 1] if k <= len(scores) else math.inf


def region_threshold(scores, regions, region, level, shrinkage, weights=None, test_weight=1):
    """Return the smallest score at which the mixture of both distributions reaches the level."""
    weights = [1] * len(scores) if weights is None else weights
    weights = [Fraction(w) for w in weights]
    inside = [w for w, name in zip(weights, regions, strict=True) if name == region]
    share = Fraction(0)
    if any(inside) and shrinkage != math.inf:
        count = sum(inside) ** 2 / sum(w * w for w in inside)
        share = count / (count + Fraction(shrinkage))

    def reached(threshold):
        rows = list(zip(scores, regions, weights, strict=True))
        below = sum(w for s, _, w in rows if s <= threshold)
        near = sum(w for s, name, w in rows if s <= threshold and name == region)
        total = (1 - share) * below / (sum(weights) + Fraction(test_weight))
        if share:
            total += share * near / (sum(inside) + Fraction(test_weight))
        return total

    return next((s for s in sorted(scores) if reached(s) >= level), math.inf)


def contains(label, band, threshold):
    """Return whether a label is in the set of labels whose score is at most the threshold."""
    lower, upper, unit = band
    return max(lower - label, label - upper) <= threshold * unit


def interval_score(lower, upper, label, level):
    """Return the interval score of one interval."""
    penalty = 2 / (1 - level)
    score = upper - lower
    if label < lower:
        score += penalty * (lower - label)
    if label > upper:
        score += penalty * (label - upper)
    return score
