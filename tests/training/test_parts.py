"""Parts of method names: the table, the combinations, recipes, records and trainings."""

import dataclasses
import importlib
import json
import re

import numpy as np
import pytest
import torch
from torch import nn

from ranksim.exceptions import UsageError
from ranksim.experiments.search_space import Space, recipe_values
from ranksim.experiments.sweep_settings import SweepSettings
from ranksim.imbalance import LabelBins, density_weights
from ranksim.losses import MSELoss
from ranksim.training import part_modules
from ranksim.training.factory import make_weights, resolve_defaults
from ranksim.training.limits import TrainingLimits
from ranksim.training.method import (
    ESTIMATORS,
    Technique,
    describe_method,
    family_method_names,
    first_stage,
    parse_method,
    parse_methods,
)
from ranksim.training.method_rules import record_recipe
from ranksim.training.part_modules import JoinedLoss, PartContext, join_losses
from ranksim.training.parts import PARTS, PartSettings, min_batch, part_fields
from ranksim.training.presets import load_recipe
from ranksim.training.recipe import EstimatorRecipe, TableRecipe
from ranksim.training.schedule import Schedule
from tests.helpers.requests import make_request
from tests.helpers.text_training import load_weights, make_recipe, same_result, train

over_parts = pytest.mark.parametrize("name", PARTS)


def table_recipe(method, **changes):
    return load_recipe("table", "small", parse_method(method, "inverse"), changes)


def make_context(name, targets=(0.0, 1.0, 1.0, 2.0, 4.0, 9.0), **changes):
    targets = np.array(targets)
    recipe = resolve_defaults(table_recipe(f"vanilla+{name}", **changes), targets)
    bins = LabelBins.uniform(0.0, 10.0, 5)
    return PartContext(recipe, Technique(parts=(name,)), targets, bins, width=4)


@over_parts
def test_row_of_the_table_is_complete(name):
    part = PARTS[name]
    assert part.title
    assert re.search(r"\d{4}", part.paper), "the year of the paper"
    assert {*part.ranges, *part.choices} <= {*part_fields(name)}
    assert {*part.conflicts} <= {*PARTS, "lds", "fds", "ranksim", "focal-r", "rrt"}
    if part.builder:
        module, _, function = part.builder.partition(":")
        assert callable(getattr(importlib.import_module(module), function))
    else:
        assert part.kind in ("optimizer", "heads")


def test_every_field_belongs_to_one_part():
    names = [item.name for item in dataclasses.fields(PartSettings)]
    assert sorted(names) == sorted(field for name in PARTS for field in part_fields(name))
    for item in dataclasses.fields(PartSettings):
        assert item.default is not dataclasses.MISSING
        assert f"{item.name}" in PartSettings.__doc__


@over_parts
def test_name_key_and_record_identify_the_part(name):
    for text in (name, f"vanilla+{name}", f"{name}+vanilla"):
        method = parse_method(text, "inverse")
        assert (method.name, method.key) == (f"vanilla+{name}", f"vanilla+{name}")
        assert method.technique == Technique(parts=(name,), two_stage=PARTS[name].trains_encoder)
    content = json.loads(json.dumps(method.technique.to_dict()))
    assert content["parts"] == [name]
    assert Technique(**content) == method.technique
    assert parse_method(method.key, "inverse") == method
    plain = parse_method("vanilla", "inverse")
    assert describe_method(method, "mse") not in ("", describe_method(plain, "mse"))
    assert PARTS[name].title in describe_method(method, "mse")


@over_parts
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_estimators_have_no_parts(name, estimator):
    with pytest.raises(UsageError, match=rf"contains {name}, which .*: leave out {name}"):
        parse_method(f"{estimator}+{name}", "inverse")


def test_family_has_one_row_for_each_method():
    methods = parse_methods("family", "table", "inverse")
    names = [method.name for method in methods]
    assert names == family_method_names()
    assert len({method.key for method in methods}) == len(methods)
    assert names[:4] == ["vanilla", "sqinv", "inv", "denseweight"]
    assert names[4:9] == ["vanilla+lds", "vanilla+fds", "focal-r", "rrt", "vanilla+ranksim"]
    assert names[9:] == [*(f"vanilla+{name}" for name in PARTS), "average+sqinv"]
    both = parse_methods("vanilla,family,all", "table", "inverse")
    assert len(both) == 32 + len(
        set(names) - {m.name for m in parse_methods("all", "table", "inverse")}
    )


