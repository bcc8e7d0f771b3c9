"""Saved models: predictions equal the run's, damaged or foreign files are rejected."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import safetensors.torch
import torch

import ranksim
from ranksim._utils.storage import read_verified_json
from ranksim.data.reading import load_table, read_delimited
from ranksim.data.spec import make_user_spec
from ranksim.data.table import Table
from ranksim.exceptions import DataError, UsageError
from ranksim.inference import load_model
from ranksim.inference.fit import fit_model
from ranksim.inference.fit_request import FitRequest
from ranksim.inference.prediction import (
    PredictRequest,
    ScoreRequest,
    predict_data,
    score_predictions,
)
from ranksim.inference.saved_model import (
    CARD,
    CONFIG,
    METRICS,
    WEIGHTS,
    replace_folder,
    require_model_folder,
)
from ranksim.inference.saved_reference import REFERENCE
from ranksim.inference.seen_samples import SAMPLES, SampleParts
from ranksim.training.adapters import adapter_from_dict, adapter_type
from ranksim.training.presets import preset_table
from ranksim.training.recipe import (
    portable_encoder_name,
    recipe_type,
    relocate_encoder,
    to_portable_recipe,
)
from ranksim.user_data.sample_keys import hash_samples
from ranksim.user_data.split_column import SPLIT_FILE
from ranksim.user_data.split_plan import make_split_plan
from tests.helpers import user_data
from tests.helpers.language import save_bert
from tests.helpers.requests import make_request


def fit(data, kind, out, method="vanilla", *changes, **options):
    """Train a small model of a modality for three steps and return its folder."""
    network = user_data.SMALL_NETWORK[kind]
    values = dict(zip(network[::2], network[1::2], strict=True))
    size = values.pop("--image-size", None)
    dropped = [f"--drop-labels {labels}" for labels in options.get("drop_labels", ())]
    request = make_request(
        data,
        out,
        options=user_data.OPTIONS[kind] | options,
        methods=method,
        seeds="0,",
        changes=(*values.values(), *changes),
        max_steps=3,
        image_size=size and int(size),
        command=" ".join(["ranksim fit", *dropped]),
    )
    fit_model(FitRequest(request, method, 0))
    return out


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Returns data of a modality and the folder of a model on it, both made once."""
    cache = {}

    def get(kind):
        if kind not in cache:
            folder = tmp_path_factory.mktemp(kind)
            data = user_data.WRITERS[kind](folder)
            cache[kind] = data, fit(data, kind, folder / "model")
        return cache[kind]

    return get


@pytest.fixture
def model_copy(fitted, tmp_path):
    """A copy of the table model that a test may damage."""
    return Path(shutil.copytree(fitted("table")[1], tmp_path / "copy"))


def compute_test_mae(model, data):
    """Compute the MAE of a model's predictions over the test rows of its split."""
    kind = model.config["kind"]
    kind = {"images": "pictures", "text": "sentences"}.get(kind, kind)
    plan = make_split_plan(load_table(str(data)), make_user_spec(user_data.OPTIONS[kind]))
    predictions = model.predict(str(data))
    test = plan.rows[plan.split.test]
    assert np.array_equal(predictions.rows[test], test)
    return np.abs(predictions.preds[test] - plan.labels[plan.split.test]).mean()


def test_folder_holds_six_files_without_local_paths(fitted):
    data, folder = fitted("table")
    names = {CONFIG, WEIGHTS, METRICS, CARD, SAMPLES, SPLIT_FILE, REFERENCE}
    assert {path.name for path in folder.iterdir()} == names
    assert str(data.parent) not in (folder / SPLIT_FILE).read_text()
    assert not folder.with_name("model.training").exists()
    assert str(data.parent) not in (folder / CONFIG).read_text() + (folder / CARD).read_text()
    config = read_verified_json(folder / CONFIG)
    assert config["recipe"]["label_scale"] > 0  # resolved from the training labels
    assert config["data"]["name"] == data.name


@pytest.mark.slow
def test_word_vectors_are_not_saved(fitted):
    weights = safetensors.torch.load_file(fitted("sentences")[1] / WEIGHTS)
    assert not [name for name in weights if "vectors" in name]


