#!/usr/bin/env bash
# imbreg 0.1.3: smogn_regress fails on text columns, which pandas reads from every CSV file.
#
# A column of pandas 3's default text type ends in "could not convert string to float". One of the type
# object is turned into a category for distances alone and ends, after all neighbors are computed, in "Can
# only use .cat accessor with a 'category' dtype". Only columns converted to the type category work. Source:
# smogn_regress on 200 rows with the same column in three types.
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
label = draw.lognormal(0, 0.8, 200)
town = draw.choice(["north", "south"], 200).tolist()
messages = []
for dtype in ("str", "object", "category"):
    table = pd.DataFrame({"size": label, "town": pd.Series(town, dtype=dtype), "y": label})
    try:
        smogn_regress(table, target_col="y", seed=0)
        messages.append("no error")
    except Exception as error:
        messages.append(f"{type(error).__name__}: {error}")
    print(f"imbreg 0.1.3, pandas {pd.__version__}, {dtype}: {messages[-1]}")
assert messages[0].startswith("ValueError: could not convert string to float"), "the behavior changed"
assert messages[1].startswith("AttributeError: Can only use .cat accessor"), "the behavior changed"
assert messages[2] == "no error", "the behavior changed"
PY
