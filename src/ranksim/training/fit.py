"""Training of a network, in one stage or two, resumable after each validation."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint, Timer
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from numpy.typing import NDArray
from torch import Tensor, nn

from ranksim._utils.arrays import copy_to_numpy, unwrap_scalar
from ranksim.data.batch import BatchDataset, VectorDataset
from ranksim.data.target_transform import TargetTransform
from ranksim.exceptions import RankSimError, UsageError
from ranksim.imbalance import LabelBins
from ranksim.losses import L1Loss
from ranksim.metrics.scores import Scores
from ranksim.metrics.shot_regions import ShotRegions
from ranksim.models import FrozenEncoder, PrecomputedFeatures, Regressor
from ranksim.training import factory
from ranksim.training.data_loader import (
    EVAL_BATCH_SIZE,
    SeededSampler,
    make_loader,
    select_display_samples,
)
from ranksim.training.divergence import (
    DivergedError,
    DivergenceMonitor,
    SampleIds,
    explosion_threshold,
)
from ranksim.training.feature_readers import FeatureReader
from ranksim.training.method import Technique
from ranksim.training.module import Augment, Objective, RegressionModule
from ranksim.training.recipe import NetworkRecipe
from ranksim.training.resume import (
    BEST,
    LAST,
    AtomicCheckpointIO,
    ResumeCallback,
    read_resumable_checkpoint,
    read_training_checkpoint,
)
from ranksim.training.trainer_config import (
    TrainerConfig,
    ValidationCallback,
    ValidationForwarder,
    make_eval_trainer,
    restore_process_errors,
    silence_lightning,
    trainer_arguments,
    translate_keyboard_interrupt,
    world_size,
)

_FEATURE_BATCH_SIZE = 256
_NEVER = 10**9  # validations


@dataclass(frozen=True)
class TrainingLimits:
    """Upper limits of a training; ``None``: only the recipe ends it."""

    steps: int | None = None  # optimizer steps
    epochs: int | None = None  # validations if the recipe validates after a number of steps
    seconds: float | None = None  # checked after each epoch

    def __post_init__(self) -> None:
        for name, value in vars(self).items():  # NumPy scalars cannot be recorded
            object.__setattr__(self, name, unwrap_scalar(value))


@dataclass(frozen=True)
class TrainingTask:
    """Data and network of a training, the same for every method and seed."""

    train: BatchDataset
    val: BatchDataset
    test: BatchDataset
    build_model: Callable[[], Regressor]  # initialized from torch's global generator
    bins: LabelBins  # of sample weights, LDS and FDS
    regions: ShotRegions  # of the scores
    gmean_epsilon: float = 0.0  # see ranksim.metrics.regression_scores
    augment: Augment | None = None  # transforms training batches
    initial_bias: float = 0.0  # initial prediction of the head, in the unit of the labels
    sample_weight: np.ndarray | None = None  # factors on the training weights (N,), float64
    sample_ids: SampleIds | None = None  # the user's numbers of the training samples
    reader: FeatureReader | None = None  # reads samples for estimators
    transform: TargetTransform | None = None  # of the labels, in which a model is trained

    @property
    def targets(self) -> NDArray[np.float64]:
        """The training labels ``(N,)``, transformed if there is a transform."""
        labels = copy_to_numpy(self.train.labels)
        return labels if self.transform is None else self.transform(labels)


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """Options of a training run."""

    seed: int  # determines initial weights, sample order, dropout and RankSim's sampling
    trainer_config: TrainerConfig = field(default_factory=TrainerConfig)
    limits: TrainingLimits = field(default_factory=TrainingLimits)
    progress_bar: bool = False
    on_validation: ValidationCallback | None = None  # called with epoch and validation score
    callbacks: Sequence[L.Callback] = ()
    write_logs: bool = True  # CSV and TensorBoard


@dataclass(frozen=True)
class TrainingResult:
    """Scores, predictions and cost of a training."""

    val: dict[str, Scores]  # by region
    test: dict[str, Scores]
    sample_index: np.ndarray  # of each prediction in the test split, int64 (N,)
    preds: np.ndarray  # on the test split, in the unit of the labels, (N,)
    features: np.ndarray  # of the samples of select_display_samples, (P, D)
    curves: dict[str, list[float]]  # see ResumeCallback
    epochs: int
    best_epoch: int
    steps: int
    seconds: float
    truncated: bool = False  # whether the time limit ended the training


class FollowedError(RankSimError):
    """Raised when a follower node has finished its part; the first node has the results."""


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
    silence_lightning()
    L.seed_everything(options.seed, verbose=False)
    if task.transform is not None:  # the scale and step of the recipe are those of the labels
        recipe = dataclasses.replace(recipe, label_scale=0.0, label_step=0.0)
    recipe = factory.resolve_defaults(recipe, task.targets)
    module = _make_module(task, recipe, technique, options, fds_state, update_fds)
    if config.is_distributed:  # the data is sent to the training processes
        torch.multiprocessing.set_sharing_strategy("file_system")  # type: ignore[no-untyped-call]
    elapsed = _train(module, task, folder, options)
    if config.is_follower_node:
        raise FollowedError("This node has finished; the first node writes the results.")
    # training may have happened in other processes: continue from its checkpoints
    last = read_training_checkpoint(folder / LAST)
    state = last["callbacks"][ResumeCallback.__qualname__]
    module.load_state_dict(read_training_checkpoint(folder / BEST)["state_dict"])
    trainer = make_eval_trainer(config)
    _run_evaluation(trainer.validate, module, task.val, config)
    val = module.scores
    rows = select_display_samples(task.bins, copy_to_numpy(task.test.labels)).rows
    module.display_index = torch.from_numpy(rows)
    index, preds = _run_evaluation(trainer.test, module, task.test, config)
    assert module.features is not None
    return TrainingResult(
        val=val,
        test=module.scores,
        sample_index=index,
        preds=preds,
        features=copy_to_numpy(module.features),
        curves=state["curves"],
        epochs=state["epochs"],
        best_epoch=state["best_epoch"],
        steps=last["global_step"],
        seconds=state["seconds"],
        # the checkpoint is slightly older than the timer, which does not run in other processes
        truncated=max(elapsed, state["seconds"]) >= (options.limits.seconds or math.inf),
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
    # the mean of transformed labels is 0
    initial_pred = 0.0 if transform is not None else task.initial_bias / recipe.label_scale
    if initial_pred:
        nn.init.constant_(model.head.bias, initial_pred)
    bins = task.bins
    if transform is not None:
        bins = LabelBins(transform.map_edges(bins.edges.astype(np.float64)).astype(np.float32))
    fds = factory.make_fds(recipe, technique, bins, model.width)
    if fds is not None and fds_state is not None:
        fds.load_state_dict(fds_state)
        fds.updates.zero_()  # counts the updates of this training
    fds_batches = None
    if fds is not None and update_fds:
        order = task.train.length_order().tolist()
        fds_batches = make_loader(task.train, _FEATURE_BATCH_SIZE, order, on_gpu=config.on_gpu)
    loss = factory.make_loss(recipe, technique)
    weights = factory.make_weights(
        recipe, technique, task.bins, copy_to_numpy(task.train.labels), task.sample_weight
    )
    labels = torch.from_numpy(task.targets)
    targets = labels / recipe.label_scale
    ranksim = factory.make_ranksim(recipe, technique, options.seed, config.gather_across_devices)
    monitor = DivergenceMonitor(explosion_threshold(loss, targets, weights, initial_pred))
    return RegressionModule(
        model,
        recipe,
        task.regions,
        Objective(loss, weights, fds, fds_batches, ranksim, monitor),
        transform=None if transform is None else (transform, labels),
        augment=task.augment,
        compile_encoder=config.compile,
        gmean_epsilon=task.gmean_epsilon,
    )


def _train(
    module: RegressionModule, task: TrainingTask, folder: Path, options: TrainingOptions
) -> float:
    """Train or resume; return the elapsed seconds if there is a time limit, else 0."""
    config, recipe, limits = options.trainer_config, module.recipe, options.limits
    sampler = SeededSampler(len(task.train), options.seed, recipe.batch_size)
    processes = world_size(config)
    steps, accumulate = _steps_per_epoch(recipe, limits, sampler.samples_per_process(processes))
    checkpoint = read_resumable_checkpoint(folder)
    if checkpoint is not None:
        completed = checkpoint["global_step"] % steps
        sampler.start_index = completed * accumulate * recipe.batch_size * processes
    forwarder, on_validation = None, options.on_validation
    if config.is_distributed and on_validation is not None:
        forwarder = ValidationForwarder(on_validation)
        on_validation = forwarder.send
    callbacks = [*_checkpoint_callbacks(folder, recipe, on_validation), *options.callbacks]
    timer = None
    if limits.seconds is not None:
        timer = Timer(timedelta(seconds=limits.seconds), interval="epoch", verbose=False)
        callbacks.append(timer)
    unused_weights = getattr(module.model.encoder, "may_have_unused", False)
    arguments = trainer_arguments(config, unused_weights=unused_weights)
    arguments["plugins"] = [*arguments.get("plugins", []), AtomicCheckpointIO()]
    trainer = L.Trainer(
        **arguments,
        **_schedule(recipe, limits, steps, accumulate),
        callbacks=callbacks,
        logger=[CSVLogger(folder, "logs"), TensorBoardLogger(folder, "logs")] * options.write_logs,
        enable_progress_bar=options.progress_bar,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        deterministic="warn",
        log_every_n_steps=50,
    )
    # Lightning converts only after it has loaded a checkpoint, which would round the loaded values
    trainer.precision_plugin.convert_module(module)
    with (
        translate_keyboard_interrupt(),
        _explain_errors(task.sample_ids),
        forwarder.listening(trainer) if forwarder else nullcontext(),
    ):
        trainer.fit(
            module,
            make_loader(task.train, recipe.batch_size, sampler, on_gpu=config.on_gpu),
            make_loader(task.val, EVAL_BATCH_SIZE, on_gpu=config.on_gpu),
            ckpt_path=None if checkpoint is None else folder / LAST,
            weights_only=True,
        )
    return 0.0 if timer is None else timer.time_elapsed()


def _steps_per_epoch(
    recipe: NetworkRecipe, limits: TrainingLimits, samples: int
) -> tuple[int, int]:
    """Return the optimizer steps per epoch and the batches per step of one process."""
    full, rest = divmod(samples, recipe.batch_size)
    # a mean over batches equals one over samples only if the batches have equal sizes
    batches = full if recipe.accumulate_grad_batches > 1 and full else full + (rest > 0)
    accumulate = min(recipe.accumulate_grad_batches, batches)
    steps = batches // accumulate
    if limits.steps:  # fit the requested number of epochs into the steps
        steps = min(steps, math.ceil(limits.steps / (limits.epochs or 1)))
    return steps, accumulate


def _schedule(
    recipe: NetworkRecipe, limits: TrainingLimits, steps_per_epoch: int, accumulate: int
) -> dict[str, Any]:
    """Return the arguments of Lightning's Trainer for its length, validation and gradients."""
    every, validations = recipe.validate_every, limits.epochs or recipe.max_validations
    return {
        "max_epochs": -1 if every else validations,
        "max_steps": limits.steps or (every * validations if every else -1),
        "limit_train_batches": steps_per_epoch * accumulate,
        "val_check_interval": min(every, limits.steps or every) * accumulate or None,
        "check_val_every_n_epoch": None if every else 1,
        "accumulate_grad_batches": accumulate,
        "gradient_clip_val": recipe.max_grad_norm or None,
    }


