"""Training of a network, in one stage or two, resumable after each validation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ranksim._utils.arrays import copy_to_numpy
from ranksim._utils.random_state import seed_everything
from ranksim.data.batch import Batch, BatchDataset, VectorDataset
from ranksim.exceptions import UsageError
from ranksim.imbalance import LabelBins
from ranksim.losses import L1Loss
from ranksim.metrics.distributions import Distribution
from ranksim.metrics.scores import Scores
from ranksim.models import FrozenEncoder, PrecomputedFeatures, Regressor
from ranksim.training import direct_loop, factory
from ranksim.training.data_loader import (
    EVAL_BATCH_SIZE,
    BatchSequence,
    make_loader,
    select_display_samples,
)
from ranksim.training.divergence import (
    DivergedError,
    DivergenceMonitor,
    SampleIds,
)
from ranksim.training.label_units import make_distribution
from ranksim.training.method import Technique
from ranksim.training.module import Objective, RegressionModule
from ranksim.training.part_modules import (
    PartContext,
    explosion_limit,
    join_losses,
    make_feature_terms,
    make_head,
)
from ranksim.training.parts import has_two_views, trains_encoder
from ranksim.training.recipe import NetworkRecipe
from ranksim.training.resume import BEST, LAST, Progress, read_training_checkpoint
from ranksim.training.selection import SelectionScore
from ranksim.training.task import FollowedError, TrainingOptions, TrainingResult, TrainingTask
from ranksim.training.trainer_config import TrainerConfig
from ranksim.training.views import make_second_view

_FEATURE_BATCH_SIZE = 256


def fit(
    task: TrainingTask,
    recipe: NetworkRecipe,
    technique: Technique,
    folder: Path,
    options: TrainingOptions,
    *,
    fds_state: Mapping[str, Tensor] | None = None,
    update_fds: bool = True,
) -> TrainingResult:
    """Train a network and score the weights with the best validation score.

    Args:
        task: data and network.
        recipe: hyperparameters.
        technique: techniques of a single stage.
        folder: receives ``best.ckpt``, ``last.ckpt`` and logs. Training resumes from an existing
            ``last.ckpt``, to the same result as without the interruption.
        options: seed, hardware, limits and callbacks.
        fds_state: initial state of FDS.
        update_fds: update the statistics of FDS after each epoch.

    Raises:
        DivergedError: a loss exploded or was not finite; the last good checkpoints remain.
        FollowedError: this is not the first node.
    """
    config = options.trainer_config
    seed_everything(options.seed)
    if task.transform is not None:  # the scale and step of the recipe are those of the labels
        recipe = dataclasses.replace(recipe, label_scale=0.0, label_step=0.0)
    recipe = factory.resolve_defaults(recipe, task.targets)
    module = _make_module(task, recipe, technique, options, fds_state, update_fds)
    with _explain_errors(task.sample_ids):
        _train(module, task, folder, options)
    if config.is_follower_node:
        raise FollowedError("This node has finished; the first node writes the results.")
    # training may have happened in other processes: continue from its checkpoints
    last = read_training_checkpoint(folder / LAST)
    progress = Progress.from_checkpoint(last)
    module.load_state_dict(read_training_checkpoint(folder / BEST)["state_dict"])
    val, val_preds, val_distribution = _score(module, task, task.val, config)
    if module.selection is not None:
        val["all"][recipe.monitor] = module.selection(torch.from_numpy(val_preds), task.val.labels)
    test, preds, distribution = _score(module, task, task.test, config)
    calibration_preds = calibration_distribution = None
    if task.calibration is not None:
        _, calibration_preds, calibration_distribution = _score(
            module, task, task.calibration, config
        )
    display = select_display_samples(task.bins, copy_to_numpy(task.test.labels))
    features = map_samples(
        module,
        lambda inputs: module.model.encoder(*inputs),
        task.test,
        torch.from_numpy(display.rows),
        config,
    )
    return TrainingResult(
        val=val,
        test=test,
        sample_index=np.arange(len(preds)),
        preds=preds,
        features=copy_to_numpy(features.double()),
        curves=progress.curves,
        epochs=progress.epochs,
        best_epoch=progress.best_epoch,
        steps=last["global_step"],
        seconds=progress.seconds,
        val_preds=val_preds,
        calibration_preds=calibration_preds,
        distribution=distribution,
        val_distribution=val_distribution,
        calibration_distribution=calibration_distribution,
    )


def _make_module(
    task: TrainingTask,
    recipe: NetworkRecipe,
    technique: Technique,
    options: TrainingOptions,
    fds_state: Mapping[str, Tensor] | None,
    update_fds: bool,
) -> RegressionModule:
    """Build the network and its training loss."""
    config, transform = options.trainer_config, task.transform
    model = task.build_model()
    labels = torch.from_numpy(task.targets)
    targets = labels / recipe.label_scale
    unit = float(targets.std(correction=0)) or 1.0
    if (head := make_head(recipe, technique, model.width, unit)) is not None:
        model.head = head  # the encoder starts like the encoder of the plain method
    # the mean of transformed labels is 0
    initial_pred = 0.0 if transform is not None else task.initial_bias / recipe.label_scale
    if initial_pred:
        model.head.start_at(initial_pred)
    bins = task.bins
    if transform is not None:
        bins = LabelBins(transform.map_edges(bins.edges.astype(np.float64)).astype(np.float32))
    fds = factory.make_fds(recipe, technique, bins, model.width)
    if fds is not None and fds_state is not None:
        fds.load_state_dict(fds_state)
        fds.updates.zero_()  # counts the updates of this training
    fds_batches: Iterable[Batch] | None = None
    if fds is not None and update_fds:
        order = task.train.length_order()
        fds_batches = (
            make_loader(task.train, _FEATURE_BATCH_SIZE, order.tolist(), on_gpu=config.on_gpu)
            if _uses_lightning(options)
            else BatchSequence(task.train, order, _FEATURE_BATCH_SIZE)
        )
    base = factory.make_loss(recipe, technique)
    weights = factory.make_weights(
        recipe, technique, task.bins, copy_to_numpy(task.train.labels), task.sample_weight
    )
    gather = config.gather_across_devices
    ranksim = factory.make_ranksim(recipe, technique, options.seed, gather)
    context = PartContext(
        *(recipe, technique, copy_to_numpy(targets), bins),
        *(model.width, options.seed, gather),
    )
    limit = explosion_limit(base, context, targets, weights, initial_pred)
    objective = Objective(
        *(join_losses(base, context, model.head.locate), weights, fds, fds_batches, ranksim),
        *(DivergenceMonitor(limit), technique, make_feature_terms(context)),
        make_second_view(task, recipe, options.seed) if has_two_views(technique.parts) else None,
        SelectionScore.make(recipe.monitor, task.bins, copy_to_numpy(task.train.labels)),
        _make_ascent_weights(task, recipe, technique),
    )
    arguments: dict[str, Any] = {
        "model": model,
        "recipe": recipe,
        "objective": objective,
        "transform": None if transform is None else (transform, labels),
        "augment": task.augment,
        "compile_encoder": config.compile,
    }
    if not _uses_lightning(options):
        return RegressionModule(**arguments)
    from ranksim.training.lightning.module import LightningRegressionModule, SelectingMetrics

    metrics = SelectingMetrics(task.regions, objective.selection, task.gmean_epsilon)
    return LightningRegressionModule(**arguments, metrics=metrics)


def _make_ascent_weights(
    task: TrainingTask, recipe: NetworkRecipe, technique: Technique
) -> Tensor | None:
    """Return the weights 1/√n of the training samples ``(N,)`` for BSAM; None without it."""
    if "bsam" not in technique.parts:
        return None
    weighted = dataclasses.replace(technique, weighting="sqrt_inverse")
    labels = copy_to_numpy(task.train.labels)
    return factory.make_weights(recipe, weighted, task.bins, labels, task.sample_weight)


def _train(
    module: RegressionModule, task: TrainingTask, folder: Path, options: TrainingOptions
) -> None:
    """Train or resume, and write the checkpoints ``best.ckpt`` and ``last.ckpt``."""
    if not _uses_lightning(options):
        direct_loop.train(module, task, folder, options)
        return
    from ranksim.training.lightning import loop
    from ranksim.training.lightning.module import LightningRegressionModule

    assert isinstance(module, LightningRegressionModule)
    loop.train(module, task, folder, options)


def _uses_lightning(options: TrainingOptions) -> bool:
    return bool(options.callbacks) or options.trainer_config.needs_lightning


def retrain_head(
    task: TrainingTask,
    recipe: NetworkRecipe,
    technique: Technique,
    folder: Path,
    checkpoint: Path,
    options: TrainingOptions,
) -> TrainingResult:
    """Train a new head over the frozen encoder in the best ``checkpoint`` of the first stage.

    ``technique`` is that of both stages. The encoder is in evaluation mode. Without augmentation,
    the features of a sample are constant and computed only once, and ``folder`` receives
    checkpoints of the head alone. FDS keeps the statistics of the first stage. With
    ``rrt_paper_compat``, BatchNorm and dropout are in training mode and FDS is updated.
    """
    state = read_training_checkpoint(checkpoint)["state_dict"]
    paper_compat = recipe.rrt_paper_compat and not trains_encoder(technique.parts)
    if paper_compat or task.augment is not None:

        def build_model() -> Regressor:
            return Regressor(FrozenEncoder(_load_encoder(task, state), paper_compat=paper_compat))

        stage_two = dataclasses.replace(task, build_model=build_model)
    else:
        model, config = Regressor(_load_encoder(task, state)), options.trainer_config
        stage_two = dataclasses.replace(
            task,
            train=_compute_features(model, task.train, config),
            val=_compute_features(model, task.val, config),
            test=_compute_features(model, task.test, config),
            calibration=(
                None
                if task.calibration is None
                else _compute_features(model, task.calibration, config)
            ),
            build_model=lambda: Regressor(PrecomputedFeatures(model.width)),
        )
    statistics = select_prefix(state, "fds.") or None
    arguments = stage_two, recipe, technique.stage_two, folder, options
    return fit(*arguments, fds_state=statistics, update_fds=paper_compat)


def _load_encoder(task: TrainingTask, state: Mapping[str, Tensor]) -> torch.nn.Module:
    encoder = task.build_model().encoder
    encoder.load_state_dict(select_prefix(state, "model.encoder."))
    return encoder


def select_prefix(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the tensors whose names start with a prefix, under names without it."""
    return {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}


