"""The interface of estimators: fit, predict, save and load."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, Literal, Self

import numpy as np

from ranksim._utils.formatting import format_value, join_names, single_line
from ranksim._utils.storage import read_verified_json, sha256, with_digest, write_json
from ranksim.exceptions import (
    DataError,
    MissingDependencyError,
    UsageError,
    require_installed,
    require_optional,
)
from ranksim.models.estimators.data import (
    MONITORS,
    EstimatorData,
    EstimatorSettings,
    Floats,
    LabelScale,
    compute_score,
)

DESCRIPTION = "estimator.json"
FORMAT = 1
ITERATIONS = "iterations"  # the choice of a number of trees
_AGAIN = "copy the model again, or fit it again"
_OPTIONAL = ("learning_rate", "max_leaves", "min_samples_leaf", "l2")


@dataclass(frozen=True)
class EstimatorFit:
    """The course of a training.

    Args:
        monitor: the validation score, ``mse`` or ``mae`` in the label's unit; ``pinball`` for the
            loss ``quantile``, whose predictions no other score judges.
        scores: the score after each tree, or of each candidate in ``candidates``.
        best_iteration: number of trees in the model, or 0 without trees.
        seed_matters: another seed may give another model.
        choices: settings chosen by the validation score, beside the number of trees.
    """

    monitor: str
    scores: tuple[float, ...]
    best_iteration: int
    seed_matters: bool
    choices: Mapping[str, float] = field(default_factory=dict)

    @property
    def all_choices(self) -> dict[str, float]:
        """All that the validation score chose, for a fit without validation."""
        trees = {} if self.choices else {ITERATIONS: self.best_iteration}
        return {**trees, **self.choices}


Score = Callable[[Floats, Floats, Floats], float]


@dataclass(frozen=True, eq=False)
class LabelUnit:
    """The unit of validation scores, where an estimator is fitted to transformed labels.

    Args:
        inverse: returns predictions in this unit.
        labels: of the validation samples in this unit ``(N,)``.
    """

    inverse: Callable[[Floats], Floats]
    labels: Floats


@dataclass(frozen=True)
class TrainingContext:
    """What a library needs besides data and settings."""

    seed: int
    threads: int
    monitor: str
    score: Score  # of predictions, labels and weights
    is_custom: bool = False  # the score is that of another unit, which no library computes
    choices: Mapping[str, float] = field(default_factory=dict)  # not to be made by the score

    def choose(self, scores: Sequence[float] | Floats) -> int:
        """Return the number of trees: the given one, or that of the best of their scores."""
        if ITERATIONS in self.choices:
            return min(int(self.choices[ITERATIONS]), len(scores))
        return int(np.argmin(scores)) + 1


@dataclass(frozen=True)
class Course:
    """Validation scores of scaled labels, and what they chose."""

    scores: tuple[float, ...]
    best_iteration: int = 0
    choices: Mapping[str, float] = field(default_factory=dict)


class Estimator(ABC):
    """An estimator of labels from columns, vectors or the training labels alone.

    A result depends neither on the unit of the labels nor on a common factor of the weights.
    Training stops when the validation score, weighted if validation samples have weights, no longer
    improves; the model consists of the trees up to the best score.

    Attributes:
        name: the name in a method.
        library: the optional module that it needs, empty if none.
        extra: the extra of ranksim that installs it.
        losses: the losses that it supports.
        options: the optional settings that have an effect.
        reads: ``columns`` (raw values and codes), ``vectors`` (dense standardized numbers) or
            ``labels``.
    """

    name: ClassVar[str]
    library: ClassVar[str] = ""
    extra: ClassVar[str] = "train"
    losses: ClassVar[tuple[str, ...]]
    missing_losses: ClassVar[str] = ""  # why it lacks some, for error messages
    options: ClassVar[tuple[str, ...]] = ()
    reads: ClassVar[Literal["columns", "vectors", "labels"]] = "columns"

    def __init__(self) -> None:
        self.scale = LabelScale(0.0, 1.0)
        self.categories: tuple[int, ...] = ()
        self.loss = "squared"

    @classmethod
    def import_library(cls) -> ModuleType:
        """Import the library; raise a MissingDependencyError that names the extra."""
        return require_optional(cls.library, cls.extra)

    @classmethod
    def require_library(cls) -> None:
        """Raise a MissingDependencyError if the library is not installed, without importing it."""
        if cls.library:
            require_installed(cls.library, cls.extra)

    @classmethod
    def is_available(cls) -> bool:
        """Return whether the library is installed."""
        try:
            return not cls.library or bool(cls.import_library())
        except MissingDependencyError:
            return False

    @classmethod
    def check_settings(cls, settings: EstimatorSettings) -> None:
        """Raise a UsageError if the estimator does not support the loss or a given setting."""
        if settings.loss not in cls.losses:
            reason = f" ({cls.missing_losses})" if cls.missing_losses else ""
            raise UsageError(
                f"{cls.name} has no loss {settings.loss}{reason}: choose {_list(cls.losses)}."
            )
        for name in _OPTIONAL:
            if getattr(settings, name) is not None and name not in cls.options:
                known = f"it takes {_list(cls.options)}" if cls.options else "it takes none"
                raise UsageError(f"{cls.name} has no setting {name}: leave it out ({known}).")

    @classmethod
    def depends_on_seed(cls, samples: int) -> bool:
        """Return whether another seed may give another model of so many training samples."""
        return False

    def fit(
        self,
        train: EstimatorData,
        val: EstimatorData,
        settings: EstimatorSettings | None = None,
        *,
        seed: int = 0,
        monitor: str = "mse",
        threads: int = 1,
        unit: LabelUnit | None = None,
        choices: Mapping[str, float] | None = None,
    ) -> EstimatorFit:
        """Fit the estimator to training samples, with early stopping on validation samples.

        Args:
            train: training samples; those of weight zero are left out.
            val: validation samples.
            settings: by default the defaults of the library.
            seed: fixes the result.
            monitor: validation score, ``mse`` or ``mae``.
            threads: number of threads; the result does not depend on it.
            unit: that of validation scores; None for that of the labels.
            choices: ``all_choices`` of an earlier fit, which this one repeats on other samples;
                the validation samples then choose nothing.

        Raises:
            DataError: labels, weights or values are not usable.
            UsageError: the estimator does not support a setting.
            MissingDependencyError: the library is not installed.
        """
        settings = settings or EstimatorSettings()
        self.check_settings(settings)
        if self.reads == "labels":  # a constant without a loss takes any labels
            settings = dataclasses.replace(settings, loss="absolute")
        if monitor not in MONITORS:
            raise UsageError(f"monitor must be one of {', '.join(MONITORS)}, got {monitor!r}.")
        if train.categories != val.categories:
            raise ValueError("training and validation samples must have the same categories")
        train = train.prepare("training", settings.loss)
        is_used = val.weights > 0
        val = val.prepare("validation", settings.loss)
        self._check_values(train.values)
        self._check_values(val.values)
        self.loss, self.categories = settings.loss, train.categories
        if self.reads != "labels":
            self.scale = LabelScale.fit(train.labels, settings.loss)
        monitor = "pinball" if settings.loss == "quantile" else monitor
        in_float32 = self.reads == "columns"
        score: Score = partial(compute_score, monitor=monitor, quantile=settings.quantile)
        if unit is not None:
            unit = LabelUnit(unit.inverse, unit.labels[is_used])
            score = _UnitScore(score, self.scale, unit)
        choices = choices or {}
        if ITERATIONS in choices:
            count = max(int(choices[ITERATIONS]), 1)
            settings = dataclasses.replace(settings, max_iterations=count, patience=count)
        context = TrainingContext(
            seed, threads, monitor, score, is_custom=unit is not None, choices=choices
        )
        course = self._fit(
            self.scale.apply(train, in_float32=in_float32),
            self.scale.apply(val, in_float32=in_float32),
            settings,
            context,
        )
        factor = self.scale.scale**2 if monitor == "mse" else self.scale.scale
        if unit is not None:
            factor = 1.0
        return EstimatorFit(
            monitor,
            tuple(score * factor for score in course.scores),
            course.best_iteration,
            self.depends_on_seed(len(train.labels)),
            course.choices,
        )

    def predict(self, values: Floats, *, threads: int = 1) -> Floats:
        """Predict labels ``(N,)`` of columns or vectors ``(N, D)``.

        Codes of categories out of range count as missing.

        Raises:
            DataError: vectors contain a missing or infinite value.
        """
        if values.ndim != 2 or values.shape[1] != len(self.categories):
            width = len(self.categories)
            raise ValueError(f"values must have shape (N, {width}), got {values.shape}")
        self._check_values(values)
        values = values.copy()
        for column, count in enumerate(self.categories):
            if count:
                codes = values[:, column]
                codes[~np.isin(codes, np.arange(count))] = np.nan
        if not len(values):
            return np.zeros(0)
        return self.scale.invert(self._predict(values, threads))

    def _check_values(self, values: Floats) -> None:
        """Raise a DataError if the input cannot be read by this estimator."""
        if self.reads == "labels":
            return
        if not values.shape[1]:
            raise DataError(f"{self.name} needs at least one input column: add one.")
        if self.reads == "vectors" and not np.isfinite(values).all():
            row, column = np.argwhere(~np.isfinite(values))[0].tolist()
            raise DataError(
                f"{self.name} takes finite numbers only, but column {column} is "
                f"{values[row, column]:g} in row {row}: fill in missing values."
            )

    def save(self, folder: Path) -> None:
        """Write the fitted estimator to a folder, in text, JSON, arrays or the library's format."""
        folder.mkdir(parents=True, exist_ok=True)
        details: dict[str, Any] = self._details()
        path = self._write(folder)
        if path is not None:
            details |= {"file": path.name, "sha256": sha256(path)}
        description = {
            "format": FORMAT,
            "name": self.name,
            "version": self.import_library().__version__ if self.library else "",
            "loss": self.loss,
            "categories": list(self.categories),
            "shift": self.scale.shift,
            "scale": self.scale.scale,
            **details,
        }
        write_json(folder / DESCRIPTION, with_digest(description))

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Load an estimator that :meth:`save` wrote, without executing code from its files.

        Raises:
            DataError: a file is missing, damaged or does not describe this estimator.
            MissingDependencyError: the library is not installed.
        """
        content = read_description(folder)
        if content.get("name") != cls.name:
            raise DataError(
                f"{folder / DESCRIPTION} describes {format_value(content.get('name'))}, not "
                f"{cls.name}: pass another folder."
            )
        if cls.library:
            cls.import_library()
        estimator = cls()
        path = folder / str(content.get("file", ""))
        if "file" in content:
            if not path.is_file():
                raise DataError(f"{path} is missing: {_AGAIN}.")
            if path.parent != folder or sha256(path) != content.get("sha256"):
                raise DataError(f"{path} is damaged: {_AGAIN}.")
        try:
            estimator.loss = _read_loss(content["loss"], cls.losses)
            estimator.categories = _read_categories(content["categories"])
            estimator.scale = LabelScale(
                read_number(content, "shift"), read_number(content, "scale")
            )
            estimator._read(path, content)
        except Exception as error:  # each library raises its own types
            reason = f"no {error}" if isinstance(error, KeyError) else single_line(error)
            raise DataError(
                f"{path if 'file' in content else folder / DESCRIPTION} could not be read as a "
                f"model of {cls.name} ({reason}): {_AGAIN}."
            ) from error
        return estimator

    @abstractmethod
    def _fit(
        self,
        train: EstimatorData,
        val: EstimatorData,
        settings: EstimatorSettings,
        context: TrainingContext,
    ) -> Course:
        """Fit to scaled labels and return the validation scores."""

    @abstractmethod
    def _predict(self, values: Floats, threads: int) -> Floats:
        """Return predictions of scaled labels ``(N,)``."""

    def _details(self) -> dict[str, Any]:
        """Return what the description holds besides the common entries."""
        return {}

    def _write(self, folder: Path) -> Path | None:
        """Write the model file and return its path, or None if the description suffices."""
        return None

    @abstractmethod
    def _read(self, path: Path, content: Mapping[str, Any]) -> None:
        """Read the model file and the details; any error counts as a damaged model."""


@dataclass(frozen=True, eq=False)
class _UnitScore:
    """A score of predictions of scaled labels, computed in another unit."""

    score: Score
    scale: LabelScale
    unit: LabelUnit

    def __call__(self, preds: Floats, labels: Floats, weights: Floats) -> float:
        if len(preds) != len(self.unit.labels):
            return 0.0  # some libraries also ask for the score of training samples
        preds = self.unit.inverse(self.scale.invert(preds))
        return self.score(preds, self.unit.labels, weights)


def read_description(folder: Path) -> dict[str, Any]:
    """Read the description of a saved estimator; raise a DataError if it is not usable."""
    path = folder / DESCRIPTION
    try:
        content = read_verified_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise DataError(
            f"{path} is missing: pass a folder that an estimator was saved to."
        ) from None
    except ValueError as error:
        raise DataError(f"{path} is damaged: {_AGAIN}.") from error
    if content.get("format") != FORMAT:
        raise DataError(
            f"{path} has format {format_value(content.get('format'))}, but this version of ranksim "
            f"reads {FORMAT}: fit the model again."
        )
    return content


def read_number(content: Mapping[str, Any], name: str) -> float:
    """Return a finite number of a description; raise a ValueError if it is something else."""
    value = content[name]
    if isinstance(value, bool) or not isinstance(value, int | float) or not np.isfinite(value):
        raise ValueError(f"{name} is {format_value(value)}")
    return float(value)


def _read_loss(value: Any, losses: tuple[str, ...]) -> str:
    if value not in losses:
        raise ValueError(f"loss is {format_value(value)}")
    return str(value)


def _read_categories(values: Any) -> tuple[int, ...]:
    is_valid = isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)
    if not is_valid:
        raise ValueError(f"categories is {format_value(values)}")
    return tuple(values)


def _list(names: tuple[str, ...]) -> str:
    return join_names(names, limit=len(names))
