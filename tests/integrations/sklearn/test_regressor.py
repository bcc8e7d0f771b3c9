"""The regressor keeps scikit-learn's promises, and its own: one engine, no trace, every bit."""

import os
import pickle
import random
import re
import tempfile
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats
from scipy.stats import uniform
from sklearn import config_context
from sklearn.base import clone
from sklearn.model_selection import (
    GridSearchCV,
    RandomizedSearchCV,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import PolynomialFeatures
from sklearn.utils.estimator_checks import check_estimator

from benchmarks.default_estimator import list_changes
from ranksim._utils.storage import read_verified_json
from ranksim.exceptions import UsageError
from ranksim.integrations.sklearn import RankSimRegressor
from ranksim.integrations.sklearn.regressor import _RECIPE_FIELDS
from ranksim.training.divergence import DivergedError
from ranksim.training.presets import preset_table

FAST = {"hidden": 16, "learning_rate": 0.01, "random_state": 0}


def data(count=120, width=4, seed=0):
    """Whole labels from 20 on, few of them high."""
    draw = np.random.default_rng(seed)
    x = draw.normal(size=(count, width)) * [1, 10, 0.1, 1e3] + [0, 5, 0, -1e4]
    return x, np.floor(20 + 10 * np.exp(0.8 * x[:, 0]))


def make_model(method="vanilla+ranksim", **settings):
    return RankSimRegressor(method, **(FAST | {"max_epochs": 2} | settings))


def same(a, b):
    left, right = a.network_.state_dict(), b.network_.state_dict()
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.slow
def test_passes_check_estimator():
    # short trainings, of which it makes ninety
    settings = {"hidden": 32, "learning_rate": 0.01, "batch_size": 16, "max_epochs": 4}
    check_estimator(RankSimRegressor(**settings), on_skip=None)


def test_default_method_is_one_that_the_measurement_supports():
    """RankSim adds nothing that is sure to the default, which is simpler."""
    method = RankSimRegressor().method
    assert method == "sqinv"
    path = Path(__file__).parents[3] / "results" / "default_estimator" / "holdouts.json"
    for table in read_verified_json(path)["tables"].values():
        for region in ("all", "few", "rarest"):
            changes = list_changes(table["holdouts"], ("sqinv+ranksim", method), region)
            interval = stats.t.interval(0.95, len(changes) - 1, changes.mean(), stats.sem(changes))
            assert interval[0] < 0 < interval[1]


def test_defaults_match_preset():
    recipe, defaults = preset_table("table", "small"), RankSimRegressor().get_params()
    assert {
        field: defaults[name] for name, field in _RECIPE_FIELDS.items()
    }.items() <= recipe.items()


SLOW_METHODS = ("vanilla", "sqinv+lds", "focal-r+ranksim", "rrt+lds+fds+ranksim")
METHODS = [
    "inv+fds+ranksim",
    *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW_METHODS),
]


@pytest.mark.parametrize("method", METHODS)
def test_methods_learn_reproducibly_in_any_row_order(method):
    x, y = data()
    # of a two-stage method, the curve is that of the head, which starts from a trained encoder
    epochs = 15 if "rrt" in method else 6
    settings = {"max_epochs": epochs, "config": {"lds_kernel_size": 3}}
    model = make_model(method, **settings).fit(x, y)
    assert model.loss_curve_[-1] < 0.9 * model.loss_curve_[0]
    shuffled = np.random.default_rng(1).permutation(len(y))
    assert same(model, make_model(method, **settings).fit(x[shuffled], y[shuffled]))
    assert not same(model, make_model(method, **settings | {"random_state": 1}).fit(x, y))
    if method != "vanilla":
        assert not same(model, make_model("vanilla", **settings).fit(x, y))


def test_rrt_keeps_first_stage_encoder():
    x, y = data()
    one, two = make_model("vanilla").fit(x, y), make_model("rrt").fit(x, y)
    np.testing.assert_array_equal(one.transform(x), two.transform(x))
    assert not torch.equal(one.network_.head.weight, two.network_.head.weight)


