"""FDS as a callback trains exactly as it does written out in plain PyTorch."""

import lightning.pytorch as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.nn import functional as F

from ranksim.integrations.lightning import FDSCallback
from tests.helpers.trainings import (
    EPOCHS,
    LIGHTNING_SAYS,
    STEPS,
    WIDTH,
    Manual,
    Net,
    batches,
    fitted,
    make_fds,
    network,
    plain_fds,
    same,
    trainer_for,
)

pytestmark = LIGHTNING_SAYS


@pytest.mark.parametrize("published", [False, True])
def test_fds_callback_equals_plain_loop(published):
    ours, theirs = make_fds(paper_compat=published), make_fds(paper_compat=published)
    trained = fitted(FDSCallback(ours, "encoder"), val=batches(), num_sanity_val_steps=1)
    assert same(trained, plain_fds(theirs))
    assert same(ours, theirs)
    assert int(ours.updates) == EPOCHS - 1
    assert not same(trained, fitted())


def test_the_pass_for_statistics_is_in_evaluation_mode_and_draws_nothing():
    modes = []

    class Watching(Net):
        def forward(self, x):
            modes.append((self.training, self.encoder[1].training, torch.is_grad_enabled()))
            return super().forward(x)

    fds = make_fds(clip=(1.0, 1.0))
    fitted(FDSCallback(fds, "encoder"), net=network(Watching), max_epochs=2)
    training, statistics = [(True, True, True)] * STEPS, [(False, False, False)] * STEPS
    assert modes == training + statistics + training


def test_statistics_where_the_module_has_no_forward_or_wants_keywords():
    class Without(Net):
        forward = L.LightningModule.forward

        def training_step(self, batch, batch_idx):
            x, y = batch
            return F.l1_loss(self.head(self.encoder(x)).squeeze(1), y)

    class Keywords(Net):
        def forward(self, *, x, scale):
            return super().forward(x * scale)

        def training_step(self, batch, batch_idx):
            return F.l1_loss(self(x=batch[0], scale=1), batch[1])

    class Two(Net):
        def forward(self, x, scale):
            return super().forward(x * scale)

        def training_step(self, batch, batch_idx):
            return F.l1_loss(self(batch[0], 1), batch[1])

    plainly = plain_fds(make_fds())
    assert same(plainly, fitted(FDSCallback(make_fds(), "encoder"), net=network(Without)))
    for kind, inputs in (
        (Keywords, lambda batch: {"x": batch[0], "scale": 1}),
        (Two, lambda batch: (batch[0], 1)),
    ):
        callback = FDSCallback(make_fds(), "encoder", inputs_fn=inputs)
        assert same(plainly, fitted(callback, net=network(kind)))


def test_statistics_of_several_loaders_and_of_part_of_one():
    class Both(Net):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch["a"], batch_idx)

    callback = FDSCallback(
        make_fds(), "encoder",
        labels_fn=lambda batch: batch["a"][1], inputs_fn=lambda batch: batch["a"][0],
    )  # fmt: skip
    trained = fitted(callback, net=network(Both), loader={"a": batches(), "b": batches()})
    assert same(trained, plain_fds(make_fds()))
    fds, expected = make_fds(), make_fds()
    net = fitted(FDSCallback(fds, "encoder"), limit_train_batches=2, max_epochs=1)
    fds = make_fds()
    torch.manual_seed(1)
    trainer = trainer_for(
        FDSCallback(fds, "encoder"), SetRate(0.0), limit_train_batches=2, max_epochs=2
    )
    trainer.fit(net, batches())
    assert int(fds.updates) == 1
    with torch.no_grad():
        for x, y in list(batches())[:2]:
            expected.accumulate(net.eval().encoder(x), y)
    expected.update()
    assert torch.equal(fds.observed, expected.observed)


class SetRate(Callback):
    def __init__(self, rate):
        self.rate = rate

    def on_train_start(self, trainer, pl_module):
        trainer.optimizers[0].param_groups[0]["lr"] = self.rate


def test_features_with_positions_of_one():
    class Pooled(Net):
        def __init__(self):
            super().__init__()
            self.pool = nn.Unflatten(1, (WIDTH, 1, 1))

        def forward(self, x):
            return self.head(self.pool(self.encoder(x)).flatten(1)).squeeze(1)

    trained = fitted(FDSCallback(make_fds(), "pool"), net=network(Pooled))
    assert same(trained, plain_fds(make_fds()))


def test_fds_under_manual_optimisation():
    trained = fitted(FDSCallback(make_fds(), "encoder"), net=network(Manual))
    for ours, theirs in zip(trained.parameters(), plain_fds(make_fds()).parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
