"""Scores of a model's trainings on samples that they held out: one split, or all folds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ranksim._utils.formatting import format_count
from ranksim._utils.storage import read_arrays
from ranksim.data.table import Ints
from ranksim.evaluation.predictions import PREDICTIONS, read_predictions
from ranksim.exceptions import DataError
from ranksim.experiments.run import VALIDATION, Run
from ranksim.inference.prediction import error_intervals
from ranksim.metrics import ShotRegions, imbalanced_scores
from ranksim.metrics.scores import Scores
from ranksim.training.task_loading import find_positions, load_benchmark, load_folds, load_plan

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class HeldOutPredictions:
    """Predictions of samples by members that were not trained on them.

    Args:
        preds: ``(M, N)``, one row per member.
        labels: ``(N,)``.
        regions: by the training labels.
        gmean_epsilon: see :func:`ranksim.metrics.regression_scores`.
        groups: group or day of each sample, int64 ``(N,)``, whose samples are not independent;
            None if all are.
    """

    preds: Floats
    labels: Floats
    regions: ShotRegions
    gmean_epsilon: float = 0.0
    groups: Ints | None = None

    def score(self, preds: Floats) -> dict[str, Scores]:
        """Return the scores of predictions ``(N,)`` by region."""
        values = torch.from_numpy(np.ascontiguousarray(preds)), torch.from_numpy(self.labels)
        scores = self.regions.scores(*values, gmean_epsilon=self.gmean_epsilon)
        scores["all"] |= imbalanced_scores(preds, self.labels, self.regions.bins)
        return scores

    def score_mean(self) -> dict[str, Scores]:
        """Return the scores of the mean prediction by region."""
        return self.score(self.preds.mean(axis=0))

    def score_members(self) -> list[dict[str, Scores]]:
        """Return the scores of each member by region."""
        return [self.score(preds) for preds in self.preds]

    def to_metrics(self) -> dict[str, Any]:
        """Return the scores of the mean prediction, and the mean scores of several members."""
        metrics: dict[str, Any] = {"test": self.score_mean()}
        if len(self.preds) > 1:
            metrics["members"] = _average(self.score_members())
        return metrics

    def compute_intervals(self) -> dict[str, dict[str, list[float] | None]]:
        """Return 95 % intervals of the errors of the mean prediction by region.

        They are over samples, or over their groups.
        """
        errors = self.preds.mean(axis=0) - self.labels
        masks = self.regions.masks(self.labels)
        groups = self.groups
        return {
            name: error_intervals(errors[mask], None if groups is None else groups[mask])
            for name, mask in masks.items()
        }

    def count_groups(self) -> dict[str, int]:
        """Return the number of groups, or of samples without groups, in each region."""
        numbers = np.arange(len(self.labels)) if self.groups is None else self.groups
        masks = self.regions.masks(self.labels)
        return {name: len(np.unique(numbers[mask])) for name, mask in masks.items()}


def _average(scores: Sequence[dict[str, Scores]]) -> dict[str, dict[str, Any]]:
    """Return the mean of each score over members; None where one of them has none."""
    means: dict[str, dict[str, Any]] = {}
    for region, first in scores[0].items():
        means[region] = {"n": first["n"]}
        for name in (each for each in first if each != "n"):
            values = np.array([each[region][name] for each in scores], dtype=np.float64)
            means[region][name] = None if np.isnan(values).any() else float(values.mean())
    return means


def score_ensemble(runs: Sequence[Run]) -> dict[str, Any]:
    """Return the scores of finished runs with several seeds on one split.

    ``val`` and ``test`` are those of the mean prediction, ``members`` the mean scores on the test
    samples, and ``member_scores`` contains ``val`` and ``test`` of each seed. Without validation
    predictions, of a training that an earlier version started, ``val`` is missing.
    """
    held_out = {"test": read_test_predictions(runs)}
    if (val := read_val_predictions(runs)) is not None:
        held_out = {"val": val} | held_out
    scores = {part: preds.score_members() for part, preds in held_out.items()}
    members = [
        {"seed": run.seed, **{part: scores[part][k] for part in held_out}}
        for k, run in enumerate(runs)
    ]
    means = {part: preds.score_mean() for part, preds in held_out.items()}
    return means | held_out["test"].to_metrics() | {"member_scores": members}


def list_member_scores(metrics: Mapping[str, Any]) -> list[tuple[str, dict[str, Scores]]]:
    """Return titles and overall scores, ``val`` and ``test``, of each member and of their mean.

    The list is empty without several members on one split, and of models of earlier versions.
    """
    if "val" not in metrics or "member_scores" not in metrics:
        return []
    rows = [(f"seed {member['seed']}", member) for member in metrics["member_scores"]]
    return [
        (title, {part: scores[part]["all"] for part in ("val", "test")})
        for title, scores in [*rows, ("mean", metrics)]
    ]


def read_val_predictions(runs: Sequence[Run]) -> HeldOutPredictions | None:
    """Read the validation predictions of finished runs with several seeds on one split.

    The result is None if an earlier version trained one of them, without keeping predictions.
    """
    arrays = [read_arrays(run.folder / VALIDATION) for run in runs]
    preds = [each["preds"] for each in arrays if each is not None]
    if len(preds) < len(runs):
        return None
    benchmark = load_benchmark(runs[0].source, runs[0].recipe)
    regions = benchmark.regions(runs[0].source.spec.regions_from)
    labels = benchmark.val.labels
    return HeldOutPredictions(np.stack(preds), labels, regions, benchmark.gmean_epsilon)


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
    groups = None
    if plan.options.split_method != "random":  # whole groups or days are in a fold
        source = dataclasses.replace(final.source, all_rows=False)
        groups = load_folds(source, len(folds)).units[is_predicted]
    epsilon = benchmark.gmean_epsilon
    held_out = HeldOutPredictions(preds[:, is_predicted], labels, regions, epsilon, groups)
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