def test_prediction_matches_manual_computation():
    x, y = data()
    model = make_model().fit(x, y)
    weights = [p.detach().numpy() for p in model.network_.parameters()]
    z = (x - x.mean(0)) / x.std(0)  # of rows that come once, and none left out
    for k in (0, 2):
        z = np.maximum(z @ weights[k].T + weights[k + 1], 0)
    np.testing.assert_allclose(model.transform(x), z, rtol=1e-9, atol=1e-12)
    # labels are whole, so the offset is; the scale is their deviation
    wanted = (z @ weights[4].T + weights[5]).ravel() * y.std() + np.rint(y.mean())
    np.testing.assert_allclose(model.predict(x), wanted, rtol=1e-9)
    assert model.predict(x).dtype == np.float64


@pytest.mark.parametrize("method", ["vanilla", "inv+lds+fds+ranksim"])
def test_results_do_not_depend_on_units(method):
    x, y = data()
    model = make_model(method, bin_width=5).fit(x, y)
    # the same in thousandths, and a million off: 5 of 1 are 5,000 of 0.001
    moved = make_model(method, bin_width=5_000).fit(x * 3 + 7, y * 1_000 + 1e6)
    np.testing.assert_allclose(moved.predict(x * 3 + 7), model.predict(x) * 1_000 + 1e6, rtol=1e-4)


def test_early_stopping_and_loss_curves():
    x, y = data()
    model = make_model(max_epochs=60, patience=3, learning_rate=0.05).fit(x, y)
    assert model.n_iter_ == model.best_iter_ + 3 < 60
    assert len(model.loss_curve_) == len(model.validation_curve_) == model.n_iter_
    assert np.argmin(model.validation_curve_) + 1 == model.best_iter_
    free = make_model("vanilla", max_epochs=8, early_stopping=False).fit(x, y)
    assert free.n_iter_ == 8
    # validated on what it is trained on: the error of the kept weights is the one of the data
    error = np.abs(free.predict(x) - y).mean()
    assert min(free.validation_curve_) == pytest.approx(error, rel=1e-5)


def test_integer_weights_equal_repeated_rows():
    x, y = data(40)
    weight = np.random.default_rng(0).integers(0, 4, 40)
    repeated = np.repeat(np.arange(40), weight)
    for method in ("vanilla+ranksim", "inv+lds"):
        model = make_model(method).fit(x, y, sample_weight=weight)
        assert same(model, make_model(method).fit(x[repeated], y[repeated]))
        assert not same(model, make_model(method).fit(x, y))


def test_scale_of_sample_weight_does_not_matter():
    x, y = data(60)
    weight = np.random.default_rng(0).uniform(0.1, 0.9, 60)
    model = make_model("sqinv").fit(x, y, sample_weight=weight)
    assert same(model, make_model("sqinv").fit(x, y, sample_weight=weight / 2))
    # beyond 10 on average they are no copies
    large = make_model("sqinv").fit(x, y, sample_weight=weight * 1024)
    assert same(model, large)
    assert not same(model, make_model("sqinv").fit(x, y))


# on average 4 and 40, with and without copies
@pytest.mark.parametrize(("method", "largest"), [("vanilla+ranksim", 20), ("rrt+inv", 200)])
def test_unit_of_sample_weight_does_not_matter(method, largest):
    x, y = data(40)
    weight = np.where(np.arange(40) % 7 == 0, largest, 1)
    preds = make_model(method).fit(x, y, sample_weight=weight).predict(x)
    for factor in (1 / 3, 1e4):
        model = make_model(method).fit(x, y, sample_weight=weight * factor)
        np.testing.assert_allclose(model.predict(x), preds, 1e-6)


def test_equal_sample_weights_equal_none():
    x, y = data(40)
    model = make_model("inv").fit(x, y)
    assert same(model, make_model("inv").fit(x, y, sample_weight=np.full(40, 7)))
    assert same(model, make_model("inv").fit(x, y, sample_weight=np.full(40, 0.1)))


