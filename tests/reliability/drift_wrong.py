"""Trainings that are wrong on purpose: the battery must notice each of them."""

import math
from contextlib import contextmanager
from unittest import mock

import torch
from torch import nn
from torch.nn import functional as F

from ranksim.functional import distributed
from ranksim.functional.sampling import draw_unique
from ranksim.imbalance import FDS
from ranksim.losses import RankSimLoss
from ranksim.training import fit
from tests.oracles.loop import ranksim_loop


class Changed(nn.Module):
    """A loss with something done to what it is given, or to what it gives."""

    def __init__(self, loss, before=None, after=None):
        super().__init__()
        self.loss, self.before, self.after = loss, before, after

    def forward(self, prediction, target, weights):
        given = prediction, target, weights
        given = self.before(*given) if self.before else given
        value = self.loss(*given)
        return self.after(value, *given) if self.after else value


class Published(RankSimLoss):
    """RankSim that perturbs by whatever gradient arrives."""

    def forward(self, features, labels):
        kept = draw_unique(labels, generator=self.generator)
        term = ranksim_loop(features[kept].double(), labels[kept], self.gamma, self.lambda_)
        return self.weight * term


@contextmanager
def _loss(**changes):
    made = fit.make_loss
    with mock.patch.object(fit, "make_loss", lambda *given: Changed(made(*given), **changes)):
        yield


@contextmanager
def _weights(change):
    made = fit.make_weights
    with mock.patch.object(fit, "make_weights", lambda *given: change(made(*given))):
        yield


@contextmanager
def _published():
    def made(recipe, technique, seed, **settings):
        return Published(recipe.gamma, recipe.lambda_, weight=recipe.ranksim_weight)

    with mock.patch.object(fit, "make_ranksim", made):
        yield


@contextmanager
def _all_accumulated():
    """A smaller batch at the end of an epoch counts in a step as much as whole ones do."""

    def batches(samples, size):
        return math.ceil(samples / size), 0

    with mock.patch.object(fit, "divmod", batches, create=True):
        yield


@contextmanager
def _rounded_similarities():
    forward = RankSimLoss.forward

    def wrong(self, features, labels):
        return forward(self, F.normalize(features, dim=1).to(torch.bfloat16), labels)

    with mock.patch.object(RankSimLoss, "forward", wrong):
        yield


@contextmanager
def _rounded_statistics():
    calibrate = FDS._calibrate

    def wrong(self):
        self.mean.copy_(self.mean.bfloat16())
        self.var.copy_(self.var.bfloat16())
        calibrate(self)

    with mock.patch.object(FDS, "_calibrate", wrong):
        yield


@contextmanager
def _own_gradients():
    """Each process takes the gradient that its own loss has by its own rows."""

    def wrong(ctx, gradient):
        rank = torch.distributed.get_rank()
        return gradient.narrow(0, sum(ctx.counts[:rank]), ctx.counts[rank]), None, None

    with mock.patch.object(distributed._Gather, "backward", staticmethod(wrong)):
        yield


def _by_sum_of_weights(value, prediction, target, weights):
    return value * len(weights) / weights.sum()


# what is wrong: the technique, the condition, and how it is made so
WRONG = {
    "weights left out": ("inv", "float32", lambda: _weights(lambda found: None)),
    "weights of other samples": ("inv+lds", "float32", lambda: _weights(lambda w: w.roll(1))),
    "a mean by the sum of the weights": (
        "inv", "float32", lambda: _loss(after=_by_sum_of_weights),
    ),
    "a smaller last batch counts as a whole one": (
        "vanilla, MSE", "float32",
        lambda: _loss(after=lambda value, prediction, *_: value * len(prediction) / 32),
    ),
    "a smaller batch is accumulated": ("vanilla, MSE", "accumulate 4", _all_accumulated),
    "labels rounded to bfloat16": (
        "vanilla, MSE", "bf16-mixed", lambda: _loss(before=lambda p, t, w: (p, t.bfloat16(), w)),
    ),
    "RankSim perturbed by the gradient that arrives, scaled": (
        "ranksim", "16-mixed, scaler", _published,
    ),
    "RankSim perturbed by the gradient that arrives, accumulated": (
        "ranksim", "accumulate 4", _published,
    ),
    "similarities of rounded unit vectors": ("ranksim", "bf16-mixed", _rounded_similarities),
    "statistics of FDS rounded to bfloat16": ("fds", "bf16-mixed", _rounded_statistics),
    "processes do not sum the gradients of gathered rows": (
        "ranksim", "two processes, gathered anchors", _own_gradients,
    ),
}  # fmt: skip
