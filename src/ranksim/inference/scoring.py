"""What ``ranksim evaluate`` does with predictions: their errors by region, whatever made them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table as RichTable

from ranksim._utils.formatting import METRIC_TITLES, choose_digits
from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import sha256, write_json
from ranksim.data.binning import choose_label_bins, choose_shot_regions
from ranksim.data.reading import load_table
from ranksim.data.spec import UserDataSpec
from ranksim.data.split_plan import read_split_column
from ranksim.data.splitting import PART_NAMES
from ranksim.data.table import Table
from ranksim.data.table import read_labels as labels_of
from ranksim.evaluation.intervals import bootstrap
from ranksim.exceptions import DataError, UsageError
from ranksim.inference.density import covering, density_of
from ranksim.inference.saved_model import load_model
from ranksim.metrics import regression_scores

RESULT = "evaluation.json"
_PREDICTION = ("prediction", "pred", "y_pred")
_LABEL = ("label", "target", "y_true")
_ERRORS = ("mae", "mse", "gm")  # which are means, and have an interval
_SHOWN = ("mae", "gm")


@dataclass(frozen=True)
class ScoreRequest:
    """An evaluate command for predictions, as it was given.

    Args:
        predictions: the table.
        train: the data that was trained on; or
        model: the folder of the model.
        target: column of the label in ``train``.
        prediction: column of the predictions; by default the first that is there of
            ``prediction``, ``pred`` and ``y_pred``.
        label: that of the labels; by default of ``label``, ``target``, ``y_true`` and the target.
        options: of bins, regions and the split, by the names of :class:`UserDataSpec`.
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


def score_predictions(request: ScoreRequest, *, as_json: bool = False) -> dict[str, Any]:
    """Score predictions by the region of their label; print and write what comes out.

    Errors have a 95 % bootstrap interval over the samples of the region.

    Raises:
        DataError: a table that cannot be read, or lacks a column.
        UsageError: regions that make no sense.
    """
    density, target, of = _density(request)
    columns = load_table(str(request.predictions))
    names = {
        "prediction": _column(columns, request.prediction, _PREDICTION, "prediction"),
        "label": _column(columns, request.label, tuple(dict.fromkeys((*_LABEL, target))), "label"),
    }
    if names["prediction"] == names["label"]:
        raise UsageError(
            f"Column {names['label']!r} cannot be prediction and label: give --prediction and "
            "--label."
        )
    labels = labels_of(columns, names["label"], missing="nan")
    known = np.isfinite(labels)
    if not known.any():
        raise DataError(f"{columns.name} has no label in column {names['label']!r}: fill it in.")
    prediction, label = labels_of(columns, names["prediction"])[known], labels[known]
    masks = covering(density[0], label).masks(label)
    scores = {
        name: regression_scores(torch.from_numpy(prediction[mask]), torch.from_numpy(label[mask]))
        for name, mask in masks.items()
    }
    intervals = {
        name: error_intervals(prediction[mask] - label[mask]) for name, mask in masks.items()
    }
    result = {
        "format": 1,
        "predictions": {
            "name": request.predictions.name,
            "sha256": columns.sha256,
            **names,
            "samples": len(label),
            "without_label": int((~known).sum()),
        },
        **of,
        "density": density_of(density[0], many=density[1], few=density[2]),
        "test": scores,
        "intervals": intervals,
        **collect_provenance(),
    }
    write_json(request.out / RESULT, result)
    console = Console(stderr=as_json)
    console.print(_table(scores, intervals, f"{request.predictions.name}, by region of {target}"))
    if not known.all():
        console.print(f"{(~known).sum():,} rows without a label are left out.", highlight=False)
    told = f"Result: {request.out / RESULT}"
    console.print(told, markup=False, highlight=False, soft_wrap=True)
    return result