@pytest.mark.slow
def test_weighted_samples_are_learned():
    x, y = np.linspace(-1, 1, 60)[:, None], np.repeat([0.0, 1.0], [54, 6])
    both = [np.r_[x, x], np.r_[y, 1 - y]]  # each input has two labels
    weight = np.r_[np.full(60, 9.5), np.full(60, 0.5)]
    settings = {"max_epochs": 25, "early_stopping": False, "config": {"loss": "mse"}}
    model = make_model("vanilla", **settings).fit(*both, sample_weight=weight)
    other = make_model("vanilla", **settings).fit(*both, sample_weight=weight[::-1])
    assert np.abs(model.predict(x) - y).mean() < 0.2
    assert np.abs(other.predict(x) - (1 - y)).mean() < 0.2


def test_pipeline_grid_search_clone_and_pickle():
    x, y = data()
    pipe = make_pipeline(PolynomialFeatures(2), make_model())
    search = GridSearchCV(
        pipe, {"ranksimregressor__method": ["vanilla", "inv"]}, cv=2, error_score="raise"
    ).fit(x, y)
    assert set(search.cv_results_["param_ranksimregressor__method"]) == {"vanilla", "inv"}
    weight = np.ones(len(y))
    weight[:60] = 0
    half = pipe.fit(x, y, ranksimregressor__sample_weight=weight)
    assert same(half[-1], clone(pipe).fit(x[60:], y[60:])[-1])
    model = make_model().fit(x, y)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict(x), model.predict(x))
    assert clone(model).get_params() == model.get_params()
    assert "network_" not in vars(clone(model))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_n_jobs_does_not_change_results():
    x, y = data()
    alone = cross_val_score(make_model(), x, y, cv=2)
    np.testing.assert_array_equal(alone, cross_val_score(make_model(), x, y, cv=2, n_jobs=2))


def test_divergence_error_names_rows_of_x():
    x, y = data()
    with pytest.raises(
        DivergedError, match=r"^Training diverged at step \d+ .* of X; lower"
    ) as raised:
        make_model(learning_rate=1e37).fit(x, y)
    named = raised.value.divergence
    assert set(named.numbers) <= set(range(len(x)))
    assert str(list(named.numbers[:5]))[1:-1] in str(raised.value)


def test_fits_in_parallel_threads():
    x, y = data()
    alone = make_model().fit(x, y)
    with ThreadPoolExecutor(2) as pool:
        assert all(
            same(alone, each) for each in pool.map(lambda _: make_model().fit(x, y), range(2))
        )


def test_metadata_routing():
    x, y = data()
    weight = np.random.default_rng(0).integers(0, 3, len(y))
    with config_context(enable_metadata_routing=True):
        model = (
            make_model().set_fit_request(sample_weight=True).set_score_request(sample_weight=False)
        )
        scores = cross_validate(
            model, x, y, cv=2, params={"sample_weight": weight}, return_estimator=True
        )
    fold = scores["estimator"][0]
    assert same(fold, make_model().fit(x[60:], y[60:], sample_weight=weight[60:]))


def test_fits_pandas_dataframe():
    x, y = data()
    table = pd.DataFrame(x, columns=list("abcd"))
    model = make_model().fit(table, pd.Series(y))
    assert model.feature_names_in_.tolist() == list("abcd")
    assert same(model, make_model().fit(x, y))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(table.rename(columns={"a": "z"}))


