#!/usr/bin/env bash
# scikit-learn 1.9.1: weights of one are not "no weights" for absolute and quantile losses of boosted trees.
#
# HistGradientBoostingRegressor computes the median (or quantile) of a leaf by another definition as soon as
# sample_weight is given: on 300 samples the predictions of two models that differ in nothing but
# sample_weight=None or all ones differ by up to 0.4 of a label's standard deviation; for the squared error
# they are equal. A comparison of "plain" with "weighted" therefore differs before any weighting, unless the
# plain model gets weights of one too. Source: behavior of HistGradientBoostingRegressor, run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "scikit-learn==1.9.1" "numpy==2.4.6"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import sklearn
from sklearn.ensemble import HistGradientBoostingRegressor

draw = np.random.default_rng(0)
columns = draw.normal(size=(300, 3))
labels = columns[:, 0] + draw.normal(size=300)
labels /= labels.std()
differences = {}
for loss, options in {
    "squared_error": {},
    "absolute_error": {},
    "quantile": {"quantile": 0.7},
}.items():
    preds = [
        HistGradientBoostingRegressor(loss=loss, max_iter=50, early_stopping=False, **options)
        .fit(columns, labels, sample_weight=weights)
        .predict(columns)
        for weights in (None, np.ones(300))
    ]
    differences[loss] = np.abs(preds[0] - preds[1]).max()
    print(f"scikit-learn {sklearn.__version__}, {loss}: None and ones differ by {differences[loss]:.3f}")
assert differences["squared_error"] == 0, "the behavior changed"
assert min(differences["absolute_error"], differences["quantile"]) > 0.1, "the behavior changed"
PY
