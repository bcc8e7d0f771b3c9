"""Trainings with terms on features: names, runs, resumption, second views, equal loops."""

import dataclasses

import numpy as np
import pytest
import torch

from ranksim.data.batch import VectorDataset
from ranksim.data.images.augment import CropFlip
from ranksim.data.noise import GaussianNoise, measure_deviations
from ranksim.exceptions import UsageError
from ranksim.imbalance import LabelBins
from ranksim.losses import ConRLoss, OrdinalEntropyLoss, SRLLoss
from ranksim.metrics import ShotRegions
from ranksim.models import MLPEncoder, Regressor
from ranksim.training import feature_parts
from ranksim.training.factory import resolve_defaults
from ranksim.training.fit import fit, retrain_head, select_prefix
from ranksim.training.limits import TrainingLimits
from ranksim.training.method import Technique, describe_method, first_stage, parse_method
from ranksim.training.part_modules import BatchOutputs, PartContext, check_part_modules
from ranksim.training.parts import PARTS
from ranksim.training.presets import load_recipe
from ranksim.training.resume import BEST
from ranksim.training.task import TrainingTask
from ranksim.training.views import SecondAugmentation, make_second_view, repeat_inputs
from tests.helpers.text_training import (
    load_weights,
    make_options,
    make_recipe,
    make_task,
    same_result,
    train,
)
from tests.oracles import dense_terms, term_training
from tests.oracles import feature_terms as slow

TERMS = [name for name, part in PARTS.items() if part.kind == "feature term"]
FAST = ("rnc", "bsam")  # the other ones train like them
over_terms = pytest.mark.parametrize("name", TERMS)
SMALL = {"srl_points": 32}


def make_context(name, labels=(20.0, 21.0, 21.0, 40.0, 68.0, 90.0), width=4, unit=1.0, **changes):
    labels = np.array(labels) * unit
    recipe = load_recipe("table", "small", parse_method(f"vanilla+{name}", "inverse"), changes)
    recipe = resolve_defaults(recipe, labels)
    bins = LabelBins.uniform(20.0 * unit, 100.0 * unit, 16)
    technique = Technique(parts=(name,))
    return PartContext(recipe, technique, labels / recipe.label_scale, bins, width=width)


def make_outputs(context, epoch=1, seed=0):
    draw = torch.Generator().manual_seed(seed)
    count = len(context.targets)
    target = torch.from_numpy(context.targets)
    labels = target * context.recipe.label_scale
    features, features_2 = torch.randn(2, count, context.width, generator=draw).double()
    preds, preds_2 = target + 0.5 * torch.randn(2, count, generator=draw)
    index = torch.arange(count)
    return BatchOutputs(features, preds, target, labels, None, index, epoch, features_2, preds_2)


def test_terms_are_built_from_the_recipe_and_the_labels():
    context = make_context("oe", oe_weight=0.5)
    term = feature_parts.make_oe(context).term
    assert isinstance(term, OrdinalEntropyLoss)
    assert (term.weight, term.label_range) == (0.5, pytest.approx(70.0))
    context = make_context("conr", conr_temperature=0.5)
    term = feature_parts.make_conr(context).term
    assert isinstance(term, ConRLoss)
    labels = context.targets * context.recipe.label_scale
    assert (term.width, term.temperature, term.weight) == (5.0, 0.5, 4.0)
    assert term.label_std == pytest.approx(labels.std())
    assert feature_parts.make_conr(make_context("conr", conr_width=3.0)).term.width == 3
    context = make_context("srl", srl_points=9)
    term = feature_parts.make_srl(context).term
    assert isinstance(term, SRLLoss)
    assert term.points.shape == (9, 4)
    assert term.positions[0].item() == pytest.approx(22.5 / labels.std(), rel=1e-6)


def test_bins_of_decimals_are_whole_steps():
    """A bin of 0.1 is one step, so that labels of neighboring bins differ."""
    labels = np.arange(0, 5, 0.1).round(1)
    recipe = load_recipe("table", "small", parse_method("conr", "inverse"))
    recipe = resolve_defaults(recipe, labels)
    bins = LabelBins.uniform(0.0, 5.0, 50)
    context = PartContext(recipe, Technique(parts=("conr",)), labels, bins, width=2)
    assert feature_parts.make_conr(context).term.width == 1.0


