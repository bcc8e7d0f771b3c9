"""RegionMetrics in Lightning, in a MetricCollection and in the Trainer of Hugging Face."""

import math

import lightning.pytorch as L
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanAbsoluteError, MetricCollection

from ranksim.imbalance import LabelBins
from ranksim.imbalance.bins import LabelRange
from ranksim.metrics import RegionMetrics, ShotRegions, regression_scores
from tests.helpers.trainings import LIGHTNING_SAYS, trainer_for

BINS = LabelBins.integers(0, 5)
REGIONS = ShotRegions.from_counts(BINS, np.repeat([0, 1, 2, 3, 4], [200, 50, 5, 1, 1]))
LOW = ShotRegions.from_counts(BINS, [0], named={"low": LabelRange(None, 2)})
Y = torch.arange(60.0) % 5  # none in the last bin, which alone has no training sample


def defined_scores(preds, target, regions=REGIONS):
    """Compute the defined scores of each region that has samples."""
    scores = {}
    for name, mask in regions.masks(target).items():
        values = regression_scores(preds[mask], target[mask])
        scores |= {f"{name}_{k}": v for k, v in values.items() if values["n"] and v is not None}
    return scores


class Scored(L.LightningModule):
    def __init__(self, metrics):
        super().__init__()
        self.layer, self.metrics = nn.Linear(1, 1), metrics
        nn.init.constant_(self.layer.weight, 0.5)
        nn.init.zeros_(self.layer.bias)

    def validation_step(self, batch, batch_idx):
        self.metrics.update(self.layer(batch[0]).squeeze(1), batch[1])

    def on_validation_epoch_end(self):
        self.log_dict(self.metrics.compute())
        self.metrics.reset()


def validate(metrics):
    loader = DataLoader(TensorDataset(Y[:, None], Y), batch_size=16)
    (logged,) = trainer_for().validate(Scored(metrics), loader, verbose=False)
    return logged


class TestLogDict:
    pytestmark = LIGHTNING_SAYS

    def test_region_without_samples_is_left_out(self):
        logged = validate(RegionMetrics(REGIONS, flat="omit"))
        assert logged == pytest.approx(defined_scores(Y / 2, Y), rel=1e-6)
        assert not [name for name in logged if name.startswith("zero_")]

    def test_undefined_scores_are_nan(self):
        logged = validate(RegionMetrics(REGIONS, flat="nan"))
        assert math.isnan(logged["zero_mae"])
        assert logged["zero_n"] == 0
        defined = {name: v for name, v in logged.items() if name[:5] != "zero_" and v == v}
        assert defined == pytest.approx(defined_scores(Y / 2, Y), rel=1e-6)

    def test_collection(self):
        metrics = MetricCollection(
            {"mae": MeanAbsoluteError(), "regions": RegionMetrics(REGIONS, flat="omit")},
            prefix="val_",
        )
        scores = {f"val_{name}": value for name, value in defined_scores(Y / 2, Y).items()}
        scores["val_mae"] = (Y / 2).mean().item()
        assert validate(metrics) == pytest.approx(scores, rel=1e-6)


@pytest.mark.parametrize("compute_groups", [True, False])
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
def test_collection_of_several_regions(compute_groups):
    """Metrics with equal states share them, and equal names get the key of the metric."""
    metrics = {"shots": RegionMetrics(REGIONS, flat="omit"), "low": RegionMetrics(LOW, flat="omit")}
    collection = MetricCollection(metrics, compute_groups=compute_groups)
    for _ in range(2):  # also after reset
        for rows in torch.arange(60).split(16):
            collection.update(Y[rows] / 2, Y[rows])
        expected = {f"shots_{k}": v for k, v in defined_scores(Y / 2, Y).items()}
        expected |= {f"low_{k}": v for k, v in defined_scores(Y / 2, Y, LOW).items()}
        assert collection.compute() == pytest.approx(expected)
        collection.reset()


def test_forward_returns_the_scores_of_the_batch():
    metrics = MetricCollection({"regions": RegionMetrics(REGIONS, flat="omit")})
    first, second = Y[:30], Y[30:] + 0.2
    for part in (first, second):
        assert metrics(part / 2, part) == pytest.approx(defined_scores(part / 2, part))
    both = torch.cat([first, second])
    assert metrics.compute() == pytest.approx(defined_scores(both / 2, both))


@pytest.mark.slow
@pytest.mark.parametrize("flat", ["omit", "nan"])
def test_trainer(tmp_path, flat):
    transformers = pytest.importorskip("transformers")

    class Halves(nn.Module):
        """Predicts half of the input, (N, 1), as a head with one label does."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.tensor([[0.5]]))

        def forward(self, x, labels=None):
            logits = x @ self.weight
            return {"loss": (logits.squeeze(1) - labels).square().mean(), "logits": logits}

    def compute_metrics(result):
        metrics = RegionMetrics(REGIONS, flat=flat)
        metrics.update(result.predictions, result.label_ids)
        return metrics.compute()

    rows = [{"x": [y], "labels": y} for y in Y.tolist()]
    settings = transformers.TrainingArguments(
        tmp_path, per_device_eval_batch_size=16, report_to="none", use_cpu=True, disable_tqdm=True
    )
    trainer = transformers.Trainer(
        Halves(), settings, eval_dataset=rows, compute_metrics=compute_metrics
    )
    scores = trainer.evaluate()
    for name, value in defined_scores(Y / 2, Y).items():
        assert scores[f"eval_{name}"] == pytest.approx(value, rel=1e-6)
    if flat == "omit":
        assert "eval_zero_mae" not in scores
    else:
        assert math.isnan(scores["eval_zero_mae"])
