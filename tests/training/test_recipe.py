import dataclasses

import pytest

from ranksim.exceptions import UsageError
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe, preset_table, read_tuned
from ranksim.training.recipe import ImageRecipe, TextRecipe, parse_change

VANILLA, WITH = (parse_method(name, "inverse") for name in ("vanilla", "vanilla+ranksim"))


@pytest.mark.parametrize("benchmark", ["sts-b-dir", "sentiment-dir"])
def test_small_recipes_differ_in_nothing_but_ranksim(benchmark):
    assert load_recipe(benchmark, "small", VANILLA) == load_recipe(benchmark, "small", WITH)


def test_the_paper_preset_is_the_published_recipe():
    vanilla, ranksim = (load_recipe("sts-b-dir", "paper", m) for m in (VANILLA, WITH))
    assert (vanilla.lr, vanilla.batch_size, vanilla.patience) == (1e-4, 128, 10)
    assert (ranksim.lr, ranksim.batch_size, ranksim.patience) == (2.5e-4, 16, 30)
    assert (vanilla.max_validations, ranksim.max_validations) == (100, 300)
    for recipe in (vanilla, ranksim):
        assert (recipe.hidden, recipe.layers, recipe.vectors) == (1500, 2, "glove-840b-300d")
        assert (recipe.weight_decay, recipe.max_grad_norm, recipe.validate_every) == (
            1e-5,
            5.0,
            400,
        )
    assert (ranksim.gamma, ranksim.lambda_, ranksim.ranksim_weight) == (3e-4, 2.0, 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("lr=5e-4", ("lr", 5e-4)), ("ties=min", ("ties", "min")), ("unique_labels=false",
     ("unique_labels", False)), (" hidden = 8 ", ("hidden", 8))],
)  # fmt: skip
def test_changes_are_written_as_in_toml(text, expected):
    assert parse_change(text) == expected


KINDS = (("sts-b-dir", TextRecipe), ("agedb-dir", ImageRecipe))


@pytest.mark.parametrize(
    ("benchmark", "field"),
    [(benchmark, field.name) for benchmark, kind in KINDS for field in dataclasses.fields(kind)],
)
def test_every_field_can_be_changed(benchmark, field):
    values = {
        "dropout": 0.5, "ties": "average", "vectors": "glove-840b-300d", "unique_labels": True,
        "loss": "huber", "focal_activation": "tanh", "weighting": "inverse", "monitor": "mse",
        "lds_kernel": "laplace", "fds_kernel": "triangular", "fds_momentum": 0.5, "fds_min_ratio": 0.3,
        "fds_empty_bins": "zeros", "fds_paper_compat": True, "rrt_paper_compat": True, "encoder": "resnet34",
        "lr_milestones": [3, 7], "fds_min_label": -5.0, "fds_max_label": 90.0, "flip": False,
    }  # fmt: skip
    value = values.get(field, 7)
    changed = load_recipe(benchmark, "small", VANILLA, {field: value})
    assert getattr(changed, field) == (tuple(value) if isinstance(value, list) else value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0}, r"Recipe field lr must be above 0, got 0\.0\."),
        ({"lr": "fast"}, r"Recipe field lr must be of type float, got 'fast'\."),
        ({"hidden": 1.5}, r"Recipe field hidden must be of type int, got 1\.5\."),
        ({"hidden": True}, r"Recipe field hidden must be of type int, got True\."),
        ({"dropout": 1.0}, r"Recipe field dropout must be in \[0, 1\), got 1\.0\."),
        ({"ties": "max"}, r"Recipe field ties must be one of min, average, ordinal, got 'max'\."),
        ({"label_width": -1.0}, r"Recipe field label_width must be at least 0, got -1\.0\."),
        ({"unique_labels": 0.5}, r"Recipe field unique_labels must be of type bool, got 0\.5\."),
        (
            {"unique_labels": False, "label_width": 1},
            r"must be 0 if unique_labels is false, got 1\.0",
        ),
        ({"strength": 0.1}, r"Recipe field strength is now called ranksim_weight: use that\."),
        (
            {"ranksim_weight": float("inf")},
            r"Recipe field ranksim_weight must be a finite number, got inf\.",
        ),
        ({"momentum": 1}, r"A recipe has no field 'momentum': it has label_scale, label_step"),
        ({"lr_milestones": [0]}, r"Recipe field lr_milestones must be at least 1, got \[0\]\."),
        ({"lr_milestones": 3}, r"Recipe field lr_milestones must be of type list of int, got 3\."),
        (
            {"fds_min_label": 9.0},
            r"Recipe field fds_max_label must be above fds_min_label 9, got 0\.0\.",
        ),
        ({"lds_kernel_size": 4}, r"Recipe field lds_kernel_size must be odd, got 4\."),
        ({"fds_momentum": 1}, r"Recipe field fds_momentum must be in \[0, 1\), got 1\.0\."),
        ({"bins": 10**6}, r"Recipe field bins must be at most 100,000, got 1000000\."),
    ],
)
def test_nonsense_is_refused_by_name(change, message):
    with pytest.raises(UsageError, match=message):
        load_recipe("sts-b-dir", "small", VANILLA, change)