COMBINATIONS = {
    "inv+ccc+ranksim": ("inv+ccc+ranksim", "inv+ccc+ranksim"),
    "ranksim+ccc+inv": ("inv+ccc+ranksim", "inv+ccc+ranksim"),
    "vanilla+ccc+lds": ("vanilla+ccc+lds", "inv+ccc+lds"),
    "focal-r+ccc": ("focal-r+ccc", "focal-r+ccc"),
    "rrt+ccc": ("rrt+ccc", "rrt+ccc"),
    "rrt+gar+fds": ("rrt+gar+fds", "rrt+gar+fds"),
    "gar+ccc": ("vanilla+gar+ccc", "vanilla+gar+ccc"),
    "ccc(log)": ("vanilla+ccc(log)", "vanilla+ccc(log)"),
    "bmse": ("vanilla+bmse", "vanilla+bmse"),
    "rrt+bmse": ("rrt+bmse", "rrt+bmse"),
    "bmse+lds": ("vanilla+bmse+lds", "vanilla+bmse+lds"),
    "bmse+fds+ranksim": ("vanilla+bmse+fds+ranksim", "vanilla+bmse+fds+ranksim"),
    "dist+sqinv+dila+ccc": ("sqinv+dist+ccc+dila", "sqinv+dist+ccc+dila"),
    "bmse+ccc(log)": ("vanilla+bmse+ccc(log)", "vanilla+bmse+ccc(log)"),
    "smogn+gar": ("vanilla+gar+smogn", "vanilla+gar+smogn"),
}


@pytest.mark.parametrize("text", COMBINATIONS)
def test_parts_compose(text):
    method = parse_method(text, "inverse")
    assert (method.name, method.key) == COMBINATIONS[text]
    again = parse_method(method.key, "inverse")
    assert (again.key, again.technique) == (method.key, method.technique)
    assert describe_method(method, "l1")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("focal-r+gar", "focal-r and gar, which both replace the base loss: leave one out"),
        ("ccc+ccc", "contains 'ccc' twice"),
        ("vanila+ccc", "unknown part 'vanila'"),
        ("family", "family stands for several methods in --methods of compare and bench: name one"),
        ("all", "'all' cannot be trained, as all stands for several methods in --methods"),
        ("inv+family", "'inv.family' cannot be trained, as family stands for several methods"),
    ],
)
def test_contradictions_are_refused_with_the_reason(text, words):
    with pytest.raises(UsageError, match=words):
        parse_method(text, "inverse")


def test_stages_of_a_two_stage_method(monkeypatch):
    method = parse_method("rrt+ccc+ranksim", "inverse")
    assert first_stage(method).key == "vanilla+ccc+ranksim"
    assert method.technique.stage_two == Technique(weighting="inverse", parts=("ccc",))
    for stage, first, second in (("second", (), ("ccc",)), ("first", ("ccc",), ())):
        monkeypatch.setitem(PARTS, "ccc", dataclasses.replace(PARTS["ccc"], stages=stage))
        assert method.technique.stage_one.parts == first
        assert method.technique.stage_two.parts == second


def test_recipe_fields_are_those_of_the_rows(tmp_path):
    fields = {field for name in PARTS for field in part_fields(name)}
    request = make_request("sts-b-dir", tmp_path, options={"split": "yang"})
    settings = SweepSettings.from_request(request)
    plain = parse_method("vanilla", "inverse")
    assert not fields & {*settings.list_fields(plain)}
    for name in PARTS:
        method = parse_method(name, "inverse")
        assert fields & {*settings.list_fields(method)} == {*part_fields(name)}
        assert ("loss" in settings.list_fields(method)) == (
            PARTS[name].kind not in ("loss", "heads")
        )
    with pytest.raises(UsageError, match="--set gar_alpha changes only rows with gar"):
        dataclasses.replace(settings, changes={"gar_alpha": 0.2}).check([plain])
    dataclasses.replace(settings, changes={"gar_alpha": 0.2}).check(
        [plain, parse_method("gar", "inverse")]
    )


