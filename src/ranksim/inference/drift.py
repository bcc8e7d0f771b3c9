"""Compare new data with the data that a model was fitted with: inputs, predictions, labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from ranksim._utils.formatting import format_count, format_percent, join_names
from ranksim.data.data_report import DataReport, print_data_report
from ranksim.evaluation.drift import (
    FAMILIES,
    LEVEL,
    Change,
    NumberSummary,
    adjust_changes,
    compare_errors,
    compare_shares,
    measure_coverage,
)
from ranksim.evaluation.intervals import count_effective
from ranksim.evaluation.predictions import Predictions
from ranksim.exceptions import DataError
from ranksim.inference.input_columns import measure_inputs
from ranksim.inference.saved_model import Model, load_model
from ranksim.inference.saved_reference import HeldOutSample, Reference
from ranksim.inference.seen_samples import are_held_out
from ranksim.metrics import SHOT_NAMES, ShotRegions, covers
from ranksim.metrics.shot_regions import extend_regions
from ranksim.training.custom_network import CustomNetwork
from ranksim.training.hardware import check_trainer_config
from ranksim.training.trainer_config import TrainerConfig

STABLE, INPUTS, LABELS = "stable", "inputs moved", "labels moved"
RECALIBRATE, RETRAIN = "recalibrate", "retrain"
_MAX_COLUMNS = 3  # in the conclusion
_NEW_ROWS = "Whether errors have grown needs rows that the model was not fitted with"
_FEW_SAMPLES = 100  # below, the conclusion says that small changes go unnoticed
Floats = NDArray[np.float64]
Masks = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class DriftRequest:
    """The arguments of ``ranksim drift``; ``data`` is a path or name, as for ``predict``."""

    model: Path
    data: str
    image_root: Path | None = None
    accelerator: str = "auto"
    encoder: str | Path | None = None
    skip_missing: bool = False  # leave out rows that cannot be predicted
    reading: Mapping[str, Any] = field(default_factory=dict)  # ReadOptions, if not the model's
    network: CustomNetwork | None = None  # builds the network, if it is one of the user


def find_drift(
    request: DriftRequest, console: Console | None = None
) -> tuple[dict[str, Any], DataReport]:
    """Load a model and return the result of :func:`measure_drift` on new data, and its report.

    The console prints what was read of the data.
    """
    model = load_model(request.model, encoder=request.encoder, network=request.network)
    trainer_config = TrainerConfig(request.accelerator, precision=model.config["precision"])
    check_trainer_config(trainer_config)
    result, report = measure_drift(
        model,
        request.data,
        image_root=request.image_root,
        reading=request.reading,
        skip_missing=request.skip_missing,
        trainer_config=trainer_config,
    )
    if console is not None:
        print_data_report(report, console)
    return {"model": str(request.model), "data": request.data, **result}, report


def measure_drift(model: Model, data: Any, **options: Any) -> tuple[dict[str, Any], DataReport]:
    """Compare new data with the data that a model was fitted with.

    Args:
        model: a saved model.
        data: as for :meth:`Model.predict`, with or without labels.
        **options: as for :meth:`Model.predict`.

    Returns:
        The result as JSON values, and what was read of the data. ``verdict`` is ``stable``,
        ``inputs moved``, ``labels moved``, ``recalibrate`` or ``retrain``, and ``conclusion`` says
        it in two sentences. ``inputs`` and ``predictions`` need no labels; ``labels``, ``errors``
        and ``coverage`` are None without labels, the last two also if the model has learned from
        all of them, and ``coverage`` if it has no intervals.

    Raises:
        DataError: the model has no summary of its data, or the data cannot be predicted.
    """
    if model.reference is None:
        raise DataError(
            f"The model {model.path} has no summary of its data (reference.json), which earlier "
            "versions, the hub and released models lack: pass the folder of a new fit, or score "
            "labeled data with ranksim evaluate."
        )
    predictions, inputs, table = model.predict_inputs(data, **options)
    columns = measure_inputs(model.adapter, table, inputs.rows, inputs.samples, is_new=True)
    changes = adjust_changes(
        [column.compare(model.reference.inputs[column.name]) for column in columns]
    )
    labels = predictions.labels
    is_known = np.zeros(len(predictions), np.bool_) if labels is None else np.isfinite(labels)
    parts = predictions.origin.get("part", [""] * len(predictions))
    is_new = are_held_out(parts)
    result: dict[str, Any] = {
        "method": model.config["method"],
        "target": model.target,
        "samples": len(predictions),
        "labeled": int(is_known.sum()),
        "learned": int((~is_new).sum()),
        "inputs": [change.to_dict() for change in changes],
        "predictions": _compare_predictions(model.reference.held_out, model.regions, predictions),
        "labels": None,
        "errors": None,
        "coverage": None,
    }
    if labels is not None and is_known.any():
        result["labels"] = _compare_labels(model, labels[is_known])
    chosen = is_known & is_new
    if labels is not None and chosen.any():
        preds = predictions.preds[chosen]
        result["errors"] = _compare_errors(model, model.reference, labels[chosen], preds)
        result["coverage"] = _measure_coverage(model, predictions, labels, chosen)
    verdict, conclusion = _conclude(result, changes)
    return {"verdict": verdict, "conclusion": conclusion, **result}, predictions.report


def _compare_predictions(
    held_out: HeldOutSample, regions: ShotRegions, predictions: Predictions
) -> dict[str, Any]:
    """Compare predictions with predictions of held-out samples: their distribution and regions."""
    weights = held_out.weights
    before = NumberSummary.from_values(held_out.preds, weights)
    (change,) = adjust_changes([before.compare("predictions", predictions.preds)])
    masks = extend_regions(regions, held_out.preds).masks(held_out.preds)
    total = count_effective(weights, None) or len(held_out.preds)
    counts = {
        name: round(total * float(np.average(mask, weights=weights)))
        for name, mask in _select_regions(masks).items()
    }
    after = predictions.counts()
    return {
        "change": change.to_dict(),
        "regions": compare_shares(counts, total, after, len(predictions)),
    }


def _compare_labels(model: Model, labels: Floats) -> dict[str, Any]:
    """Compare labels with the labels of the training data: their distribution and regions."""
    assert model.reference is not None
    before = model.reference
    (change,) = adjust_changes([before.labels.compare("labels", labels)])
    masks = _select_regions(extend_regions(model.regions, labels).masks(labels))
    old = {name: before.regions[name] for name in masks}
    new = {name: int(mask.sum()) for name, mask in masks.items()}
    return {
        "change": change.to_dict(),
        "regions": compare_shares(old, before.labels.count, new, len(labels)),
    }


def _compare_errors(
    model: Model, reference: Reference, labels: Floats, preds: Floats
) -> dict[str, Any]:
    """Compare errors by region of the label with those on held-out samples.

    Over ``all``, held-out samples are weighted so that the regions have the shares of the new
    data: labels that have become rarer do not change the error in a region.
    """
    held_out = reference.held_out
    weights = np.ones(len(held_out.labels)) if held_out.weights is None else held_out.weights
    sizes = np.abs(held_out.preds - held_out.labels), np.abs(preds - labels)
    masks = [
        extend_regions(model.regions, values).masks(values) for values in (held_out.labels, labels)
    ]
    names = [name for name in ("all", *_select_regions(masks[1])) if masks[1][name].any()]
    level = 1 - LEVEL / (FAMILIES * len(names))
    shared, chosen = _match_regions(weights, *masks)
    rows = {}
    for name in names:
        old, new = (mask[name] for mask in masks)
        weight = weights
        if name == "all":
            old, new, weight = old & (shared > 0), chosen, shared
        rows[name] = compare_errors(sizes[0][old], weight[old], sizes[1][new], level)
    return {"level": level, "regions": rows}


def _measure_coverage(
    model: Model, predictions: Predictions, labels: Floats, chosen: NDArray[np.bool_]
) -> dict[str, Any] | None:
    """Measure how many labels the intervals of chosen samples contain, by predicted region."""
    if model.intervals is None or predictions.lower is None or predictions.upper is None:
        return None
    covered = covers(predictions.lower[chosen], predictions.upper[chosen], labels[chosen])
    masks = {name: mask[chosen] for name, mask in predictions.regions.items() if name != "seen"}
    return measure_coverage(covered, masks, model.intervals.level)


def _match_regions(weights: Floats, before: Masks, after: Masks) -> tuple[Floats, NDArray[Any]]:
    """Return weights of held-out samples with which regions are as frequent as in new samples.

    Also return which new samples are in regions that have held-out samples.
    """
    shared, chosen = np.zeros(len(weights)), np.zeros(len(after["all"]), dtype=np.bool_)
    for name in SHOT_NAMES:
        mask, total = before[name], float(weights[before[name]].sum())
        if total:
            shared[mask] = weights[mask] / total * after[name].sum()
            chosen |= after[name]
    return shared, chosen


def _select_regions(masks: Masks) -> dict[str, NDArray[np.bool_]]:
    """Return the masks of the regions that are parts of the label axis."""
    return {name: mask for name, mask in masks.items() if name not in ("all", "seen")}


def _conclude(result: Mapping[str, Any], changes: Sequence[Change]) -> tuple[str, str]:
    """Return the verdict, and two sentences: what has moved, and what to do."""
    moved = [change for change in changes if change.has_moved]
    sentences = [_describe_inputs(moved, len(changes))] if moved else []
    label_texts = _describe_shift(result["labels"], "labels")
    sentences += label_texts or _describe_shift(result["predictions"], "predictions")
    errors = (result["errors"] or {"regions": {}})["regions"]
    grown = [
        f"{name} ({row['before']:.4g} → {row['after']:.4g})"
        for name, row in errors.items()
        if row["grew"]
    ]
    if len(grown) > 1 and errors["all"]["grew"]:
        del grown[0]
    count = format_count(result["samples"], "sample")
    if grown:
        sentences.append(f"errors have grown in {join_names(grown)}")
        return RETRAIN, _join(sentences, "Fit the model again with these rows")
    if low := _list_uncovered(result["coverage"]):
        level = format_percent(result["coverage"]["level"], "", 0)
        sentences.append(f"intervals of {level} cover less of {join_names(low)}")
        return RECALIBRATE, _join(
            sentences,
            "Errors have not surely grown: fit the model again with these rows and --interval, "
            "which calibrates its intervals",
        )
    if label_texts:
        return LABELS, _join(
            sentences,
            "Errors by region have not surely grown: keep the model, and watch the regions that "
            "are more frequent now"
            if errors
            else _NEW_ROWS,
        )
    if sentences and errors:
        return INPUTS, _join(
            sentences, "Labels have not surely moved, nor errors grown: keep the model"
        )
    if sentences:
        return INPUTS, _join(
            sentences,
            _NEW_ROWS
            if result["labels"]
            else "Whether errors have grown cannot be seen without labels: label some of these "
            "rows, and run this again",
        )
    names = ["inputs", "predictions"] + ["labels"] * bool(result["labels"])
    text = f"In {count}, {join_names(names)} have not surely moved"
    after = ", and errors have not surely grown" if errors else ""
    small = "; so few show large changes alone" if result["samples"] < _FEW_SAMPLES else ""
    return STABLE, _join([text + after + small], "Keep the model")


def _list_uncovered(coverage: Mapping[str, Any] | None) -> list[str]:
    """Return the predicted regions whose intervals cover too little, with their coverage."""
    rows = (coverage or {"regions": {}})["regions"].items()
    return [
        f"{name} ({format_percent(row['coverage'], '')})" for name, row in rows if row["too_low"]
    ]


def _describe_inputs(moved: Sequence[Change], total: int) -> str:
    """Name the columns that have moved most."""
    texts = "; ".join(f"column {change}" for change in moved[:_MAX_COLUMNS])
    return f"{len(moved):,} of {format_count(total, 'input')} moved ({texts})"


def _describe_shift(content: Mapping[str, Any] | None, noun: str) -> list[str]:
    """Return what has moved of labels or predictions, one text or none."""
    if content is None:
        return []
    change = content["change"]
    parts = [f"{change['text']}, PSI {change['psi']:.2f}"] if change["moved"] else []
    words: dict[str, list[str]] = {}
    for name, row in content["regions"].items():
        if row["change"]:
            shares = (format_percent(row[side], "") for side in ("before", "after"))
            words.setdefault(row["change"], []).append(f"{name} ({' → '.join(shares)})")
    parts += [f"{word}: {join_names(names)}" for word, names in words.items()]
    return [f"{noun} moved ({'; '.join(parts)})"] if parts else []


def _join(sentences: Sequence[str], advice: str) -> str:
    text = "; ".join(sentences)
    return f"{text[0].upper()}{text[1:]}. {advice}."
