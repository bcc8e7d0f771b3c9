"""The ascent step of sharpness-aware minimization."""

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor

from ranksim._utils.checks import check_positive, describe_value


def ascent_step(gradients: Sequence[Tensor | None], rho: float) -> list[Tensor | None]:
    r"""Return the step of length ρ along a gradient, over all of its tensors together.

    .. math::  \varepsilon = \rho \, g / \lVert g \rVert_2

    Args:
        gradients: one tensor per parameter; None has no step.
        rho: ρ > 0.

    Returns:
        The steps, in the order and dtypes of the gradients; zeros if the gradient is zero or not
        finite.

    Raises:
        TypeError: if the gradients are not a list of tensors.
        ValueError: if ``rho`` is not a finite number above 0.

    References:
        Foret et al., "Sharpness-Aware Minimization for Efficiently Improving Generalization" (ICLR
        2021); with the gradient of a weighted loss: Liu et al., BSAM (ICCV 2025).
    """
    rho = check_positive("rho", rho)
    if not isinstance(gradients, Sequence) or not all(
        each is None or isinstance(each, Tensor) for each in gradients
    ):
        raise TypeError(f"gradients must be a list of tensors, got {describe_value(gradients)}")
    present = [gradient for gradient in gradients if gradient is not None]
    if not present:
        return list(gradients)
    dtype = reduce(torch.promote_types, (each.dtype for each in present), torch.float32)
    norms = torch.stack([torch.linalg.vector_norm(each, dtype=dtype) for each in present])
    norm = torch.linalg.vector_norm(norms)
    usable = norm.isfinite() & (norm > 0)
    factor = torch.where(usable, rho / torch.where(usable, norm, 1.0), 0.0)
    zero = torch.zeros_like(factor)
    return [
        None
        if each is None
        else torch.where(usable, each, zero.to(each.dtype)) * factor.to(each.dtype)
        for each in gradients
    ]