def test_records_hold_only_fields_that_are_used():
    """Records of earlier versions have none of them, and their identity stays the same."""
    recipe = table_recipe("vanilla")
    names = {item.name for item in dataclasses.fields(PartSettings)}
    assert not names & {*record_recipe(recipe, Technique())}
    content = record_recipe(recipe, Technique(parts=("gar",)))
    assert names & {*content} == {*part_fields("gar")}
    assert TableRecipe.from_table(record_recipe(recipe, Technique())) == recipe
    estimator = load_recipe("table", "small", parse_method("trees", "inverse"))
    assert isinstance(estimator, EstimatorRecipe)
    content = dataclasses.asdict(estimator)
    del content["denseweight_alpha"]
    assert record_recipe(estimator, Technique(estimator="trees")) == content


@pytest.mark.parametrize("name", ["denseweight", "rrt+denseweight", "trees+denseweight"])
def test_alpha_is_the_dial_of_denseweight(name, tmp_path):
    method, plain = parse_method(name, "inverse"), parse_method("inv", "inverse")
    labels, bins = np.array([1.0, 1, 1, 2, 2, 5]), LabelBins.uniform(0.0, 10.0, 5)
    for alpha in (0.5, 1.0):
        recipe = load_recipe("table", "small", method, {"denseweight_alpha": alpha})
        weights = make_weights(recipe, method.technique, bins, labels)
        expected = density_weights(labels, scheme="denseweight", alpha=alpha)
        np.testing.assert_allclose(weights.numpy(), expected, rtol=1e-6)
        assert record_recipe(recipe, method.technique)["denseweight_alpha"] == alpha
        assert "denseweight_alpha" not in record_recipe(recipe, plain.technique)
    settings = SweepSettings.from_request(
        make_request("sts-b-dir", tmp_path, options={"split": "yang"})
    )
    changed = dataclasses.replace(settings, changes={"denseweight_alpha": 0.5})
    changed.check([method])
    with pytest.raises(UsageError, match="denseweight_alpha changes only rows with denseweight"):
        changed.check([plain])
    space = Space.from_method(method, recipe_values(recipe), fields=("denseweight_alpha",))
    assert space.ranges == {"denseweight_alpha": (0.1, 3.0)}


@over_parts
def test_search_space_has_the_fields_of_the_part(name):
    method = parse_method(name, "inverse")
    recipe = recipe_values(table_recipe(name))
    part = PARTS[name]
    if part.ranges or part.choices:
        space = Space.from_method(method, recipe)
        assert {*space.ranges} == {*part.ranges}
        assert {*space.choices} == {*part.choices}
        TableRecipe.from_table(recipe | {key: high for key, (_, high) in space.ranges.items()})


def loss_parts():
    return [name for name, part in PARTS.items() if part.kind in ("loss", "loss term")]


@pytest.mark.parametrize("name", loss_parts())
def test_joined_loss_is_the_sum(name):
    context, base = make_context(name), MSELoss()
    joined = join_losses(base, context)
    module = part_modules._build(context, PARTS[name].kind)[name]
    draw = torch.Generator().manual_seed(0)
    preds, target = torch.randn(16, generator=draw), torch.randn(16, generator=draw)
    expected = module(preds, target, None)
    if PARTS[name].kind == "loss term":
        assert isinstance(joined, JoinedLoss)
        expected = base(preds, target) + expected
    torch.testing.assert_close(joined(preds, target), expected)


@pytest.mark.parametrize("name", loss_parts())
def test_untrained_loss_is_below_the_explosion_limit(name):
    context = make_context(name)
    targets = torch.from_numpy(context.targets)
    for pred in (0.0, 30.0):
        loss = join_losses(MSELoss(), context)(torch.full_like(targets, pred), targets)
        limit = part_modules.explosion_limit(MSELoss(), context, targets, None, pred)
        assert loss.item() < limit / 100


@pytest.mark.parametrize("name", loss_parts())
def test_parts_are_built_for_equal_labels(name):
    context = make_context(name, [2.0] * 6)
    assert context.label_std == 1
    part_modules.check_part_modules(context)
    preds, target = torch.zeros(6, requires_grad=True), torch.full((6,), 2.0)
    join_losses(MSELoss(), context)(preds, target).backward()
    assert preds.grad.isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", loss_parts())
