"""Training hyperparameters as validated dataclasses, one per kind of network input.

A pretrained encoder in a local folder is recorded by name and digest instead of its path.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np

from ranksim._utils.arrays import unwrap_scalar
from ranksim._utils.formatting import format_value
from ranksim._utils.storage import sha256
from ranksim.exceptions import DataError, UsageError
from ranksim.imbalance import KERNELS, SCHEMES
from ranksim.training.parts import PartSettings
from ranksim.training.recipe_rules import (
    COUNT,
    FRACTION,
    NONNEGATIVE,
    ODD,
    POSITIVE,
    TWEEDIE,
    at_least,
    at_most,
    one_of,
    require,
    setting,
)

LOSSES = ("mse", "l1", "huber")
ESTIMATOR_LOSSES = (*LOSSES, "gamma", "poisson", "tweedie", "quantile")
MONITORS = ("mse", "mae", "balanced_mae", "balanced_mse", "ccc", "sera")
ESTIMATOR_MONITORS = MONITORS[:2]
ACTIVATIONS = ("sigmoid", "tanh")
SERIES_ENCODERS = ("gru", "conv")
# as in the modules that compute with them, which need PyTorch
TIES = ("min", "average", "ordinal")
EMPTY_BINS = ("neighbours", "zeros")
RESNETS = ("resnet18", "resnet34", "resnet50")
PAIR_FEATURES, POOLED_LAYERS = ("all", "symmetric"), ("last", "all")
_MODEL_FILES = {".json", ".model", ".safetensors", ".txt"}
_PORTABLE = re.compile(r"@[0-9a-f]{16}$")  # NAME@DIGEST of a pretrained encoder

RANKSIM_FIELDS = (
    "gamma", "lambda_", "ranksim_weight", "ties", "unique_labels", "label_width", "memory_size",
)  # fmt: skip
OLD_FIELDS = {
    "strength": "ranksim_weight",
    "memory": "memory_size",
    "clip": "max_grad_norm",
    "accumulate": "accumulate_grad_batches",
    "lr_drops": "lr_milestones",
    "count_low": "min_count",
    "count_high": "max_count",
    "lds_size": "lds_kernel_size",
    "fds_size": "fds_kernel_size",
    "fds_start": "fds_min_label",
    "fds_end": "fds_max_label",
    "fds_low": "fds_min_ratio",
    "fds_high": "fds_max_ratio",
    "fds_empty": "fds_empty_bins",
    "fds_published": "fds_paper_compat",
    "rrt_published": "rrt_paper_compat",
}
"""Field names of recipes saved by earlier versions, and their names now."""

# larger values gain nothing, and exhaust memory or floating-point precision
_MAX_BINS, _MAX_FDS_BINS = at_most(100_000), at_most(2_000)
_KERNEL_SIZE, _SIGMA = COUNT | at_most(9_999) | ODD, POSITIVE | at_most(1_000)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Hyperparameters that networks and estimators share; data, method and seed are separate.

    Args:
        monitor: validation score that selects the best weights, ``mse`` or ``mae``; of networks
            also ``balanced_mae`` and ``balanced_mse`` (means over label bins), ``ccc`` or ``sera``.
        bins: number of equal-width label bins for weights and LDS; 0: the bins of the data set.
        weighting: scheme of LDS and RRT if the method's name does not contain one.
        min_count, max_count: bin counts are clipped to this range for inverse weights; 0: no limit.
        lds_kernel, lds_kernel_size, lds_sigma: see :class:`ranksim.imbalance.LDS`.
        denseweight_alpha: α of the weights ``denseweight``, at least 0, where there are none.
        rare_threshold: ``threshold`` of the resamplers over, under, smoter and smogn, the relevance
            from which on a label is rare.
    """

    monitor: str = setting(one_of(MONITORS))
    bins: int = setting(NONNEGATIVE, _MAX_BINS)
    weighting: str = setting(one_of(SCHEMES))
    min_count: float = setting(NONNEGATIVE)
    max_count: float = setting(NONNEGATIVE)
    lds_kernel: str = setting(one_of(KERNELS))
    lds_kernel_size: int = setting(_KERNEL_SIZE)
    lds_sigma: float = setting(_SIGMA)
    denseweight_alpha: float = setting(NONNEGATIVE, default=1.0)
    rare_threshold: float = setting(POSITIVE, at_most(1), default=0.8)

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float):
                require(math.isfinite(value), item.name, "a finite number", value)
            if value is None:
                continue
            for rule, holds in item.metadata.items():
                values = value if isinstance(value, tuple) else (value,)
                require(all(map(holds, values)), item.name, rule, value)
        limit = self.max_count
        fits = not limit or self.min_count <= limit
        require(fits, "min_count", f"at most max_count {limit:g}", self.min_count)

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Self:
        """Validate field values from TOML or JSON; only :meth:`optional_fields` may be missing."""
        kinds = {item.name: str(item.type) for item in fields(cls)}
        for name in table:
            if name in OLD_FIELDS:
                raise UsageError(f"Recipe field {name} is now called {OLD_FIELDS[name]}: use that.")
            if name not in kinds:
                raise UsageError(
                    f"A recipe has no field {format_value(name)}: it has {', '.join(kinds)}."
                )
        missing = [name for name in kinds if name not in {*table, *cls.optional_fields()}]
        if missing:
            raise UsageError(f"The recipe lacks {', '.join(missing)}: give each field a value.")
        return cls(**{name: _coerce(name, value, kinds[name]) for name, value in table.items()})

    @classmethod
    def optional_fields(cls) -> dict[str, Any]:
        """Return the fields added after the first recipes were saved, with their defaults."""
        return {item.name: item.default for item in fields(cls) if item.default is not MISSING}