@pytest.mark.parametrize("name", ["oe", "rnc", "conr"])
def test_terms_do_not_depend_on_the_unit_of_the_labels(name):
    build = getattr(feature_parts, PARTS[name].builder.partition(":")[2])
    values = []
    for unit in (1.0, 1e-9, 1e-12):
        context = make_context(name, unit=unit)
        values.append(build(context)(make_outputs(context)).item())
    assert values[0] != 0
    assert values[1:] == pytest.approx(values[:1] * 2, rel=1e-6)


@pytest.mark.parametrize("width", [1e-8, 4e-5])
def test_width_far_below_the_label_step_is_refused(width):
    words = f"conr_width must not be far below the label step of 1, .* got {width:g}: set conr_w"
    with pytest.raises(UsageError, match=words):
        check_part_modules(make_context("conr", conr_width=width))


def test_narrow_widths_are_used():
    assert feature_parts.make_conr(make_context("conr", conr_width=0.5)).term.width == 0.5
    bins = LabelBins.uniform(0.0, 1e-4, 5)
    context = dataclasses.replace(make_context("conr"), bins=bins)
    assert feature_parts.make_conr(context).term.width == pytest.approx(2e-5, rel=1e-3)


def test_terms_of_a_batch_are_their_equations():
    context = make_context("oe")
    outputs = make_outputs(context)
    labels = outputs.labels.round()
    value = feature_parts.make_oe(context)(outputs)
    expected = 1e-3 * slow.ordinal_entropy(outputs.features.numpy(), labels.tolist(), 70.0)
    assert value.item() == pytest.approx(expected, rel=1e-9)
    context = make_context("conr")
    term = feature_parts.make_conr(context)
    expected = 4 * slow.conr(
        torch.cat([outputs.features, outputs.features_2]).numpy(),
        labels.tolist() * 2,
        (torch.cat([outputs.preds, outputs.preds_2]) * context.recipe.label_scale).tolist(),
        5.0,
        term.density.tolist() * 2,
        0.2,
        float(outputs.labels.numpy().std()),
    )
    assert expected > 0
    assert term(outputs).item() == pytest.approx(expected, rel=1e-6)
    counts = np.array([3, 3, 3, 1, 1, 1])  # in bins of 5 years
    assert term.density.tolist() == pytest.approx(6 / (1 / counts).sum() / counts, rel=1e-6)


def test_srl_starts_in_the_second_epoch():
    context = make_context("srl", **SMALL)
    term = feature_parts.make_srl(context)
    first = make_outputs(context, epoch=0)
    assert term(first) == 0
    assert term.term.centroids.ne(0).any(dim=1).sum() == 4
    assert term(make_outputs(context, epoch=1)) > 0


@over_terms
def test_terms_are_built_for_equal_labels(name):
    context = make_context(name, [40.0] * 5)
    check_part_modules(context)
    build = getattr(feature_parts, PARTS[name].builder.partition(":")[2])
    outputs = make_outputs(context)
    outputs.features.requires_grad_()
    value = build(context)(outputs)
    value.backward()
    assert value.isfinite()
    assert outputs.features.grad.isfinite().all()


NAMES = {
    "vanilla+oe": ("vanilla+oe", "vanilla+oe"),
    "oe+ranksim+inv": ("inv+oe+ranksim", "inv+oe+ranksim"),
    "conr+lds": ("inv+conr+lds", "inv+conr+lds"),
    "vanilla+conr+lds": ("vanilla+conr+lds", "inv+conr+lds"),
    "srl+oe+fds": ("vanilla+oe+srl+fds", "vanilla+oe+srl+fds"),
    "rrt+srl": ("rrt+srl", "rrt+srl"),
    "gar+conr": ("vanilla+gar+conr", "vanilla+gar+conr"),
}


@pytest.mark.parametrize("text", NAMES)
def test_terms_compose(text):
    method = parse_method(text, "inverse")
    assert (method.name, method.key) == NAMES[text]
    assert parse_method(method.key, "inverse").technique == method.technique


