"""Reports of labels: the numbers of the command, tables and pictures."""

import json

import numpy as np
import pytest
from matplotlib import pyplot

import ranksim
from ranksim.cli import main
from ranksim.exceptions import DataError, UsageError
from tests.helpers.errors import raises_with


@pytest.fixture
def report(homes):
    return ranksim.inspect(homes, target="price", region={"cheap": "<5"})


def test_content_equals_that_of_the_command(report, homes_file, tmp_path, monkeypatch):
    words = ["inspect", homes_file, "--target", "price", "--region", "cheap=<5", "--out", tmp_path]
    monkeypatch.setattr("sys.argv", ["ranksim", *map(str, words)])
    with pytest.raises(SystemExit):
        main()
    command = json.loads((tmp_path / "inspect.json").read_text())
    names = {"data", "line_unit", "next", "proposals"}
    ours, theirs = (
        {key: value for key, value in each.items() if key not in names}
        for each in (report.content, command)
    )
    assert ours == theirs
    assert report.content["next"] == command["next"].replace("homes.csv", "DataFrame")


def test_frame_has_a_row_per_bin(report, homes):
    frame = report.to_frame()
    assert list(frame) == ["low", "high", "samples", "region"]
    counts, _ = np.histogram(homes["price"], [*frame["low"], frame["high"].iloc[-1]])
    assert frame["samples"].tolist() == counts.tolist()
    few = frame.loc[frame["region"] == "few", "samples"].sum()
    assert f"{few} of {len(homes)} labels" in report.conclusion


def test_plot_draws_all_bins(report):
    _, axis = pyplot.subplots()
    assert report.plot_labels(axis) is axis
    bars = [bar for bar in report.plot_labels().patches if not bar.get_hatch()]
    frame = report.to_frame()
    assert sum(bar.get_height() for bar in bars) == frame["samples"].sum()


def test_notebooks_show_table_and_picture(report):
    html = report._repr_html_()
    assert "<svg" in html
    assert "cheap (&lt;5)" in html
    assert report.conclusion in html
    assert report.to_html().startswith("<!DOCTYPE html>")
    assert repr(report) == "LabelReport(DataFrame, target price: 120 labels from 3 to 52)"


def test_saved_report_is_loaded(report, tmp_path):
    folder = report.save(tmp_path / "report")
    assert {path.name for path in folder.iterdir()} == {
        "inspect.json", "inspect.png", "inspect.svg",
    }  # fmt: skip
    assert ranksim.LabelReport.load(folder).content == json.loads(json.dumps(report.content))
    with raises_with(DataError, "does not exist"):
        ranksim.LabelReport.load(tmp_path)
    (folder / "inspect.json").write_text("{")
    with raises_with(DataError, "damaged"):
        ranksim.LabelReport.load(folder)
    (folder / "inspect.json").write_text("{}")
    with raises_with(DataError, "no report of labels"):
        ranksim.LabelReport.load(folder)


def test_warnings_are_sentences_or_errors(homes):
    homes.loc[:30, "price"] = -999
    report = ranksim.inspect(homes, target="price")
    assert any("-999" in warning for warning in report.warnings)
    with raises_with(DataError, "strict= does not accept warnings"):
        ranksim.inspect(homes, target="price", strict=True)
    assert not ranksim.inspect(homes, target="price", missing_target=-999).warnings


@pytest.mark.parametrize(
    ("arguments", "facts"),
    [
        ({}, ["inspect() needs target="]),
        ({"target": "kind"}, ["no numbers in column 'kind'"]),
        ({"target": "price", "seeds": 3}, ["inspect() has no argument 'seeds'"]),
        ({"target": "price", "region": ["cheap"]}, ["region=", "cheap"]),
        ({"target": "price", "bin_width": "wide"}, ["bin_width= takes a number", "'wide'"]),
        ({"target": "price", "many": 0}, ["many= takes a number of at least 1"]),
        ({"target": "price", "drop_labels": "cheap"}, ["drop_labels='cheap'"]),
    ],
)
def test_misuse_gives_one_sentence(homes, arguments, facts):
    with raises_with((DataError, UsageError), *facts):
        ranksim.inspect(homes, **arguments)
