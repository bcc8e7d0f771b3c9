#!/usr/bin/env bash
# torchmetrics 1.9.0: MetricCollection gives a metric the samples of another one if its list is still empty.
#
# A collection merges metrics whose states are equal after the first batch, and then updates only one of them.
# Lists of states are compared with zip, which stops at the shorter list, so an empty list equals every list.
# A metric that stores only some samples (of one class, of a range of labels) is merged with one that stores
# all of them if the first batch contains none of its samples. Its result is then that of the other metric: the
# mean of the labels above 10 is 5 instead of 11, without a warning. compute_groups=False gives 11. Source:
# MetricCollection._equal_metric_states in torchmetrics/collections.py, and its behavior, run below.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q "torch==2.13.0" "torchmetrics==1.9.0" "numpy==2.4.6"
"$folder/venv/bin/python" -W ignore - <<'PY'
import torch
import torchmetrics
from torchmetrics import Metric, MetricCollection


class MeanAbove(Metric):
    """The mean of the labels above a threshold."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold
        self.add_state("labels", default=[], dist_reduce_fx="cat")

    def update(self, labels):
        labels = labels[labels > self.threshold]
        if len(labels):
            self.labels.append(labels)

    def compute(self):
        return torch.cat(self.labels).mean()


batches = torch.tensor([1.0, 2.0, 3.0]), torch.tensor([4.0, 9.0, 11.0]), torch.tensor([5.0])
means = {}
for compute_groups in (True, False):
    metrics = MetricCollection(
        {"all": MeanAbove(0), "high": MeanAbove(10)}, compute_groups=compute_groups
    )
    for labels in batches:
        metrics.update(labels)
    means[compute_groups] = {name: value.item() for name, value in metrics.compute().items()}
    print(f"torchmetrics {torchmetrics.__version__}, compute_groups={compute_groups}: {means[compute_groups]}")
assert means == {True: {"all": 5.0, "high": 5.0}, False: {"all": 5.0, "high": 11.0}}, "the behavior changed"
PY
