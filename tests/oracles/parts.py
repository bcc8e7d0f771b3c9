"""Losses on predictions published since RankSim, in loops of plain float64 numbers.

Each takes lists of predictions and labels and optional weights, and returns a number. Gradients are
central differences of these values.
"""

import functools
import itertools
import math

import numpy as np

from tests.oracles import balance

HEADS = ("uvote", "gaussian", "laplace", "quantile")


def shares(count, weights):
    """Weights divided by their sum, or equal shares."""
    if weights is None:
        return [1 / count] * count
    total = math.fsum(weights)
    return [w / total for w in weights] if total else [0.0] * count


def mean(values, share):
    return math.fsum(s * v for s, v in zip(share, values, strict=True))


def covariance(a, b, share):
    mean_a, mean_b = mean(a, share), mean(b, share)
    products = [(x - mean_a) * (y - mean_b) for x, y in zip(a, b, strict=True)]
    return mean(products, share)


def ccc(preds, target, weights=None):
    """1 − 2 cov / (var p + var y + (mean p − mean y)²)."""
    share = shares(len(preds), weights)
    gap = mean(preds, share) - mean(target, share)
    total = covariance(preds, preds, share) + covariance(target, target, share) + gap**2
    if total == 0:
        return 0.0
    return 1 - 2 * covariance(preds, target, share) / total


def gar(preds, target, weights=None, base="l1", join="softmax", alpha=0.1, label_std=1.0):
    """Errors, all pairs of differences, and the correlation, joined."""
    preds = [p / label_std for p in preds]
    target = [y / label_std for y in target]
    count, share = len(preds), shares(len(preds), weights)
    factors = [1.0] * count if weights is None else weights
    errors = [p - y for p, y in zip(preds, target, strict=True)]
    sizes = [abs(e) if base == "l1" else e * e for e in errors]
    first = math.fsum(w * e for w, e in zip(factors, sizes, strict=True)) / count
    second = math.fsum(
        share[i] * share[j] * ((preds[i] - preds[j]) - (target[i] - target[j])) ** 2
        for i in range(count)
        for j in range(count)
    )
    variances = covariance(preds, preds, share) * covariance(target, target, share)
    constant = len(set(preds)) == 1 or len(set(target)) == 1 or variances <= 0
    correlation = 0.0 if constant else covariance(preds, target, share) / math.sqrt(variances)
    parts = [first, second, 1 - correlation]
    if join == "sum":
        return math.fsum(parts)
    largest = max(parts)
    total = math.fsum(math.exp((part - largest) / alpha) for part in parts)
    return largest + alpha * math.log(total / 3)


