"""Models trained on all rows, ensembles, and cross-validation."""

import csv
import dataclasses
from statistics import median_low

import numpy as np
import pytest
import torch

from ranksim._utils.storage import read_verified_json, with_digest, write_json
from ranksim.data.reading import load_table
from ranksim.data.spec import make_user_spec
from ranksim.evaluation.intervals import bootstrap
from ranksim.exceptions import DataError, StoppedError, UsageError
from ranksim.experiments.run import execute_run
from ranksim.inference import load_model
from ranksim.inference.fit import fit_model
from ranksim.inference.fit_request import FitRequest
from ranksim.inference.held_out import list_member_scores
from ranksim.inference.prediction import ScoreRequest, error_intervals, score_predictions
from ranksim.inference.saved_model import CARD, CONFIG, FOLDS, MEMBERS, WEIGHTS
from ranksim.training import direct_loop
from ranksim.training.fit_estimator import ESTIMATOR
from ranksim.user_data.folds import assign_folds
from ranksim.user_data.split_column import SPLIT_FILE
from ranksim.user_data.split_plan import make_split_plan
from tests.helpers import user_data
from tests.helpers.requests import make_request

SMALL = {"table": "hidden=8", "sentences": "hidden=4", "series": "hidden=4"}
SLOW = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("sentences", "pictures")]
KINDS = ["table", "series", *SLOW]


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """Returns the data of a kind, written once."""
    cache = {}

    def get(kind):
        if kind not in cache:
            cache[kind] = user_data.WRITERS[kind](tmp_path_factory.mktemp(kind))
        return cache[kind]

    return get


def fit(data, out, method="vanilla", *, kind="table", options=None, final=None, **values):
    """Fit a small model; return its folder and the result."""
    is_network = not method.startswith(("trees", "linear", "knn", "median", "catboost"))
    changes = values.pop("changes", ())
    if is_network:
        changes += (SMALL[kind],) if kind in SMALL else ()
        values = {"max_epochs": 3} | values
    if kind == "pictures":
        values["image_size"] = 16
    request = make_request(
        data, out, options=user_data.OPTIONS[kind] | (options or {}), seeds="0,",
        changes=changes, **values,
    )  # fmt: skip
    return out, fit_model(FitRequest(request, method, 0, **(final or {})))


def make_plan(data, kind="table", **options):
    return make_split_plan(load_table(str(data)), make_user_spec(user_data.OPTIONS[kind] | options))


def list_pairs(samples, rows):
    """Return the bytes of the inputs and the label of some samples, sorted."""
    inputs = samples.get_inputs(torch.tensor(rows))
    cells = [tuple(bytes(part[k].numpy()) for part in inputs) for k in range(len(rows))]
    return sorted(zip(cells, samples.labels[rows].tolist(), strict=True))


@pytest.fixture
def trained(monkeypatch):
    """The finished training loop of each network."""
    trainings, loop = [], direct_loop.DirectLoop.run

    def run(self):
        loop(self)
        trainings.append(self)

    monkeypatch.setattr(direct_loop.DirectLoop, "run", run)
    return trainings


@pytest.mark.parametrize("kind", KINDS)
def test_refit_trains_on_all_rows_and_keeps_the_held_out_scores(kind, sources, trained, tmp_path):
    data = sources(kind)
    _, plain = fit(data, tmp_path / "plain", kind=kind)
    folder, result = fit(data, tmp_path / "final", kind=kind, final={"refit": True})
    assert {part: result["metrics"][part] for part in ("val", "test")} == {
        part: plain["metrics"][part] for part in ("val", "test")
    }
    first, again, last = trained
    for before, after in zip(first.module.parameters(), again.module.parameters(), strict=True):
        assert torch.equal(before, after)
    plan, task = make_plan(data, kind), last.task
    labels = plan.labels
    if kind == "series":  # and the windows across the boundaries of parts
        windows = np.isfinite(load_model(folder).predict(str(data)).labels)
        labels = load_model(folder).predict(str(data)).labels[windows]
        assert len(labels) > sum(map(len, plan.split))
    assert sorted(task.train.labels.tolist()) == sorted(labels.tolist())
    steps = -(-len(labels) // last.module.recipe.batch_size)
    best_epoch = result["training"]["best_epoch"]
    assert last.global_step == best_epoch * steps
    assert result["training"]["refit"][0]["limits"] == {"epochs": best_epoch}
    model = load_model(folder)
    assert model.recipe.label_scale == pytest.approx(labels.std(), rel=1e-6)
    assert model.regions.counts.sum() == len(labels) == model.config["refit"]["samples"]
    weights = last.module.model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in model.weights.items())
    predictions = model.predict(str(data))
    known = np.isfinite(predictions.labels)
    assert {*np.array(predictions.origin["part"])[known]} == {"train"}


