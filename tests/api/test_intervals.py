"""Prediction intervals from the table to predictions: calibration samples, coverage and files."""

import json

import numpy as np
import pandas as pd
import pytest

import ranksim
from ranksim._utils.storage import read_verified_json, with_digest, write_json
from ranksim.cli import main
from ranksim.exceptions import DataError, UsageError
from ranksim.inference.prediction import ScoreRequest, score_predictions
from tests.helpers import user_data
from tests.helpers.api import QUIET, SMALL
from tests.helpers.errors import raises_with

LEVEL = 0.8


def draw_table(rows=900, seed=0):
    """Return a table whose noise grows with the label, and with few high labels."""
    rng = np.random.default_rng(seed)
    size = rng.gamma(1.5, 1.0, rows)
    price = 10 * size + (1 + 2 * size) * rng.normal(size=rows)
    return pd.DataFrame({"size": size, "other": rng.normal(size=rows), "price": price.round()})


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A linear model with intervals, and its folder."""
    folder = tmp_path_factory.mktemp("intervals") / "model"
    return ranksim.fit(draw_table(), method="linear", interval=LEVEL, out=folder, **QUIET)


@pytest.fixture(scope="module")
def comparison(homes_file, tmp_path_factory):
    """A network, a linear model and a constant with two seeds."""
    out = tmp_path_factory.mktemp("comparison") / "results"
    return ranksim.compare(
        pd.read_csv(homes_file), target="price", methods=["vanilla", "linear", "median"], seeds=2,
        interval=LEVEL, out=out, **SMALL,
    )  # fmt: skip


def test_calibration_samples_are_a_fourth_part(model):
    """They are half of validation, and training and test samples stay what they are."""
    plain = ranksim.fit(draw_table(), method="linear", **QUIET)
    with_part, without = (
        pd.read_csv(each.path / "split.csv").set_index("row")["split"] for each in (model, plain)
    )
    for part in ("train", "test"):
        assert (with_part == part).equals(without == part)
    counts = with_part.value_counts()
    assert counts["val"] + counts["calibration"] == (without == "val").sum()
    assert abs(counts["val"] - counts["calibration"]) <= 1
    labels = draw_table()["price"].to_numpy()
    halves = [np.sort(labels[(with_part == part).to_numpy()]) for part in ("val", "calibration")]
    assert np.median(halves[0]) == pytest.approx(np.median(halves[1]), rel=0.2)
    assert model.config["data"]["counts"] == [counts["train"], counts["val"], counts["test"]]
    assert model.config["data"]["calibration"] == counts["calibration"]
    note = f"{counts['calibration']} of {(without == 'val').sum()} validation samples calibrate"
    assert model.config["data_report"]["notes"]["Calibration"].startswith(note)


def test_a_column_may_name_the_calibration_rows(model):
    """So does the split file of a model, which gives the same model again."""
    table = draw_table().assign(split=pd.read_csv(model.path / "split.csv")["split"])
    again = ranksim.fit(table, method="linear", interval=LEVEL, **QUIET)
    new = draw_table(50, seed=1)
    assert again.predict(new).preds.tolist() == model.predict(new).preds.tolist()
    assert (
        again.intervals.calibration.labels.tolist() == model.intervals.calibration.labels.tolist()
    )
    without = ranksim.fit(table, method="linear", **QUIET)  # there they are validation
    assert sum(without.config["data"]["counts"]) == len(table) - (table["split"] == "unused").sum()


def test_new_samples_are_covered(model):
    """Labels as in the data: coverage over all, and by predicted region with its width."""
    new = draw_table(4_000, seed=2)
    predictions = model.predict(new)
    covered = (predictions.lower <= new["price"]) & (new["price"] <= predictions.upper)
    assert 0.74 < covered.mean() < 0.9
    frame = predictions.to_frame()
    assert frame.columns.tolist().index("upper") == frame.columns.tolist().index("prediction") + 2
    widths = predictions.upper - predictions.lower
    assert widths[predictions.region == "few"].mean() > widths[predictions.region == "many"].mean()


def test_evaluation_of_new_labels(model, tmp_path, monkeypatch):
    """Coverage by predicted and by true region, and the same from a file of predictions."""
    new = draw_table(400, seed=5)
    evaluation = model.evaluate(new)
    predictions = evaluation.predictions
    covered = (predictions.lower <= new["price"]) & (new["price"] <= predictions.upper)
    frame = evaluation.coverage_frame().set_index(["by", "region"])
    true = model.regions.masks(new["price"].clip(*model.regions.bins.edges[[0, -1]]))
    for by, masks in (("predicted", predictions.regions), ("true", true)):
        for name in ("all", "many"):
            row = frame.loc[(by, name)]
            assert row["coverage"] == pytest.approx(covered[masks[name]].mean())
            assert row["samples"] == masks[name].sum()
    predictions.write(tmp_path / "preds.csv")
    monkeypatch.setattr(
        "sys.argv",
        ["ranksim", "evaluate", str(tmp_path / "preds.csv"), "--model", str(model.path),
         "--out", str(tmp_path)],
    )  # fmt: skip
    with pytest.raises(SystemExit):
        main()
    content = json.loads((tmp_path / "evaluation.json").read_text())
    cells = content["coverage"]["ways"]["region"]
    assert cells["predicted"]["all"]["coverage"] == pytest.approx(covered.mean())
    table = pd.read_csv(tmp_path / "preds.csv").astype({"lower": str})
    for text in ("nan", ""):
        table.loc[3, "lower"] = text
        table.to_csv(tmp_path / "gap.csv", index=False)
        with raises_with(DataError, "gap.csv, line 5: lower or upper is not a number"):
            score_predictions(ScoreRequest(tmp_path / "gap.csv", model=model.path, out=tmp_path))
    held_out = model.evaluate(draw_table())  # the rows of the training are left out
    assert held_out.coverage_frame()["samples"].max() == model.metrics["test"]["all"]["n"]


def test_saved_intervals_are_those_in_memory(model, tmp_path):
    new = draw_table(40, seed=3)
    copy = ranksim.Model.load(model.path)
    ours, again = model.predict(new), copy.predict(new)
    assert ours.lower.tolist() == again.lower.tolist()
    assert ours.upper.tolist() == again.upper.tolist()
    frame = copy.coverage_frame().set_index(["way", "by", "region"])
    cell = model.metrics["coverage"]["ways"]["region"]["predicted"]["all"]
    assert frame.loc[("region", "predicted", "all"), "coverage"] == cell["coverage"]
    assert frame.loc[("split", "true", "all"), "samples"] == model.metrics["test"]["all"]["n"]
    assert "as_is" in frame.index.get_level_values("way")
    assert "80\u202f% prediction interval" in model.card
    damaged = model.save(tmp_path / "copy")
    content = read_verified_json(damaged / "intervals.json")
    text = (damaged / "intervals.json").read_text()
    (damaged / "intervals.json").write_text(text.replace(f'"level": {LEVEL}', '"level": 0.5'))
    with raises_with(DataError, "intervals.json is damaged"):
        ranksim.Model.load(damaged)
    del content["labels"]
    write_json(damaged / "intervals.json", with_digest(content))
    with raises_with(DataError, "intervals.json is damaged"):
        ranksim.Model.load(damaged)
    (damaged / "intervals.json").unlink()
    with raises_with(DataError, "intervals.json is missing"):
        ranksim.Model.load(damaged)


def test_models_without_intervals(homes):
    model = ranksim.fit(homes, method="linear", **QUIET)
    predictions = model.predict(homes)
    assert predictions.lower is None
    assert "lower" not in predictions.columns()
    with raises_with(DataError, "fit it with interval=0.9"):
        model.coverage_frame()


def test_mean_of_members_and_own_estimators(homes):
    """Each calibrates the prediction that it returns."""
    from sklearn.linear_model import LinearRegression

    custom = ranksim.fit(
        draw_table(),
        method="mine",
        estimators={"mine": LinearRegression()},
        interval=LEVEL,
        **QUIET,
    )
    members = ranksim.fit(
        homes, method="vanilla", interval=LEVEL, ensemble=2, target="price", **SMALL
    )
    for each in (custom, members):
        calibration = each.intervals.calibration
        assert len(calibration.labels) == each.metrics["coverage"]["calibration"]
        predictions = each.predict(draw_table() if each is custom else homes)
        assert np.isfinite(predictions.upper).all()
        assert (predictions.lower < predictions.upper).all()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"refit": True}, "refit= trains on all rows"),
        ({"cross_validate": 3}, "cross_validate= trains on all rows"),
        ({"interval": 90}, "interval= takes a coverage between 0 and 1"),
        ({"interval": 0}, "interval= takes a coverage between 0 and 1"),
        ({"interval": "wide"}, "interval= takes a coverage between 0 and 1"),
    ],
)
def test_refused_options(homes, options, words):
    with raises_with(UsageError, words):
        ranksim.fit(homes, method="linear", **{"interval": LEVEL, **options}, **QUIET)


def test_every_row_of_a_comparison_has_coverage(comparison):
    frame = comparison.coverage_frame()
    assert frame["method"].unique().tolist() == ["vanilla", "linear", "median"]
    rows = {row["method"]: row for row in comparison.results["summary"]}
    tests = len(pd.read_parquet(comparison.folder / "runs/linear/seed-0/predictions.parquet"))
    for name, row in rows.items():
        cells = row["intervals"]["ways"]["region"]
        assert row["intervals"]["level"] == LEVEL
        assert cells["true"]["all"]["n"] == cells["predicted"]["all"]["n"] == tests
        shares = [
            cells["true"][each] for each in ("many", "medium", "few") if each in cells["true"]
        ]
        total = sum(cell["coverage"] * cell["n"] for cell in shares) / tests
        assert total == pytest.approx(cells["true"]["all"]["coverage"])
        assert ("ensemble" in row["intervals"]) == (name == "vanilla")
    page = comparison.to_html()
    assert "80\u202f% prediction intervals" in page
    assert (comparison.folder / "report" / "08-intervals.svg").is_file()
    text = json.dumps(comparison.results)
    assert "Infinity" not in text
    assert "NaN" not in text


@pytest.mark.slow
def test_heads_with_a_distribution_and_averages(homes, tmp_path):
    """A scale and quantiles are used, also of the mean of members and after loading."""
    scores = {
        "vanilla+gaussian": "scale",
        "vanilla+quantile": "quantiles",
        "vanilla+uvote": "scale",
        "average+sqinv": "residual",
    }
    result = ranksim.compare(
        homes, target="price", methods=[*scores], seeds=1, interval=LEVEL, **SMALL
    )
    for row in result.results["summary"]:
        name = row["method"]
        if name in scores:
            assert row["intervals"]["score"] == scores.pop(name)
            assert ("residual" in row["intervals"]["ways"]) == (name != "average+sqinv")
    assert not scores
    model = ranksim.fit(
        homes, method="vanilla+gaussian", interval=LEVEL, ensemble=2, target="price",
        out=tmp_path / "model", **SMALL,
    )  # fmt: skip
    predictions = ranksim.Model.load(model.path).predict(homes)
    assert predictions.lower.tolist() == model.predict(homes).lower.tolist()
    widths = predictions.upper - predictions.lower
    inside = predictions.region == predictions.region[0]
    assert np.ptp(widths[inside]) > 0


def test_calibration_changes_neither_training_nor_test(comparison, homes):
    plain = ranksim.compare(homes, target="price", methods=["linear"], seeds=1, progress=False)
    data = [each.results["runs"][-1]["provenance"]["data"] for each in (plain, comparison)]
    assert data[0]["counts"][0] == data[1]["counts"][0]
    assert data[0]["counts"][2] == data[1]["counts"][2]
    assert data[0]["counts"][1] == data[1]["counts"][1] + data[1]["calibration"]
    with raises_with(DataError, "compare with interval=0.9"):
        plain.coverage_frame()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [user_data.SENTENCES, user_data.SERIES, user_data.PICTURES])
def test_other_kinds_of_data(kind, tmp_path):
    writers = {
        user_data.SENTENCES: user_data.write_sentences,
        user_data.SERIES: user_data.write_series,
        user_data.PICTURES: user_data.write_pictures,
    }
    path = writers[kind](tmp_path)
    options = user_data.OPTIONS[kind]
    model = ranksim.fit(str(path), method="linear", interval=0.5, progress=False, **options)
    predictions = model.predict(str(path))
    assert (predictions.lower <= predictions.preds).all()
    assert model.metrics["coverage"]["calibration"] > 0
