"""Heads with a distribution: their losses in training, and their predictions."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from ranksim.data.target_transform import TargetTransform
from ranksim.exceptions import UsageError
from ranksim.imbalance import LabelBins
from ranksim.losses import CCCLoss, MSELoss
from ranksim.metrics import crps_gaussian, crps_laplace
from ranksim.models import Head, MLPEncoder, QuantileHead, Regressor, ScaleHead, UVoteHead
from ranksim.training import part_modules
from ranksim.training.factory import resolve_defaults
from ranksim.training.label_units import make_distribution, predict_columns
from ranksim.training.method import Technique, first_stage, parse_method
from ranksim.training.part_modules import PartContext, join_losses, make_head
from ranksim.training.parts import PARTS, PartSettings, part_fields
from ranksim.training.presets import load_recipe
from ranksim.training.resume import BEST
from tests.helpers.text_training import load_weights, make_recipe, make_task, same_result, train
from tests.oracles import balance, parts

HEADS = {"uvote": 4, "gaussian": 2, "laplace": 2, "quantile": 3}  # outputs
over_heads = pytest.mark.parametrize("name", HEADS)


def make_context(name, targets=(0.0, 1.0, 1.0, 2.0, 4.0, 9.0), **changes):
    targets = np.array(targets)
    method = parse_method(name, "inverse")
    recipe = resolve_defaults(load_recipe("table", "small", method, changes), targets * 3)
    recipe = dataclasses.replace(recipe, label_scale=3.0)
    return PartContext(recipe, method.technique, targets, LabelBins.uniform(0, 30, 10), width=4)


def make_regressor(name, **changes):
    context = make_context(name, **changes)
    model = Regressor(MLPEncoder(3, hidden=4))
    model.head = make_head(context.recipe, context.technique, 4, context.label_std)
    return context, model


def test_table_and_heads_agree():
    assert {*HEADS} == {name for name, part in PARTS.items() if part.kind == "heads"}
    assert all(bool(part.head) == (part.kind == "heads") for part in PARTS.values())
    context = make_context("uvote")
    assert make_head(context.recipe, Technique(parts=("ccc",)), 4) is None


@over_heads
def test_outputs_of_a_head(name):
    context, model = make_regressor(name)
    x = torch.randn(5, 3)
    features = model.encoder(x)
    outputs = model.compute_outputs(features)
    assert outputs.shape == (5, HEADS[name])
    preds, again = model(x)
    assert torch.equal(again, features)
    assert torch.equal(preds, model.head.locate(outputs))
    spread = model.head.spread(outputs)
    assert spread.shape == (5, 3 if name == "quantile" else 1)
    model.head.start_at(7.0)
    with torch.no_grad():
        model.head.weight.zero_()
    assert model(x)[0].tolist() == [7.0] * 5
    if name != "quantile":
        assert float(model.head.unit) == pytest.approx(context.label_std)
    assert model.head.family == {"uvote": "laplace", "quantile": "quantiles"}.get(name, name)
    half = model.bfloat16().head
    assert half.spread(torch.randn(5, HEADS[name], dtype=torch.bfloat16)).isfinite().all()


def test_plain_head_is_a_linear_layer():
    head = Head(3)
    assert {name: value.shape for name, value in head.state_dict().items()} == {
        "weight": (1, 3), "bias": (1,),
    }  # fmt: skip
    outputs = head(torch.randn(4, 3))
    assert torch.equal(head.locate(outputs), outputs[:, 0])
    assert torch.equal(head.locate(outputs[:, 0]), outputs[:, 0])
    assert head.spread(outputs).shape == (4, 0)
    assert make_distribution(head, np.ones((4, 1))) is None


def explain(name, outputs, context):
    """Return predictions and spread of lists in the unit of the network, by the oracle."""
    std = context.label_std
    if name == "quantile":
        rows = [sorted(row) for row in outputs]
        return [row[1] for row in rows], rows
    if name == "uvote":
        pairs = [parts.vote(row, std) for row in outputs]
    else:
        pairs = [(row[0], std * math.exp(parts.clamp(row[1]))) for row in outputs]
    return [pred for pred, _ in pairs], [[scale] for _, scale in pairs]


def invert_scale(pred, scale, transform):
    """Return the mean distance to the two ends that lie in the range of the training labels."""
    if transform is None:
        return scale
    low, high = transform([transform.minimum, transform.maximum])
    pred = min(max(pred, low), high)
    ends = [end for end in (pred - scale, pred + scale) if low <= end <= high]
    if not ends:
        return [(transform.maximum - transform.minimum) / 2]
    label = transform.inverse(pred)
    return np.mean([abs(transform.inverse(end) - label) for end in ends], axis=0)


@pytest.mark.parametrize("transform", ["log", "yeo-johnson", "quantile"])
def test_no_prediction_beyond_the_labels_is_certain(transform):
    """The inverse clips the prediction and both ends to one label, whose distance is zero."""
    fitted = TargetTransform.fit(np.exp(np.random.default_rng(0).normal(size=99)), transform)
    far = torch.tensor([[-30.0, 0.0], [30.0, 0.0], [0.0, 5.0], [float("nan"), 0.0]])
    columns = predict_columns(ScaleHead(4, "laplace"), far, 1.0, fitted).numpy()
    assert (columns[:3, 1] > 0.1).all()
    assert columns[2, 1] == pytest.approx((fitted.maximum - fitted.minimum) / 2)
    assert np.isnan(columns[3]).all()


@over_heads
@pytest.mark.parametrize("transform", ["", "log", "quantile"])
def test_predictions_in_the_unit_of_the_label(name, transform):
    context, model = make_regressor(name)
    outputs = torch.randn(40, HEADS[name], generator=torch.Generator().manual_seed(0)) * 2
    preds, spread = map(np.array, explain(name, outputs.tolist(), context))
    labels = np.exp(np.random.default_rng(0).normal(size=99))
    inverse, fitted = (lambda values: values), None
    if transform:
        fitted = TargetTransform.fit(labels, transform)
        inverse = fitted.inverse
    columns = predict_columns(model.head, outputs, 3.0, fitted).numpy()
    np.testing.assert_allclose(columns[:, 0], inverse(3 * preds), rtol=1e-5, atol=1e-5)
    if name == "quantile":
        expected = inverse(3 * spread)
    else:
        expected = [invert_scale(*row, fitted) for row in zip(3 * preds, 3 * spread, strict=True)]
    np.testing.assert_allclose(columns[:, 1:], expected, rtol=1e-4, atol=1e-4)
    distribution = make_distribution(model.head, columns)
    assert len(distribution) == 40
    assert (np.diff(columns[:, 1:]) >= 0).all()


@over_heads
def test_untrained_loss_is_below_the_explosion_limit(name):
    context, _ = make_regressor(name)
    targets = torch.from_numpy(context.targets)
    for pred in (0.0, 30.0):
        outputs = torch.full((len(targets), HEADS[name]), pred)
        if name != "quantile":
            outputs[:, HEADS[name] // 2 :] = 0.0
        loss = join_losses(MSELoss(), context)(outputs, targets)
        limit = part_modules.explosion_limit(MSELoss(), context, targets, None, pred)
        assert abs(loss.item()) < limit / 100


@over_heads
def test_heads_are_built_for_equal_labels(name):
    context = make_context(name, [2.0] * 6)
    part_modules.check_part_modules(context)
    outputs = torch.zeros(6, HEADS[name], requires_grad=True)
    join_losses(MSELoss(), context)(outputs, torch.full((6,), 2.0)).backward()
    assert outputs.grad.isfinite().all()


@pytest.mark.parametrize("name", ["gaussian", "laplace", "quantile"])
def test_terms_get_the_prediction(name):
    context, model = make_regressor(name)
    technique = Technique(parts=("ccc", name))
    context = dataclasses.replace(context, technique=technique)
    outputs = torch.randn(6, HEADS[name], requires_grad=True)
    targets = torch.from_numpy(context.targets).float()
    joined = join_losses(MSELoss(), context, model.head.locate)
    base = join_losses(MSELoss(), dataclasses.replace(context, technique=Technique(parts=(name,))))
    expected = base(outputs, targets) + CCCLoss()(model.head.locate(outputs), targets)
    torch.testing.assert_close(joined(outputs, targets), expected)


@pytest.mark.parametrize("lds", [False, True])
@pytest.mark.parametrize("heads", [2, 3])
def test_weights_of_uvote_are_powers_of_bin_counts(lds, heads):
    context = make_context("uvote+lds" if lds else "uvote", uvote_heads=heads)
    recipe, labels = context.recipe, [3 * y for y in context.targets]
    settings = (recipe.lds_kernel if lds else None, recipe.lds_kernel_size, recipe.lds_sigma)
    clip = (recipe.min_count, recipe.max_count or np.inf)
    inverse = balance.weights(labels, labels, context.bins.edges, "inverse", clip, *settings)
    density = [1 / weight for weight in inverse]
    factors = parts.powers_of_density(density, density, heads)
    outputs = torch.randn(6, 2 * heads, dtype=torch.float64)
    loss = join_losses(MSELoss(), context)(outputs, torch.from_numpy(context.targets))
    expected = parts.uvote(
        outputs.tolist(), context.targets.tolist(), factors, label_std=context.label_std
    )
    assert loss.item() == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
@over_heads
def test_text_training_runs_and_resumes(tmp_path, name):
    technique = Technique(parts=(name,), ranksim=True, fds=True)
    recipe = make_recipe(weight_decay=0.01)
    complete = train(tmp_path / "complete", technique, recipe)
    assert all(np.isfinite(complete.curves["train_loss"]))

    def interrupt(epoch, score):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "resumed", technique, recipe, on_validation=interrupt)
    assert same_result(train(tmp_path / "resumed", technique, recipe), complete)
    content = torch.load(tmp_path / "complete" / BEST, weights_only=True)
    names = {item.name for item in dataclasses.fields(PartSettings)}
    assert names & {*content["recipe"]} == {*part_fields(name)}
    # the distribution is that of the best weights, in the unit of the label
    task = make_task(recipe)
    model = task.build_model()
    model.head = make_head(recipe, technique, model.width)
    state = content["state_dict"]
    model.load_state_dict(
        {k.removeprefix("model."): v for k, v in state.items() if k.startswith("model.")}
    )
    model.eval()
    with torch.no_grad():
        features = model.encoder(*task.test.get_inputs(torch.arange(len(task.test))))
        columns = predict_columns(model.head, model.head(features), recipe.label_scale).numpy()
    np.testing.assert_allclose(complete.preds, columns[:, 0], rtol=1e-4, atol=1e-5)
    distribution, labels = complete.distribution, task.test.labels.numpy()
    if name == "quantile":
        np.testing.assert_allclose(distribution.quantiles, columns[:, 1:], rtol=1e-4, atol=1e-5)
        assert complete.test["all"]["crps"] is None
    else:
        np.testing.assert_allclose(distribution.scale, columns[:, 1], rtol=1e-4)
        crps = crps_gaussian if name == "gaussian" else crps_laplace
        expected = crps(complete.preds, labels, distribution.scale)
        assert complete.test["all"]["crps"] == pytest.approx(expected)
    assert complete.test["all"]["pinball"] > 0
    assert len(complete.val_distribution) == len(task.val)
    assert complete.val["all"]["pinball"] > 0


@over_heads
def test_encoder_starts_like_the_plain_one(tmp_path, name):
    """Runs of one seed are paired."""
    options = {"recipe": make_recipe(lr=1e-12)}
    train(tmp_path / "plain", Technique(), **options)
    train(tmp_path / name, Technique(parts=(name,)), **options)
    first, second = load_weights(tmp_path / "plain"), load_weights(tmp_path / name)
    for key, value in first.items():
        if "encoder" in key:
            torch.testing.assert_close(second[key], value, rtol=0, atol=1e-8)


def test_scale_learns_the_noise(tmp_path):
    """One half of the samples has ten times the noise of the other."""
    draw = torch.Generator().manual_seed(0)
    group = torch.arange(400) % 2
    noise = torch.randn(400, generator=draw) * torch.where(group == 1, 1.0, 0.1)
    inputs, labels = group[:, None].float(), 5 * group + noise
    for name, expected in (("gaussian", 1.0), ("laplace", 0.8)):  # E|x| of a normal variable
        context = make_context(name, labels.double().numpy(), **{f"{name}_beta": 0.0})
        head = make_head(context.recipe, context.technique, 1, context.label_std)
        loss, optimizer = join_losses(MSELoss(), context), torch.optim.Adam(head.parameters(), 0.1)
        for _ in range(200):
            optimizer.zero_grad()
            loss(head(inputs), labels).backward()
            optimizer.step()
        scales = head.spread(head(torch.tensor([[0.0], [1.0]])))[:, 0].tolist()
        assert scales == pytest.approx([expected / 10, expected], rel=0.15)


REFUSED = [
    ("uvote+inv", "contains inv, but uvote corrects for the distribution of the labels itself"),
    ("uvote+rrt", "contains uvote and rrt: rrt retrains one head with weights"),
    ("uvote+ccc", "the loss of a prediction would train only the head that is chosen"),
    ("uvote+bsam", "contains bsam and uvote: the ascent weights the samples"),
    ("uvote+smogn", "contains smogn, but uvote corrects"),
    ("uvote+gaussian", "contains uvote and gaussian, which both replace the base loss"),
    ("quantile+gar", "gar and quantile, which both|quantile and gar, which both"),
    ("focal-r+laplace", "focal-r and laplace, which both replace the base loss"),
    ("trees+uvote", "contains uvote, which is a head of networks"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_contradictions_are_refused_with_the_reason(text, words):
    with pytest.raises(UsageError, match=words):
        parse_method(text, "inverse")


def test_combinations():
    keys = {
        "ranksim+uvote+fds": "vanilla+uvote+fds+ranksim",
        "uvote+lds": "vanilla+uvote+lds",
        "gaussian+lds": "inv+gaussian+lds",
        "rrt+laplace+ranksim": "rrt+laplace+ranksim",
        "inv+quantile+ccc(log)": "inv+ccc+quantile(log)",
        "rnc+uvote": "vanilla+rnc+uvote",
        "conr+gaussian+bsam": "vanilla+conr+bsam+gaussian",
    }
    for text, key in keys.items():
        method = parse_method(text, "inverse")
        assert method.key == key
        assert parse_method(key, "inverse").technique == method.technique
    assert first_stage(parse_method("rrt+laplace", "inverse")).key == "vanilla+laplace"
    assert first_stage(parse_method("rnc+uvote", "inverse")).key == "encoder+rnc"


@pytest.mark.parametrize(
    "text", ["", "0.5", "0.1,0.9", "0.5,0.5,0.9", "0,0.5", "0.5,1", "a,0.5", "0.5,nan"]
)
def test_wrong_levels(text):
    with pytest.raises(UsageError, match="needs levels above 0 and below 1, two at least"):
        load_recipe(
            "table", "small", parse_method("quantile", "inverse"), {"quantile_levels": text}
        )


def test_levels_may_have_any_order():
    context = make_context("quantile", quantile_levels="0.9, 0.5,0.1")
    head = make_head(context.recipe, context.technique, 4)
    assert head.levels == (0.1, 0.5, 0.9)
    assert head.locate(torch.tensor([[9.0, 1.0, 5.0]])).tolist() == [5.0]
    with pytest.raises(ValueError, match=r"levels must contain 0\.5"):
        QuantileHead(3, (0.1, 0.9))
    assert isinstance(make_head(*_recipe("gaussian"), 4), ScaleHead)
    assert isinstance(make_head(*_recipe("uvote"), 4), UVoteHead)


def _recipe(name):
    context = make_context(name)
    return context.recipe, context.technique
