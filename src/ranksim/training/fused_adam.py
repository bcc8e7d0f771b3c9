"""Adam on CPU tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

_BETA1, _BETA2, _EPS = 0.9, 0.999, 1e-8


class FusedAdam:
    """``torch.optim.Adam(..., fused=True)`` without its import of PyTorch's compiler.

    That import takes longer than training on a small table. Parameters without a gradient are
    skipped.

    Args:
        groups: of parameters on the CPU, each with ``params``, ``lr`` and ``weight_decay``, the
            factor of the parameters that is added to their gradients.
    """

    def __init__(self, groups: Iterable[Mapping[str, Any]]) -> None:
        self.param_groups: list[dict[str, Any]] = [
            {**group, "initial_lr": group["lr"]} for group in groups
        ]
        self.params: list[Tensor] = [p for group in self.param_groups for p in group["params"]]
        self.all_steps = torch.zeros(len(self.params))
        self.steps = list(self.all_steps.unbind())  # views, which are counted at once
        self.means = [torch.zeros_like(p) for p in self.params]  # of the gradients
        self.squares = [torch.zeros_like(p) for p in self.params]  # of squared gradients

    def clip_gradients(self, max_norm: float) -> None:
        """Do the same as ``torch.nn.utils.clip_grad_norm_``, in a third of its time."""
        grads = [p.grad for p in self.params if p.grad is not None]
        if not grads:
            return
        norms = torch.stack(torch._foreach_norm(grads))
        norm = np.float32(torch.linalg.vector_norm(norms).item())
        # PyTorch divides in this way, in float32
        factor = float(1 / (norm + np.float32(1e-6)) * np.float32(max_norm))
        if not factor >= 1.0:  # also if it is NaN
            torch._foreach_mul_(grads, factor)

    @torch.no_grad()
    def step(self) -> None:
        """Update the parameters in place."""
        start = 0
        for group in self.param_groups:
            stop = start + len(group["params"])
            self._update(group, slice(start, stop))
            start = stop

    def _update(self, group: Mapping[str, Any], place: slice) -> None:
        """Update the parameters of a group, which are at a place of the lists."""
        every = (self.params, self.means, self.squares, self.steps)
        lists: list[list[Tensor]] = [each[place] for each in every]
        grads = [p.grad for p in lists[0] if p.grad is not None]
        if not grads:
            return
        if len(grads) == len(lists[0]):
            self.all_steps[place] += 1
        else:
            used = [k for k, p in enumerate(lists[0]) if p.grad is not None]
            lists = [[each[k] for k in used] for each in lists]
            for steps in lists[-1]:
                steps += 1
        params, means, squares, all_steps = lists
        torch._fused_adam_(
            *(params, grads, means, squares, [], all_steps),
            amsgrad=False,
            beta1=_BETA1,
            beta2=_BETA2,
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=_EPS,
            maximize=False,
        )

    def zero_grad(self) -> None:
        """Delete the gradients."""
        for param in self.params:
            param.grad = None

    def state_dict(self) -> dict[str, list[Tensor]]:
        """Return the state, for a checkpoint."""
        return {"steps": self.steps, "means": self.means, "squares": self.squares}

    def load_state_dict(self, state: Mapping[str, list[Tensor]]) -> None:
        """Restore a state of ``state_dict``."""
        for name, values in self.state_dict().items():
            for value, saved in zip(values, state[name], strict=True):
                value.copy_(saved)