@dataclass(frozen=True, kw_only=True)
class NetworkRecipe(PartSettings, Recipe):
    """Hyperparameters of the training of a network, beside those of its base classes.

    Args:
        label_scale: the network predicts label / label_scale. 0: the standard deviation of the
            training labels.
        label_step: resolution of the labels, in their unit. RankSim ranks label / label_step
            rounded to integers, so that equal distances tie exactly. 0: inferred from the training
            labels.
        lr, weight_decay: learning rate and weight decay of Adam.
        lr_milestones, lr_factor: lr is multiplied by lr_factor at the start of these epochs,
            counted from 0.
        batch_size: samples per batch on each device.
        accumulate_grad_batches: batches whose gradients are averaged for one optimizer step.
            Batches at the end of an epoch that do not complete a step are skipped, and so is a
            smaller last batch.
        max_grad_norm: gradient norm above which gradients are clipped; 0: no clipping.
        validate_every: optimizer steps between validations; 0: one validation per epoch.
        max_validations: upper limit if early stopping does not end the training before.
        patience: validations without a better score before training stops; 0: no early stopping.
        gamma, lambda_, ranksim_weight, ties, unique_labels: ``gamma``, ``lambda_``, ``weight``,
            ``ties`` and ``unique_labels`` of :class:`ranksim.RankSimLoss`.
        label_width: labels whose difference is smaller, in the label's unit, count as equal for
            unique_labels; 0: equal labels only.
        memory_size: samples of earlier batches that RankSim ranks with those of a batch.
        loss: base loss, ``mse``, ``l1`` or ``huber``, computed on label / label_scale.
        huber_delta: error at which the Huber loss becomes linear, in units of label_scale.
        focal_beta, focal_gamma, focal_activation: Focal-R, in units of label_scale (see
            :func:`ranksim.functional.focal_r_loss`).
        fds_bins: number of equal-width label bins for FDS; 0: the bins of the data set.
        fds_min_label, fds_max_label: label range of the FDS bins, whose first and last bin include
            labels outside it; 0 and 0: the range of the data set.
        fds_kernel, fds_kernel_size, fds_sigma, fds_momentum, fds_empty_bins, fds_paper_compat: see
            :class:`ranksim.imbalance.FDS`.
        fds_min_ratio, fds_max_ratio: limits of the variance ratio, ``clip`` of FDS.
        rrt_paper_compat: keep BatchNorm and dropout of the encoder in training mode in stage two.
    """

    label_scale: float = setting(NONNEGATIVE)
    label_step: float = setting(NONNEGATIVE)
    lr: float = setting(POSITIVE)
    weight_decay: float = setting(NONNEGATIVE)
    lr_milestones: tuple[int, ...] = setting(COUNT)
    lr_factor: float = setting(POSITIVE)
    batch_size: int = setting(COUNT)
    accumulate_grad_batches: int = setting(COUNT)
    max_grad_norm: float = setting(NONNEGATIVE)
    validate_every: int = setting(NONNEGATIVE)
    max_validations: int = setting(COUNT)
    patience: int = setting(NONNEGATIVE)
    gamma: float = setting(NONNEGATIVE)
    lambda_: float = setting(POSITIVE)
    ranksim_weight: float = setting(NONNEGATIVE)
    ties: str = setting(one_of(TIES))
    unique_labels: bool = setting()
    label_width: float = setting(NONNEGATIVE, default=0.0)
    memory_size: int = setting(NONNEGATIVE, at_most(65_536), default=0)
    loss: str = setting(one_of(LOSSES))
    huber_delta: float = setting(POSITIVE)
    focal_beta: float = setting(POSITIVE)
    focal_gamma: float = setting(NONNEGATIVE)
    focal_activation: str = setting(one_of(ACTIVATIONS))
    fds_bins: int = setting(NONNEGATIVE, _MAX_FDS_BINS)
    fds_min_label: float = setting()
    fds_max_label: float = setting()
    fds_kernel: str = setting(one_of(KERNELS))
    fds_kernel_size: int = setting(_KERNEL_SIZE)
    fds_sigma: float = setting(_SIGMA)
    fds_momentum: float = setting(FRACTION)
    fds_min_ratio: float = setting(POSITIVE, at_most(1))
    fds_max_ratio: float = setting(COUNT)
    fds_empty_bins: str = setting(one_of(EMPTY_BINS))
    fds_paper_compat: bool = setting()
    rrt_paper_compat: bool = setting()

    def __post_init__(self) -> None:
        super().__post_init__()
        low, high = self.fds_min_label, self.fds_max_label
        fits = self.unique_labels or not self.label_width
        require(fits, "label_width", "0 if unique_labels is false", self.label_width)
        if low or high:
            require(high > low, "fds_max_label", f"above fds_min_label {low:g}", high)
            require(self.fds_bins > 0, "fds_bins", "above 0 with fds_min_label", self.fds_bins)


