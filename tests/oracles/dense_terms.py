"""Terms on features in float64 PyTorch, with all pairs and triples written out.

Tests compare them with the loops of :mod:`tests.oracles.feature_terms`; they are fast enough for
whole trainings, and their gradients are those of autograd.
"""

import math

import numpy as np
import torch

from tests.oracles.feature_terms import SRL


def unit(rows):
    norms = rows.square().sum(dim=1, keepdim=True)
    return torch.where(norms > 0, rows / norms.clamp(min=1e-300).sqrt(), 0.0)


def lengths(differences):
    """Return norms along the last axis, whose gradient at 0 is 0."""
    squares = differences.square().sum(dim=-1)
    small = squares < 1e-24
    return torch.where(small, 0.0, torch.where(small, 1.0, squares).sqrt())


def ordinal_entropy(features, labels, label_range):
    units = unit(features)
    distinct = sorted(set(labels.tolist()))
    centers = torch.stack([units[labels == y].mean(dim=0) for y in distinct])
    values = torch.tensor(distinct, dtype=torch.float64)
    apart = (values[:, None] - values).abs() / label_range
    spread = (apart * lengths(centers[:, None] - centers)).sum()
    place = [distinct.index(y) for y in labels.tolist()]
    near = lengths(units - centers[place]).mean()
    return near - spread / max(len(distinct) * (len(distinct) - 1), 1)


def rnc(features, labels, temperature):
    count = len(labels)
    logits = -lengths(features[:, None] - features) / temperature
    apart = (labels[:, None] - labels).abs()
    others = ~torch.eye(count, dtype=torch.bool)
    counted = (apart[:, None, :] >= apart[:, :, None]) & others[:, None, :]  # i, j, k
    sums = torch.where(counted, logits[:, None, :], -math.inf).logsumexp(dim=2)
    return torch.where(others, sums - logits, 0.0).sum() / (count * (count - 1))


def conr(features, labels, preds, weights, width, temperature, label_std):
    units, count = unit(features), len(labels)
    exps = (units @ units.T / temperature).exp()
    apart, alike = (labels[:, None] - labels).abs(), (preds[:, None] - preds).abs() < width
    near = (apart < width) & ~torch.eye(count, dtype=torch.bool)
    far = (apart >= width) & alike
    total = 0.0
    for j in range(count):
        if near[j].any() and far[j].any():
            positive = exps[j][near[j]]
            push = weights[j] * apart[j][far[j]] / label_std
            bottom = positive.sum() + (push * exps[j][far[j]]).sum()
            total = total - (positive.mean() / bottom).log()
    return total / count


class Centroids(SRL):
    """SRL with the gradient of autograd."""

    def add(self, features, labels):
        """Move the centroids without a loss."""
        self.centroids = self.moved(features, labels)

    def loss_of(self, features, labels, weights):
        bins = torch.tensor([self.bin_of(y) for y in labels.tolist()])
        units, centroids = unit(features), {}
        for k in range(len(self.positions)):
            if (bins == k).any():
                mean = units[bins == k].mean(dim=0)
                if self.centroids[k] is not None:
                    old = torch.from_numpy(np.asarray(self.centroids[k]))
                    mean = self.momentum * old + (1 - self.momentum) * mean
                centroids[k] = mean / mean.norm()
            elif self.centroids[k] is not None:
                centroids[k] = torch.from_numpy(np.asarray(self.centroids[k]))
        used = list(centroids)
        rows = torch.stack([centroids[k] for k in used])
        positions = torch.tensor([self.positions[k] for k in used], dtype=torch.float64)
        steps = (rows.diff(dim=0).square().sum(dim=1) / positions.diff()).sum()
        similar = torch.tensor(self.points, dtype=torch.float64) @ rows.T
        reach = 1 - ((similar / self.temperature).softmax(dim=1) * similar).sum(dim=1)
        logits = (units @ rows.T / self.temperature).log_softmax(dim=1)
        place = torch.tensor([used.index(k) for k in bins.tolist()])
        near = -logits[torch.arange(len(bins)), place]
        return weights[0] * steps + weights[1] * reach.mean() + weights[2] * near.mean()
