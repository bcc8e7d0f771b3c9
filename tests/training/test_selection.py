"""Checkpoints that are chosen by scores for imbalanced labels."""

import lightning.pytorch as L
import numpy as np
import pytest
import torch

from ranksim.datasets import sts_b_dir
from ranksim.evaluation.report.page.elements import metric_title
from ranksim.exceptions import UsageError
from ranksim.imbalance import PchipRelevance
from ranksim.metrics import METRICS, balanced_errors, concordance, sera
from ranksim.training.loss_parts import fit_sera_relevance
from ranksim.training.method import Technique, parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.recipe import MONITORS
from ranksim.training.selection import SelectionScore
from tests.helpers.text_training import make_recipe, make_task, train

ADDED = [name for name in MONITORS if name not in METRICS]
BINS = sts_b_dir.BINS


def score(name, preds, labels):
    """Return the score from the functions of the metrics."""
    if name == "ccc":
        return 1 - concordance(preds, labels)
    if name == "sera":
        relevance = fit_sera_relevance(make_task().train.labels.numpy(), [])
        return sera(preds, labels, relevance) / len(labels)
    return balanced_errors(preds, labels, BINS)[name.removeprefix("balanced_")]


@pytest.mark.slow
@pytest.mark.parametrize("name", ADDED)
def test_best_weights_have_the_lowest_score(tmp_path, name):
    recipe = make_recipe(monitor=name, lr=0.05, patience=0)
    results = [
        train(tmp_path / loop, Technique(), recipe, callbacks=callbacks)
        for loop, callbacks in (("direct", ()), ("lightning", (L.Callback(),)))
    ]
    labels = make_task().val.labels.numpy()
    for result in results:
        expected = score(name, result.val_preds, labels)
        assert result.val["all"][name] == pytest.approx(expected, rel=1e-9)
        assert min(result.curves["val"]) == pytest.approx(expected, rel=1e-6)
        assert result.best_epoch == 1 + int(np.argmin(result.curves["val"]))
    assert results[0].curves == results[1].curves
    assert np.array_equal(results[0].preds, results[1].preds)


def test_usual_scores_are_not_computed_twice():
    for name in ("mse", "mae"):
        assert SelectionScore.make(name, BINS, np.arange(5.0)) is None


@pytest.mark.parametrize("name", ADDED)
def test_special_predictions(name):
    selection = SelectionScore.make(name, BINS, np.array([1.0, 2, 2, 2, 2, 2, 2, 2, 2, 5]))
    labels = torch.tensor([1.0, 2.0, 5.0])
    assert selection(labels, labels) == pytest.approx(0)
    assert selection(labels + 1, labels) > 0
    assert np.isnan(selection(torch.tensor([1.0, np.nan, 2.0]), labels))
    assert selection(torch.empty(0), torch.empty(0)) is None
    assert metric_title(name) not in ("", name)
    if name == "sera":
        assert isinstance(selection.relevance, PchipRelevance)


@pytest.mark.parametrize("name", ADDED)
def test_estimators_know_the_usual_scores_only(name):
    with pytest.raises(UsageError, match="monitor must be one of mse, mae for estimators, got"):
        load_recipe("table", "small", parse_method("trees", "inverse"), {"monitor": name})
    network = load_recipe("table", "small", parse_method("inv", "inverse"), {"monitor": name})
    assert network.monitor == name
