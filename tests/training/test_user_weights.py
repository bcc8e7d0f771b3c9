"""The column of --weights: which samples get which weights, and that only their ratios count."""

import csv
import re

import numpy as np
import pytest

from ranksim.data.reading import load_table
from ranksim.data.spec import SeriesSpec, TableSpec, make_user_spec
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.sweep_request import run_benchmark
from ranksim.imbalance import LabelBins
from ranksim.training.factory import make_weights
from ranksim.training.method import Technique, parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.task_loading import load_task
from ranksim.user_data.split_plan import make_split_plan
from tests.helpers import user_data
from tests.helpers.requests import make_request


def add_weights(data, weigh):
    """Add a column ``importance`` to the table of generated data; return the weight of each row."""
    path = data if data.is_file() else next(data.glob("*.csv"))
    with path.open(newline="") as file:
        header, *rows = csv.reader(file)
    weights = [weigh(k, dict(zip(header, row, strict=True))) for k, row in enumerate(rows)]
    with path.open("w", newline="") as file:
        lines = [[*row, weight] for row, weight in zip(rows, weights, strict=True)]
        csv.writer(file, lineterminator="\n").writerows([[*header, "importance"], *lines])
    return weights


def load(kind, data, **options):
    """Load a task with weights; return its plan, benchmark and task."""
    options = user_data.OPTIONS[kind] | {"weights": "importance"} | options
    request = make_request(data, data.parent / "out", options=options)
    small = {"image_size": 16} if kind == user_data.PICTURES else {}
    method = parse_method("vanilla", "inverse")
    recipe = load_recipe(request.source.spec.benchmark, "small", method, small)
    plan = make_split_plan(load_table(str(data)), make_user_spec(options))
    return plan, *load_task(request.source, recipe)


DROPPED = {"table": "12-14", "sentences": "1-2", "pictures": "30-30", "series": "100-110"}


@pytest.mark.parametrize("kind", user_data.WRITERS)
@pytest.mark.parametrize("dropped", [False, True])
def test_training_samples_have_the_weight_of_their_row(kind, dropped, tmp_path):
    """A forecast has that of its target; samples of weight 0 are left out of training only."""
    data = user_data.WRITERS[kind](tmp_path)
    weights = add_weights(data, lambda k, row: k % 7 / 2)
    options = {"drop_labels": (DROPPED[kind],)} if dropped else {}
    _, benchmark, task = load(kind, data, **options)
    lines = task.sample_ids.numbers  # in the file, or in the table
    expected = [weights[line - 2] for line in lines]
    np.testing.assert_array_equal(task.sample_weight, expected)
    assert min(expected) > 0
    np.testing.assert_array_equal(task.train.labels.numpy(), benchmark.train.labels)
    assert len(task.train) == len(expected)
    if not dropped:
        plan, without, _ = load(kind, data, weights=None, **unweighted(kind))
        n_zero = sum(weights[row] == 0 for row in plan.rows[plan.split.train])
        assert len(without.train.labels) == len(expected) + n_zero
        np.testing.assert_array_equal(without.test.labels, benchmark.test.labels)
        note = benchmark.report.notes["Weights"]
        assert note.startswith("column 'importance', 0.5 to 3; ")
        assert f"{n_zero:,} training samples of weight 0 are left out" in note


def unweighted(kind):
    """Return options that name the inputs, as the column of weights would be one."""
    return {"features": ("size", "kind", "built")} if kind == user_data.TABLE else {}


def test_column_of_weights_is_no_input(tmp_path):
    data = user_data.write_table(tmp_path)
    add_weights(data, lambda k, row: 1 + k % 3)
    plan, *_ = load("table", data)
    assert plan.inputs == ("size", "kind", "built")