def test_terms_shape_the_first_stage_alone():
    method = parse_method("rrt+oe+ccc", "inverse")
    assert first_stage(method).key == "vanilla+ccc+oe"
    assert method.technique.stage_two.parts == ("ccc",)
    text = describe_method(method, "l1")
    assert text.index("ordinal entropy") < text.index("then the head")


@over_terms
def test_estimators_have_no_features(name):
    with pytest.raises(UsageError, match=f"contains {name}, which needs the features of a network"):
        parse_method(f"trees+{name}", "inverse")
    with pytest.raises(UsageError, match="contains bsam, which is an optimizer of networks: leave"):
        parse_method("trees+bsam", "inverse")


@pytest.mark.parametrize(
    ("name", "more"),
    [
        pytest.param(name, more, marks=[pytest.mark.slow] * (not more or name not in FAST))
        for name in (*TERMS, "bsam")
        for more in (True, False)
    ],
)
def test_text_training_runs_and_resumes(tmp_path, name, more):
    technique = Technique(
        weighting="inverse" if more else "none", ranksim=more, fds=more, parts=(name,)
    )
    recipe = make_recipe(lr_milestones=[1], **SMALL)
    complete = train(tmp_path / "complete", technique, recipe)
    assert all(np.isfinite(complete.curves["train_loss" if name == "bsam" else f"train_{name}"]))

    def interrupt(epoch, score):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "resumed", technique, recipe, on_validation=interrupt)
    resumed = train(tmp_path / "resumed", technique, recipe)
    assert same_result(resumed, complete)
    assert resumed.curves == complete.curves
    plain = train(tmp_path / "plain", dataclasses.replace(technique, parts=()), recipe)
    assert not same_result(plain, complete)


RNC = {
    "rnc": ("vanilla+rnc", "vanilla+rnc", "encoder+rnc"),
    "ranksim+inv+rnc": ("inv+rnc+ranksim", "inv+rnc+ranksim", "encoder+rnc+ranksim"),
    "vanilla+rnc+lds": ("vanilla+rnc+lds", "inv+rnc+lds", "encoder+rnc"),
    "focal-r+inv+rnc": ("focal-r+inv+rnc", "focal-r+inv+rnc", "encoder+rnc"),
    "rnc+ccc": ("vanilla+ccc+rnc", "vanilla+ccc+rnc", "encoder+rnc"),
    "rnc+bmse+oe": ("vanilla+bmse+oe+rnc", "vanilla+bmse+oe+rnc", "encoder+oe+rnc"),
}


@pytest.mark.parametrize("text", RNC)
def test_rnc_has_two_stages(text):
    method = parse_method(text, "inverse")
    first = first_stage(method)
    assert (method.name, method.key, first.key) == RNC[text]
    assert parse_method(method.key, "inverse").technique == method.technique
    assert first.technique.weighting == "none"
    assert not first.technique.focal_r
    assert "rnc" not in method.technique.stage_two.parts
    assert not method.technique.stage_two.ranksim
    assert "then a linear head by" in describe_method(method, "l1")


def test_bsam_composes_and_refuses():
    method = parse_method("inv+bsam+oe+ranksim", "inverse")
    assert method.key == "inv+oe+bsam+ranksim"
    assert first_stage(parse_method("rrt+bsam", "inverse")).key == "vanilla+bsam"
    assert "BSAM" in describe_method(method, "l1")
    for other, words in (("rnc", "without a loss on predictions"), ("bmse", "ascent weights")):
        with pytest.raises(UsageError, match=words):
            parse_method(f"bsam+{other}", "inverse")


def test_rnc_refuses_another_second_stage():
    with pytest.raises(UsageError, match="rnc has a second stage of its own, which weights such"):
        parse_method("rrt+rnc", "inverse")


