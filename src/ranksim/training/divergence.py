"""Detection of diverging training runs: non-finite or exploding losses and scores."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import Tensor, nn

from ranksim.exceptions import RankSimError

EXPLOSION_FACTOR = 1e4
"""Ratio of a batch loss to the largest initial loss from which on it counts as exploded."""
_LISTED = 5  # samples named in a message


@dataclass(frozen=True)
class SampleIds:
    """Line or row numbers ``(N,)`` (``unit``) of the training samples in the user's table."""

    numbers: NDArray[np.int64]
    unit: str
    table: str


@dataclass(frozen=True)
class Divergence:
    """Description of a divergence."""

    part: str  # the value that diverged: "loss", "RankSim term" or a validation score
    value: float  # NaN, infinite, or above limit
    step: int  # optimizer step, counted from 1; of a validation score, the last step before it
    epoch: int  # counted from 1
    lr: float
    samples: Sequence[int] = ()  # indices of the batch in the training split
    limit: float = math.inf  # explosion threshold of the loss
    ranksim: bool = False  # whether RankSim is part of the loss
    numbers: Sequence[int] = ()  # the samples in the user's table, see SampleIds
    unit: str = ""
    table: str = ""

    def message(self) -> str:
        """Describe the divergence in one sentence with a remedy."""
        limit = f", above {self.limit:.3g}," if math.isfinite(self.value) else ""
        batch = ""
        if self.samples:
            numbers = self.numbers or self.samples
            unit = f"{self.unit or 'training sample'}{'s' * (len(numbers) > 1)}"
            rest = f" and {len(numbers) - _LISTED:,} more" if len(numbers) > _LISTED else ""
            table = f" of {self.table}" if self.table else ""
            batch = f" on {unit} {', '.join(map(str, numbers[:_LISTED]))}{rest}{table}"
        return (
            f"Training diverged at step {self.step} (epoch {self.epoch}, lr {self.lr:g}): the "
            f"{self.part} is {self.value:.3g}{limit}{batch}; "
            f"lower lr{' or ranksim_weight' * self.ranksim}."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of a run record; non-finite numbers become strings, as JSON has none."""
        numbers = {"value": self.value, "limit": self.limit}
        return {
            "step": self.step,
            "epoch": self.epoch,
            "lr": self.lr,
            "part": self.part,
            **{name: v if math.isfinite(v) else str(v) for name, v in numbers.items()},
            "samples": list(self.samples),
            **({f"{self.unit}s": list(self.numbers)} if self.numbers else {}),
        }

    def with_sample_ids(self, ids: SampleIds | None) -> Divergence:
        """Return a copy that also lists the samples by their line or row in the user's table."""
        if ids is None or not self.samples:
            return self
        numbers = ids.numbers[list(self.samples)].tolist()
        return dataclasses.replace(self, numbers=numbers, unit=ids.unit, table=ids.table)


class DivergedError(RankSimError):
    """A training diverged; ``divergence`` has the details."""

    def __init__(self, divergence: Divergence) -> None:
        super().__init__(divergence.message())
        self.divergence = divergence
        if dist.is_available() and dist.is_initialized():
            # a training process passes on errors as a traceback, which ends with this note
            self.add_note(json.dumps(dataclasses.asdict(divergence)))

    def __reduce__(self) -> tuple[type[Self], tuple[Divergence]]:
        return type(self), (self.divergence,)

    @classmethod
    def from_traceback(cls, lines: Sequence[str]) -> Self | None:
        """Restore the error from the lines of its traceback; ``None`` for another error."""
        if len(lines) < 2 or not lines[-2].startswith(f"{cls.__module__}.{cls.__qualname__}: "):
            return None
        return cls(Divergence(**json.loads(lines[-1])))


def explosion_threshold(
    loss: nn.Module, targets: Tensor, weights: Tensor | None, initial_pred: float = 0.0
) -> float:
    r"""Compute the batch loss above which a training counts as exploded; infinite if it is 0.

    .. math::  10^4 \cdot \max_i \max(\ell_i(\bar y), \ell_i(y_0))

    with the weighted loss :math:`\ell_i` of training sample i if the mean of the ``targets``
    ``(N,)`` :math:`\bar y` or the initial prediction :math:`y_0` is predicted for all samples. The
    maximum over samples keeps heavy-tailed labels, whose batch losses differ by orders of
    magnitude, from counting as an explosion.
    """
    per_sample = copy.copy(loss)
    per_sample.reduction = "none"  # type: ignore[assignment]
    weights = None if weights is None else weights.double().cpu()
    with torch.no_grad():
        largest = max(
            float(per_sample(torch.full_like(targets, pred), targets, weights).max())
            for pred in (float(targets.mean()), initial_pred)
        )
    return EXPLOSION_FACTOR * largest or math.inf


class DivergenceMonitor:
    """Checks the loss of each step against ``limit`` before the optimizer uses it.

    On a CUDA device the values are copied asynchronously and checked one step later, so that the
    host does not wait for the device; :meth:`flush` checks the last step before weights are
    validated or saved. All training processes stop at the same step with the same error.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit
        # values being copied, and a function that describes their step
        self._pending: tuple[torch.cuda.Event, Tensor, Callable[..., Divergence]] | None = None

    def check(self, trainer: Any, index: Tensor, loss: Tensor, term: Tensor | None) -> None:
        """Raise if the mean loss or RankSim's term of the samples ``index`` ``(N,)`` diverged."""
        step, epoch, lr = trainer.global_step + 1, trainer.current_epoch + 1, current_lr(trainer)
        ranksim = term is not None

        def describe(part: str, value: float) -> Divergence:
            samples = index.tolist()
            return Divergence(part, value, step, epoch, lr, samples, self.limit, ranksim)

        values = [loss.detach()] + ([] if term is None else [term.detach()])
        if not _is_asynchronous(loss.device):
            numbers = [float(value) for value in values]
            failed = self._is_diverged(numbers)
            if trainer.world_size > 1:
                failed = bool(trainer.strategy.reduce(torch.tensor(float(failed)), reduce_op="max"))
            if failed:
                self._stop(trainer, numbers, describe)
            return
        self.flush(trainer)
        stacked = torch.stack([value.double() for value in values])
        if trainer.world_size > 1:
            fine = (stacked[0] <= self.limit) & stacked.isfinite().all()
            flag = trainer.strategy.reduce((~fine).double(), reduce_op="max")
            stacked = torch.cat([stacked, flag.reshape(1)])
        on_host, event = stacked.to("cpu", non_blocking=True), torch.cuda.Event()  # type: ignore[no-untyped-call]
        event.record()
        self._pending = event, on_host, describe

    def flush(self, trainer: Any) -> None:
        """Check the values still being copied from the GPU, as :meth:`check` does."""
        if self._pending is None:
            return
        (event, on_host, describe), self._pending = self._pending, None
        event.synchronize()
        numbers = on_host.tolist()
        if bool(numbers.pop()) if trainer.world_size > 1 else self._is_diverged(numbers):
            self._stop(trainer, numbers, describe)

    def _is_diverged(self, numbers: Sequence[float]) -> bool:
        return not (numbers[0] <= self.limit and all(map(math.isfinite, numbers)))

    def _stop(
        self, trainer: Any, numbers: Sequence[float], describe: Callable[..., Divergence]
    ) -> None:
        """Raise DivergedError for the first process whose batch diverged."""
        local = None
        if self._is_diverged(numbers[:1]):
            local = describe("loss", numbers[0])
        elif self._is_diverged(numbers):
            local = describe("RankSim term", numbers[1])
        divergences: list[Divergence | None] = [local] * trainer.world_size
        if trainer.world_size > 1:
            dist.all_gather_object(divergences, local)
        raise DivergedError(next(each for each in divergences if each is not None))


def current_lr(trainer: Any) -> float:
    """Return the learning rate of a Trainer's only optimizer."""
    return float(trainer.optimizers[0].param_groups[0]["lr"])


def _is_asynchronous(device: torch.device) -> bool:
    return device.type == "cuda"  # reading a value makes the host wait
