"""The callbacks with dense targets train as a plain loop does."""

import lightning.pytorch as L
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader

from ranksim import FDS, LabelBins, RankSimLoss
from ranksim.integrations.lightning import FDSCallback, RankSimCallback
from tests.helpers.dense import make_dense_batch
from tests.helpers.trainings import trainer_for


class PixelRegressor(L.LightningModule):
    """A user's module that predicts one value per pixel."""

    def __init__(self):
        super().__init__()
        self.encoder, self.head = nn.Conv2d(2, 6, 3, padding=1), nn.Conv2d(6, 1, 1)

    def forward(self, x):
        return self.head(self.encoder(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        labeled = ~y.isnan()
        return F.l1_loss(self(x)[labeled], y[labeled])

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01)


def make_batches():
    return [make_dense_batch((2, 2, 4, 4), seed=seed, dtype=torch.float32) for seed in range(3)]


def make_parts():
    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    loss = RankSimLoss(weight=0.1, num_positions=9, generator=draw)
    return PixelRegressor(), FDS(6, LabelBins.integers(0, 9)), loss


@pytest.mark.filterwarnings("ignore:.*LeafSpec:FutureWarning")
@pytest.mark.filterwarnings("ignore::lightning.fabric.utilities.warnings.PossibleUserWarning")
def test_callbacks_train_as_a_plain_loop():
    module, fds, ranksim = make_parts()
    callbacks = [FDSCallback(fds, "encoder"), RankSimCallback(ranksim, "encoder")]
    trainer_for(*callbacks, max_epochs=2).fit(module, DataLoader(make_batches(), batch_size=None))
    plain, fds, ranksim = make_parts()
    optimizer = plain.configure_optimizers()
    for epoch in range(2):
        if epoch:
            fds.fit_epoch(plain.encoder, make_batches())
        for x, y in make_batches():
            features, labeled = plain.encoder(x), ~y.isnan()
            prediction = plain.head(fds(features, y))
            loss = F.l1_loss(prediction[labeled], y[labeled]) + ranksim(features, y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for parameter, expected in zip(module.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(parameter, expected)