def error_intervals(error: NDArray[np.float64]) -> dict[str, list[float] | None]:
    """95 % intervals of MAE, MSE and GM over samples that are drawn with replacement.

    None reaches below zero, as no error does (see :func:`ranksim.evaluation.intervals.bootstrap`).

    Args:
        error: prediction - label, ``(n,)``.

    Returns:
        Lower and upper end of each; ``None`` with fewer than two samples, and of GM where an
        error is exactly zero.

    Example:
        >>> found = error_intervals(np.array([1.0, -1.0, 1.0]))
        >>> found["mae"], found["gm"], error_intervals(np.zeros(1))["mae"]
        ([1.0, 1.0], [1.0, 1.0], None)
    """
    found: dict[str, list[float] | None] = dict.fromkeys(_ERRORS)
    if len(error) < 2:
        return found
    size = np.abs(error)
    whole = bool((size > 0).all())
    parts = [size, size**2, *([np.log(size)] if whole else [])]
    low, high = bootstrap(np.stack(parts, axis=1))
    for name, ends in zip(_ERRORS, zip(low, high, strict=True), strict=False):
        found[name] = [float(np.exp(end) if name == "gm" else max(end, 0.0)) for end in ends]
    return found


def _density(request: ScoreRequest) -> tuple[tuple[Any, int, int], str, dict[str, Any]]:
    """Regions and their thresholds, the target, and where they come from."""
    if request.model is not None:
        model = load_model(request.model)
        told = model.config["density"]
        digest = sha256(request.model / "config.json")
        of: dict[str, Any] = {"model": {"name": request.model.name, "config_sha256": digest}}
        return (model.regions, told["many"], told["few"]), model.target, of
    if request.train is None or request.target is None:
        raise UsageError("Regions need --train and its --target, or --model: give one of the two.")
    columns = load_table(request.train)
    options = UserDataSpec(target=request.target, **request.options)
    values = labels_of(columns, request.target, missing="nan")
    known = np.isfinite(values)
    labels, train = values[known], np.arange(np.count_nonzero(known))
    if (split := read_split_column(columns, options)) is not None:
        parts = [PART_NAMES.get(str(v).strip().lower()) for v in columns.column(split)]
        train = np.flatnonzero(np.array(parts, dtype=object)[known] == "train")
    if not len(train):
        raise DataError(
            f"{columns.name} has no label of column {request.target!r} to train on: name the "
            "column of the target, and one that says train where a row is trained on."
        )
    name = Path(columns.name).name
    of = {"train": {"name": name, "sha256": columns.sha256, "samples": len(train)}}
    regions = choose_shot_regions(choose_label_bins(labels, options), labels[train], options)
    return regions, request.target, of


def _column(columns: Table, given: str | None, usual: Sequence[str], what: str) -> str:
    if given is not None:
        return given  # what reads it says if it is missing
    for name in usual:
        if name in columns.names:
            return name
    raise DataError(
        f"{columns.name} has no column {' or '.join(map(repr, usual))}: name that of the {what} "
        f"with --{what}."
    )


def _table(
    scores: Mapping[str, Any], intervals: Mapping[str, Mapping[str, Any]], title: str
) -> RichTable:
    """A line a region: each error with its interval."""
    table = RichTable(title=f"\n{escape(title)}", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("region")
    table.add_column("samples", justify="right", no_wrap=True)
    for metric in _SHOWN:
        table.add_column(METRIC_TITLES[metric][0], justify="right", no_wrap=True)
        table.add_column("95\u202f%", style="dim", no_wrap=True)
    for region, found in scores.items():
        if not found["n"] or (region == "seen" and not scores["zero"]["n"]):
            continue
        cells = []
        for metric in _SHOWN:
            digits, ends = choose_digits(metric, [scores["all"][metric]]), intervals[region][metric]
            cells.append(f"{found[metric]:.{digits}f}")
            cells.append("" if ends is None else " to ".join(f"{end:.{digits}f}" for end in ends))
        table.add_row(escape(region), f"{found['n']:,}", *cells)
    return table
