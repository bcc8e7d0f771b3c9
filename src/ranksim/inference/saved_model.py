"""The model folder: read and write its files, load a saved model, and predict with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ranksim._utils.arrays import copy_to_numpy
from ranksim._utils.checks import describe_value
from ranksim._utils.formatting import format_value, join_names, single_line
from ranksim._utils.storage import read_verified_json, sha256, temporary_sibling
from ranksim.data.data_report import DataReport
from ranksim.data.memory import read_table
from ranksim.data.spec import DataSpec, ReadOptions, UserDataSpec
from ranksim.data.table import Table, read_numbers
from ranksim.data.target_transform import TargetTransform
from ranksim.evaluation.predictions import Predictions
from ranksim.evaluation.views import read_test_set
from ranksim.exceptions import DataError, RankSimError, UsageError, require_optional
from ranksim.imbalance import LabelBins
from ranksim.imbalance.bins import parse_ranges
from ranksim.inference.released import OWNER, find_released
from ranksim.inference.saved_intervals import INTERVALS, SavedIntervals
from ranksim.inference.saved_reference import REFERENCE, Reference
from ranksim.inference.seen_samples import (
    SAMPLES,
    SampleParts,
    count_parts,
    describe_parts,
    read_sample_parts,
)
from ranksim.metrics import ShotRegions
from ranksim.metrics.distributions import Distribution
from ranksim.metrics.shot_regions import extend_regions
from ranksim.models import Regressor
from ranksim.training.adapters import AdaptedTable, DataAdapter, adapter_from_dict
from ranksim.training.custom_encoder import make_factory
from ranksim.training.custom_network import CustomNetwork
from ranksim.training.data_loader import EVAL_BATCH_SIZE
from ranksim.training.fit import map_samples
from ranksim.training.fit_custom import FittedCustom
from ranksim.training.fit_estimator import ESTIMATOR, FittedEstimator
from ranksim.training.label_units import make_distribution, predict_columns
from ranksim.training.method import Technique
from ranksim.training.part_modules import make_head
from ranksim.training.recipe import (
    EstimatorRecipe,
    NetworkRecipe,
    Recipe,
    recipe_type,
    relocate_encoder,
    require_encoder_folder,
    update_old_fields,
)
from ranksim.training.trainer_config import TrainerConfig
from ranksim.user_data.sample_keys import hash_samples
from ranksim.user_data.sample_origin import describe_origin
from ranksim.user_data.split_column import SPLIT_FILE

FORMAT, ENSEMBLE_FORMAT = 1, 2  # of a folder with one model, and with several members
CONFIG, WEIGHTS, METRICS, CARD = "config.json", "model.safetensors", "metrics.json", "README.md"
MEMBERS, FOLDS = "members", "folds.csv"
_FILES = {
    *(CONFIG, WEIGHTS, ESTIMATOR, MEMBERS, METRICS, CARD, SAMPLES, SPLIT_FILE, FOLDS, INTERVALS),
    REFERENCE,
}
_AGAIN = "copy the model again, or fit it again"
_CONFIG_ERRORS = (LookupError, TypeError, ValueError, ArithmeticError, AttributeError, RankSimError)


@dataclass(frozen=True, eq=False)
class Member:
    """One of the networks or estimators of a model, whose mean is the prediction.

    Args:
        path: the folder of its files.
        recipe: the recipe of the training.
        weights: weights of the network by name; empty for an estimator.
        estimator: predicts instead of a network.
        transform: of the labels on which a network was trained.
        network: builds the network, if it is one of the user.
        technique: of the training, which determines the head of a network.
    """

    path: Path
    recipe: Recipe
    weights: Mapping[str, Tensor]
    estimator: FittedEstimator | FittedCustom | None = None
    transform: TargetTransform | None = None
    network: CustomNetwork | None = None
    technique: Technique = field(default_factory=Technique)

    def predict(
        self, inputs: AdaptedTable, config: TrainerConfig
    ) -> tuple[NDArray[np.float64], Distribution | None]:
        """Return predictions ``(N,)``, in the unit of the label and the order of the inputs.

        The distributions around them are None if the method predicts none.
        """
        if self.estimator is not None:
            assert inputs.reader is not None
            return self.estimator.predict(inputs.reader, inputs.samples), None
        assert isinstance(self.recipe, NetworkRecipe)
        with torch.random.fork_rng(devices=[]):  # initialization must not change the caller's state
            network = self._make_network(inputs, config)
        try:
            network.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            raise DataError(
                f"The weights in {self.path / WEIGHTS} do not match {CONFIG}: {_AGAIN}."
            ) from error
        samples = inputs.samples
        order, scale = samples.length_order(), self.recipe.label_scale

        def predict(values: tuple[Tensor, ...]) -> Tensor:
            outputs = network.compute_outputs(network.encoder(*values))
            return predict_columns(network.head, outputs, scale, self.transform).cpu().double()

        outputs = map_samples(network, predict, samples, order, config, batch_size=EVAL_BATCH_SIZE)
        columns: NDArray[np.float64] = np.empty(outputs.shape)
        columns[copy_to_numpy(order)] = copy_to_numpy(outputs)
        return columns[:, 0].copy(), make_distribution(network.head, columns)

    def _make_network(self, inputs: AdaptedTable, config: TrainerConfig) -> Regressor:
        if self.network is None:
            network = inputs.make_network(self.recipe, config)()
        else:
            assert inputs.kind is not None
            network = make_factory(self.network, inputs.samples, inputs.kind, inputs.reader)()
        assert isinstance(self.recipe, NetworkRecipe)
        head = make_head(self.recipe, self.technique, network.width)
        network.head = network.head if head is None else head
        return network


@dataclass(frozen=True, eq=False)
class Model:
    """A trained model: its members, data adapter, and shot regions of the training labels.

    Args:
        path: the folder.
        config: the content of ``config.json``: target, method, data, versions and more.
        metrics: scores by region on held-out samples, ``{"val": ..., "test": ...}``; of several
            members those of the mean prediction, their mean scores on ``test``, ``members``, and
            those of each, ``member_scores``.
        adapter: turns table columns into inputs of the network.
        regions: shot regions by the training labels.
        members: one, or those of different seeds whose mean is the prediction.
        samples: parts of the samples of the training data; None in models of earlier versions.
        intervals: prediction intervals, if the model was fitted with ``--interval``.
        reference: distributions in the training data; None in models of earlier versions.
    """

    path: Path
    config: Mapping[str, Any] = field(repr=False)
    metrics: Mapping[str, Any] = field(repr=False)
    adapter: DataAdapter = field(repr=False)
    regions: ShotRegions = field(repr=False)
    members: tuple[Member, ...] = field(repr=False)
    samples: SampleParts | None = field(default=None, repr=False)
    intervals: SavedIntervals | None = field(default=None, repr=False)
    reference: Reference | None = field(default=None, repr=False)

    @property
    def recipe(self) -> Recipe:
        """The recipe of the first member."""
        return self.members[0].recipe

    @property
    def weights(self) -> Mapping[str, Tensor]:
        """Network weights of the first member by name; empty for an estimator."""
        return self.members[0].weights

    @property
    def estimator(self) -> FittedEstimator | FittedCustom | None:
        """The first member, if it is an estimator."""
        return self.members[0].estimator

    @property
    def target(self) -> str:
        """Name of the predicted column."""
        return str(self.config["target"])

    @property
    def test_set(self) -> str | None:
        """How the test samples of its data were chosen; None if an earlier version wrote it."""
        return self.config.get("test_set") or read_test_set(self.config["data"])

    def predict(
        self,
        data: Any,
        *,
        image_root: Path | None = None,
        reading: Mapping[str, Any] | None = None,
        skip_missing: bool = False,
        trainer_config: TrainerConfig | None = None,
    ) -> Predictions:
        """Predict the labels of new data, with the shot region of each prediction.

        Args:
            data: a path or name as for ``ranksim predict``, a dictionary of columns, a pandas or
                polars DataFrame, a pyarrow Table, a Hugging Face Dataset, or an array X.
            image_root: folder that image paths are relative to; by default the folder of the data.
            reading: options of reading that differ from those of the training, such as
                ``{"decimal": ","}``.
            skip_missing: leave out rows that cannot be predicted, without a text, a readable image,
                or the time or group of a series; otherwise they are an error.
            trainer_config: hardware settings; by default the available device at the precision of
                the training.

        Returns:
            One prediction per row that is not left out; for a series, one per window without a
            gap. Regions follow the predicted labels. ``lower`` and ``upper`` are the ends
            of its interval, of a model with intervals.

        Raises:
            DataError: the data could not be read or lacks an input column.
            UsageError: the folder of the model's pretrained encoder was not given.
        """
        return self.predict_inputs(
            data,
            image_root=image_root,
            reading=reading,
            skip_missing=skip_missing,
            trainer_config=trainer_config,
        )[0]

    def predict_inputs(
        self,
        data: Any,
        *,
        image_root: Path | None = None,
        reading: Mapping[str, Any] | None = None,
        skip_missing: bool = False,
        trainer_config: TrainerConfig | None = None,
    ) -> tuple[Predictions, AdaptedTable, Table]:
        """Return the predictions of :meth:`predict`, the inputs of its samples, and the table."""
        require_encoder_folder(self.recipe)
        self._require_network()
        options = self.config.get("options", {})
        table = _to_table(data, ReadOptions.from_options({**options, **(reading or {})}))
        if image_root is not None:
            table = dataclasses.replace(table, root=image_root)
        table = table.mask_numbers(self.target, options.get("missing_target", ()))
        used, left_out = _select_usable(table, self.adapter if skip_missing else None)
        usable = table if len(used) == table.n_rows else table.take(used)
        inputs = self.adapter.adapt_table(usable, self.recipe)
        inputs = dataclasses.replace(inputs, rows=used[inputs.rows], kind=self.config["kind"])
        labels = inputs.labels
        if labels is None and self.target in table.names:
            labels = read_numbers(table, self.target, missing="nan")[inputs.rows]
        config = trainer_config or TrainerConfig(precision=self.config["precision"])
        preds, distribution = self._compute(inputs, config)
        wrong = inputs.rows[~np.isfinite(preds)].tolist()
        table.raise_for_rows(wrong, "the prediction is not a finite number", "correct these inputs")
        masks = extend_regions(self.regions, preds).masks(preds)
        report = DataReport(rows={"used": len(used)}).combine(inputs.report)
        if left_out:
            report.rows["left_out"] = left_out | report.rows.get("left_out", {})
        report = report.combine(table.report)
        origin = self._describe_origin(table, inputs)
        if "part" in origin and (text := describe_parts(count_parts(origin["part"]))):
            report = report.combine(DataReport(notes={"Training data": text}))
        lower, upper = None, None
        if self.intervals is not None:
            lower, upper = self.intervals.predict(preds, distribution)
        predictions = Predictions(
            *(inputs.rows, preds, masks, labels),
            times=inputs.times,
            report=report,
            origin=origin,
            lower=lower,
            upper=upper,
            distribution=distribution,
        )
        return predictions, inputs, table

    def _require_network(self) -> None:
        """Raise a UsageError if the function that builds the network was not given."""
        network = self.config.get("network")
        if network is not None and self.members[0].network is None:
            raise UsageError(
                f"The model {self.path} has a network of its author, which "
                f"{network['module']}:{network['name']} builds: give that function with --model, "
                "or Model.load(folder, model=function)."
            )

    def find_parts(self, table: Table, hashes: NDArray[np.uint64] | None = None) -> list[str]:
        """Return which part of the training data each row belongs to, ``""`` if to none.

        Args:
            table: rows with the inputs of the model, unless it is a series.
            hashes: of the windows of a series, ``(N,)``.
        """
        assert self.samples is not None
        if hashes is None:
            table = self.adapter.spell_as_trained(table)
            hashes = hash_samples(table, self.spec, self.adapter.columns)
        return self.samples.find_parts(hashes)

    @property
    def spec(self) -> UserDataSpec:
        """The specification of the training data."""
        content = {"benchmark": self.config["kind"], "options": self.config["options"]}
        spec = DataSpec.from_dict(content | {"regions_from": "rule"})
        assert isinstance(spec, UserDataSpec)
        return spec

    def _describe_origin(self, table: Table, inputs: AdaptedTable) -> dict[str, list[Any]]:
        """Return where the samples come from, and their parts in the training data."""
        image = getattr(self.adapter, "name", None)
        group = self.config.get("options", {}).get("group")
        origin = describe_origin(table, inputs.rows, image=image, group=group)
        del origin["row"]
        if self.samples is not None:
            parts = self.find_parts(table.take(inputs.rows), inputs.hashes)
            if any(parts):
                origin["part"] = parts
        return origin

    def _compute(
        self, inputs: AdaptedTable, config: TrainerConfig
    ) -> tuple[NDArray[np.float64], Distribution | None]:
        """Return the mean predictions ``(N,)`` and distributions, in the order of the inputs."""
        results = [member.predict(inputs, config) for member in self.members]
        preds = np.stack([preds for preds, _ in results])
        return np.asarray(preds.mean(axis=0)), Distribution.mean([each for _, each in results])


def load_model(
    path: str | Path,
    *,
    encoder: str | Path | None = None,
    network: Callable[[Any], nn.Module] | CustomNetwork | None = None,
) -> Model:
    """Load a model that ``ranksim fit`` saved, without executing code from its files.

    Args:
        path: the folder of the model, or the name of a released one, such as ``ranksim/glucose``.
        encoder: the folder of the pretrained encoder, if the model was trained with one.
        network: the function that builds the network, if the model was trained with one of the
            user. Predictions need it.

    Raises:
        DataError: the model is missing, damaged or of another format, or the encoder differs.
        UsageError: an encoder was given, but the model has none, or another network.
    """
    for name, value in (("path", path), ("encoder", encoder or "")):
        if not isinstance(value, str | Path):
            raise TypeError(f"{name} must be the path of a folder, got {describe_value(value)}")
    if network is not None and not isinstance(network, CustomNetwork):
        if not callable(network):
            raise TypeError(
                "network must be the function that builds the network, got "
                f"{describe_value(network)}"
            )
        network = CustomNetwork(network)
    folder = _find_folder(path)
    config = read_json(folder / CONFIG)
    if not {"format", "ranksim", "kind"} <= config.keys():
        raise DataError(f"{folder / CONFIG} does not describe a model: pass another folder.")
    if config["format"] not in (FORMAT, ENSEMBLE_FORMAT):
        version = single_line(str(config["ranksim"]))
        raise DataError(
            f"{folder} has model format {format_value(config['format'])}, but this version of "
            f"ranksim reads {FORMAT} and {ENSEMBLE_FORMAT}: install ranksim {version}, which "
            "wrote it, or fit the model again."
        )
    metrics = read_json(folder / METRICS)
    try:
        is_estimator = bool(config.get("technique", {}).get("estimator"))
        kind: type[Recipe] = EstimatorRecipe if is_estimator else recipe_type(config["kind"])
        entries, folders = [config], [folder]
        if config["format"] == ENSEMBLE_FORMAT:
            entries = config["members"]
            folders = [folder / MEMBERS / str(number) for number in range(len(entries))]
        settings = [_read_settings(entry, kind) for entry in entries]
        techniques = [_read_technique(entry, config) for entry in entries]
        adapter = adapter_from_dict(config["reader"])
        regions = density_from_dict(config["density"])
        _ = config["target"], config["method"], config["precision"], settings[0]
    except _CONFIG_ERRORS as error:
        problem = f"no {error}" if isinstance(error, KeyError) else str(error)
        reason = single_line(problem).rstrip(".") or type(error).__name__
        raise DataError(
            f"{folder / CONFIG} describes a model that this version of ranksim cannot build "
            f"({reason}): {_AGAIN}."
        ) from error
    location = None if encoder is None else Path(encoder)
    _check_network(folder, config.get("network"), network)
    members = []
    for path, technique, (recipe, transform, digest) in zip(
        folders, techniques, settings, strict=True
    ):
        recipe = relocate_encoder(recipe, location)
        if is_estimator:
            members.append(Member(path, recipe, {}, FittedEstimator.load(path / ESTIMATOR)))
        else:
            weights = _load_weights(path / WEIGHTS, digest)
            members.append(Member(path, recipe, weights, None, transform, network, technique))
    samples = read_sample_parts(folder / SAMPLES)
    intervals = SavedIntervals.load(folder, regions, is_required="coverage" in metrics)
    reference = Reference.load(folder)
    return Model(
        *(folder, config, metrics, adapter, regions, tuple(members), samples, intervals, reference)
    )


def _find_folder(path: str | Path) -> Path:
    """Return the folder of a model, given so or as the name of a released model."""
    folder = Path(path)
    if not folder.is_dir():
        folder = find_released(str(path)) or folder
    if not folder.is_dir():
        raise DataError(
            f"The model {folder} does not exist: pass a folder that ranksim fit wrote, or a name "
            f"such as {OWNER}/glucose."
        )
    return folder


def _check_network(
    folder: Path, trained: Mapping[str, Any] | None, network: CustomNetwork | None
) -> None:
    """Raise a UsageError if a network is not the one that a model was trained with."""
    if network is None:
        return
    if trained is None:
        raise UsageError(f"The model {folder} has a network of ranksim: leave --model out.")
    name = network.describe()["name"]
    if name != trained["name"]:
        raise UsageError(
            f"The model {folder} was trained with {trained['module']}:{trained['name']}, but "
            f"--model is {network.name}: give that function."
        )


def _read_settings(
    entry: Mapping[str, Any], kind: type[Recipe]
) -> tuple[Recipe, TargetTransform | None, str]:
    """Read the recipe, transform and digest of the weights of a member in ``config.json``."""
    recipe = kind.from_table(update_old_fields(entry["recipe"]))
    transform = TargetTransform.from_dict(entry["transform"]) if entry.get("transform") else None
    digest = "" if isinstance(recipe, EstimatorRecipe) else entry["weights_sha256"]
    return recipe, transform, str(digest)


def _read_technique(entry: Mapping[str, Any], config: Mapping[str, Any]) -> Technique:
    """Read the technique of a member, which is that of the model unless it names its own."""
    return Technique(**entry.get("technique", config.get("technique", {})))


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON file of a model; raise a DataError if it is missing or damaged."""
    try:
        return read_verified_json(path)
    except FileNotFoundError:
        raise DataError(f"{path} is missing: pass a folder that ranksim fit wrote.") from None
    except (ValueError, NotADirectoryError) as error:
        raise DataError(f"{path} is damaged: {_AGAIN}.") from error


