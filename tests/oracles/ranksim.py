"""RankSim in plain NumPy float64, written from the equations, one loop a sum."""

from fractions import Fraction

import numpy as np

# equal samples are equal: similarities are compared after rounding away the noise of float64
DECIMALS = 12


def rank(values, ties="min"):
    """rk(a)_i = 1 + |{j : a_j > a_i}|; equal values: their mean place, or by index."""
    values = list(values)
    ranks = []
    for i, a in enumerate(values):
        larger = sum(b > a for b in values)
        equal = sum(b == a for b in values)
        before = sum(b == a for b in values[:i])
        ranks.append(1 + larger + {"min": 0, "average": (equal - 1) / 2, "ordinal": before}[ties])
    return np.array(ranks, dtype=np.float64)


def fast_rank(values, ties="min"):
    """The same as :func:`rank`, by comparing a whole row at once (held against it in a test)."""
    a = np.asarray(values, dtype=np.float64)
    larger = (a[None, :] > a[:, None]).sum(1)
    same = a[None, :] == a[:, None]
    if ties == "min":
        extra = 0
    elif ties == "average":
        extra = (same.sum(1) - 1) / 2
    else:
        extra = np.tril(same, -1).sum(1)
    return (1.0 + larger + extra).astype(np.float64)


def similarities(z):
    """Unit rows, their lengths, and cosine similarities."""
    z = np.asarray(z, dtype=np.float64)
    length = np.array([np.sqrt(np.dot(row, row)) for row in z])
    unit = np.array([row / n if n > 0 else row * 0 for row, n in zip(z, length, strict=True)])
    m = len(z)
    s = np.array([[np.dot(unit[i], unit[j]) for j in range(m)] for i in range(m)])
    return unit.reshape(z.shape), length, np.round(s.reshape(m, m), DECIMALS)


def ranksim(z, label_similarity, gamma, lambda_, ties="min"):
    """γ · L_RankSim per anchor, (M,), and the gradient each anchor contributes, (M, M, D)."""
    z = np.asarray(z, dtype=np.float64)
    m = len(z)
    unit, length, s = similarities(z)
    values = np.zeros(m)
    gradient = np.zeros((m, *z.shape))
    for i in range(m):
        r_z = fast_rank(s[i], ties) / m
        r_y = fast_rank(label_similarity[i], ties) / m
        values[i] = gamma * np.sum((r_z - r_y) ** 2) / m
        g = 2 * gamma / m * (r_z - r_y)
        moved = fast_rank(np.round(s[i] + lambda_ * g, DECIMALS), ties) / m
        slope = -(r_z - moved) / lambda_
        to_unit = np.zeros_like(z)  # S_ij = ⟨ẑ_i, ẑ_j⟩
        for j in range(m):
            to_unit[i] += slope[j] * unit[j]
            to_unit[j] += slope[j] * unit[i]
        for j in range(m):  # ẑ = z/‖z‖ has the Jacobian (I − ẑẑᵀ)/‖z‖
            if length[j] > 0:
                jacobian = (np.eye(z.shape[1]) - np.outer(unit[j], unit[j])) / length[j]
                gradient[i, j] = jacobian @ to_unit[j]
    return values, gradient


def neg_l1(y):
    """S_ij = −Σ_k |y_ik − y_jk|."""
    y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
    return np.array([[-np.abs(a - b).sum() for b in y] for a in y]).reshape(len(y), len(y))


def rational_ranksim(z, y, gamma, lambda_, ties="min"):
    """The gradient for rows of ±1 whose width is a square, ranks and ties in exact fractions."""
    m, width = np.shape(z)
    root = int(np.sqrt(width))
    unit = np.asarray(z, dtype=np.float64) / root
    s = [[Fraction(int(np.dot(a, b)), width) for b in z] for a in z]
    to_unit = np.zeros((m, width))
    for i in range(m):
        r_z = [Fraction(r) / m for r in rank(s[i], ties)]
        r_y = [Fraction(r) / m for r in rank([-abs(int(y[i]) - int(b)) for b in y], ties)]
        g = [Fraction(2 * gamma, m) * (a - b) for a, b in zip(r_z, r_y, strict=True)]
        moved = rank([a + lambda_ * b for a, b in zip(s[i], g, strict=True)], ties)
        for j in range(m):
            slope = float(-(r_z[j] - Fraction(moved[j]) / m) / lambda_)
            to_unit[i] += slope * unit[j]
            to_unit[j] += slope * unit[i]
    return (to_unit - unit * (to_unit * unit).sum(1, keepdims=True)) / root
