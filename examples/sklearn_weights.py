"""scikit-learn: density weights for any estimator.

Run it with ``python examples/sklearn_weights.py``.
"""

from __future__ import annotations

import numpy as np
import sklearn
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.linear_model import Ridge
from sklearn.metrics import mean_absolute_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ranksim.integrations.sklearn import DensitySampleWeight


def main(samples: int = 4000) -> None:
    """Fit trees and a linear model with and without weights, and print their errors."""
    draw = np.random.default_rng(0)
    y = draw.exponential(1.0, samples)
    x = np.c_[y + draw.normal(0, 1, samples), draw.normal(size=samples)]
    train, test = slice(0, samples // 2), slice(samples // 2, samples)
    weight = DensitySampleWeight(bins=20, scheme="sqrt_inverse").fit_transform(y[train])

    trees = HistGradientBoostingRegressor(max_iter=50, random_state=0)
    line = make_pipeline(StandardScaler(), Ridge())
    for name, model, weights in (
        ("trees", trees, {}),
        ("trees, weighted", trees, {"sample_weight": weight}),
        ("line", line, {}),
        ("line, weighted", line, {"ridge__sample_weight": weight}),
    ):
        model.fit(x[train], y[train], **weights)
        report(name, y[test], model.predict(x[test]))

    # the same with metadata routing: each step requests the weights or not
    with sklearn.config_context(enable_metadata_routing=True):
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        routed = make_pipeline(scaler, Ridge().set_fit_request(sample_weight=True))
        routed.fit(x[train], y[train], sample_weight=weight)
        report("line, routed", y[test], routed.predict(x[test]))


def report(name: str, y: np.ndarray, preds: np.ndarray) -> None:
    """Print the mean absolute errors of all samples and of those above 3."""
    rare = y > 3
    error = mean_absolute_error(y, preds), mean_absolute_error(y[rare], preds[rare])
    print(f"{name:18}all {error[0]:.2f}, rare {error[1]:.2f}")


if __name__ == "__main__":
    main()
