"""Small samples for estimators, and an independent computation of their validation scores."""

import numpy as np

from ranksim.models.estimators import ESTIMATORS, EstimatorData, EstimatorSettings, estimator_type

CASES = [
    (name, loss)
    for name in ESTIMATORS
    for loss in (("absolute",) if name == "median" else estimator_type(name).losses)
]
FEW_TREES = EstimatorSettings(max_iterations=8, patience=4)


def make_samples(reads="columns", count=120, seed=0, weighted=False):
    """Return positive labels and either columns with categories and missing values, or vectors."""
    draw = np.random.default_rng(seed)
    numbers, codes = draw.normal(size=(count, 3)), draw.integers(0, 4, count)
    noise = 0.1 * draw.normal(size=count)
    labels = np.exp(0.6 * numbers[:, 0] + 0.5 * (codes == 2) + noise)
    weights = draw.uniform(0.5, 3.0, count) if weighted else None
    if reads == "vectors":
        values = np.column_stack([numbers, np.eye(4)[codes]])
        return EstimatorData(values, (0,) * 7, labels, weights)
    values = np.column_stack([numbers[:, 0], codes, numbers[:, 1:]])
    values[draw.random(values.shape) < 0.05] = np.nan
    return EstimatorData(values, (0, 5, 0, 0), labels, weights)


def weighted_score(monitor, preds, labels, weights, quantile=0.5):
    """Compute a validation score sample by sample."""
    total = 0.0
    for pred, label, weight in zip(preds, labels, weights, strict=True):
        error = label - pred
        if monitor == "mse":
            total += weight * error**2
        elif monitor == "mae":
            total += weight * abs(error)
        else:
            total += weight * (quantile * error if error > 0 else (quantile - 1) * error)
    return total / sum(weights)
