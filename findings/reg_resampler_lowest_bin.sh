#!/usr/bin/env bash
# reg-resampler 2.1.1: a lowest bin with few samples is merged with the highest one.
#
# A bin with fewer than min_n_samples samples is merged with the bin below. For the lowest bin this is the
# bin at position -1, the highest: labels 0 to 2 and 70 to 99 become one class, the middle another, and a
# resampler then takes the rarest, low labels for the most frequent ones. Over-sampling adds middle rows
# alone and none near the three rare ones. Source: fit and resample with SMOTE of imbalanced-learn 0.14.2.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "reg-resampler==2.1.1" "imbalanced-learn==0.14.2" "numpy==2.4.6" "pandas==3.1.1"
cd "$folder"
"$folder/venv/bin/python" -W ignore - <<'PY' 2> /dev/null
import numpy as np
import pandas as pd
from imblearn.over_sampling import SMOTE
from reg_resampler import resampler

draw = np.random.default_rng(0)
label = np.concatenate([[0.0, 1.0, 2.0], draw.uniform(40, 60, 40), draw.uniform(70, 99, 60), [99.0]])
table = pd.DataFrame({"size": label + draw.normal(size=len(label)), "label": label})
model = resampler()
classes = model.fit(table, target="label", bins=3, min_n_samples=6, verbose=0).tolist()
_, labels = model.resample(SMOTE(random_state=0), table[["size", "label"]], classes)
new = labels[len(label) :]
print(f"reg-resampler 2.1.1: classes of the labels 0, 1, 2: {classes[:3]}, of 99: {classes[-1]}")
print(f"{len(new)} new labels from {new.min():.1f} to {new.max():.1f}")
assert set(classes[:3]) == {classes[-1]} and len(set(classes)) == 2, "the behavior changed"
assert len(new) > 0 and new.min() > 39 and new.max() < 61, "the behavior changed"
PY
