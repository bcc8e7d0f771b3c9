#!/usr/bin/env bash
# XGBoost 3.2.0: weights that sum to one make it predict one constant, without a warning.
#
# min_child_weight (1 by default) is a sum of second derivatives, which are the weights for the squared error.
# Weights normalized to a sum of one leave no split that is allowed: all predictions are equal. With the same
# weights normalized to a mean of one, the model learns. Source: behavior of xgboost.train (package
# xgboost-cpu), run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "xgboost-cpu==3.2.0" "numpy==2.4.6"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import xgboost

draw = np.random.default_rng(0)
columns = draw.normal(size=(1_000, 3))
labels = columns[:, 0] + 0.1 * draw.normal(size=1_000)
weights = draw.uniform(0.5, 2, 1_000)
spreads = {}
for name, scaled in {"sum": weights / weights.sum(), "mean": weights / weights.mean()}.items():
    data = xgboost.DMatrix(columns, labels, weight=scaled)
    preds = xgboost.train({"objective": "reg:squarederror"}, data, 50).predict(data)
    spreads[name] = float(np.ptp(preds))
    print(f"xgboost {xgboost.__version__}, weights with a {name} of one: "
          f"predictions span {spreads[name]:.3f}, labels {np.ptp(labels):.3f}")
assert spreads["sum"] == 0 and spreads["mean"] > 3, "the behavior changed"
PY
