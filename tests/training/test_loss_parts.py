"""What the builders of losses fit to training labels, against plain computations."""

import math

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from ranksim.exceptions import UsageError
from ranksim.imbalance import DensityRelevance, KernelDensity, LabelBins, PchipRelevance
from ranksim.training.factory import resolve_defaults
from ranksim.training.loss_parts import (
    density_quantiles,
    fit_mixture,
    fit_sera_relevance,
    make_bmse,
    make_dila,
    make_sera,
)
from ranksim.training.method import Technique, parse_method
from ranksim.training.part_modules import PartContext, check_part_modules
from ranksim.training.presets import load_recipe
from tests.oracles import balance, parts

BINS = LabelBins.integers(0, 30)


def skewed(count=400, seed=0):
    return np.random.default_rng(seed).exponential(5.0, count).round(1).clip(0, 30)


def with_outliers():
    return np.concatenate([np.random.default_rng(3).normal(12, 2, 300).round(1), [1, 25, 28, 30]])


def context(name, labels, **changes):
    method = parse_method(name, "inverse")
    recipe = load_recipe("table", "small", method, changes)
    recipe = resolve_defaults(recipe, labels)
    targets = labels / recipe.label_scale
    technique = method.technique.stage_two if method.technique.two_stage else method.technique
    return PartContext(recipe, technique, targets, BINS, width=3)


def log_likelihood(labels, mixture):
    densities = [
        math.fsum(w * parts.normal(y, m, v) for m, v, w in zip(*mixture, strict=True))
        for y in labels
    ]
    return float(np.mean(np.log(densities)))


def test_mixture_fits_as_well_as_that_of_scikit_learn():
    draw = np.random.default_rng(1)
    labels = np.concatenate([draw.normal(50, 5, 800), draw.normal(90, 3, 150), [120, 121, 150]])
    mixture = fit_mixture(labels, 8)
    assert [values.shape for values in mixture] == [(8,)] * 3
    assert mixture[2].sum() == pytest.approx(1)
    reference = GaussianMixture(8, random_state=0).fit(labels[:, None])
    assert log_likelihood(labels, mixture) > reference.score(labels[:, None]) - 0.05
    again = fit_mixture(labels, 8)
    assert all(np.array_equal(a, b) for a, b in zip(mixture, again, strict=True))
    scaled = fit_mixture(1000 * labels - 7, 8)
    assert scaled[0] == pytest.approx(1000 * mixture[0] - 7, rel=1e-6)
    assert scaled[1] == pytest.approx(1e6 * mixture[1], rel=1e-4)


@pytest.mark.parametrize(("labels", "count"), [([3.0] * 5, 1), ([1.0, 1.0, 2.0], 2), ([4.0], 1)])
def test_mixture_of_few_labels(labels, count):
    means, variances, weights = fit_mixture(np.array(labels), 8)
    assert len(means) == count
    assert sorted({*means.round(6)}) == sorted({*labels})
    assert np.isfinite(variances).all()
    assert weights.sum() == pytest.approx(1)


@pytest.mark.slow
def test_mixture_of_many_labels_is_fitted_to_quantiles():
    labels = np.random.default_rng(2).normal(10, 2, 40_000)
    means, variances, _ = fit_mixture(labels, 1)
    assert (means[0], variances[0]) == (
        pytest.approx(labels.mean(), abs=0.01), pytest.approx(labels.var(), rel=0.01),
    )  # fmt: skip


@pytest.mark.parametrize("lds", [False, True])
def test_bins_of_bni_hold_the_frequencies(lds):
    labels = skewed()
    loss = make_bmse(context("bmse" + "+lds" * lds, labels, bmse_variant="bni"))
    scale = labels.std()
    assert (loss.means * scale).tolist() == pytest.approx(np.arange(31) + 0.5, rel=1e-6)
    counts = [sum(k <= y < k + 1 for y in labels) for k in range(31)]
    if lds:
        expected = balance.smooth(counts, balance.window("gaussian", 5, 2.0), "zero")
        assert loss.weights.tolist() == pytest.approx(expected, rel=1e-12)
    else:
        assert loss.weights.tolist() == counts
    assert loss.learning_rate == 1e-2
    assert loss.log_sigma.requires_grad
    fixed = make_bmse(context("bmse", labels, bmse_learn_sigma=False))
    assert not fixed.log_sigma.requires_grad
    assert loss.sigma.item() == pytest.approx(1.0, rel=1e-6)


def test_balanced_mse_of_stage_two_has_no_weights():
    technique = parse_method("rrt+bmse", "inverse").technique
    assert technique.stage_one == Technique()
    assert technique.stage_two == Technique(parts=("bmse",))
    smoothed = parse_method("rrt+bmse+lds", "inverse").technique
    assert smoothed.stage_two == Technique(lds=True, parts=("bmse",))


