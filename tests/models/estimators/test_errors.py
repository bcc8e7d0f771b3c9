"""What estimators refuse, and damaged files."""

import json
import sys

import numpy as np
import pytest

from ranksim._utils.storage import with_digest, write_json
from ranksim.exceptions import DataError, MissingDependencyError, UsageError
from ranksim.models.estimators import (
    ESTIMATOR_FILES,
    ESTIMATORS,
    LOSSES,
    EstimatorData,
    EstimatorSettings,
    estimator_type,
    load_estimator,
)
from tests.helpers.errors import raises_with
from tests.helpers.estimator_data import FEW_TREES, make_samples

MISSING = [(name, loss) for name in ESTIMATORS for loss in LOSSES]
MISSING = [(name, loss) for name, loss in MISSING if loss not in estimator_type(name).losses]


def fit(name, settings=FEW_TREES, **changes):
    estimator = estimator_type(name)()
    reads = estimator.reads
    estimator.fit(make_samples(reads), make_samples(reads, 60, 1), settings, **changes)
    return estimator


def test_losses_are_those_of_the_libraries():
    assert [
        ("trees", "huber"),
        ("trees", "tweedie"),
        ("catboost", "gamma"),
        *(("linear", loss) for loss in LOSSES[1:]),
        *(("knn", loss) for loss in LOSSES[1:]),
    ] == MISSING


@pytest.mark.parametrize(("name", "loss"), MISSING)
def test_a_loss_that_the_library_lacks_is_refused_with_the_alternatives(name, loss):
    losses = estimator_type(name).losses
    with raises_with(UsageError, f"{name} has no loss {loss} (", *losses):
        fit(name, EstimatorSettings(loss=loss))


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("catboost", "min_samples_leaf"),
        ("linear", "learning_rate"),
        ("linear", "max_leaves"),
        ("knn", "l2"),
        ("median", "learning_rate"),
    ],
)
def test_a_setting_without_effect_is_refused(name, setting):
    settings = EstimatorSettings(
        **{setting: 1 if setting == "l2" else {"max_leaves": 5}.get(setting, 1)}
    )
    with raises_with(UsageError, f"{name} has no setting {setting}", "it takes"):
        fit(name, settings)


@pytest.mark.parametrize(
    ("name", "setting", "values"),
    [
        (name, setting, values)
        for name in ("trees", "lightgbm", "xgboost", "catboost")
        for setting, values in {
            "learning_rate": (0.01, 0.5),
            "max_leaves": (2, 30),
            "min_samples_leaf": (1, 40),
            "l2": (0.0, 1e4),
        }.items()
        if setting in estimator_type(name).options
    ],
)
def test_each_setting_has_an_effect(name, setting, values):
    val = make_samples(count=60, seed=1)
    results = []
    for value in values:
        options = {"learning_rate": 0.1} | {setting: value}
        settings = EstimatorSettings(max_iterations=8, **options)
        preds = fit(name, settings).predict(val.values)
        results.append(
            len(np.unique(preds)) if setting.endswith(("leaf", "leaves")) else np.std(preds)
        )
    grows = setting in ("learning_rate", "max_leaves")
    low, high = results if grows else results[::-1]
    assert high > 1.02 * low


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("loss", "mse"),
        ("learning_rate", 0.0),
        ("learning_rate", 1.5),
        ("learning_rate", float("nan")),
        ("max_leaves", 1),
        ("min_samples_leaf", 0),
        ("l2", -1.0),
        ("l2", float("inf")),
        ("max_iterations", 0),
        ("patience", 0),
        ("quantile", 1.0),
        ("huber_delta", 0.0),
        ("tweedie_power", 2.0),
    ],
)
def test_settings_outside_their_range_are_errors(setting, value):
    with raises_with(UsageError, f"{setting} must be", repr(value)):
        EstimatorSettings(**{setting: value})


@pytest.mark.parametrize("name", ["trees", "lightgbm", "xgboost", "catboost", "knn"])
def test_a_library_that_is_not_installed_is_named_with_its_extra(name, monkeypatch):
    kind = estimator_type(name)
    assert kind.is_available()
    for module in [kind.library, *(m for m in sys.modules if m.startswith(f"{kind.library}."))]:
        monkeypatch.setitem(sys.modules, module, None)
    assert not kind.is_available()
    extra = "trees" if name in ("lightgbm", "xgboost", "catboost") else "train"
    with raises_with(MissingDependencyError, f"{kind.library} is not installed", f"[{extra}]"):
        fit(name)


def test_monitor_and_names():
    with raises_with(UsageError, "monitor must be one of mse, mae", "'r2'"):
        fit("median", monitor="r2")
    with raises_with(UsageError, "no estimator 'forest'", *ESTIMATORS):
        estimator_type("forest")


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_weights_are_checked(weight):
    data = make_samples(weighted=True)
    data.sample_weight[6] = weight
    with raises_with(DataError, "1 training weight ", f"{weight:g} in row 6"):
        estimator_type("trees")().fit(data, make_samples(), FEW_TREES)