def test_fit_has_no_side_effects(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    x, y = data()
    states = [random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()]
    settings = (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads())
    environment, filters = dict(os.environ), list(warnings.filters)
    make_model("rrt+ranksim").fit(x, y)
    assert not list(tmp_path.iterdir())
    assert states[0] == random.getstate()
    assert torch.equal(states[1], torch.get_rng_state())
    assert states[2] == np.random.get_state()[1].tolist()
    assert settings == (torch.are_deterministic_algorithms_enabled(), torch.get_num_threads())
    assert environment == dict(os.environ)
    assert filters == warnings.filters


def test_random_state_instance():
    x, y = data()
    state = np.random.RandomState(5)
    first, second = (make_model(random_state=state).fit(x, y) for _ in range(2))
    assert not same(first, second)
    assert same(first, make_model(random_state=np.random.RandomState(5)).fit(x, y))


def test_random_state_generator():
    x, y = data()
    generator = np.random.default_rng(5)
    first, second = (make_model(random_state=generator).fit(x, y) for _ in range(2))
    assert not same(first, second)
    assert same(first, make_model(random_state=np.random.default_rng(5)).fit(x, y))
    assert same(
        make_model(random_state=5).fit(x, y), make_model(random_state=np.int64(5)).fit(x, y)
    )


GRIDS = {
    "whole numbers": {
        "hidden": np.array([4]),
        "layers": np.arange(1, 2, dtype=np.uint8),
        "batch_size": 2 ** np.arange(4, 5),
        "max_epochs": np.arange(1, 2, dtype=np.int16),
        "patience": np.array([1], dtype=np.int32),
        "n_bins": np.arange(5, 6),
    },
    "numbers": {
        "learning_rate": np.logspace(-3, -2, 1),
        "gamma": np.arange(1, 2),
        "lambda_": np.array([2], dtype=np.float16),
        "ranksim_weight": np.array([0.1], dtype=np.float32),
        "dropout": np.linspace(0.1, 0.2, 1),
        "bin_width": np.arange(2, 3),
        "validation_fraction": np.array([0.25], dtype=np.float32),
    },
    "other": {
        "method": np.array(["inv+ranksim"]),
        "early_stopping": np.array([False]),
        "device": np.array(["cpu"]),
        "random_state": np.arange(1),
        "config": [{"weight_decay": np.float32(0.25), "lds_kernel_size": np.int64(3)}],
    },
}


@pytest.mark.parametrize("name", GRIDS)
def test_searches_pass_numpy_scalars(name):
    x, y = data(60)
    base = make_model("inv+ranksim", max_epochs=1, hidden=4)
    grid = GRIDS[name]
    search = GridSearchCV(base, grid, cv=2, error_score="raise").fit(x, y)
    plain = {key: np.asarray(values).tolist()[0] for key, values in grid.items()}
    assert same(search.best_estimator_, clone(base).set_params(**plain).fit(x, y))


def test_randomized_search():
    x, y = data(60)
    space = {"learning_rate": np.logspace(-4, -2, 9), "hidden": np.arange(4, 9), "gamma": uniform()}
    base = make_model(max_epochs=1)
    search = RandomizedSearchCV(base, space, n_iter=2, cv=2, error_score="raise", random_state=0)
    assert set(search.fit(x, y).best_params_) == set(space)


DATES = np.arange("2020-01-01", "2020-01-05", dtype="datetime64[D]")
X, Y = np.zeros((4, 1)), [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((X, ["1", "2", "3", "4"]), "y must be real numbers, got text such as "),
        ((X, np.array(["a"] * 4, dtype=object)), "y must be real numbers, got text such as 'a'"),
        ((X, DATES), "y must be real numbers, got dates such as "),
        ((X, DATES - DATES[0]), "y must be real numbers, got time spans such as "),
        ((X, pd.Series(DATES)), "y must be real numbers, got dates such as "),
        ((X, list(map(pd.Timestamp, DATES))), "y must be real numbers, got dates such as "),
        ((DATES[:, None], Y), "X must be real numbers, got dates such as "),
        ((X.astype(str), Y), "X must be real numbers, got text such as "),
        (
            (pd.DataFrame({"size": Y, "kind": list("abcd")}), Y),
            "column 'kind' of X must be real numbers, got text such as 'a': convert or encode",
        ),
        ((X, Y, list("1234")), "sample_weight must be real numbers, got text such as "),
    ],
)
def test_rejects_data_that_are_not_numbers(arguments, message):
    with pytest.raises(TypeError, match=f"^{re.escape(message)}"):
        make_model().fit(*arguments)


MASK = np.array([False, True, False, False])


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("X", (np.ma.masked_array(X, MASK), Y)),
        ("y", (X, np.ma.masked_array(Y, MASK))),
        ("sample_weight", (X, Y, np.ma.masked_array(Y, MASK))),
    ],
)
def test_rejects_masked_values(name, arguments):
    with pytest.raises(ValueError, match=f"^{name} must not be masked, got 1 masked values of 4"):
        make_model().fit(*arguments)