def test_card_names_ranges_without_training_labels(fitted, tmp_path):
    data, _ = fitted("table")
    card = (fit(data, "table", tmp_path / "m", drop_labels=("10-14",)) / CARD).read_text()
    config = read_verified_json(tmp_path / "m" / CONFIG)
    assert "No training label lies in 10 to 14" in card or "extrapolation" in card
    assert sum(config["density"]["train"]) == config["data"]["counts"][0]
    assert f"`{config['method']}`" in card
    assert "--drop-labels 10-14" in card


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("vanilla+fds", ()),
        pytest.param("rrt", ("rrt_paper_compat=true", "dropout=0.2"), marks=pytest.mark.slow),
        ("rrt+fds+ranksim", ()),
    ],
)
def test_model_is_a_plain_network_with_the_scores_of_its_run(method, changes, fitted, tmp_path):
    data, plain = fitted("table")
    model = load_model(fit(data, "table", tmp_path / "m", method, *changes))
    assert set(model.weights) == set(safetensors.torch.load_file(plain / WEIGHTS))
    expected = model.metrics["test"]["all"]["mae"]
    assert compute_test_mae(model, data) == pytest.approx(expected, rel=1e-6)


@pytest.mark.slow
def test_two_stage_image_model_has_the_scores_of_its_run(fitted, tmp_path):
    data, _ = fitted("pictures")
    model = load_model(fit(data, "pictures", tmp_path / "m", "rrt"))
    expected = model.metrics["test"]["all"]["mae"]
    assert compute_test_mae(model, data) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes", [("frozen=true",), ("frozen=false",), ("frozen=false", "tuned_layers=1")]
)
def test_only_trained_encoder_weights_are_saved(changes, tmp_path):
    data = user_data.write_sentences(tmp_path)
    request = make_request(
        data,
        tmp_path / "m",
        options=user_data.OPTIONS["sentences"],
        seeds="0,",
        encoder=save_bert(tmp_path / "bert"),
        changes=("hidden=8", *changes),
        max_steps=3,
    )
    fit_model(FitRequest(request, "vanilla", 0))
    with pytest.raises(UsageError, match=r"bert@[0-9a-f]{16}"):
        load_model(tmp_path / "m").predict(str(data))
    model = load_model(tmp_path / "m", encoder=tmp_path / "bert")
    assert any("embeddings" in name for name in model.weights) == (changes == ("frozen=false",))
    assert any("layer.1." in name for name in model.weights) == (changes == ("frozen=false",))
    assert any("layer.0." in name for name in model.weights) == (changes != ("frozen=true",))
    expected = model.metrics["test"]["all"]["mae"]
    assert compute_test_mae(model, data) == pytest.approx(expected, rel=1e-5)


def test_encoder_is_identified_by_its_files(fitted, tmp_path):
    bert = Path(save_bert(tmp_path / "bert"))
    with pytest.raises(UsageError, match="no pretrained encoder"):
        load_model(fitted("table")[1], encoder=bert)
    recipe = recipe_type("sentences").from_table(
        preset_table("sentences", "small") | {"encoder": str(bert)}
    )
    portable, folder = to_portable_recipe(recipe)
    assert (folder, portable.encoder) == (str(bert), portable_encoder_name(bert))
    moved = bert.rename(tmp_path / "moved")
    assert relocate_encoder(portable, moved).encoder == str(moved)
    (moved / "config.json").write_text((moved / "config.json").read_text() + " ")
    with pytest.raises(DataError, match="trained with bert@"):
        relocate_encoder(portable, moved)
    with pytest.raises(DataError, match=str(bert)):
        relocate_encoder(portable, bert)


@pytest.mark.slow
def test_moved_model_predicts_equally_in_another_process(fitted, tmp_path):
    data, folder = fitted("table")
    expected = ranksim.load_model(folder).predict(data)
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "model")
    out = tmp_path / "predictions.parquet"
    words = [Path(sys.executable).with_name("ranksim"), "predict", moved, data, "--out", out]
    process = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120)
    assert process.returncode == 0, process.stderr
    assert parquet.read_table(out).to_pydict() == expected.columns()


