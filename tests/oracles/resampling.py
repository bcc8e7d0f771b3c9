"""Relevance, distances and parents of resampled rows, written from their equations."""

import math
import statistics

import numpy as np
from scipy.interpolate import PchipInterpolator


def quantile(values, share):
    """Linear interpolation between the two order statistics around (N − 1) · share."""
    ordered, place = sorted(values), (len(values) - 1) * share
    low = math.floor(place)
    high = min(low + 1, len(values) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def box_plot_points(labels, whisker=1.5):
    """Control points {label: relevance}; the median alone if there is no outlier."""
    q1, median, q3 = (quantile(labels, share) for share in (0.25, 0.5, 0.75))
    reach = whisker * (q3 - q1)
    inside = [y for y in labels if q1 - reach <= y <= q3 + reach]
    points = {median: 0.0}
    if below := [y for y in labels if y < q1 - reach]:
        points[min(inside) if min(inside) < median else max(below)] = 1.0
    if above := [y for y in labels if y > q3 + reach]:
        points[max(inside) if max(inside) > median else min(above)] = 1.0
    return points


def pchip(points, queries):
    """SciPy's PCHIP through the points, with the end values repeated on both sides."""
    ys, values = zip(*sorted(points.items()), strict=True)
    reach = ys[-1] - ys[0]
    ys = [ys[0] - 2 * reach, ys[0] - reach, *ys, ys[-1] + reach, ys[-1] + 2 * reach]
    values = [values[0], values[0], *values, values[-1], values[-1]]
    return PchipInterpolator(ys, values)(np.clip(queries, ys[1], ys[-2]))


def density_relevance(labels, queries):
    """1 − n / max n with a Gaussian kernel and Silverman's bandwidth."""
    spread = statistics.stdev(labels)
    if quantile(labels, 0.75) > quantile(labels, 0.25):
        spread = min(spread, (quantile(labels, 0.75) - quantile(labels, 0.25)) / 1.34)
    h = 0.9 * spread * len(labels) ** -0.2

    def count(y):
        return sum(math.exp(-((y - each) ** 2) / (2 * h * h)) for each in labels)

    peak = max(map(count, labels))
    return [1 - min(count(y) / peak, 1) for y in queries]


def is_missing(value):
    return value is None or value != value


def distance(a, b, ranges):
    """HEOM of two rows; ``ranges`` holds None for a category."""
    total, present = 0.0, 0
    for x, y, width in zip(a, b, ranges, strict=True):
        if is_missing(x) or is_missing(y):
            continue
        present += 1
        if width is None:
            total += x != y
        elif width > 0:
            total += ((float(x) - float(y)) / width) ** 2
    return math.sqrt(total * len(ranges) / present if present else len(ranges))


def bumps(labels, is_rare):
    """Lists of rows, sorted by label, that are rare or common throughout."""
    groups = []
    for row in sorted(range(len(labels)), key=lambda row: labels[row]):
        if not groups or is_rare[groups[-1][-1]] != is_rare[row]:
            groups.append([])
        groups[-1].append(row)
    return groups


def label_between(new, a, b, y_a, y_b, ranges):
    """Mean of the parents' labels, each weighted by the distance to the other one."""
    to_a, to_b = distance(new, a, ranges), distance(new, b, ranges)
    if to_a + to_b == 0:
        return (y_a + y_b) / 2
    return (to_b * y_a + to_a * y_b) / (to_a + to_b)
