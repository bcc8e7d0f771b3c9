"""Training of :class:`RankSimRegressor` without side effects on global state."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ranksim._utils.random_state import isolate_random_state
from ranksim.data.batch import VectorDataset
from ranksim.data.binning import make_label_bins
from ranksim.exceptions import UsageError
from ranksim.integrations.sklearn.weights import WeightedSamples
from ranksim.metrics import ShotRegions
from ranksim.models import MeanRegressor, MLPEncoder, Regressor
from ranksim.training.divergence import SampleIds
from ranksim.training.factory import resolve_defaults
from ranksim.training.fit import fit, retrain_head
from ranksim.training.method import Method, average_members, first_stage, parse_method
from ranksim.training.part_modules import make_head
from ranksim.training.presets import load_recipe, preset_table
from ranksim.training.recipe import TABLE, NetworkRecipe
from ranksim.training.resume import BEST, read_training_checkpoint
from ranksim.training.task import TrainingOptions, TrainingResult, TrainingTask

_PRESET, _MODEL, _HEAD = "small", "model.", "head."
_LOCK = threading.Lock()  # random states and settings belong to the process


def train(
    inputs: NDArray[np.float32],
    samples: WeightedSamples,
    method_name: str,
    changes: Mapping[str, Any],
    bins: tuple[int | None, float | None],
    validation_fraction: float | None,
    options: TrainingOptions,
) -> tuple[nn.Module, float, float, TrainingResult]:
    """Train on standardized inputs ``(N, F)`` of the samples.

    ``changes`` are recipe fields that differ from the preset, ``bins`` a number or a width of label
    bins. Without ``validation_fraction`` training samples validate. Returns a float64 network on
    the CPU, whose ``output · scale + offset`` predicts the target, the scale, the offset, and the
    result of the training, the last one of a mean of two networks.
    """
    method = parse_method(method_name, preset_table(TABLE, _PRESET)["weighting"])
    recipe = resolve_defaults(_load_network_recipe(method, changes), samples.y)
    changes = {**changes, "label_scale": recipe.label_scale, "label_step": recipe.label_step}
    offset = _round_center(samples.y, recipe.label_step, bins[1])
    labels = samples.y - offset
    label_bins = make_label_bins(labels, count=bins[0], width=bins[1])
    if validation_fraction is None or samples.group[-1] == 0:
        train_rows = val_rows = np.arange(len(labels))
    else:
        train_rows, val_rows = samples.split(validation_fraction, options.seed)
    train_set, val_set = (VectorDataset(inputs[r], labels[r]) for r in (train_rows, val_rows))
    recipe = _load_network_recipe(method, changes)
    layers: dict[str, Any] = {k: getattr(recipe, k) for k in ("hidden", "layers", "dropout")}
    weight = samples.weight[train_rows]
    task = TrainingTask(
        *(train_set, val_set, val_set),
        lambda: Regressor(MLPEncoder(inputs.shape[1], **layers)),
        label_bins,
        ShotRegions.from_counts(label_bins, labels[train_rows]),
        sample_weight=None if np.ptp(weight) == 0 else weight,
        sample_ids=SampleIds(samples.row[train_rows], "row", "X"),
    )
    networks = []
    for member in average_members(method) or (method,):
        member_recipe = _load_network_recipe(member, changes)
        network, result = _fit_stages(task, member_recipe, member, changes, options)
        networks.append(network)
    mean = networks[0] if len(networks) == 1 else MeanRegressor(networks)
    return mean, recipe.label_scale, offset, result


def _load_network_recipe(method: Method, changes: Mapping[str, Any]) -> NetworkRecipe:
    """Return the recipe of a method that trains a network on the rows as they are."""
    recipe, technique = load_recipe(TABLE, _PRESET, method, changes), method.technique
    if technique.resampling or technique.transform or not isinstance(recipe, NetworkRecipe):
        raise UsageError(
            f"RankSimRegressor trains a network, and {method.name} is more than that: use "
            "scikit-learn's TransformedTargetRegressor, a resampler of ranksim.imbalance, or the "
            "estimator itself with DensitySampleWeight."
        )
    return recipe


def _round_center(labels: NDArray[np.float64], step: float, width: float | None) -> float:
    """Round the mean label to a multiple of the label step, so that equal labels stay equal.

    A bin width that is a multiple of the step is used instead, so that bins keep their edges.
    """
    multiple = width is not None and np.isclose(width / step, np.rint(width / step), rtol=0)
    unit = width if multiple and width else step
    return float(np.rint(labels.mean() / unit) * unit)


def _fit_stages(
    task: TrainingTask,
    recipe: NetworkRecipe,
    method: Method,
    changes: Mapping[str, Any],
    options: TrainingOptions,
) -> tuple[Regressor, TrainingResult]:
    """Train in one or two stages; return the network and the result of the last stage."""
    first = first_stage(method)
    with _LOCK, _restore_process_state(), tempfile.TemporaryDirectory() as name:
        one, two = Path(name) / "one", Path(name) / "two"
        if first is None:
            result = fit(task, recipe, method.technique, one, options)
            state = _read_weights(one)
        else:
            fit(task, _load_network_recipe(first, changes), first.technique, one, options)
            result = retrain_head(task, recipe, method.technique, two, one / BEST, options)
            head = {k: v for k, v in _read_weights(two).items() if k.startswith(_HEAD)}
            state = _read_weights(one) | head
        network = task.build_model()
    if (other := make_head(recipe, method.technique, network.width)) is not None:
        network.head = other
    network.load_state_dict(state)
    return network.double().eval(), result


def _read_weights(folder: Path) -> dict[str, Tensor]:
    """Read the weights of the network in a training's best checkpoint."""
    state = read_training_checkpoint(folder / BEST)["state_dict"]
    return {k.removeprefix(_MODEL): v for k, v in state.items() if k.startswith(_MODEL)}


@contextlib.contextmanager
def _restore_process_state() -> Iterator[None]:
    """Context that trains on one thread, so that ``n_jobs`` has no effect on results."""
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    only_warns = torch.is_deterministic_algorithms_warn_only_enabled()
    environment = set(os.environ)
    torch.set_num_threads(1)
    try:
        with isolate_random_state(), warnings.catch_warnings():
            yield
    finally:
        torch.set_num_threads(threads)
        torch.use_deterministic_algorithms(strict, warn_only=only_warns)
        for name in os.environ.keys() - environment:  # Lightning stores its seed there
            del os.environ[name]
