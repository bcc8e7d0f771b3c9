"""Estimators of the user: rows of a comparison that equal a fit by hand, and refusals."""

import json
import sys

import numpy as np
import pandas as pd
import pytest
from lightgbm import LGBMRegressor
from sklearn.compose import TransformedTargetRegressor, make_column_transformer
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import ranksim
from ranksim.cli import main
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.reproduce import ReproduceRequest, reproduce
from ranksim.training.custom_estimator import CustomEstimator
from tests.helpers.api import QUIET, read_numbers
from tests.helpers.errors import raises_with

FOREST = RandomForestRegressor(n_estimators=5, max_depth=3)
CODE = """
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
line = make_pipeline(StandardScaler(), Ridge(2.0))
kind = Ridge
"""


@pytest.fixture
def numbers(homes):
    """Numbers without missing values, which networks read standardized."""
    frame = pd.DataFrame({"a": homes["size"].fillna(0.0), "b": np.arange(len(homes)) % 7})
    frame["price"] = homes["price"]
    frame["split"] = np.resize(["train", "train", "train", "val", "test"], len(homes))
    return frame


def standardize(frame):
    train = frame[frame["split"] == "train"][["a", "b"]].to_numpy(float)
    values = (frame[["a", "b"]].to_numpy(float) - train.mean(0)) / train.std(0)
    return values.astype(np.float32).astype(float)


def read_test_mae(comparison, method, seed=0):
    frame = comparison.to_frame()
    rows = (frame["method"] == method) & (frame["region"] == "all") & (frame["seed"] == seed)
    return frame.loc[rows, "mae"].item()


@pytest.mark.slow
def test_rows_equal_a_fit_by_hand(numbers):
    """With and without weights, seeds as random states, on the same split."""
    estimators = {"forest": FOREST, "line": make_pipeline(StandardScaler(), Ridge())}
    methods = ["forest", "forest+inv", "line+sqinv", "forest+average+inv", "vanilla"]
    comparison = ranksim.compare(
        numbers, methods=methods, estimators=estimators, seeds=2, max_epochs=1, **QUIET
    )
    assert comparison.methods[-1] == "vanilla"
    values, train = standardize(numbers), (numbers["split"] == "train").to_numpy()
    test, labels = (numbers["split"] == "test").to_numpy(), numbers["price"].to_numpy(float)
    edges = np.array(comparison.results["labels"]["edges"])
    bins = ranksim.LabelBins(edges)
    for seed in (0, 1):
        preds = {}
        for scheme in ("none", "inverse"):
            weights = None
            if scheme != "none":
                weights = ranksim.density_weights(labels[train], bins=bins, scheme=scheme)
                weights = weights / weights.mean()
            forest = RandomForestRegressor(n_estimators=5, max_depth=3, random_state=seed)
            forest.fit(values[train], labels[train], sample_weight=weights)
            preds[scheme] = forest.predict(values[test])
        preds["average"] = (preds["none"] + preds["inverse"]) / 2
        names = {"none": "forest", "inverse": "forest+inv", "average": "forest+average+inv"}
        for scheme, name in names.items():
            expected = np.abs(preds[scheme] - labels[test]).mean()
            assert read_test_mae(comparison, name, seed) == pytest.approx(expected, rel=1e-6)
    weights = ranksim.density_weights(labels[train], bins=bins, scheme="sqrt_inverse")
    line = make_pipeline(StandardScaler(), Ridge())
    line.fit(values[train], labels[train], ridge__sample_weight=weights / weights.mean())
    expected = np.abs(line.predict(values[test]) - labels[test]).mean()
    assert read_test_mae(comparison, "line+sqinv") == pytest.approx(expected, rel=1e-6)


def test_rows_are_added_with_and_without_weights(homes):
    estimators = {"lgbm": LGBMRegressor(n_estimators=5), "near": KNeighborsRegressor()}
    comparison = ranksim.compare(homes, methods="linear", estimators=estimators, seeds=3, **QUIET)
    assert comparison.methods == ["linear", "lgbm", "lgbm+sqinv", "near"]
    rows = {row["method"]: row for row in comparison.results["summary"]}
    assert rows["near"]["fitted_once"]
    assert rows["lgbm"]["seeds"] == [0, 1, 2]
    descriptions = {
        run["identity"]["method"]: run["identity"].get("estimator")
        for run in comparison.results["runs"]
    }
    assert descriptions["linear"] is None
    assert descriptions["lgbm"]["class"] == "lightgbm.sklearn.LGBMRegressor"
    assert descriptions["lgbm"]["params"]["n_estimators"] == 5
    assert ">lgbm+sqinv<" in comparison.to_html()


