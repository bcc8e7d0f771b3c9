"""Weights put into batches train exactly as weights written into the loop."""

import pytest
import torch
from torch.nn import functional as F

from ranksim.imbalance import DensityWeights
from ranksim.integrations.lightning import WeightsCallback
from tests.helpers.trainings import (
    BINS,
    LIGHTNING_SAYS,
    Net,
    batches,
    data,
    fitted,
    network,
    plain,
    same,
    to_dict,
)

pytestmark = LIGHTNING_SAYS


@pytest.mark.parametrize("column", [False, True])
def test_weights_callback_equals_plain_loop(column):
    weights = DensityWeights.fit(data()[1], bins=BINS)

    class Own(Net):
        def loss_of(self, batch):
            assert batch["weight"].dtype == torch.float32
            assert batch["weight"].shape == batch["y"].shape
            y, weight = batch["y"].flatten(), batch["weight"].flatten()
            return (F.l1_loss(self(batch["x"]), y, reduction="none") * weight).mean()

    def form(x, y):
        return {"x": x, "y": y.unsqueeze(1) if column else y}

    def step(net, x, y):
        weight = torch.from_numpy(weights(y)).float()
        return (F.l1_loss(net(x), y, reduction="none") * weight).mean()

    trained = fitted(WeightsCallback(weights), net=network(Own), loader=batches(form))
    assert same(trained, plain(step))


def test_weights_under_another_key_and_never_in_validation():
    weights_by_stage = {"training": [], "validation": []}

    class Own(Net):
        def training_step(self, batch, batch_idx):
            weights_by_stage["training"].append("w" in batch)
            return super().training_step(batch, batch_idx)

        def validation_step(self, batch, batch_idx):
            weights_by_stage["validation"].append("w" in batch)

    weights = DensityWeights.fit(data()[1], bins=BINS)
    fitted(
        WeightsCallback(weights, key="w", labels_fn=lambda batch: batch["y"]),
        net=network(Own), loader=batches(to_dict), val=batches(to_dict), num_sanity_val_steps=1,
    )  # fmt: skip
    assert weights_by_stage == {"training": [True] * 9, "validation": [False] * 10}
