"""Uncertainty voting as a module."""

import torch
from torch import Tensor

from ranksim._utils.checks import check_positive, check_size
from ranksim._utils.precise_module import PreciseModule
from ranksim.functional.nll import Located
from ranksim.functional.uvote import uvote_loss, vote
from ranksim.losses.label_table import LabelTable


class UVoteLoss(PreciseModule):
    r"""Heads trained with different powers of inverse density, of which the surest one predicts.

    Head m of M is trained by a Laplace negative log-likelihood with the weights

    .. math::
        w_m(y) \propto d(y)^{-m / (M - 1)}, \qquad m = 0, \dots, M - 1

    of mean 1 over the training labels, from none for the first head to one over the density d for
    the last one. ``forward(outputs, target, sample_weight=None)`` takes outputs ``(N, ..., 2M)``
    and labels ``(N, ...)`` and returns a scalar; ``split(outputs)`` returns the predictions and
    scales of the heads with the smallest scale. Equation, special cases and errors:
    :func:`ranksim.functional.uvote_loss`.

    Args:
        labels: training labels, floating point ``(M,)``.
        density: their density ``(M,)``, above 0, in any unit, such as counts of label bins.
            Between training labels it is interpolated linearly.
        heads: number of heads, at least 2.
        label_std: standard deviation of the training labels, the unit of the scale.

    Example:
        >>> import torch
        >>> from ranksim.imbalance import KernelDensity
        >>> ages = torch.tensor([21.0, 22, 22, 25, 31, 40, 68, 80])
        >>> density = torch.from_numpy(KernelDensity.from_labels(ages).evaluate(ages))
        >>> model, criterion = torch.nn.Linear(3, 4), UVoteLoss(ages, density, label_std=21.0)
        >>> x = torch.randn(8, 3)
        >>> criterion(model(x), ages).backward()
        >>> preds, scale = criterion.split(model(x))

    References:
        Jiang et al., "Uncertainty Voting Ensemble for Imbalanced Deep Regression" (GCPR 2024,
        arXiv 2305.15178).
    """

    norms: Tensor

    def __init__(
        self, labels: Tensor, density: Tensor, heads: int = 2, label_std: float = 1.0
    ) -> None:
        super().__init__()
        self.heads = check_size("heads", heads, "heads")
        if self.heads < 2:
            raise ValueError(f"heads must be at least 2, got {self.heads}: one has nothing to vote")
        self.label_std = check_positive("label_std", label_std)
        self.density = LabelTable(labels, density, "density")
        if bool((self.density.values <= 0).any()):
            raise ValueError(
                f"density must be above 0, got {float(self.density.values.min()):g}: give the "
                "density at each training label"
            )
        # densities of mean 1: their powers neither overflow nor vanish
        self.density.values.div_(self.density.values.mean())
        weights = self._raise(self.density(labels.detach().flatten()))
        self.register_buffer("norms", weights.mean(dim=0), persistent=False)

    def forward(
        self, outputs: Tensor, target: Tensor, sample_weight: Tensor | None = None
    ) -> Tensor:
        weights = self._raise(self.density(target)) / self.norms
        return uvote_loss(outputs, target, weights, sample_weight, label_std=self.label_std)

    def split(self, outputs: Tensor) -> Located:
        """Return the predictions and their scale, in the unit of the label, ``(N, ...)`` each."""
        return vote(outputs, self.label_std)

    def _raise(self, density: Tensor) -> Tensor:
        """Return the powers ``(N, ..., M)`` of inverse densities."""
        powers = torch.arange(self.heads, device=density.device) / (self.heads - 1)
        return density[..., None] ** -powers.to(density.dtype)

    def extra_repr(self) -> str:
        return f"heads={self.heads!r}, label_std={self.label_std!r}"
