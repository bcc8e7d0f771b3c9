"""Weighted regression losses in plain NumPy float64: value and gradient, one sample at a time."""

import math

import numpy as np


def l1(e):
    """|e|, and its slope sign(e)."""
    return abs(e), (e > 0) - (e < 0)


def mse(e):
    """e², and its slope 2e."""
    return e * e, 2 * e


def huber(e, delta=1.0):
    """e²/2 where |e| ≤ δ, δ(|e| − δ/2) beyond, and the slope e or ±δ."""
    if abs(e) <= delta:
        return e * e / 2, e
    return delta * (abs(e) - delta / 2), math.copysign(delta, e)


def focal_r(e, base="mse", activation="sigmoid", beta=0.2, gamma=1.0):
    """v·f^γ, and v'·f^γ + v·γ·f^(γ−1)·f'; at e = 0 the slope is 0, the limit of e²f^γ and |e|f^γ.

    f = 2σ(β|e|) − 1 has f' = 2βσ(1 − σ)sign(e); f = tanh(β|e|) has f' = β(1 − f²)sign(e).
    """
    value, slope = {"mse": mse, "l1": l1}[base](e)
    if e == 0:
        return 0.0, 0.0
    sign = math.copysign(1.0, e)
    if activation == "sigmoid":
        sigma = 1 / (1 + math.exp(-beta * abs(e)))
        factor, factor_slope = 2 * sigma - 1, 2 * beta * sigma * (1 - sigma) * sign
    else:
        factor = math.tanh(beta * abs(e))
        factor_slope = beta * (1 - factor**2) * sign
    return (
        value * factor**gamma,
        slope * factor**gamma + value * gamma * factor ** (gamma - 1) * factor_slope,
    )


def weighted(loss, preds, target, sample_weight=None, reduction="mean", **settings):
    """The reduced loss, and its gradient by the preds; of the sum where nothing is reduced."""
    preds, target = np.asarray(preds, np.float64), np.asarray(target, np.float64)
    sample_weight = (
        np.ones(target.shape) if sample_weight is None else np.asarray(sample_weight, np.float64)
    )
    values, gradient = np.zeros(target.shape), np.zeros(target.shape)
    for i in np.ndindex(target.shape):
        value, slope = loss(float(preds[i] - target[i]), **settings)
        values[i], gradient[i] = sample_weight[i] * value, sample_weight[i] * slope
    if reduction == "none":
        return values, gradient
    share = 1
    if reduction == "mean" and target.size:
        share = target.size
    elif reduction == "weighted_mean":
        share = sample_weight.sum() or 1
    return values.sum() / share, gradient / share