def test_predict_keeps_the_random_state(fitted):
    data, folder = fitted("table")
    model, state = load_model(folder), torch.get_rng_state()
    model.predict(data)
    assert torch.equal(torch.get_rng_state(), state)


def test_predicts_columns_and_data_frames(fitted):
    data, folder = fitted("table")
    model, table = load_model(folder), read_delimited(data)
    expected = model.predict(data).preds
    columns = {name: table.column(name) for name in table.names}
    np.testing.assert_array_equal(model.predict(columns).preds, expected)
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(data, parse_dates=["built"])
    np.testing.assert_array_equal(model.predict(frame).preds, expected)
    del columns["price"]  # the target may be missing
    unlabeled = model.predict(columns)
    assert unlabeled.labels is None
    np.testing.assert_array_equal(unlabeled.preds, expected)
    with pytest.raises(DataError, match="has no rows"):
        model.predict({name: [] for name in columns})


def test_predicts_values_that_training_lacked(fitted):
    rows = {
        "size": ["50", "", "1e30"],
        "kind": ["castle", "NA", "flat"],
        "built": ["2020-01-01", "", "1800-05-05"],
    }
    predictions = load_model(fitted("table")[1]).predict(rows)
    assert len(predictions) == 3
    assert np.isfinite(predictions.preds).all()


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ({"size": ["1"], "kind": ["a"]}, "has no column 'built'"),
        (
            {"size": ["1", "big"], "kind": ["a", "b"], "built": ["2020-01-01"] * 2},
            "row 2: column 'size' .* 'big'",
        ),
    ],
)
def test_unreadable_data_is_rejected(rows, problem, fitted):
    with pytest.raises(DataError, match=problem):
        load_model(fitted("table")[1]).predict(rows)


@pytest.mark.slow
def test_forecasts_start_after_each_complete_window(fitted):
    data, folder = fitted("series")
    predictions, table = load_model(folder).predict(data), read_delimited(data)
    level, when = table.column("level"), table.column("when")
    half = table.n_rows // 2

    def in_one_stretch(first, last):
        return (first < half) == (last < half) and last < table.n_rows

    ends = [
        k for k in range(3, table.n_rows) if all(level[k - 3 : k + 1]) and in_one_stretch(k - 3, k)
    ]
    assert predictions.rows.tolist() == ends
    has_target = [in_one_stretch(k, k + 2) and bool(level[k + 2]) for k in ends]
    np.testing.assert_array_equal(np.isfinite(predictions.labels), has_target)
    assert not has_target[-1]
    for k, time, label in zip(ends, predictions.times, predictions.labels, strict=True):
        if in_one_stretch(k, k + 2):
            assert time == f"{when[k + 2]}:00"
        if np.isfinite(label):
            assert label == float(level[k + 2])
    assert predictions.times[-1] == "2024-03-01 21:05:00"  # ten minutes after the last reading


@pytest.mark.slow
def test_readings_at_another_interval_are_rejected(fitted):
    data, folder = fitted("series")
    hourly = [f"2024-03-{1 + k // 24:02} {k % 24:02}:00" for k in range(100)]
    rows = {"when": hourly, "level": read_delimited(data).column("level")[40:140]}
    with pytest.raises(DataError, match="4 consecutive readings"):
        load_model(folder).predict(rows)


def make_plan(kind, data):
    return make_split_plan(load_table(str(data)), make_user_spec(user_data.OPTIONS[kind]))


@pytest.mark.parametrize(
    "kind",
    ["table", *(pytest.param(kind, marks=pytest.mark.slow) for kind in user_data.WRITERS
                if kind != "table")],
)  # fmt: skip
def test_model_recognizes_its_samples(kind, fitted):
    data, folder = fitted(kind)
    plan, predictions = make_plan(kind, data), load_model(folder).predict(data)
    part_of = {}
    for part, members in zip(("train", "val", "test"), plan.split, strict=True):
        # of a series, the row of a prediction is the last one of its window
        ends = plan.rows[members]
        if plan.windows is not None:
            ends = plan.windows.ends[members]
        part_of |= dict.fromkeys(ends.tolist(), part)
    expected = [part_of.get(row, "") for row in predictions.rows.tolist()]
    assert predictions.origin["part"] == expected
    held_out = [part not in ("train", "val") for part in expected]
    assert f"{sum(held_out):,} are held out" in predictions.report.notes["Training data"]
    columns = predictions.columns()
    table = load_table(str(data))
    if table.line_unit == "line":
        assert columns["line"] == [table.lines[row] for row in predictions.rows]
    if kind == "pictures":
        assert columns["image"] == list(table.column("file"))


