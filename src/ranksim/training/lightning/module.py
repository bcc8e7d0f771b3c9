"""The hooks of Lightning around a :class:`ranksim.training.module.RegressionModule`."""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor
from torch.optim.lr_scheduler import MultiStepLR

from ranksim.functional.similarity import working_dtype
from ranksim.metrics.region_metrics import RegionMetrics
from ranksim.metrics.scores import Scores
from ranksim.metrics.shot_regions import ShotRegions
from ranksim.training.divergence import DivergedError, Divergence, current_lr
from ranksim.training.module import RegressionModule
from ranksim.training.selection import SelectionScore

_FUSED = ("cpu", "cuda")  # devices with a fused Adam


class SelectingMetrics(RegionMetrics):
    """Region metrics with the score that selects the best weights, over all processes.

    Args:
        regions: of the label axis.
        selection: the score; None for a usual one.
        gmean_epsilon: see :class:`ranksim.metrics.RegionMetrics`.
    """

    def __init__(
        self, regions: ShotRegions, selection: SelectionScore | None, gmean_epsilon: float
    ) -> None:
        super().__init__(regions, gmean_epsilon=gmean_epsilon)
        self.selection = selection

    def compute(self) -> Any:
        """Return the scores of the regions, among those of all samples the selecting one."""
        scores = super().compute()
        if self.selection is not None:
            _, preds, target = self.samples()
            scores["all"][self.selection.name] = self.selection(preds, target)
        return scores


class LightningRegressionModule(RegressionModule, L.LightningModule):
    """Trains a network with Lightning's Trainer.

    Args:
        *args: of the base class, like ``kwargs``.
        metrics: scores of the validation samples.
        **kwargs: see ``args``.
    """

    def __init__(self, *args: Any, metrics: RegionMetrics, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.metrics = metrics
        self.loss_means: dict[str, float] = {}  # loss and RankSim term since the last validation

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.device.type == "mps":  # has no float64
            batch["label"] = batch["label"].float()
        return batch

    def on_fit_start(self) -> None:
        self.prepare(self.device)

    def on_train_epoch_start(self) -> None:
        if not self.needs_fds_update(self.current_epoch):
            return
        assert self.fds_batches is not None
        trainer = self.trainer
        share = islice(self.fds_batches, trainer.global_rank, None, trainer.world_size)
        batches = map(trainer.strategy.batch_to_device, share)
        with trainer.precision_plugin.forward_context():
            self.update_fds(batches, self.current_epoch)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        self.ascend(batch, self.current_epoch)
        loss, term = self.compute_loss(batch, self.current_epoch)
        if self.monitor is not None:
            self.monitor.check(self.trainer, batch["index"], loss, term)
        return loss if term is None else loss + term

    def on_after_backward(self) -> None:
        self.descend()

    def on_validation_start(self) -> None:
        if self.monitor is not None:
            self.monitor.flush(self.trainer)

    on_train_end = on_validation_start

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self.metrics.update(self.predict_labels(batch["inputs"]), batch["label"], batch["index"])

    def on_validation_epoch_end(self) -> None:
        scores: Scores = self.metrics.compute()["all"]
        self.loss_means = self._reduce_losses()
        logged = {f"val_{name}": v for name, v in scores.items() if name != "n"} | self.loss_means
        self.log_dict({k: torch.tensor(v) for k, v in logged.items() if v is not None})
        self.metrics.reset()
        self._check_score(scores[self.recipe.monitor])

    # Lightning's log() in each step would take longer than RankSim itself
    def _reduce_losses(self) -> dict[str, float]:
        """Return the mean losses since the last call, over all processes."""
        reduce, device, means = self.trainer.strategy.reduce, self.device, {}
        for name, (total, count) in self.take_loss_sums().items():
            local = torch.tensor([total, count], dtype=working_dtype(device), device=device)
            sums = reduce(local, reduce_op="sum")
            means[name] = float(sums[0] / sums[1])
        return means

    def _check_score(self, score: float | None) -> None:
        """Raise if the score is not finite: Lightning would end the training as if complete."""
        trainer = self.trainer
        if score is not None and not math.isfinite(score):
            part, ranksim = f"validation {self.recipe.monitor.upper()}", self.ranksim is not None
            step, epoch, lr = trainer.global_step, trainer.current_epoch + 1, current_lr(trainer)
            raise DivergedError(Divergence(part, score, step, epoch, lr, ranksim=ranksim))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint.update(self.checkpoint_sections())

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        # Lightning refuses to clip the gradients of a fused optimizer in mixed precision
        clips_mixed = recipe.max_grad_norm > 0 and self.trainer.precision.endswith("-mixed")
        fused = self.device.type in _FUSED and not clips_mixed
        adam = torch.optim.Adam(self.param_groups(), recipe.lr, fused=fused)
        if not recipe.lr_milestones:
            return adam
        schedule = MultiStepLR(adam, recipe.lr_milestones, recipe.lr_factor)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}