def _compute_features(
    model: Regressor, samples: BatchDataset, config: TrainerConfig
) -> VectorDataset:
    """Replace the inputs of samples by the features of the encoder."""
    order = samples.length_order()
    features = map_samples(
        model, lambda inputs: model.encoder(*inputs).float(), samples, order, config
    )
    return VectorDataset(features[order.argsort()], samples.labels)


def evaluate(
    model: Regressor, recipe: NetworkRecipe, task: TrainingTask, config: TrainerConfig
) -> tuple[dict[str, Scores], NDArray[np.float64]]:
    """Score a network, which predicts label / ``recipe.label_scale``, on the test split.

    Returns:
        Scores by region, and predictions ``(N,)``.
    """
    if config.compile:
        model.encoder.compile()
    transform = None if task.transform is None else (task.transform, task.train.labels)
    module = RegressionModule(model, recipe, Objective(L1Loss()), transform=transform)
    scores, preds, _ = _score(module, task, task.test, config)
    return scores, preds


def _score(
    module: RegressionModule, task: TrainingTask, samples: BatchDataset, config: TrainerConfig
) -> tuple[dict[str, Scores], NDArray[np.float64], Distribution | None]:
    """Return the scores of a split by region, the predictions ``(N,)`` and their distributions."""
    rows = torch.arange(len(samples))
    columns = map_samples(
        module, module.predict_columns, samples, rows, config, batch_size=EVAL_BATCH_SIZE
    )
    preds = columns[:, 0].contiguous()
    distribution = make_distribution(module.model.head, copy_to_numpy(columns))
    scores = task.regions.scores(preds, samples.labels, gmean_epsilon=task.gmean_epsilon)
    if distribution is not None:
        labels, points = copy_to_numpy(samples.labels), copy_to_numpy(preds)
        for name, mask in task.regions.masks(labels).items():
            part = distribution.take(mask)
            scores[name] |= part.score(points[mask], labels[mask])
    return scores, copy_to_numpy(preds), distribution


