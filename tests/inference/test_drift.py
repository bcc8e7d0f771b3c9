"""Drift of new data against saved models: what moved, and what the model knows of its data."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ranksim._utils.storage import read_verified_json
from ranksim.exceptions import DataError
from ranksim.inference import load_model
from ranksim.inference.drift import DriftRequest, find_drift, measure_drift
from ranksim.inference.fit import fit_model
from ranksim.inference.fit_request import FitRequest
from ranksim.inference.saved_reference import REFERENCE
from tests.helpers import user_data
from tests.helpers.drift_data import ROWS, draw_homes, fit_linear
from tests.helpers.requests import make_request


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    """The path of a table."""
    path = tmp_path_factory.mktemp("homes") / "homes.csv"
    draw_homes(0).to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def model(homes):
    return fit_linear(homes, homes.parent / "model", interval=0.9)


def find(model, data):
    return measure_drift(model, data)[0]


def test_reference_equals_the_table(homes, model):
    table, reference = pd.read_csv(homes), model.reference
    labels = table["price"].to_numpy(float)
    assert (reference.labels.count, reference.labels.median) == (
        ROWS,
        np.sort(labels)[ROWS // 2 - 1],
    )
    size = table["size"].dropna().to_numpy()
    summary = reference.inputs["size"]
    assert (summary.count, summary.missing) == (len(size), ROWS - len(size))
    assert [summary.values[0], summary.values[-1]] == [size.min(), size.max()]
    for value, upto in zip(summary.values, summary.upto, strict=True):
        assert upto == pytest.approx(np.mean(size <= value))
    kinds = reference.inputs["kind"]
    counts = dict(zip(kinds.names, kinds.counts.tolist(), strict=True))
    assert counts == table["kind"].value_counts().to_dict()
    assert reference.inputs["built"].measure == "date"
    regions = model.regions
    index = regions.bins.digitize(labels)
    for name in ("many", "medium", "few"):
        assert reference.regions[name] == sum(regions.names[k] == name for k in index)
    # labels that occur once tell how many others have not occurred yet
    once = sum(count == 1 for count in np.bincount(index, minlength=len(regions.bins)))
    assert reference.regions["zero"] == sum(regions.counts[k] == 0 for k in index) + once
    held_out = reference.held_out
    weighted = np.average(held_out.labels, weights=held_out.weights)
    assert abs(weighted - labels.mean()) < abs(held_out.labels.mean() - labels.mean())
    size = (model.path / REFERENCE).stat().st_size
    assert size < 60_000


def test_same_distribution_is_stable(model):
    result = find(model, draw_homes(1))
    assert result["verdict"] == "stable"
    assert "have not surely moved, and errors have not surely grown" in result["conclusion"]
    assert not any(row["moved"] for row in result["inputs"])
    assert set(result["coverage"]["regions"]) >= {"all", "many"}
    json.dumps(result, allow_nan=False)
    small = find(model, draw_homes(2, 30))
    assert small["verdict"] == "stable"
    assert "so few show large changes alone" in small["conclusion"]


def test_moved_inputs_are_named_without_labels(model):
    new = draw_homes(3, growth=0.8).drop(columns="price")
    result = find(model, new)
    assert result["verdict"] == "inputs moved"
    assert [row["name"] for row in result["inputs"] if row["moved"]] == ["size"]
    medians = (
        float(np.sort(draw_homes(k, growth=g)["size"].dropna())[438]) for k, g in ((0, 0), (3, 0.8))
    )
    assert "column size: median {:.4g} → {:.4g}, PSI ".format(*medians) in result["conclusion"]
    assert "label some of these rows" in result["conclusion"]
    assert result["predictions"]["change"]["moved"]
    assert result["predictions"]["regions"]["few"]["change"] == "more frequent"
    assert result["labels"] is result["errors"] is result["coverage"] is None
    size = pd.read_csv(model.path.parent / "homes.csv")["size"]
    row = result["inputs"][0]
    outside = [value > size.max() or value < size.min() for value in new["size"].dropna()]
    assert row["outside"] == pytest.approx(np.mean(outside))
    expected = stats.ks_2samp(size.dropna(), new["size"].dropna(), method="asymp")
    assert row["distance"] == pytest.approx(expected.statistic, abs=0.01)


def test_new_categories_are_counted(model):
    result = find(model, draw_homes(4, kind="castle"))
    row = next(row for row in result["inputs"] if row["name"] == "kind")
    assert row["moved"]
    assert row["outside"] == 0.2
    assert "20.0\u202f% new values" in row["text"] or "new values 0.0" in row["text"]


def test_other_prices_ask_for_a_new_fit(model):
    new = draw_homes(5, price=1.6)
    result = find(model, new)
    assert result["verdict"] == "retrain"
    assert not any(row["moved"] for row in result["inputs"])
    assert result["labels"]["change"]["moved"]
    regions = result["errors"]["regions"]
    preds = model.predict(new).preds
    labels = new["price"].to_numpy(float)
    index = model.regions.bins.digitize(labels)
    is_many = [model.regions.names[k] == "many" for k in index]
    assert regions["many"]["after"] == pytest.approx(
        np.abs(preds - labels)[is_many].mean(), rel=0.05
    )
    held_out = model.reference.held_out
    names = [model.regions.names[k] for k in model.regions.bins.digitize(held_out.labels)]
    errors = np.abs(held_out.preds - held_out.labels)
    weights = np.where(np.array(names) == "many", held_out.weights, 0)
    assert regions["many"]["before"] == pytest.approx(np.average(errors, weights=weights))
    assert regions["many"]["grew"]
    assert result["coverage"]["regions"]["all"]["too_low"]
    assert "Fit the model again with these rows" in result["conclusion"]


def test_more_rare_labels_alone_are_no_reason_to_fit_again(model):
    """The error over all samples grows with the share of rare labels, not within the regions."""
    new = draw_homes(6, 6_000)
    chosen = new.sort_values("price").iloc[2_000:]
    result = find(model, chosen)
    assert result["labels"]["change"]["moved"]
    assert result["labels"]["regions"]["few"]["change"] == "more frequent"
    assert result["verdict"] in ("labels moved", "recalibrate")
    whole = result["errors"]["regions"]["all"]
    held_out = model.reference.held_out
    plain = np.average(np.abs(held_out.preds - held_out.labels), weights=held_out.weights)
    assert whole["before"] > plain


def test_coverage_is_counted_by_predicted_region(model):
    new = draw_homes(7)
    predictions = model.predict(new)
    labels = new["price"].to_numpy(float)
    inside = (predictions.lower <= labels) & (labels <= predictions.upper)
    is_new = np.array(
        [part not in ("train", "val") for part in predictions.origin.get("part", [""] * ROWS)]
    )
    for name, row in find(model, new)["coverage"]["regions"].items():
        mask = predictions.regions[name] & is_new
        assert row["coverage"] == pytest.approx(inside[mask].mean())
        assert row["samples"] == mask.sum()


def test_samples_of_the_training_are_no_test(homes, model):
    table = pd.read_csv(homes)
    result = find(model, table)
    assert result["verdict"] == "stable"
    assert result["learned"] > 0
    used = result["errors"]["regions"]["all"]["samples"]
    assert used <= ROWS - result["learned"]
    parts = np.array(model.predict(table).origin["part"])
    learned = find(model, table[np.isin(parts, ["train", "val"])])
    assert learned["errors"] is None
    assert learned["labels"] is not None
    newer = table[np.isin(parts, ["train", "val"]) & (table["built"] > "2010-01-01")]
    moved = find(model, newer)
    assert moved["verdict"] == "inputs moved"
    assert moved["conclusion"].endswith("needs rows that the model was not fitted with.")


def test_some_labels_may_be_missing(model):
    new = draw_homes(8)
    new.loc[::2, "price"] = np.nan
    result = find(model, new)
    assert (result["samples"], result["labeled"]) == (ROWS, ROWS // 2)
    assert result["labels"]["change"]["after"]["count"] == ROWS // 2


def test_a_model_without_reference_says_what_to_do(model, tmp_path):
    folder = tmp_path / "old"
    shutil.copytree(model.path, folder)
    (folder / REFERENCE).unlink()
    old = load_model(folder)
    assert len(old.predict(draw_homes(9, 5))) == 5
    with pytest.raises(DataError, match="has no summary of its data.*a new fit") as error:
        measure_drift(old, draw_homes(9, 5))
    assert str(error.value).count(". ") == 0


@pytest.mark.parametrize("damage", ["text", "digest", "content"])
def test_a_damaged_reference_is_reported(damage, model, tmp_path):
    from ranksim._utils.storage import with_digest, write_json

    folder = tmp_path / "damaged"
    shutil.copytree(model.path, folder)
    path = folder / REFERENCE
    content = read_verified_json(path)
    if damage == "text":
        path.write_text("{")
    elif damage == "digest":
        path.write_text(path.read_text().replace('"missing": 0', '"missing": 1', 1))
    else:
        content["inputs"]["kind"]["kind"] = "voxels"
        write_json(path, with_digest(content))
    with pytest.raises(DataError, match=r"reference\.json is damaged"):
        load_model(folder)


def test_misuse_is_one_sentence(homes, model, tmp_path):
    request = DriftRequest(tmp_path / "nowhere", str(homes))
    with pytest.raises(DataError, match="does not exist"):
        find_drift(request)
    with pytest.raises(DataError, match="no column 'size'"):
        measure_drift(model, draw_homes(1).drop(columns="size"))


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{"refit": True}, {"cross_validate": 3}, {"balanced": False}])
def test_every_kind_of_fit_knows_its_data(fields, homes, tmp_path):
    model = fit_linear(homes, tmp_path / "model", **fields)
    reference = model.reference
    assert reference.labels.count == ROWS
    counts = model.config["data"]["counts"]
    is_whole = "cross_validate" in fields
    assert len(reference.held_out.labels) == (ROWS if is_whole else counts[2])
    assert (reference.held_out.weights is None) == ("refit" not in fields)
    assert find(model, draw_homes(1))["verdict"] == "stable"
    assert find(model, draw_homes(5, price=1.6))["verdict"] == "retrain"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "names"),
    [
        (user_data.SENTENCES, ["said (words)", "said (share of unknown words)"]),
        (user_data.PICTURES, [
            f"file ({name})"
            for name in ("width", "height", "mean of pixels", "deviation of pixels")
        ]),
        (user_data.SERIES, ["level"]),
    ],
)  # fmt: skip
def test_other_inputs_are_measured(kind, names, tmp_path):
    data = user_data.WRITERS[kind](tmp_path)
    network = user_data.SMALL_NETWORK[kind]
    values = dict(zip(network[::2], network[1::2], strict=True))
    size = values.pop("--image-size", None)
    request = make_request(
        data, tmp_path / "model", options=user_data.OPTIONS[kind], methods="vanilla", seeds="0,",
        changes=tuple(values.values()), max_steps=3, image_size=size and int(size),
    )  # fmt: skip
    fit_model(FitRequest(request, "vanilla", 0))
    model = load_model(tmp_path / "model")
    result = find(model, str(data))
    assert sorted(row["name"] for row in result["inputs"]) == sorted(names)
    assert not any(row["moved"] for row in result["inputs"])
    before = model.reference.inputs
    if kind == user_data.SENTENCES:
        texts = pd.read_csv(data)["said"]
        words = [len(text.split()) for text in texts]
        assert before["said (words)"].mean == pytest.approx(np.mean(words))
        new = pd.DataFrame({"said": ["qqzx wwzx eezx " * 9] * 40})
        moved = find(model, new)
        assert {row["name"] for row in moved["inputs"] if row["moved"]} == set(names)
        share = next(row for row in moved["inputs"] if "unknown" in row["name"])
        assert share["after"]["mean"] == 1.0
    elif kind == user_data.PICTURES:
        assert before["file (width)"].mean == 20
        assert 0 < before["file (mean of pixels)"].mean < 255
    else:
        levels = pd.read_csv(data)["level"]
        assert before["level"].values[0] >= levels.min() - 1e-3
        assert before["level"].values[-1] <= levels.max() + 1e-3
        assert before["level"].mean == pytest.approx(levels.mean(), rel=0.05)
