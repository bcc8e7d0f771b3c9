#!/usr/bin/env bash
# CatBoost 1.2.10: the RMSE of a Poisson or Tweedie model is computed on the logarithm of its predictions.
#
# These losses predict through a logarithm. As eval_metric, RMSE compares the raw values (logarithms) with the
# targets, so early stopping selects trees by a meaningless number: below it reports 8.7 where the error of the
# predictions is 3.9. A custom metric that takes the exponent works. Source: behavior of catboost.CatBoost, run
# below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "catboost==1.2.10" "numpy==2.4.6"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import catboost
import numpy as np

draw = np.random.default_rng(0)
columns = draw.normal(size=(1_000, 3))
labels = 5 * np.exp(columns[:, 0] + 0.3 * draw.normal(size=1_000))
train, val = catboost.Pool(columns[:800], labels[:800]), catboost.Pool(columns[800:], labels[800:])
options = {"iterations": 200, "allow_writing_files": False, "verbose": False, "use_best_model": False}
for loss in ("Poisson", "Tweedie:variance_power=1.5"):
    model = catboost.CatBoost({"loss_function": loss, "eval_metric": "RMSE", **options})
    model.fit(train, eval_set=val)
    reported = model.get_evals_result()["validation"]["RMSE"][-1]
    raw = model.predict(val, prediction_type="RawFormulaVal")
    preds = model.predict(val, prediction_type="Exponent")
    errors = [float(np.sqrt(np.mean((each - labels[800:]) ** 2))) for each in (raw, preds)]
    print(f"catboost {catboost.__version__}, {loss}: reported RMSE {reported:.3f}, of logarithms "
          f"{errors[0]:.3f}, of predictions {errors[1]:.3f}")
    assert abs(reported - errors[0]) < 1e-3 < abs(reported - errors[1]), "the behavior changed"
PY
