"""A warning says why a gradient reaches no parameter, and there is none if it does."""

import re
import warnings

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ranksim.integrations.lightning import FDSCallback, RankSimCallback
from tests.helpers.trainings import (
    LIGHTNING_SAYS,
    Net,
    batches,
    make_fds,
    make_ranksim,
    network,
    trainer_for,
)

pytestmark = LIGHTNING_SAYS
REENTRANT = "re-entrant activation checkpoint.*use_reentrant=False"
NO_GRAD = r"torch\.no_grad\(\); enable gradients"
FROZEN = "parameters are frozen; unfreeze"
DETACHED = r"detached from all parameters, or those before it are frozen; remove detach\(\)"


class Plain(Net):
    """A net without random layers, whose feature is computed by ``encode``."""

    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8))
        self.pool = nn.Identity()

    def forward(self, x):
        return self.head(self.encode(x)).squeeze(1)

    def encode(self, x):
        return self.pool(self.encoder(x))

    def configure_optimizers(self):
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], 0.01)


class Reentrant(Plain):
    def encode(self, x):
        return self.pool(checkpoint(self.encoder, x.requires_grad_(), use_reentrant=True))


class ReentrantPool(Plain):
    def encode(self, x):
        return checkpoint(super().encode, x.requires_grad_(), use_reentrant=True)


class NotReentrant(Plain):
    def encode(self, x):
        return self.pool(checkpoint(self.encoder, x.requires_grad_(), use_reentrant=False))


class NoGrad(Plain):
    def encode(self, x):
        with torch.no_grad():
            return self.pool(self.encoder(x))


class DetachedBefore(Plain):
    def encode(self, x):
        return self.pool(self.encoder(x).detach())


class DetachedAfter(Plain):
    def encode(self, x):
        return self.pool(self.encoder(x)).detach()


class Frozen(Plain):
    def __init__(self):
        super().__init__()
        self.encoder.requires_grad_(False)


class FrozenWithInputs(Frozen):
    def encode(self, x):
        return super().encode(x.requires_grad_())


class PartlyFrozen(Plain):
    def __init__(self):
        super().__init__()
        self.encoder[2].requires_grad_(False)


def train(kind, *callbacks, steps=1):
    """Train some steps; return the parameters and the warnings about gradients."""
    module = network(kind)
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        trainer_for(*callbacks, max_steps=steps, max_epochs=-1).fit(module, batches())
    messages = [str(record.message) for record in records]
    return module, [text for text in messages if "reaches" in text]


def have_moved(one, two):
    """Whether the parameters of two modules differ."""
    pairs = zip(one.parameters(), two.parameters(), strict=True)
    return any(not torch.equal(*pair) for pair in pairs)


def ranksim(layer):
    return RankSimCallback(make_ranksim(), layer)


@pytest.mark.parametrize(
    ("kind", "layer", "reason"),
    [
        (Plain, "encoder", None),
        (Plain, "encoder.0", None),
        (NotReentrant, "encoder", None),
        (NotReentrant, "encoder.0", None),
        (Reentrant, "pool", None),  # behind the checkpoint
        (Reentrant, "encoder", None),  # its output is that of the checkpoint
        (ReentrantPool, "pool", None),
        (DetachedAfter, "encoder", None),
        (PartlyFrozen, "encoder", None),
        (Reentrant, "encoder.0", REENTRANT),
        (ReentrantPool, "encoder.0", REENTRANT),
        (NoGrad, "encoder", NO_GRAD),
        (Frozen, "encoder", FROZEN),
        (FrozenWithInputs, "encoder", FROZEN),
        (Frozen, "pool", DETACHED),
        (DetachedBefore, "pool", DETACHED),
    ],
)
def test_ranksim(kind, layer, reason):
    module, messages = train(kind, ranksim(layer), steps=4)
    without, none = train(kind, steps=4)
    assert have_moved(module, without) == (reason is None)
    assert none == []
    assert len(messages) == (reason is not None)  # once
    if reason is not None:
        assert messages[0].startswith(f"RankSim has no effect: its gradient at layer {layer!r} ")
        assert re.search(reason, messages[0])


@pytest.mark.parametrize(
    ("kind", "layer", "reason"),
    [
        (Plain, "encoder", None),
        (NotReentrant, "encoder", None),
        (Reentrant, "encoder", None),  # calibrated again, with a graph, in the backward pass
        (Reentrant, "pool", None),
        (ReentrantPool, "pool", None),
        (PartlyFrozen, "encoder", None),
        (NoGrad, "encoder", NO_GRAD),
        (Frozen, "encoder", FROZEN),
        (FrozenWithInputs, "encoder", FROZEN),
        (DetachedBefore, "pool", DETACHED),
        (DetachedAfter, "encoder", r"loss does not depend on it; remove detach\(\) after"),
    ],
)
def test_fds(kind, layer, reason):
    module, messages = train(kind, FDSCallback(make_fds(), layer), steps=2)
    assert have_moved(module.encoder, network(kind).encoder) == (reason is None)
    assert len(messages) == (reason is not None)
    if reason is not None:
        assert messages[0].startswith("FDS does not train the encoder: no gradient of the ")
        assert re.search(reason, messages[0])


def test_fds_without_updates_may_have_a_frozen_encoder():
    fds = FDSCallback(make_fds(), "encoder", update_statistics=False)
    assert train(Frozen, fds)[1] == []


def test_each_fit_is_checked():
    callback = ranksim("encoder")
    for _ in range(2):
        assert len(train(Frozen, callback)[1]) == 1
    assert train(Plain, callback)[1] == []


class HeadOnly(Plain):
    """The encoder has gradients, but no optimizer trains it."""

    def configure_optimizers(self):
        return torch.optim.SGD(self.head.parameters(), 0.01)


class PartlyTrained(Plain):
    def configure_optimizers(self):
        return torch.optim.SGD([*self.head.parameters(), *self.encoder[0].parameters()], 0.01)


@pytest.mark.parametrize(
    ("kind", "layer", "warns"),
    [(HeadOnly, "encoder", True), (HeadOnly, "encoder.0", True), (PartlyTrained, "encoder", False)],
)
@pytest.mark.parametrize("name", ["RankSim", "FDS"])
def test_parameters_must_be_trained(name, kind, layer, warns):
    callback = ranksim(layer) if name == "RankSim" else FDSCallback(make_fds(), layer)
    module, messages = train(kind, callback, steps=4)
    assert have_moved(module.encoder, network(kind).encoder) != warns
    assert len(messages) == warns
    if warns:
        assert "no optimizer trains the parameters before it" in messages[0]


@pytest.mark.parametrize(("layer", "warns"), [("head", True), ("encoder", False)])
def test_one_number_for_each_sample_has_no_gradient(layer, warns):
    module = network(Plain)
    with warnings.catch_warnings(record=True) as records:
        warnings.simplefilter("always")
        trainer_for(ranksim(layer), max_steps=4, max_epochs=-1).fit(module, batches())
    texts = [str(each.message) for each in records if "no effect" in str(each.message)]
    assert len(texts) == warns
    assert all("one number for each sample" in text for text in texts)
    assert have_moved(module, train(Plain, steps=4)[0]) != warns
