"""Label bins, kernels, densities and weights in plain Python loops, from PROTOCOL section 2."""

import math

import numpy as np


def bin_of(edges, label):
    """The k with edge k ≤ label < edge k+1 in float32; the ends take what is outside."""
    label = np.float32(label)
    for k in range(len(edges) - 1):
        if label < np.float32(edges[k + 1]):
            return k
    return len(edges) - 2


def bins_of(edges, labels):
    """:func:`bin_of` each label, looked up once for each distinct one."""
    known = {label: bin_of(edges, label) for label in set(labels)}
    return [known[label] for label in labels]


def mirrored(k, bins):
    """Place of k in d c b a | a b c d | d c b a."""
    while not 0 <= k < bins:
        k = -1 - k if k < 0 else 2 * bins - 1 - k
    return k


def smooth(values, window, boundary):
    """out_k = Σ_x window(x) · values(k − x), values (K,)."""
    half = len(window) // 2
    out = []
    for k in range(len(values)):
        total = 0.0
        for x in range(-half, half + 1):
            place = k - x
            if boundary == "reflect":
                place = mirrored(place, len(values))
            if 0 <= place < len(values):
                total += window[x + half] * values[place]
        out.append(total)
    return out


def window(kernel, size, sigma):
    """The kernel at x = −half..half, its largest value 1."""
    half = size // 2
    places = range(-half, half + 1)
    if kernel == "gaussian-textbook":
        return [math.exp(-(x**2) / (2 * sigma**2)) for x in places]
    if kernel == "triangular":
        return [1 - abs(x) / ((size + 1) / 2) for x in places]
    if kernel == "laplace":
        return [math.exp(-abs(x) / sigma) for x in places]
    radius = int(4 * sigma + 0.5)
    taps = [math.exp(-(x**2) / (2 * sigma**2)) for x in range(-radius, radius + 1)]
    impulse = [1.0 if x == 0 else 0.0 for x in places]
    filtered = smooth(impulse, [t / sum(taps) for t in taps], "reflect")
    return [f / max(filtered) for f in filtered]


def kernel_density(training, bandwidth, labels):
    """n(y) = Σ_i exp(−(y − y_i)² / 2h²), the plain double sum."""
    return [
        sum(math.exp(-((y - other) ** 2) / (2 * bandwidth**2)) for other in training)
        for y in labels
    ]


def weights(training, labels, edges, scheme, clip=None, kernel=None, size=5, sigma=2.0):
    """Weight of each label ∝ 1/x of its bin, mean 1 over the training samples."""
    if scheme == "none":
        return [1.0 for _ in labels]
    training_bins = bins_of(edges, training)
    x = [0.0] * (len(edges) - 1)
    for k in training_bins:
        x[k] += 1
    if clip is not None:
        x = [min(max(n, clip[0]), clip[1]) for n in x]
    if scheme == "sqrt_inverse":
        x = [math.sqrt(n) for n in x]
    if kernel is not None:
        x = smooth(x, window(kernel, size, sigma), "zero")
    mean = sum(1 / x[k] for k in training_bins) / len(training_bins)
    largest = max(1 / x[k] for k in training_bins)
    return [(1 / x[k] if x[k] > 0 else largest) / mean for k in bins_of(edges, labels)]
