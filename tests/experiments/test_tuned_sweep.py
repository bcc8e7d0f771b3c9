"""Tuning of user data of each kind, and comparisons of tuned rows."""

import dataclasses
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest

from ranksim.evaluation.predictions import PREDICTIONS, read_predictions
from ranksim.evaluation.record import read_record
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.search_space import TuneRequest
from ranksim.experiments.study import RECIPE
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.experiments.sweep_settings import SweepSettings, check_request
from ranksim.experiments.tune import tune
from ranksim.experiments.tuned_sweep import FOLDER, _order_stages, run_tuned_benchmark
from ranksim.training.method import parse_method
from ranksim.training.presets import Search, read_searches
from tests.helpers import user_data
from tests.helpers.requests import make_request

pytest.importorskip("optuna")
SIZE = {user_data.PICTURES: {"image_size": 16}}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["trees+sqinv", "linear"])
def test_first_trial_of_an_estimator_is_its_default(tmp_path, name):
    """A default may be no number, such as the penalty that ridge regression chooses."""
    data, settings = user_data.write_table(tmp_path), {"options": {"target": "price"}}
    request = make_request(data, tmp_path / "compared", methods=name, **settings)
    (run,) = run_benchmark(request)["runs"]
    result = tune(TuneRequest(dataclasses.replace(request, out=tmp_path / "tuned"), 1))
    assert result.values == {}
    assert result.score == run["result"]["metrics"]["val"]["all"]["mae"]


OTHERS = [kind for kind in user_data.WRITERS if kind != user_data.TABLE]