def test_rnc_trains_the_encoder_alone_and_then_the_head(tmp_path):
    """The labels of the loss do not reach the encoder, and the second stage does not change it."""
    technique = parse_method("inv+rnc", "inverse").technique
    recipe = make_recipe(dropout=0.0, max_grad_norm=0.0)
    other = dataclasses.replace(recipe, loss="l1", label_scale=3.0)
    states = []
    for name, each in (("one", recipe), ("two", other)):
        train(tmp_path / name, technique.stage_one, each, keep_last=True)
        states.append(load_weights(tmp_path / name))
    encoder = [key for key in states[0] if key.startswith("model.encoder.")]
    assert encoder
    assert all(torch.equal(states[0][key], states[1][key]) for key in encoder)
    assert not torch.equal(states[0]["model.head.weight"], states[1]["model.head.weight"])
    arguments = (make_task(recipe), recipe, technique, tmp_path / "head", tmp_path / "one" / BEST)
    complete = retrain_head(*arguments, make_options())
    assert "train_rnc" not in complete.curves
    assert complete.features.shape[1] == 8 * 8
    model = make_task(recipe).build_model()
    model.encoder.load_state_dict(select_prefix(states[0], "model.encoder."))
    task = make_task(recipe)
    inputs = task.test.get_inputs(torch.arange(len(task.test)))
    head = load_weights(tmp_path / "head")
    preds = model.eval().encoder(*inputs) @ head["model.head.weight"][0] + head["model.head.bias"]
    scale = resolve_defaults(recipe, task.targets).label_scale
    np.testing.assert_allclose(complete.preds, preds.detach().numpy() * scale, rtol=1e-4)

    def interrupt(epoch, score):
        if epoch == 2:
            raise KeyboardInterrupt

    arguments = (*arguments[:3], tmp_path / "again", arguments[4])
    with pytest.raises(KeyboardInterrupt):
        retrain_head(*arguments, make_options(on_validation=interrupt))
    assert same_result(retrain_head(*arguments, make_options()), complete)


@pytest.fixture(scope="module")
def numbers():
    """A table of 60 rows with two numbers and an indicator."""
    draw = np.random.default_rng(0)
    splits = []
    for _ in range(3):
        features = draw.normal(size=(60, 3)) * [1.0, 4.0, 0.0]
        features[:, 2] = draw.integers(0, 2, 60)
        splits.append(VectorDataset(features, (features[:, 0] * 3 + 10).round()))
    bins = LabelBins.uniform(0.0, 20.0, 20)
    regions = ShotRegions.from_counts(bins, splits[0].labels.numpy())
    return TrainingTask(
        *splits, lambda: Regressor(MLPEncoder(3, hidden=8)), bins=bins, regions=regions
    )


def table_recipe(method, **changes):
    changes = {"batch_size": 16, "max_validations": 3, **SMALL} | changes
    return load_recipe("table", "small", parse_method(method, "inverse"), changes)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*TERMS, "bsam"])
def test_loops_are_equal(tmp_path, numbers, name):
    """Lightning's loop and that of this process compute the same, with noise and centroids."""
    technique = Technique(parts=(name,), ranksim=True)
    recipe = table_recipe(f"vanilla+{name}+ranksim")
    limits = TrainingLimits(epochs=3)
    direct = fit(numbers, recipe, technique, tmp_path / "direct", make_options(limits=limits))
    options = make_options(limits=limits, callbacks=[_callback()])
    lightning = fit(numbers, recipe, technique, tmp_path / "lightning", options)
    assert same_result(direct, lightning)
    assert direct.curves.keys() == lightning.curves.keys()
    for key, values in direct.curves.items():
        assert values == pytest.approx(lightning.curves[key], rel=1e-6)
    first, second = (load_weights(tmp_path / each, BEST) for each in ("direct", "lightning"))
    assert all(torch.equal(first[key], second[key]) for key in first)


def _callback():
    import lightning.pytorch as L

    return L.Callback()


