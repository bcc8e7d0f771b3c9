"""Time a training step on a table beside a plain PyTorch loop.

    python -m benchmarks.table_step

The network is an MLP 26 → 128 → 128 → 1, on one thread. The plain loop has fused Adam and no
validation; ``ranksim fit`` counts validation and checkpoints too. The shortest of a few trainings
counts.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from ranksim.data.batch import VectorDataset
from ranksim.imbalance import LabelBins
from ranksim.metrics import ShotRegions
from ranksim.models import MLPEncoder, Regressor
from ranksim.training.fit import fit
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.task import TrainingOptions, TrainingTask
from ranksim.training.trainer_config import TrainerConfig

FEATURES, SIZES = 26, (16_000, 2_000, 2_000)  # rows for training, validation and test
SHAPE = {"hidden": 128, "layers": 2, "dropout": 0.0}
EPOCHS, REPETITIONS = 4, 3
# of the step of the plain loop, and of the step without RankSim
GOALS = {64: (1.35, 1.3), 256: (1.35, 1.5)}


def make_task(sizes: tuple[int, int, int] = SIZES) -> TrainingTask:
    """Return a table of random numbers with skewed labels in three parts."""
    draw = np.random.default_rng(0)
    features = draw.normal(size=(sum(sizes), FEATURES)).astype(np.float32)
    labels = np.round(10 * np.exp(features[:, 0]) + draw.normal(size=len(features)))
    bins = LabelBins.uniform(float(labels.min()), float(labels.max()) + 1, 50)
    ends = (0, *itertools.accumulate(sizes))
    parts = [VectorDataset(features[a:b], labels[a:b]) for a, b in itertools.pairwise(ends)]
    regions = ShotRegions.from_counts(bins, labels[: sizes[0]])
    return TrainingTask(parts[0], parts[1], parts[2], make_network, bins, regions)


def make_network() -> Regressor:
    """Return the network."""
    return Regressor(MLPEncoder(FEATURES, hidden=128, layers=2, dropout=0.0))


def time_plain_loop(task: TrainingTask, batch_size: int, epochs: int = EPOCHS) -> float:
    """Return the milliseconds of a step of a loop in plain PyTorch."""
    assert isinstance(task.train, VectorDataset)
    features, labels = task.train.features, task.train.labels.float()
    model = make_network()
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    steps, start = 0, time.perf_counter()
    for _ in range(epochs):
        for rows in torch.split(torch.randperm(len(labels)), batch_size):
            optimizer.zero_grad()
            loss = (model(features[rows])[0] - labels[rows]).abs().mean()
            loss.backward()
            optimizer.step()
            steps += 1
    return 1e3 * (time.perf_counter() - start) / steps


def time_fit(task: TrainingTask, name: str, batch_size: int, epochs: int = EPOCHS) -> float:
    """Return the milliseconds of a step of a training, validation and checkpoints included."""
    method = parse_method(name, "inverse")
    changes = {**SHAPE, "batch_size": batch_size, "max_validations": epochs}
    recipe = load_recipe("table", "small", method, changes)
    options = TrainingOptions(seed=0, trainer_config=TrainerConfig("cpu"), write_logs=False)
    with tempfile.TemporaryDirectory() as folder:
        result = fit(task, recipe, method.technique, Path(folder), options)  # type: ignore[arg-type]
    return 1e3 * result.seconds / result.steps


def shortest(measure: Callable[[], float]) -> float:
    """Return the smallest of a few measurements."""
    return min(measure() for _ in range(REPETITIONS))


def main() -> None:
    """Print the milliseconds of a step and their ratios as a Markdown table."""
    torch.set_num_threads(1)
    task = make_task()
    print(
        "| batch | plain loop, ms | vanilla, ms | × plain | goal | RankSim, ms | × vanilla | goal |"
    )
    print("| ---: |" + " ---: |" * 7)
    for batch, goals in GOALS.items():
        plain = shortest(lambda batch=batch: time_plain_loop(task, batch))  # type: ignore[misc]
        vanilla, ranksim = (
            shortest(lambda name=name, batch=batch: time_fit(task, name, batch))  # type: ignore[misc]
            for name in ("vanilla", "vanilla+ranksim")
        )
        ratios = (vanilla / plain, ranksim / vanilla)
        marks = [
            f"{goal} {'reached' if ratio <= goal else 'not reached'}"
            for ratio, goal in zip(ratios, goals, strict=True)
        ]
        print(
            f"| {batch} | {plain:.2f} | {vanilla:.2f} | {ratios[0]:.2f} | {marks[0]} | "
            f"{ranksim:.2f} | {ratios[1]:.2f} | {marks[1]} |"
        )


if __name__ == "__main__":
    main()
