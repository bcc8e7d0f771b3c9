#!/usr/bin/env bash
# torchmetrics 1.9.0: PearsonCorrCoef depends on how samples are cut into batches.
#
# The module keeps running means and variances in float32. With labels far from zero (prices, years,
# timestamps) accumulating ten batches gives another correlation than one call with all samples: 0.989
# instead of 0.995 around one million, while the functional form on all samples agrees with float64 to
# five digits. No warning is given. Source: behavior of torchmetrics.PearsonCorrCoef, run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "torchmetrics==1.9.0" "numpy==2.4.6"
"$folder/venv/bin/python" -W ignore - <<'PY'
import numpy as np
import torch
import torchmetrics
from torchmetrics.functional import pearson_corrcoef

generator = torch.Generator().manual_seed(0)
labels = torch.randn(1000, generator=generator) + 1e6
preds = labels + 0.1 * torch.randn(1000, generator=generator)
metric = torchmetrics.PearsonCorrCoef()
for start in range(0, 1000, 100):
    metric.update(preds[start : start + 100], labels[start : start + 100])
batched, whole = metric.compute().item(), pearson_corrcoef(preds, labels).item()
exact = float(np.corrcoef(preds.double(), labels.double())[0, 1])
print(f"torchmetrics {torchmetrics.__version__}, labels around 1e6:")
print(f"  ten batches {batched:.5f}, one call {whole:.5f}, float64 {exact:.5f}")
assert abs(whole - exact) < 1e-4 and abs(batched - exact) > 1e-3, "the behavior changed"
PY