def test_samples_are_recognized_in_another_file_format(fitted, tmp_path):
    pandas = pytest.importorskip("pandas")
    data, folder = fitted("table")
    model, plan = load_model(folder), make_plan("table", data)
    frame = pandas.read_csv(data, parse_dates=["built"]).sample(frac=1, random_state=0)
    frame["size"] = frame["size"].astype("float64")
    frame.to_parquet(tmp_path / "shuffled.parquet", index=False)
    parts = model.predict(tmp_path / "shuffled.parquet").origin["part"]
    expected = np.where(plan.parts == "unused", "", plan.parts)[frame.index]
    assert parts == expected.tolist()
    rows = {"size": ["50.25"], "kind": ["house"], "built": ["2020-01-01"]}
    assert "part" not in model.predict(rows).origin  # nothing is known of new rows


@pytest.mark.parametrize(
    ("trained", "new"),
    [
        (("yes", "no"), [("1", "0"), ("True", "False"), (1.0, 0.0), ("Y", "n"), ("on", "off")]),
        (("1", "0"), [("Yes", "No"), (True, False), ("t", "f"), (1.0, 0.0)]),
        (("true", "false"), [("YES", "NO"), ("1", "0"), (1, 0), ("T", "F")]),
    ],
)  # fmt: skip
def test_rows_with_other_words_for_booleans_are_recognized(trained, new, tmp_path):
    rng = np.random.default_rng(0)
    columns = {
        "size": rng.normal(size=40).round(3).tolist(),
        "new": [trained[k] for k in rng.integers(0, 2, 40)],
        "price": rng.integers(0, 4, 40).tolist(),
    }
    path = tmp_path / "t.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *zip(*columns.values(), strict=True)])
    table = load_table(str(path))
    plan = make_split_plan(table, make_user_spec({"target": "price"}))
    adapter = adapter_type("table").fit(plan)
    adapter = adapter_from_dict(json.loads(json.dumps(adapter.to_dict())))  # as a model has it
    parts = SampleParts.from_plan(plan, adapter)
    expected = np.where(plan.parts == "unused", "", plan.parts).tolist()
    for words in new:
        word_of = dict(zip(trained, words, strict=True))
        cells = [word_of[word] for word in columns["new"]]
        other = Table.from_columns("new", columns | {"new": cells})
        hashes = hash_samples(adapter.spell_as_trained(other), plan.options, adapter.columns)
        assert parts.find_parts(hashes) == expected
        theirs = tmp_path / "theirs.csv"
        with theirs.open("w", newline="") as file:
            rows = zip(columns["size"], cells, columns["price"], columns["price"], strict=True)
            csv.writer(file).writerows([(*columns, "pred"), *rows])
        request = ScoreRequest(theirs, str(path), target="price", label="price", out=tmp_path / "e")
        assert score_predictions(request)["predictions"]["parts"]["train"] == 40


