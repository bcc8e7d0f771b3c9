"""Gradients of a training, computed from the equations.

The network's forward and backward are PyTorch's, in float64 or rounded by autocast. Sample order,
weights, losses, Focal-R, FDS and RankSim are the loops of this folder, in NumPy float64.
"""

import contextlib
import math
from dataclasses import dataclass, field

import numpy as np
import torch

from tests.oracles import balance, fds, parts, ranksim, regression, term_training


def split_steps(size, seed, epoch, batch_size, *, accumulate=1, processes=1):
    """Return the samples of each step of an epoch, one array per process or accumulated batch.

    The order is a permutation by seed and epoch. Steps without all accumulated batches are left
    out; processes share the last batch, which is padded with some of its samples.
    """
    order = np.random.default_rng((seed, epoch)).permutation(size)
    per_step = batch_size * accumulate * processes
    steps = []
    for first in range(0, size, per_step):
        rows = order[first : first + per_step]
        if accumulate > 1 and len(rows) < per_step:
            continue
        share = math.ceil(len(rows) / processes) if accumulate == 1 else batch_size
        padded = [rows[i % len(rows)] for i in range(share * processes * accumulate)]
        steps.append([padded[i : i + share] for i in range(0, len(padded), share)])
    return steps


@dataclass
class Training:
    """Everything that determines the gradients of a training.

    Args:
        model: encoder and head; each call sets their weights.
        inputs, labels: the training samples ``(N, ...)`` and ``(N,)``. Samples of equal labels are
            equal, so the choice among them does not matter to RankSim.
        recipe, technique: the hyperparameters and techniques.
        edges, fds_edges: edges of the label bins, and of those of FDS.
        autocast_dtype: dtype of autocast; ``None``: float64 throughout.
        loss_scale: factor on the loss before backward, divided out of the gradients.
        smoothing: FDS with the statistics of an earlier stage; ``None``: without statistics.
        seed: of the training.
        points: unit vectors of SRL ``(P, D)``.
    """

    model: torch.nn.Module
    inputs: torch.Tensor
    labels: np.ndarray
    recipe: object
    technique: object
    edges: np.ndarray
    fds_edges: np.ndarray
    autocast_dtype: torch.dtype | None = None
    loss_scale: float = 1.0
    smoothing: fds.FDS | None = None
    seed: int = 0
    points: list | None = None
    weights: np.ndarray = field(init=False)

    def __post_init__(self):
        recipe, technique = self.recipe, self.technique
        self.model = self.model.double() if self.autocast_dtype is None else self.model.float()
        clip = (recipe.min_count, recipe.max_count or np.inf)
        self.weights = np.array(
            balance.weights(
                self.labels.tolist(),
                self.labels.tolist(),
                self.edges,
                technique.weighting,
                clip if technique.weighting == "inverse" else None,
                recipe.lds_kernel if technique.lds else None,
                recipe.lds_kernel_size,
                recipe.lds_sigma,
            )
        )
        self.ascent_weights = None
        if "bsam" in technique.parts:
            settings = (self.edges, "sqrt_inverse", None, None)
            listed = self.labels.tolist()
            kernel = (recipe.lds_kernel_size, recipe.lds_sigma)
            self.ascent_weights = np.array(balance.weights(listed, listed, *settings, *kernel))
        if technique.fds and self.smoothing is None:
            self.smoothing = make_fds(recipe, self.fds_edges, self.model.width)
        self.terms = term_training.Terms(
            *(technique, recipe, self.labels, self.edges, self.points, self.seed)
        )

    def update_fds(self, state):
        """Update the statistics of FDS from all samples' features under the given weights."""
        paper_compat = self.recipe.fds_paper_compat
        self._set_weights(state).train(paper_compat)
        with torch.no_grad(), self._autocast():
            features = self.model.encoder(self.inputs).double().numpy()
        if paper_compat:
            smoothed, _ = self.smoothing.smooth(features, self.labels)
            features = self._round(smoothed).double().numpy()
        self.smoothing.update(features, self.labels)

    def gradients(self, state, parts_of_step, epoch=0, processes=1):
        """Return the gradient of each trained weight at ``state`` for the samples of each part.

        The loss is the mean over the samples of all parts; RankSim's term, and losses that compare
        the samples of a batch, are the mean over parts.
        """
        if self.ascent_weights is not None:
            return self._ascend(state, parts_of_step, epoch, processes)
        recipe, technique = self.recipe, self.technique
        self._set_weights(state).train()
        rows = np.concatenate(parts_of_step)
        labels = self.labels[rows]
        with self._autocast():
            encoded = self.model.encoder(self.inputs[rows])
        raw = encoded.detach().double().numpy()
        calibrated, slope = raw, np.ones_like(raw)
        if self.smoothing is not None:
            calibrated, slope = self.smoothing.smooth(raw, labels)
        leaf = self._round(calibrated).to(encoded.dtype).requires_grad_()
        with self._autocast():
            preds = self.model.head(leaf).squeeze(-1)
        sizes = [len(part) for part in parts_of_step]
        error = self._loss_gradient(
            preds.detach().double().numpy(), labels, self.weights[rows], sizes
        )
        preds.backward(torch.from_numpy(error * self.loss_scale).to(preds.dtype))
        if "rnc" in technique.parts:  # the loss trains the head alone
            leaf.grad.zero_()
        rank_calibrated = technique.fds and recipe.fds_paper_compat
        ranked = leaf.detach().double().numpy() if rank_calibrated else raw
        gradient = leaf.grad if rank_calibrated else self._multiply(leaf.grad, slope)
        if technique.ranksim:
            term = self._ranksim_gradient(ranked, labels, sizes)
            gradient = gradient + self._round(term * self.loss_scale)
        if rank_calibrated:
            gradient = self._multiply(gradient, slope)
        if self.terms.names:
            arguments = (raw, preds, rows, sizes, epoch, processes)
            gradient = gradient + self._add_terms(*arguments)
        if encoded.requires_grad:
            encoded.backward(gradient)
        gradients = {
            name: weight.grad.double() / self.loss_scale
            for name, weight in self.model.named_parameters()
            if weight.grad is not None
        }
        self.model.zero_grad()
        return clip_norm(gradients, recipe.max_grad_norm) if recipe.max_grad_norm else gradients

    def _loss_gradient(self, preds, labels, weights, sizes):
        recipe, target = self.recipe, labels / self.recipe.label_scale
        total = np.zeros_like(preds)
        if not parts.replace_base(self.technique.parts):
            total += self._base_gradient(preds, labels, weights)
        for name in term_training.without_terms(self.technique.parts):
            start, weighted = 0, self.technique.weighting != "none"
            for size in sizes:
                rows = slice(start, start + size)
                slopes = parts.training_gradient(
                    *(name, recipe, self.labels / recipe.label_scale, target[rows]),
                    weights[rows].tolist() if weighted else None,
                    np.asarray(self.edges, np.float64) / recipe.label_scale,
                    preds[rows],
                    self.technique.lds,
                )
                total[rows] += slopes / len(sizes)
                start += size
        return total

    def _base_gradient(self, preds, labels, weights):
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
        return regression.weighted(preds=preds, target=target, sample_weight=weights, **settings)[1]

    def _ranksim_gradient(self, features, labels, sizes):
        """Return the mean of the parts' gradients with respect to their features."""
        recipe, total, start = self.recipe, np.zeros_like(features), 0
        for size in sizes:
            rows = np.arange(start, start + size)
            if recipe.unique_labels:
                rows = rows[np.unique(labels[rows], return_index=True)[1]]
            similarity = ranksim.neg_l1(labels[rows])
            _, gradient = ranksim.ranksim(
                features[rows], similarity, recipe.gamma, recipe.lambda_, recipe.ties
            )
            if len(np.unique(labels[rows])) > 1:
                total[rows] += recipe.ranksim_weight * gradient.sum(0) / len(sizes)
            start += size
        return total

    def _ascend(self, state, parts_of_step, epoch, processes):
        """Return the mean over batches of all processes of the gradients of BSAM.

        Each is that at weights moved by ρ along the gradient of the loss weighted by 1/√n.
        """
        weights, total = (self.weights, self.ascent_weights), {}
        groups = range(0, len(parts_of_step), processes)
        for first in groups:
            group = parts_of_step[first : first + processes]
            self.ascent_weights, self.weights = None, weights[1]
            slopes = self.gradients(state, group, epoch, processes)
            self.weights = weights[0]
            norm = math.sqrt(sum(float((each**2).sum()) for each in slopes.values()))
            moved = {
                name: value.double() + self.recipe.bsam_rho * slopes[name] / norm
                if name in slopes
                else value
                for name, value in state.items()
            }
            for name, each in self.gradients(moved, group, epoch, processes).items():
                total[name] = total.get(name, 0) + each / len(groups)
            self.ascent_weights = weights[1]
        return total

    def _add_terms(self, raw, preds, rows, sizes, epoch, processes):
        """Return the gradient of the feature terms, and backpropagate that of the second view."""
        scale = self.recipe.label_scale
        features, values = [raw], [preds.detach().double().numpy() * scale]
        if self.terms.has_views:
            deviations = self.inputs.double().std(dim=0, correction=0).tolist()
            inputs = self.terms.disturb(self.inputs[rows], rows, epoch, deviations)
            with self._autocast():
                second = self.model.encoder(inputs)
                others = self.model.head(second).squeeze(-1)
            features.append(second.detach().double().numpy())
            values.append(others.detach().double().numpy() * scale)
        settings = {"processes": processes}
        slopes = self.terms.gradients(features, values, rows, sizes, epoch, **settings)
        slopes = [self._round(slope * self.loss_scale) for slope in slopes]
        if self.terms.has_views:
            second.backward(slopes[1].to(second.dtype))
        return slopes[0]

    def _set_weights(self, state):
        self.model.load_state_dict(state)
        return self.model

    def _autocast(self):
        if self.autocast_dtype is None:
            return contextlib.nullcontext()
        return torch.autocast("cpu", self.autocast_dtype, cache_enabled=False)

    def _multiply(self, gradient, slope):
        return self._round(gradient.double().numpy() * slope)

    def _round(self, values):
        """Return features or their gradient in the dtype of the network."""
        return torch.from_numpy(np.array(values)).to(self.autocast_dtype or torch.float64)


def make_fds(recipe, edges, width):
    """Return FDS without statistics."""
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


def clip_norm(gradients, limit):
    """Scale gradients to a joint norm of at most ``limit``; like PyTorch, add 1e-6 to the norm."""
    norm = math.sqrt(sum(float((each**2).sum()) for each in gradients.values()))
    return {name: each * min(1.0, limit / (norm + 1e-6)) for name, each in gradients.items()}
