"""Label distribution smoothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranksim.imbalance.smoothing import Kernel, kernel_window


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
