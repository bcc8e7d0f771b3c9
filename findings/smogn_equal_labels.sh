#!/usr/bin/env bash
# smogn 0.1.2, ImbalancedLearningRegression 0.0.2: two neighbors labeled 40 give a new sample labeled 60.
#
# Where both parents are equally far from the new sample, its label is computed as y1 + y2 / 2 instead of
# (y1 + y2) / 2. That happens whenever the parents have the same label, so often with integer labels such as
# ages and ratings: of labels from 10 to 41, 60 comes out, beyond every observed label. Needs NumPy below
# 2.4. Source: smoter and smote on 100 common rows with labels 10 to 19 and 10 rare rows with labels 40 and
# 41.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "smogn==0.1.2" "ImbalancedLearningRegression==0.0.2" "numpy==2.3.5" "pandas==2.3.3"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY' 2> /dev/null
import random

import ImbalancedLearningRegression as iblr
import numpy as np
import pandas as pd
import smogn

draw = np.random.default_rng(0)
label = np.concatenate([draw.integers(10, 20, 100), [40] * 9, [41]])
table = pd.DataFrame({"size": draw.normal(size=110), "age": draw.normal(size=110), "label": label})
largest = []
for name, function in (("smogn", smogn.smoter), ("ImbalancedLearningRegression", iblr.smote)):
    np.random.seed(0)
    random.seed(0)
    labels = function(data=table.copy(), y="label")["label"]
    counts = labels[labels >= 30].round(6).value_counts().sort_index().to_dict()
    print(f"{name}: labels from {label.min()} to {label.max()} became, above 30, {counts}")
    largest.append(labels.max())
assert largest == [60.0, 60.0], "the behavior changed"
PY