def test_noise_is_that_of_the_equation():
    noise = GaussianNoise(7, torch.tensor([1.0, 2.0, 0.0]))
    values, index = torch.randn(4, 3), torch.tensor([5, 0, 2**40, 17])
    (disturbed,) = noise((values,), index, 3)
    expected = [
        term_training.noise(7, 3, int(k), [20.0, 40.0, 0.0]) for k in index
    ]  # the factor of 0.05 is in the scale here
    np.testing.assert_allclose((disturbed - values).numpy(), expected, atol=1e-5)
    assert torch.equal(disturbed[:, 2], values[:, 2])
    part = noise((values[1:],), index[1:], 3)[0]
    assert torch.equal(part, disturbed[1:])
    assert not torch.equal(noise((values,), index, 4)[0], disturbed)


def test_noise_is_normal():
    draws = GaussianNoise(0, torch.ones(50)).draw(torch.arange(2_000), 0, 50).double()
    assert abs(draws.mean()) < 0.01
    assert abs(draws.var() - 1) < 0.02
    assert abs(draws.pow(4).mean() - 3) < 0.1
    assert draws.abs().max() > 4
    assert draws.isfinite().all()
    assert np.abs(np.corrcoef(draws[:, :5].T) - np.eye(5)).max() < 0.1


def test_deviations_of_indicators_are_zero(numbers):
    deviations = measure_deviations(numbers.train)
    expected = numbers.train.features.double().std(dim=0, correction=0)
    assert deviations[:2].tolist() == pytest.approx(expected[:2].tolist(), rel=1e-6)
    assert deviations[2] == 0


class Windows(VectorDataset):
    """Windows ``(N, W, C)``."""


def test_second_view_fits_the_kind_of_data(numbers):
    recipe = table_recipe("vanilla")
    view = make_second_view(numbers, recipe, 3)
    assert isinstance(view, GaussianNoise)
    assert view.seed == 3
    assert view.scale[:2].tolist() == pytest.approx(
        (0.05 * measure_deviations(numbers.train))[:2].tolist()
    )
    series = Windows(torch.randn(20, 6, 2) * torch.tensor([1.0, 5.0]), torch.zeros(20))
    view = make_second_view(dataclasses.replace(numbers, train=series), recipe, 3)
    assert view.scale.shape == (2,)
    (values,) = view((series.features,), torch.arange(20), 0)
    assert values.shape == (20, 6, 2)
    texts = make_task()
    assert make_second_view(texts, make_recipe(), 0) is repeat_inputs
    images = dataclasses.replace(texts, augment=CropFlip(0, 2, True))
    view = make_second_view(images, make_recipe(), 0)
    assert isinstance(view, SecondAugmentation)
    pixels = torch.randint(0, 255, (30, 8, 8, 3), dtype=torch.uint8)
    index = torch.arange(30)
    first, second = images.augment((pixels,), index, 1)[0], view((pixels,), index, 1)[0]
    assert not torch.equal(first, second)
    assert torch.equal(second, view((pixels,), index, 1)[0])


@pytest.mark.parametrize("count", [2, 12])
def test_dense_terms_equal_the_loops(count):
    """The oracle of whole trainings is held against that of single batches."""
    draw = torch.Generator().manual_seed(count)
    features = torch.randn(count, 3, generator=draw).double()
    labels = torch.randint(0, 4, (count,), generator=draw).double()
    preds = labels + torch.randn(count, generator=draw).double()
    weights = torch.rand(count, generator=draw).double()
    rows, values = features.numpy(), labels.tolist()
    pairs = [
        (
            dense_terms.ordinal_entropy(features, labels, 3.0),
            slow.ordinal_entropy(rows, values, 3.0),
        ),
        (dense_terms.rnc(features, labels, 0.7), slow.rnc(rows, values, 0.7)),
        (
            dense_terms.conr(features, labels, preds, weights, 1.0, 0.2, 2.0),
            slow.conr(rows, values, preds.tolist(), 1.0, weights.tolist(), 0.2, 2.0),
        ),
    ]
    centroids = dense_terms.Centroids(3, [0, 1, 2, 3, 4], rows[:2].tolist())
    centroids.add(rows, labels)
    pairs.append(
        (
            centroids.loss_of(features, labels, (0.1, 0.2, 0.3)),
            centroids.loss(rows, values, (0.1, 0.2, 0.3)),
        )
    )
    for dense, expected in pairs:
        assert float(dense) == pytest.approx(expected, rel=1e-10)
