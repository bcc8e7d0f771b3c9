"""The Lightning module: a regressor, its loss and weights, FDS and RankSim, metrics by region."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import lightning.pytorch as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor, nn

from ranksim.data.batch import Batch
from ranksim.functional.similarity import working_dtype
from ranksim.imbalance import FDS
from ranksim.losses import RankSimLoss
from ranksim.metrics.region_metrics import RegionMetrics
from ranksim.metrics.scores import Scores
from ranksim.metrics.shot_regions import ShotRegions
from ranksim.models import Regressor
from ranksim.training.divergence import DivergedError, Divergence, DivergenceMonitor, rate
from ranksim.training.recipe import Recipe

Augment = Callable[[tuple[Tensor, ...], Tensor, int], tuple[Tensor, ...]]


class RegressionModule(L.LightningModule):
    """Trains a :class:`ranksim.models.Regressor` by a recipe.

    Args:
        model: an encoder and a head.
        recipe: the settings.
        regions: regions that validation and test scores are reported for.
        loss: called with prediction, target and weights.
        weights: a weight for each training sample ``(N,)``, or ``None``.
        fds: calibrates the features that the head sees, or ``None``.
        statistics: all training samples in batches, for FDS at the end of each epoch; ``None``
            where its statistics stay as they are.
        ranksim: the regulariser, or ``None``.
        augment: what happens to the inputs of a training batch, on the training device: called
            with inputs, positions in the data set, and the epoch.
        compiled: whether the encoder is compiled, in the process that trains it.
        gm_guard: see :func:`ranksim.metrics.regression_scores`.
        watch: looks at the loss of each step, or ``None``.
    """

    def __init__(
        self,
        model: Regressor,
        recipe: Recipe,
        regions: ShotRegions,
        *,
        loss: nn.Module,
        weights: Tensor | None = None,
        fds: FDS | None = None,
        statistics: Iterable[Batch] | None = None,
        ranksim: RankSimLoss | None = None,
        augment: Augment | None = None,
        compiled: bool = False,
        gm_guard: float = 0.0,
        watch: DivergenceMonitor | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.loss = loss
        self.weights = weights  # no buffer: neither saved nor rounded with the network
        self.fds = fds
        self.statistics = statistics
        self.ranksim = ranksim
        self.augment = augment
        self.compiled = compiled
        self.watch = watch
        self.metrics = RegionMetrics(regions, gm_guard=gm_guard)
        self.scores: dict[str, Scores] = {}
        self.predictions: tuple[Any, Tensor, Tensor] | None = None
        self.shown: Tensor | None = None  # test samples, ascending, whose features are kept
        self.features: Tensor | None = None  # and these, (P, D), float64
        self._kept: list[tuple[Tensor, Tensor]] = []
        self.means: dict[str, float] = {}  # of the loss and of RankSim's term between validations
        self._sums: dict[str, Tensor] = {}  # theirs so far, and their counts

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.device.type == "mps":  # has no float64
            batch["label"] = batch["label"].float()
        return batch

    def on_fit_start(self) -> None:
        if self.weights is not None:
            self.weights = self.weights.to(self.device)
        if self.compiled:  # what was compiled does not travel to another process
            self.model.encoder.compile()

    def on_train_epoch_start(self) -> None:
        # what ends an epoch for FDS is done as the next one starts: the weights are the same, the
        # last epoch needs it not, and a run resumed from the checkpoint between the two does it
        fds = self.fds
        if fds is None or self.statistics is None or int(fds.updates) >= self.current_epoch:
            return
        if not fds.published:
            self.model.eval()
        with self.trainer.precision_plugin.forward_context():
            fds.refresh(
                # as published, statistics are those of augmented samples
                lambda batch: self.model.encoder(*self._inputs(batch, fds.published)),
                self._own_samples(),
            )
        self.model.train()

    def _own_samples(self) -> Iterator[tuple[Batch, Tensor]]:
        """Each training sample once over all processes, on this one's device."""
        trainer = self.trainer
        for i, batch in enumerate(self.statistics or ()):
            if i % trainer.world_size == trainer.global_rank:
                here = trainer.strategy.batch_to_device(batch)
                yield here, here["label"]

    def _inputs(self, batch: Batch, augmented: bool) -> tuple[Tensor, ...]:
        if self.augment is None or not augmented:
            return batch["inputs"]
        return self.augment(batch["inputs"], batch["index"], self.current_epoch)

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        features = self.model.encoder(*self._inputs(batch, True))
        smoothed = features if self.fds is None else self.fds(features, batch["label"])
        prediction = self.model.head(smoothed).squeeze(-1)
        exact = torch.promote_types(prediction.dtype, torch.float32)  # no label in bf16
        target = (batch["label"] / self.recipe.label_scale).to(exact)
        weights = None if self.weights is None else self.weights[batch["index"]]
        loss: Tensor = self.loss(prediction.to(exact), target, weights)
        self._add("train_loss", loss, len(target))
        term: Tensor | None = None
        if self.ranksim is not None:
            steps = (batch["label"] / self.recipe.label_step).round()
            ranked = smoothed if self.fds is not None and self.fds.published else features
            term = self.ranksim(ranked, steps)
            self._add("train_ranksim", term, 1)
        if self.watch is not None:
            self.watch.look(self.trainer, batch["index"], loss, term)
        return loss if term is None else loss + term

    # Lightning's log() of each step would take longer than RankSim: what it gives is made here
    def _add(self, name: str, value: Tensor, count: int) -> None:
        value = value.detach().to(working_dtype(value.device))
        more = torch.stack([value * count, torch.full_like(value, count)])
        self._sums[name] = self._sums[name] + more if name in self._sums else more

    def _mean(self) -> dict[str, float]:
        """Means of what was added since they were last asked for, over all processes."""
        reduce, sums = self.trainer.strategy.reduce, self._sums
        self._sums = {}
        totals = {name: reduce(each, reduce_op="sum") for name, each in sums.items()}
        return {name: float(total[0] / total[1]) for name, total in totals.items()}

    def on_validation_start(self) -> None:
        if self.watch is not None:
            self.watch.rest(self.trainer)

    def on_train_end(self) -> None:
        if self.watch is not None:
            self.watch.rest(self.trainer)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        self._judge(batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        features = self._judge(batch)
        if self.shown is not None:
            index = batch["index"].cpu()
            kept = torch.isin(index, self.shown)
            self._kept.append((index[kept], features.detach().cpu()[kept].double()))

    def _judge(self, batch: Any) -> Tensor:
        prediction, features = self.model(*batch["inputs"])
        exact = torch.promote_types(prediction.dtype, torch.float32)
        self.metrics.update(
            prediction.to(exact) * self.recipe.label_scale, batch["label"], batch["index"]
        )
        own: Tensor = features
        return own

    def on_validation_epoch_end(self) -> None:
        self.scores = self.metrics.compute()
        logged = {f"val_{name}": value for name, value in self.scores["all"].items() if name != "n"}
        self.means = self._mean()
        logged |= self.means
        self.log_dict({k: torch.tensor(v) for k, v in logged.items() if v is not None})
        self.metrics.reset()
        if self.watch is not None:
            self._refuse_nonsense(self.scores["all"][self.recipe.monitor])

    def _refuse_nonsense(self, score: float | None) -> None:
        """A score that is no number would end the training as if it were done."""
        trainer = self.trainer
        fitting = trainer.state.fn == TrainerFn.FITTING
        if fitting and score is not None and not math.isfinite(score):
            raise DivergedError(
                Divergence(
                    f"validation {self.recipe.monitor.upper()}",
                    *(score, trainer.global_step, trainer.current_epoch + 1, rate(trainer)),
                    ranksim=self.ranksim is not None,
                )
            )

    def on_test_epoch_end(self) -> None:
        self.scores = self.metrics.compute()
        self.predictions = self.metrics.samples()
        self.metrics.reset()
        if self._kept:
            index, features = map(torch.cat, zip(*self._kept, strict=True))
            self.features, self._kept = features[index.argsort()], []

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["recipe"] = dataclasses.asdict(self.recipe)  # what a network alone is read with

    def configure_optimizers(self) -> Any:
        recipe = self.recipe
        trained = [p for p in self.parameters() if p.requires_grad]
        adam = torch.optim.Adam(trained, lr=recipe.lr, weight_decay=recipe.weight_decay)
        if not recipe.lr_milestones:
            return adam
        drops = torch.optim.lr_scheduler.MultiStepLR(adam, recipe.lr_milestones, recipe.lr_factor)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": drops, "interval": "epoch"}}
