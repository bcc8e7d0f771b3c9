"""scikit-learn: which method is best for rare targets, by a search over a pipeline.

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


def error_of_the_rare(y: np.ndarray, prediction: np.ndarray) -> float:
    """Mean absolute error where the target is above 6, as one sample in thirty is."""
    return mean_absolute_error(y[y > RARE], prediction[y > RARE])


def main(samples: int = 1200, epochs: int = 20) -> None:
    """Search on the error of rare targets, and print it beside that of all."""
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
            "rare": make_scorer(error_of_the_rare, greater_is_better=False),
            "all": "neg_mean_absolute_error",
        },
        refit="rare",
        cv=2,
    ).fit(train_x, train_y)
    found = search.cv_results_
    for k, method in enumerate(methods):
        rare, each = -found["mean_test_rare"][k], -found["mean_test_all"][k]
        print(f"{method:18}validated: all {each:.2f}, rare {rare:.2f}")
    prediction = search.predict(test_x)
    print(
        f"{search.best_params_['ranksimregressor__method']} on the test samples: all "
        f"{mean_absolute_error(test_y, prediction):.2f}, rare "
        f"{error_of_the_rare(test_y, prediction):.2f}"
    )


if __name__ == "__main__":
    main()
