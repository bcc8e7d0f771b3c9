"""The Lightning module: a regressor, its loss, RankSim beside it, metrics by region."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as L
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ranksim.losses import RankSimLoss
from ranksim.metrics.regions import Regions
from ranksim.metrics.regression import RegionMetrics
from ranksim.metrics.scores import Scores
from ranksim.training.recipe import Recipe


class RegressionModule(L.LightningModule):
    """Trains a :class:`ranksim.models.Regressor` on batches of texts by a recipe.

    Args:
        model: maps tokens and lengths to predictions ``(N,)`` and features ``(N, D)``.
        recipe: the settings.
        regions: regions that validation and test scores are reported for.
        ranksim: the regulariser, or ``None``.
        gm_guard: see :func:`ranksim.metrics.regression_scores`.
    """

    def __init__(
        self,
        model: nn.Module,
        recipe: Recipe,
        regions: Regions,
        *,
        ranksim: RankSimLoss | None = None,
        gm_guard: float = 0.0,
    ) -> None:
        super().__init__()
        self.model = model
        self.recipe = recipe
        self.ranksim = ranksim
        self.metrics = RegionMetrics(regions, gm_guard=gm_guard)
        self.scores: dict[str, Scores] = {}
        self.predictions: tuple[Any, Tensor, Tensor] | None = None

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        if self.device.type == "mps":  # has no float64
            batch["label"] = batch["label"].float()
        return batch

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        prediction, features = self.model(batch["tokens"], batch["lengths"])
        exact = torch.promote_types(prediction.dtype, torch.float32)  # no label in bf16
        target = (batch["label"] / self.recipe.label_scale).to(exact)
        loss = F.mse_loss(prediction.to(exact), target)
        self.log("train_loss", loss.detach(), on_step=False, on_epoch=True, batch_size=len(target))
        if self.ranksim is not None:
            steps = (batch["label"] / self.recipe.label_step).round()
            term = self.ranksim(features, steps)
            self.log("train_ranksim", term.detach(), on_step=False, on_epoch=True, batch_size=1)
            loss = loss + term
        return loss

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        prediction, _ = self.model(batch["tokens"], batch["lengths"])
        exact = torch.promote_types(prediction.dtype, torch.float32)
        self.metrics.update(
            prediction.to(exact) * self.recipe.label_scale, batch["label"], batch["index"]
        )

    test_step = validation_step

    def on_validation_epoch_end(self) -> None:
        self.scores = self.metrics.compute()
        logged = {f"val_{name}": value for name, value in self.scores["all"].items() if name != "n"}
        self.log_dict({k: torch.tensor(v) for k, v in logged.items() if v is not None})
        self.metrics.reset()

    def on_test_epoch_end(self) -> None:
        self.scores = self.metrics.compute()
        self.predictions = self.metrics.samples()
        self.metrics.reset()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        trained = [p for p in self.parameters() if p.requires_grad]
        return torch.optim.Adam(trained, lr=self.recipe.lr, weight_decay=self.recipe.weight_decay)
