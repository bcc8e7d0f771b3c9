"""scikit-learn: grid search for the best method for rare targets.

Run it with ``python examples/sklearn_regressor.py``.
"""

from __future__ import annotations

import numpy as np
from sklearn.metrics import make_scorer, mean_absolute_error
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures

from ranksim.integrations.sklearn import RankSimRegressor

RARE = 6.0


def rare_error(y: np.ndarray, preds: np.ndarray) -> float:
    """Return the mean absolute error for targets above 6, about one sample in thirty."""
    return float(mean_absolute_error(y[y > RARE], preds[y > RARE]))


def main(samples: int = 1200, epochs: int = 20) -> None:
    """Select the method by the error of rare targets, and print all errors."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(samples, 6))
    y = np.exp(x[:, 0] + 0.3 * x[:, 1] * x[:, 2]) + draw.normal(0, 0.2, samples)
    train_x, test_x, train_y, test_y = train_test_split(x, y, random_state=0)
    model = make_pipeline(
        PolynomialFeatures(2, include_bias=False),
        RankSimRegressor(max_epochs=epochs, random_state=0),
    )
    methods = ["vanilla", "vanilla+ranksim", "sqinv+lds", "sqinv+lds+ranksim"]
    search = GridSearchCV(
        model,
        {"ranksimregressor__method": methods},
        scoring={
            "rare": make_scorer(rare_error, greater_is_better=False),
            "all": "neg_mean_absolute_error",
        },
        refit="rare",
        cv=2,
    ).fit(train_x, train_y)
    results = search.cv_results_
    for k, method in enumerate(methods):
        rare, total = -results["mean_test_rare"][k], -results["mean_test_all"][k]
        print(f"{method:18}validated: all {total:.2f}, rare {rare:.2f}")
    preds = search.predict(test_x)
    print(
        f"{search.best_params_['ranksimregressor__method']} on the test samples: all "
        f"{mean_absolute_error(test_y, preds):.2f}, rare "
        f"{rare_error(test_y, preds):.2f}"
    )


if __name__ == "__main__":
    main()
