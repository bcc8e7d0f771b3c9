"""Label distribution smoothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ranksim.imbalance.smoothing import Kernel, kernel_window


@dataclass(frozen=True)
class LDS:
    """Label distribution smoothing: counts are convolved with a kernel before they are inverted.

    Arguments and errors are those of :func:`ranksim.imbalance.kernel_window`; the defaults are those
    of all published runs.

    Source: Yang et al., "Delving into Deep Imbalanced Regression" (ICML 2021), section 3.1.
    """

    kernel: Kernel = "gaussian"
    size: int = 5
    sigma: float = 2.0

    def __post_init__(self) -> None:
        kernel_window(self.kernel, self.size, self.sigma)

    @property
    def window(self) -> NDArray[np.float64]:
        """The kernel over bins, shape ``(size,)``, its largest value 1."""
        return kernel_window(self.kernel, self.size, self.sigma)
