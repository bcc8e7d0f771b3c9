#!/usr/bin/env bash
# CatBoost 1.2.10: the Tweedie and Poisson losses accept negative targets, for which they are not defined.
#
# The deviances need targets of at least 0. CatBoost trains on negative ones without an error or a warning and
# returns numbers; LightGBM 4.7.0 rejects them for both losses. Source: behavior of
# catboost.CatBoostRegressor, run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "catboost==1.2.10" "lightgbm==4.7.0" "numpy==2.4.6"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import catboost
import lightgbm
import numpy as np

draw = np.random.default_rng(0)
columns = draw.normal(size=(1_000, 3))
labels = columns[:, 0] + 0.1 * draw.normal(size=1_000)
options = {"iterations": 20, "verbose": False, "allow_writing_files": False}
for loss in ("Tweedie:variance_power=1.5", "Poisson"):
    model = catboost.CatBoostRegressor(loss_function=loss, **options).fit(columns, labels)
    preds = model.predict(columns, prediction_type="Exponent")
    print(f"catboost {catboost.__version__}, {loss}, least target {labels.min():.2f}: "
          f"no error, predictions from {preds.min():.3g} to {preds.max():.3g}")
    objective = loss.partition(":")[0].lower()
    try:
        data = lightgbm.Dataset(columns, labels)
        lightgbm.train({"objective": objective, "verbosity": -1}, data, 20)
        rejected = False
    except lightgbm.basic.LightGBMError as error:
        rejected = True
        print(f"lightgbm {lightgbm.__version__}: {error}")
    assert rejected and np.isfinite(preds).all(), "the behavior changed"
PY
