"""A function of the labels that is known at the training labels."""

import torch
from torch import Tensor

from ranksim._utils.precise_module import PreciseModule
from ranksim.functional._batch import interpolate
from ranksim.functional._validation import check_tensors


class LabelTable(PreciseModule):
    """Linear interpolation between values at the training labels, constant beyond them.

    Args:
        labels: training labels ``(M,)``, floating point, in any order; equal ones have one value.
        values: a value of each, ``(M,)``.
        name: what the values are, in messages.
    """

    knots: Tensor
    values: Tensor

    def __init__(self, labels: Tensor, values: Tensor, name: str) -> None:
        super().__init__()
        check_tensors(labels=labels, **{name: values})
        if labels.ndim != 1 or labels.shape != values.shape or not len(labels):
            raise ValueError(
                f"labels and {name} must have shape (M,), got {tuple(labels.shape)} and "
                f"{tuple(values.shape)}"
            )
        if not bool(labels.isfinite().all() & values.isfinite().all()):
            raise ValueError(f"labels and {name} must be finite, got NaN or infinity")
        knots, order = labels.detach().double().sort(stable=True)
        first = torch.cat([knots.new_ones(1, dtype=torch.bool), knots[1:] > knots[:-1]])
        self.register_buffer("knots", knots[first], persistent=False)
        self.register_buffer("values", values.detach().double()[order][first], persistent=False)

    def forward(self, labels: Tensor) -> Tensor:
        check_tensors(target=labels)
        return interpolate(labels.detach().to(self.knots), self.knots, self.values)
