#!/usr/bin/env bash
# XGBoost 3.2.0 and LightGBM 4.7.0: the Huber losses depend on the unit of the label, down to a constant.
#
# reg:pseudohubererror (huber_slope 1) and objective huber (alpha 0.9) are in the unit of the label. With labels
# a thousand times as large, second derivatives of XGBoost's loss vanish and no split is allowed: one constant
# is predicted, where the same labels in the larger unit are learned. LightGBM's steps are at most 0.9 per tree:
# its predictions span 0.1 % of those in the other unit. No warning is given. Source: behavior of xgboost.train
# (package xgboost-cpu) and lightgbm.train, run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "xgboost-cpu==3.2.0" "lightgbm==4.7.0" "numpy==2.4.6"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import lightgbm
import numpy as np
import xgboost

draw = np.random.default_rng(0)
columns = draw.normal(size=(1_000, 3))
labels = columns[:, 0] + 0.1 * draw.normal(size=1_000)
spans = {}
for unit in (1, 1000):
    data = xgboost.DMatrix(columns, unit * labels)
    preds = xgboost.train({"objective": "reg:pseudohubererror"}, data, 50).predict(data) / unit
    spans["xgboost", unit] = float(np.ptp(preds))
    options = {"objective": "huber", "verbosity": -1}
    model = lightgbm.train(options, lightgbm.Dataset(columns, unit * labels), 50)
    spans["lightgbm", unit] = float(np.ptp(model.predict(columns)) / unit)
versions = {"xgboost": xgboost.__version__, "lightgbm": lightgbm.__version__}
for (name, unit), span in spans.items():
    print(f"{name} {versions[name]}, labels times {unit}: predictions span {span:.4f} of the unit, "
          f"labels {np.ptp(labels):.4f}")
assert spans["xgboost", 1000] == 0 and spans["lightgbm", 1000] < 0.02, "the behavior changed"
assert min(spans["xgboost", 1], spans["lightgbm", 1]) > 3, "the behavior changed"
PY