def test_other_mistakes():
    with pytest.raises(UsageError, match=r"^--set takes FIELD=VALUE, .*got 'lr'\.$"):
        parse_change("lr")
    with pytest.raises(UsageError, match=r"sentiment-dir has no preset 'paper': choose from small"):
        load_recipe("sentiment-dir", "paper", VANILLA)


def test_a_recipe_for_one_name_serves_its_other_name(tmp_path):
    path = tmp_path / "recipe.toml"
    path.write_text('[methods."vanilla+lds"]\nlds_size = 9\n')
    common = preset_table("sts-b-dir", "small")
    tuned = read_tuned(path, common, "inverse", TextRecipe)
    for name in ("inv+lds", "vanilla+lds", "inv+lds+ranksim"):
        assert load_recipe(
            "sts-b-dir", "small", parse_method(name, "inverse"), tuned=tuned
        ).lds_kernel_size == 9  # fmt: skip


def test_a_second_stage_has_what_its_first_has():
    rrt = parse_method("rrt+fds+ranksim", "inverse")
    tuned = {"vanilla+fds": {"fds_bins": 10}, "vanilla+fds+ranksim": {"ranksim_weight": 0.7}}
    recipe = load_recipe("sts-b-dir", "small", rrt, tuned=tuned)
    assert (recipe.fds_bins, recipe.ranksim_weight) == (10, 0.7)
    with pytest.raises(
        UsageError, match="goes on from vanilla.fds.ranksim, which has fds_bins 20, "
    ):
        load_recipe("sts-b-dir", "small", rrt, tuned={"rrt+fds+ranksim": {"fds_bins": 10}})


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "vanilla+fds",
            {"fds_bins": 1},
            "smooths features over label bins, which one bin does not",
        ),
        ("inv", {"bins": 1}, "which is the same for all in one bin: set bins to 2 or more"),
        (
            "vanilla+lds",
            {"lds_kernel_size": 1},
            "kernel of size 1, which changes nothing: set lds_kernel_size",
        ),
        (
            "vanilla+fds",
            {"fds_kernel_size": 1},
            "kernel of size 1, which changes nothing: set fds_kernel_size",
        ),
        ("focal-r", {"loss": "huber"}, "^focal-r is defined over mse and l1: set loss to one"),
        ("inv+ranksim", {"ranksim_weight": 0.0}, "RankSim with ranksim_weight or gamma 0"),
        ("inv+ranksim", {"gamma": 0.0}, "RankSim with ranksim_weight or gamma 0"),
        ("vanilla", {"fds_bins": 60_000}, "fds_bins must be at most 2,000, got 60000"),
        ("vanilla", {"lds_sigma": 1e7}, "lds_sigma must be at most 1,000, got 10000000"),
        ("vanilla", {"fds_kernel_size": 4}, "fds_kernel_size must be odd, got 4"),
        ("vanilla", {"fds_min_ratio": 1.5}, "fds_min_ratio must be at most 1, got 1.5"),
        (
            "vanilla",
            {"min_count": 9.0, "max_count": 5.0},
            "min_count must be at most max_count 5, got 9.0",
        ),
        ("vanilla", {"lds_kernel": "box"}, "lds_kernel must be one of gaussian, gaussian-textbook"),
    ],
)
def test_what_would_do_nothing_or_break_is_refused(name, change, message):
    with pytest.raises(UsageError, match=message):
        load_recipe("sts-b-dir", "small", parse_method(name, "inverse"), change)