def test_refit_standardizes_and_weights_by_all_rows(sources, trained, tmp_path):
    data = sources("table")
    folder, _ = fit(data, tmp_path / "m", "inv", final={"refit": True})
    table, plan = load_table(str(data)), make_plan(data)
    sizes = np.array([float(value or "nan") for value in table.column("size")])
    filled = np.where(np.isnan(sizes), np.nanmedian(sizes), sizes)
    columns = load_model(folder).adapter.features.columns
    column = next(each for each in columns if each.name == "size")
    assert column.mean == pytest.approx(filled.mean(), rel=1e-6)
    task, module = trained[1].task, trained[1].module
    np.testing.assert_array_equal(task.train.labels, plan.labels)
    count = module.recipe.bins or len(plan.bins)
    edges = np.linspace(plan.bins.edges[0], plan.bins.edges[-1], count + 1)
    bins = (np.searchsorted(edges, plan.labels, side="right") - 1).clip(0, count - 1)
    expected = 1 / np.bincount(bins, minlength=count)[bins]
    weights = module.sample_weight.numpy()
    np.testing.assert_allclose(weights / weights.mean(), expected / expected.mean(), rtol=1e-5)


@pytest.mark.parametrize("limits", [{"max_steps": 12, "max_epochs": None}, {"max_epochs": 5}])
def test_refit_keeps_the_steps_per_row_of_a_training_in_steps(limits, sources, trained, tmp_path):
    data, plan = sources("table"), make_plan(sources("table"))
    changes = ("validate_every=2", "batch_size=16", "lr=0.3")
    _, result = fit(data, tmp_path / "m", changes=changes, final={"refit": True}, **limits)
    first, last = trained
    curves, per_epoch = first.progress.curves, -(-len(plan.split.train) // 16)
    best_step = round(curves["epoch"][int(np.argmin(curves["val"]))] * per_epoch)
    assert best_step % 2 == 0
    steps = round(best_step * 120 / len(plan.split.train))
    assert result["training"]["refit"][0]["limits"] == {"steps": steps}
    assert last.global_step == steps
    assert len(last.progress.curves["val"]) == 1


@pytest.mark.parametrize(
    "method",
    [
        "rrt",
        "smogn",
        *(pytest.param(m, marks=pytest.mark.slow) for m in ("vanilla+fds", "sqinv(log)")),
    ],
)
def test_every_technique_is_refitted(method, sources, trained, tmp_path):
    data = sources("table")
    folder, result = fit(data, tmp_path / "m", method, final={"refit": True})
    _, plain = fit(data, tmp_path / "plain", method)
    assert result["metrics"]["test"] == plain["metrics"]["test"]
    stages = 2 if method == "rrt" else 1
    refitted = trained[stages : 2 * stages]
    counts = [len(loop.task.train) for loop in refitted]
    if method != "smogn":  # which adds rows
        assert counts == [120] * stages
    else:
        assert counts[0] > len(trained[0].task.train)
    preds = load_model(folder).predict(str(data)).preds
    assert np.isfinite(preds).all()
    assert not np.array_equal(preds, load_model(tmp_path / "plain").predict(str(data)).preds)
    if method == "rrt":  # each stage has its own length
        assert (
            refitted[1].module.model.head.weight.shape == refitted[0].module.model.head.weight.shape
        )


@pytest.mark.parametrize(
    ("kind", "method"),
    [
        *(("table", method) for method in ("trees+average+inv", "knn", "median")),
        ("series", "linear"),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (("table", "linear"), ("series", "trees"))
        ),
    ],
)
def test_estimators_are_refitted_with_the_settings_chosen_before(method, kind, sources, tmp_path):
    data, changes = sources(kind), ()
    if method.startswith("trees"):
        changes = ("max_iterations=20", "patience=5")
    _, plain = fit(data, tmp_path / "plain", method, kind=kind, changes=changes)
    final = {"refit": True}
    folder, result = fit(data, tmp_path / "m", method, kind=kind, changes=changes, final=final)
    assert result["metrics"]["test"] == plain["metrics"]["test"]
    before, after = (load_model(tmp_path / name).estimator for name in ("plain", "m"))
    assert before.choices == after.choices
    for old, new in zip(before.models, after.models, strict=True):
        if method == "median":
            labels = load_model(folder).predict(str(data)).labels
            assert new.median == pytest.approx(np.nanmedian(labels))
        if method.startswith("trees"):
            assert len(old.roots) == len(new.roots) > 0
        if method == "knn":
            assert new.neighbors == old.neighbors
            assert len(new.labels) == load_model(folder).config["refit"]["samples"]
        if method == "linear":
            assert not np.array_equal(old.coefficients, new.coefficients)