@pytest.mark.parametrize("variant", ["bmc", "gai"])
def test_only_bins_can_be_smoothed(variant):
    with pytest.raises(UsageError, match=f"the variant {variant} of bmse has none: set bmse_var"):
        context("vanilla+bmse+lds", skewed(), bmse_variant=variant)


def test_quantiles_are_those_of_the_kernel_density():
    labels = skewed(60)
    table = density_quantiles(labels)
    assert len(table) == 4096
    assert (np.diff(table) >= 0).all()
    expected = parts.density_quantiles(tuple(labels.tolist()))
    levels = (np.arange(len(expected)) + 0.5) / len(expected)
    values = np.interp(levels, (np.arange(4096) + 0.5) / 4096, table)
    assert values == pytest.approx(expected, abs=0.05)
    assert table.min() >= labels.min()
    assert table.max() <= labels.max()
    assert density_quantiles(np.array([2.0, 2.0])).tolist() == [2.0]
    wide = density_quantiles(np.array([*np.linspace(0, 1, 50), 1e5]))
    assert np.median(wide) == pytest.approx(0.5, abs=0.05)


def test_density_of_dila_is_exact_at_training_labels():
    labels = skewed()
    loss = make_dila(context("dila", labels)).term
    scale = labels.std()
    expected = KernelDensity.from_labels(labels / scale).evaluate(labels / scale)
    density = loss.density(torch.from_numpy(labels / scale))
    assert density.tolist() == pytest.approx(expected, rel=1e-6)


def test_relevance_of_sera_has_mean_one():
    labels = with_outliers()
    loss = make_sera(context("sera", labels))
    target = torch.from_numpy(labels / labels.std())
    relevance = PchipRelevance.from_fences(labels)(labels)
    preds = torch.zeros_like(target)
    errors = (labels / labels.std()) ** 2
    expected = (relevance / relevance.mean() * errors).mean()
    assert loss(preds, target).item() == pytest.approx(expected, rel=1e-6)


def test_points_of_the_user_are_the_relevance():
    labels = skewed()
    loss = make_sera(context("sera", labels, sera_points="2:0, 10:1,25:0.5"))
    target = torch.tensor([2.0, 10.0, 25.0, 28.0, 6.0], dtype=torch.float64)
    values = loss.relevance(target / labels.std()).tolist()
    assert values == pytest.approx([0, 1, 0.5, 0.5, 0.5], abs=1e-3)


@pytest.mark.parametrize(
    "points", ["3", "1:0", "1:0,1:1", "1:0,2:2", "a:0,2:1", "1:0:3,2:1", "1:nan,2:1", "inf:0,2:1"]
)
def test_wrong_points_are_refused(points):
    with pytest.raises(UsageError, match="needs control points LABEL:RELEVANCE, at least two"):
        context("sera", skewed(), sera_points=points)


@pytest.mark.parametrize("points", ["100:0,200:1", "-9:1,-5:0", "2:0,30:0,40:1"])
def test_points_without_a_relevant_label_are_refused(points):
    labels = skewed().clip(2, 21)
    words = "sera_points gives no training label a relevance above 0, .* from 2 to 21: set points"
    with pytest.raises(UsageError, match=words):
        check_part_modules(context("sera", labels, sera_points=points))
    make_sera(context("sera", labels, sera_points="20:0,200:1"))


@pytest.mark.parametrize("points", ["2:0,3:0", "2:0,3:0.0,9:-0"])
def test_points_without_relevance_are_refused(points):
    with pytest.raises(UsageError, match="sera needs a control point of a relevance above 0, and"):
        context("sera", skewed(), sera_points=points)


def test_labels_of_equal_frequency_have_no_rare_one():
    with pytest.raises(UsageError, match="needs rare training labels, and all are equally frequen"):
        make_sera(context("sera", np.array([0.0, 1.0] * 20)))


def test_relevance_without_outliers_follows_the_density():
    labels = np.arange(40.0)
    assert isinstance(fit_sera_relevance(labels, []), DensityRelevance)
    assert isinstance(fit_sera_relevance(with_outliers(), []), PchipRelevance)
    assert fit_sera_relevance(np.full(4, 3.0), [])([3.0, 9.0]).tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("inv+bmse", "contains inv, but bmse corrects for the distribution .* count twice"),
        ("bmse+denseweight+ranksim", "contains denseweight, but bmse corrects"),
        ("rrt+sqinv+bmse", "contains sqinv, but bmse corrects"),
        ("bmse+smogn", "contains smogn, but bmse corrects"),
        ("sera+inv", "contains inv, but sera corrects"),
        ("sera+lds", "contains sera and lds: relevance has no counts of bins that LDS could"),
        ("focal-r+bmse", "contains focal-r and bmse, which both replace the base loss"),
        ("bmse+gar", "bmse and gar, which both replace the base loss"),
        ("trees+dist", "contains dist, which is a loss for a network"),
    ],
)
def test_nonsense_is_refused_with_the_reason(text, words):
    with pytest.raises(UsageError, match=words):
        parse_method(text, "inverse")