def require_model_folder(out: Path) -> None:
    """Raise a UsageError if ``out`` exists and is not a model folder or an empty folder."""
    if not out.exists():
        return
    if not out.is_dir():
        raise UsageError(f"{out} is a file, but --out must be a folder: choose another --out.")
    names = {path.name for path in out.iterdir()}
    is_model = CONFIG in names and bool(names & {WEIGHTS, ESTIMATOR, MEMBERS}) and names <= _FILES
    if names and not is_model:
        others = ", ".join(sorted(names - _FILES)[:3]) or "an incomplete model"
        raise UsageError(
            f"{out} contains files that are not part of a model ({others}) and would be deleted: "
            "choose another --out."
        )


@contextmanager
def replace_folder(out: Path) -> Iterator[Path]:
    """Yield a temporary folder that replaces ``out`` if the block raises no error."""
    out = out.absolute()
    with temporary_sibling(out) as temporary:
        new = temporary / "new"
        new.mkdir()
        yield new
        require_model_folder(out)
        if out.exists():
            out.rename(temporary / "old")
        new.rename(out)


def density_to_dict(regions: ShotRegions, *, many: int, few: int) -> dict[str, Any]:
    """Convert shot regions (bins, training counts, names, thresholds) to JSON values."""
    return {
        "edges": [float(edge) for edge in regions.bins.edges],  # float32, so exact in JSON
        "train": regions.counts.tolist(),
        "regions": list(regions.names),
        "many": many,
        "few": few,
        "named": {name: label_range.text for name, label_range in regions.named},
    }


