"""Training and prediction of a network in this process, on the CPU in float32.

Lightning's Trainer takes several times as long as a step of a small network. The results equal
those with Lightning to the last bit.
"""

from __future__ import annotations

import copy
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ranksim.data.batch import BatchDataset
from ranksim.metrics.scores import Scores, regression_scores
from ranksim.training.data_loader import EVAL_BATCH_SIZE, permute_samples
from ranksim.training.divergence import DivergedError, Divergence
from ranksim.training.fused_adam import FusedAdam
from ranksim.training.module import RegressionModule
from ranksim.training.parts import min_batch
from ranksim.training.recipe import NetworkRecipe
from ranksim.training.resume import (
    BEST,
    LAST,
    LOOP,
    Progress,
    random_state,
    read_resumable_checkpoint,
    restore_random_state,
    save_checkpoint,
)
from ranksim.training.schedule import Schedule
from ranksim.training.task import TrainingOptions, TrainingTask
from ranksim.training.training_log import TrainingLog

DIRECT = "direct"
_WRITE_SECONDS = 1.0  # between two writes of checkpoints, which take longer than small epochs


def train(
    module: RegressionModule, task: TrainingTask, folder: Path, options: TrainingOptions
) -> None:
    """Train or resume, and write checkpoints into the folder."""
    loop = DirectLoop(module, task, folder, options)
    with _deterministic(), TrainingLog(folder, options) as loop.log:
        loop.run()


