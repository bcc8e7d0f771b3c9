"""Predict new data with a saved model, and score predictions from any model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console

from ranksim._utils.formatting import format_percent, format_value
from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import sha256, write_json
from ranksim.data.binning import choose_label_bins, choose_shot_regions
from ranksim.data.cells import is_blank, is_missing
from ranksim.data.data_report import print_data_report
from ranksim.data.reading import load_table
from ranksim.data.spec import ReadOptions, SeriesSpec, UserDataSpec
from ranksim.data.splitting import UNUSED, parse_part, read_parts
from ranksim.data.table import Table, read_labels, read_targets
from ranksim.evaluation.coverage import score_new_intervals
from ranksim.evaluation.intervals import aggregate_by_cluster, bootstrap
from ranksim.evaluation.predictions import Predictions, require_table_suffix
from ranksim.evaluation.views import FILE
from ranksim.exceptions import DataError, UsageError
from ranksim.imbalance.bins import LabelRange, parse_ranges
from ranksim.inference.saved_model import (
    CARD,
    CONFIG,
    Model,
    density_from_dict,
    density_to_dict,
    load_model,
)
from ranksim.inference.seen_samples import are_held_out, count_parts
from ranksim.metrics import (
    SHOT_NAMES,
    ShotRegions,
    detection_scores,
    imbalanced_scores,
    regression_scores,
)
from ranksim.metrics.shot_regions import extend_regions
from ranksim.training.custom_network import CustomNetwork
from ranksim.training.hardware import check_trainer_config
from ranksim.training.trainer_config import TrainerConfig
from ranksim.user_data.columns import CategoryColumn, spell_booleans_alike
from ranksim.user_data.sample_keys import make_sample_keys
from ranksim.user_data.split_column import (
    join_split_file,
    read_split_column,
    resolve_split_file,
)

RESULT = "evaluation.json"
_WARNING_SHARE = 0.1  # of few-shot predictions
_COLUMNS = {
    "prediction": ("prediction", "pred", "y_pred"),
    "label": ("label", "target", "y_true"),
}
_MEANS = ("mae", "mse", "gm")  # scores that are means, so that they have intervals
Floats = NDArray[np.float64]
TrainingTable = tuple[Table, UserDataSpec]  # of ``ranksim evaluate --train``, with its options


@dataclass(frozen=True)
class PredictRequest:
    """The arguments of ``ranksim predict``; ``data`` is a path or name, as for ``ranksim fit``."""

    model: Path
    data: str
    out: Path
    image_root: Path | None = None
    accelerator: str = "auto"
    encoder: str | Path | None = None
    strict: bool = False  # warnings about the data are errors
    skip_missing: bool = False  # leave out rows that cannot be predicted
    reading: Mapping[str, Any] = field(default_factory=dict)  # ReadOptions, if not the model's
    network: CustomNetwork | None = None  # builds the network, if it is one of the user


def predict_data(request: PredictRequest, console: Console | None = None) -> dict[str, Any]:
    """Predict new data, write the predictions to ``out``, and return a summary.

    ``mae`` is that over all labels, ``held_out`` that over samples which the model was neither
    trained nor validated on; both are None without labels. ``test_set`` says what the mean over
    held-out samples is, see :func:`find_test_set`. ``warning`` is None if few predictions are
    few-shot. The console prints what was read of the data.
    """
    require_table_suffix(request.out)
    if request.out.exists() and request.out.resolve() == Path(request.data).resolve():
        raise UsageError(
            f"--out {request.out} would overwrite the input data: choose another file."
        )
    model = load_model(request.model, encoder=request.encoder, network=request.network)
    trainer_config = TrainerConfig(request.accelerator, precision=model.config["precision"])
    check_trainer_config(trainer_config)
    predictions = model.predict(
        request.data,
        image_root=request.image_root,
        reading=request.reading,
        skip_missing=request.skip_missing,
        trainer_config=trainer_config,
    )
    if console is not None:
        print_data_report(predictions.report, console)
    if request.strict:
        predictions.report.raise_warnings()
    predictions.write(request.out)
    labels = predictions.labels
    known = np.zeros(0, dtype=bool) if labels is None else np.isfinite(labels)
    names = np.asarray(model.regions.names)
    parts = predictions.origin.get("part", [""] * len(predictions))
    held_out = known & are_held_out(parts) if len(known) else known
    labeled = [part for part, is_known in zip(parts, known, strict=False) if is_known]
    return {
        "model": str(request.model),
        "method": model.config["method"],
        "target": model.target,
        "predictions": len(predictions),
        "regions": predictions.counts(),
        "training": {name: int(model.regions.counts[names == name].sum()) for name in SHOT_NAMES},
        "mae": float(np.abs(predictions.errors)[known].mean()) if known.any() else None,
        "parts": count_parts(parts),
        "held_out": {
            "samples": int(held_out.sum()),
            "mae": float(np.abs(predictions.errors)[held_out].mean()) if held_out.any() else None,
            "test_set": find_test_set(labeled, model),
        },
        "warning": _few_shot_warning(predictions, model),
        "data_report": predictions.report.to_dict(),
        "out": str(request.out),
    }


def find_test_set(parts: Sequence[Any], model: Model | None) -> str | None:
    """Return what the mean over the held-out samples of a file is, as for a test set.

    They are either all test samples of the model, and no others, or the rows of the file.

    Args:
        parts: the part of each sample of the file in the training data of the model.
        model: None for predictions of another program.
    """
    counts = count_parts(parts)
    if model is None or counts["new"] or counts["test"] != model.config["data"]["counts"][2]:
        return FILE
    return model.test_set


def _few_shot_warning(predictions: Predictions, model: Model) -> str | None:
    """Return a warning if over 10 % of the predictions are in the few-shot region, else None."""
    few, zero = (predictions.regions[name].mean() for name in ("few", "zero"))
    if few <= _WARNING_SHARE:
        return None
    none = f", {format_percent(zero, '', 0)} where there was none" if zero else ""
    return (
        f"{format_percent(few, '', 0)} of the predictions lie where training samples were "
        f"few{none}: they are unreliable; {model.path / CARD} lists these ranges."
    )


@dataclass(frozen=True)
class ScoreRequest:
    """The arguments of ``ranksim evaluate`` for scoring a table of predictions.

    The regions follow the labels in column ``target`` of the training data ``train``, with the
    ``options`` of :class:`UserDataSpec`, or those of a ``model``. Columns ``prediction`` and
    ``label`` are by default the first usual names that exist. ``rare`` is a range of labels whose
    detection is scored.
    """

    predictions: Path
    train: str | None = None
    model: Path | None = None
    target: str | None = None
    prediction: str | None = None
    label: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    out: Path = Path("runs/evaluate")
    rare: str | None = None


def score_predictions(request: ScoreRequest) -> dict[str, Any]:
    """Score predictions by shot region; write ``evaluation.json`` and return its content."""
    rare = None if request.rare is None else _parse_rare(request.rare)
    model = None if request.model is None else load_model(request.model)
    training = _read_training_table(request) if model is None else None
    density, target, origin = _read_density(request, model, training)
    table = load_table(str(request.predictions))
    prediction = request.prediction or _find_column(table, "prediction")
    label = request.label or _find_column(table, "label", target)
    if prediction == label:
        raise UsageError(
            f"Column {label!r} cannot be both prediction and label: set --prediction and --label."
        )
    labels = read_targets(table, label, _list_missing_targets(request, model), missing="nan")
    known = np.isfinite(labels)
    if not known.any():
        raise DataError(
            f"{table.name} has no label in column {label!r}: fill in labels, or "
            "choose another column with --label."
        )
    sample_parts = _read_sample_parts(table, model, training)
    parts = [part for part, is_used in zip(sample_parts, known, strict=True) if is_used]
    preds, labels = read_labels(table, prediction)[known], labels[known]
    regions = extend_regions(density_from_dict(density), labels)
    has_intervals = model is not None and model.intervals is not None
    ends = _read_ends(table, known) if has_intervals else None
    result = {
        "format": 1,
        "predictions": {
            "name": request.predictions.name,
            "sha256": table.sha256,
            "prediction": prediction,
            "label": label,
            "samples": len(labels),
            "without_label": int((~known).sum()),
            "parts": count_parts(parts),
        },
        **origin,
        "density": density,
        **_score_parts(preds, labels, regions, parts, model),
        **_score_intervals(preds, labels, regions.masks(labels), parts, model, ends),
        **collect_provenance(),
    }
    if rare is not None:
        held_out = are_held_out(parts)
        chosen = held_out if held_out.any() else np.ones(len(labels), dtype=np.bool_)
        scores = detection_scores(preds[chosen], labels[chosen], rare)
        result["detection"] = {"range": rare.text, "samples": int(chosen.sum()), **scores}
    write_json(request.out / RESULT, result)
    return result


def _parse_rare(text: str) -> LabelRange:
    """Return the range of labels of ``--rare``; raise a UsageError unless it is one."""
    try:
        (rare,) = parse_ranges(text)
    except ValueError as error:
        raise UsageError(
            f"--rare takes one range of labels, such as >250, <=70 or 30-40, got "
            f"{format_value(text)}."
        ) from error
    return rare


def evaluate_predictions(model: Model, predictions: Predictions) -> dict[str, Any]:
    """Return the scores of predictions with labels by the region of the label, and intervals.

    The entries are those of :func:`score_predictions`: ``samples``, ``without_label``, ``parts``,
    ``held_out`` (None if all samples are), ``test``, ``intervals`` and ``test_set``; and, of a
    model with prediction intervals, their ``coverage`` on the held-out samples.

    Raises:
        DataError: no sample has a label.
    """
    labels = predictions.labels
    if labels is None or not np.isfinite(labels).any():
        raise DataError(
            f"The data has no label in column {model.target!r}: evaluate needs labels, predict "
            "does not."
        )
    known = np.isfinite(labels)
    all_parts = predictions.origin.get("part", [""] * len(predictions))
    parts = [part for part, is_used in zip(all_parts, known, strict=True) if is_used]
    preds, labels = predictions.preds[known], labels[known]
    regions = extend_regions(model.regions, labels)
    ends = None
    if predictions.lower is not None and predictions.upper is not None:
        ends = predictions.lower[known], predictions.upper[known]
    return {
        "samples": len(labels),
        "without_label": int((~known).sum()),
        "parts": count_parts(parts),
        **_score_parts(preds, labels, regions, parts, model),
        **_score_intervals(preds, labels, regions.masks(labels), parts, model, ends),
    }


def _read_ends(table: Table, known: NDArray[np.bool_]) -> tuple[Floats, Floats] | None:
    """Return the ends of the intervals of labeled samples, ``(N,)`` each; None if there are none.

    Infinite ends stay infinite.

    Raises:
        DataError: an end is missing.
    """
    if not {"lower", "upper"} <= {*table.names}:
        return None
    columns = [
        ["nan" if is_blank(cell) else str(cell) for cell in table.column(name)]
        for name in ("lower", "upper")
    ]
    try:
        lower, upper = (np.array(column, dtype=np.float64)[known] for column in columns)
    except ValueError:
        return None  # columns of another meaning
    wrong = np.flatnonzero(known)[np.isnan(lower) | np.isnan(upper)]
    table.raise_for_rows(
        wrong.tolist(), "lower or upper is not a number", "predict again, or remove both columns"
    )
    return lower, upper


def _score_intervals(
    preds: Floats,
    labels: Floats,
    masks: Mapping[str, NDArray[np.bool_]],
    parts: Sequence[Any],
    model: Model | None,
    ends: tuple[Floats, Floats] | None,
) -> dict[str, Any]:
    """Return the coverage of intervals on held-out samples, if they are known, else nothing."""
    if model is None or model.intervals is None or ends is None:
        return {}
    held_out = are_held_out(parts)
    if not held_out.any():
        return {}
    rows = np.flatnonzero(held_out)
    lower, upper = (each[rows] for each in ends)
    true = {name: mask[rows] for name, mask in masks.items()}
    samples = Predictions(rows, preds[rows], true, labels[rows], lower=lower, upper=upper)
    saved = model.intervals
    return {"coverage": score_new_intervals(samples, saved.calibration, saved.level, true)}


def _list_missing_targets(request: ScoreRequest, model: Model | None) -> tuple[float, ...]:
    """Return the labels that stand for missing ones in the training data."""
    options = request.options if model is None else model.config.get("options", {})
    return tuple(options.get("missing_target", ()))


def _score_parts(
    preds: NDArray[np.float64],
    labels: NDArray[np.float64],
    regions: ShotRegions,
    parts: Sequence[Any],
    model: Model | None,
) -> dict[str, Any]:
    """Return the scores of all samples, and of the held-out ones if there are others."""
    held_out, test_set = are_held_out(parts), find_test_set(parts, model)
    everything = np.ones(len(labels), dtype=np.bool_)
    scores = _score(preds, labels, regions, everything)
    if held_out.all():
        return {"held_out": None, **scores, "test_set": test_set}
    chosen = _score(preds, labels, regions, held_out) | {"test_set": test_set}
    return {"held_out": chosen, **scores, "test_set": FILE}


def _score(
    preds: NDArray[np.float64],
    labels: NDArray[np.float64],
    regions: ShotRegions,
    selected: NDArray[np.bool_],
) -> dict[str, Any]:
    """Return the scores and intervals of the selected samples by region."""
    chosen = {name: mask & selected for name, mask in regions.masks(labels).items()}
    scores = {
        name: regression_scores(torch.from_numpy(preds[mask]), torch.from_numpy(labels[mask]))
        for name, mask in chosen.items()
    }
    scores["all"] |= imbalanced_scores(preds[selected], labels[selected], regions.bins)
    return {
        "test": scores,
        "intervals": {
            name: error_intervals(preds[mask] - labels[mask]) for name, mask in chosen.items()
        },
    }


def _read_sample_parts(
    table: Table, model: Model | None, training: TrainingTable | None
) -> Sequence[str]:
    """Return the part of each row in the training data of the predictions; ``""`` if unknown.

    It is read from the column ``part`` that ``ranksim predict`` writes. Otherwise rows are
    recognized by the inputs of the model, if the table has all of them, or as rows of the training
    table that are equal in the columns that both have.
    """
    inputs = () if model is None else model.adapter.columns
    if "part" not in inputs and (parts := _read_part_column(table)) is not None:
        return parts
    if model is not None:
        is_series = model.config["kind"] == SeriesSpec.benchmark
        if model.samples is None or is_series or not {*model.adapter.columns} <= {*table.names}:
            return [""] * table.n_rows
        return model.find_parts(table)
    assert training is not None
    return _match_training_rows(table, *training)


def _read_part_column(table: Table) -> list[str] | None:
    """Return the parts in the column ``part``; None if there is none, or it means something else.

    Its cells are parts, at least one of them, or empty for new samples.
    """
    values = table.column("part") if "part" in table.names else []
    parts = ["" if is_missing(value) else parse_part(value) or None for value in values]
    if not any(parts) or None in parts:
        return None
    return ["" if part in (None, UNUSED) else part for part in parts]


def _match_training_rows(table: Table, train: Table, options: UserDataSpec) -> Sequence[str]:
    shared = [name for name in train.names if name in table.names and name != options.split]
    if options.target not in shared or len(shared) < 2:
        return [""] * table.n_rows
    split = read_split_column(train, options)
    parts = ["train"] * train.n_rows if split is None else read_parts(train, split).tolist()
    columns = [CategoryColumn.fit(name, train.column(name)) for name in shared]
    table = spell_booleans_alike(table, columns)
    keys = make_sample_keys(train, options, shared)
    part_of = dict(zip(reversed(keys), reversed(parts), strict=True))
    return [part_of.get(key, "") for key in make_sample_keys(table, options, shared)]


def _read_training_table(request: ScoreRequest) -> TrainingTable:
    """Read the table of ``--train``, with a split file if one is given, and its options."""
    if request.train is None or request.target is None:
        raise UsageError("No shot regions are defined: pass --train and --target, or --model.")
    given = dict(request.options)
    table = load_table(request.train, ReadOptions.from_options(given))
    if (split_file := resolve_split_file(table, given.get("split"))) is not None:
        table, given["split"] = join_split_file(table, split_file), split_file.name
    return table, UserDataSpec(target=str(request.target), **given)


def error_intervals(
    errors: NDArray[np.float64], groups: NDArray[np.int64] | None = None
) -> dict[str, list[float] | None]:
    """Compute 95 % bootstrap confidence intervals of MAE, MSE and GM from errors ``(N,)``.

    Samples are resampled, or their ``groups`` ``(N,)`` as a whole. An interval is None with fewer
    than two samples or groups, and for GM if an error is exactly zero.
    """
    intervals: dict[str, list[float] | None] = dict.fromkeys(_MEANS)
    if len(errors) < 2:
        return intervals
    size = np.abs(errors)
    logs = [np.log(size)] if (size > 0).all() else []
    values = aggregate_by_cluster(np.stack([size, size**2, *logs]), groups)
    if values.shape[1] < 2:
        return intervals
    low, high = bootstrap(values.T)
    for name, ends in zip(_MEANS, zip(low, high, strict=True), strict=False):
        intervals[name] = [float(np.exp(end) if name == "gm" else max(end, 0.0)) for end in ends]
    return intervals


def _read_density(
    request: ScoreRequest, model: Model | None, training: TrainingTable | None
) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Return ``(density, target, origin)`` of the training labels, from the model or data."""
    if model is not None:
        digest = sha256(model.path / CONFIG)
        origin: dict[str, Any] = {"model": {"name": model.path.name, "config_sha256": digest}}
        return model.config["density"], model.target, origin
    assert training is not None
    table, options = training
    values = read_targets(table, options.target, options.missing_target, missing="nan")
    known = np.isfinite(values)
    labels, train = values[known], np.arange(np.count_nonzero(known))
    if (split := read_split_column(table, options)) is not None:
        train = np.flatnonzero(read_parts(table, split)[known] == "train")
    if not len(train):
        raise DataError(
            f"{table.name} has no training label in column {options.target!r}: choose another "
            "--target, or mark the training rows with train in the split column."
        )
    bins = choose_label_bins(labels, options)
    regions, many, few = choose_shot_regions(bins, labels[train], options)
    data = {"name": Path(table.name).name, "sha256": table.sha256, "samples": len(train)}
    return density_to_dict(regions, many=many, few=few), options.target, {"train": data}


def _find_column(table: Table, role: str, *further: str) -> str:
    """Find the column of the predictions or labels by its usual names, else raise a DataError."""
    names: Sequence[str] = list(dict.fromkeys((*_COLUMNS[role], *further)))
    for name in names:
        if name in table.names:
            return name
    raise DataError(
        f"{table.name} has no column {' or '.join(map(repr, names))}: pass the name of the "
        f"{role} column with --{role}."
    )
