#!/usr/bin/env bash
# smogn 0.1.2, ImbalancedLearningRegression 0.0.2: a shuffled data frame over-samples its common rows.
#
# Rare rows are remembered by their index label and then looked up with iloc, by position. Both agree for
# the index 0 ... n - 1 alone. After sample(frac=1), train_test_split or a filter they do not, no error is
# raised, and arbitrary rows are over-sampled: the share of rare labels rises from 14 to 44 and 27 per cent
# on the ordered frame, but to 21 and 13 per cent on the same rows in another order. Needs NumPy below 2.4.
# Source: smoter and ro on 200 log-normal labels, rare above 2.5.
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
label = draw.lognormal(0, 0.8, 200)
ordered = pd.DataFrame({"size": label + draw.normal(size=200), "label": label})
shuffled = ordered.sample(frac=1, random_state=1)
rare = (label > 2.5).mean()
functions = {"smogn.smoter": smogn.smoter, "ImbalancedLearningRegression.ro": iblr.ro}
for name, function in functions.items():
    shares = []
    for table in (ordered, shuffled, shuffled.reset_index(drop=True)):
        np.random.seed(0)
        random.seed(0)
        shares.append((function(data=table.copy(), y="label")["label"] > 2.5).mean())
    print(
        f"{name}: rare labels {rare:.0%}, resampled {shares[0]:.0%}, shuffled and resampled "
        f"{shares[1]:.0%}, with a new index {shares[2]:.0%}"
    )
    assert min(shares[0], shares[2]) > 1.7 * rare, "the behavior changed"
    assert shares[1] < 0.7 * min(shares[0], shares[2]), "the behavior changed"
PY
