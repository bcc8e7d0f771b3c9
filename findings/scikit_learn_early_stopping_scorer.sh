#!/usr/bin/env bash
# scikit-learn 1.9.1: early stopping of HistGradientBoosting by a scorer also scores training rows, at each tree.
#
# To stop by the error in the label's unit, one passes a scorer instead of the default scoring="loss" and gives the
# validation rows as X_val and y_val. Each iteration then also predicts and scores up to 10,000 training rows, for a
# curve that does not decide when to stop, each time with all trees so far: the cost of the fit is that of predicting
# ten thousand rows at every tree, although the validation set is a few hundred rows.
# Source: behavior of sklearn.ensemble.HistGradientBoostingRegressor.fit, run below with a scorer that counts rows.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "scikit-learn==1.9.1" "numpy==2.4.6"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
from collections import Counter

import numpy as np
import sklearn
from sklearn.ensemble import HistGradientBoostingRegressor

draw = np.random.default_rng(0)
x, x_val = draw.normal(size=(4000, 5)), draw.normal(size=(200, 5))
y, y_val = x[:, 0] + draw.normal(size=4000), x_val[:, 0] + draw.normal(size=200)
calls = Counter()


def scorer(model, features, labels):
    calls[len(labels)] += 1
    return -np.abs(model.predict(features) - labels).mean()


model = HistGradientBoostingRegressor(
    max_iter=60, early_stopping=True, n_iter_no_change=60, scoring=scorer, random_state=0
)
model.fit(x, y, X_val=x_val, y_val=y_val)
print(f"scikit-learn {sklearn.__version__}: rows scored and how often: {dict(calls)}")
assert calls[200] > 60 and max(calls) == 4000 and calls[4000] > 60, "the behavior changed"
PY
