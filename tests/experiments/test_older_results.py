"""What was saved before recipes had a field was trained with the default of the field."""

import dataclasses
import json

import pytest

from ranksim.exceptions import UsageError
from ranksim.experiments.run import (
    STARTED,
    _start_or_go_on,
    flatten_dict,
    flatten_settings,
    reject_other_settings,
)
from ranksim.training.recipe import Recipe
from ranksim.training.resume import BEST, LAST
from tests.experiments.test_sweep import SMALL, request
from tests.helpers.trained_models import run_of

LATER = {"label_width": 0.0, "memory_size": 0}


@pytest.fixture
def run(tmp_path):
    def made(*changes):
        return run_of(request(tmp_path, tmp_path, changes=(*SMALL, *changes)), "rrt+ranksim")

    return made


def older(run):
    """Its settings as they were saved then, those of the first stage too."""
    saved = json.loads(json.dumps(run.identity()))
    for recipe in (saved["recipe"], saved["stage_one"]["recipe"]):
        for name in LATER:
            del recipe[name]
    return saved


def test_recipes_have_these_fields_now(run):
    recipe = run().recipe
    assert recipe.optional_fields() == LATER
    assert type(recipe).from_table(older(run())["recipe"]) == recipe
    assert {item.name for item in dataclasses.fields(Recipe)} > LATER.keys()


def test_a_finished_run_stands_for_one_with_the_defaults_alone(run):
    record = older(run()) | {"status": "done", "metrics": {}}
    reject_other_settings(run(), record)
    with pytest.raises(
        UsageError, match=r"rrt\+ranksim seed 0 made with recipe.memory_size 0, now 9: "
    ):
        reject_other_settings(run("memory_size=9"), record)


def test_settings_are_completed_stage_by_stage(run):
    assert flatten_settings(older(run())) == flatten_dict(json.loads(json.dumps(run().identity())))
    alone = {"seed": 0, "recipe": {"lr": 1.0}}
    assert flatten_settings(alone) == {
        "seed": 0,
        "recipe.lr": 1.0,
        "recipe.label_width": 0.0,
        "recipe.memory_size": 0,
    }
    assert flatten_settings({"seed": 0}) == {"seed": 0}


@pytest.mark.parametrize(("changes", "kept"), [((), True), (("memory_size=9",), False)])
def test_an_interrupted_run_goes_on_with_the_defaults_alone(run, changes, kept):
    folder = run().folder
    folder.mkdir(parents=True)
    (folder / STARTED).write_text(json.dumps(older(run()), indent=1), encoding="utf-8")
    for name in (BEST, LAST):
        (folder / name).touch()
    _start_or_go_on(run(*changes))
    assert [(folder / name).exists() for name in (BEST, LAST)] == [kept, kept]