@pytest.mark.parametrize(
    ("cells", "is_read"),
    [
        (["train", "val", "test", ""], True),
        (["Train", "validation", "unused", "NA"], True),
        (["train", "bus", "train", "ship"], False),  # means of transport
        (["3", "4", "5", "6"], False),
        (["", "", "", ""], False),
    ],
)
def test_column_part_of_another_meaning_does_not_hide_rows_of_the_training(
    cells, is_read, tmp_path, monkeypatch
):
    train = tmp_path / "train.csv"
    train.write_text("x,y\n" + "".join(f"{k},{k % 3}\n" for k in range(30)))
    rows = [f"{30 * is_read + k},{k % 3},{k},{cell}" for k, cell in enumerate(cells)]
    (tmp_path / "p.csv").write_text("\n".join(["x,y,pred,part", *rows]))
    loaded = []
    monkeypatch.setattr(
        "ranksim.inference.prediction.load_table",
        lambda source, *args: loaded.append(source) or load_table(source, *args),
    )
    request = ScoreRequest(
        tmp_path / "p.csv", str(train), target="y", label="y", out=tmp_path / "e"
    )
    parts = score_predictions(request)["predictions"]["parts"]
    if is_read:
        assert parts == {"train": 1, "val": 1, "test": int("test" in cells),
                         "new": 2 - ("test" in cells)}  # fmt: skip
    else:
        assert parts == {"train": 4, "val": 0, "test": 0, "new": 0}
    assert sorted(loaded) == sorted([str(train), str(tmp_path / "p.csv")])  # each once


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sentences", "pictures", "series"])
def test_rows_that_cannot_be_predicted_are_left_out_on_request(kind, fitted, tmp_path):
    data, folder = fitted(kind)
    table, model = load_table(str(data)), load_model(folder)
    column, reason = {
        "sentences": ("said", "no text in column 'said'"),
        "pictures": ("file", "no image in column 'file'"),
        "series": ("when", "no time in column 'when'"),
    }[kind]
    columns = {name: list(table.column(name)) for name in table.names}
    root = data if kind == "pictures" else None
    whole = model.predict(Table.from_columns("all", columns), image_root=root)
    lost = [0, 5]
    for row in lost:
        columns[column][row] = ""
    new = Table.from_columns("new", columns)
    with pytest.raises(DataError, match="new, rows 1, 6"):
        model.predict(new, image_root=root)
    predictions = model.predict(new, image_root=root, skip_missing=True)
    assert predictions.report.rows["left_out"][reason] == 2
    is_equal = np.isin(whole.rows, predictions.rows)
    np.testing.assert_allclose(predictions.preds, whole.preds[is_equal], rtol=1e-5, atol=1e-6)
    if kind != "series":
        assert predictions.rows.tolist() == [k for k in range(new.n_rows) if k not in lost]
        assert predictions.report.rows["used"] == new.n_rows - 2
    if kind == "pictures":
        columns[column][7] = "nowhere.png"
        new = Table.from_columns("new", columns)
        predictions = model.predict(new, image_root=root, skip_missing=True)
        assert predictions.report.rows["left_out"]["the image cannot be read"] == 1
        assert 7 not in predictions.rows
    columns[column] = [""] * new.n_rows
    with pytest.raises(DataError, match=r"No row of new can be predicted .* fill in these values"):
        model.predict(Table.from_columns("new", columns), image_root=root, skip_missing=True)


def test_held_out_figures_come_first(fitted, tmp_path):
    data, folder = fitted("table")
    out, plan = tmp_path / "p.csv", make_plan("table", data)
    summary = predict_data(PredictRequest(folder, str(data), out, accelerator="cpu"))
    test_mae = load_model(folder).metrics["test"]["all"]["mae"]
    counts = [len(part) for part in plan.split]
    n_new = load_table(str(data)).n_rows - sum(counts)
    assert summary["parts"] == dict(zip(("train", "val", "test"), counts, strict=True)) | {
        "new": n_new
    }
    assert summary["held_out"]["samples"] == counts[2] + n_new
    predictions = load_model(folder).predict(data)
    errors = np.abs(predictions.errors)
    is_held_out = np.isin(plan.parts, ["test", "unused"])
    assert summary["held_out"]["mae"] == pytest.approx(errors[is_held_out].mean())
    assert summary["mae"] == pytest.approx(errors.mean())
    result = score_predictions(ScoreRequest(out, model=folder, out=tmp_path / "e"))
    assert result["predictions"]["parts"] == summary["parts"]
    assert result["held_out"]["test"]["all"]["n"] == is_held_out.sum()
    assert result["held_out"]["test"]["all"]["mae"] == pytest.approx(errors[is_held_out].mean())
    assert result["test"]["all"]["mae"] == pytest.approx(errors.mean())
    if n_new == 0:
        assert summary["held_out"]["mae"] == pytest.approx(test_mae, rel=1e-6)