def test_refit_leaves_out_unused_rows_and_those_without_weight(tmp_path):
    rows = [
        f"{k},{k % 7},{('train', 'val', 'test', 'unused')[k % 4]},{int(k % 8 != 0)}"
        for k in range(80)
    ]
    data = tmp_path / "homes.csv"
    data.write_text("\n".join(["size,price,split,w", *rows]))
    options = {"weights": "w", "split": "split"}
    folder, _ = fit(data, tmp_path / "m", "linear", options=options, final={"refit": True})
    model = load_model(folder)
    expected = [k % 4 != 3 and k % 8 != 0 for k in range(80)]
    assert model.regions.counts.sum() == model.config["refit"]["samples"] == sum(expected)
    parts = model.predict(str(data)).origin["part"]
    assert [part == "train" for part in parts] == expected


def test_evaluate_does_not_call_rows_held_out_that_the_refit_has_seen(sources, tmp_path):
    data = sources("table")
    folder, _ = fit(data, tmp_path / "m", "median", final={"refit": True})
    out = tmp_path / "p.csv"
    load_model(folder).predict(str(data)).write(out)
    for split in (None, str(folder / SPLIT_FILE)):  # with the parts of the file, and of its split
        by_model = {"model": folder} if split is None else {}
        by_table = (
            {}
            if split is None
            else {"train": str(data), "target": "price", "options": {"split": split}}
        )
        request = ScoreRequest(out, out=tmp_path / "e", **by_model, **by_table)
        result = score_predictions(request)
        assert result["predictions"]["parts"] == {"train": 120, "val": 0, "test": 0, "new": 0}
        assert result["held_out"]["test"]["all"]["n"] == 0


@pytest.mark.parametrize(
    ("kind", "method", "final"),
    [
        ("table", "sqinv(log)", {"ensemble": 3}),
        ("table", "smogn", {"ensemble": 2, "refit": True}),
        pytest.param("series", "vanilla", {"ensemble": 2}, marks=pytest.mark.slow),
    ],
)
def test_ensemble_predicts_the_mean_of_its_members(kind, method, final, sources, trained, tmp_path):
    data = sources(kind)
    folder, result = fit(data, tmp_path / "m", method, kind=kind, final=final)
    model, count = load_model(folder), final["ensemble"]
    assert [member["seed"] for member in model.config["members"]] == list(range(count))
    assert len(model.members) == count == len([*(folder / MEMBERS).iterdir()])
    alone = [
        dataclasses.replace(model, members=(member,)).predict(str(data)) for member in model.members
    ]
    preds = np.stack([each.preds for each in alone])
    assert not np.array_equal(preds[0], preds[1])
    predictions = model.predict(str(data))
    np.testing.assert_allclose(predictions.preds, preds.mean(axis=0), rtol=1e-12)
    saved = [member.weights for member in model.members]
    if "refit" in final:  # the last epoch is saved
        for weights, loop in zip(saved, trained[-count:], strict=True):
            expected = loop.module.model.state_dict()
            assert all(torch.equal(weights[name], expected[name]) for name in weights)
        return
    is_test = np.array(predictions.origin["part"]) == "test"
    labels = predictions.labels[is_test]
    metrics = result["metrics"]
    mae = np.abs(predictions.preds[is_test] - labels).mean()
    assert metrics["test"]["all"]["mae"] == pytest.approx(mae, rel=1e-6)
    members = np.abs(preds[:, is_test] - labels).mean(axis=1)
    assert metrics["members"]["all"]["mae"] == pytest.approx(members.mean(), rel=1e-6)
    assert mae <= members.mean() * (1 + 1e-9)
    check_member_scores(model, metrics, preds, predictions)
    assert [each["seed"] for each in result["training"]["trainings"]] == list(range(count))


