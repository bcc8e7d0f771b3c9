#!/usr/bin/env bash
# smogn 0.1.2 and ImbalancedLearningRegression 0.0.2: no resampler runs with NumPy 2.4.
#
# Both are imported without an error, and their requirements allow any NumPy, but with automatic relevance (the
# default) each function ends in "TypeError: quantile() got an unexpected keyword argument 'interpolation'": the
# keyword was deprecated in NumPy 1.22 and removed in 2.4. With NumPy 2.3 the same calls work. Source: behavior
# of the functions below on 200 log-normal labels.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "smogn==0.1.2" "ImbalancedLearningRegression==0.0.2" "numpy==2.4.6" "pandas==3.1.1"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY' 2> /dev/null
import ImbalancedLearningRegression as iblr
import numpy as np
import pandas as pd
import smogn

draw = np.random.default_rng(0)
label = draw.lognormal(0, 0.8, 200)
table = pd.DataFrame({"size": label + draw.normal(size=200), "label": label})
names = ("ro", "random_under", "smote", "gn", "adasyn", "cnn", "enn", "tomeklinks")
functions = {"smogn.smoter": smogn.smoter} | {f"iblr.{n}": getattr(iblr, n) for n in names}
messages = []
for name, function in functions.items():
    try:
        function(data=table.copy(), y="label")
        messages.append("no error")
    except Exception as error:
        messages.append(f"{type(error).__name__}: {error}")
    print(f"NumPy {np.__version__}, {name}: {messages[-1]}")
expected = "TypeError: quantile() got an unexpected keyword argument 'interpolation'"
assert messages == [expected] * len(functions), "the behavior changed"
PY
