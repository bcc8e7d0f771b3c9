#!/usr/bin/env bash
# resreg 0.2: smoter gives the label 0 to a sample between two equal rows.
#
# The label is (d2 * y1 + d1 * y2) / (d1 + d2 + 1e-10), which is 0 if both distances are 0. Equal rows with
# labels 100 to 103 (as in any table with repeated measurements or few features) give new samples labeled 0,
# far from every rare label and here below every label of the table. No warning is given. Runs with NumPy
# 2.4. Source: smoter on 20 common rows and 4 equal rare rows.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "resreg==0.2" "numpy==2.4.6" "pandas==3.1.1"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY' 2> /dev/null
import numpy as np
import resreg

features = np.concatenate([np.arange(20.0), np.full(4, 50.0)])[:, None]
labels = np.concatenate([np.arange(10.0, 30.0), [100.0, 101.0, 102.0, 103.0]])
relevance = (labels > 50).astype(float)
new_features, new_labels = resreg.smoter(features, labels, relevance, k=3, random_state=0)
rare = sorted(new_labels[new_features[:, 0] == 50].tolist())
print(f"resreg 0.2, labels of the rows at 50, originally 100 to 103: {rare}")
assert rare == [0.0] * 8 + [100.0, 101.0, 102.0, 103.0], "the behavior changed"
PY
