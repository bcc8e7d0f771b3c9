"""A saved model, read from its folder and used."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ranksim._utils.formatting import format_value, single_line
from ranksim._utils.storage import sha256
from ranksim.data.reading import load_table
from ranksim.data.table import Table, read_numbers
from ranksim.exceptions import DataError, RankSimError, require_optional
from ranksim.inference.density import regions_of
from ranksim.inference.files import CONFIG, FORMAT, METRICS, WEIGHTS, read_json
from ranksim.inference.predictions import Predictions
from ranksim.metrics import ShotRegions
from ranksim.models import Regressor
from ranksim.training.adapters import AdaptedTable, DataAdapter, adapter_from_dict
from ranksim.training.data_loader import EVAL_BATCH_SIZE, make_loader
from ranksim.training.modality import recipe_type
from ranksim.training.pretrained import require_encoder_folder, relocate_encoder
from ranksim.training.recipe import Recipe, update_old_fields
from ranksim.training.trainer_config import (
    TrainerConfig,
    make_eval_trainer,
    silence_lightning,
    translate_keyboard_interrupt,
)


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network, what reads data for it, and the label density it was trained on.

    Args:
        path: its folder.
        config: what ``config.json`` holds: target, method, data, versions and more.
        metrics: its scores by region, ``{"val": ..., "test": ...}``.
        recipe: that it was trained with.
        reader: from columns to what the network reads.
        regions: of the label axis, by the training samples.
        weights: of the network.
    """

    path: Path
    config: Mapping[str, Any] = field(repr=False)
    metrics: Mapping[str, Any] = field(repr=False)
    recipe: Recipe = field(repr=False)
    reader: DataAdapter = field(repr=False)
    regions: ShotRegions = field(repr=False)
    weights: Mapping[str, Tensor] = field(repr=False)

    @property
    def target(self) -> str:
        """The column that it predicts."""
        return str(self.config["target"])

    def predict(
        self,
        data: Table | str | Path | Mapping[str, Any],
        *,
        image_root: Path | None = None,
        hardware: TrainerConfig | None = None,
    ) -> Predictions:
        """Predict new data.

        Args:
            data: a path or name as ``ranksim predict`` takes it; or columns by their names: a
                dictionary of lists, or a data frame.
            image_root: folder that paths of images are relative to, where the data does not say.
            hardware: what computes; by default what there is, as precisely as it was trained.

        Returns:
            One prediction a row; of a series, one for each window without a gap.

        Raises:
            DataError: the data cannot be read, or lacks what the network reads.
            UsageError: the network reads through an encoder whose folder was not given.
        """
        require_encoder_folder(self.recipe)
        columns = _columns(data)
        if image_root is not None:
            columns = dataclasses.replace(columns, root=image_root)
        opened = self.reader.adapt_table(columns, self.recipe)
        label = opened.labels
        if label is None and self.target in columns.names:
            label = read_numbers(columns, self.target, missing="nan")[opened.rows]
        silence_lightning()
        hardware = hardware or TrainerConfig(precision=self.config["precision"])
        prediction = self._predicted(opened, hardware)
        wrong = opened.rows[~np.isfinite(prediction)].tolist()
        columns.raise_for_rows(wrong, "the prediction is no finite number", "correct these inputs")
        return Predictions.of(opened.rows, prediction, self.regions, label, opened.times)

    def _predicted(self, opened: AdaptedTable, hardware: TrainerConfig) -> NDArray[np.float64]:
        with torch.random.fork_rng(devices=[]):  # a new network draws weights, and no one sees it
            network = opened.make_network(self.recipe, hardware)()
        try:
            network.load_state_dict(dict(self.weights))
        except RuntimeError as error:
            raise DataError(
                f"{self.path / WEIGHTS} are not the weights of the network that {CONFIG} "
                "describes: get the model again, or fit it again."
            ) from error
        order = opened.samples.length_order()
        loader = make_loader(opened.samples, EVAL_BATCH_SIZE, order.tolist())
        with translate_keyboard_interrupt():
            made = make_eval_trainer(hardware).predict(_Predicts(network, self.recipe), loader)
        assert made is not None
        prediction = torch.empty(len(order), dtype=torch.float64)
        prediction[order] = torch.cat(made)  # type: ignore[arg-type]
        found: NDArray[np.float64] = prediction.numpy()
        return found


