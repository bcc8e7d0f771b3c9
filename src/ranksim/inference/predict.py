"""Predict new data with a saved model and write a table of predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ranksim._utils.formatting import format_percent
from ranksim.evaluation.predictions import Predictions, require_table_suffix
from ranksim.exceptions import UsageError
from ranksim.inference.files import CARD
from ranksim.inference.saved_model import Model, load_model
from ranksim.metrics import SHOT_NAMES
from ranksim.training.trainer_config import TrainerConfig, check_trainer_config, silence_lightning

_WARNING_SHARE = 0.1  # of few-shot predictions


@dataclass(frozen=True)
class PredictRequest:
    """The arguments of ``ranksim predict``.

    Args:
        model: folder of the model.
        data: a path or name, as for ``ranksim fit``.
        out: the table to write, CSV or Parquet.
        image_root: folder that image paths are relative to.
        accelerator: of Lightning's Trainer.
        encoder: folder of the model's pretrained encoder, if it has one.
    """

    model: Path
    data: str
    out: Path
    image_root: Path | None = None
    accelerator: str = "auto"
    encoder: Path | None = None


def predict_data(request: PredictRequest) -> dict[str, Any]:
    """Predict new data, write one row per sample, and count predictions by region.

    Returns:
        ``model``, ``method``, ``target``, ``predictions`` (their number), ``regions`` and
        ``training`` (numbers of predictions and training samples by region), ``mae`` (``None``
        without labels), ``warning`` (``None`` if few predictions are few-shot) and ``out``.

    Raises:
        DataError: the model or the data cannot be used.
        UsageError: ``out`` is not a table, or is the data itself.
    """
    silence_lightning()
    require_table_suffix(request.out)
    if request.out.exists() and request.out.resolve() == Path(request.data).resolve():
        raise UsageError(f"--out {request.out} would replace the data: choose another file.")
    model = load_model(request.model, encoder=request.encoder)
    trainer_config = TrainerConfig(request.accelerator, precision=model.config["precision"])
    check_trainer_config(trainer_config)
    predictions = model.predict(
        request.data, image_root=request.image_root, trainer_config=trainer_config
    )
    predictions.write(request.out)
    names = np.asarray(model.regions.names)
    return {
        "model": str(request.model),
        "method": model.config["method"],
        "target": model.target,
        "predictions": len(predictions),
        "regions": predictions.counts(),
        "training": {name: int(model.regions.counts[names == name].sum()) for name in SHOT_NAMES},
        "mae": _mean_absolute_error(predictions),
        "warning": _few_shot_warning(predictions, model),
        "out": str(request.out),
    }


def _mean_absolute_error(predictions: Predictions) -> float | None:
    """Return the mean absolute error of the samples that have a label, if any has."""
    if predictions.labels is None or not (known := np.isfinite(predictions.labels)).any():
        return None
    return float(np.abs(predictions.errors)[known].mean())


def _few_shot_warning(predictions: Predictions, model: Model) -> str | None:
    """Return a warning if many predictions lie where training labels were scarce."""
    few = np.count_nonzero(predictions.regions["few"]) / len(predictions)
    if few <= _WARNING_SHARE:
        return None
    zero = np.count_nonzero(predictions.zero_shot) / len(predictions)
    none = f", {format_percent(zero, '', 0)} where there was none" if zero else ""
    return (
        f"{format_percent(few, '', 0)} of the predictions lie where training samples were "
        f"few{none}: they are unreliable; {model.path / CARD} lists these ranges."
    )