def map_samples(
    module: nn.Module,
    compute: Callable[[tuple[Tensor, ...]], Tensor],
    samples: BatchDataset,
    rows: Tensor,
    config: TrainerConfig,
    *,
    batch_size: int = _FEATURE_BATCH_SIZE,
) -> Tensor:
    """Apply a function of a module, in evaluation mode, to the inputs of samples.

    Args:
        module: moved to the device of the configuration.
        compute: maps the inputs of B samples to a tensor ``(B, ...)``.
        samples: the data.
        rows: positions of the samples, int64 ``(N,)``.
        config: the hardware; one device of it is used.
        batch_size: most samples per call.

    Returns:
        The results ``(N, ...)`` on the CPU, in the order of ``rows``.
    """
    if not config.needs_lightning:
        return direct_loop.map_samples(module, compute, samples, rows, batch_size)
    from ranksim.training.lightning import loop

    return loop.map_samples(module, compute, samples, rows, batch_size, config)


@contextmanager
def _explain_errors(ids: SampleIds | None) -> Iterator[None]:
    """Context that adds table lines to divergence errors and a remedy to BatchNorm errors."""
    try:
        yield
    except DivergedError as error:
        raise DivergedError(error.divergence.with_sample_ids(ids)) from error
    except (ValueError, RuntimeError) as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise UsageError(
            "BatchNorm cannot train on the last batch of an epoch, which has one sample of one "
            "pixel: choose another batch_size or image_size."
        ) from error
