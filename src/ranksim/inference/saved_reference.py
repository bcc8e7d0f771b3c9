"""What a saved model knows of the data it was fitted with: distributions of inputs and labels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.arrays import copy_to_numpy
from ranksim._utils.storage import read_verified_json, with_digest, write_json
from ranksim.data.batch import BatchDataset
from ranksim.data.splitting import CALIBRATION, PARTS
from ranksim.evaluation.drift import CategorySummary, NumberSummary, Summary
from ranksim.evaluation.views import ViewCounts
from ranksim.exceptions import DataError
from ranksim.inference.input_columns import measure_inputs
from ranksim.metrics import ShotRegions
from ranksim.training.data_source import DataSource
from ranksim.training.recipe import Recipe
from ranksim.training.task_loading import (
    find_positions,
    load_adapter,
    load_benchmark,
    load_plan,
    load_task,
)

REFERENCE = "reference.json"
_MAX_POINTS = 50_000  # numbers that describe the distributions of all columns
_MIN_POINTS, _MOST_POINTS = 11, 101  # of one column
_MAX_HELD_OUT = 5_000
_SUMMARIES: dict[str, type[NumberSummary] | type[CategorySummary]] = {
    summary.kind: summary for summary in (NumberSummary, CategorySummary)
}
Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HeldOutSample:
    """Predictions of held-out samples, weighted so that labels are as frequent as in the data.

    Args:
        labels: ``(N,)``, of at most 5,000 samples.
        preds: ``(N,)``.
        weights: with mean one, ``(N,)``; None if all are one.
    """

    labels: Floats
    preds: Floats
    weights: Floats | None = None

    @classmethod
    def draw(cls, labels: Floats, preds: Floats, weights: Floats | None = None) -> HeldOutSample:
        """Return all samples, or 5,000 of them at random."""
        chosen = np.arange(len(labels))
        if len(labels) > _MAX_HELD_OUT:
            generator = np.random.default_rng(0)
            chosen = np.sort(generator.choice(len(labels), _MAX_HELD_OUT, replace=False))
        return cls(labels[chosen], preds[chosen], None if weights is None else weights[chosen])


@dataclass(frozen=True, eq=False)
class Reference:
    """Distributions in the data that a model was fitted with.

    All its samples count, in whichever part they are: the training samples of a split with a
    balanced test set have fewer rare labels than the data.

    Args:
        inputs: distribution of each column of :func:`measure_inputs`, by name.
        labels: distribution of the labels.
        regions: number of labels in each region, as many as are expected in N new labels.
        held_out: predictions of samples that the model was not trained on.
    """

    inputs: Mapping[str, Summary]
    labels: NumberSummary
    regions: Mapping[str, int]
    held_out: HeldOutSample

    @classmethod
    def from_data(
        cls, source: DataSource, recipe: Recipe, regions: ShotRegions, held_out: HeldOutSample
    ) -> Reference:
        """Summarize the data of a training."""
        plan, adapter = load_plan(source), load_adapter(source, recipe)
        _, task = load_task(source, recipe)
        parts: list[list[Any]] = []
        labels: list[Floats] = []
        for name in PARTS[:1] if source.all_rows else (*PARTS, CALIBRATION):
            samples: BatchDataset | None = getattr(task, name)
            if samples is not None and len(samples):
                rows = plan.rows[find_positions(source, recipe, name)]
                parts.append(measure_inputs(adapter, plan.table, rows, samples))
                labels.append(copy_to_numpy(samples.labels))
        columns = [
            type(first)(
                first.name,
                np.concatenate([column.values for column in (first, *others)]),
                first.categories,
                first.measure,
            )
            for first, *others in zip(*parts, strict=True)
        ]
        points = int(np.clip(_MAX_POINTS // max(len(columns), 1), _MIN_POINTS, _MOST_POINTS))
        values = np.concatenate(labels)
        return cls(
            {column.name: column.summarize(points) for column in columns},
            NumberSummary.from_values(values),
            _count_regions(regions, values),
            held_out,
        )

    def save(self, folder: Path) -> None:
        """Write the reference to a model folder."""
        weights = self.held_out.weights
        content = {
            "format": 1,
            "inputs": {name: summary.to_dict() for name, summary in self.inputs.items()},
            "labels": self.labels.to_dict(),
            "regions": dict(self.regions),
            "held_out": {
                "labels": self.held_out.labels.tolist(),
                "preds": self.held_out.preds.tolist(),
                "weights": None if weights is None else weights.tolist(),
            },
        }
        write_json(folder / REFERENCE, with_digest(content))

    @classmethod
    def load(cls, folder: Path) -> Reference | None:
        """Load the reference of a model; return None if an earlier version wrote it.

        Raises:
            DataError: the file is damaged.
        """
        path = folder / REFERENCE
        if not path.exists():
            return None
        try:
            content = read_verified_json(path)
            inputs = {
                name: _SUMMARIES[each["kind"]].from_dict(each)
                for name, each in content["inputs"].items()
            }
            labels, preds, weights = (
                None if content["held_out"][name] is None else np.array(content["held_out"][name])
                for name in ("labels", "preds", "weights")
            )
            assert labels is not None
            assert preds is not None
            return cls(
                inputs,
                NumberSummary.from_dict(content["labels"]),
                {name: int(count) for name, count in content["regions"].items()},
                HeldOutSample(labels, preds, weights),
            )
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise DataError(f"{path} is damaged: copy the model again, or fit it again.") from error


def _count_regions(regions: ShotRegions, labels: Floats) -> dict[str, int]:
    r"""Count the labels of a data set in each region, as they are expected in as many new labels.

    No label of the data can be in a bin without labels, but new ones can: with a probability of
    about :math:`f_1 / N`, where :math:`f_1` bins have exactly one of N labels. ``zero`` includes
    :math:`f_1` therefore.

    References:
        Good, "The Population Frequencies of Species and the Estimation of Population Parameters"
        (Biometrika 1953), equation 9.
    """
    counts = {name: int(mask.sum()) for name, mask in regions.masks(labels).items()}
    counts["zero"] += int(np.count_nonzero(regions.bins.histogram(labels) == 1))
    return counts


def weight_held_out(
    labels: Floats, preds: Floats, source: DataSource, recipe: Recipe
) -> HeldOutSample:
    """Return test samples with weights that make labels as frequent as in the data.

    Args:
        labels: of the test samples ``(N,)``.
        preds: ``(N,)``.
        source: the data with its split.
        recipe: of the training.
    """
    benchmark = load_benchmark(source, recipe)
    views = ViewCounts.from_benchmark(benchmark).weights(labels)
    weights = None if views is None or benchmark.test_set == "random" else views["as_is"]
    return HeldOutSample.draw(labels, preds, weights)
