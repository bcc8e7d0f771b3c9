"""What ``ranksim predict`` does: a saved model on new data, to a table of predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from ranksim._utils.formatting import format_percent
from ranksim.exceptions import UsageError
from ranksim.inference.predictions import Predictions, refuse_other_suffix
from ranksim.inference.saved_model import Model, load_model
from ranksim.training.trainer_config import TrainerConfig, check_trainer_config, silence_lightning

_MANY = 0.1  # of the predictions, beyond which those where training had little are warned of


@dataclass(frozen=True)
class PredictRequest:
    """A predict command as it was given.

    Args:
        model: folder of the model.
        data: as ``ranksim fit`` takes it.
        out: the table, CSV or Parquet.
        image_root: folder of the images, where the data is a table elsewhere.
        accelerator: for Lightning.
        encoder: folder of the pretrained encoder that the model reads through, if any.
    """

    model: Path
    data: str
    out: Path
    image_root: Path | None = None
    accelerator: str = "auto"
    encoder: Path | None = None


def predict_data(request: PredictRequest, *, as_json: bool = False) -> dict[str, Any]:
    """Predict new data, write a row a sample, and say where the predictions lie.

    Raises:
        DataError: the model or the data cannot be used.
        UsageError: ``out`` names no table, or the data itself.
    """
    silence_lightning()
    refuse_other_suffix(request.out)
    if request.out.exists() and request.out.resolve() == Path(request.data).resolve():
        raise UsageError(f"--out {request.out} is the data, which would be lost: name another.")
    model = load_model(request.model, encoder=request.encoder)
    hardware = TrainerConfig(request.accelerator, precision=model.config["precision"])
    check_trainer_config(hardware)
    made = model.predict(request.data, image_root=request.image_root, hardware=hardware)
    made.write(request.out)
    counts, console = made.counts(), Console(stderr=as_json)
    result = {
        "model": str(request.model),
        "method": model.config["method"],
        "target": model.target,
        "predictions": len(made),
        "regions": counts,
        "mae": _error(made),
        "warning": _warning(made, model),
        "out": str(request.out),
    }
    console.print(_table(made, model))
    if result["warning"]:
        console.print(result["warning"], style="yellow", markup=False, highlight=False)
    if result["mae"] is not None:
        console.print(
            f"MAE {result['mae']:.4g} against the labels in the data; by region: ranksim evaluate "
            f"{request.out} --model {request.model}",
            markup=False,
            highlight=False,
            soft_wrap=True,
        )
    told = f"Predictions: {request.out}"
    console.print(told, markup=False, highlight=False, soft_wrap=True)
    return result


def _error(made: Predictions) -> float | None:
    """The mean absolute error over what has a label."""
    if made.label is None or not (known := np.isfinite(made.label)).any():
        return None
    return float(np.abs(made.prediction - made.label)[known].mean())


def _warning(made: Predictions, model: Model) -> str | None:
    """What is to be said where many predictions lie where training had little."""
    few = np.count_nonzero(made.region == "few") / len(made)
    if few <= _MANY:
        return None
    zero = np.count_nonzero(made.zero_shot) / len(made)
    never = f", {format_percent(zero, '', 0)} where it had none" if zero else ""
    return (
        f"{format_percent(few, '', 0)} of the predictions lie where training had few samples{never}: "
        f"they rest on little; {model.path / 'README.md'} says where that is."
    )


def _table(made: Predictions, model: Model) -> Table:
    """How many predictions lie in each region, beside the training samples there."""
    regions, names = model.regions, np.asarray(model.regions.names)
    training = {
        name: int(regions.counts[names == name].sum()) for name in ("many", "medium", "few")
    }
    title = f"{len(made):,} predictions of {escape(model.target)} by {model.config['method']}"
    table = Table(title=f"\n{title}", box=box.SIMPLE_HEAD, title_justify="left")
    for name in ("predicted label in", "predictions", "share", "training samples"):
        table.add_column(name, justify="left" if name.endswith("in") else "right")
    for name, count in made.counts().items():
        if count or name in training:
            seen = f"{training[name]:,}" if name in training else "0" if name == "zero" else ""
            table.add_row(escape(name), f"{count:,}", format_percent(count / len(made), ""), seen)
    return table
