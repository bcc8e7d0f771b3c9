"""Lightning module of a regression training with sample weights, FDS and RankSim."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn
from torch.optim.lr_scheduler import MultiStepLR

from ranksim._utils.arrays import copy_to_numpy
from ranksim.data.batch import Batch
from ranksim.data.target_transform import TargetTransform
from ranksim.functional.similarity import working_dtype
from ranksim.imbalance import FDS
from ranksim.losses import RankSimLoss
from ranksim.metrics.region_metrics import RegionMetrics
from ranksim.metrics.scores import Scores
from ranksim.metrics.shot_regions import ShotRegions
from ranksim.models import Regressor
from ranksim.training.divergence import DivergedError, Divergence, DivergenceMonitor, current_lr
from ranksim.training.recipe import NetworkRecipe

Augment = Callable[[tuple[Tensor, ...], Tensor, int], tuple[Tensor, ...]]


@dataclass(frozen=True, eq=False)
class Objective:
    """Everything that makes up the training loss."""

    loss: nn.Module  # called with predictions, targets and weights
    sample_weight: Tensor | None = None  # of the training samples (N,)
    fds: FDS | None = None
    fds_batches: Iterable[Batch] | None = None  # all training samples, to update FDS
    ranksim: RankSimLoss | None = None
    monitor: DivergenceMonitor | None = None


class RegressionModule(L.LightningModule):
    """Trains and evaluates a :class:`ranksim.models.Regressor`.

    ``augment`` is called with the inputs of a training batch, sample indices and epoch. With
    ``transform``, the network is trained on the transformed labels, and its predictions are scored
    after the inverse.
    """

    def __init__(
        self,
        model: Regressor,
        recipe: NetworkRecipe,
        regions: ShotRegions,
        objective: Objective,
        *,
        augment: Augment | None = None,
        compile_encoder: bool = False,
        gmean_epsilon: float = 0.0,
        transform: tuple[TargetTransform, Tensor] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.loss = objective.loss
        self.sample_weight = objective.sample_weight  # not a buffer: neither saved nor rounded
        self.fds = objective.fds
        self.fds_batches = objective.fds_batches
        self.ranksim = objective.ranksim
        self.monitor = objective.monitor
        self.augment = augment
        self.compile_encoder = compile_encoder
        # of the labels, and the transformed labels of the training samples (N,)
        self.transform: TargetTransform | None = None
        self.targets: Tensor | None = None
        if transform is not None:
            self.transform, self.targets = transform
        self.metrics = RegionMetrics(regions, gmean_epsilon=gmean_epsilon)
        self.scores: dict[str, Scores] = {}
        self.predictions: tuple[Any, Tensor, Tensor] | None = None  # indices, preds, targets
        self.display_index: Tensor | None = None  # test samples whose features are stored, sorted
        self.features: Tensor | None = None  # their features (P, D), float64
        self._feature_batches: list[tuple[Tensor, Tensor]] = []
        self.loss_means: dict[str, float] = {}  # loss and RankSim term since the last validation
        self._loss_sums: dict[str, Tensor] = {}  # sum and count so far

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.device.type == "mps":  # has no float64
            batch["label"] = batch["label"].float()
        return batch

    def on_fit_start(self) -> None:
        if self.sample_weight is not None:
            self.sample_weight = self.sample_weight.to(self.device)
        if self.targets is not None:
            self.targets = self.targets.to(self.device, working_dtype(self.device))
        if self.compile_encoder:  # compiled code cannot be sent to another process
            self.model.encoder.compile()

    def on_train_epoch_start(self) -> None:
        # FDS statistics are updated here and not at the end of the last epoch: the weights are the
        # same, the final update is never needed, and a run resumed in between makes up for it
        fds = self.fds
        if fds is None or self.fds_batches is None or int(fds.updates) >= self.current_epoch:
            return
        trainer = self.trainer
        share = islice(self.fds_batches, trainer.global_rank, None, trainer.world_size)
        batches = map(trainer.strategy.batch_to_device, share)
        if not fds.paper_compat:
            self.model.eval()
        with trainer.precision_plugin.forward_context():
            fds.fit_epoch(
                # the published code takes statistics of augmented samples
                lambda batch: self.model.encoder(*self._inputs(batch, fds.paper_compat)),
                ((batch, self._labels(batch)) for batch in batches),
            )
        self.model.train()

    def _inputs(self, batch: Batch, augmented: bool) -> tuple[Tensor, ...]:
        if self.augment is None or not augmented:
            return batch["inputs"]
        return self.augment(batch["inputs"], batch["index"], self.current_epoch)

    def _labels(self, batch: Batch) -> Tensor:
        """Return the labels of a training batch ``(N,)``, transformed if there is a transform."""
        return batch["label"] if self.targets is None else self.targets[batch["index"]]

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        features = self.model.encoder(*self._inputs(batch, augmented=True))
        labels = self._labels(batch)
        calibrated = features if self.fds is None else self.fds(features, labels)
        preds = self.model.head(calibrated).squeeze(-1)
        dtype = torch.promote_types(preds.dtype, torch.float32)  # bf16 would round the labels
        target = (labels / self.recipe.label_scale).to(dtype)
        weight = None if self.sample_weight is None else self.sample_weight[batch["index"]]
        loss: Tensor = self.loss(preds.to(dtype), target, weight)
        self._add_loss("train_loss", loss, len(target))
        term: Tensor | None = None
        if self.ranksim is not None:
            label_steps = (labels / self.recipe.label_step).round()
            uses_calibrated = self.fds is not None and self.fds.paper_compat
            term = self.ranksim(calibrated if uses_calibrated else features, label_steps)
            self._add_loss("train_ranksim", term, 1)
        if self.monitor is not None:
            self.monitor.check(self.trainer, batch["index"], loss, term)
        return loss if term is None else loss + term

    # Lightning's log() in each step would take longer than RankSim itself
    def _add_loss(self, name: str, value: Tensor, count: int) -> None:
        value = value.detach().to(working_dtype(value.device))
        update = torch.stack([value * count, torch.full_like(value, count)])
        self._loss_sums[name] = self._loss_sums.get(name, 0) + update

    def _reduce_losses(self) -> dict[str, float]:
        """Return the mean losses since the last call, over all processes."""
        sums, self._loss_sums = self._loss_sums, {}
        reduce = self.trainer.strategy.reduce
        totals = {name: reduce(value, reduce_op="sum") for name, value in sums.items()}
        return {name: float(total[0] / total[1]) for name, total in totals.items()}

    def on_validation_start(self) -> None:
        if self.monitor is not None:
            self.monitor.flush(self.trainer)

    on_train_end = on_validation_start

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._update_metrics(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        features = self._update_metrics(batch)
        if self.display_index is not None:
            index, features = batch["index"].cpu(), features.detach().cpu()
            selected = torch.isin(index, self.display_index)
            self._feature_batches.append((index[selected], features[selected].double()))

    def _update_metrics(self, batch: Any) -> Tensor:
        """Score a batch and return its features."""
        preds, features = self.model(*batch["inputs"])
        preds = preds.to(torch.promote_types(preds.dtype, torch.float32))
        preds = preds * self.recipe.label_scale
        if self.transform is not None:
            labels = self.transform.inverse(copy_to_numpy(preds.detach().double()))
            preds = torch.from_numpy(labels).to(batch["label"])
        self.metrics.update(preds, batch["label"], batch["index"])
        return features  # type: ignore[no-any-return]

    def on_validation_epoch_end(self) -> None:
        self.scores = self.metrics.compute()
        scores = {f"val_{name}": value for name, value in self.scores["all"].items() if name != "n"}
        self.loss_means = self._reduce_losses()
        logged = scores | self.loss_means
        self.log_dict({k: torch.tensor(v) for k, v in logged.items() if v is not None})
        self.metrics.reset()
        if self.monitor is not None:
            self._check_score(self.scores["all"][self.recipe.monitor])

    def _check_score(self, score: float | None) -> None:
        """Raise if the score is not finite: Lightning would end the training as if complete."""
        trainer = self.trainer
        fitting = trainer.state.fn == TrainerFn.FITTING
        if fitting and score is not None and not math.isfinite(score):
            part, ranksim = f"validation {self.recipe.monitor.upper()}", self.ranksim is not None
            step, epoch, lr = trainer.global_step, trainer.current_epoch + 1, current_lr(trainer)
            raise DivergedError(Divergence(part, score, step, epoch, lr, ranksim=ranksim))

    def on_test_epoch_end(self) -> None:
        self.scores = self.metrics.compute()
        self.predictions = self.metrics.samples()
        self.metrics.reset()
        if self._feature_batches:
            index, features = map(torch.cat, zip(*self._feature_batches, strict=True))
            self.features, self._feature_batches = features[index.argsort()], []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["recipe"] = dataclasses.asdict(self.recipe)  # to use the network without a run
        if self.transform is not None:
            checkpoint["transform"] = self.transform.to_dict()

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        trained = [p for p in self.parameters() if p.requires_grad]
        adam = torch.optim.Adam(trained, lr=recipe.lr, weight_decay=recipe.weight_decay)
        if not recipe.lr_milestones:
            return adam
        schedule = MultiStepLR(adam, recipe.lr_milestones, recipe.lr_factor)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "epoch"}}