def load_model(path: str | Path, *, encoder: str | Path | None = None) -> Model:
    """Read a model that ``ranksim fit`` wrote; nothing in it is executed.

    Args:
        path: its folder.
        encoder: the folder of the pretrained encoder, where it was trained with one in a folder.

    Raises:
        DataError: it is missing, damaged, of another format version, or of another encoder.
        UsageError: an encoder, and the model has none.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise DataError(f"There is no model {folder}: give a folder that ranksim fit wrote.")
    config = read_json(folder / CONFIG)
    if not {"format", "ranksim", "kind"} <= config.keys():
        raise DataError(f"{folder / CONFIG} is not that of a model: give another folder.")
    if config["format"] != FORMAT:
        wrote = single_line(str(config["ranksim"]))
        raise DataError(
            f"{folder} has model format {format_value(config['format'])}, and this version of ranksim "
            f"reads {FORMAT}: use ranksim {wrote}, which wrote it, or fit it again."
        )
    metrics = read_json(folder / METRICS)
    try:
        recipe = recipe_type(config["kind"]).from_table(update_old_fields(config["recipe"]))
        reader = adapter_from_dict(config["reader"])
        regions = regions_of(config["density"])
        _ = config["target"], config["method"], config["precision"], config["weights_sha256"]
    except (
        LookupError,
        TypeError,
        ValueError,
        ArithmeticError,
        AttributeError,
        RankSimError,
    ) as error:
        raise DataError(
            f"{folder / CONFIG} describes what this version of ranksim cannot make "
            f"({_reason(error)}): get the model again, or fit it again."
        ) from error
    recipe = relocate_encoder(recipe, None if encoder is None else Path(encoder))
    weights = _weights(folder / WEIGHTS, config["weights_sha256"])
    return Model(folder, config, metrics, recipe, reader, regions, weights)


def _weights(path: Path, digest: str) -> dict[str, Tensor]:
    safetensors = require_optional("safetensors.torch", "train")
    if not path.is_file():
        raise DataError(f"{path} is missing: give a folder that ranksim fit wrote.")
    if sha256(path) != digest:
        raise DataError(f"{path} is damaged: get the model again, or fit it again.")
    try:
        found: dict[str, Tensor] = safetensors.load_file(path)
    except require_optional("safetensors", "train").SafetensorError as error:
        raise DataError(
            f"{path} holds no weights in safetensors format: get the model again, or fit it again."
        ) from error
    return found


def _reason(error: Exception) -> str:
    told = f"no {error}" if isinstance(error, KeyError) else str(error)
    return single_line(told).rstrip(".") or type(error).__name__


def _columns(data: Table | str | Path | Mapping[str, Any]) -> Table:
    if isinstance(data, str | Path):
        return load_table(str(data))
    if isinstance(data, Table):
        columns = data
    else:
        columns = Table.from_columns(
            "The data", {name: list(values) for name, values in data.items()}
        )
    if not columns.n_rows:
        raise DataError(f"{columns.name} has no row of values: put one row a sample into it.")
    return columns


class _Predicts(L.LightningModule):
    """A network alone, as Lightning's ``predict`` wants it."""

    def __init__(self, network: Regressor, recipe: Recipe) -> None:
        super().__init__()
        self.network, self.scale = network, recipe.label_scale

    def on_before_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return {"inputs": batch["inputs"]}  # labels mean nothing here

    def predict_step(self, batch: Any, batch_idx: int) -> Tensor:
        prediction, _ = self.network(*batch["inputs"])
        exact = torch.promote_types(prediction.dtype, torch.float32)
        scaled: Tensor = prediction.to(exact) * self.scale
        return scaled.cpu().double()
