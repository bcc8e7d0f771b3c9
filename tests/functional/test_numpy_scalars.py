"""NumPy scalars, as searches pass them, equal Python numbers in losses, LDS, FDS and options."""

import io
import json

import numpy as np
import pytest
import torch

from ranksim import functional
from ranksim.data.spec import SeriesSpec, TableSpec
from ranksim.imbalance import FDS, LDS, DensityWeights, LabelBins, kernel_window
from ranksim.losses import FocalRLoss, HuberLoss, RankSimLoss
from ranksim.training.limits import TrainingLimits

Z = torch.randn(12, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
Y = torch.arange(12) % 5
PREDS, BINS = Z.sum(1), LabelBins.integers(0, 5)
TYPES = (np.float16, np.float32, np.float64, np.int8, np.int64, np.uint8)
CALLS = {
    "gamma": lambda v: functional.ranksim_loss(Z, Y, gamma=v, unique_labels=False),
    "lambda_": lambda v: functional.ranksim_loss(Z, Y, lambda_=v, unique_labels=False),
    "weight": lambda v: functional.ranksim_loss(Z, Y, weight=v, unique_labels=False),
    "module": lambda v: RankSimLoss(v, v, weight=v, unique_labels=False)(Z, Y),
    "label_width": lambda v: functional.draw_unique(Y, v, generator=generator()).double(),
    "delta": lambda v: functional.huber_loss(PREDS, Y, delta=v),
    "beta": lambda v: functional.focal_r_loss(PREDS, Y, beta=v, gamma=v),
    "modules": lambda v: HuberLoss(v)(PREDS, Y) + FocalRLoss(beta=v, gamma=v)(PREDS, Y),
    "sigma": lambda v: torch.from_numpy(kernel_window("laplace", 5, v)),
    "lds": lambda v: torch.from_numpy(LDS("gaussian", 5, v).window),
    "width": lambda v: torch.from_numpy(LabelBins.from_width(Y, v).edges.copy()),
    "bandwidth": lambda v: torch.from_numpy(DensityWeights.fit(Y, bandwidth=v)(Y)),
}  # fmt: skip


def generator():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", CALLS)
def test_scalars_equal_numbers(name, kind):
    result, expected = CALLS[name](kind(2)), CALLS[name](2)
    assert torch.equal(result, expected)
    assert result.dtype == expected.dtype


@pytest.mark.parametrize("kind", [np.int8, np.int64, np.uint16])
def test_whole_numbers(kind):
    features, labels = torch.rand(2, 3, 5), torch.rand(2, 1, 5)
    drawn = functional.sample_positions(features, labels, kind(4), generator=generator())
    assert len(drawn[0]) == 4
    assert len(LabelBins.uniform(kind(0), kind(9), kind(3))) == 3
    assert len(LabelBins.integers(kind(0), kind(2))) == 3
    fds = FDS(kind(3), BINS, kernel_size=kind(3), momentum=np.float32(0.5))
    assert fds.mean.shape == (6, 3)
    criterion = RankSimLoss(memory_size=kind(8), num_positions=None)
    criterion(Z, Y)
    buffer = io.BytesIO()
    torch.save(criterion.state_dict(), buffer)
    buffer.seek(0)
    RankSimLoss(memory_size=8).load_state_dict(torch.load(buffer, weights_only=True))
    settings = [getattr(criterion, name) for name in ("gamma", "lambda_", "weight")]
    assert all(type(value) in (int, float) for value in settings)


def test_options_can_be_recorded():
    spec = TableSpec(target="y", bin_width=np.float32(0.5), many=np.int64(9), balanced=np.False_)
    options = spec.to_dict()["options"]
    expected = {"target": "y", "bin_width": 0.5, "many": 9, "balanced": False}
    assert json.loads(json.dumps(options)) == expected
    assert spec == TableSpec(**expected)
    series = SeriesSpec(target="y", window=np.int64(4), horizon=np.uint8(2))
    assert json.loads(json.dumps(series.to_dict()))["options"]["window"] == 4
    assert json.dumps(vars(TrainingLimits(np.int64(3), np.int32(2))))