class DirectLoop:
    """A training loop; its attributes have the names of Lightning's Trainer.

    Args:
        module: network and loss.
        task: the data.
        folder: receives ``best.ckpt`` and ``last.ckpt``, at most once a second and at the end.
        options: seed, limits and callbacks.
    """

    world_size = 1

    def __init__(
        self,
        module: RegressionModule,
        task: TrainingTask,
        folder: Path,
        options: TrainingOptions,
    ) -> None:
        self.module, self.task, self.folder, self.options = module, task, folder, options
        self.recipe = recipe = module.recipe
        self.schedule = Schedule.plan(
            recipe, options.limits, len(task.train), min_batch=min_batch(module.technique.parts)
        )
        self.optimizers = [FusedAdam(module.param_groups())]
        self.global_step = self.current_epoch = self.validated_step = 0
        self.progress = Progress(keep_last=options.keep_last)
        self.unwritten: dict[str, dict[str, Any]] = {}  # checkpoints by name
        self.write_time = -math.inf
        self.log: TrainingLog

    def run(self) -> None:
        """Train until a limit or early stopping ends the training."""
        self.module.prepare(torch.device("cpu"))
        checkpoint = read_resumable_checkpoint(self.folder, DIRECT)
        if checkpoint is not None:
            self._restore(checkpoint)
        self.start_time = time.perf_counter() - self.progress.seconds
        self.module.train()
        try:
            while not self._is_finished():
                self._train_epoch()
            if self.validated_step != self.global_step:  # steps after the last validation
                self._flush_monitor()
                self.unwritten[LAST] = self._make_checkpoint(LAST)
        finally:
            self._write_checkpoints()

    def _is_finished(self) -> bool:
        schedule = self.schedule
        limits = (
            (self.current_epoch, schedule.max_epochs),
            (self.global_step, schedule.max_steps),
            (self.progress.stale, self.recipe.patience),
        )
        return any(value >= limit for value, limit in limits if limit)

    def _train_epoch(self) -> None:
        """Train the rest of an epoch, and validate."""
        module, schedule, epoch = self.module, self.schedule, self.current_epoch
        steps, every = schedule.steps_per_epoch, schedule.validate_every
        for group in self.optimizers[0].param_groups:
            group["lr"] = _learning_rate(group["initial_lr"], self.recipe, epoch)
        if module.needs_fds_update(epoch):
            assert module.fds_batches is not None
            module.update_fds(module.fds_batches, epoch)
        order = permute_samples(len(self.task.train), self.options.seed, epoch)
        batches = torch.split(torch.from_numpy(order), self.recipe.batch_size)
        completed = self.global_step - epoch * steps  # before an interruption
        for step in range(completed, steps):
            first = step * schedule.accumulate
            self._step(batches[first : first + schedule.accumulate])
            if self.options.on_step is not None:
                self.options.on_step()
            if every and self.global_step % every == 0:
                self._validate()
            self.log.advance(step + 1, steps, epoch + 1)
            if self._is_finished():
                break
        if self.global_step == (epoch + 1) * steps:
            if not every:
                self._validate()
            self.current_epoch += 1

    def _step(self, indices: tuple[Tensor, ...]) -> None:
        """Train on the batches of one optimizer step."""
        module, optimizer = self.module, self.optimizers[0]
        for index in indices:
            batch = self.task.train.get_batch(index)
            module.ascend(batch, self.current_epoch)
            loss, term = module.compute_loss(batch, self.current_epoch)
            if module.monitor is not None:
                module.monitor.check(self, index, loss, term)
            total = loss if term is None else loss + term
            torch.autograd.backward(total / len(indices) if len(indices) > 1 else total)
            module.descend()
        if self.recipe.max_grad_norm:
            optimizer.clip_gradients(self.recipe.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad()
        self.global_step += 1

    def _flush_monitor(self) -> None:
        if self.module.monitor is not None:
            self.module.monitor.flush(self)

    def _validate(self) -> None:
        """Score the validation samples, and save checkpoints."""
        self._flush_monitor()
        module, monitor = self.module, self.recipe.monitor
        scores = self._score()
        score = scores[monitor]
        assert score is not None
        if not math.isfinite(score):
            lr = self.optimizers[0].param_groups[0]["lr"]
            divergence = Divergence(
                *(f"validation {monitor.upper()}", score, self.global_step, self.current_epoch + 1),
                lr,
                ranksim=module.ranksim is not None,
            )
            raise DivergedError(divergence)
        score = float(torch.tensor(score))  # float32, in which Lightning compares scores
        sums = module.take_loss_sums()
        losses = {name: total / count for name, (total, count) in sums.items()}
        epoch, position = self.current_epoch + 1, self.global_step / self.schedule.steps_per_epoch
        point = {"epoch": position, "val": score, **losses}
        improved = self.progress.add(epoch, score, point)
        if self.options.on_validation is not None:
            self.options.on_validation(epoch, score)
        self.log.write(self.global_step, epoch, scores, losses)
        self.validated_step = self.global_step
        self.progress.seconds = time.perf_counter() - self.start_time
        new = {name: self._make_checkpoint(name) for name in [BEST] * improved + [LAST]}
        is_due = time.perf_counter() - self.write_time >= _WRITE_SECONDS
        self.unwritten |= new if is_due else copy.deepcopy(new)  # training changes the tensors
        if is_due:
            self._write_checkpoints()

    def _score(self) -> Scores:
        """Score the validation samples."""
        module, val = self.module, self.task.val
        rows = torch.arange(len(val))
        preds = map_samples(module, module.predict_labels, val, rows, EVAL_BATCH_SIZE)
        scores = regression_scores(preds, val.labels, gmean_epsilon=self.task.gmean_epsilon)
        if module.selection is not None:
            scores[self.recipe.monitor] = module.selection(preds, val.labels)
        return scores

    def _make_checkpoint(self, name: str) -> dict[str, Any]:
        """Return the best checkpoint, or the last one, from which training resumes."""
        module = self.module
        checkpoint: dict[str, Any] = {
            LOOP: DIRECT,
            "state_dict": module.state_dict(),
            "epoch": self.current_epoch,
            "global_step": self.global_step,
            **module.checkpoint_sections(),
        }
        if name == LAST:
            checkpoint["optimizer"] = self.optimizers[0].state_dict()
            checkpoint["random"] = random_state(module)
            checkpoint["progress"] = self.progress.to_dict()
        return checkpoint

    def _write_checkpoints(self) -> None:
        """Write the best checkpoint before the last one, which refers to it."""
        for name in (BEST, LAST):
            if name in self.unwritten:
                save_checkpoint(self.unwritten.pop(name), self.folder / name)
        self.write_time = time.perf_counter()

    def _restore(self, checkpoint: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.module.load_state_dict(checkpoint["state_dict"])
        self.optimizers[0].load_state_dict(checkpoint["optimizer"])
        restore_random_state(self.module, checkpoint["random"])
        self.progress = Progress.from_checkpoint(checkpoint)
        self.global_step = self.validated_step = checkpoint["global_step"]
        self.current_epoch = self.global_step // self.schedule.steps_per_epoch


def map_samples(
    module: nn.Module,
    compute: Callable[[tuple[Tensor, ...]], Tensor],
    samples: BatchDataset,
    rows: Tensor,
    batch_size: int,
) -> Tensor:
    """Apply a function of a module in evaluation mode to the inputs of samples.

    Args:
        module: whose mode is changed meanwhile.
        compute: maps inputs of B samples to a tensor ``(B, ...)``.
        samples: the data.
        rows: positions of the samples, int64 ``(N,)``.
        batch_size: most samples per call.

    Returns:
        The results ``(N, ...)``, in the order of ``rows``.
    """
    training = module.training
    module.eval()
    try:
        with torch.inference_mode():
            parts = [compute(samples.get_inputs(part)) for part in torch.split(rows, batch_size)]
            return torch.cat(parts)
    finally:
        module.train(training)


def _learning_rate(lr: float, recipe: NetworkRecipe, epoch: int) -> float:
    """Return the rate of an epoch, counted from 0, of an initial one, as MultiStepLR does."""
    for milestone, count in sorted(Counter(recipe.lr_milestones).items()):
        if milestone <= epoch:
            lr *= recipe.lr_factor**count
    return lr


@contextmanager
def _deterministic() -> Iterator[None]:
    """Context in which PyTorch prefers deterministic algorithms."""
    settings: Any = torch.utils.deterministic
    fills = settings.fill_uninitialized_memory
    # torch.use_deterministic_algorithms imports the compiler, which takes two seconds
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")
    # nothing reads uninitialized memory, and filling it would take a tenth of a step
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.set_deterministic_debug_mode(mode)
        settings.fill_uninitialized_memory = fills
