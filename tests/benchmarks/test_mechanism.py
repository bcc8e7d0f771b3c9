"""The study of RankSim's term: its variants against the library, its controls, and its page."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from benchmarks.mechanism import report
from benchmarks.mechanism.tasks import Part, Task
from benchmarks.mechanism.terms import Term, _slope, ranking_penalty
from benchmarks.mechanism.training import measure_agreement, train
from ranksim.functional import ranksim_loss


def make_batch(count=40):
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(count, 8, generator=generator).requires_grad_()
    return features, torch.randn(count, generator=generator).mul(3).round().double()


def find_gradient(term, progress=0.0, count=40):
    features, labels = make_batch(count)
    generator = torch.Generator().manual_seed(3)
    penalty = ranking_penalty(features, labels, term, generator, progress)
    return torch.autograd.grad(penalty, features)[0]


@pytest.mark.parametrize("perturbation", [0.2, 2.0, 200.0])
def test_published_term_has_the_gradient_of_the_library(perturbation):
    features, labels = make_batch()
    generator = torch.Generator().manual_seed(3)
    loss = ranksim_loss(
        features, labels, perturbation / 2, 2.0, weight=0.5, ties="ordinal", generator=generator
    )
    (expected,) = torch.autograd.grad(loss, features)
    torch.testing.assert_close(find_gradient(Term(0.5, perturbation)), expected)
    assert expected.abs().max() > 0.01


def test_relative_perturbation_does_not_depend_on_the_spread_of_similarities():
    """Features around a common direction have the same ranks, with a smaller deviation."""
    features, labels = make_batch()
    slopes = []
    for scale in (1.0, 0.01):
        unit = torch.nn.functional.normalize(features.detach())
        similarity = (unit @ unit.T * scale).requires_grad_()
        term = Term(1.0, 1.0, relative=True)
        slope = _slope(similarity.detach().double(), labels, term, torch.Generator(), 0.0)
        slopes.append(slope * scale)
    torch.testing.assert_close(*slopes, rtol=1e-6, atol=1e-9)


def test_noise_has_the_norm_of_the_gradient_and_another_direction():
    term = Term(0.3, 2.0)
    real, noise = find_gradient(term), find_gradient(replace(term, control="noise"))
    assert noise.norm() == pytest.approx(float(real.norm()), rel=1e-4)
    assert abs(torch.cosine_similarity(real.flatten(), noise.flatten(), dim=0)) < 0.3


@pytest.mark.parametrize("control", ["permuted labels", "random ranks"])
def test_controls_break_the_relation_to_the_labels(control):
    term = Term(0.3, 2.0)
    assert not torch.allclose(find_gradient(term), find_gradient(replace(term, control=control)))


@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("control", ["", "noise"])
def test_one_sample_has_no_gradient(relative, control):
    gradient = find_gradient(Term(1.0, 1.0, relative=relative, control=control), count=1)
    assert gradient.isfinite().all() or control == "noise"
    assert not gradient.nan_to_num().any()


def test_annealed_perturbation_ends_at_a_tenth():
    term = Term(1.0, 1.0, annealed=True)
    end = find_gradient(term, progress=1.0)
    tenth = find_gradient(Term(10.0, 0.1))
    torch.testing.assert_close(end, tenth, rtol=1e-4, atol=1e-6)


class Ordered(torch.nn.Module):
    """Features whose cosines fall with the difference of the labels."""

    def forward(self, inputs):
        angle = inputs[:, 0]
        return angle, torch.stack([angle.cos(), angle.sin()], dim=1)


def test_agreement_is_one_for_ordered_features_and_low_for_random_ones():
    angle = torch.linspace(0.1, 1.2, 50).square()  # no two equal differences
    ordered = Part(angle.unsqueeze(1), angle.double())
    assert measure_agreement(Ordered(), ordered) == pytest.approx(1.0, abs=1e-6)
    mixed = Part(angle[torch.randperm(50, generator=torch.Generator().manual_seed(0))].unsqueeze(1),
                 angle.double())  # fmt: skip
    assert abs(measure_agreement(Ordered(), mixed)) < 0.3


def test_training_records_scores(monkeypatch):
    monkeypatch.setattr("benchmarks.mechanism.training.EPOCHS", 3)
    draw = np.random.default_rng(0)
    inputs = torch.from_numpy(draw.normal(size=(160, 3)).astype(np.float32))
    part = Part(inputs, inputs[:, 0].double().mul(4).round())
    task = Task("made up", part, part, part, torch.arange(160) < 16, "l1")
    first, again = (train(task, Term(0.01), seed=1) for _ in range(2))
    assert first == again
    assert len(first["curves"]["val"]) == 3
    assert first["val"] == min(first["curves"]["val"])
    assert train(task, None, seed=1)["test"] != first["test"]


def test_change_is_paired_by_seed():
    runs = {"null": [{"seed": k, "test": 1.0 + k, "test_agreement": 0.1} for k in range(5)]}
    runs["x"] = [{"seed": k, "test": 1.1 * (1.0 + k), "test_agreement": 0.3} for k in (0, 2, 1)]
    mean, half = report.compare(runs, "x", "test")
    assert (mean, half) == pytest.approx((10.0, 0.0), abs=1e-9)
    assert report.compare(runs, "x", "test_agreement")[0] == pytest.approx(0.2)
    assert report.format_change((10.0, 1.0), is_error=True) == "**+10.0 % (±1.0)**"
    assert report.format_change((-0.04, 0.05), is_error=False) == "−0.04 (±0.05)"


def test_page_has_the_tables_of_the_results():
    text = report.PAGE.read_text(encoding="utf-8")
    assert report.fill(text, report.read_runs()) == text
    runs = json.loads(report.RUNS.read_text(encoding="utf-8"))["runs"]
    assert {run["task"] for run in runs} == set(report.read_runs())