def test_pipelines_select_columns_by_name(homes):
    columns = make_column_transformer(
        (OneHotEncoder(handle_unknown="ignore"), ["kind"]), remainder="drop"
    )
    comparison = ranksim.compare(
        homes, methods="kinds", estimators={"kinds": make_pipeline(columns, Ridge(1e-6))},
        seeds=1, **QUIET,
    )  # fmt: skip
    model = ranksim.fit(
        homes, method="kinds", estimators={"kinds": make_pipeline(columns, Ridge(1e-6))}, **QUIET
    )
    mae = model.metrics["test"]["all"]["mae"]
    assert mae == read_test_mae(comparison, "kinds")
    means = {kind: model.predict(homes[homes["kind"] == kind]).preds for kind in ("flat", "barn")}
    assert all(np.ptp(preds) < 1e-6 for preds in means.values())
    assert means["flat"][0] != means["barn"][0]


def test_command_imports_objects(homes, homes_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_lines.py").write_text(CODE)
    words = ["compare", homes_file, "--target", "price", "--methods", "linear,line+inv", "--seeds",
             "1", "--estimator", "own_lines:line", "--out", "sweep"]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["ranksim", *map(str, words)])
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    line = sys.modules["own_lines"].line
    ours = ranksim.compare(
        homes, methods=["linear", "line+inv"], estimators={"line": line}, seeds=1, **QUIET
    )
    command = json.loads((tmp_path / "sweep/results.json").read_text())
    assert read_numbers(command) == read_numbers(ours.results)
    with raises_with(UsageError, "an estimator of the user (sklearn.pipeline.Pipeline)"):
        request = ReproduceRequest(tmp_path / "sweep", row="line+inv")
        list(reproduce(request))


def test_results_keep_rows_of_other_calls(homes, tmp_path):
    arguments = {"seeds": 1, "out": tmp_path, **QUIET}
    ranksim.compare(homes, methods="near", estimators={"near": KNeighborsRegressor(3)}, **arguments)
    both = ranksim.compare(homes, methods="linear", **arguments)
    assert both.methods == ["linear", "near"]
    with raises_with(UsageError, "near seed 0 trained with estimator.params.n_neighbors 3", "4"):
        estimators = {"near": KNeighborsRegressor(4)}
        ranksim.compare(homes, methods="near", estimators=estimators, **arguments)


def test_model_of_an_estimator_stays_in_memory(homes, tmp_path):
    estimators = {"forest": FOREST}
    model = ranksim.fit(homes, method="forest+inv", estimators=estimators, seed=3, **QUIET)
    comparison = ranksim.compare(
        homes, methods="forest+inv", estimators=estimators, seeds=[3], **QUIET
    )
    assert model.metrics["test"]["all"]["mae"] == read_test_mae(comparison, "forest+inv", 3)
    held_out = model.evaluate(homes).scores["all"]["mae"]
    assert held_out == pytest.approx(model.metrics["test"]["all"]["mae"])
    assert model.estimator.models[0].random_state == 3
    assert repr(model).startswith("Model(forest+inv, target price: MAE")
    assert "<table" in model._repr_html_()
    for use in (lambda: model.save(tmp_path / "model"), lambda: model.card):
        with raises_with(UsageError, "forest+inv is your own estimator", "pickle"):
            use()


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (Ridge(), "sample_weight"),
        (KNeighborsRegressor(), None),
        (make_pipeline(StandardScaler(), Ridge()), "ridge__sample_weight"),
        (make_pipeline(StandardScaler(), KNeighborsRegressor()), None),
        (make_pipeline(make_pipeline(StandardScaler(), Ridge())), "pipeline__ridge__sample_weight"),
        (GridSearchCV(Ridge(), {"alpha": [1, 2]}, cv=2), "sample_weight"),
        (GridSearchCV(KNeighborsRegressor(), {"n_neighbors": [1, 2]}), None),
        (TransformedTargetRegressor(Ridge()), "sample_weight"),
    ],
)
def test_weights_are_routed(estimator, name):
    custom = CustomEstimator("mine", estimator)
    assert custom.weight_parameter == name
    if name is not None:
        values, labels = np.eye(8), np.arange(8.0)
        weights = np.where(labels < 4, 1.0, 1e-9)
        plain, weighted = (
            custom.fit(values, labels, w, 0).predict(values) for w in (None, weights)
        )
        assert not np.allclose(plain, weighted)