def check_member_scores(model, metrics, preds, predictions):
    """Compare validation and test scores of each member and of the mean with NumPy."""
    parts = np.array(predictions.origin["part"])
    every = [*zip(metrics["member_scores"], preds, strict=True), (metrics, preds.mean(axis=0))]
    entries = [*model.config["members"], model.config]
    for (scores, values), entry in zip(every, entries, strict=True):
        for part in ("val", "test"):
            errors = (values - predictions.labels)[parts == part]
            overall = scores[part]["all"]
            assert overall["n"] == len(errors)
            assert overall["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-6)
            assert overall["mse"] == pytest.approx(np.square(errors).mean(), rel=1e-6)
            assert entry["scores"][part] == overall
    assert [each["seed"] for each in metrics["member_scores"]] == [
        each["seed"] for each in model.config["members"]
    ]
    val = [each["val"]["all"]["mae"] for each in metrics["member_scores"]]
    assert metrics["val"]["all"]["mae"] < np.mean(val)  # of the mean prediction, not the mean score


def test_ensemble_without_validation_predictions_has_test_scores(sources, tmp_path, monkeypatch):
    """A training that an earlier version has finished did not keep them."""

    def train(run, **options):
        return execute_run(run, **options | {"keep_validation": False})

    monkeypatch.setattr("ranksim.inference.fit.execute_run", train)
    folder, result = fit(sources("table"), tmp_path / "m", final={"ensemble": 2})
    assert "val" not in result["metrics"]
    assert list_member_scores(result["metrics"]) == []
    assert {*load_model(folder).config["members"][1]["scores"]} == {"test"}
    assert "validation MAE" not in (folder / CARD).read_text()


def test_trainings_of_folds_have_validation_scores(sources, tmp_path):
    final = {"cross_validate": 2, "ensemble": 2}
    _, result = fit(sources("table"), tmp_path / "m", max_epochs=1, final=final)
    trainings = result["training"]["trainings"]
    assert [(each["fold"], each["seed"]) for each in trainings] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    assert len({each["val"]["mae"] for each in trainings}) == 4


def test_scores_of_an_ensemble_do_not_depend_on_the_refit(sources, tmp_path):
    data = sources("table")
    results = [
        fit(data, tmp_path / "m", final={"ensemble": 2, "refit": refit})[1]
        for refit in (False, True)
    ]
    for name in ("val", "test", "members", "member_scores"):
        assert results[0]["metrics"][name] == results[1]["metrics"][name]


def test_member_of_an_ensemble_is_the_plain_model_of_its_seed(sources, tmp_path):
    data = sources("table")
    folder, _ = fit(data, tmp_path / "m", "vanilla+ranksim", final={"ensemble": 2})
    plain, _ = fit(data, tmp_path / "plain", "vanilla+ranksim")
    weights = load_model(plain).weights
    for name, value in load_model(folder).weights.items():
        assert torch.equal(value, weights[name])


def test_seed_dependent_estimators_form_ensembles(sources, tmp_path):
    pytest.importorskip("catboost")
    data = sources("table")
    changes = ("max_iterations=8",)
    folder, result = fit(data, tmp_path / "m", "catboost", changes=changes, final={"ensemble": 2})
    model = load_model(folder)
    assert {path.name for path in (folder / MEMBERS / "1").iterdir()} == {ESTIMATOR}
    preds = [
        dataclasses.replace(model, members=(each,)).predict(str(data)).preds
        for each in model.members
    ]
    np.testing.assert_allclose(model.predict(str(data)).preds, np.mean(preds, axis=0), rtol=1e-12)
    assert result["members"] == 2


def test_damaged_member_is_rejected(sources, tmp_path):
    folder, _ = fit(sources("table"), tmp_path / "m", final={"ensemble": 2})
    path = folder / MEMBERS / "1" / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="1/model.safetensors is damaged"):
        load_model(folder)
    path.unlink()
    with pytest.raises(DataError, match="is missing"):
        load_model(folder)