def _checkpoint_callbacks(
    folder: Path, recipe: NetworkRecipe, on_validation: ValidationCallback | None
) -> list[L.Callback]:
    """Return the callbacks for early stopping and checkpoints, in the order their states need."""
    monitor = f"val_{recipe.monitor}"
    stopping = EarlyStopping(monitor, patience=recipe.patience or _NEVER, min_delta=0.0)
    best = ModelCheckpoint(
        folder, "best", monitor=monitor, save_weights_only=True, enable_version_counter=False
    )
    last = ModelCheckpoint(folder, "last", save_top_k=1, enable_version_counter=False)
    return [stopping, ResumeCallback(stopping, best, on_validation), best, last]


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
    paper_compat = recipe.rrt_paper_compat
    if paper_compat or task.augment is not None:

        def build_model() -> Regressor:
            return Regressor(FrozenEncoder(_load_encoder(task, state), paper_compat=paper_compat))

        stage_two = dataclasses.replace(task, build_model=build_model)
    else:
        silence_lightning()
        model = Regressor(_load_encoder(task, state))
        trainer = make_eval_trainer(options.trainer_config)
        stage_two = dataclasses.replace(
            task,
            train=_compute_features(trainer, model, task.train),
            val=_compute_features(trainer, model, task.val),
            test=_compute_features(trainer, model, task.test),
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


class FeatureExtractor(L.LightningModule):
    """The encoder of a model, for Lightning's ``Trainer.predict``."""

    def __init__(self, model: Regressor) -> None:
        super().__init__()
        self.model = model

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        features: Tensor = self.model.encoder(*batch["inputs"])
        return features.float().cpu()


def _compute_features(trainer: L.Trainer, model: Regressor, samples: BatchDataset) -> VectorDataset:
    """Replace the inputs of samples by the features of the encoder."""
    order = samples.length_order()
    loader = make_loader(samples, _FEATURE_BATCH_SIZE, order.tolist())
    with translate_keyboard_interrupt():
        batches = trainer.predict(FeatureExtractor(model), loader)
    assert batches is not None
    sorted_features = torch.cat(batches)  # type: ignore[arg-type]
    return VectorDataset(sorted_features[order.argsort()], samples.labels)


def evaluate(
    model: Regressor, recipe: NetworkRecipe, task: TrainingTask, config: TrainerConfig
) -> tuple[dict[str, Scores], np.ndarray, np.ndarray]:
    """Score a network, which predicts label / ``recipe.label_scale``, on the test split.

    Returns:
        Scores by region, sample indices ``(N,)`` and predictions ``(N,)``.
    """
    if config.compile:
        model.encoder.compile()
    module = RegressionModule(
        model,
        recipe,
        task.regions,
        Objective(L1Loss()),
        gmean_epsilon=task.gmean_epsilon,
        transform=None if task.transform is None else (task.transform, task.train.labels),
    )
    index, preds = _run_evaluation(make_eval_trainer(config).test, module, task.test, config)
    return module.scores, index, preds


def _run_evaluation(
    loop: Callable[..., Any], module: RegressionModule, samples: BatchDataset, config: TrainerConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Score a split; return sample indices and predictions, empty for a validation."""
    with translate_keyboard_interrupt():
        loop(module, make_loader(samples, EVAL_BATCH_SIZE, on_gpu=config.on_gpu), verbose=False)
    if module.predictions is None:
        return np.empty(0, np.int64), np.empty(0)
    index, preds, _ = module.predictions
    return index, copy_to_numpy(preds)


@contextmanager
def _explain_errors(ids: SampleIds | None) -> Iterator[None]:
    """Context that adds table lines to divergence errors and a remedy to BatchNorm errors."""
    try:
        with restore_process_errors():
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
