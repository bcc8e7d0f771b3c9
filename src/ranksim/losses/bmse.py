"""Balanced MSE as a module with a learned noise."""

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from ranksim._utils.checks import check_choice, check_positive, check_size
from ranksim._utils.precise_module import PreciseModule
from ranksim.functional._validation import check_generator, check_tensors
from ranksim.functional.bmse import bmc_loss, check_mixture, mixture_loss
from ranksim.functional.sampling import check_position_weight, check_positions, draw_positions

Variant = Literal["bmc", "gai", "bni"]


class BalancedMSELoss(PreciseModule):
    r"""Balanced MSE: the squared error as if all labels were equally frequent.

    .. math::
        2 \bar\sigma^2 \, \frac 1N \sum_i w_i \Bigl( -\log \mathcal N(y_i; p_i, \sigma^2)
        + \log \int \mathcal N(y; p_i, \sigma^2) \, p(y) \, dy \Bigr)

    with the label distribution p(y): the labels of the batch (``"bmc"``, Monte Carlo), a Gaussian
    mixture of the training labels (``"gai"``, in closed form) or bins (``"bni"``). σ is learned;
    its logarithm is the parameter, so that it stays above 0. Train it with a separate
    learning rate: ``optimizer.add_param_group({"params": criterion.parameters(), "lr": 1e-2})``;
    after ``criterion.requires_grad_(False)`` it is fixed.

    ``forward(preds, target, sample_weight=None)`` takes tensors ``(N,)`` or ``(N, 1)`` and returns
    a scalar; ``"bmc"`` also takes K label dimensions, ``(N, K)``. Dense labels ``(N, K, ...)`` are
    NaN where they are unknown; ``"bmc"`` draws ``num_positions`` of them, as it compares all pairs,
    with their weights of shape ``(N, 1, ...)``. Cast to half precision, σ and the components of the
    mixture stay float32 or wider.
    Equations, special cases and errors: :func:`ranksim.functional.bmc_loss` and
    :func:`ranksim.functional.gai_loss`.

    Args:
        variant: ``"bmc"``, ``"gai"`` or ``"bni"``.
        sigma: first value of σ > 0, in standard deviations of the labels.
        label_std: standard deviation of the training labels, in their unit.
        means: of the components of the mixture of ``"gai"``, ``(K,)``; for ``"bni"`` the centers of
            bins.
        variances: of the components of ``"gai"``; left out for ``"bni"``, where they are 0.
        weights: of the components; for ``"bni"`` the frequencies of bins, for example smoothed by
            LDS.
        num_positions: of ``"bmc"`` on dense labels, the number of positions to draw from a batch,
            at least 2.
        generator: random generator of that draw; None is PyTorch's default one.

    Raises:
        ValueError: if an argument is outside its range, or components are missing or not used; in
            ``forward``, for one sample, or one position with a label, with ``"bmc"``.
        TypeError: if an argument has a wrong type.

    Example:
        >>> ages = torch.tensor([21.0, 22, 22, 25, 31, 40, 68, 80])
        >>> criterion = BalancedMSELoss("bmc", label_std=float(ages.std()))
        >>> preds = torch.full((8,), 30.0, requires_grad=True)
        >>> criterion(preds, ages).backward()
        >>> preds.grad.shape, criterion.sigma.item() > 0
        (torch.Size([8]), True)

    References:
        Ren et al., "Balanced MSE for Imbalanced Visual Regression" (CVPR 2022), section 4. Learning
        the logarithm of σ, and weights of samples, are additions.
    """

    means: Tensor
    variances: Tensor
    weights: Tensor

    def __init__(
        self,
        variant: Variant = "bmc",
        *,
        sigma: float = 1.0,
        label_std: float = 1.0,
        means: Tensor | None = None,
        variances: Tensor | None = None,
        weights: Tensor | None = None,
        num_positions: int | None = None,
        generator: torch.Generator | None = None,
    ) -> None:
        super().__init__()
        check_choice("variant", variant, get_args(Variant))
        check_generator(generator)
        if num_positions is not None:
            num_positions = check_size("num_positions", num_positions, "positions")
            if variant != "bmc":
                raise ValueError(f"num_positions is for variant 'bmc' only, got {variant!r}")
            if num_positions < 2:
                raise ValueError("num_positions must be at least 2, as BMC compares labels, got 1")
        self.variant = variant
        self.num_positions, self.generator = num_positions, generator
        start = check_positive("sigma", sigma) * check_positive("label_std", label_std)
        self.log_sigma = nn.Parameter(torch.tensor(math.log(start)))
        components = {"means": means, "variances": variances, "weights": weights}
        self._add_mixture({k: v for k, v in components.items() if v is not None})

    def _add_mixture(self, components: dict[str, Tensor]) -> None:
        """Store the components of the mixture, which the training labels determine."""
        needed = {"bmc": (), "gai": ("means", "variances", "weights"), "bni": ("means", "weights")}
        names = needed[self.variant]
        if {*components} != {*names}:
            listed = " and ".join(names) or "no means, variances or weights"
            raise ValueError(f"variant {self.variant!r} takes {listed}, got {sorted(components)}")
        if not components:
            return
        check_tensors(**components)
        components = {"variances": torch.zeros_like(components["means"]), **components}
        check_mixture(**components)
        for name, values in components.items():
            self.register_buffer(name, values.detach().double(), persistent=False)

    @property
    def sigma(self) -> Tensor:
        """The noise of the labels, in their unit."""
        return self.log_sigma.exp()

    def forward(self, preds: Tensor, target: Tensor, sample_weight: Tensor | None = None) -> Tensor:
        if self.variant != "bmc":
            mixture = (self.means, self.variances, self.weights)
            return mixture_loss(preds, target, self.sigma, mixture, sample_weight)
        if self.num_positions is not None:
            preds, target, sample_weight = self._draw(
                preds, target, sample_weight, self.num_positions
            )
        return bmc_loss(preds, target, self.sigma, sample_weight)

    def _draw(
        self, preds: Tensor, target: Tensor, sample_weight: Tensor | None, count: int
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return predictions and labels ``(P, K)`` and weights ``(P,)`` of drawn positions."""
        check_positions(preds, target)
        if sample_weight is not None:
            check_position_weight(sample_weight, target)
        index = draw_positions(target, count, self.generator)
        if len(index[0]) == 1:
            raise ValueError(
                f"target must have labels at 2 positions or more, got 1 in shape "
                f"{tuple(target.shape)}: BMC compares the labels of a batch, so leave this one out"
            )
        if sample_weight is not None:
            sample_weight = sample_weight[:, 0][index]
        return preds.movedim(1, -1)[index], target.movedim(1, -1)[index], sample_weight

    def extra_repr(self) -> str:
        return f"variant={self.variant!r}, sigma={self.sigma.item():.4g}"
