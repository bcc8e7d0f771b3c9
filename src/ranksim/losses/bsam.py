"""Balanced sharpness-aware minimization, around any optimizer."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ranksim._utils.checks import check_positive, describe_value
from ranksim.functional._validation import check_tensors
from ranksim.functional.bsam import ascent_step

_FLOAT16_SCALE = 1024.0  # so that small gradients do not vanish; the step has a fixed length


class BSAM:
    r"""Balanced sharpness-aware minimization (BSAM): descend from where rare labels err most.

    .. math::
        \varepsilon = \rho \, \frac{\nabla L_w(\theta)}{\lVert \nabla L_w(\theta) \rVert_2},
        \qquad g = \nabla L(\theta + \varepsilon)

    with a loss :math:`L_w` whose samples are weighted by 1/√n. The optimizer's step uses g, so
    that a step costs two forward and two backward passes. Inside ``with sam.perturbed(loss):``
    the parameters are θ + ε, and after it θ again, exactly. BatchNorm takes its running statistics
    at θ alone. With several processes, ε is that of their mean gradient.

    Args:
        model: whose parameters are perturbed.
        rho: ρ > 0, length of the ascent.

    Raises:
        TypeError: if the model is not a module.
        ValueError: if ``rho`` is not a finite number above 0.

    Example:
        >>> model, y = torch.nn.Linear(3, 1), torch.tensor([[1.0], [2.0], [9.0]])
        >>> x, sam = torch.randn(3, 3), BSAM(model, rho=0.05)
        >>> weight = torch.tensor([[0.8], [0.8], [1.4]])  # 1/√n
        >>> with sam.perturbed((weight * (model(x) - y).square()).mean()):
        ...     (model(x) - y).square().mean().backward()

    References:
        Liu et al., BSAM (ICCV 2025), for the ascent along the weighted loss. Accumulated batches
        have an ascent each.
    """

    def __init__(self, model: nn.Module, rho: float = 0.05) -> None:
        if not isinstance(model, nn.Module):
            raise TypeError(f"model must be a torch.nn.Module, got {describe_value(model)}")
        self.model, self.rho = model, check_positive("rho", rho)
        self._originals: list[tuple[Tensor, Tensor]] = []
        self._momenta: list[tuple[nn.modules.batchnorm._BatchNorm, float | None]] = []
        self._counts: list[tuple[Tensor, Tensor]] = []  # of batches, for BatchNorm's mean of them

    def ascend(self, loss: Tensor) -> None:
        """Move the parameters along the gradient of a loss, until :meth:`restore`.

        Raises:
            TypeError: if the loss is not a tensor.
            ValueError: if the loss is not a scalar, or has no gradient.
            RuntimeError: if the parameters are moved already.
        """
        params = [p for p in self.model.parameters() if p.requires_grad]
        self._check_loss(loss, params)
        device = loss.device.type
        is_half = torch.is_autocast_enabled(device) and (
            torch.get_autocast_dtype(device) == torch.float16
        )
        scaled = loss * _FLOAT16_SCALE if is_half else loss
        gradients = list(torch.autograd.grad(scaled, params, allow_unused=True))
        if all(gradient is None for gradient in gradients):
            raise ValueError("loss must depend on parameters of the model, but it depends on none")
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            for gradient in gradients:
                if gradient is not None:
                    dist.all_reduce(gradient)
        with torch.no_grad():
            for param, step in zip(params, ascent_step(gradients, self.rho), strict=True):
                if step is not None:
                    self._originals.append((param, param.clone()))
                    param.add_(step)
        for module in self.model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                self._momenta.append((module, module.momentum))
                module.momentum = 0.0
                count = module.num_batches_tracked
                if count is not None:
                    self._counts.append((count, count.clone()))
        torch.clear_autocast_cache()  # of the weights before

    @torch.no_grad()
    def restore(self) -> None:
        """Set the parameters to their values before :meth:`ascend`."""
        for tensor, original in self._originals + self._counts:
            tensor.copy_(original)
        for module, momentum in self._momenta:
            module.momentum = momentum
        self._originals, self._momenta, self._counts = [], [], []

    def _check_loss(self, loss: Tensor, params: list[nn.Parameter]) -> None:
        """Raise an error unless the parameters can ascend along the gradient of the loss."""
        if self._originals:
            raise RuntimeError(
                "BSAM.ascend needs BSAM.restore() before the next ascent, because the parameters "
                "are moved already; `with sam.perturbed(loss):` restores them"
            )
        check_tensors(loss=loss)
        if not params:
            raise ValueError(
                "model must have parameters that require gradients, but all are frozen: set "
                "requires_grad of some to True"
            )
        if loss.numel() != 1:
            raise ValueError(
                f"loss must be a scalar, got shape {tuple(loss.shape)}: take its mean or sum"
            )
        if not loss.requires_grad:
            raise ValueError(
                "loss must have a gradient, got one without: compute it from the model's "
                "predictions, outside torch.no_grad()"
            )

    @contextmanager
    def perturbed(self, loss: Tensor) -> Iterator[None]:
        """Context in which the parameters are moved along the gradient of a loss."""
        self.ascend(loss)
        try:
            yield
        finally:
            self.restore()
