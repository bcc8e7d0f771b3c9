"""Feature distribution smoothing in plain NumPy float64 loops, from PROTOCOL section 2."""

import math

import numpy as np

from tests.oracles import balance


def statistics(z, bins, count):
    """Number of samples, mean and variance (n − 1; of one sample: 0) of each bin."""
    n, mean, var = (
        np.zeros(count, int),
        np.zeros((count, z.shape[1])),
        np.zeros((count, z.shape[1])),
    )
    for k in np.unique(bins):
        rows = z[bins == k]
        n[k], mean[k] = len(rows), rows[0] + (rows - rows[0]).mean(0)  # exact for a constant
        if len(rows) > 1:
            var[k] = ((rows - mean[k]) ** 2).sum(0) / (len(rows) - 1)
    return n, mean, var


def filled(table, observed):
    """Unseen bins lie on the line between the nearest seen ones; at the ends they copy one."""
    out = np.zeros_like(table)
    for k in range(len(table)):
        below = [j for j in range(k + 1) if observed[j]]
        above = [j for j in range(k, len(table)) if observed[j]]
        low, high = (below or above)[-1 if below else 0], (above or below)[0 if above else -1]
        share = (k - low) / (high - low) if high > low else 0.0
        out[k] = (1 - share) * table[low] + share * table[high]
    return out


def ratio(smoothed, plain, clip):
    """smoothed / own, clipped; 0 / 0 is 1."""
    if plain == 0:
        return 1.0 if smoothed == 0 else clip[1]
    return min(max(smoothed / plain, clip[0]), clip[1])


class FDS:
    """Running statistics over epochs, and features calibrated by them, one sample at a time."""

    def __init__(
        self,
        width,
        edges,
        kernel="gaussian",
        kernel_size=5,
        sigma=2.0,
        momentum=0.9,
        clip=(0.1, 10.0),
        empty_bins="neighbours",
    ):
        self.edges, self.momentum, self.clip, self.empty_bins = edges, momentum, clip, empty_bins
        window = balance.window(kernel, kernel_size, sigma)
        self.window = [w / sum(window) for w in window]
        self.count = len(edges) - 1
        self.observed = [False] * self.count
        self.mean, self.var = np.zeros((self.count, width)), np.zeros((self.count, width))
        self.updates = 0

    def bins(self, labels):
        return np.array(balance.bins_of(self.edges, np.ravel(labels).tolist()), int)

    def update(self, z, labels):
        """An epoch's features (N, D): a bin's first statistics as they are, then with momentum."""
        n, mean, var = statistics(z, self.bins(labels), self.count)
        for k in range(self.count):
            if n[k] > 0:
                old_weight = self.momentum if self.observed[k] else 0.0
                self.mean[k] = old_weight * self.mean[k] + (1 - old_weight) * mean[k]
                self.var[k] = old_weight * self.var[k] + (1 - old_weight) * var[k]
                self.observed[k] = True
        self.tabulate()

    def tabulate(self):
        """What calibrates, from the running statistics."""
        self.updates += 1
        mean, var = self.mean, self.var
        if self.empty_bins == "neighbours":
            mean, var = filled(mean, self.observed), filled(var, self.observed)
        self.tables = (
            mean,
            var,
            np.array(balance.smooth(mean, self.window, "reflect")),
            np.array(balance.smooth(var, self.window, "reflect")),
        )

    def smooth(self, z, labels):
        """(z − μ_b) · √clip(σ̃²_b / σ²_b) + μ̃_b, and its derivative by z, both (N, D)."""
        out, slope = np.array(z, np.float64), np.ones(np.shape(z))
        for i, b in enumerate(self.bins(labels)):
            if self.updates == 0 or (self.empty_bins == "zeros" and not self.observed[b]):
                continue
            mean, var, smooth_mean, smooth_var = (table[b] for table in self.tables)
            for d in range(out.shape[1]):
                slope[i, d] = math.sqrt(ratio(smooth_var[d], var[d], self.clip))
                out[i, d] = (z[i, d] - mean[d]) * slope[i, d] + smooth_mean[d]
        return out, slope
