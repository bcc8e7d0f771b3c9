"""Callbacks side by side, and what they leave of a module and a training once they are done."""

import contextlib

import pytest
import torch
from lightning.pytorch.plugins import MixedPrecision
from torch.nn import functional as F

from ranksim.imbalance import DensityWeights
from ranksim.integrations.lightning import FDSCallback, RankSimCallback, WeightsCallback
from tests.helpers.trainings import (
    BINS,
    EPOCHS,
    LIGHTNING_SAYS,
    N,
    Net,
    batches,
    data,
    fitted,
    make_fds,
    make_ranksim,
    network,
    plain,
    plain_fds,
    same,
    to_dict,
    trainer_for,
)

pytestmark = LIGHTNING_SAYS


def test_comparison_detects_different_trainings():
    base = plain(lambda net, x, y: F.l1_loss(net(x), y))
    assert same(base, fitted())
    assert not same(base, plain(lambda net, x, y: 1.001 * F.l1_loss(net(x), y)))


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("ranksim_first", [False, True])
def test_fds_and_ranksim_in_either_order(published, ranksim_first):
    """RankSim sees features before FDS, or with ``published`` after it."""
    ours, theirs = make_fds(paper_compat=published), make_fds(paper_compat=published)
    callbacks = [FDSCallback(ours, "encoder"), RankSimCallback(make_ranksim(), "encoder")]
    trained = fitted(*callbacks[:: -1 if ranksim_first else 1])
    assert same(trained, plain_fds(theirs, make_ranksim(), smoothed=published))
    assert not same(trained, plain_fds(make_fds(), make_ranksim(), smoothed=not published))


def test_ranksim_on_another_layer_than_fds():
    callbacks = [FDSCallback(make_fds(), "encoder"), RankSimCallback(make_ranksim(), "encoder.0")]
    net, fds, ranksim = network(), make_fds(), make_ranksim()

    def refresh(epoch):
        if epoch > 0:
            fds.fit_epoch(net.encoder, batches())

    def step(net, x, y):
        first = net.encoder[0](x)
        features = net.encoder[1:](first)
        return F.l1_loss(net.head(fds(features, y)).squeeze(1), y) + ranksim(first, y)

    assert same(fitted(*callbacks), plain(step, before_epoch=refresh, net=net))


def test_validation_and_test_are_not_calibrated():
    """They see no hook and no term, and batches of any form."""

    class Other(Net):
        def validation_step(self, batch, batch_idx):
            x, _, y = batch
            self.log("val_loss", F.l1_loss(self(x), y), batch_size=len(y))

        test_step = validation_step

    val = batches(lambda x, y: (x, None, y), batch_size=N)
    x, y = data()
    fds = make_fds()
    net = network(Other)
    callbacks = [FDSCallback(fds, "encoder"), RankSimCallback(make_ranksim(), "encoder")]
    trainer = trainer_for(*callbacks, num_sanity_val_steps=1)
    trainer.fit(net, batches(), val)
    expected = float(F.l1_loss(net.eval()(x), y).detach())
    assert float(trainer.callback_metrics["val_loss"]) == expected
    (scores,) = trainer.test(net, val, verbose=False)
    assert scores["val_loss"] == expected
    assert int(fds.updates) == EPOCHS - 1


@pytest.mark.parametrize("failing", [False, True])
def test_callbacks_remove_hooks_after_fit(failing):
    class FailingError(Exception):
        pass

    class Failing(Net):
        def training_step(self, batch, batch_idx):
            if failing and batch_idx == 2:
                raise FailingError
            return super().training_step(batch, batch_idx)

    net = network(Failing)
    callbacks = [FDSCallback(make_fds(), "encoder"), RankSimCallback(make_ranksim(), "encoder")]
    with pytest.raises(FailingError) if failing else contextlib.nullcontext():
        fitted(*callbacks, net=net, val=batches())
    assert not any(part._forward_hooks for part in net.modules())
    assert "training_step" not in vars(net)


def precision_of(name):
    """Trainer's settings; on a CPU it would take bf16 in place of fp16 and its loss scaler."""
    if name != "16-mixed":
        return {"precision": name}
    return {"plugins": [MixedPrecision(name, "cpu", torch.amp.GradScaler("cpu"))]}


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "bf16-true", "64-true"])
def test_other_precisions_train(precision):
    """To a loss within a tenth of that in float32, and not to the same one."""

    def trained(fds, **settings):
        net = fitted(
            FDSCallback(fds, "encoder"),
            RankSimCallback(make_ranksim(), "encoder"),
            WeightsCallback(DensityWeights.fit(data()[1], bins=BINS)),
            loader=batches(to_dict),
            **settings,
        )
        x, y = data()
        with torch.no_grad():
            return float(F.l1_loss(net.float().eval()(x), y))

    fds = make_fds()
    other, exact = trained(fds, **precision_of(precision)), trained(make_fds())
    assert fds.mean.dtype == (torch.float64 if precision == "64-true" else torch.float32)
    assert int(fds.updates) == EPOCHS - 1
    assert other == pytest.approx(exact, rel=0.1)
    assert other != exact
