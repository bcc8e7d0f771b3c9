"""A table to a trained network, by the project's own engine, which leaves nothing else behind."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng
from numpy.typing import NDArray
from torch import Tensor

from ranksim.data.binning import suggest_bins
from ranksim.data.features import VectorDataset
from ranksim.imbalance import LabelBins
from ranksim.integrations.sklearn.samples import WeightedSamples
from ranksim.integrations.sklearn.settings import Settings
from ranksim.metrics import ShotRegions
from ranksim.models import MLPEncoder, Regressor
from ranksim.training.divergence import SampleIds
from ranksim.training.factory import resolve_defaults
from ranksim.training.fit import TrainingOptions, TrainingResult, TrainingTask, fit
from ranksim.training.method import Method, first_stage, parse_method
from ranksim.training.modality import TABLE
from ranksim.training.presets import load_recipe, preset_table
from ranksim.training.recipe import Recipe
from ranksim.training.resume import BEST, read_training_checkpoint
from ranksim.training.trainer_config import TrainerConfig
from ranksim.training.two_stage import retrain_head

_PRESET, _MODEL, _HEAD = "small", "model.", "head."
_ONE = threading.Lock()  # training at a time: random states and settings belong to the process


@dataclass(frozen=True, eq=False)
class Trained:
    """A network on the CPU, float64, whose output times ``scale`` plus ``offset`` is the target."""

    network: Regressor
    scale: float
    offset: float
    outcome: TrainingResult


def train(inputs: NDArray[np.float32], samples: WeightedSamples, settings: Settings) -> Trained:
    """Train on standardised inputs ``(N, F)`` of these samples.

    Raises:
        UsageError: an unknown method, or a setting outside its range.
        DivergedError: a loss stopped being a number, or exploded.
    """
    method = parse_method(settings.method, preset_table(TABLE, _PRESET)["weighting"])
    recipe = resolve_defaults(load_recipe(TABLE, _PRESET, method, settings.changes), samples.y)
    step = recipe.label_step or 1.0  # labels that are all equal have none
    changes = {**settings.changes, "label_scale": recipe.label_scale, "label_step": step}
    offset = _centre(samples.y, step, settings.bin_width)
    labels = samples.y - offset
    bins = _bins(labels, settings)
    if settings.held_out is None or samples.group[-1] == 0:
        rows = held = np.arange(len(labels))
    else:
        rows, held = samples.parted(settings.held_out, settings.seed)
    train, val = (VectorDataset(inputs[part], labels[part]) for part in (rows, held))
    recipe = load_recipe(TABLE, _PRESET, method, changes)
    shape: dict[str, Any] = {
        name: getattr(recipe, name) for name in ("hidden", "layers", "dropout")
    }
    factor = samples.factor[rows]
    task = TrainingTask(
        *(train, val, val),
        lambda: Regressor(MLPEncoder(inputs.shape[1], **shape)),
        bins,
        ShotRegions.by_rule(bins, labels[rows]),
        sample_weight=None if np.ptp(factor) == 0 else factor,
        sample_ids=SampleIds(samples.row[rows], "row", "X"),
    )
    network, outcome = _fitted(task, recipe, method, changes, settings)
    return Trained(network, recipe.label_scale, offset, outcome)


def _centre(labels: NDArray[np.float64], step: float, width: float | None) -> float:
    """Near the mean, so many whole steps that labels less it still tie, and bins keep edges."""
    whole = width is not None and np.isclose(width / step, np.rint(width / step), rtol=0)
    unit = width if whole and width else step
    return float(np.rint(labels.mean() / unit) * unit)


def _bins(labels: NDArray[np.float64], settings: Settings) -> LabelBins:
    if np.ptp(labels) == 0:
        return LabelBins.of_width(labels, 1.0)
    if settings.bins is not None:
        return LabelBins.of_count(labels, settings.bins)
    if settings.bin_width is not None:
        return LabelBins.of_width(labels, settings.bin_width)
    return suggest_bins(labels).bins


def _fitted(
    task: TrainingTask,
    recipe: Recipe,
    method: Method,
    changes: Mapping[str, Any],
    settings: Settings,
) -> tuple[Regressor, TrainingResult]:
    """A network by a method of one stage or two, and how its last stage went."""
    options = TrainingOptions(
        seed=settings.seed,
        trainer_config=TrainerConfig(accelerator=settings.device),
        progress_bar=settings.progress_bar,
        write_logs=False,
    )
    first = first_stage(method)
    with _ONE, _left_alone(), tempfile.TemporaryDirectory() as name:
        one, two = Path(name) / "one", Path(name) / "two"
        if first is None:
            outcome = fit(task, recipe, method.technique, one, options)
            state = _weights(one)
        else:
            fit(task, load_recipe(TABLE, _PRESET, first, changes), first.technique, one, options)
            outcome = retrain_head(task, recipe, method.technique, two, one / BEST, options)
            head = {k: v for k, v in _weights(two).items() if k.startswith(_HEAD)}
            state = _weights(one) | head
        network = task.build_model()
    network.load_state_dict(state)
    return network.double().eval(), outcome


def _weights(folder: Path) -> dict[str, Tensor]:
    """Those of the network in a training's best checkpoint."""
    state = read_training_checkpoint(folder / BEST)["state_dict"]
    return {k.removeprefix(_MODEL): v for k, v in state.items() if k.startswith(_MODEL)}


@contextlib.contextmanager
def _left_alone() -> Iterator[None]:
    """Give the process back as it was; one thread, so that n_jobs changes no number."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    environment = set(os.environ)
    torch.set_num_threads(1)
    try:
        with isolate_rng(), warnings.catch_warnings():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=only_warns)
        for name in os.environ.keys() - environment:
            del os.environ[name]  # Lightning leaves its seed there