def test_accepts_masked_arrays_without_masked_values():
    x, y = np.random.default_rng(0).normal(size=(30, 2)), np.arange(30.0)
    masked = make_model(max_epochs=1).fit(np.ma.masked_array(x), np.ma.masked_array(y))
    plain = make_model(max_epochs=1).fit(x, y)
    np.testing.assert_array_equal(masked.predict(x), plain.predict(x))


@pytest.mark.slow
@pytest.mark.parametrize("early_stopping", [True, False])
def test_two_samples_and_equal_labels(early_stopping):
    settings = {"early_stopping": early_stopping, "max_epochs": 30}
    two = make_model(**settings).fit([[0.0], [1.0]], [1.0, 3.0])
    assert np.isfinite(two.predict([[0.5]])).all()
    constant = make_model(**settings).fit([[0.0], [1.0], [2.0]], [1 / 3] * 3)
    np.testing.assert_allclose(constant.predict([[0.5]]), [1 / 3], atol=0.5)
    equal = make_model(**settings).fit([[1.0], [1.0], [1.0]], [1.0, 2.0, 4.0])
    assert np.isfinite(equal.predict([[1.0]])).all()


@pytest.mark.parametrize(
    ("settings", "kind", "message"),
    [
        (
            {"method": "vanila"},
            UsageError,
            "Method 'vanila' has an unknown part 'vanila': ",
        ),
        (
            {"n_bins": 5, "bin_width": 1.0},
            ValueError,
            "n_bins and bin_width contradict each other, got 5 and 1.0: pass one of them",
        ),
        (
            {"validation_fraction": 1.0},
            ValueError,
            "validation_fraction must be in (0, 1), got 1.0",
        ),
        (
            {"config": {"lr": 0.1}},
            ValueError,
            "config must not set lr: pass the argument",
        ),
        ({"learning_rate": 0.0}, UsageError, "learning_rate must be above 0, got 0.0."),
        ({"max_epochs": 0}, UsageError, "max_epochs must be at least 1, got 0."),
        ({"method": 3}, TypeError, "method must be text, got 3"),
        ({"hidden": 16.0}, TypeError, "hidden must be a whole number, got 16.0"),
        ({"hidden": np.float64(16)}, TypeError, "hidden must be a whole number, got np.float64"),
        ({"layers": True}, TypeError, "layers must be a whole number, got True"),
        ({"learning_rate": "0.1"}, TypeError, "learning_rate must be a number, got '0.1'"),
        ({"early_stopping": "auto"}, TypeError, "early_stopping must be True or False, got 'auto'"),
        ({"n_bins": 2.5}, TypeError, "n_bins must be a whole number or None, got 2.5"),
        ({"bin_width": [1]}, TypeError, "bin_width must be a number or None, got [1]"),
        ({"bin_width": 0}, ValueError, "bin_width must be a finite number above 0, got 0"),
        ({"config": "lr"}, TypeError, "config must be a dictionary of recipe fields or None, got"),
        ({"device": 0}, TypeError, "device must be text, got 0"),
        (
            {"random_state": "seed"},
            TypeError,
            "random_state must be None, a whole number, or a NumPy RandomState or Generator, got",
        ),
        ({"config": {"decay": 1}}, UsageError, "A recipe has no field 'decay': it has "),
        (
            {"config": {"ranksim_weight": 0.0}},
            ValueError,
            "config must not set ranksim_weight: pass the argument",
        ),
        ({"n_bins": 0}, ValueError, "n_bins must be at least 1, got 0"),
    ],
)
def test_rejects_invalid_arguments(settings, kind, message):
    with pytest.raises(kind, match=f"^{re.escape(message)}"):
        make_model(**settings).fit(*data())


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([-1.0, 1.0, 1.0], "sample_weight must be at least 0, got -1"),
        (
            [0.0, 0.0, 1.0],
            "sample_weight must not be zero for all samples, or for all but one sample",
        ),
    ],
)
def test_rejects_invalid_sample_weight(weight, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        make_model().fit([[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0], sample_weight=weight)