@pytest.mark.parametrize("weighting", ["none", "sqrt_inverse"])
def test_text_training_runs_and_resumes(tmp_path, name, weighting):
    if weighting != "none" and PARTS[name].rebalances:
        return
    technique = Technique(weighting=weighting, parts=(name,), ranksim=weighting != "none")
    recipe = make_recipe(lr_milestones=[1], weight_decay=0.01)
    complete = train(tmp_path / "complete", technique, recipe)
    assert all(np.isfinite(complete.curves["train_loss"]))

    def interrupt(epoch, score):
        if epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "resumed", technique, recipe, on_validation=interrupt)
    assert same_result(train(tmp_path / "resumed", technique, recipe), complete)
    content = torch.load(tmp_path / "complete" / "best.ckpt", weights_only=True)
    names = {item.name for item in dataclasses.fields(PartSettings)}
    assert names & {*content["recipe"]} == {*part_fields(name)}


class Recording(nn.Module):
    """A feature term that stores what it gets, with a parameter of its own learning rate."""

    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.learning_rate = 0.5
        self.outputs = []

    def forward(self, outputs):
        self.outputs.append(outputs)
        return self.scale * outputs.features.square().mean()


@pytest.fixture
def recording(monkeypatch):
    """Make ``ccc`` a feature term that records what it gets."""
    module = Recording()
    monkeypatch.setattr("ranksim.training.loss_parts.make_ccc", lambda context: module)
    part = dataclasses.replace(PARTS["ccc"], kind="feature term", stages="first")
    monkeypatch.setitem(PARTS, "ccc", part)
    return module


@pytest.mark.parametrize("ranksim", [False, True])
def test_feature_terms_get_the_outputs_of_a_batch(tmp_path, recording, ranksim):
    result = train(tmp_path, Technique(parts=("ccc",), ranksim=ranksim, weighting="inverse"))
    outputs = recording.outputs[0]
    count = len(outputs.preds)
    assert outputs.features.shape[0] == len(outputs.target) == len(outputs.index) == count
    torch.testing.assert_close(outputs.target.double(), outputs.labels / 5, rtol=1e-6, atol=0)
    assert outputs.sample_weight.shape == (count,)
    assert [recording.outputs[i].epoch for i in (0, -1)] == [0, 2]
    assert len(result.curves["train_ccc"]) == 3
    assert ("train_ranksim" in result.curves) == ranksim
    # Adam's step is the learning rate
    weights = load_weights(tmp_path, "last.ckpt")
    assert abs(float(weights["feature_terms.ccc.scale"]) - 1) > 0.4


def test_last_batch_that_is_too_small_is_left_out():
    recipe = make_recipe(batch_size=9)
    limits = TrainingLimits(epochs=1)
    for samples, least, steps in ((64, 1, 8), (64, 2, 7), (65, 2, 8), (63, 2, 7), (1, 2, 1)):
        plan = Schedule.plan(recipe, limits, samples, min_batch=least)
        assert plan.steps_per_epoch == steps, (samples, least)


def test_batches_must_be_large_enough(monkeypatch):
    monkeypatch.setitem(PARTS, "ccc", dataclasses.replace(PARTS["ccc"], min_batch=2))
    with pytest.raises(
        UsageError, match="vanilla\\+ccc compares the samples of a batch: set batch"
    ):
        table_recipe("vanilla+ccc", batch_size=1)
    with pytest.raises(UsageError, match="needs at least 2 training samples, got 1"):
        part_modules.check_part_modules(make_context("ccc", [1.0]))


COMPARING = ("bmse", "gar", "ccc", "dila", "oe", "rnc", "conr")


@over_parts
def test_terms_that_compare_samples_need_two(name):
    """Only the recipe's size of batches is refused: a last batch may have one sample."""
    table_recipe(f"vanilla+{name}", batch_size=2)
    assert min_batch((name,)) == (2 if name == "bmse" else 1)
    if name not in COMPARING:
        table_recipe(f"vanilla+{name}", batch_size=1)
        return
    with pytest.raises(UsageError, match=f"{name} compares the samples of a batch: set batch_size"):
        table_recipe(f"vanilla+{name}", batch_size=1)