def write_groups(folder, rows=90):
    """Write a table of groups of different sizes, with repeated rows."""
    draw = np.random.default_rng(4)
    owners = draw.integers(0, 12, rows)
    sizes = draw.integers(0, 40, rows)
    lines = [
        f"{size},{owner},{size // 3 + owner % 3}" for size, owner in zip(sizes, owners, strict=True)
    ]
    path = folder / "groups.csv"
    path.write_text("\n".join(["size,owner,price", *lines]))
    return path


def read_folds(folder):
    with (folder / FOLDS).open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "options", [{}, {"group": "owner"}, pytest.param({"balanced": False}, marks=pytest.mark.slow)]
)
def test_cross_validation_predicts_every_row_once(options, trained, tmp_path):
    data = write_groups(tmp_path)
    folder, result = fit(
        data,
        tmp_path / "m",
        options={"features": ("size",), **options},
        final={"cross_validate": 4},
    )
    rows, table = read_folds(folder), load_table(str(data))
    assert [int(row["row"]) for row in rows] == list(range(1, 91))
    folds = np.array([int(row["fold"]) for row in rows])
    assert {*folds} == {1, 2, 3, 4}
    column = "owner" if "group" in options else "size"
    values = np.array(table.column(column))
    for value in np.unique(values):  # groups, and equal rows, stay together
        assert len({*folds[values == value]}) == 1
    labels = np.array([float(value) for value in table.column("price")])
    errors = np.array([float(row["prediction"]) for row in rows]) - labels
    metrics = result["metrics"]
    assert metrics["test"]["all"]["n"] == 90
    assert metrics["test"]["all"]["mae"] == pytest.approx(np.abs(errors).mean(), rel=1e-6)
    owners = np.array([int(value) for value in table.column("owner")])
    is_grouped = "group" in options
    expected = sum_by_group(np.abs(errors), owners) if is_grouped else np.abs(errors)
    low, high = bootstrap(expected[:, None])
    assert metrics["intervals"]["all"]["mae"] == pytest.approx([low[0], high[0]], rel=1e-6)
    units = {"unit": "groups", "all": 12} if is_grouped else {"unit": "samples", "all": 90}
    assert metrics["interval_units"]["unit"] == units["unit"]
    assert metrics["interval_units"]["counts"]["all"] == units["all"]
    assert (result["test_set"], load_model(folder).test_set) == ("whole", "whole")
    assert [each["fold"] for each in result["training"]["trainings"]] == [1, 2, 3, 4]
    epochs = median_low(each["best_epoch"] for each in result["training"]["trainings"])
    assert result["training"]["refit"][0]["limits"] == {"epochs": epochs}
    tasks = [loop.task for loop in trained]
    assert [len(task.test) for task in tasks[:4]] == [(folds == k).sum() for k in (1, 2, 3, 4)]
    assert len(tasks[4].train) == 90
    assert not (folder / SPLIT_FILE).exists()
    assert {*load_model(folder).predict(str(data)).origin["part"]} == {"train"}


def sum_by_group(values, groups):
    """The deviations of each group from the mean, so that their mean over groups is the mean."""
    names = list(dict.fromkeys(groups.tolist()))
    sums = [(values[groups == name] - values.mean()).sum() for name in names]
    return values.mean() + np.array(sums) * len(names) / len(values)


def test_intervals_over_groups_cover_what_groups_share():
    """Errors that are equal within a group are as uncertain as one sample of each group."""
    draw = np.random.default_rng(0)
    shared = draw.normal(0, 1, 40)
    groups = np.repeat(np.arange(40), 5)
    errors = shared[groups]
    expected = error_intervals(shared)
    for name, ends in error_intervals(errors, groups).items():
        assert ends == pytest.approx(expected[name], rel=1e-9)
    alone = error_intervals(errors)["mae"]
    assert alone[1] - alone[0] < 0.6 * (expected["mae"][1] - expected["mae"][0])
    assert error_intervals(errors[:5], groups[:5]) == {"mae": None, "mse": None, "gm": None}
    single = error_intervals(shared, np.arange(40))
    assert single == error_intervals(shared)  # groups of one sample are samples


