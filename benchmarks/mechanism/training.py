"""Training of a small network with a variant of the term, and what is measured on the way."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from benchmarks.mechanism.tasks import Part, Task
from benchmarks.mechanism.terms import Term, ranking_penalty
from ranksim.functional import rank

EPOCHS, BATCH, WIDTH, LR = 20, 64, 128, 1e-3
_SHOWN = 200  # samples whose ranks are compared


class Network(nn.Module):
    """An MLP whose last hidden layer gives the features."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(inputs, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH))
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return predictions ``(N,)`` and features before the last ReLU ``(N, D)``."""
        features = self.body(inputs)
        return self.head(features.relu()).squeeze(-1), features


def train(task: Task, term: Term | None, seed: int) -> dict[str, Any]:
    """Train a network; return errors of the best epoch by validation, and curves over epochs."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = Network(task.train.inputs.shape[1])
    optimizer = torch.optim.Adam(network.parameters(), LR, fused=True)
    center, scale = task.train.labels.mean(), task.scale
    targets = ((task.train.labels - center) / scale).float()
    steps = EPOCHS * -(-len(targets) // BATCH)
    curves: dict[str, list[float]] = {"val": [], "train_agreement": [], "test_agreement": []}
    step, best, state = 0, float("inf"), {}
    for _ in range(EPOCHS):
        for rows in torch.randperm(len(targets), generator=generator).split(BATCH):
            preds, hidden = network(task.train.inputs[rows])
            error = preds - targets[rows]
            loss = error.square().mean() if task.loss == "mse" else error.abs().mean()
            if term is not None:
                features = hidden if term.before_relu else hidden.relu()
                labels = task.train.labels[rows]
                loss = loss + ranking_penalty(features, labels, term, generator, step / steps)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
        score = _errors(network, task.val, center, scale, task.loss).mean().item()
        curves["val"].append(score)
        for name, part in (("train", task.train), ("test", task.test)):
            curves[f"{name}_agreement"].append(measure_agreement(network, part))
        if score < best:
            best, state = score, copy.deepcopy(network.state_dict())
    network.load_state_dict(state)
    errors = _errors(network, task.test, center, scale, task.loss)
    return {
        "val": best,
        "test": errors.mean().item(),
        "rare": errors[task.rare].mean().item(),
        "train_agreement": measure_agreement(network, task.train),
        "test_agreement": measure_agreement(network, task.test),
        "curves": curves,
    }


@torch.inference_mode()
def _errors(network: Network, part: Part, center: Tensor, scale: float, loss: str) -> Tensor:
    """Return the error of each sample in the unit of the labels, squared for the loss mse."""
    preds = network(part.inputs)[0].double() * scale + center
    errors = preds - part.labels
    return errors.square() if loss == "mse" else errors.abs()


@torch.inference_mode()
def measure_agreement(network: Network, part: Part) -> float:
    """Return the mean Spearman correlation of feature and label ranks, over anchors.

    The samples are spread evenly over the sorted labels' values, one of each label.
    """
    values, first = _first_of_each_label(part.labels)
    picked = torch.linspace(0, len(values) - 1, min(_SHOWN, len(values))).round().long().unique()
    rows = first[picked]
    unit = normalize(network(part.inputs[rows])[1].relu().double())
    labels = part.labels[rows]
    by_feature = rank(unit @ unit.T, ties="average")
    by_label = rank(-(labels.unsqueeze(1) - labels).abs(), ties="average")
    a, b = (ranks - ranks.mean(1, keepdim=True) for ranks in (by_feature, by_label))
    correlation = (a * b).sum(1) / (a.square().sum(1) * b.square().sum(1)).sqrt()
    return float(correlation.nanmean())


def _first_of_each_label(labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distinct labels in order, and the position of the first sample of each."""
    order = labels.argsort(stable=True)
    ordered = labels[order]
    starts = torch.cat([torch.ones(1, dtype=torch.bool), ordered[1:] != ordered[:-1]])
    return ordered[starts], order[starts]
