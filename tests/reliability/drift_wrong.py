"""Deliberately wrong trainings, each of which the comparison with the oracle must detect."""

import math
from unittest import mock

import torch
from torch import nn
from torch.nn import functional as F

from ranksim.functional import distributed
from ranksim.functional.sampling import draw_unique
from ranksim.imbalance import FDS
from ranksim.losses import RankSimLoss
from ranksim.training import factory, schedule
from tests.oracles.loop import ranksim_loop


class WrappedLoss(nn.Module):
    """A loss whose arguments or value are changed."""

    def __init__(self, loss, change_arguments=None, change_value=None):
        super().__init__()
        self.loss, self.change_arguments, self.change_value = loss, change_arguments, change_value

    def forward(self, *arguments):
        if self.change_arguments:
            arguments = self.change_arguments(*arguments)
        value = self.loss(*arguments)
        return self.change_value(value, *arguments) if self.change_value else value


class BlackboxRankSim(RankSimLoss):
    """RankSim that perturbs ranks by the upstream gradient, as the paper's equations do."""

    def forward(self, features, labels):
        rows = draw_unique(labels, generator=self.generator)
        term = ranksim_loop(features[rows].double(), labels[rows], self.gamma, self.lambda_)
        return self.weight * term


def _change_loss(**changes):
    original = factory.make_loss
    return mock.patch.object(
        factory, "make_loss", lambda *arguments: WrappedLoss(original(*arguments), **changes)
    )


def _change_weights(change):
    original = factory.make_weights
    return mock.patch.object(factory, "make_weights", lambda *args: change(original(*args)))


def _use_blackbox_ranksim():
    def make_ranksim(recipe, technique, *_):
        if not technique.ranksim:
            return None
        return BlackboxRankSim(recipe.gamma, recipe.lambda_, weight=recipe.ranksim_weight)

    return mock.patch.object(factory, "make_ranksim", make_ranksim)


def _accumulate_incomplete_batches():
    """Give a smaller batch at the end of an epoch the same influence on a step as a full one."""
    return mock.patch.object(
        schedule, "divmod", lambda n, size: (math.ceil(n / size), 0), create=True
    )


def _round_similarities():
    forward = RankSimLoss.forward

    def wrong_forward(self, features, labels):
        return forward(self, F.normalize(features, dim=1).to(torch.bfloat16), labels)

    return mock.patch.object(RankSimLoss, "forward", wrong_forward)


def _round_statistics():
    set_calibration = FDS._set_calibration

    def wrong_calibration(self):
        self.mean.copy_(self.mean.bfloat16())
        self.var.copy_(self.var.bfloat16())
        set_calibration(self)

    return mock.patch.object(FDS, "_set_calibration", wrong_calibration)


def _skip_gradient_sum():
    """Let each process use only the gradient of its loss with respect to its samples."""

    def wrong_backward(ctx, gradient):
        rank = torch.distributed.get_rank()
        return gradient.narrow(0, sum(ctx.counts[:rank]), ctx.counts[rank]), None, None

    return mock.patch.object(distributed._Gather, "backward", staticmethod(wrong_backward))


def _divide_by_weights(value, preds, target, weights):
    return value * len(weights) / weights.sum()


# fault: method, condition, and a function that returns the context in which the fault exists
WRONG = {
    "weights left out": ("inv", "float32", lambda: _change_weights(lambda weights: None)),
    "weights of other samples": (
        "inv+lds", "float32", lambda: _change_weights(lambda weights: weights.roll(1)),
    ),
    "a mean by the sum of the weights": (
        "inv", "float32", lambda: _change_loss(change_value=_divide_by_weights),
    ),
    "a smaller last batch counts as a whole one": (
        "vanilla, MSE", "float32",
        lambda: _change_loss(change_value=lambda value, preds, *_: value * len(preds) / 32),
    ),
    "a smaller batch is accumulated": (
        "vanilla, MSE", "accumulate 4", _accumulate_incomplete_batches,
    ),
    "labels rounded to bfloat16": (
        "vanilla, MSE", "bf16-mixed",
        lambda: _change_loss(change_arguments=lambda p, t, w: (p, t.bfloat16(), w)),
    ),
    "RankSim perturbed by the scaled upstream gradient": (
        "ranksim", "16-mixed, scaler", _use_blackbox_ranksim,
    ),
    "RankSim perturbed by the accumulated upstream gradient": (
        "ranksim", "accumulate 4", _use_blackbox_ranksim,
    ),
    "similarities of rounded unit vectors": ("ranksim", "bf16-mixed", _round_similarities),
    "statistics of FDS rounded to bfloat16": ("fds", "bf16-mixed", _round_statistics),
    "processes do not sum the gradients of gathered samples": (
        "ranksim", "two processes, gathered anchors", _skip_gradient_sum,
    ),
}  # fmt: skip