@dataclass(frozen=True, kw_only=True)
class TableRecipe(NetworkRecipe):
    """A recipe for table rows, read by an MLP; subclasses have other encoders of this shape."""

    hidden: int = setting(COUNT)  # width
    layers: int = setting(COUNT)
    dropout: float = setting(FRACTION)


@dataclass(frozen=True, kw_only=True)
class TextRecipe(TableRecipe):
    """A recipe for texts read by a BiLSTM."""

    vectors: str = setting()  # glove-6b-50d or glove-840b-300d
    max_tokens: int = setting(NONNEGATIVE)  # words read of a text; 0: as the texts require


@dataclass(frozen=True, kw_only=True)
class SentenceRecipe(TableRecipe):
    """A recipe for texts read by a pretrained encoder.

    Args:
        encoder: text model of the Hugging Face hub, by name or folder.
        max_tokens: tokens read of a text; 0: as the texts require.
        frozen: train an MLP on fixed features instead of fine-tuning.
        pair_features, pooled_layers: see :class:`ranksim.models.SentenceEncoder`.
        tuned_layers: upper layers of the encoder that are fine-tuned; 0: all of it. The states
            below them are computed once.
        encoder_lr: learning rate of a fine-tuned encoder; 0: ``lr``.
        head_layers: layers of the MLP, of width ``hidden``, over a fine-tuned encoder; 0: none.
    """

    encoder: str = setting()
    max_tokens: int = setting(NONNEGATIVE)
    frozen: bool = setting()
    pair_features: str = setting(one_of(PAIR_FEATURES), default="all")
    pooled_layers: str = setting(one_of(POOLED_LAYERS), default="last")
    tuned_layers: int = setting(NONNEGATIVE, default=0)
    encoder_lr: float = setting(NONNEGATIVE, default=0.0)
    head_layers: int = setting(NONNEGATIVE, default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("tuned_layers", "encoder_lr", "head_layers"):
            value = getattr(self, name)
            require(not (self.frozen and value), name, "0 if frozen is true", value)


@dataclass(frozen=True, kw_only=True)
class SeriesRecipe(TableRecipe):
    """A recipe for windows of a time series."""

    encoder: str = setting(one_of(SERIES_ENCODERS))


@dataclass(frozen=True, kw_only=True)
class ImageRecipe(NetworkRecipe):
    """A recipe for images.

    Args:
        encoder: resnet18, resnet34 or resnet50 from scratch, or a pretrained vision model, by name
            or folder.
        image_size: images are resized to squares of this width.
        pad: border before random crops, in pixels of a 224-pixel image, scaled for other sizes; 0:
            no crop.
        flip: mirror half of the training images.
        frozen: train a head on fixed features of a pretrained encoder, which are computed once,
            without crops and mirroring, instead of fine-tuning it.
        head_layers: layers of an MLP, of width ``hidden``, between the encoder and the linear head;
            0: none.
        encoder_lr: learning rate of a fine-tuned encoder; 0: ``lr``.
    """

    encoder: str = setting()
    image_size: int = setting(COUNT, at_most(4_096))
    pad: float = setting(NONNEGATIVE, at_most(224))
    flip: bool = setting()
    frozen: bool = setting(default=False)
    head_layers: int = setting(NONNEGATIVE, default=0)
    hidden: int = setting(COUNT, default=128)
    encoder_lr: float = setting(NONNEGATIVE, default=0.0)

    def __post_init__(self) -> None:
        super().__post_init__()
        fits = not (self.frozen and self.encoder in RESNETS)
        require(fits, "frozen", "false without a pretrained encoder (--encoder NAME)", self.frozen)
        fits = not (self.frozen and self.encoder_lr)
        require(fits, "encoder_lr", "0 if frozen is true", self.encoder_lr)


@dataclass(frozen=True, kw_only=True)
class EstimatorRecipe(Recipe):
    """Hyperparameters of an estimator such as boosted trees; None: the default of its library.

    Args:
        loss: ``mse``, ``l1``, ``huber``, ``gamma``, ``poisson``, ``tweedie`` or ``quantile``, where
            the library has it.
        learning_rate: factor on each tree.
        max_leaves: leaves of a tree.
        min_samples_leaf: training samples in a leaf.
        l2: regularization of the values of leaves, or of the coefficients of ridge regression.
        max_iterations: most trees.
        patience: trees without a better validation score before training stops.
        quantile, huber_delta, tweedie_power: see
            :class:`ranksim.models.estimators.EstimatorSettings`.
        vectors, max_tokens, encoder, image_size: how texts and images are read. A pretrained
            encoder is frozen; without one, texts are the mean of their word vectors, and images
            the low frequencies and edges of their pixels.
    """

    loss: str = setting(one_of(ESTIMATOR_LOSSES), default="mse")
    learning_rate: float | None = setting(POSITIVE, default=None)
    max_leaves: int | None = setting(at_least(2), default=None)
    min_samples_leaf: int | None = setting(COUNT, default=None)
    l2: float | None = setting(NONNEGATIVE, default=None)
    max_iterations: int = setting(COUNT, default=1_000)
    patience: int = setting(COUNT, default=50)
    quantile: float = setting(FRACTION, POSITIVE, default=0.5)
    huber_delta: float = setting(POSITIVE, default=1.0)
    tweedie_power: float = setting(TWEEDIE, default=1.5)
    vectors: str = ""
    max_tokens: int = setting(NONNEGATIVE, default=0)
    encoder: str = ""
    image_size: int = setting(NONNEGATIVE, at_most(4_096), default=0)

    def __post_init__(self) -> None:
        super().__post_init__()
        choices = f"one of {', '.join(ESTIMATOR_MONITORS)} for estimators"
        require(self.monitor in ESTIMATOR_MONITORS, "monitor", choices, self.monitor)

    @property
    def frozen(self) -> bool:
        """Whether a pretrained encoder is frozen: always."""
        return True

    @property
    def pair_features(self) -> str:
        """Features of a pair of texts: always all."""
        return "all"

    @property
    def pooled_layers(self) -> str:
        """Hidden states of a text encoder that are read: always the last."""
        return "last"

    @property
    def tuned_layers(self) -> int:
        """Fine-tuned layers: always 0."""
        return 0

    @classmethod
    def from_network(cls, table: Mapping[str, Any], changes: Mapping[str, Any]) -> Self:
        """Select the fields of a network's recipe that an estimator shares, and change some.

        Args:
            table: fields of the recipe of a network for the same data.
            changes: values by field; fields of networks alone are ignored.
        """
        names = {item.name for item in fields(cls)}
        shared = ("vectors", "max_tokens", "image_size", *(item.name for item in fields(Recipe)))
        values = {name: table[name] for name in shared if name in table}
        encoder = table.get("encoder", "")
        values["encoder"] = "" if encoder in (*RESNETS, *SERIES_ENCODERS) else encoder
        changes = {name: value for name, value in changes.items() if name in names}
        if changes.get("encoder") in (*RESNETS, *SERIES_ENCODERS):
            del changes["encoder"]
        return cls.from_table(values | changes)


TEXTS, GLUCOSE = ("sts-b-dir", "sentiment-dir"), "glucose"
TABLE, TEXT, SENTENCES, IMAGE, SERIES = "table", "text", "sentences", "images", "series"
"""Kinds of user data."""
MINILM_PRESETS = ("minilm", "minilm-finetuned")
"""Presets of benchmarks of texts that read them with a pretrained encoder."""
IMAGES = ("agedb-dir", "imdb-wiki-dir", IMAGE)

_RECIPES: dict[str, type[NetworkRecipe]] = {
    **dict.fromkeys((*TEXTS, TEXT), TextRecipe),
    **dict.fromkeys(IMAGES, ImageRecipe),
    **dict.fromkeys((GLUCOSE, SERIES), SeriesRecipe),
    TABLE: TableRecipe,
    SENTENCES: SentenceRecipe,
}


RecipeT = TypeVar("RecipeT", bound=Recipe)


def recipe_type(benchmark: str, preset: str | None = None) -> type[NetworkRecipe]:
    """Return the recipe class of networks on a benchmark or kind of user data."""
    if benchmark in TEXTS and preset in MINILM_PRESETS:
        return SentenceRecipe
    return _RECIPES[benchmark]


def headline(benchmark: str) -> tuple[str, str]:
    """Return the two main scores of a benchmark, the error that decides first."""
    if benchmark in TEXTS:
        return "mse", "pearson"
    return ("mae", "gm") if benchmark in IMAGES else ("mae", "pearson")


def update_old_fields(table: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe saved by an earlier version under the field names of this version."""
    updated = {OLD_FIELDS.get(name, name): value for name, value in table.items()}
    unique = updated.get("unique_labels", False)
    if not isinstance(unique, bool):  # was a flag or a width
        updated |= {"unique_labels": True, "label_width": unique}
    return updated


def parse_change(text: str) -> tuple[str, Any]:
    """Split ``"lr=5e-4"`` into field and value, read as TOML; a bare word is a string."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip() or not value.strip():
        raise UsageError(
            f"--set takes FIELD=VALUE, for example --set lr=5e-4, got {format_value(text)}."
        )
    try:
        return name.strip(), tomllib.loads(f"value = {value.strip()}")["value"]
    except tomllib.TOMLDecodeError:
        return name.strip(), value.strip()


_TYPES: dict[str, tuple[type, ...]] = {
    "bool": (bool,),
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "int | None": (int, type(None)),
    "float | None": (int, float, type(None)),
    "tuple[int, ...]": (list, tuple),
}


def _coerce(name: str, value: Any, kind: str) -> Any:
    """Convert a value from TOML, JSON or a search over NumPy numbers to the type of its field."""
    value = unwrap_scalar(value.tolist() if isinstance(value, np.ndarray) else value)
    if type(value) not in _TYPES[kind]:
        label = "list of int" if kind.startswith("tuple") else kind
        raise UsageError(f"Recipe field {name} must be of type {label}, got {format_value(value)}.")
    if kind.startswith("tuple"):
        return tuple(_coerce(name, each, "int") for each in value)
    try:
        return float(value) if kind.startswith("float") and value is not None else value
    except OverflowError:
        raise UsageError(f"Recipe field {name} must be a finite number.") from None


def portable_encoder_name(folder: Path) -> str:
    """Return ``NAME@DIGEST``, which identifies the model in a folder wherever the folder is.

    The digest is the first 16 digits of a SHA-256 over the names and SHA-256 of the model's files.
    """
    folder = folder.expanduser().resolve()
    files = sorted(p for p in folder.iterdir() if p.suffix in _MODEL_FILES and p.is_file())
    state = tuple((path.name, path.stat().st_mtime_ns, path.stat().st_size) for path in files)
    return f"{folder.name}@{_digest(folder, state)}"


def to_portable_recipe(recipe: Recipe) -> tuple[Recipe, str | None]:
    """Replace an encoder folder in a recipe by its portable name; return the folder too."""
    encoder = _pretrained_encoder(recipe)
    if encoder is None or not Path(encoder).expanduser().is_dir():
        return recipe, None
    return with_encoder_folder(recipe, portable_encoder_name(Path(encoder))), encoder


def with_encoder_folder(recipe: RecipeT, folder: str | None) -> RecipeT:
    """Return the recipe with its encoder read from a folder, if there is one."""
    return recipe if folder is None else dataclasses.replace(recipe, encoder=folder)  # type: ignore[call-arg]


def relocate_encoder(recipe: Recipe, folder: Path | None) -> Recipe:
    """Return the recipe of a saved model with the same encoder read from another folder."""
    encoder = _pretrained_encoder(recipe)
    if folder is None:
        return recipe
    if encoder is None:
        raise UsageError("This model has no pretrained encoder: leave --encoder out.")
    if not folder.expanduser().is_dir():
        raise DataError(f"There is no folder {folder}: give the folder of the encoder {encoder}.")
    if _PORTABLE.search(encoder):
        name = portable_encoder_name(folder)
        if name.rpartition("@")[2] != encoder.rpartition("@")[2]:
            raise DataError(
                f"{folder} contains {name}, but the model was trained with {encoder}: give the "
                "folder of that encoder."
            )
    return with_encoder_folder(recipe, str(folder))


def require_encoder_folder(recipe: Recipe) -> None:
    """Raise UsageError if the recipe's encoder was in a folder that is not known here."""
    encoder = _pretrained_encoder(recipe)
    if encoder is not None and _PORTABLE.search(encoder) and not Path(encoder).is_dir():
        raise UsageError(
            f"This model uses the encoder {encoder} from a local folder: give that folder with "
            "--encoder, or encoder= of load_model."
        )


def pretrained_name(recipe: Any) -> str:
    """Return the name or folder of the pretrained encoder of a recipe, empty if it has none."""
    encoder: str = getattr(recipe, "encoder", "")
    return "" if encoder in RESNETS else encoder


def _pretrained_encoder(recipe: Recipe) -> str | None:
    """Return the name or folder of the recipe's pretrained encoder, if it has one."""
    if not isinstance(recipe, ImageRecipe | SentenceRecipe | EstimatorRecipe):
        return None
    return None if recipe.encoder in ("", *RESNETS) else recipe.encoder


@lru_cache
def _digest(folder: Path, state: tuple[tuple[str, int, int], ...]) -> str:
    lines = "".join(f"{name} {sha256(folder / name)}\n" for name, *_ in state)
    return hashlib.sha256(lines.encode()).hexdigest()[:16]
