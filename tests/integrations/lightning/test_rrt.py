"""The second stage of RRT as a callback trains exactly as one written out in plain PyTorch."""

import pytest
import torch
from lightning.pytorch.callbacks import Callback
from torch import nn
from torch.nn import functional as F

from ranksim.integrations.lightning import FDSCallback, RetrainHeadCallback
from tests.helpers.trainings import (
    LIGHTNING_SAYS,
    Net,
    batches,
    fitted,
    make_fds,
    network,
    plain,
    same,
    trainer_for,
)

pytestmark = LIGHTNING_SAYS


@pytest.fixture
def stage_one(tmp_path):
    net = fitted()
    torch.save(net.state_dict(), tmp_path / "best.pt")
    return net, tmp_path / "best.pt"


@pytest.mark.parametrize("published", [False, True])
def test_rrt_callback_equals_plain_loop(stage_one, published):
    first, path = stage_one

    class Restless(Net):
        def on_train_epoch_start(self):
            self.train()  # as other callbacks and older versions of Lightning do

    second = network()
    second.encoder.load_state_dict(first.encoder.state_dict())
    torch.manual_seed(5)
    second.head.reset_parameters()
    second.encoder.requires_grad_(False).train(published)
    second = plain(lambda net, x, y: F.l1_loss(net(x), y), net=second)

    trained = network(Restless, seed=9)
    torch.manual_seed(5)
    trainer = trainer_for(
        RetrainHeadCallback("encoder", "head", path, paper_compat=published), SeedAfterSetup()
    )
    trainer.fit(trained, batches(), batches())
    assert same(trained, second)
    assert torch.equal(trained.encoder[0].weight, first.encoder[0].weight)
    moved = not torch.equal(trained.encoder[1].running_mean, first.encoder[1].running_mean)
    assert moved == published
    assert not torch.equal(trained.head.weight, first.head.weight)


class SeedAfterSetup(Callback):
    def on_fit_start(self, trainer, pl_module):
        torch.manual_seed(1)


def test_rrt_head_inside_encoder(tmp_path):
    class Nested(Net):
        def __init__(self):
            super().__init__()
            self.model = nn.Sequential()
            self.model.add_module("body", self.encoder)
            self.model.add_module("fc", self.head)
            del self.encoder, self.head

        def forward(self, x):
            return self.model(x).squeeze(1)

    trainer = trainer_for()
    first = network(Nested)
    trainer.fit(first, batches())
    trainer.save_checkpoint(tmp_path / "best.ckpt", weights_only=True)
    second = fitted(
        RetrainHeadCallback("model", "model.fc", tmp_path / "best.ckpt"), net=network(Nested, 5)
    )
    assert same(first.model.body, second.model.body)
    assert second.model.fc.weight.requires_grad
    assert not torch.equal(first.model.fc.weight, second.model.fc.weight)


def test_fds_without_update_of_statistics(stage_one):
    fds = make_fds()
    fds.fit_epoch(stage_one[0].encoder, batches())
    before = {name: value.clone() for name, value in fds.state_dict().items()}
    fitted(
        FDSCallback(fds, "encoder", update_statistics=False),
        RetrainHeadCallback("encoder", "head", stage_one[1]),
    )
    assert all(torch.equal(value, before[name]) for name, value in fds.state_dict().items())