@pytest.mark.parametrize("origin", ["model", "train"])
def test_rows_of_the_training_are_recognized_in_predictions_of_other_programs(
    origin, fitted, tmp_path
):
    data, folder = fitted("table")
    table, plan = read_delimited(data), make_plan("table", data)
    path = tmp_path / "theirs.csv"
    columns = {name: table.column(name) for name in table.names} | {"pred": table.column("price")}
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerows([columns, *zip(*columns.values(), strict=True)])
    where = {"model": folder}
    if origin == "train":
        where = {"train": str(data), "target": "price"}
        where["options"] = {"split": str(folder / SPLIT_FILE)}
    request = ScoreRequest(path, label="price", out=tmp_path / "e", **where)
    parts = score_predictions(request)["predictions"]["parts"]
    assert parts["train"] == np.count_nonzero(plan.parts == "train")
    assert parts["val"] == np.count_nonzero(plan.parts == "val")


def test_model_of_an_earlier_version_knows_no_samples(model_copy, fitted):
    (model_copy / SAMPLES).unlink()
    assert "part" not in load_model(model_copy).predict(fitted("table")[0]).origin


def test_damaged_samples_are_rejected(model_copy):
    content = bytearray((model_copy / SAMPLES).read_bytes())
    content[-30] ^= 1
    (model_copy / SAMPLES).write_bytes(content[:-40])
    with pytest.raises(DataError, match=r"samples\.npz is damaged"):
        load_model(model_copy)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, METRICS])
def test_missing_file_is_named(name, model_copy):
    (model_copy / name).unlink()
    with pytest.raises(DataError, match=rf"{name} is missing"):
        load_model(model_copy)
    with pytest.raises(DataError, match="nowhere does not exist"):
        load_model(model_copy / "nowhere")


@pytest.mark.parametrize("length", [100, None])
def test_damaged_weights_are_rejected(length, model_copy):
    content = bytearray((model_copy / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (model_copy / WEIGHTS).write_bytes(content[:length])
    with pytest.raises(DataError, match=r"model\.safetensors is damaged"):
        load_model(model_copy)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"format": 3}, "model format 3, but .* reads 1 and 2"),
        ({"kind": "voxels"}, "voxels"),
        ({"reader": {"kind": "voxels"}}, "voxels"),
        ({"reader": None}, "cannot build"),
        ({"recipe": {}}, "The recipe lacks monitor"),
        ({"density": {}}, "no 'named'"),
        ({"target": ...}, "no 'target'"),
        ({"format": ...}, "does not describe a model"),
    ],
)
def test_invalid_config_is_rejected(change, problem, model_copy):
    config = read_verified_json(model_copy / CONFIG) | change
    config = {name: value for name, value in config.items() if value is not ...}
    (model_copy / CONFIG).write_text(json.dumps(config))
    with pytest.raises(DataError, match=problem):
        load_model(model_copy)


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_damaged_config_is_rejected(content, model_copy):
    (model_copy / CONFIG).write_text(content)
    with pytest.raises(DataError, match=r"config\.json is damaged"):
        load_model(model_copy)


def test_weights_of_another_network_are_rejected(model_copy, fitted):
    config = read_verified_json(model_copy / CONFIG)
    config["recipe"]["hidden"] = 9
    (model_copy / CONFIG).write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"do not match config\.json"):
        load_model(model_copy).predict(fitted("table")[0])


def test_folder_is_replaced_atomically_and_only_if_it_is_a_model(tmp_path):
    out = tmp_path / "m"
    with pytest.raises(ZeroDivisionError), replace_folder(out) as folder:
        (folder / CONFIG).write_text(f"{1 / 0}")
    assert not list(tmp_path.iterdir())
    for text in ("first", "second"):
        with replace_folder(out) as folder:
            for name in (CONFIG, WEIGHTS):
                (folder / name).write_text(text)
        assert [path.name for path in tmp_path.iterdir()] == ["m"]
        assert (out / CONFIG).read_text() == text
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt"):
        require_model_folder(out)
    assert (out / "notes.txt").read_text() == "mine"