def normal(x, mean, variance):
    """The density of a normal distribution."""
    return math.exp(-((x - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)


def bmc(preds, target, sigma, weights=None):
    """Softmax over the labels of the batch; predictions and labels are numbers or tuples."""
    preds, target = (
        np.asarray(each, np.float64).reshape(len(each), -1) for each in (preds, target)
    )
    factors = [1.0] * len(preds) if weights is None else weights
    total = 0.0
    for i, pred in enumerate(preds):
        scores = [math.exp(-(math.dist(pred, y) ** 2) / (2 * sigma**2)) for y in target]
        total -= factors[i] * math.log(scores[i] / math.fsum(scores))
    return 2 * sigma**2 * total / len(preds)


def gai(preds, target, sigma, mixture, weights=None):
    """Likelihood of a label over the density of noisy labels at the prediction."""
    means, variances, shares_of = mixture
    factors, total = [1.0] * len(preds) if weights is None else weights, 0.0
    for pred, y, factor in zip(preds, target, factors, strict=True):
        density = math.fsum(
            share / math.fsum(shares_of) * normal(pred, mean_of, variance + sigma**2)
            for mean_of, variance, share in zip(means, variances, shares_of, strict=True)
        )
        total += factor * (math.log(density) - math.log(normal(y, pred, sigma**2)))
    return 2 * sigma**2 * total / len(preds)


def dist(preds, quantiles, label_std=1.0):
    """Sorted predictions and quantiles at their levels, interpolated."""
    count, size, total = len(preds), len(quantiles), 0.0
    for k, pred in enumerate(sorted(preds)):
        place = (k + 0.5) / count * size - 0.5  # among the quantiles, from 0
        low = min(max(math.floor(place), 0), size - 1)
        high = min(low + 1, size - 1)
        share = min(max(place - low, 0.0), 1.0)
        total += abs(pred - (quantiles[low] * (1 - share) + quantiles[high] * share))
    return total / count / label_std


def dist_slopes(preds, quantiles, label_std):
    """The sign of each distance in the order of the sort, which equal predictions share."""
    slopes = np.zeros(len(preds))
    order = sorted(range(len(preds)), key=lambda i: preds[i])
    for place, i in enumerate(order):
        slopes[i] = np.sign(preds[i] - quantiles[place]) / len(preds) / label_std
    return slopes


def dila(preds, target, density):
    """Distance correlation of absolute errors and density, from all pairs."""
    errors = [abs(p - y) for p, y in zip(preds, target, strict=True)]
    count, centered = len(errors), []
    for values in (errors, density):
        distances = [[abs(a - b) for b in values] for a in values]
        rows = [math.fsum(row) / count for row in distances]
        whole = math.fsum(rows) / count
        centered.append(
            [
                [distances[i][j] - rows[i] - rows[j] + whole for j in range(count)]
                for i in range(count)
            ]
        )
    products = [
        math.fsum(
            x * y for a, b in zip(first, second, strict=True) for x, y in zip(a, b, strict=True)
        )
        for first, second in (centered, centered[:1] * 2, centered[1:] * 2)
    ]
    if len(set(errors)) == 1 or len(set(density)) == 1:
        return 0.0
    return math.sqrt(max(products[0], 0.0) / math.sqrt(products[1] * products[2]))


def sera(preds, target, relevance, weights=None):
    """The mean of φ · e²."""
    factors = [1.0] * len(preds) if weights is None else weights
    terms = zip(factors, relevance, preds, target, strict=True)
    return math.fsum(w * phi * (p - y) ** 2 for w, phi, p, y in terms) / len(preds)


def clamp(log_scale):
    """A logarithm of a scale within ±5."""
    return min(max(log_scale, -5.0), 5.0)


def located(kind, outputs, target, weights=None, beta=0.5, label_std=1.0, factors=None):
    """β-NLL of pairs (location, log scale); the weights by the scale are of ``factors``."""
    weights = [1.0] * len(target) if weights is None else weights
    factors = outputs if factors is None else factors
    total = 0.0
    for (pred, log_scale), (_, fixed), y, w in zip(outputs, factors, target, weights, strict=True):
        s = math.exp(clamp(log_scale))
        z = (pred - y) / (label_std * s)
        value = math.log(s) + (z * z / 2 if kind == "gaussian" else abs(z))
        power = 2 * beta if kind == "gaussian" else beta
        total += w * math.exp(clamp(fixed)) ** power * value
    return total / len(target)


def quantile(outputs, target, weights=None, levels=(0.05, 0.5, 0.95)):
    """The mean over samples and levels of the pinball loss."""
    weights = [1.0] * len(target) if weights is None else weights
    total = math.fsum(
        w * max(tau * (y - q), (tau - 1) * (y - q))
        for row, y, w in zip(outputs, target, weights, strict=True)
        for q, tau in zip(row, levels, strict=True)
    )
    return total / len(target) / len(levels)


def uvote(outputs, target, head_weights, weights=None, label_std=1.0):
    """Laplace likelihoods of heads, of which each has weights of its own."""
    weights, heads = [1.0] * len(target) if weights is None else weights, len(head_weights[0])
    total = 0.0
    for row, y, factors, u in zip(outputs, target, head_weights, weights, strict=True):
        for m in range(heads):
            s = math.exp(clamp(row[heads + m]))
            total += u * factors[m] * (math.log(s) + abs(row[m] - y) / (label_std * s))
    return total / len(target) / heads


def powers_of_density(density, table, heads):
    """Powers of inverse density from 0 to 1, each of mean 1 over the ``table`` of all labels."""
    means = [math.fsum(d ** -(m / (heads - 1)) for d in table) / len(table) for m in range(heads)]
    return [[d ** -(m / (heads - 1)) / means[m] for m in range(heads)] for d in density]


def vote(row, label_std=1.0):
    """The location and scale of the first head of the smallest scale."""
    heads = len(row) // 2
    logs = [clamp(value) for value in row[heads:]]
    best = min(range(heads), key=lambda m: logs[m])
    return row[best], label_std * math.exp(logs[best])


def replace_base(names):
    """Return whether a part replaces the base loss."""
    return bool({"bmse", "gar", "sera", *HEADS} & set(names))


def training_gradient(name, recipe, labels, target, weights, edges, preds, lds=False):
    """Return the gradient of :func:`in_training` by the predictions or outputs of a batch."""
    if name in HEADS:
        rows, count = preds.tolist(), preds.shape[1]
        value = head_in_training(name, recipe, labels, target, weights, edges, rows, lds)

        def compute(flat):
            return value([list(flat[k : k + count]) for k in range(0, len(flat), count)])

        return gradient(compute, preds.ravel(), 1e-5).reshape(preds.shape)
    if name == "dist":  # equal samples have equal predictions, where differences have no meaning
        quantiles = density_quantiles(tuple(labels.tolist()), len(target))
        return recipe.dist_weight * dist_slopes(preds, quantiles, float(np.std(labels)))
    return gradient(in_training(name, recipe, labels, target, weights, edges), preds, 1e-5)


def in_training(name, recipe, labels, target, weights, edges):
    """Return the loss of a part as a function of the predictions of a batch.

    ``labels`` are all training labels, ``target`` those of the batch, and ``edges`` those of the
    label bins, divided by the label scale.
    """
    target, std = target.tolist(), float(np.std(labels))
    if name == "ccc":
        return lambda preds: recipe.ccc_weight * ccc(preds, target, weights)
    if name == "bmse" and recipe.bmse_variant == "bmc":
        return lambda preds: bmc(preds, target, recipe.bmse_sigma * std)
    if name == "bmse":
        centers = [(a + b) / 2 for a, b in itertools.pairwise(edges)]
        counts = [sum(a <= y + 1e-9 < b for y in labels) for a, b in itertools.pairwise(edges)]
        mixture = centers, [0.0] * len(centers), counts
        return lambda preds: gai(preds, target, recipe.bmse_sigma * std, mixture)
    if name == "dila":
        density = [kernel_density(y, labels) for y in target]
        return lambda preds: recipe.dila_weight * dila(preds, target, density)
    if name == "sera":
        points = [each.split(":") for each in recipe.sera_points.split(",")]
        points = [(float(y) / recipe.label_scale, float(phi)) for y, phi in points]
        mean_of = np.mean([hermite(y, points) for y in labels])
        relevance = [hermite(y, points) / mean_of for y in target]
        return lambda preds: sera(preds, target, relevance)
    settings = {"base": recipe.gar_base, "join": recipe.gar_join, "alpha": recipe.gar_alpha}
    return lambda preds: gar(preds, target, weights, **settings, label_std=std)


def head_in_training(name, recipe, labels, target, weights, edges, rows, lds):
    """Return the loss of a head as a function of its outputs; factors are those of ``rows``."""
    target, std = target.tolist(), float(np.std(labels))
    if name == "quantile":
        levels = [float(level) for level in recipe.quantile_levels.split(",")]
        return lambda outputs: quantile(outputs, target, weights, levels)
    if name == "uvote":
        kernel = recipe.lds_kernel if lds else None
        settings = (edges, "inverse", None, kernel, recipe.lds_kernel_size, recipe.lds_sigma)
        exact = [round(float(y), 9) for y in labels]
        table = [1 / weight for weight in balance.weights(exact, exact, *settings)]
        density = dict(zip(exact, table, strict=True))
        chosen = [density[round(float(y), 9)] for y in target]
        factors = powers_of_density(chosen, table, recipe.uvote_heads)
        return lambda outputs: uvote(outputs, target, factors, weights, std)
    beta = getattr(recipe, f"{name}_beta")
    return lambda outputs: located(name, outputs, target, weights, beta, std, rows)


def silverman(labels):
    """0.9 · min(sd, IQR / 1.34) · N^(−1/5)."""
    lower, upper = np.quantile(labels, [0.25, 0.75])
    return 0.9 * min(np.std(labels, ddof=1), (upper - lower) / 1.34) * len(labels) ** -0.2


def kernel_density(y, labels):
    """Σ exp(−(y − y_i)² / 2h²)."""
    h = silverman(labels)
    return math.fsum(math.exp(-((y - each) ** 2) / (2 * h * h)) for each in labels)


@functools.cache
def density_quantiles(labels, count=128):
    """Quantiles of the kernel density by bisection of its distribution function."""
    h, quantiles = silverman(labels), []
    for k in range(count):
        low, high = min(labels) - 9 * h, max(labels) + 9 * h
        for _ in range(40):
            middle = (low + high) / 2
            share = np.mean([(1 + math.erf((middle - y) / h / math.sqrt(2))) / 2 for y in labels])
            low, high = (middle, high) if share < (k + 0.5) / count else (low, middle)
        quantiles.append(min(max(high, min(labels)), max(labels)))
    return quantiles


def hermite(y, points):
    """A cubic of slope 0 at each of two or three control points with an extremum between."""
    points = sorted(points)
    for (y0, phi0), (y1, phi1) in itertools.pairwise(points):
        if y <= y1 or (y1, phi1) == points[-1]:
            t = min(max((y - y0) / (y1 - y0), 0.0), 1.0)
            return phi0 + (phi1 - phi0) * (3 * t * t - 2 * t**3)
    raise AssertionError


def gradient(value, preds, step=1e-6):
    """Central differences of a function of the predictions ``(N,)``."""
    preds, slopes = list(map(float, preds)), []
    for i, pred in enumerate(preds):
        shifted = [value([*preds[:i], pred + sign * step, *preds[i + 1 :]]) for sign in (1, -1)]
        slopes.append((shifted[0] - shifted[1]) / (2 * step))
    return np.array(slopes)
