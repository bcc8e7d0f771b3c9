"""Gradients of the terms on features during a training, and noise of the second view."""

import itertools
import math

import numpy as np
import torch

from tests.oracles import balance, dense_terms
from tests.oracles.images import WORD, splitmix64

NAMES = ("oe", "srl", "conr", "rnc")


def noise(seed, epoch, index, deviations):
    """Return the noise of one sample: Box-Muller on hashed bits, in units of 0.05 deviations."""
    key = splitmix64((splitmix64(seed & WORD) + epoch) & WORD)
    row = splitmix64((key + index) & WORD)
    values = []
    for place, deviation in enumerate(deviations):
        bits = splitmix64((row + place) & WORD)
        first, second = ((bits >> shift & 0xFFFFFFFF) / 2**32 for shift in (0, 32))
        size = math.sqrt(-2 * math.log(min(first + 2**-33, 1.0)))
        values.append(0.05 * deviation * size * math.cos(2 * math.pi * second))
    return values


def without_terms(names):
    """Return the losses on predictions."""
    return [name for name in names if name not in (*NAMES, "bsam")]


class Terms:
    """The feature terms of a technique, with the centroids of SRL.

    Args:
        technique, recipe: as in :class:`tests.oracles.training.Training`.
        labels: all training labels ``(N,)``.
        edges: of the label bins.
        points: unit vectors of SRL ``(P, D)``, or None.
        seed: of the noise.
    """

    def __init__(self, technique, recipe, labels, edges, points, seed):
        self.recipe, self.edges, self.labels, self.seed = recipe, edges, labels, seed
        self.names = [name for name in technique.parts if name in NAMES]
        self.has_views = bool({"conr", "rnc"} & set(self.names))
        clip = (recipe.min_count, recipe.max_count or np.inf)
        lds = (recipe.lds_kernel if technique.lds else None, recipe.lds_kernel_size)
        self.density = torch.tensor(
            balance.weights(
                *(labels.tolist(), labels.tolist(), edges, "inverse", clip, *lds),
                recipe.lds_sigma,
            )
        )
        self.srl = None
        if "srl" in self.names:
            self.srl = dense_terms.Centroids(
                len(points[0]), edges.tolist(), points, float(labels.std()),
                recipe.srl_momentum, recipe.srl_temperature,
            )  # fmt: skip

    def disturb(self, inputs, rows, epoch, deviations):
        """Return the inputs of the second view of samples."""
        added = [noise(self.seed, epoch, int(row), deviations) for row in rows]
        return inputs + torch.tensor(added, dtype=torch.float64).to(inputs.dtype)

    def gradients(self, features, preds, rows, sizes, epoch, *, processes=1):
        """Return the gradients of the mean of all parts' terms with respect to each view.

        Args:
            features: of one or two views, float64 arrays ``(N, D)``.
            preds: of the same views ``(N,)``, in the unit of the labels.
            rows: positions of the samples.
            sizes: of the parts.
            epoch: of the step.
            processes: parts that move the centroids of SRL together.
        """
        views = [torch.tensor(view, requires_grad=True) for view in features]
        preds = [torch.from_numpy(np.asarray(each)) for each in preds]
        starts = np.concatenate([[0], np.cumsum(sizes)])
        parts = [slice(a, b) for a, b in itertools.pairwise(starts)]
        total = views[0].sum() * 0
        for first in range(0, len(parts), processes):
            group = parts[first : first + processes]
            for part in group:
                for name in self.names:
                    value = self._value(name, views, preds, rows, part, epoch)
                    total = total + value / len(parts)
            if self.srl is not None:
                together = slice(group[0].start, group[-1].stop)
                moved = features[0][together], torch.from_numpy(self.labels[rows[together]])
                self.srl.add(*moved)
        total.backward()
        return [np.zeros(view.shape) if view.grad is None else view.grad.numpy() for view in views]

    def _value(self, name, views, preds, rows, part, epoch):
        recipe, labels = self.recipe, torch.from_numpy(self.labels[rows[part]])
        if name == "oe":
            extent = float(np.ptp(self.labels))
            return recipe.oe_weight * dense_terms.ordinal_entropy(views[0][part], labels, extent)
        if name == "srl":
            weights = (recipe.srl_homogeneity, recipe.srl_enveloping, recipe.srl_contrast)
            if epoch == 0:
                return views[0].sum() * 0
            return self.srl.loss_of(views[0][part], labels, weights)
        features, labels = torch.cat([view[part] for view in views]), labels.repeat(2)
        if name == "rnc":
            return dense_terms.rnc(features, labels, recipe.rnc_temperature)
        both = torch.cat([each[part] for each in preds])
        weights = self.density[torch.from_numpy(rows[part])].repeat(2)
        width = recipe.conr_width or float(np.median(np.diff(self.edges)))
        settings = (width, recipe.conr_temperature, float(self.labels.std()))
        return recipe.conr_weight * dense_terms.conr(features, labels, both, weights, *settings)
