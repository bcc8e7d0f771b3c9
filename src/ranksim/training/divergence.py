"""A training whose loss stops being a number, or explodes, ends at that step and says where."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from ranksim.exceptions import RankSimError

EXPLODED = 1e4
"""The mean loss of a batch that is so many times the largest of :func:`explosion_threshold` has exploded."""
_SHOWN = 5  # samples that a sentence names


@dataclass(frozen=True)
class SampleIds:
    """How whoever owns the data counts the training samples.

    Args:
        numbers: of each, int64 ``(N,)``.
        counted: what they count, ``"line"`` or ``"row"``.
        name: of the table.
    """

    numbers: NDArray[np.int64]
    counted: str
    name: str


@dataclass(frozen=True)
class Divergence:
    """Where a training diverged.

    Args:
        part: what did: ``"loss"``, ``"RankSim term"``, or a validation score.
        value: it: NaN, infinite, or beyond ``limit``.
        step: of the optimiser, counted from 1: that under way, or the last before a validation.
        epoch: counted from 1.
        lr: learning rate of that step.
        samples: positions of the batch's samples in the training part, counted from 0; none of a
            validation score.
        limit: beyond which a loss has exploded.
        ranksim: whether RankSim takes part.
        numbers, counted, table: the same samples in the user's own table (see
            :class:`SampleIds`).
    """

    part: str
    value: float
    step: int
    epoch: int
    lr: float
    samples: Sequence[int] = ()
    limit: float = math.inf
    ranksim: bool = False
    numbers: Sequence[int] = ()
    counted: str = ""
    table: str = ""

    def told(self) -> str:
        """The one sentence.

        Example:
            >>> found = Divergence("loss", float("nan"), 120, 3, 0.1, [7, 3, 9, 12, 4, 0, 1])
            >>> found.told()[:68]
            'Training diverged at step 120 (epoch 3, lr 0.1): the loss is nan on '
            >>> found.told()[68:]
            'training samples 7, 3, 9, 12, 4 and 2 more; lower lr.'
        """
        value, beyond = f"{self.value:.3g}", ""
        if math.isfinite(self.value):
            beyond = f", beyond {self.limit:.3g},"
        where = ""
        if self.samples:
            shown = self.numbers or self.samples
            kind = f"{self.counted or 'training sample'}{'s' * (len(shown) > 1)}"
            more = f" and {len(shown) - _SHOWN:,} more" if len(shown) > _SHOWN else ""
            of = f" of {self.table}" if self.table else ""
            where = f" on {kind} {', '.join(map(str, shown[:_SHOWN]))}{more}{of}"
        return (
            f"Training diverged at step {self.step} (epoch {self.epoch}, lr {self.lr:g}): the "
            f"{self.part} is {value}{beyond}{where}; lower lr{' or ranksim_weight' * self.ranksim}."
        )

    def recorded(self) -> dict[str, Any]:
        """What a record holds of it; JSON has no NaN."""
        found = {"value": self.value, "limit": self.limit}
        plain = {k: v if math.isfinite(v) else str(v) for k, v in found.items()}
        where = {"step": self.step, "epoch": self.epoch, "lr": self.lr}
        own = {self.counted + "s": list(self.numbers)} if self.numbers else {}
        return {**where, "part": self.part, **plain, "samples": list(self.samples), **own}

    def counted_by(self, ids: SampleIds | None) -> Divergence:
        """The same with samples as their owner counts them."""
        if ids is None or not self.samples:
            return self
        numbers = ids.numbers[list(self.samples)].tolist()
        return dataclasses.replace(self, numbers=numbers, counted=ids.counted, table=ids.name)


class DivergedError(RankSimError):
    """A training diverged; ``found`` says where."""

    def __init__(self, found: Divergence) -> None:
        super().__init__(found.told())
        self.found = found
        if dist.is_available() and dist.is_initialized():
            # what leaves such a process is a traceback, which ends with this
            self.add_note(json.dumps(dataclasses.asdict(found)))

    def __reduce__(self) -> tuple[type[Self], tuple[Divergence]]:
        return type(self), (self.found,)

    @classmethod
    def from_traceback(cls, lines: Sequence[str]) -> Self | None:
        """The error again from the lines of its traceback; ``None`` for any other one."""
        if len(lines) < 2 or not lines[-2].startswith(f"{cls.__module__}.{cls.__qualname__}: "):
            return None
        return cls(Divergence(**json.loads(lines[-1])))


def explosion_threshold(
    loss: nn.Module, targets: Tensor, weights: Tensor | None, start: float = 0.0
) -> float:
    r"""The mean loss of a batch from which on a training has exploded.

    .. math::  10^4 \cdot \max_i \max(\ell_i(\bar y), \ell_i(y_0))

    with the loss :math:`\ell_i` of training sample i, its weight included, where the mean
    :math:`\bar y` of the training labels is predicted for all, or the start :math:`y_0`. So labels
    of heavy tails, whose batches differ by orders of magnitude, do not look like an explosion.

    Args:
        loss: of :mod:`ranksim.losses`.
        targets: training labels as the network predicts them ``(N,)``, float64.
        weights: of the samples ``(N,)``, or ``None``.
        start: what the network predicts before it has learned anything, in that unit.

    Returns:
        The limit; infinite where all of these losses are zero, since nothing tells the scale.

    Example:
        >>> from ranksim.losses import L1Loss
        >>> explosion_threshold(L1Loss(), torch.tensor([0.0, 1.0, 5.0]).double(), None)
        50000.0
    """
    each = copy.copy(loss)
    each.reduction = "none"  # type: ignore[assignment]
    weighed = None if weights is None else weights.double().cpu()
    with torch.no_grad():
        largest = max(
            float(each(torch.full_like(targets, value), targets, weighed).max())
            for value in (float(targets.mean()), start)
        )
    return EXPLODED * largest or math.inf


class DivergenceMonitor:
    """Looks at the loss of each step before the optimiser uses it.

    On a CUDA device the host does not wait for it: the values are copied as they are made, and
    looked at one step late, when the device has long begun the next; nothing of a step that
    nobody has looked at is ever validated or saved. All processes that train together stop at the
    same step, with the same error.

    Args:
        limit: of the loss (see :func:`explosion_threshold`).
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self._late: tuple[torch.cuda.Event, Tensor, _Moment] | None = None

    def look(self, trainer: Any, index: Tensor, loss: Tensor, term: Tensor | None) -> None:
        """Look at the mean loss of a batch, and at RankSim's term.

        Args:
            trainer: Lightning's, in the middle of a step.
            index: positions of the batch's samples ``(N,)``.
            loss: a scalar.
            term: a scalar, or ``None``.

        Raises:
            DivergedError: one of them is no finite number, or the loss has exploded.
        """
        if not _waits(loss.device):
            values = [float(loss.detach())] + ([] if term is None else [float(term.detach())])
            bad = self._bad(values)
            if trainer.world_size > 1:
                bad = bool(trainer.strategy.reduce(torch.tensor(float(bad)), reduce_op="max"))
            if bad:
                self._stop(trainer, values, _Moment.of(trainer, index, term is not None))
            return
        self.rest(trainer)
        values_there = torch.stack([loss.detach().double(), *_doubles(term)])
        if trainer.world_size > 1:
            good = (values_there[0] <= self.limit) & values_there.isfinite().all()
            flag = trainer.strategy.reduce((~good).double(), reduce_op="max")
            values_there = torch.cat([values_there, flag.reshape(1)])
        here, event = values_there.to("cpu", non_blocking=True), torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._late = event, here, _Moment.of(trainer, index, term is not None)

    def rest(self, trainer: Any) -> None:
        """Look at what was not looked at yet.

        Raises:
            DivergedError: see :meth:`look`.
        """
        if self._late is None:
            return
        (event, here, moment), self._late = self._late, None
        event.synchronize()
        values = here.tolist()
        flag = bool(values.pop()) if trainer.world_size > 1 else self._bad(values)
        if flag:
            self._stop(trainer, values, moment)

    def _bad(self, values: Sequence[float]) -> bool:
        return not (values[0] <= self.limit and all(map(math.isfinite, values)))

    def _stop(self, trainer: Any, values: Sequence[float], moment: _Moment) -> None:
        """Raise what the first process found whose batch diverged."""
        found = None
        if self._bad(values):
            fine = values[0] <= self.limit and math.isfinite(values[0])
            part, value = ("RankSim term", values[1]) if fine else ("loss", values[0])
            samples = moment.index.tolist()
            found = Divergence(
                *(part, value, moment.step, moment.epoch, moment.lr, samples),
                limit=self.limit,
                ranksim=moment.ranksim,
            )
        every: list[Divergence | None] = [found] * trainer.world_size
        if trainer.world_size > 1:
            dist.all_gather_object(every, found)
        raise DivergedError(next(each for each in every if each is not None))


@dataclass(frozen=True)
class _Moment:
    """A step under way."""

    step: int
    epoch: int
    lr: float
    index: Tensor
    ranksim: bool

    @classmethod
    def of(cls, trainer: Any, index: Tensor, ranksim: bool) -> _Moment:
        step, epoch = trainer.global_step + 1, trainer.current_epoch + 1
        return cls(step, epoch, rate(trainer), index, ranksim)


def _waits(device: torch.device) -> bool:
    """Whether asking for a value would have the host wait for the device."""
    return device.type == "cuda"


def rate(trainer: Any) -> float:
    """The learning rate of a Trainer's only optimiser."""
    return float(trainer.optimizers[0].param_groups[0]["lr"])


def _doubles(term: Tensor | None) -> list[Tensor]:
    return [] if term is None else [term.detach().double()]