def density_from_dict(density: Mapping[str, Any]) -> ShotRegions:
    """Recreate shot regions from the result of :func:`density_to_dict`."""
    named = {name: parse_ranges(text)[0] for name, text in density["named"].items()}
    return ShotRegions(
        LabelBins(np.asarray(density["edges"], dtype=np.float64)),
        np.asarray(density["train"], dtype=np.int64),
        tuple(density["regions"]),
        tuple(named.items()),
    )


def _load_weights(path: Path, digest: str) -> dict[str, Tensor]:
    """Load a safetensors file after verifying the SHA-256."""
    if not path.is_file():
        raise DataError(f"{path} is missing: pass a folder that ranksim fit wrote.")
    if sha256(path) != digest:
        raise DataError(f"{path} is damaged: {_AGAIN}.")
    safetensors = require_optional("safetensors.torch", "train")
    try:
        weights: dict[str, Tensor] = safetensors.load_file(path)
    except require_optional("safetensors", "train").SafetensorError as error:
        raise DataError(f"{path} is not in safetensors format: {_AGAIN}.") from error
    return weights


def _select_usable(
    table: Table, adapter: DataAdapter | None
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Return the rows that can be predicted, and the number of others by their first reason.

    Without an adapter, all rows are tried.
    """
    is_usable, counts = np.ones(table.n_rows, dtype=np.bool_), {}
    reasons = {} if adapter is None else adapter.find_unusable(table)
    for reason, mask in reasons.items():
        if count := int(np.count_nonzero(mask & is_usable)):
            counts[reason] = count
        is_usable &= ~mask
    if not is_usable.any():
        raise DataError(
            f"No row of {table.name} can be predicted ({join_names(counts)}): fill in these values."
        )
    return np.flatnonzero(is_usable), counts


def _to_table(data: Any, reading: ReadOptions) -> Table:
    """Convert data of any kind to a table; raise a DataError if it has no rows."""
    if isinstance(data, Table):
        table = data
    elif isinstance(data, Mapping):
        columns = {name: list(values) for name, values in data.items()}
        table = Table.from_columns("The data", columns).apply_options(reading)
    else:
        table = read_table(data, reading)
    if not table.n_rows:
        raise DataError(f"{table.name} has no rows: add one row per sample.")
    return table