def test_intervals_of_a_cross_validation_by_day_resample_days(tmp_path):
    draw = np.random.default_rng(2)
    days = np.sort(draw.integers(1, 16, 120))
    lines = [f"2024-03-{day:02},{k % 11},{k % 7 + day}" for k, day in enumerate(days)]
    data = tmp_path / "days.csv"
    data.write_text("\n".join(["when,size,price", *lines]))
    options = {"time": "when", "split_by": "day", "features": ("size",)}
    folder, result = fit(
        data, tmp_path / "m", "linear", options=options, final={"cross_validate": 3}
    )
    rows, labels = read_folds(folder), np.array([float(line.split(",")[2]) for line in lines])
    errors = np.abs([float(row["prediction"]) for row in rows] - labels)
    masks = load_model(folder).regions.masks(labels)
    metrics = result["metrics"]
    assert metrics["interval_units"]["unit"] == "days"
    for region in ("all", "few"):
        mask = masks[region]
        assert metrics["interval_units"]["counts"][region] == len(np.unique(days[mask]))
        low, high = bootstrap(sum_by_group(errors[mask], days[mask])[:, None])
        ends = metrics["intervals"][region]["mae"]
        assert ends == pytest.approx([max(low[0], 0), high[0]], rel=1e-6)


def write_rare_names(folder, owner):
    """Write groups of which one alone has names that no other has."""
    draw = np.random.default_rng(4)
    owners = draw.integers(0, 12, 120)
    lines = [
        f"{k % 17},{each},{'odd' if each == owner else 'ab'[k % 2]},{k % 9}"
        for k, each in enumerate(owners)
    ]
    data = folder / f"names-{owner}.csv"
    data.write_text("\n".join(["size,owner,kind,price", *lines]))
    return data


@pytest.mark.parametrize("fold", [1, 2, 3])
def test_strict_checks_every_fold(fold, tmp_path):
    options = {"group": "owner", "features": ("size", "kind")}
    spec = make_user_spec({"target": "price", **options})
    numbers = assign_folds(
        make_split_plan(load_table(str(write_rare_names(tmp_path, -1))), spec), 3
    ).numbers
    owners = load_table(str(write_rare_names(tmp_path, -1))).column("owner")
    owner = int(owners[int(np.flatnonzero(numbers == fold - 1)[0])])
    data = write_rare_names(tmp_path, owner)
    _, result = fit(data, tmp_path / "m", "median", options=options, final={"cross_validate": 3})
    warnings = result["data_report"]["warnings"]
    texts = [text for text in warnings if "column 'kind' in test" in text]
    assert [text.split(":")[0] for text in texts] == [f"Fold {fold}"]
    with pytest.raises(DataError, match="--strict does not accept warnings: Fold"):
        fit(
            data, tmp_path / "s", "median", options=options, strict=True,
            final={"cross_validate": 3},
        )  # fmt: skip
    assert not (tmp_path / "s").exists()


def test_warning_of_all_folds_is_given_once(tmp_path):
    data = tmp_path / "homes.csv"
    data.write_text(
        "\n".join(["size,copy,price", *(f"{k % 83},{k % 5},{k % 5}" for k in range(90))])
    )
    _, result = fit(data, tmp_path / "m", "median", final={"cross_validate": 3})
    (warning,) = result["data_report"]["warnings"]
    assert warning.startswith("Column 'copy'")


@pytest.mark.slow
def test_each_fold_is_predicted_by_a_model_of_the_others(sources, tmp_path):
    data = sources("table")
    folder, _ = fit(data, tmp_path / "m", "median", final={"cross_validate": 3})
    rows, labels = read_folds(folder), make_plan(data).labels
    folds = np.array([int(row["fold"]) for row in rows])
    for number in (1, 2, 3):
        preds = {float(row["prediction"]) for row in rows if int(row["fold"]) == number}
        assert len(preds) == 1
        assert preds.pop() in labels[folds != number]
    again, _ = fit(data, tmp_path / "again", "linear", final={"cross_validate": 3})
    assert [row["fold"] for row in read_folds(again)] == [row["fold"] for row in rows]
    seed = {"split_seed": 3}
    other, _ = fit(data, tmp_path / "other", "linear", options=seed, final={"cross_validate": 3})
    assert [row["fold"] for row in read_folds(other)] != [row["fold"] for row in rows]


