"""The updates of a training, by the equations: no code of the library but the network's own.

The network's forward and backward are PyTorch's, in float64 or rounded as autocast rounds; order,
weights, losses, Focal-R, FDS and RankSim are the loops of this folder, in NumPy float64.
"""

import contextlib
import math
from dataclasses import dataclass, field

import numpy as np
import torch

from tests.oracles import balance, fds, ranksim, regression


def dealt(size, seed, epoch, batch, *, accumulate=1, processes=1):
    """The parts of each step of an epoch: one for each process or each batch that is accumulated.

    Samples come in the order of a permutation by seed and epoch. Windows of batches that are not
    whole are left out; processes share the last batch, filled up with some of its samples.
    """
    order = np.random.default_rng((seed, epoch)).permutation(size)
    steps = []
    for first in range(0, size, batch * accumulate * processes):
        rows = order[first : first + batch * accumulate * processes]
        if accumulate > 1 and len(rows) < batch * accumulate * processes:
            continue
        share = math.ceil(len(rows) / processes) if accumulate == 1 else batch
        filled = [rows[i % len(rows)] for i in range(share * processes * accumulate)]
        steps.append([filled[i : i + share] for i in range(0, len(filled), share)])
    return steps


@dataclass
class Training:
    """What decides the updates of a training.

    Args:
        model: encoder and head; its weights are set before each update.
        inputs, labels: the training samples ``(N, ...)`` and ``(N,)``; those of equal labels are
            equal, so that it does not matter which of them RankSim draws.
        recipe, technique: the settings, read as data.
        edges: of the label bins; ``fds_edges``: of those of FDS.
        rounded: the dtype of autocast, ``None`` for float64 throughout.
        scale: what the loss is multiplied by before backward, and gradients divided by after.
        smoothing: FDS with statistics of an earlier stage; without, it starts afresh.
    """

    model: torch.nn.Module
    inputs: torch.Tensor
    labels: np.ndarray
    recipe: object
    technique: object
    edges: np.ndarray
    fds_edges: np.ndarray
    rounded: torch.dtype | None = None
    scale: float = 1.0
    smoothing: fds.FDS | None = None
    weights: np.ndarray = field(init=False)

    def __post_init__(self):
        recipe, technique = self.recipe, self.technique
        self.model = self.model.double() if self.rounded is None else self.model.float()
        low, high = recipe.min_count, recipe.max_count or np.inf
        self.weights = np.array(
            balance.weights(
                self.labels.tolist(),
                self.labels.tolist(),
                self.edges,
                technique.weighting,
                (low, high) if technique.weighting == "inverse" else None,
                recipe.lds_kernel if technique.lds else None,
                recipe.lds_kernel_size,
                recipe.lds_sigma,
            )
        )
        if technique.fds and self.smoothing is None:
            self.smoothing = make_fds(recipe, self.fds_edges, self.model.width)

    def refresh(self, state):
        """What ends an epoch: statistics of all samples' features, by the weights of then."""
        published = self.recipe.fds_paper_compat
        self._set(state).train(published)
        with torch.no_grad(), self._autocast():
            z = self.model.encoder(self.inputs).double().numpy()
        if published:
            z = self._stored(self.smoothing.smooth(z, self.labels)[0]).double().numpy()
        self.smoothing.update(z, self.labels)

    def update(self, state, parts):
        """The gradient of each trained weight, from a state and the rows of each part.

        The loss is the mean over all rows of all parts. RankSim's term is the mean of the parts'.
        """
        recipe, technique = self.recipe, self.technique
        self._set(state).train()
        rows = np.concatenate(parts)
        labels = self.labels[rows]
        with self._autocast():
            z = self.model.encoder(self.inputs[rows])
        raw = z.detach().double().numpy()
        smooth, slope = raw, np.ones_like(raw)
        if self.smoothing is not None:
            smooth, slope = self.smoothing.smooth(raw, labels)
        leaf = self._stored(smooth).to(z.dtype).requires_grad_()
        with self._autocast():
            prediction = self.model.head(leaf).squeeze(-1)
        _, error = self._loss(prediction.detach().double().numpy(), labels, self.weights[rows])
        prediction.backward(torch.from_numpy(error * self.scale).to(prediction.dtype))
        after_fds = technique.fds and recipe.fds_paper_compat
        seen = leaf.detach().double().numpy() if after_fds else raw
        gradient = leaf.grad if after_fds else self._sloped(leaf.grad, slope)
        if technique.ranksim:
            term = self._ranksim(seen, labels, [len(p) for p in parts])
            gradient = gradient + self._stored(term * self.scale)
        if after_fds:
            gradient = self._sloped(gradient, slope)
        if z.requires_grad:
            z.backward(gradient)
        found = {
            name: weight.grad.double() / self.scale
            for name, weight in self.model.named_parameters()
            if weight.grad is not None
        }
        self.model.zero_grad()
        return clipped(found, recipe.max_grad_norm) if recipe.max_grad_norm else found

    def _loss(self, prediction, labels, weights):
        recipe = self.recipe
        settings = {"loss": getattr(regression, recipe.loss)}
        if self.technique.focal_r:
            settings = {
                "loss": regression.focal_r,
                "base": recipe.loss,
                "activation": recipe.focal_activation,
                "beta": recipe.focal_beta,
                "gamma": recipe.focal_gamma,
            }
        elif recipe.loss == "huber":
            settings["delta"] = recipe.huber_delta
        target = labels / recipe.label_scale
        return regression.weighted(
            prediction=prediction, target=target, weights=weights, **settings
        )

    def _ranksim(self, z, labels, sizes):
        """The mean of the parts' gradients by their features."""
        recipe, found, start = self.recipe, np.zeros_like(z), 0
        for size in sizes:
            own = np.arange(start, start + size)
            if recipe.unique_labels:
                own = own[np.unique(labels[own], return_index=True)[1]]
            targets = ranksim.neg_l1(labels[own])
            _, gradient = ranksim.ranksim(
                z[own], targets, recipe.gamma, recipe.lambda_, recipe.ties
            )
            if len(np.unique(labels[own])) > 1:
                found[own] += recipe.ranksim_weight * gradient.sum(0) / len(sizes)
            start += size
        return found

    def _set(self, state):
        self.model.load_state_dict(state)
        return self.model

    def _autocast(self):
        if self.rounded is None:
            return contextlib.nullcontext()
        return torch.autocast("cpu", self.rounded, cache_enabled=False)

    def _sloped(self, gradient, slope):
        return self._stored(gradient.double().numpy() * slope)

    def _stored(self, values):
        """Features, or their gradient, as the network stores them."""
        return torch.from_numpy(np.array(values)).to(self.rounded or torch.float64)


def make_fds(recipe, edges, width):
    """FDS by a recipe."""
    return fds.FDS(
        width,
        edges,
        recipe.fds_kernel,
        recipe.fds_kernel_size,
        recipe.fds_sigma,
        recipe.fds_momentum,
        (recipe.fds_min_ratio, recipe.fds_max_ratio),
        recipe.fds_empty_bins,
    )


def clipped(gradients, most):
    """All gradients times most / norm, where their norm together is larger; PyTorch adds 1e-6."""
    norm = math.sqrt(sum(float((each**2).sum()) for each in gradients.values()))
    return {name: each * min(1.0, most / (norm + 1e-6)) for name, each in gradients.items()}
