"""Linear heads of a network, which turn features into a prediction and perhaps a distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ranksim.functional.nll import split_scale
from ranksim.functional.quantile import LEVELS, check_levels
from ranksim.functional.uvote import vote

Family = Literal["", "gaussian", "laplace", "quantiles"]


class Head(nn.Linear):
    """A linear layer whose one output is the prediction.

    A head with several outputs derives from this class. Its loss is called with all of them.

    Args:
        width: D, of the features ``(N, D)``.
        outputs: K, numbers per sample.
        locations: the first of these, which are predictions of the label.

    Example:
        >>> head = Head(4)
        >>> head.locate(head(torch.randn(3, 4))).shape
        torch.Size([3])
    """

    family: Family = ""  # of the predicted distribution
    levels: tuple[float, ...] = ()  # of predicted quantiles

    def __init__(self, width: int, outputs: int = 1, locations: int = 1) -> None:
        super().__init__(width, outputs)
        self.locations = locations

    def locate(self, outputs: Tensor) -> Tensor:
        """Return the predictions ``(N,)`` of outputs ``(N, K)``, or ``(N,)`` of one each."""
        return outputs if outputs.ndim == 1 else outputs.squeeze(-1)

    def spread(self, outputs: Tensor) -> Tensor:
        """Return the scale ``(N, 1)`` or the quantiles ``(N, Q)`` of outputs ``(N, K)``.

        It has no columns if the head predicts no distribution.
        """
        return outputs.new_zeros(len(outputs), 0)

    def start_at(self, prediction: float) -> None:
        """Set the biases so that the first predictions are near this one."""
        nn.init.constant_(self.bias[: self.locations], prediction)


class ScaleHead(Head):
    """A head with a location and the logarithm of a scale.

    Args:
        width: D, of the features ``(N, D)``.
        family: ``"gaussian"`` or ``"laplace"``, see :class:`ranksim.GaussianLoss`.
        unit: the standard deviation of the training labels, the unit of the scale. It is stored
            with the weights.
    """

    unit: Tensor

    def __init__(
        self, width: int, family: Family, unit: float = 1.0, *, outputs: int = 2, locations: int = 1
    ) -> None:
        super().__init__(width, outputs, locations)
        self.family = family
        self.register_buffer("unit", torch.tensor(float(unit)))

    def locate(self, outputs: Tensor) -> Tensor:
        return split_scale(outputs).preds

    def spread(self, outputs: Tensor) -> Tensor:
        return split_scale(_widen(outputs), self.unit).scale[:, None]


class UVoteHead(ScaleHead):
    """Several locations and scales; the location with the smallest scale is the prediction.

    Args:
        width: D, of the features ``(N, D)``.
        heads: number of locations, see :class:`ranksim.UVoteLoss`.
        unit: as for :class:`ScaleHead`.

    Example:
        >>> head = UVoteHead(4, heads=2, unit=10.0)
        >>> outputs = torch.tensor([[30.0, 50.0, 0.5, 0.0]])
        >>> head.locate(outputs), head.spread(outputs)
        (tensor([50.]), tensor([[10.]]))
    """

    def __init__(self, width: int, heads: int = 2, unit: float = 1.0) -> None:
        super().__init__(width, "laplace", unit, outputs=2 * heads, locations=heads)

    def locate(self, outputs: Tensor) -> Tensor:
        return vote(outputs).preds

    def spread(self, outputs: Tensor) -> Tensor:
        return vote(_widen(outputs), self.unit).scale[:, None]


class QuantileHead(Head):
    """Quantiles at several levels, of which the median is the prediction.

    Quantiles that cross are sorted.

    Args:
        width: D, of the features ``(N, D)``.
        levels: ascending, with 0.5 among them.

    Example:
        >>> head = QuantileHead(4, (0.05, 0.5, 0.95))
        >>> outputs = torch.tensor([[30.0, 20.0, 50.0]])
        >>> head.locate(outputs), head.spread(outputs)
        (tensor([30.]), tensor([[20., 30., 50.]]))
    """

    family: Family = "quantiles"

    def __init__(self, width: int, levels: Sequence[float] = LEVELS) -> None:
        ascending = check_levels(levels)
        super().__init__(width, len(ascending), len(ascending))
        if 0.5 not in ascending:
            raise ValueError(f"levels must contain 0.5, the prediction, got {ascending}")
        self.levels = ascending

    def locate(self, outputs: Tensor) -> Tensor:
        return self.spread(outputs)[:, self.levels.index(0.5)]

    def spread(self, outputs: Tensor) -> Tensor:
        return outputs.sort(dim=-1).values


def _widen(outputs: Tensor) -> Tensor:
    """Return outputs in float32 at least: a scale in half precision has three digits."""
    return outputs.to(torch.promote_types(outputs.dtype, torch.float32))
