"""Terms on features published since RankSim, in loops of plain float64 numbers.

Each takes features as rows and labels as lists and returns a number. Gradients are central
differences of these values.
"""

import itertools
import math

import numpy as np


def unit(row):
    norm = math.sqrt(math.fsum(float(v) ** 2 for v in row))
    return np.array(row, dtype=np.float64) / norm if norm else np.zeros(len(row))


def distance(a, b):
    return math.sqrt(math.fsum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))


def dot(a, b):
    return math.fsum(float(x) * float(y) for x, y in zip(a, b, strict=True))


def log_sum_exp(values):
    top = max(values)
    return top + math.log(math.fsum(math.exp(v - top) for v in values))


def ordinal_entropy(features, labels, label_range=None):
    """Spread of the mean unit features of the labels, and distances of samples to them."""
    units = [unit(row) for row in features]
    distinct = sorted(set(labels))
    centers = {
        y: np.mean([z for z, other in zip(units, labels, strict=True) if other == y], axis=0)
        for y in distinct
    }
    extent = (max(labels) - min(labels) if label_range is None else label_range) or 1.0
    pairs = [(a, b) for a in distinct for b in distinct if a != b]
    spread = [abs(a - b) / extent * distance(centers[a], centers[b]) for a, b in pairs]
    near = [distance(z, centers[y]) for z, y in zip(units, labels, strict=True)]
    return math.fsum(near) / len(near) - math.fsum(spread) / max(len(pairs), 1)


def rnc(features, labels, temperature=2.0):
    """Every ordered pair, with its denominator summed anew."""
    count, terms = len(labels), []
    for i in range(count):
        others = [k for k in range(count) if k != i]
        logits = {k: -distance(features[i], features[k]) / temperature for k in others}
        for j in others:
            far = [k for k in others if abs(labels[i] - labels[k]) >= abs(labels[i] - labels[j])]
            terms.append(log_sum_exp([logits[k] for k in far]) - logits[j])
    return math.fsum(terms) / len(terms) if terms else 0.0


def conr(features, labels, preds, width, weights=None, temperature=0.2, label_std=1.0):
    """Anchors with a positive and a negative; the others count as 0."""
    units, count, terms = [unit(row) for row in features], len(labels), []
    weights = [1.0] * count if weights is None else weights
    for j in range(count):
        others = [i for i in range(count) if i != j]
        exps = {i: math.exp(dot(units[j], units[i]) / temperature) for i in others}
        near = [i for i in others if abs(labels[i] - labels[j]) < width]
        alike = [
            q
            for q in others
            if abs(labels[q] - labels[j]) >= width and abs(preds[q] - preds[j]) < width
        ]
        push = {q: weights[j] * abs(labels[j] - labels[q]) / label_std for q in alike}
        if not near or not any(push.values()):
            continue
        total = math.fsum(exps[i] for i in near)
        negative = math.fsum(push[q] * exps[q] for q in alike)
        terms.append(-math.log(total / len(near) / (total + negative)))
    return math.fsum(terms) / count


class SRL:
    """The centroids of the bins, moved by each batch, and the loss on them."""

    def __init__(self, width, edges, points, label_std=1.0, momentum=0.9, temperature=0.1):
        self.edges, self.points, self.momentum = edges, points, momentum
        self.temperature = temperature
        self.positions = [(a + b) / 2 / label_std for a, b in itertools.pairwise(edges)]
        self.centroids = [None] * len(self.positions)
        self.width = width

    def bin_of(self, label):
        return sum(label >= edge for edge in self.edges[1:-1])

    def moved(self, features, labels):
        """Return the centroids after a batch."""
        centroids = list(self.centroids)
        for k in range(len(centroids)):
            rows = [unit(z) for z, y in zip(features, labels, strict=True) if self.bin_of(y) == k]
            if rows:
                mean = np.mean(rows, axis=0)
                old = centroids[k]
                if old is not None:
                    mean = self.momentum * old + (1 - self.momentum) * mean
                centroids[k] = unit(mean)
        return centroids

    def loss(self, features, labels, weights=(0.1, 0.1, 0.1)):
        """Homogeneity, enveloping and contrast on the centroids after the batch."""
        centroids = self.moved(features, labels)
        used = [k for k, c in enumerate(centroids) if c is not None]
        steps = [
            distance(centroids[b], centroids[a]) ** 2 / (self.positions[b] - self.positions[a])
            for a, b in itertools.pairwise(used)
        ]
        reach = []
        for point in self.points:
            near = [dot(point, centroids[k]) for k in used]
            total = log_sum_exp([v / self.temperature for v in near])
            reach.append(1 - sum(v * math.exp(v / self.temperature - total) for v in near))
        contrast = []
        for z, y in zip(features, labels, strict=True):
            logits = {k: dot(unit(z), centroids[k]) / self.temperature for k in used}
            contrast.append(log_sum_exp(list(logits.values())) - logits[self.bin_of(y)])
        parts = (math.fsum(steps), np.mean(reach), np.mean(contrast))
        return sum(w * p for w, p in zip(weights, parts, strict=True))


def gradient(value, features, step=1e-6):
    """Central differences of a function of the features ``(N, D)``."""
    features = np.array(features, dtype=np.float64)
    slopes = np.zeros_like(features)
    for place in np.ndindex(*features.shape):
        ends = []
        for sign in (1, -1):
            moved = features.copy()
            moved[place] += sign * step
            ends.append(value(moved))
        slopes[place] = (ends[0] - ends[1]) / (2 * step)
    return slopes
