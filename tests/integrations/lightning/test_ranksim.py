"""RankSim as a callback trains exactly as it does written out in plain PyTorch."""

import pytest
import torch
from torch.nn import functional as F

from ranksim.integrations.lightning import RankSimCallback
from tests.helpers.trainings import (
    LIGHTNING_SAYS,
    Net,
    as_tuple,
    batches,
    fitted,
    make_ranksim,
    network,
    plain,
    same,
    to_dict,
    trainer_for,
)

pytestmark = LIGHTNING_SAYS


@pytest.mark.parametrize("form", [as_tuple, to_dict])
def test_ranksim_callback_equals_plain_loop(form):
    callback = RankSimCallback(make_ranksim(), "encoder")
    ranksim = make_ranksim()

    def step(net, x, y):
        features = net.encoder(x)
        return F.l1_loss(net.head(features).squeeze(1), y) + ranksim(features, y)

    assert same(fitted(callback, loader=batches(form)), plain(step))


def test_two_ranksim_terms():
    callbacks = [RankSimCallback(make_ranksim(), name) for name in ("encoder.0", "encoder")]
    first, second = make_ranksim(), make_ranksim()

    def step(net, x, y):
        early = net.encoder[0](x)
        late = net.encoder[1:](early)
        return F.l1_loss(net.head(late).squeeze(1), y) + first(early, y) + second(late, y)

    net = fitted(*callbacks)
    assert same(net, plain(step))
    assert "training_step" not in vars(net)


@pytest.mark.filterwarnings("ignore:.*returned `None`")
def test_the_term_is_logged_and_reaches_a_loss_in_a_dict():
    class InDict(Net):
        def training_step(self, batch, batch_idx):
            return {"loss": super().training_step(batch, batch_idx), "extra": 1}

    class Skipping(Net):
        def training_step(self, batch, batch_idx):
            loss = super().training_step(batch, batch_idx)
            return None if batch_idx == 1 else loss

    plainly = fitted(RankSimCallback(make_ranksim(), "encoder"))
    trainer = trainer_for(RankSimCallback(make_ranksim(), "encoder"))
    net = network(InDict)
    torch.manual_seed(1)
    trainer.fit(net, batches())
    assert same(net, plainly)
    assert trainer.callback_metrics["train_ranksim"] > 0
    fitted(RankSimCallback(make_ranksim(), "encoder"), net=network(Skipping))


def test_restores_training_step_of_instance():
    net = network()
    custom_step = net.training_step = lambda batch, batch_idx: 2 * net.loss_of(batch)
    fitted(RankSimCallback(make_ranksim(), "encoder"), net=net)
    assert net.training_step is custom_step
