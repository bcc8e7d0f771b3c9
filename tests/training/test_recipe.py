"""Validation of recipes, and the recipes of presets and tuned files."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from ranksim import RankSimLoss
from ranksim.exceptions import UsageError
from ranksim.functional.similarity import TIES
from ranksim.imbalance.fds import EMPTY_BINS
from ranksim.models.vision import RESNETS
from ranksim.training import recipe as recipes
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe, preset_table, read_tuned, share_ranksim
from ranksim.training.recipe import (
    OLD_FIELDS,
    ImageRecipe,
    SeriesRecipe,
    TextRecipe,
    parse_change,
    update_old_fields,
)

VANILLA, WITH_RANKSIM = (parse_method(name, "inverse") for name in ("vanilla", "vanilla+ranksim"))


@pytest.mark.parametrize("benchmark", ["sts-b-dir", "sentiment-dir"])
def test_small_presets_are_equal_with_and_without_ranksim(benchmark):
    recipes = (load_recipe(benchmark, "small", method) for method in (VANILLA, WITH_RANKSIM))
    assert len(set(recipes)) == 1


def test_paper_preset_is_the_published_recipe():
    vanilla, ranksim = (load_recipe("sts-b-dir", "paper", m) for m in (VANILLA, WITH_RANKSIM))
    assert (vanilla.lr, vanilla.batch_size, vanilla.patience) == (1e-4, 128, 10)
    assert (ranksim.lr, ranksim.batch_size, ranksim.patience) == (2.5e-4, 16, 30)
    assert (vanilla.max_validations, ranksim.max_validations) == (100, 300)
    for recipe in (vanilla, ranksim):
        assert (recipe.hidden, recipe.layers, recipe.vectors) == (1500, 2, "glove-840b-300d")
        assert (recipe.weight_decay, recipe.max_grad_norm) == (1e-5, 5.0)
        assert recipe.validate_every == 400
    assert (ranksim.gamma, ranksim.lambda_, ranksim.ranksim_weight) == (3e-4, 2.0, 1.0)


@pytest.mark.parametrize(
    ("text", "change"),
    [
        ("lr=5e-4", ("lr", 5e-4)),
        ("ties=min", ("ties", "min")),
        ("unique_labels=false", ("unique_labels", False)),
        (" hidden = 8 ", ("hidden", 8)),
    ],
)
def test_parses_changes_as_toml(text, change):
    assert parse_change(text) == change


@pytest.mark.parametrize(
    ("benchmark", "kind"),
    [("sts-b-dir", TextRecipe), ("agedb-dir", ImageRecipe), ("glucose", SeriesRecipe)],
)
def test_every_field_can_be_changed(benchmark, kind):
    values = {
        "dropout": 0.5, "ties": "average", "vectors": "glove-840b-300d", "unique_labels": True,
        "loss": "huber", "focal_activation": "tanh", "weighting": "inverse", "monitor": "mse",
        "lds_kernel": "laplace", "fds_kernel": "triangular", "fds_momentum": 0.5,
        "fds_min_ratio": 0.3, "fds_empty_bins": "zeros", "fds_paper_compat": True,
        "rrt_paper_compat": True, "lr_milestones": [3, 7], "fds_min_label": -5.0,
        "fds_max_label": 90.0, "flip": False, "rare_threshold": 0.5, "srl_momentum": 0.5,
        "gaussian_beta": 0.3, "laplace_beta": 0.3,
        "encoder": "conv" if kind is SeriesRecipe else "resnet34",
    }  # fmt: skip
    for field in dataclasses.fields(kind):
        default = field.default if isinstance(field.default, str | bool) else 7
        value = values.get(field.name, default)
        needed = {"fds_min_label": {"fds_bins": 9, "fds_max_label": 90}, "fds_max_label":
                  {"fds_bins": 9}}.get(field.name, {})  # fmt: skip
        recipe = load_recipe(benchmark, "small", VANILLA, needed | {field.name: value})
        expected = tuple(value) if isinstance(value, list) else value
        assert getattr(recipe, field.name) == expected, field.name


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"lr": 0}, "lr must be above 0, got 0.0"),
        ({"lr": "fast"}, "lr must be of type float, got 'fast'"),
        ({"hidden": 1.5}, "hidden must be of type int, got 1.5"),
        ({"hidden": True}, "hidden must be of type int, got True"),
        ({"dropout": 1.0}, "dropout must be in [0, 1), got 1.0"),
        ({"ties": "max"}, "ties must be one of min, average, ordinal, got 'max'"),
        ({"unique_labels": 0.5}, "unique_labels must be of type bool, got 0.5"),
        ({"label_width": -1.0}, "label_width must be at least 0, got -1.0"),
        ({"unique_labels": False, "label_width": 1}, "label_width must be 0 if unique_labels"),
        ({"ranksim_weight": float("inf")}, "ranksim_weight must be a finite number, got inf"),
        ({"momentum": 1}, "no field 'momentum': it has monitor, bins"),
        ({"strength": 0.1}, "strength is now called ranksim_weight"),
        ({"lr_milestones": [0]}, "lr_milestones must be at least 1, got [0]"),
        ({"lr_milestones": 3}, "lr_milestones must be of type list of int, got 3"),
        ({"fds_min_label": 9.0}, "fds_max_label must be above fds_min_label 9, got 0.0"),
        ({"lds_kernel_size": 4}, "lds_kernel_size must be odd, got 4"),
        ({"lds_kernel": "box"}, "lds_kernel must be one of gaussian, gaussian-textbook"),
        ({"lds_sigma": 1e7}, "lds_sigma must be at most 1,000, got 10000000"),
        ({"fds_momentum": 1}, "fds_momentum must be in [0, 1), got 1.0"),
        ({"fds_min_ratio": 1.5}, "fds_min_ratio must be at most 1, got 1.5"),
        ({"fds_bins": 60_000}, "fds_bins must be at most 2,000, got 60000"),
        ({"bins": 10**6}, "bins must be at most 100,000, got 1000000"),
        ({"min_count": 9.0, "max_count": 5.0}, "min_count must be at most max_count 5, got 9.0"),
    ],
    ids=str,
)
def test_invalid_values_are_rejected_with_field_name(change, words):
    with pytest.raises(UsageError) as error:
        load_recipe("sts-b-dir", "small", VANILLA, change)
    assert words in str(error.value)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("vanilla+fds", {"fds_bins": 1}, "set fds_bins to 2 or more"),
        ("inv", {"bins": 1}, "set bins to 2 or more"),
        ("vanilla+lds", {"lds_kernel_size": 1}, "set lds_kernel_size to 3 or more"),
        ("vanilla+fds", {"fds_kernel_size": 1}, "set fds_kernel_size to 3 or more"),
        ("focal-r", {"loss": "huber"}, "set loss to mse or l1"),
        ("inv+ranksim", {"ranksim_weight": 0.0}, "ranksim_weight or gamma is 0"),
        ("inv+ranksim", {"gamma": 0.0}, "ranksim_weight or gamma is 0"),
    ],
)
def test_techniques_without_effect_are_rejected(name, change, words):
    with pytest.raises(UsageError) as error:
        load_recipe("sts-b-dir", "small", parse_method(name, "inverse"), change)
    assert words in str(error.value)


def test_malformed_change_and_unknown_preset_are_rejected():
    with pytest.raises(UsageError, match=r"--set takes FIELD=VALUE, .*got 'lr'"):
        parse_change("lr")
    for name, preset, words in (
        ("text", "frozen", "choose from small, or name a pretrained encoder with --encoder"),
        ("text", "finetuned", "choose from small, or name a pretrained encoder with --encoder"),
        ("sentences", "frozen", "choose from small, finetuned, of which small freezes the encoder"),
    ):
        with pytest.raises(UsageError, match=f"^{name} has no preset '{preset}': {words}\\.$"):
            preset_table(name, preset)
    with pytest.raises(UsageError, match=r"sentiment-dir has no preset 'paper': choose from small"):
        load_recipe("sentiment-dir", "paper", VANILLA)


def test_recipes_of_earlier_versions_are_updated():
    recipe = load_recipe("sts-b-dir", "small", WITH_RANKSIM, {"label_width": 0.5})
    new_fields = {new: old for old, new in OLD_FIELDS.items()}
    old = {new_fields.get(k, k): v for k, v in dataclasses.asdict(recipe).items()}
    old |= {"unique_labels": old.pop("label_width")}
    del old["memory"]
    assert TextRecipe.from_table(update_old_fields(old)) == recipe


def test_tuned_recipe_applies_to_all_names_of_a_method(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('[methods."vanilla+lds"]\nlds_size = 9\n')  # a name of an earlier version
    common = preset_table("sts-b-dir", "small")
    tuned = read_tuned(path, common, "inverse", TextRecipe)
    for name in ("inv+lds", "vanilla+lds", "inv+lds+ranksim"):
        method = parse_method(name, "inverse")
        assert load_recipe("sts-b-dir", "small", method, tuned=tuned).lds_kernel_size == 9


@pytest.mark.parametrize("name", ["average+sqinv", "sqinv+average", "average+sqinv(log)"])
def test_tuned_table_of_an_average_is_refused(tmp_path, name):
    """It trains nothing itself, so its values would be ignored."""
    path = tmp_path / "recipe.toml"
    path.write_text(f'[methods."{name}"]\nlr = 0.01\n')
    with pytest.raises(UsageError, match="give a table for sqinv.* instead"):
        read_tuned(path, preset_table("table", "small"), "inverse", recipes.TableRecipe)


def test_second_stage_inherits_changes_of_first():
    rrt = parse_method("rrt+fds+ranksim", "inverse")
    tuned = {"vanilla+fds": {"fds_bins": 10}, "vanilla+fds+ranksim": {"ranksim_weight": 0.7}}
    recipe = load_recipe("sts-b-dir", "small", rrt, tuned=tuned)
    assert (recipe.fds_bins, recipe.ranksim_weight) == (10, 0.7)
    with pytest.raises(UsageError, match="continues vanilla.fds.ranksim, which has fds_bins 20"):
        load_recipe("sts-b-dir", "small", rrt, tuned={"rrt+fds+ranksim": {"fds_bins": 10}})


TUNED = {
    "vanilla+ranksim": {"ranksim_weight": 0.9, "gamma": 3.0, "lr": 5e-4},
    "vanilla+bmse": {"bmse_sigma": 0.4, "lr": 2e-3},
    "inv+ranksim": {"ranksim_weight": 0.2},
}


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("vanilla+bmse+ranksim", {"ranksim_weight": 0.9, "gamma": 3.0, "lr": 2e-3}),
        ("vanilla+bmse", {"ranksim_weight": 0.3, "gamma": 1.0, "lr": 2e-3}),
        ("vanilla+ranksim", {"ranksim_weight": 0.9, "gamma": 3.0, "lr": 5e-4}),
        ("inv+ranksim", {"ranksim_weight": 0.2, "gamma": 3.0, "lr": 1e-3}),  # its own weight
        ("sqinv+fds+ranksim", {"ranksim_weight": 0.9, "gamma": 3.0, "lr": 1e-3}),
        ("sqinv", {"ranksim_weight": 0.3, "gamma": 1.0, "lr": 1e-3}),
        ("rrt+ranksim", {"ranksim_weight": 0.9, "gamma": 3.0, "lr": 5e-4}),  # of its first stage
        ("vanilla+rnc+ranksim", {"ranksim_weight": 0.9, "gamma": 3.0, "lr": 1e-3}),
        ("focal-r+lds+ranksim", {"ranksim_weight": 0.9}),  # before the weight of the preset
    ],
)
def test_fields_of_ranksim_are_shared_with_all_rows_that_have_it(name, fields):
    shared = share_ranksim(TUNED, Path("recipe.toml"))
    recipe = load_recipe("sts-b-dir", "small", parse_method(name, "inverse"), tuned=shared)
    assert {field: getattr(recipe, field) for field in fields} == fields
    changed = load_recipe(
        "sts-b-dir", "small", parse_method(name, "inverse"), {"ranksim_weight": 7.0}, shared
    )
    assert changed.ranksim_weight == 7.0


@pytest.mark.parametrize("tuned", [{}, {"vanilla+ranksim": {"lr": 1e-3}}])
def test_sharing_needs_tuned_fields_of_ranksim(tuned):
    with pytest.raises(UsageError, match=r'needs a table \[methods."vanilla\+ranksim"\] with fi'):
        share_ranksim(tuned, Path("recipe.toml"))


def test_fields_of_ranksim_are_those_of_its_loss():
    names = {*inspect.signature(RankSimLoss).parameters} | {"ranksim_weight", "unique_labels"}
    assert {*recipes.RANKSIM_FIELDS} <= names
    assert {*recipes.RANKSIM_FIELDS} <= {item.name for item in dataclasses.fields(TextRecipe)}


def test_tuned_fields_that_other_data_lacks_are_refused(tmp_path):
    """A recipe carries over to other data if that has its fields, and is refused otherwise."""
    path = tmp_path / "recipe.toml"
    path.write_text('[methods."vanilla"]\nlr = 0.002\nhidden = 64\n')
    for benchmark in ("sts-b-dir", "sentiment-dir", "glucose", "table", "series"):
        common, kind = preset_table(benchmark, "small"), recipes.recipe_type(benchmark)
        assert read_tuned(path, common, "inverse", kind) == {"vanilla": {"lr": 0.002, "hidden": 64}}
    path.write_text('[methods."vanilla"]\nmax_tokens = 9\n')
    message = f"--recipe {path}, vanilla: A recipe has no field 'max_tokens'"
    with pytest.raises(UsageError, match=re.escape(message)):
        read_tuned(path, preset_table("glucose", "small"), "inverse", recipes.SeriesRecipe)


def test_choices_are_those_of_the_modules_that_compute():
    assert recipes.TIES == TIES
    assert recipes.EMPTY_BINS == EMPTY_BINS
    assert tuple(RESNETS) == recipes.RESNETS
