"""Comparisons with estimators, transforms, resampling, predictions made elsewhere, ensembles."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from ranksim.cli.train import run_sweep_request
from ranksim.data.spec import DataLocation
from ranksim.evaluation.predictions import PREDICTIONS, read_predictions
from ranksim.exceptions import DataError, RankSimError, UsageError
from ranksim.experiments import run as run_module
from ranksim.experiments import store as store_module
from ranksim.experiments import sweep as sweep_module
from ranksim.experiments.reproduce import ReproduceRequest, diff_records, reproduce
from ranksim.experiments.search_space import TuneRequest
from ranksim.experiments.store import ResultStore
from ranksim.experiments.sweep_request import choose_methods, run_benchmark
from ranksim.experiments.tune import tune
from ranksim.inference import load_model
from ranksim.inference.fit import fit_model
from ranksim.inference.fit_request import FitRequest
from ranksim.training.task_loading import load_plan
from tests.helpers import user_data
from tests.helpers.requests import make_request

TABLE = user_data.OPTIONS[user_data.TABLE]


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    return user_data.write_table(tmp_path_factory.mktemp("homes"), rows=200)


@pytest.fixture(scope="module")
def sweep(homes, tmp_path_factory):
    """The results of networks and estimators, three seeds each, and the request."""
    request = make_request(
        homes,
        tmp_path_factory.mktemp("sweep"),
        options=TABLE,
        methods="vanilla,vanilla+over(log),trees,trees+sqinv,linear,median,trees+smogn",
        seeds="3",
        max_epochs=2,
        changes=("hidden=8",),
    )
    return run_benchmark(request), request


def row_of(results, name):
    return next(row for row in results["summary"] if row["method"] == name)


def read(request, method, seed=0):
    return read_predictions(request.out / "runs" / method / f"seed-{seed}" / PREDICTIONS)


@pytest.mark.parametrize(
    ("method", "words"),
    [("last-value", "it needs --window"), ("trees+smogn", "the rows of a table")],
)
def test_methods_of_other_data_are_refused_before_training(tmp_path, method, words):
    texts = user_data.write_sentences(tmp_path)
    request = make_request(
        texts,
        tmp_path / "out",
        options=user_data.OPTIONS[user_data.SENTENCES],
        methods=f"median,{method}",
    )
    with pytest.raises(UsageError, match=words):
        run_benchmark(request)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_methods_without_a_seed_are_fitted_once(sweep):
    results, request = sweep
    once = {row["method"] for row in results["summary"] if row.get("fitted_once")}
    assert once == {"trees", "trees+sqinv", "linear", "median"}
    assert row_of(results, "trees")["seeds"] == [0]
    assert row_of(results, "trees+smogn")["seeds"] == [0, 1, 2]
    assert len(list((request.out / "runs/trees").iterdir())) == 1


@pytest.mark.slow
def test_a_method_without_a_seed_is_compared_with_every_seed(sweep):
    results, request = sweep
    comparison = row_of(results, "trees")["vs_baseline"]
    assert comparison["seeds"] == [0, 1, 2]
    effect = comparison["test"]["all"]["mae"]
    trees = np.abs(read(request, "trees").errors).mean()
    changes = [trees - np.abs(read(request, "vanilla", k).errors).mean() for k in range(3)]
    assert effect["mean"] == pytest.approx(np.mean(changes))
    assert effect["n"] == 3
    assert effect["ci_adjusted"] is not None


def test_ensemble_scores_the_mean_prediction(sweep):
    results, request = sweep
    runs = [read(request, "vanilla", seed) for seed in range(3)]
    mean = np.mean([run.preds for run in runs], axis=0)
    many = runs[0].regions["many"]
    ensemble = row_of(results, "vanilla")["ensemble"]
    assert ensemble["many"]["mae"] == pytest.approx(np.abs(mean - runs[0].labels)[many].mean())
    assert "ensemble" not in row_of(results, "trees")


def test_median_predicts_the_median_training_label(sweep):
    _, request = sweep
    plan = load_plan(request.source)
    expected = np.median(plan.labels[plan.split.train])
    assert np.allclose(read(request, "median").preds, expected)


def test_rows_are_reproduced_bit_by_bit(sweep, homes):
    _, request = sweep
    for row in ("trees+sqinv", "trees+smogn"):
        again = ReproduceRequest(request.out, row, 0, DataLocation(str(homes)), accelerator="cpu")
        assert [report["matches"] for report in reproduce(again)] == [True]


def test_intervals_of_two_methods_without_a_seed_are_over_samples(homes, tmp_path):
    request = make_request(homes, tmp_path, options=TABLE, methods="trees,linear,median", seeds="3")
    results = run_benchmark(request)
    assert results["baseline"] == "trees"
    effect = row_of(results, "median")["vs_baseline"]["test"]["all"]["mae"]
    assert row_of(results, "median")["vs_baseline"]["fitted_once"]
    assert effect["ci_total"] == effect["ci_samples"]
    low, high = effect["ci_adjusted"]
    assert low <= effect["ci_samples"][0] <= effect["ci_samples"][1] <= high
    assert "median" in results["conclusion"]["regions"]["all"]["worse"]
    assert "seeds" not in results["conclusion"]["sentence"]


class TestExternalPredictions:
    def write(self, request, path, key="line", label="label", shift=1.0, drop=0, shuffle=True):
        plan = load_plan(request.source)
        origin, labels = plan.describe_test(), plan.labels[plan.split.test]
        keys = origin.get(key, range(len(labels)))
        rows = [[k, y + shift, y] for k, y in zip(keys, labels, strict=True)]
        if shuffle:
            np.random.default_rng(0).shuffle(rows)
        with path.open("w", newline="") as file:
            csv.writer(file).writerows([[key, "prediction", label], *rows[drop:]])

    def request(self, homes, out, *paths, name=()):
        return make_request(
            homes, out, options=TABLE, methods="median", predictions=tuple(map(str, paths)),
            name=name,
        )  # fmt: skip

    @pytest.mark.parametrize("key", ["line", "row", "index"])
    def test_become_a_row(self, homes, tmp_path, key):
        path = tmp_path / "theirs.csv"
        self.write(self.request(homes, tmp_path), path, key)
        request = self.request(homes, tmp_path / "out", path, name=("their model",))
        results = run_benchmark(request)
        assert row_of(results, "their model")["test"]["all"]["mae"]["mean"] == pytest.approx(1.0)
        assert row_of(results, "their model")["fitted_once"]
        assert json.loads((tmp_path / "out/results.json").read_text())["summary"]

    def test_stay_when_the_folder_is_used_again(self, homes, tmp_path):
        path, out = tmp_path / "theirs.csv", tmp_path / "out"
        self.write(self.request(homes, tmp_path), path)
        for _ in range(2):
            run_benchmark(self.request(homes, out, path, name=("their model",)))
        path.unlink()
        location = DataLocation(str(homes))
        with pytest.raises(UsageError, match="predictions made elsewhere: choose another row"):
            list(reproduce(ReproduceRequest(out, "their model", location=location)))
        request = self.request(homes, out)
        results = run_benchmark(dataclasses.replace(request, methods="linear"))
        assert [row["method"] for row in results["summary"]] == ["linear", "median", "their model"]
        assert row_of(results, "their model")["test"]["all"]["mae"]["mean"] == pytest.approx(1.0)
        other = make_request(homes, out, options={**TABLE, "split_seed": 1}, methods="knn")
        with pytest.raises(UsageError, match="choose another folder with --out"):
            run_benchmark(other)

    @pytest.mark.parametrize(
        ("change", "words"),
        [
            ({"drop": 2}, "has no prediction for 2 of"),
            ({"key": "number", "drop": 1}, "add a column line, row or index"),
        ],
    )
    def test_of_another_split_are_rejected(self, homes, tmp_path, change, words):
        path = tmp_path / "theirs.csv"
        self.write(self.request(homes, tmp_path), path, **change)
        with pytest.raises(DataError, match=words):
            run_benchmark(self.request(homes, tmp_path / "out", path))
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize("label", ["label", "price"])
    def test_in_another_order_are_rejected_by_their_labels(self, homes, tmp_path, label):
        path = tmp_path / "theirs.csv"
        self.write(self.request(homes, tmp_path), path, key="number", label=label)
        with pytest.raises(DataError, match="other labels than the test set"):
            run_benchmark(self.request(homes, tmp_path / "out", path))

    @pytest.mark.parametrize("name", ["trees", "a/b", "", ".."])
    def test_unusable_names_are_rejected(self, homes, tmp_path, name):
        path = tmp_path / "theirs.csv"
        self.write(self.request(homes, tmp_path), path)
        with pytest.raises(UsageError, match="cannot name a row"):
            run_benchmark(self.request(homes, tmp_path / "out", path, name=(name,)))


def test_default_methods_suit_the_data(homes, tmp_path):
    request = make_request(homes, tmp_path, options=TABLE)
    assert choose_methods(request.source).split(",") == [
        *("vanilla", "sqinv", "rrt", "vanilla+ranksim"),
        *("trees", "trees+sqinv", "trees(log)", "linear", "median"),
    ]
    lines = homes.read_text().splitlines()
    path = tmp_path / "zero.csv"
    path.write_text("\n".join([*lines, "50.0,flat,2020-01-01,0"]) + "\n")
    request = make_request(path, tmp_path, options=TABLE)
    assert "trees(yeo-johnson)" in choose_methods(request.source)
    series = user_data.write_series(tmp_path)
    request = make_request(series, tmp_path, options=user_data.OPTIONS[user_data.SERIES])
    assert choose_methods(request.source).endswith(",linear,median,last-value")


def test_changes_that_no_method_uses_are_rejected(homes, tmp_path):
    values = {"options": TABLE, "changes": ("max_leaves=5",)}
    with pytest.raises(UsageError, match="max_leaves changes only the estimators trees, lightgbm"):
        run_benchmark(make_request(homes, tmp_path / "out", **values))
    values["changes"] = ("hidden=5",)
    with pytest.raises(UsageError, match="hidden changes only networks"):
        run_benchmark(make_request(homes, tmp_path / "out", methods="trees", **values))


@pytest.mark.slow
def test_trees_are_tuned(homes, tmp_path):
    request = make_request(homes, tmp_path, options=TABLE, methods="trees+inv", seeds="3")
    result = tune(TuneRequest(request, 3), lambda line: None)
    assert not [*tmp_path.glob("**/seed-1")]  # no seed matters
    assert set(result.values) == {"learning_rate", "max_leaves", "min_samples_leaf", "l2"}
    assert isinstance(result.values["max_leaves"], int)


@pytest.mark.parametrize("method", ["trees+average+inv(log)", "vanilla(quantile)", "smoter"])
def test_saved_models_predict_as_the_run_did(homes, tmp_path, method):
    request = make_request(
        homes, tmp_path / "model", options=TABLE, max_epochs=2,
        changes=("hidden=8",) if "trees" not in method else (),
    )  # fmt: skip
    result = fit_model(FitRequest(request, method, 0))
    model = load_model(tmp_path / "model")
    predictions = model.predict(str(homes))
    is_test = np.array(predictions.origin["part"]) == "test"
    mae = np.abs(predictions.errors)[is_test].mean()
    assert mae == pytest.approx(result["metrics"]["test"]["all"]["mae"], rel=1e-5)
    request = dataclasses.replace(request, changes=())
    fit_model(FitRequest(request, "median", 0))  # replaces the model
    assert len(set(load_model(tmp_path / "model").predict(str(homes)).preds)) == 1


@pytest.mark.parametrize(
    ("kind", "write", "method"),
    [
        pytest.param(
            user_data.SENTENCES, user_data.write_sentences, "linear", marks=pytest.mark.slow
        ),
        pytest.param(user_data.PICTURES, user_data.write_pictures, "trees", marks=pytest.mark.slow),
        (user_data.SERIES, user_data.write_series, "last-value"),
        (user_data.SERIES, user_data.write_series, "trees+inv"),
    ],
)
def test_estimators_read_every_kind_of_data(tmp_path, monkeypatch, kind, write, method):
    monkeypatch.setenv("RANKSIM_CACHE", str(tmp_path / "cache"))
    data = write(tmp_path)
    size = {"image_size": 16} if kind == user_data.PICTURES else {}
    request = make_request(data, tmp_path / "model", options=user_data.OPTIONS[kind], **size)
    result = fit_model(FitRequest(request, method, 0))
    predictions = load_model(tmp_path / "model").predict(str(data))
    parts = predictions.origin.get("part")
    errors = np.abs(predictions.errors)[np.array(parts) == "test"]
    assert errors.mean() == pytest.approx(result["metrics"]["test"]["all"]["mae"], rel=1e-5)


class TestRefusals:
    """Methods that the data does not suit are refused before training, in one sentence."""

    def refuse(self, data, out, methods, *changes, error=UsageError, **values):
        values = {"options": TABLE} | values
        request = make_request(data, out / "out", methods=methods, changes=changes, **values)
        with pytest.raises(error) as caught:
            run_benchmark(request)
        assert not (out / "out").exists()
        message = str(caught.value)
        assert message.count(".") == message.count("0.") + message.count(".csv") + 1  # a sentence
        return message

    def write(self, path, labels, parts=()):
        """Write a table with these labels, and its split if there are parts."""
        areas = np.random.default_rng(0).permutation(len(labels)) / 8
        columns = [areas.tolist(), labels, *([parts] if parts else [])]
        header = ["area", "price", "split"][: len(columns)]
        rows = [header, *zip(*columns, strict=True)]
        path.write_text("\n".join(",".join(map(str, row)) for row in rows) + "\n")
        return path

    @pytest.mark.parametrize(
        "method",
        ["vanilla+over", "trees+under", "vanilla+smoter", "trees+smogn(log)"],
    )
    def test_rows_without_rare_labels_are_not_resampled(self, tmp_path, method):
        data = self.write(tmp_path / "even.csv", [1 + k % 40 for k in range(400)])
        message = self.refuse(data, tmp_path, f"median,{method}")
        assert f"Method {method} cannot be trained" in message
        assert "no training label is rare" in message
        relevance = float(message.split("relevance is ")[1].split(",")[0])
        results = run_benchmark(
            make_request(
                data, tmp_path / "out", options=TABLE, methods=f"median,{method}", max_epochs=1,
                changes=(f"rare_threshold={relevance - 0.01}",),
            )
        )  # fmt: skip
        assert len(results["summary"]) == 2

    def test_every_label_is_rare(self, homes, tmp_path):
        data = self.write(tmp_path / "even.csv", [k % 40 for k in range(400)])
        message = self.refuse(data, tmp_path, "trees+over", "rare_threshold=1e-9")
        assert "Method trees+over" in message
        assert "raise it with --set" in message

    @pytest.mark.parametrize("row", ["wercs", "vanilla", "trees", "median"])
    def test_the_threshold_of_other_methods_is_refused(self, homes, tmp_path, row):
        message = self.refuse(homes, tmp_path, row, "rare_threshold=0.5")
        assert "changes only rows that are resampled" in message

    @pytest.mark.parametrize(
        ("method", "loss", "label", "word"),
        [
            ("trees+sqinv", "gamma", 0, "above 0"),
            ("trees", "gamma", -3.5, "above 0"),
            ("trees+average+inv", "poisson", -3.5, "of at least 0"),
        ],
    )
    @pytest.mark.parametrize("part", ["train", "val"])
    def test_labels_that_a_loss_cannot_fit_are_named_by_line(
        self, tmp_path, method, loss, label, word, part
    ):
        labels = [1.0 + k % 40 for k in range(400)]
        labels[7] = label
        parts = ["train"] * 200 + ["val"] * 100 + ["test"] * 100
        parts[7] = part
        data = self.write(tmp_path / "bad.csv", labels, parts)
        options = {**TABLE, "split": "split"}
        request = make_request(
            data, tmp_path / "out", options=options, methods=method, changes=(f"loss={loss}",)
        )
        with pytest.raises(DataError) as caught:
            run_benchmark(request)
        message = str(caught.value)
        assert f"Method {method} cannot be trained: the loss {loss} needs labels {word}" in message
        assert f"such as {label:g} in line 9 of bad.csv" in message

    @pytest.mark.parametrize("transform", ["log", "yeo-johnson", "quantile"])
    @pytest.mark.parametrize("loss", ["gamma", "poisson"])
    def test_transformed_labels_are_not_positive(self, homes, tmp_path, transform, loss):
        message = self.refuse(homes, tmp_path, f"trees({transform})", f"loss={loss}")
        assert f"Method trees({transform}) cannot be trained: the loss {loss} needs" in message
        assert f"transformed by {transform} lie on both sides of 0" in message

    @pytest.mark.parametrize("methods", ["vanilla", "trees,sqinv(log)", "lightgbm,median,rrt"])
    @pytest.mark.parametrize("loss", ["gamma", "poisson", "tweedie", "quantile"])
    def test_networks_do_not_have_the_losses_of_trees(self, homes, tmp_path, methods, loss):
        message = self.refuse(homes, tmp_path, methods, f"loss={loss}")
        network = methods.rpartition(",")[2]
        assert f"Method {network} cannot be trained: a network has no loss {loss}" in message

    @pytest.mark.parametrize("method", ["inv", "trees+sqinv", "rrt", "linear+average+inv"])
    def test_equal_weights_name_the_method(self, tmp_path, method):
        parts = ["train"] * 200 + ["val"] * 100 + ["test"] * 100
        data = self.write(tmp_path / "two.csv", [1, 2] * 200, parts)
        options = {**TABLE, "split": "split"}
        message = self.refuse(data, tmp_path, f"median,{method}", options=options)
        assert f"Method {method} cannot be trained: Weights of scheme" in message

    @pytest.mark.parametrize(
        ("methods", "present", "absent"),
        [
            ("trees,linear", ("max_leaves", "loss", "l2"), ("hidden", "lr", "rare_threshold")),
            ("linear", ("l2", "monitor"), ("max_leaves", "hidden")),
            ("vanilla", ("hidden", "lr"), ("max_leaves", "rare_threshold")),
            ("vanilla+over", ("hidden", "rare_threshold"), ("max_leaves",)),
            ("vanilla,trees", ("hidden", "max_leaves"), ("rare_threshold",)),
        ],
    )
    def test_unknown_settings_list_those_of_the_rows(
        self, homes, tmp_path, methods, present, absent
    ):
        message = self.refuse(homes, tmp_path, methods, "unknown=3")
        assert "'unknown' names no setting" in message
        names = message.split("they have ")[1].rstrip(".").split(", ")
        assert {*present} <= {*names}
        assert not {*absent} & {*names}

    def test_settings_of_some_rows_change_these_alone(self, homes, tmp_path):
        request = make_request(
            homes, tmp_path, options=TABLE, methods="trees,linear,median", changes=("max_leaves=3",)
        )
        results = run_benchmark(request)
        leaves = {r["identity"]["method"]: r["identity"]["recipe"] for r in results["runs"]}
        assert [leaves[name]["max_leaves"] for name in ("trees", "linear")] == [3, None]
        with pytest.raises(UsageError, match="changes only the estimators trees, lightgbm"):
            run_benchmark(dataclasses.replace(request, methods="linear", out=tmp_path / "b"))


def test_data_and_predictions_are_checked_once_per_method(homes, tmp_path, monkeypatch):
    checked, read = [], []
    check = run_module.check_data

    def count(run, **options):
        checked.append(run.method.key)
        return check(run, **options)

    monkeypatch.setattr(run_module, "check_data", count)
    external = run_module.read_external_predictions
    monkeypatch.setattr(
        run_module,
        "read_external_predictions",
        lambda path, data: read.append(path) or external(path, data),
    )
    plan = load_plan(make_request(homes, tmp_path, options=TABLE).source)
    path = tmp_path / "theirs.csv"
    path.write_text("prediction\n" + "5\n" * len(plan.split.test))
    request = make_request(
        homes, tmp_path / "out", options=TABLE, methods="trees+smogn(log),median", seeds="3",
        predictions=(str(path),),
    )  # fmt: skip
    run_benchmark(request)
    assert checked == ["trees+smogn(log)", "median", "theirs"]
    assert len(read) == 2  # to check them, and to score them


def test_features_are_projected_for_the_seed_that_is_shown(homes, tmp_path):
    values = {"options": TABLE, "methods": "rrt,linear", "max_epochs": 1, "changes": ("hidden=8",)}
    records = {}
    for seeds in ("2,1", "2,"):
        out = tmp_path / seeds
        run_benchmark(make_request(homes, out, seeds=seeds, **values))
        for path in out.glob("runs/*/*/record.json"):
            records[seeds, path.parent.parent.name, path.parent.name] = json.loads(path.read_text())
    for method in ("vanilla", "rrt"):
        last, first = (records["2,1", method, f"seed-{seed}"]["result"] for seed in (2, 1))
        alone = records["2,", method, "seed-2"]["result"]
        assert first["projection"]["tsne"] is not None
        assert alone.pop("projection") is not None
        assert not diff_records(last, alone)
        assert last["ranks"] is not None
    assert records["2,", "linear", "seed-2"]["result"]["projection"] is None


class TestWritingOfResults:
    """Results are written while runs train, but not after each of many fast ones."""

    METHODS = "median,linear,knn,linear+inv,linear(log),knn+inv,knn(log)"

    @pytest.fixture
    def writes(self, monkeypatch):
        writes = []
        write = ResultStore.write

        def count(store, **options):
            writes.append(options)
            return write(store, **options)

        monkeypatch.setattr(ResultStore, "write", count)
        return writes

    def test_fast_runs_share_a_file(self, homes, tmp_path, writes):
        request = make_request(homes, tmp_path, options=TABLE, methods=self.METHODS)
        assert len(run_benchmark(request)["runs"]) == 7
        assert 2 <= len(writes) < 7
        assert writes[-1] == {"last": True}

    def test_slow_runs_are_written_at_once(self, homes, tmp_path, writes, monkeypatch):
        monkeypatch.setattr(store_module, "_WRITING_PAUSE", 0)
        request = make_request(homes, tmp_path, options=TABLE, methods="median,linear,knn")
        run_benchmark(request)
        assert len(writes) == 4

    @pytest.mark.parametrize("error", [RankSimError("no memory"), KeyboardInterrupt()])
    def test_finished_runs_are_written_if_another_ends_the_sweep(
        self, homes, tmp_path, monkeypatch, error
    ):
        execute, finished = sweep_module.execute_run, []

        def fail(run, **options):
            if len(finished) == 5:
                raise error
            finished.append(run.method.key)
            return execute(run, **options)

        monkeypatch.setattr(sweep_module, "execute_run", fail)
        request = make_request(homes, tmp_path, options=TABLE, methods=self.METHODS)
        with pytest.raises(RankSimError):
            run_benchmark(request)
        results = json.loads((tmp_path / "results.json").read_text())
        assert [run["identity"]["method"] for run in results["runs"]] == finished


def test_default_rows_that_do_not_suit_the_data_are_left_out(tmp_path, capsys):
    """Weights of equally frequent labels are all one."""
    parts = ("train", "train", "val", "test")
    rows = (f"{k * 37 % 240 + 0.5},{k % 10},{parts[k // 10 % 4]}" for k in range(240))
    lines = ["size,price,split", *rows]
    (tmp_path / "even.csv").write_text("\n".join(lines))
    request = make_request(
        tmp_path / "even.csv", tmp_path / "out", options={"target": "price"}, methods="default",
        max_epochs=1, changes=("hidden=8",),
    )  # fmt: skip
    results = run_sweep_request(request, as_json=False)
    rows = [row["method"] for row in results["summary"]]
    assert "vanilla" in rows
    assert "sqinv" not in rows
    output = " ".join(capsys.readouterr().out.split())
    assert "Left out: Method sqinv cannot be trained: Weights of scheme sqrt_inverse are" in output