@pytest.mark.parametrize(
    "kind", [user_data.TABLE, *(pytest.param(kind, marks=pytest.mark.slow) for kind in OTHERS)]
)
def test_trials_use_the_split_of_the_comparison(tmp_path, kind):
    settings = {"options": user_data.OPTIONS[kind], "max_epochs": 1, **SIZE.get(kind, {})}
    if kind != user_data.PICTURES:
        settings["changes"] = ("hidden=4",)
    data = user_data.WRITERS[kind](tmp_path)
    run_benchmark(make_request(data, tmp_path / "compare", **settings))
    tune(TuneRequest(make_request(data, tmp_path / "tune", **settings), 1))
    folders = [next(path.rglob("runs/vanilla/seed-0")) for path in tmp_path.glob("*e/")]
    assert len(folders) == 2
    records = [read_record(folder) for folder in folders]
    assert records[0]["provenance"]["data"] == records[1]["provenance"]["data"]
    sizes = [record["result"]["metrics"]["val"]["all"]["n"] for record in records]
    assert sizes[0] == sizes[1] > 0
    tables = [read_predictions(folder / PREDICTIONS) for folder in folders]
    for name in ("rows", "labels"):
        assert np.array_equal(*(getattr(table, name) for table in tables)), name


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison of tuned rows, and its folder."""
    folder = tmp_path_factory.mktemp("tuned")
    request = make_request(
        user_data.write_table(folder), folder / "out", options={"target": "price"},
        methods="rrt,vanilla+ranksim,trees,median", changes=("hidden=8",), max_epochs=2, seeds="1",
        tune=2,
    )  # fmt: skip
    return run_tuned_benchmark(request), folder / "out"


@pytest.mark.slow
def test_each_row_gets_the_best_of_its_trials(compared):
    results, out = compared
    recipes = tomllib.loads((out / FOLDER / RECIPE).read_text())["methods"]
    assert set(recipes) == {"vanilla", "rrt", "vanilla+ranksim", "trees"}  # and the first stage
    assert "hidden" not in recipes["vanilla"]  # --set fixes it
    for run in results["runs"]:
        identity = run["identity"]
        for name, value in recipes.get(identity["method"], {}).items():
            assert identity["recipe"][name] == value
        if "stage_one" in identity:
            assert identity["stage_one"]["recipe"]["lr"] == recipes["vanilla"]["lr"]
    trials = {path.parent.parent.parent for path in (out / FOLDER).glob("trials/*/runs/*/seed-*")}
    assert len(trials) >= 5


@pytest.mark.slow
def test_tuned_rows_are_at_least_as_good_in_validation(compared):
    """The first trial is the recipe itself."""
    results, out = compared
    for method in ("vanilla+ranksim", "trees"):
        first = next(r for r in results["runs"] if r["identity"]["method"] == method)
        scores = [
            json.loads(path.read_text())["result"]["metrics"]["val"]["all"]["mae"]
            for path in (out / FOLDER).glob(f"trials/*/runs/{method}/seed-0/record.json")
        ]
        assert len(scores) == 2
        assert first["result"]["metrics"]["val"]["all"]["mae"] == min(scores)


@pytest.mark.parametrize(("name", "value"), [("recipe_file", "a.toml"), ("budget", 60.0)])
def test_recipes_and_budgets_are_refused(tmp_path, name, value):
    data = user_data.write_table(tmp_path)
    request = make_request(
        data, tmp_path / "out", options={"target": "price"}, **{"tune": 2, name: value}
    )
    with pytest.raises(UsageError, match=r"--tune searches the recipe of each row: leave out --"):
        run_tuned_benchmark(request)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("is_shared", [False, True])
def test_rows_with_ranksim_share_tuned_fields_if_asked_to(tmp_path, is_shared):
    path = tmp_path / "recipe.toml"
    path.write_text(
        '[methods."vanilla+ranksim"]\nranksim_weight = 0.7\nlr = 0.01\n'
        '[methods."vanilla+ccc"]\nccc_weight = 0.2\n'
    )
    request = make_request(
        user_data.write_table(tmp_path), tmp_path / "out", options={"target": "price"},
        methods="vanilla+ccc,vanilla+ccc+ranksim", recipe_file=path, share_ranksim=is_shared,
    )  # fmt: skip
    check_request(request)
    settings = SweepSettings.from_request(request)
    alone, joined = (settings.recipe(method) for method in settings.parse_methods(request))
    assert (alone.ccc_weight, joined.ccc_weight) == (0.2, 0.2)
    assert joined.ranksim_weight == (0.7 if is_shared else alone.ranksim_weight)
    assert alone.ranksim_weight == 0.001
    assert alone.lr == joined.lr == 0.003  # of the preset
    if is_shared:
        with pytest.raises(
            UsageError, match=r"--share-ranksim shares values of a file .* --recipe"
        ):
            check_request(dataclasses.replace(request, recipe_file=None))


def test_first_stages_without_predictions_are_not_tuned():
    methods = [parse_method(name, "inverse") for name in ("vanilla+rnc", "rrt", "rrt+ranksim")]
    keys = [method.key for method in _order_stages(methods)]
    assert keys == ["vanilla+rnc", "vanilla", "rrt", "vanilla+ranksim", "rrt+ranksim"]


@pytest.mark.slow
def test_recipe_is_written_after_each_trial(tmp_path):
    """A killed search leaves the best recipe so far."""
    data = user_data.write_table(tmp_path)
    request = make_request(data, tmp_path, options={"target": "price"}, max_epochs=1, seeds="3,5")
    tables, searches = [], []

    def read_recipe(_):
        tables.append(tomllib.loads((tmp_path / RECIPE).read_text())["methods"]["vanilla"])
        searches.append(read_searches(tmp_path / RECIPE)["vanilla"])

    tune(TuneRequest(request, 2, ("lr",)), read_recipe)
    assert [list(table) for table in tables] == [["lr"], ["lr"]]
    assert searches == [Search(1, 0, (3, 5)), Search(2, 0, (3, 5))]


def test_searches_are_read_from_files_of_earlier_versions():
    path = Path(__file__).parents[2] / "results/tables/abalone/tuned/recipe.toml"
    searches = read_searches(path)
    assert searches["vanilla"].trials == 8
    assert {search.seeds for search in searches.values()} == {None}
    assert searches.keys() == tomllib.loads(path.read_text())["methods"].keys()
    with pytest.raises(DataError, match=r"none\.toml could not be read .*: give a file of ranksim"):
        read_searches(path.with_name("none.toml"))
