import dataclasses

import pytest

from ranksim.bench.methods import parse_method
from ranksim.bench.recipes import recipe_for
from ranksim.errors import UsageError
from ranksim.training.recipe import Recipe, parse_change

VANILLA, WITH = (parse_method(name, "inverse") for name in ("vanilla", "vanilla+ranksim"))


@pytest.mark.parametrize("benchmark", ["sts-b-dir", "sentiment-dir"])
def test_small_recipes_differ_in_nothing_but_ranksim(benchmark):
    assert recipe_for(benchmark, "small", VANILLA) == recipe_for(benchmark, "small", WITH)


def test_the_paper_preset_is_the_published_recipe():
    vanilla, ranksim = (recipe_for("sts-b-dir", "paper", m) for m in (VANILLA, WITH))
    assert (vanilla.lr, vanilla.batch_size, vanilla.patience) == (1e-4, 128, 10)
    assert (ranksim.lr, ranksim.batch_size, ranksim.patience) == (2.5e-4, 16, 30)
    assert (vanilla.max_validations, ranksim.max_validations) == (100, 300)
    for recipe in (vanilla, ranksim):
        assert (recipe.hidden, recipe.layers, recipe.vectors) == (1500, 2, "glove-840b-300d")
        assert (recipe.weight_decay, recipe.clip, recipe.validate_every) == (1e-5, 5.0, 400)
    assert (ranksim.gamma, ranksim.lambda_, ranksim.strength) == (3e-4, 2.0, 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("lr=5e-4", ("lr", 5e-4)), ("ties=min", ("ties", "min")), ("unique_labels=false",
     ("unique_labels", False)), (" hidden = 8 ", ("hidden", 8))],
)  # fmt: skip
def test_changes_are_written_as_in_toml(text, expected):
    assert parse_change(text) == expected


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Recipe)])
def test_every_field_can_be_changed(field):
    values = {
        "dropout": 0.5, "ties": "average", "vectors": "glove-840b-300d", "unique_labels": 0.5,
        "loss": "l1", "focal_activation": "tanh", "weighting": "sqrt_inverse",
        "lds_kernel": "laplace", "fds_kernel": "triangular", "fds_momentum": 0.5, "fds_low": 0.1,
        "fds_empty": "zeros", "fds_published": True, "rrt_published": True,
    }  # fmt: skip
    value = values.get(field, 7)
    changed = recipe_for("sts-b-dir", "small", VANILLA, {field: value})
    assert getattr(changed, field) == value


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0}, r"Recipe field lr must be above 0, got 0\.0\."),
        ({"lr": "fast"}, r"Recipe field lr must be of type float, got 'fast'\."),
        ({"hidden": 1.5}, r"Recipe field hidden must be of type int, got 1\.5\."),
        ({"hidden": True}, r"Recipe field hidden must be of type int, got True\."),
        ({"dropout": 1.0}, r"Recipe field dropout must be in \[0, 1\), got 1\.0\."),
        ({"ties": "max"}, r"Recipe field ties must be one of min, average, ordinal, got 'max'\."),
        ({"unique_labels": -1.0}, r"Recipe field unique_labels must be above 0, got -1\.0\."),
        ({"strength": float("inf")}, r"Recipe field strength must be a finite number, got inf\."),
        ({"momentum": 1}, r"A recipe has no field 'momentum': it has vectors, max_tokens"),
    ],
)
def test_nonsense_is_refused_by_name(change, message):
    with pytest.raises(UsageError, match=message):
        recipe_for("sts-b-dir", "small", VANILLA, change)


def test_other_mistakes():
    with pytest.raises(UsageError, match=r"^--set takes FIELD=VALUE, .*got 'lr'\.$"):
        parse_change("lr")
    with pytest.raises(UsageError, match=r"sentiment-dir has no preset 'paper': choose from small"):
        recipe_for("sentiment-dir", "paper", VANILLA)
