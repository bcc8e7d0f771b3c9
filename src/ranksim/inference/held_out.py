"""Scores of a model's trainings on samples that they held out: a test set, or all folds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ranksim._utils.formatting import format_count
from ranksim.evaluation.predictions import PREDICTIONS, read_predictions
from ranksim.exceptions import DataError
from ranksim.experiments.run import Run
from ranksim.inference.prediction import error_intervals
from ranksim.metrics import ShotRegions
from ranksim.metrics.scores import Scores
from ranksim.training.task_loading import find_positions, load_benchmark, load_plan

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HeldOutPredictions:
    """Predictions of samples by members that were not trained on them.

    Args:
        preds: ``(M, N)``, one row per member.
        labels: ``(N,)``.
        regions: by the training labels.
        gmean_epsilon: see :func:`ranksim.metrics.regression_scores`.
    """

    preds: Floats
    labels: Floats
    regions: ShotRegions
    gmean_epsilon: float = 0.0

    def score(self, preds: Floats) -> dict[str, Scores]:
        """Return the scores of predictions ``(N,)`` by region."""
        values = torch.from_numpy(np.ascontiguousarray(preds)), torch.from_numpy(self.labels)
        return self.regions.scores(*values, gmean_epsilon=self.gmean_epsilon)

    def to_metrics(self) -> dict[str, Any]:
        """Return the scores of the mean prediction, and the mean scores of several members."""
        metrics: dict[str, Any] = {"test": self.score(self.preds.mean(axis=0))}
        if len(self.preds) > 1:
            metrics["members"] = _average([self.score(preds) for preds in self.preds])
        return metrics

    def compute_intervals(self) -> dict[str, dict[str, list[float] | None]]:
        """Return 95 % intervals over samples of the errors of the mean prediction by region."""
        errors = self.preds.mean(axis=0) - self.labels
        masks = self.regions.masks(self.labels)
        return {name: error_intervals(errors[mask]) for name, mask in masks.items()}


def _average(scores: Sequence[dict[str, Scores]]) -> dict[str, dict[str, Any]]:
    """Return the mean of each score over members; None where one of them has none."""
    means: dict[str, dict[str, Any]] = {}
    for region, first in scores[0].items():
        means[region] = {"n": first["n"]}
        for name in (each for each in first if each != "n"):
            values = np.array([each[region][name] for each in scores], dtype=np.float64)
            means[region][name] = None if np.isnan(values).any() else float(values.mean())
    return means


def read_test_predictions(runs: Sequence[Run]) -> HeldOutPredictions:
    """Read the test predictions of finished runs with several seeds on one split."""
    benchmark = load_benchmark(runs[0].source, runs[0].recipe)
    regions = benchmark.regions(runs[0].source.spec.regions_from)
    rows, preds = _read(runs)
    labels = np.asarray(benchmark.test.labels, dtype=np.float64)[rows]
    return HeldOutPredictions(preds, labels, regions, benchmark.gmean_epsilon)


def read_fold_predictions(
    folds: Sequence[Sequence[Run]], final: Run
) -> tuple[HeldOutPredictions, NDArray[np.int64]]:
    """Read the predictions of all folds, each made by runs with several seeds.

    Returns:
        The predictions, in regions by the labels of all rows, and the positions of their samples
        in the plan, ascending.
    """
    plan = load_plan(final.source)
    preds = np.full((len(folds[0]), len(plan.labels)), np.nan)
    for runs in folds:
        rows, values = _read(runs)
        positions = find_positions(runs[0].source, runs[0].recipe, "test")[rows]
        preds[:, positions] = values
    is_predicted = np.isfinite(preds).all(axis=0)
    benchmark = load_benchmark(final.source, final.recipe)
    regions = benchmark.regions(final.source.spec.regions_from)
    labels = plan.labels[is_predicted]
    held_out = HeldOutPredictions(preds[:, is_predicted], labels, regions, benchmark.gmean_epsilon)
    return held_out, np.flatnonzero(is_predicted)


def _read(runs: Sequence[Run]) -> tuple[NDArray[np.int64], Floats]:
    """Return the test rows ``(N,)`` and predictions ``(M, N)`` of finished runs."""
    tables = []
    for run in runs:
        table = read_predictions(run.folder / PREDICTIONS)
        if table is None:
            raise DataError(f"{run.folder / PREDICTIONS} is missing: run the command again.")
        tables.append(table)
    return tables[0].rows, np.stack([table.preds for table in tables])


def describe_scores(config: Mapping[str, Any]) -> str:
    """Return one paragraph on which model the scores of a ``config.json`` belong to, or ``""``."""
    sentences = []
    count, samples = len(config.get("members", ())), config.get("refit", {}).get("samples", 0)
    model = f"the mean of the {count} members" if count else "the model"
    if folds := config.get("folds"):
        by = f"{count} members" if count else "a model"
        sentences.append(
            f"Each sample was predicted once, by {by} trained on the other {folds['count'] - 1} of "
            f"{folds['count']} folds; the saved model was then trained on all "
            f"{format_count(samples, 'sample')}."
        )
    elif samples:
        sentences.append(
            f"These are the scores of {model} before the training on all "
            f"{format_count(samples, 'sample')}, on held-out ones; the saved model has seen every "
            "sample of this data, so that it needs new data to be tested."
        )
    elif count:
        sentences.append(f"These are the scores of {model}.")
    return " ".join(sentences)