def test_random_states_of_all_parts_are_the_seed():
    custom = CustomEstimator(
        "mine", make_pipeline(StandardScaler(), GridSearchCV(FOREST, {}, cv=2))
    )
    assert custom.depends_on_seed
    model = custom.fit(np.eye(10), np.arange(10.0), None, 7)
    states = {v for k, v in model.get_params().items() if k.endswith("random_state")}
    assert states == {7}
    jobs = {v for k, v in model.get_params().items() if k.endswith("n_jobs")}
    assert jobs == {1}
    assert FOREST.random_state is None
    assert not CustomEstimator("mine", KNeighborsRegressor()).depends_on_seed


class Broken(Ridge):
    """A regressor that fails in a chosen way."""

    def __init__(self, kind="fit"):
        super().__init__()
        self.kind = kind

    def fit(self, x, y):
        if self.kind == "fit":
            raise ValueError("no\nluck")
        return super().fit(x, y)

    def predict(self, x):
        values = super().predict(x)
        return {"shape": values[1:], "nan": values * np.nan}.get(self.kind, values)


@pytest.mark.parametrize(
    ("methods", "estimators", "facts"),
    [
        ("near+inv", {"near": KNeighborsRegressor()}, ["near+inv", "KNeighborsRegressor takes no"]),
        ("near+lds", {"near": KNeighborsRegressor()}, ["near+inv+lds", "takes no sample_weight"]),
        ("mine+fds", {"mine": Ridge()}, ["contains fds", "network"]),
        ("mine", {"trees": Ridge()}, ["'trees' has the name of a method"]),
        ("mine", {"My model": Ridge()}, ["'My model' cannot name a row"]),
        ("mine", {"mine": Ridge}, ["is the class Ridge", "Ridge()"]),
        ("mine", {"mine": 3}, ["is an int, which has no fit"]),
        ("mine", {"mine": StandardScaler()}, ["which has no predict"]),
        ("mine", {"mine": LogisticRegression()}, ["predicts classes"]),
        ("mine", [Ridge()], ["estimators takes a dictionary"]),
        ("mine", {"mine": Broken()}, ["mine could not be fitted (ValueError: no)"]),
        ("mine", {"mine": Broken("shape")}, ["must predict", "one per row", "(35,)"]),
        ("mine", {"mine": Broken("nan")}, ["values that are not finite"]),
        ("yours", {"mine": Ridge()}, ["unknown part 'yours'", "mine"]),
    ],
)
def test_misuse_gives_one_sentence(homes, methods, estimators, facts):
    with raises_with((DataError, UsageError), *facts):
        ranksim.compare(homes, methods=methods, estimators=estimators, seeds=1, **QUIET)


def test_user_weights_need_an_estimator_that_takes_them(homes):
    homes["weight"] = 1.0 + homes.index % 3
    arguments = {"methods": "near", "seeds": 1, "weights": "weight", **QUIET}
    with raises_with(UsageError, "near cannot be trained", "takes no sample_weight"):
        ranksim.compare(homes, estimators={"near": KNeighborsRegressor()}, **arguments)


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({"tune": 2}, ["tune= cannot search", "GridSearchCV"]),
        ({"jobs": 2}, ["'mine' cannot be sent to other processes", "jobs=1"]),
        ({"set": {"max_leaves": 5}}, ["set= max_leaves changes only the estimators"]),
    ],
)
def test_options_that_do_not_apply_are_refused(homes, arguments, facts):
    class Local(Ridge):
        pass

    with raises_with(UsageError, *facts):
        estimators = {"mine": Local()}
        ranksim.compare(homes, methods="mine", estimators=estimators, **arguments, **QUIET)


@pytest.mark.parametrize("option", [{"refit": True}, {"ensemble": 2}, {"cross_validate": 3}])
def test_fit_refuses_options_of_saved_trainings(homes, option):
    with raises_with(UsageError, f"{next(iter(option))}=", "does not apply to your estimator mine"):
        ranksim.fit(homes, method="mine", estimators={"mine": FOREST}, **option, **QUIET)


@pytest.mark.parametrize(
    ("text", "facts"),
    [
        ("Ridge", ["takes package.module:object", "'Ridge'"]),
        ("no_such_module:line", ["no_such_module could not be imported"]),
        ("json:line", ["json has no line"]),
        ("sklearn.linear_model:Ridge", ["'ridge' is the class Ridge"]),
    ],
)
def test_wrong_objects_of_the_command(homes_file, text, facts, monkeypatch, capsys):
    words = ["compare", homes_file, "--target", "price", "--estimator", text]
    monkeypatch.setattr("sys.argv", ["ranksim", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    error = capsys.readouterr().err
    assert end.value.code == 2
    assert error.count("\n") == 1
    assert all(fact in error for fact in facts), error
