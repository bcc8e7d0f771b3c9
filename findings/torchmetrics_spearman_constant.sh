#!/usr/bin/env bash
# torchmetrics 1.9.0: the rank correlation of constant predictions is 0, not NaN.
#
# A regressor that collapses to one value has no defined correlation with its labels: SciPy returns NaN
# for Spearman and Pearson. torchmetrics agrees for Pearson, but its Spearman returns 0.0 without a
# warning, so a collapsed model looks like an uncorrelated one, and an average over seeds or regions
# silently includes the zeros. Source: behavior of torchmetrics.functional.spearman_corrcoef, run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "torchmetrics==1.9.0" "scipy==1.17.1" "numpy==2.4.6"
"$folder/venv/bin/python" -W ignore - <<'PY'
import math

import torch
import torchmetrics
from scipy import stats
from torchmetrics.functional import pearson_corrcoef, spearman_corrcoef

preds, labels = torch.full((10,), 3.0), torch.arange(10.0)
spearman = spearman_corrcoef(preds, labels).item()
pearson = pearson_corrcoef(preds, labels).item()
reference = float(stats.spearmanr(preds, labels).statistic)
print(f"torchmetrics {torchmetrics.__version__}, constant predictions:")
print(f"  spearman_corrcoef {spearman}, pearson_corrcoef {pearson}, scipy.stats.spearmanr {reference}")
assert spearman == 0.0 and math.isnan(pearson) and math.isnan(reference), "the behavior changed"
PY
