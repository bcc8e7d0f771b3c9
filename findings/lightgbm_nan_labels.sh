#!/usr/bin/env bash
# LightGBM 4.7.0: lightgbm.train takes NaN labels for zeros, without a warning.
#
# Labels around 100 of which a tenth is missing give the same model as labels whose missing values are
# replaced by 0: the mean prediction is about 90. LGBMRegressor of the same package rejects such labels, so code
# that moves to the native interface loses the check. Source: behavior of lightgbm.train, run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "lightgbm==4.7.0" "scikit-learn==1.9.1" "numpy==2.4.6"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY'
import lightgbm
import numpy as np

draw = np.random.default_rng(0)
columns = draw.normal(size=(1_000, 3))
labels = 100 + columns[:, 0]
labels[::10] = np.nan
options = {"verbosity": -1, "deterministic": True, "num_threads": 1}
preds = [
    lightgbm.train(options, lightgbm.Dataset(columns, each), 50).predict(columns)
    for each in (labels, np.nan_to_num(labels))
]
print(f"lightgbm {lightgbm.__version__}: mean prediction {preds[0].mean():.1f}, "
      f"mean of the labels that exist {np.nanmean(labels):.1f}")
try:
    lightgbm.LGBMRegressor(verbosity=-1).fit(columns, labels)
    rejected = False
except ValueError as error:
    rejected = True
    print(f"LGBMRegressor: {str(error).splitlines()[0]}")
assert np.array_equal(*preds) and preds[0].mean() < 95 and rejected, "the behavior changed"
PY