@pytest.mark.parametrize("kind", SLOW)
def test_cross_validation_of_texts_and_images(kind, sources, tmp_path):
    data = sources(kind)
    final = {"cross_validate": 2, "ensemble": 2}
    folder, result = fit(data, tmp_path / "m", kind=kind, max_epochs=1, final=final)
    assert result["metrics"]["test"]["all"]["n"] == len(make_plan(data, kind).labels)
    assert len(load_model(folder).members) == 2
    assert len(result["training"]["trainings"]) == 4


@pytest.mark.parametrize(
    ("kind", "method", "options", "final", "problem"),
    [
        ("table", "trees", {}, {"ensemble": 2}, "trees gives the same model with every seed"),
        ("table", "linear", {}, {"ensemble": 0}, "at least 1"),
        ("table", "vanilla", {}, {"cross_validate": 1}, "at least 2"),
        ("table", "vanilla", {}, {"cross_validate": 3, "refit": True}, "--refit has no effect"),
        ("series", "vanilla", {}, {"cross_validate": 3}, "would train on times after those"),
        (
            "table", "vanilla", {"time": "built", "split_by": "time"}, {"cross_validate": 3},
            "would train on times after those",
        ),
        ("table", "vanilla", {"protocol": "extrapolation"}, {"cross_validate": 3}, "--protocol"),
        ("table", "vanilla", {"split": "kind"}, {"cross_validate": 3}, "column 'kind' names"),
    ],
)  # fmt: skip
def test_options_without_sense_are_one_sentence(
    kind, method, options, final, problem, sources, tmp_path
):
    with pytest.raises(UsageError, match=problem) as error:
        fit(sources(kind), tmp_path / "m", method, kind=kind, options=options, final=final)
    assert str(error.value).count(". ") == 0
    assert not (tmp_path / "m").exists()
    assert not (tmp_path / "m.training").exists()


def test_more_folds_than_groups_are_rejected(tmp_path):
    data = write_groups(tmp_path)
    with pytest.raises(DataError, match="12 groups cannot be divided into 13 folds"):
        fit(
            data, tmp_path / "m", "median", options={"group": "owner"}, final={"cross_validate": 13}
        )


def test_killed_refit_resumes_without_training_the_first_model_again(
    sources, trained, tmp_path, monkeypatch
):
    data = sources("table")
    _, expected = fit(data, tmp_path / "expected", "rrt", final={"refit": True})
    trained.clear()

    def interrupt(run, **options):
        if run.source.all_rows:
            raise KeyboardInterrupt
        return execute_run(run, **options)

    with monkeypatch.context() as patch:
        patch.setattr("ranksim.inference.fit.execute_run", interrupt)
        with pytest.raises(StoppedError, match="run the same command again"):
            fit(data, tmp_path / "m", "rrt", final={"refit": True})
    assert len(trained) == 2
    _, result = fit(data, tmp_path / "m", "rrt", final={"refit": True})
    assert len(trained) == 4
    assert result["metrics"]["test"] == expected["metrics"]["test"]
    models = [load_model(tmp_path / name) for name in ("expected", "m")]
    preds = [model.predict(str(data)).preds for model in models]
    np.testing.assert_array_equal(*preds)
    assert not (tmp_path / "m.training").exists()


def test_malformed_members_are_rejected(sources, tmp_path):
    folder, _ = fit(sources("table"), tmp_path / "m", max_epochs=1, final={"ensemble": 2})
    config = read_verified_json(folder / CONFIG)
    for members in ([], 5, [5], [{}], [{"recipe": {}}], None):
        write_json(folder / CONFIG, with_digest(config | {"members": members}))
        with pytest.raises(DataError, match="cannot build"):
            load_model(folder)


def test_estimators_of_earlier_versions_have_no_choices(sources, tmp_path):
    data = sources("table")
    folder, _ = fit(data, tmp_path / "m", "linear")
    preds = load_model(folder).predict(str(data)).preds
    path = folder / ESTIMATOR / "model.json"
    content = read_verified_json(path)
    assert content.pop("choices")
    write_json(path, with_digest(content))
    model = load_model(folder)
    assert model.estimator.choices == ()
    np.testing.assert_array_equal(model.predict(str(data)).preds, preds)
