#!/usr/bin/env bash
# imbreg 0.1.3: smogn_regress replaces missing categories of new samples by the first category.
#
# A missing value has the code -1, is shifted to 0 and clipped to the first category when codes are decoded.
# Rare rows that hold "b" or nothing give new rows with "a", a category that no rare row has, and a gap that
# a model could handle becomes a false value. Source: smogn_regress on 180 common and 20 rare rows.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "imbreg==0.1.3" "numpy==2.4.6" "pandas==3.1.1"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY' 2> /dev/null
import numpy as np
import pandas as pd
from imbreg.resampling import smogn_regress

draw = np.random.default_rng(0)
label = np.concatenate([draw.normal(0, 1, 180), draw.normal(20, 2, 20)])
town = pd.Categorical(["a"] * 90 + ["b"] * 90 + ["b", None] * 10)
table = pd.DataFrame({"size": label + draw.normal(size=200), "town": town, "y": label})
new = smogn_regress(table, target_col="y", seed=0)
before = table.loc[table["y"] > 10, "town"].value_counts(dropna=False).to_dict()
after = new.loc[new["y"] > 10, "town"].value_counts(dropna=False).to_dict()
print(f"imbreg 0.1.3, categories of rare rows: {before} became {after}")
assert before["a"] == 0 and after["a"] > 0, "the behavior changed"
PY