def test_weights_skip_broken_images(tmp_path):
    data = user_data.write_pictures(tmp_path)
    weights = add_weights(data, lambda k, row: k + 1)
    with next(data.glob("*.csv")).open(newline="") as file:
        files = [row["file"] for row in csv.DictReader(file)]
    plan, _, task = load("pictures", data)
    broken = [int(plan.rows[plan.split.train[k]]) for k in (0, 4)]
    for row in broken:
        (data / files[row]).write_bytes(b"no image")
    _, _, task = load("pictures", data, skip_broken=True)
    rows = [row for row in plan.rows[plan.split.train] if row not in broken]
    assert task.sample_weight.tolist() == [weights[row] for row in rows]
    assert (task.sample_ids.numbers - 2).tolist() == rows


def test_equal_weights_are_none(tmp_path):
    data = user_data.write_table(tmp_path)
    add_weights(data, lambda k, row: 0.7)
    assert load("table", data)[2].sample_weight is None


@pytest.mark.parametrize(
    ("weigh", "message"),
    [
        (lambda k: "" if k in (3, 5) else 1, r"lines 5, 7: column 'importance' has no value"),
        (lambda k: -1 if k == 4 else 1, r"line 6: column 'importance' contains a negative weight"),
        (lambda k: "inf" if k == 4 else 1, r"line 6: column 'importance' contains 'inf', which is"),
        (lambda k: "high" if k == 4 else 1, r"line 6: column 'importance' contains 'high'"),
        (lambda k: 0, r"no training sample with a weight above 0 in column 'importance'"),
    ],
)
@pytest.mark.parametrize("kind", [user_data.TABLE, user_data.SENTENCES])
def test_invalid_weights_are_rejected(kind, weigh, message, tmp_path):
    data = user_data.WRITERS[kind](tmp_path)
    add_weights(data, lambda k, row: weigh(k))
    with pytest.raises(DataError, match=message):
        load(kind, data)


@pytest.mark.parametrize(
    "make",
    [
        lambda: TableSpec(target="y", weights="y"),
        lambda: TableSpec(target="y", weights="a", features=("a", "b")),
        lambda: SeriesSpec(target="y", weights="y", window=3),
    ],
)
def test_weights_cannot_be_target_or_input(make):
    with pytest.raises(UsageError, match=r"^Column '[ay]' of --weights is the target or an input"):
        make()


@pytest.mark.parametrize("method", ["none", "inverse"])
@pytest.mark.parametrize("factor", [1e-6, 1 / 3, 1e6])
def test_training_weights_are_relative(method, factor):
    rng = np.random.default_rng(0)
    labels, weights = rng.integers(0, 5, 40).astype(float), rng.uniform(0.1, 9, 40)
    recipe = load_recipe("table", "small", parse_method("inv", "inverse"))
    arguments = recipe, Technique(weighting=method), LabelBins.integers(0, 4), labels
    one, two = (make_weights(*arguments, weights * scale).numpy() for scale in (1, factor))
    np.testing.assert_allclose(one, two, rtol=1e-6)
    counts = np.bincount(labels.astype(int))[labels.astype(int)]
    product = weights / (counts if method == "inverse" else 1)
    np.testing.assert_allclose(one, product / product.mean(), rtol=1e-6)


@pytest.mark.slow
def test_unit_of_weights_does_not_change_a_comparison(tmp_path):
    data = user_data.write_table(tmp_path)
    weights = add_weights(data, lambda k, row: 1 + k % 20)
    scores = []
    for factor in (1, 0.05, None):
        copy = tmp_path / f"{factor}" / data.name
        copy.parent.mkdir()
        text = data.read_text().splitlines()
        scaled = [
            re.sub(r",[^,]*$", f",{w * (factor or 1)!r}", line)
            for line, w in zip(text[1:], weights, strict=True)
        ]
        copy.write_text("\n".join([text[0], *scaled]) + "\n")
        options = {"target": "price", "features": ("size", "kind"), "weights": "importance"}
        if factor is None:
            del options["weights"]
        request = make_request(
            copy,
            copy.parent / "out",
            options=options,
            changes=("hidden=8",),
            max_epochs=2,
            methods="vanilla,inv+ranksim",
        )
        runs = run_benchmark(request)["runs"]
        scores.append([run["result"]["metrics"]["test"]["all"]["mae"] for run in runs])
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)
    assert scores[0] != pytest.approx(scores[2], rel=1e-3)
