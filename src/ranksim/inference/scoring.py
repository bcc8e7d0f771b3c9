"""Score a table of predictions of any model by the region of their labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import sha256, write_json
from ranksim.data.binning import choose_label_bins, choose_shot_regions
from ranksim.data.reading import load_table
from ranksim.data.spec import UserDataSpec
from ranksim.data.split_plan import read_split_column
from ranksim.data.splitting import PART_NAMES
from ranksim.data.table import Table, read_labels
from ranksim.evaluation.intervals import bootstrap
from ranksim.exceptions import DataError, UsageError
from ranksim.inference.density import density_from_dict, density_to_dict, extend_regions
from ranksim.inference.files import CONFIG
from ranksim.inference.saved_model import load_model
from ranksim.metrics import regression_scores

RESULT = "evaluation.json"
_PREDICTION = ("prediction", "pred", "y_pred")
_LABEL = ("label", "target", "y_true")
_MEANS = ("mae", "mse", "gm")  # scores that are means, so that they have intervals


@dataclass(frozen=True)
class ScoreRequest:
    """The arguments of ``ranksim evaluate`` for predictions.

    Args:
        predictions: the table.
        train: the training data, which decides the regions; or
        model: the folder of the model, in place of ``train``.
        target: column of the label in ``train``.
        prediction: column of the predictions; by default the first of ``prediction``, ``pred`` and
            ``y_pred`` that exists.
        label: column of the labels; by default ``label``, ``target``, ``y_true`` or the target's
            name.
        options: bins, regions and split, by the names of :class:`UserDataSpec`.
        out: folder for the result.
    """

    predictions: Path
    train: str | None = None
    model: Path | None = None
    target: str | None = None
    prediction: str | None = None
    label: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    out: Path = Path("runs/evaluate")


def score_predictions(request: ScoreRequest) -> dict[str, Any]:
    """Score predictions by the region of their labels and write ``evaluation.json``.

    Returns:
        The content of the file: ``predictions`` (file, columns and numbers of samples), ``model``
        or ``train``, ``density``, ``test`` (scores by region) and ``intervals`` (95 % bootstrap
        intervals over the samples of each region).

    Raises:
        DataError: a table could not be read or lacks a column.
        UsageError: the regions are not defined, or a column is used twice.
    """
    density, target, origin = _read_density(request)
    table = load_table(str(request.predictions))
    labels_default = tuple(dict.fromkeys((*_LABEL, target)))
    columns = {
        "prediction": _find_column(table, request.prediction, _PREDICTION, "prediction"),
        "label": _find_column(table, request.label, labels_default, "label"),
    }
    if columns["prediction"] == columns["label"]:
        raise UsageError(
            f"Column {columns['label']!r} cannot be both prediction and label: give --prediction "
            "and --label."
        )
    labels = read_labels(table, columns["label"], missing="nan")
    known = np.isfinite(labels)
    if not known.any():
        raise DataError(
            f"{table.name} has no label in column {columns['label']!r}: fill in at least one."
        )
    preds, labels = read_labels(table, columns["prediction"])[known], labels[known]
    masks = extend_regions(density_from_dict(density), labels).masks(labels)
    scores = {
        name: regression_scores(torch.from_numpy(preds[mask]), torch.from_numpy(labels[mask]))
        for name, mask in masks.items()
    }
    result = {
        "format": 1,
        "predictions": {
            "name": request.predictions.name,
            "sha256": table.sha256,
            **columns,
            "samples": len(labels),
            "without_label": int((~known).sum()),
        },
        **origin,
        "density": density,
        "test": scores,
        "intervals": {
            name: error_intervals(preds[mask] - labels[mask]) for name, mask in masks.items()
        },
        **collect_provenance(),
    }
    write_json(request.out / RESULT, result)
    return result


def error_intervals(errors: NDArray[np.float64]) -> dict[str, list[float] | None]:
    """Return 95 % bootstrap intervals of MAE, MSE and GM over samples.

    Lower ends are at least zero (see :func:`ranksim.evaluation.intervals.bootstrap`).

    Args:
        errors: prediction − label, ``(n,)``.

    Returns:
        Lower and upper end of each; ``None`` with fewer than two samples, and for GM if an error
        is exactly zero.

    Example:
        >>> intervals = error_intervals(np.array([1.0, -1.0, 1.0]))
        >>> intervals["mae"], intervals["gm"], error_intervals(np.zeros(1))["mae"]
        ([1.0, 1.0], [1.0, 1.0], None)
    """
    intervals: dict[str, list[float] | None] = dict.fromkeys(_MEANS)
    if len(errors) < 2:
        return intervals
    size = np.abs(errors)
    logs = [np.log(size)] if (size > 0).all() else []
    low, high = bootstrap(np.stack([size, size**2, *logs], axis=1))
    for name, ends in zip(_MEANS, zip(low, high, strict=True), strict=False):
        intervals[name] = [float(np.exp(end) if name == "gm" else max(end, 0.0)) for end in ends]
    return intervals


def _read_density(request: ScoreRequest) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Return the training label density, the target, and the model or data they come from."""
    if request.model is not None:
        model = load_model(request.model)
        digest = sha256(request.model / CONFIG)
        origin: dict[str, Any] = {"model": {"name": request.model.name, "config_sha256": digest}}
        return model.config["density"], model.target, origin
    if request.train is None or request.target is None:
        raise UsageError("Regions are not defined: give --train and its --target, or --model.")
    table = load_table(request.train)
    options = UserDataSpec(target=request.target, **request.options)
    values = read_labels(table, request.target, missing="nan")
    known = np.isfinite(values)
    labels, train = values[known], np.arange(np.count_nonzero(known))
    if (split := read_split_column(table, options)) is not None:
        parts = [PART_NAMES.get(str(part).strip().lower()) for part in table.column(split)]
        train = np.flatnonzero(np.array(parts, dtype=object)[known] == "train")
    if not len(train):
        raise DataError(
            f"{table.name} has no training label in column {request.target!r}: give the column of "
            "the target, and mark training rows with train in the split column."
        )
    chosen = choose_shot_regions(choose_label_bins(labels, options), labels[train], options)
    regions, many, few = chosen
    data = {"name": Path(table.name).name, "sha256": table.sha256, "samples": len(train)}
    return density_to_dict(regions, many=many, few=few), request.target, {"train": data}


def _find_column(table: Table, name: str | None, usual: Sequence[str], role: str) -> str:
    """Return the given column, or the first of the usual names that exists."""
    if name is not None:
        return name
    for candidate in usual:
        if candidate in table.names:
            return candidate
    raise DataError(
        f"{table.name} has no column {' or '.join(map(repr, usual))}: give the column of the "
        f"{role} with --{role}."
    )
