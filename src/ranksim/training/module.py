"""A regression network with its loss, sample weights, FDS and RankSim, for any training loop."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ranksim.data.batch import Batch
from ranksim.data.target_transform import TargetTransform
from ranksim.functional.similarity import working_dtype
from ranksim.imbalance import FDS
from ranksim.losses import BSAM, RankSimLoss
from ranksim.models import Regressor
from ranksim.training.divergence import DivergenceMonitor
from ranksim.training.label_units import predict_columns, to_label_unit
from ranksim.training.method import Technique
from ranksim.training.method_rules import record_recipe
from ranksim.training.part_modules import BatchOutputs
from ranksim.training.parts import trains_encoder
from ranksim.training.recipe import NetworkRecipe
from ranksim.training.selection import SelectionScore

Augment = Callable[[tuple[Tensor, ...], Tensor, int], tuple[Tensor, ...]]


@dataclass(frozen=True, eq=False)
class Objective:
    """Everything that makes up the training loss."""

    loss: nn.Module  # called with outputs of the head, targets and weights
    sample_weight: Tensor | None = None  # of the training samples (N,)
    fds: FDS | None = None
    fds_batches: Iterable[Batch] | None = None  # all training samples, to update FDS
    ranksim: RankSimLoss | None = None
    monitor: DivergenceMonitor | None = None
    technique: Technique = field(default_factory=Technique)
    feature_terms: Mapping[str, nn.Module] = field(default_factory=dict)  # by part
    second_view: Augment | None = None  # of the inputs of a batch, for parts that compare views
    selection: SelectionScore | None = None  # of validations, where it is no usual score
    ascent_weight: Tensor | None = None  # of the training samples (N,), for the ascent of BSAM


class RegressionModule(nn.Module):
    """A :class:`ranksim.models.Regressor` with its training loss, for any training loop.

    ``augment`` is called with the inputs of a training batch, sample indices and epoch. With
    ``transform``, the network is trained on the transformed labels, and its predictions are scored
    after the inverse.
    """

    def __init__(
        self,
        model: Regressor,
        recipe: NetworkRecipe,
        objective: Objective,
        *,
        augment: Augment | None = None,
        compile_encoder: bool = False,
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
        self.technique = objective.technique
        self.selection = objective.selection
        self.feature_terms = nn.ModuleDict(dict(objective.feature_terms))
        self.trains_encoder = trains_encoder(objective.technique.parts)
        self.second_view = objective.second_view
        self.ascent_weight = objective.ascent_weight
        self.ascent = None if objective.ascent_weight is None else BSAM(model, recipe.bsam_rho)
        self.augment = augment
        self.compile_encoder = compile_encoder
        # of the labels, and the transformed labels of the training samples (N,)
        self.transform: TargetTransform | None = None
        self.targets: Tensor | None = None
        if transform is not None:
            self.transform, self.targets = transform
        self._losses: dict[str, list[tuple[Tensor, int]]] = {}  # since the last validation

    def prepare(self, device: torch.device) -> None:
        """Move sample weights and targets to the device, and compile the encoder if asked to."""
        if self.sample_weight is not None:
            self.sample_weight = self.sample_weight.to(device)
        if self.targets is not None:
            self.targets = self.targets.to(device, working_dtype(device))
        if self.compile_encoder:  # compiled code cannot be sent to another process
            self.model.encoder.compile()

    def needs_fds_update(self, epoch: int) -> bool:
        """Return True if FDS lacks the statistics of an epoch before ``epoch``.

        They are updated at the start of an epoch and not at the end of the last one: the weights
        are the same, the final update is never needed, and a resumed run makes up for it.
        """
        fds = self.fds
        return fds is not None and self.fds_batches is not None and int(fds.updates) < epoch

    def update_fds(self, batches: Iterable[Batch], epoch: int) -> None:
        """Update the statistics of FDS from batches of all training samples."""
        fds = self.fds
        assert fds is not None
        if not fds.paper_compat:
            self.model.eval()
        fds.fit_epoch(
            # the published code takes statistics of augmented samples
            lambda batch: self.model.encoder(*self._inputs(batch, epoch, fds.paper_compat)),
            ((batch, self._labels(batch)) for batch in batches),
        )
        self.model.train()

    def _inputs(self, batch: Batch, epoch: int, augmented: bool) -> tuple[Tensor, ...]:
        if self.augment is None or not augmented:
            return batch["inputs"]
        return self.augment(batch["inputs"], batch["index"], epoch)

    def _labels(self, batch: Batch) -> Tensor:
        """Return the labels of a training batch ``(N,)``, transformed if there is a transform."""
        return batch["label"] if self.targets is None else self.targets[batch["index"]]

    def compute_loss(self, batch: Batch, epoch: int) -> tuple[Tensor, Tensor | None]:
        """Return the weighted loss of a training batch, and the sum of its feature terms.

        The terms are RankSim and those of parts; None without any.
        """
        features, calibrated, outputs = self._compute_outputs(batch, epoch)
        labels = self._labels(batch)
        dtype = torch.promote_types(outputs.dtype, torch.float32)  # bf16 would round the labels
        target = (labels / self.recipe.label_scale).to(dtype)
        weight = None if self.sample_weight is None else self.sample_weight[batch["index"]]
        loss: Tensor = self.loss(outputs.to(dtype), target, weight)
        self._add_loss("train_loss", loss, len(target))
        terms: list[Tensor] = []
        if self.ranksim is not None:
            label_steps = (labels / self.recipe.label_step).round()
            uses_calibrated = self.fds is not None and self.fds.paper_compat
            terms.append(self.ranksim(calibrated if uses_calibrated else features, label_steps))
            self._add_loss("train_ranksim", terms[0], 1)
        if self.feature_terms:
            preds = self.model.head.locate(outputs.to(dtype))
            inputs = BatchOutputs(
                *(features, preds, target, labels, weight, batch["index"], epoch),
                *self._compute_second_view(batch, labels, epoch),
            )
            for name, module in self.feature_terms.items():
                terms.append(module(inputs))
                self._add_loss(f"train_{name}", terms[-1], 1)
        return loss, sum(terms[1:], terms[0]) if terms else None

    def _compute_outputs(self, batch: Batch, epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return features, those after FDS, and outputs of the head, of a training batch."""
        features = self.model.encoder(*self._inputs(batch, epoch, augmented=True))
        calibrated = features if self.fds is None else self.fds(features, self._labels(batch))
        inputs = calibrated.detach() if self.trains_encoder else calibrated
        return features, calibrated, self.model.compute_outputs(inputs)

    def ascend(self, batch: Batch, epoch: int) -> None:
        """With BSAM, move the weights to where a batch's 1/√n-weighted loss is larger."""
        if self.ascent is None or self.ascent_weight is None:
            return
        *_, outputs = self._compute_outputs(batch, epoch)
        dtype = torch.promote_types(outputs.dtype, torch.float32)
        target = (self._labels(batch) / self.recipe.label_scale).to(dtype)
        weight = self.ascent_weight.to(outputs.device)[batch["index"]]
        self.ascent.ascend(self.loss(outputs.to(dtype), target, weight))

    def descend(self) -> None:
        """Move the weights back, after the backward pass."""
        if self.ascent is not None:
            self.ascent.restore()

    def _compute_second_view(
        self, batch: Batch, labels: Tensor, epoch: int
    ) -> tuple[Tensor, Tensor] | tuple[()]:
        """Return features and predictions of the second view, if a part needs one."""
        if self.second_view is None:
            return ()
        inputs = self.second_view(batch["inputs"], batch["index"], epoch)
        features = self.model.encoder(*inputs)
        with torch.no_grad():
            calibrated = features if self.fds is None else self.fds(features, labels)
            preds = self.model.head.locate(self.model.head(calibrated))
        return features, preds.to(torch.promote_types(preds.dtype, torch.float32))

    def _add_loss(self, name: str, value: Tensor, count: int) -> None:
        self._losses.setdefault(name, []).append((value.detach(), count))

    def take_loss_sums(self) -> dict[str, tuple[float, int]]:
        """Return sums and counts of the losses since the last call, by name."""
        losses, self._losses = self._losses, {}
        sums = {}
        for name, entries in losses.items():
            values = torch.stack([value for value, _ in entries]).tolist()
            counts = [count for _, count in entries]
            total = sum(map(operator.mul, values, counts), start=0.0)
            sums[name] = total, sum(counts)
        return sums

    def predict_labels(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return predictions ``(N,)`` in the unit of the labels, float64 where it exists."""
        return to_label_unit(self.model(*inputs)[0], self.recipe.label_scale, self.transform)

    def predict_columns(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """Return predictions, and scales or quantiles, ``(N, 1 + S)``, as float64 on the CPU."""
        model = self.model
        outputs = model.compute_outputs(model.encoder(*inputs))
        columns = predict_columns(model.head, outputs, self.recipe.label_scale, self.transform)
        return columns.cpu().double()

    def checkpoint_sections(self) -> dict[str, Any]:
        """Return what a checkpoint needs besides weights, to use the network without a run."""
        sections: dict[str, Any] = {"recipe": record_recipe(self.recipe, self.technique)}
        if self.transform is not None:
            sections["transform"] = self.transform.to_dict()
        return sections

    def param_groups(self) -> list[dict[str, Any]]:
        """Return the trained parameters in groups with their learning rates.

        A module of a part with an attribute ``learning_rate`` trains its parameters with it,
        without weight decay.
        """
        recipe = self.recipe
        groups: list[dict[str, Any]] = []
        modules = [m for m in self.modules() if getattr(m, "learning_rate", None) is not None]
        for module in modules:
            params = [p for p in module.parameters() if p.requires_grad]
            groups.append({"params": params, "lr": module.learning_rate, "weight_decay": 0.0})
        separate = {p for group in groups for p in group["params"]}
        rest = [p for p in self.parameters() if p.requires_grad and p not in separate]
        decay = recipe.weight_decay
        return [{"params": rest, "lr": recipe.lr, "weight_decay": decay}, *groups]
