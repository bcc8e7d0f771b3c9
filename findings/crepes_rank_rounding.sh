#!/usr/bin/env bash
# crepes 0.9.1: with a confidence such as 0.9 the threshold of a conformal regressor has one rank more than the definition
# wherever (n + 1) · 0.9 is a whole number.
#
# Split conformal prediction takes the score of rank ceil((n + 1) · level): rank 90 of 99 calibration samples, and the
# largest of 9. The rank is counted from 1 - 0.9 in floating point, which is a little below 0.1, and the rounding then
# goes the wrong way: rank 91 of 99, and with 9 samples, for which the largest residual is valid, an infinite interval.
# A confidence of 0.75, whose complement is exact, gives the defined rank. Intervals stay valid, but are wider than need be, visibly so for the few
# samples of a rare region. Source: ConformalRegressor.fit and predict_int, run below on residuals 1, 2, 3, ...
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "crepes==0.9.1" "scikit-learn==1.9.1"
"$folder/venv/bin/python" - <<'PY'
from importlib.metadata import version
from math import ceil

import numpy as np
from crepes import ConformalRegressor

print(f"crepes {version('crepes')}: residuals 1 to n, and the defined and the actual threshold")
thresholds = {}
for count, level, exact in ((9, 0.9, 9), (99, 0.9, 90), (98, 0.9, 90), (99, 0.75, 75)):
    regressor = ConformalRegressor().fit(np.arange(1.0, count + 1))
    low, high = regressor.predict_int(np.zeros(1), confidence=level)[0]
    thresholds[count, level] = high
    assert exact == ceil((count + 1) * level - 1e-9)
    print(f"  n = {count}, confidence {level}: {exact}, {high:g}")
assert thresholds == {(9, 0.9): np.inf, (99, 0.9): 91.0, (98, 0.9): 90.0, (99, 0.75): 75.0}, "the behavior changed"
PY
