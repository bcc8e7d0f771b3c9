"""Kernels over label bins, convolution with them, and label distribution smoothing."""

from __future__ import annotations

import math
import numbers
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ranksim._utils.checks import check_choice, describe_value
from ranksim.imbalance.bins import to_real_array

Kernel = Literal["gaussian", "gaussian-textbook", "triangular", "laplace"]
KERNELS: tuple[Kernel, ...] = get_args(Kernel)
Boundary = Literal["zero", "reflect"]
BOUNDARIES: tuple[Boundary, ...] = get_args(Boundary)
MAX_SIGMA = 1e6


def kernel_window(
    kernel: Kernel = "gaussian", kernel_size: int = 5, sigma: float = 2.0
) -> NDArray[np.float64]:
    """Return a symmetric kernel over bins with maximum 1, shape ``(kernel_size,)``.

    With x the distance from the center in bins::

        gaussian            a unit impulse of length kernel_size through a Gaussian filter (radius
                            int(4σ + 0.5), sum one, reflecting boundary), divided by its maximum
        gaussian-textbook   exp(−x² / 2σ²)
        triangular          1 − |x| / ((kernel_size + 1) / 2)
        laplace             exp(−|x| / σ)

    Args:
        kernel: ``"gaussian"`` is the published kernel; reflection makes it flatter than the
            textbook's.
        kernel_size: number of bins, odd.
        sigma: σ in bins, in (0, 1e6]; the triangular kernel ignores it.

    Example:
        >>> kernel_window("gaussian", 5, 2.0).round(3).tolist()
        [0.858, 0.946, 1.0, 0.946, 0.858]
        >>> kernel_window("gaussian-textbook", 5, 2.0).round(3).tolist()
        [0.607, 0.882, 1.0, 0.882, 0.607]

    References:
        Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021), section 3.1. The paper
        does not define ``"gaussian"``; it is the kernel of its code.
    """
    check_choice("kernel", kernel, KERNELS)
    if not (isinstance(kernel_size, numbers.Integral) and kernel_size > 0 and kernel_size % 2):
        raise ValueError(
            f"kernel_size must be an odd integer of at least 1, got {describe_value(kernel_size)}"
        )
    if not (isinstance(sigma, numbers.Real) and 0 < float(sigma) <= MAX_SIGMA):
        raise ValueError(
            f"sigma must be above 0 and at most {MAX_SIGMA:g} bins, got {describe_value(sigma)}"
        )
    sigma = float(sigma)
    radius = int(kernel_size) // 2
    distance = np.abs(np.arange(-radius, radius + 1, dtype=np.float64))
    if kernel == "triangular":
        return 1 - distance / (radius + 1)
    if kernel == "laplace":
        with np.errstate(over="ignore", under="ignore"):
            return np.exp(-distance / sigma)
    if kernel == "gaussian-textbook":
        return _gaussian(radius, sigma)
    taps = _gaussian(math.floor(4 * sigma + 0.5), sigma)
    impulse = (distance == 0).astype(np.float64)
    window = smooth(impulse, taps / taps.sum(), "reflect")
    return window / window.max()


def smooth(
    values: ArrayLike, window: ArrayLike, boundary: Boundary = "zero"
) -> NDArray[np.float64]:
    """Convolve values over bins with a window along the first axis, in float64.

    With r = (S − 1) / 2; the window is not normalized::

        out_k = Σ_j window_j · values_{k + r − j}

    Args:
        values: shape ``(K,)`` or ``(K, D)``, K at least 1.
        window: shape ``(S,)``, S odd; it may be longer than K.
        boundary: values outside: ``"zero"`` (0 0 | a b c | 0 0), or ``"reflect"``
            (b a | a b c | c b), repeated as needed.

    Returns:
        float64 of the shape of ``values``.

    Example:
        >>> smooth([4, 0, 0, 2], [0.5, 1.0, 0.5]).tolist()
        [4.0, 2.0, 1.0, 2.0]
        >>> smooth([4, 0, 0, 2], [0.5, 1.0, 0.5], "reflect").tolist()
        [6.0, 2.0, 1.0, 3.0]
    """
    table = to_real_array(values, "values").astype(np.float64)
    taps = to_real_array(window, "window").astype(np.float64)
    if table.ndim not in (1, 2) or len(table) == 0:
        raise ValueError(f"values must have shape (K,) or (K, D) with K >= 1, got {table.shape}")
    if taps.ndim != 1 or len(taps) % 2 == 0:
        raise ValueError(f"window must have shape (S,) with S odd, got {taps.shape}")
    check_choice("boundary", boundary, BOUNDARIES)
    bins, radius = len(table), len(taps) // 2
    if boundary == "zero":
        padded = np.pad(table, [(radius, radius)] + [(0, 0)] * (table.ndim - 1))
    else:
        index = np.arange(-radius, bins + radius) % (2 * bins)  # reflection has period 2K
        padded = table[np.minimum(index, 2 * bins - 1 - index)]
    out = np.zeros_like(table)
    for j, tap in enumerate(taps[::-1]):
        out += tap * padded[j : j + bins]
    return out


def _gaussian(radius: int, sigma: float) -> NDArray[np.float64]:
    """Return exp(−x² / 2σ²) for x from −radius to radius."""
    x = np.arange(-radius, radius + 1, dtype=np.float64)
    with np.errstate(over="ignore", under="ignore"):  # a tiny sigma gives an impulse
        return np.exp(-0.5 * (x / sigma) ** 2)


@dataclass(frozen=True)
class LDS:
    """Label distribution smoothing: convolves bin counts with a kernel before they are inverted.

    With the kernel k of length S, r = (S − 1) / 2, and the count n of each bin (after clip and
    root, see :class:`ranksim.imbalance.DensityWeights`)::

        ñ_b = Σ_j k_j · n_{b + r − j}

    The defaults are the settings of all published runs.

    Args:
        kernel: ``"gaussian"`` (as published), ``"gaussian-textbook"``, ``"triangular"`` or
            ``"laplace"``; see :func:`ranksim.imbalance.kernel_window`.
        kernel_size: length S of the kernel in bins, odd.
        sigma: standard deviation (Gaussian) or scale (Laplace) in bins, in (0, 1e6].

    Raises:
        ValueError: an argument is outside its range.

    Example:
        >>> LDS("triangular", kernel_size=3).window.tolist()
        [0.5, 1.0, 0.5]

    References:
        Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021), section 3.1.
    """

    kernel: Kernel = "gaussian"
    kernel_size: int = 5
    sigma: float = 2.0

    def __post_init__(self) -> None:
        kernel_window(self.kernel, self.kernel_size, self.sigma)

    @property
    def window(self) -> NDArray[np.float64]:
        """The kernel over bins, shape ``(kernel_size,)``, with maximum 1."""
        return kernel_window(self.kernel, self.kernel_size, self.sigma)