def test_values_are_checked():
    data = make_samples("vectors")
    data.values[3, 2] = np.nan
    for name in ("linear", "knn"):
        with raises_with(DataError, name, "column 2", "nan in row 3", "fill in"):
            estimator_type(name)().fit(data, make_samples("vectors"), FEW_TREES)
        with raises_with(DataError, name, "column 2", "nan in row 3"):
            fit(name).predict(data.values)
    data.values[3, 2] = np.inf
    with raises_with(DataError, "Column 2 of the training samples is infinite in row 3"):
        estimator_type("trees")().fit(data, make_samples("vectors"), FEW_TREES)
    empty = EstimatorData(np.zeros((5, 0)), (), np.arange(5.0))
    with raises_with(DataError, "lightgbm needs at least one input column"):
        estimator_type("lightgbm")().fit(empty, empty, FEW_TREES)
    median = estimator_type("median")()
    median.fit(empty, empty, FEW_TREES)
    assert median.predict(np.zeros((2, 0))).tolist() == [2.0, 2.0]


def test_shapes_and_codes_are_checked():
    labels = np.zeros(2)
    with pytest.raises(ValueError, match=r"values must have shape \(2, 1\), got \(2, 2\)"):
        EstimatorData(np.zeros((2, 2)), (0,), labels)
    with pytest.raises(ValueError, match=r"sample_weight must have shape \(2,\), got \(3,\)"):
        EstimatorData(np.zeros((2, 1)), (0,), labels, np.zeros(3))
    for code in (2.0, -1.0, 0.5):
        with pytest.raises(ValueError, match="column 0 must contain codes from 0 to 1 or NaN"):
            EstimatorData(np.array([[np.nan], [code]]), (2,), labels)
    with pytest.raises(ValueError, match=r"values must have shape \(N, 4\), got \(3, 5\)"):
        fit("lightgbm").predict(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="the same categories"):
        estimator_type("trees")().fit(make_samples(), make_samples("vectors"), FEW_TREES)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_damaged_files_are_rejected(name, tmp_path):
    fit(name).save(tmp_path)
    files = sorted(tmp_path.iterdir())
    assert {path.name for path in files} <= ESTIMATOR_FILES
    assert len(files) == (1 if name in ("linear", "median") else 2)
    draw = np.random.default_rng(0)
    for path in files:
        content = path.read_bytes()
        for position in draw.integers(0, len(content), 8):
            damaged = bytearray(content)
            damaged[position] ^= 1 << int(draw.integers(8))
            path.write_bytes(damaged)
            with raises_with(DataError, str(tmp_path)):
                load_estimator(tmp_path)
        for size in (0, len(content) // 2, len(content) - 1):
            path.write_bytes(content[:size])
            with raises_with(DataError, path.name, "again"):
                load_estimator(tmp_path)
        path.unlink()
        with raises_with(DataError, f"{path} is missing"):
            load_estimator(tmp_path)
        path.write_bytes(content)
    assert load_estimator(tmp_path).name == name


def rewrite(folder, **changes):
    """Change entries of a description and give it a new checksum."""
    content = json.loads((folder / "estimator.json").read_text())
    content = {**content, **changes}
    del content["digest"]
    content = {key: value for key, value in content.items() if value is not ...}
    write_json(folder / "estimator.json", with_digest(content))


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "mse"},
        {"loss": ...},
        {"categories": [0, 1]},
        {"categories": [0, -1, 0, 0]},
        {"categories": "0000"},
        {"shift": "0"},
        {"scale": True},
        {"scale": ...},
    ],
)
@pytest.mark.parametrize("name", ["trees", "lightgbm", "xgboost", "catboost"])
def test_descriptions_of_other_types_are_rejected(name, changes, tmp_path):
    fit(name).save(tmp_path)
    rewrite(tmp_path, **changes)
    with raises_with(DataError, f"could not be read as a model of {name}", "fit it again"):
        load_estimator(tmp_path)


def test_other_formats_names_and_paths_are_rejected(tmp_path):
    fit("trees").save(tmp_path)
    with raises_with(DataError, "describes 'trees', not median"):
        estimator_type("median").load(tmp_path)
    rewrite(tmp_path, format=2)
    with raises_with(DataError, "has format 2", "reads 1"):
        load_estimator(tmp_path)
    rewrite(tmp_path, format=1, name="forest")
    with raises_with(DataError, "unknown estimator 'forest'"):
        load_estimator(tmp_path)
    rewrite(tmp_path, name="trees", file="../trees.npz")
    (tmp_path.parent / "trees.npz").write_bytes((tmp_path / "trees.npz").read_bytes())
    with raises_with(DataError, "trees.npz is damaged"):
        load_estimator(tmp_path)


@pytest.mark.parametrize(
    ("array", "change"),
    [
        ("left", lambda left: np.zeros_like(left)),  # a circle
        ("right", lambda right: right + 10_000),
        ("column", lambda column: column + 4),
        ("bitset", lambda bitset: bitset - 1_000),
        ("value", lambda value: value.astype(np.float32)),
        ("roots", lambda roots: roots - 1),
        ("edges_0", lambda edges: edges[::-1]),
        ("bitsets", lambda bitsets: bitsets[:, :4]),
    ],
)
def test_arrays_that_are_no_trees_are_rejected(array, change, tmp_path):
    from ranksim._utils.storage import read_arrays, sha256, write_arrays

    fit("trees").save(tmp_path)
    path = tmp_path / "trees.npz"
    arrays = read_arrays(path)
    write_arrays(path, arrays | {array: change(arrays[array])})
    rewrite(tmp_path, sha256=sha256(path))
    with raises_with(DataError, "trees.npz could not be read as a model of trees"):
        load_estimator(tmp_path)
