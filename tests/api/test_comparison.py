"""Comparisons through the Python interface: the numbers of the command, and what they show."""

import json
from pathlib import Path

import datasets
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as parquet
import pytest
from matplotlib import pyplot

import ranksim
from ranksim.cli import main
from ranksim.evaluation.record import RECORD
from ranksim.exceptions import DataError, StoppedError, UsageError
from ranksim.experiments import sweep
from tests.helpers.api import QUIET, SMALL, SMALL_OPTIONS, read_numbers
from tests.helpers.errors import raises_with

METHODS = ["vanilla", "inv+ranksim", "trees"]


@pytest.fixture(scope="module")
def result(homes_file):
    """A comparison of networks and trees."""
    frame = pd.read_csv(homes_file)
    return ranksim.compare(frame, target="price", methods=METHODS, seeds=3, **SMALL)


def run_main(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["ranksim", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code


@pytest.mark.slow
def test_numbers_equal_those_of_the_command(result, homes_file, tmp_path, monkeypatch):
    words = ["--target", "price", "--methods", ",".join(METHODS), "--seeds", "3", *SMALL_OPTIONS]
    run_main(monkeypatch, "compare", homes_file, *words, "--out", tmp_path)
    command = json.loads((tmp_path / "results.json").read_text())
    assert read_numbers(command) == read_numbers(result.results)
    by_run = {run["identity"]["method"]: run for run in command["runs"]}
    for method, run in by_run.items():
        seed = f"seed-{run['identity']['seed']}"
        tables = [
            parquet.read_table(folder / "runs" / method / seed / "predictions.parquet")
            for folder in (tmp_path, result.folder)
        ]
        tables[0] = tables[0].drop("line")
        assert tables[0].to_pydict() == tables[1].to_pydict()
    assert shlex_options(result.results["command"]) == shlex_options(command["command"])


def shlex_options(command):
    """Return the options of a command, in any order."""
    words = command.split()[3:]
    return sorted(zip(words[::2], words[1::2], strict=True))


@pytest.mark.slow
def test_all_kinds_of_data_give_the_same_result(homes_file, homes, tmp_path):
    parquet.write_table(pa.Table.from_pandas(homes), tmp_path / "homes.parquet")
    columns = {name: homes[name].tolist() for name in homes}
    inputs, labels = homes.drop(columns="price"), homes["price"]
    kinds = [
        str(homes_file), homes_file, homes, tmp_path / "homes.parquet", pa.table(columns), columns,
        datasets.Dataset.from_pandas(homes), (inputs, labels),
    ]  # fmt: skip
    numbers = []
    for data in kinds:
        target = None if isinstance(data, tuple) else "price"
        comparison = ranksim.compare(data, target=target, methods="linear", seeds=1, progress=False)
        numbers.append(read_numbers(comparison.results)["summary"])
    assert all(each == numbers[0] for each in numbers)


@pytest.mark.slow
def test_arrays_are_columns(homes):
    frame = pd.DataFrame({"x0": homes["size"].fillna(0), "x1": np.arange(len(homes)) % 5})
    frame["y"] = homes["price"]
    options = {"methods": ["linear", "vanilla"], "seeds": 1, **SMALL}
    expected = read_numbers(ranksim.compare(frame, target="y", **options).results)["summary"]
    array, labels = frame[["x0", "x1"]].to_numpy(float), frame["y"].to_numpy()
    for data in (
        ranksim.compare(array, labels, **options),
        ranksim.compare((array, labels), **options),
    ):
        assert read_numbers(data.results)["summary"] == expected


def test_frame_has_a_row_per_method_seed_and_region(result):
    frame = result.to_frame()
    assert list(frame) == [
        "method", "seed", "region", "samples", "mae", "mse", "gm", "pearson", "spearman",
        "balanced_mae", "balanced_mse", "ccc", "sera",
    ]  # fmt: skip
    assert frame[frame["region"] != "all"]["ccc"].isna().all()
    assert frame[frame["region"] == "all"]["ccc"].notna().all()
    assert len(frame) == len(frame[["method", "seed", "region"]].drop_duplicates())
    assert set(frame["method"]) == set(result.methods) == {"vanilla", "inv+ranksim", "trees"}
    networks = frame[(frame["method"] != "trees") & (frame["region"] == "all")]
    means = networks.groupby("method")["mae"].mean()
    for row in result.results["summary"]:
        if row["method"] in means:
            assert means[row["method"]] == pytest.approx(row["test"]["all"]["mae"]["mean"])


def test_best_is_the_surely_better_method_else_the_baseline(result):
    content = result.results
    assert content["conclusion"]["recommended"] == "trees"
    assert result.best == "trees"
    assert result.conclusion.startswith("Compared with vanilla, trees lowers MAE")
    unsure = content | {"conclusion": content["conclusion"] | {"recommended": None}}
    assert ranksim.Comparison(result.folder, unsure).best == result.baseline == "vanilla"
    external = json.loads(json.dumps(content))
    for run in external["runs"]:
        if run["identity"]["method"] == "trees":
            run["identity"]["technique"]["estimator"] = "predictions"
    assert ranksim.Comparison(result.folder, external).best == "vanilla"


@pytest.mark.parametrize("name", ["plot_labels", "plot_errors", "plot_ranks"])
def test_plots_draw_on_given_axes_or_a_new_figure(result, name):
    _, axis = pyplot.subplots()
    assert getattr(result, name)(ax=axis) is axis
    assert axis.patches or axis.lines or axis.images
    new = getattr(result, name)()
    assert new is not axis
    assert new.figure is not axis.figure


def test_plotted_numbers_are_those_of_the_results(result):
    labels = result.results["labels"]
    patches = [patch for patch in result.plot_labels().patches if hasattr(patch, "get_x")]
    patches = [patch for patch in patches if not patch.get_hatch()]
    bars = {round(bar.get_x(), 4): bar.get_height() for bar in patches}
    edges = zip(labels["edges"], labels["train"], strict=False)
    assert bars == {round(edge, 4): count for edge, count in edges if count}
    image = result.plot_ranks("inv+ranksim").images[0].get_array()
    runs = [r["result"]["ranks"] for r in result.results["runs"]
            if r["identity"]["method"] == "inv+ranksim"]  # fmt: skip
    np.testing.assert_allclose(image, np.mean([run["feature"] for run in runs], axis=0))
    by_label = result.plot_ranks("labels").images[0].get_array()
    np.testing.assert_array_equal(by_label, runs[0]["label"])
    with raises_with(UsageError, "no ranks of 'trees'", "vanilla"):
        result.plot_ranks("trees")


def test_notebooks_show_table_and_picture(result):
    html = result._repr_html_()
    assert "<svg" in html
    assert "<table" in html
    assert result.results["conclusion"]["headline"] in html.replace("&#x27;", "'")
    assert all(f">{method}</td>" in html for method in result.methods)
    assert len(repr(result).splitlines()) == 1
    assert "trees lowers MAE" in repr(result)


def test_page_equals_that_of_the_report(result, tmp_path):
    page = result.to_html()
    assert page.startswith("<!doctype html>")
    assert result.to_html(tmp_path / "report.html") == page
    assert (tmp_path / "report").is_dir()


def test_saved_results_are_loaded(result, tmp_path):
    folder = result.save(tmp_path / "copy")
    loaded = ranksim.Comparison.load(folder)
    assert loaded.results == result.results
    assert repr(loaded) == repr(result)
    assert ranksim.Comparison.load(folder / "results.json").best == result.best
    assert len(list(folder.rglob(RECORD))) == 7
    with raises_with(UsageError, "not an empty folder"):
        result.save(folder)
    with raises_with(DataError, "does not exist"):
        ranksim.Comparison.load(tmp_path / "none")


def test_temporary_folder_lives_as_long_as_the_object(homes):
    comparison = ranksim.compare(homes, methods="linear", seeds=1, **QUIET)
    folder = comparison.folder
    assert (folder / "results.json").is_file()
    assert not list(folder.glob("*.parquet"))
    del comparison
    assert not folder.exists()


@pytest.mark.slow
def test_ctrl_c_keeps_finished_runs(homes, tmp_path, monkeypatch):
    execute, calls = sweep._execute_and_report, []

    def interrupt(run, progress_bar):
        calls.append(run.name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return execute(run, progress_bar)

    arguments = {"target": "price", "methods": ["vanilla", "inv"], "seeds": 2, **SMALL}
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "_execute_and_report", interrupt)
        with raises_with(StoppedError, "the same call resumes"):
            ranksim.compare(homes, out=tmp_path, **arguments)
        calls.clear()
        with raises_with(StoppedError, "out='", "goes on where it stopped") as stopped:
            ranksim.compare(homes, **arguments)
    temporary = Path(str(stopped.value).partition("out='")[2].partition("'")[0])
    whole = ranksim.compare(homes, **arguments)
    for folder in (tmp_path, temporary):
        (record,) = folder.rglob(RECORD)
        written = record.stat().st_mtime_ns
        rest = ranksim.compare(homes.copy(), out=folder, **arguments)
        assert record.stat().st_mtime_ns == written
        assert read_numbers(rest.results) == read_numbers(whole.results)
    with raises_with(UsageError, "trained with data.options.table_sha256", "out="):
        ranksim.compare(homes.iloc[1:], out=tmp_path, **arguments)


def test_nothing_is_printed_without_progress(homes, capfd):
    arguments = {"target": "price", "methods": ["linear"], "seeds": 1, "max_epochs": 1}
    ranksim.compare(homes, progress=False, **arguments)
    assert capfd.readouterr() == ("", "")
    ranksim.compare(homes, **arguments)
    printed = capfd.readouterr()
    assert "Categories" in printed.out
    assert "1/1 linear seed 0" in printed.out


@pytest.mark.slow
def test_processes_read_data_in_memory(homes):
    arguments = {"target": "price", "methods": ["linear", "vanilla"], "seeds": 2, **SMALL}
    one, two = (ranksim.compare(homes, jobs=jobs, **arguments) for jobs in (1, 2))
    # tests skip t-SNE in this process alone
    assert read_numbers(one.results)["summary"] == read_numbers(two.results)["summary"]


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({}, ["compare() needs target="]),
        ({"target": "prise"}, ["DataFrame has no column 'prise'", "did you mean 'price'"]),
        ({"target": 3}, ["target= takes a text", "got 3"]),
        ({"target": "price", "method": "inv"}, ["no argument 'method'", "did you mean methods"]),
        ({"target": "price", "methods": ["vanila"]}, ["unknown part 'vanila'"]),
        ({"target": "price", "methods": [1]}, ["methods= takes names", "got [1]"]),
        ({"target": "price", "seeds": 0}, ["seeds= takes a number above 0", "'0'"]),
        ({"target": "price", "seeds": 2.5}, ["seeds= takes a number of seeds", "2.5"]),
        ({"target": "price", "budget": "ten"}, ["budget= takes a time", "'ten'"]),
        ({"target": "price", "jobs": 0}, ["jobs= takes a number of at least 1", "got 0"]),
        ({"target": "price", "split_by": "name"}, ["split_by= takes one of random", "'name'"]),
        ({"target": "price", "split_by": "group"}, ["split_by='group' needs", "add group="]),
        ({"target": "price", "test_per_bin": 5}, ["test_per_bin= has no effect without protocol="]),
        ({"target": "price", "image": "a", "window": 3}, ["image= and window=", "one of them"]),
        ({"target": "price", "set": {"learning_rat": 1}}, ["set='learning_rat'", "of this call"]),
        ({"target": "price", "set": ["lr"]}, ["set= takes FIELD=VALUE"]),
        ({"target": "price", "features": [["a"]]}, ["features= takes a text or a list"]),
        ({"target": "price", "features": ["price"]}, ["both the target and an input"]),
        ({"target": "price", "strict": 1}, ["strict= takes True or False"]),
        ({"target": "price", "encoding": "utf-8"}, ["encoding= has no effect on DataFrame"]),
        ({"target": "price", "progress": 1}, ["progress takes True or False"]),
        ({"target": "price", "out": 3}, ["out= takes the path of a folder"]),
        ({"target": "price", "y": [1]}, ["one label per row of X", "(120,)"]),
    ],
)
def test_misuse_gives_one_sentence(homes, arguments, facts):
    with raises_with((DataError, UsageError), *facts) as caught:
        ranksim.compare(homes, **{"progress": False, **arguments})
    message = str(caught.value)
    assert message.endswith((".", "?"))
    assert "--" not in message
