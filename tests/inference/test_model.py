"""A saved model: it predicts as the run did, says what it has not seen, and believes nothing."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import safetensors.torch

import ranksim
from ranksim._utils.storage import read_verified_json
from ranksim.data.reading import read_delimited
from ranksim.exceptions import DataError, UsageError
from ranksim.imbalance import LabelBins
from ranksim.imbalance.label_range import LabelRange
from ranksim.inference import Predictions, load_model
from ranksim.inference.density import covering, density_of, regions_of
from ranksim.inference.files import (
    CARD,
    CONFIG,
    METRICS,
    WEIGHTS,
    refuse_other_folder,
    written_folder,
)
from ranksim.inference.fit import FitRequest, fit_model
from ranksim.inference.scoring import error_intervals
from ranksim.metrics import ShotRegions
from ranksim.training.modality import recipe_type
from ranksim.training.presets import preset_table
from ranksim.training.pretrained import portable_encoder_name, relocate_encoder, to_portable_recipe
from tests.helpers import user_data
from tests.helpers.language import save_bert
from tests.helpers.requests import make_request


def fitted(data, kind, out, method="vanilla", *changes, **more):
    """A model of a kind, trained for a moment."""
    small = dict(zip(user_data.SMALL_NETWORK[kind][::2], user_data.SMALL_NETWORK[kind][1::2], strict=True))
    size = small.pop("--image-size", None)
    request = make_request(
        data,
        out,
        options=user_data.OPTIONS[kind] | more,
        methods=method,
        seeds="0,",
        changes=(*small.values(), *changes),
        max_steps=3,
        image_size=size and int(size),
        command=" ".join(
            ["ranksim fit", *(f"--drop-labels {r}" for r in more.get("drop_labels", ()))]
        ),
    )
    fit_model(FitRequest(request, method, 0), as_json=True)
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Data of a kind and a model of it, made when it is first asked for."""
    known = {}

    def of(kind):
        if kind not in known:
            folder = tmp_path_factory.mktemp(kind)
            data = user_data.WRITERS[kind](folder)
            known[kind] = data, fitted(data, kind, folder / "model")
        return known[kind]

    return of


@pytest.fixture
def model(made, tmp_path):
    """A copy of a table's model, to be spoiled."""
    return Path(shutil.copytree(made("table")[1], tmp_path / "copy"))


def test_a_model_is_four_files_and_nothing_of_this_machine(made):
    data, folder = made("sentences")
    assert {path.name for path in folder.iterdir()} == {CONFIG, WEIGHTS, METRICS, CARD}
    assert not folder.with_name("model.training").exists()
    weights = safetensors.torch.load_file(folder / WEIGHTS)
    assert not [name for name in weights if "vectors" in name or "fds" in name]
    text = (folder / CONFIG).read_text() + (folder / CARD).read_text()
    assert str(data.parent) not in text
    config = json.loads((folder / CONFIG).read_text())
    assert config["recipe"]["label_scale"] > 0  # as it was settled by the training labels
    assert config["data"]["name"] == data.name


def test_a_card_says_what_was_never_seen(made, tmp_path):
    data, _ = made("table")
    told = (fitted(data, "table", tmp_path / "m", drop_labels=("10-14",)) / CARD).read_text()
    config = json.loads((tmp_path / "m" / CONFIG).read_text())
    density = config["density"]
    for low, high, count in zip(
        density["edges"], density["edges"][1:], density["train"], strict=False
    ):
        if count == 0 and low >= 10 and high <= 14:
            assert "It has seen no label in" in told
    labels = [float(v) for v in read_delimited(data).column("price")]
    assert sum(density["train"]) == config["data"]["counts"][0] < len(labels)
    assert f"`{config['method']}`" in told
    assert config["command"] in told
    assert "--drop-labels 10-14" in config["command"]


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("vanilla+fds", ()),
        ("rrt", ()),
        ("rrt+fds+ranksim", ()),
        ("rrt", ("rrt_paper_compat=true", "dropout=0.2")),
    ],
)
def test_techniques_of_training_are_no_part_of_a_model(method, changes, made, tmp_path):
    """Two stages end in one network, and its test scores are those of the run."""
    data, plain = made("table")
    model = load_model(fitted(data, "table", tmp_path / "m", method, *changes))
    there = safetensors.torch.load_file(tmp_path / "m" / WEIGHTS)
    assert set(there) == set(safetensors.torch.load_file(plain / WEIGHTS))
    scores = _test_scores(model, data)
    assert scores == pytest.approx(model.metrics["test"]["all"]["mae"], rel=1e-6)


def test_augmented_images_in_two_stages(made, tmp_path):
    """The second stage keeps a frozen encoder of its own."""
    data, _ = made("pictures")
    model = load_model(fitted(data, "pictures", tmp_path / "m", "rrt"))
    assert _test_scores(model, data) == pytest.approx(model.metrics["test"]["all"]["mae"], rel=1e-5)


@pytest.mark.parametrize("frozen", ["true", "false"])
def test_a_pretrained_encoder_of_sentences(frozen, tmp_path):
    """Frozen, its weights are not the model's; trained, they are."""
    data = user_data.write_sentences(tmp_path)
    request = make_request(
        data,
        tmp_path / "m",
        options=user_data.OPTIONS["sentences"],
        seeds="0,",
        encoder=save_bert(tmp_path / "bert"),
        changes=("hidden=8", f"frozen={frozen}"),
        max_steps=3,
    )
    fit_model(FitRequest(request, "vanilla", 0), as_json=True)
    with pytest.raises(UsageError, match=r"reads through bert@[0-9a-f]{16}, which was in a folder"):
        load_model(tmp_path / "m").predict(str(data))
    model = load_model(tmp_path / "m", encoder=tmp_path / "bert")
    assert model.config["kind"] == "sentences"
    names = safetensors.torch.load_file(tmp_path / "m" / WEIGHTS)
    assert any("embeddings" in name for name in names) == (frozen == "false")
    assert _test_scores(model, data) == pytest.approx(model.metrics["test"]["all"]["mae"], rel=1e-5)


def test_another_encoder_is_refused(made, tmp_path):
    _, table = made("table")
    bert = Path(save_bert(tmp_path / "bert"))
    with pytest.raises(UsageError, match="has no pretrained encoder: leave --encoder out"):
        load_model(table, encoder=bert)
    recipe = recipe_type("sentences").from_table(
        preset_table("sentences", "small") | {"encoder": str(bert)}
    )
    kept, folder = to_portable_recipe(recipe)
    assert folder == str(bert)
    assert kept.encoder == portable_encoder_name(bert)
    moved = bert.rename(tmp_path / "moved")
    assert relocate_encoder(kept, moved).encoder == str(moved)  # its files count, and not its name
    (moved / "config.json").write_text((moved / "config.json").read_text() + " ")
    with pytest.raises(DataError, match="but the model was trained with bert@"):
        relocate_encoder(kept, moved)
    with pytest.raises(DataError, match="There is no folder"):
        relocate_encoder(kept, bert)


def _test_scores(model, data):
    """MAE of a model over the test rows of its own split."""
    from ranksim.data.reading import load_table
    from ranksim.data.spec import make_user_spec
    from ranksim.data.split_plan import make_split_plan

    called = {"images": "pictures", "text": "sentences"}
    kind = called.get(model.config["kind"], model.config["kind"])
    plan = make_split_plan(load_table(str(data)), make_user_spec(user_data.OPTIONS[kind]))
    found = model.predict(str(data))
    test = plan.rows[plan.split.test]
    assert np.array_equal(found.rows[test], test)
    return np.abs(found.prediction[test] - plan.labels[plan.split.test]).mean()


def test_a_moved_model_predicts_the_same_in_a_fresh_process(made, tmp_path):
    data, folder = made("table")
    before = ranksim.load_model(folder).predict(data)
    moved = shutil.copytree(folder, tmp_path / "elsewhere" / "mine")
    out = tmp_path / "made.parquet"
    words = [Path(sys.executable).with_name("ranksim"), "predict", moved, data, "--out", out]
    told = subprocess.run(list(map(str, words)), capture_output=True, text=True, timeout=120)
    assert told.returncode == 0, told.stderr
    table = parquet.read_table(out).to_pydict()
    np.testing.assert_array_equal(table["prediction"], before.prediction)
    assert table["row"] == (before.rows + 1).tolist()
    assert table["region"] == before.region.tolist()


def test_predicting_draws_nothing(made):
    import torch

    data, folder = made("sentences")
    model = load_model(folder)
    state = torch.get_rng_state()
    model.predict(data)
    assert torch.equal(torch.get_rng_state(), state)


def test_columns_and_data_frames(made):
    data, folder = made("table")
    model, table = load_model(folder), read_delimited(data)
    from_file = model.predict(data)
    columns = {name: table.column(name) for name in table.names}
    np.testing.assert_array_equal(model.predict(columns).prediction, from_file.prediction)
    pandas = pytest.importorskip("pandas")
    frame = pandas.read_csv(data, parse_dates=["built"])
    np.testing.assert_array_equal(model.predict(frame).prediction, from_file.prediction)
    del columns["price"]  # what is to be predicted need not be there
    without = model.predict(columns)
    assert without.label is None
    np.testing.assert_array_equal(without.prediction, from_file.prediction)
    with pytest.raises(DataError, match=r"^The data has no row of values: put one row a sample"):
        model.predict({name: [] for name in columns})


def test_what_training_never_saw_is_predicted_too(made):
    _, folder = made("table")
    rows = {
        "size": ["50", "", "1e30"],
        "kind": ["castle", "NA", "flat"],
        "built": ["2020-01-01", "", "1800-05-05"],
    }
    found = load_model(folder).predict(rows)
    assert len(found) == 3
    assert np.isfinite(found.prediction).all()
    _, folder = made("sentences")
    found = load_model(folder).predict({"said": ["xyzzy plugh", "a good film", "xyzzy xyzzy"]})
    assert np.isfinite(found.prediction).all()


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({"size": ["1"], "kind": ["a"]}, r"^The data has no column 'built': choose one of"),
        (
            {"size": ["1", "big"], "kind": ["a", "b"], "built": ["2020-01-01"] * 2},
            r"^The data, row 2: column 'size' holds 'big', which is no finite number; ",
        ),
    ],
)
def test_data_that_a_model_cannot_read(rows, sentence, made):
    with pytest.raises(DataError, match=sentence):
        load_model(made("table")[1]).predict(rows)


def test_a_forecast_goes_beyond_the_end_of_the_data(made):
    data, folder = made("series")
    found, table = load_model(folder).predict(data), read_delimited(data)
    level, when = table.column("level"), table.column("when")
    # every 4 readings in a row that are there, within the same stretch
    half = table.rows // 2
    ends = [
        k
        for k in range(3, table.rows)
        if all(level[k - 3 : k + 1]) and (k < half) == (k - 3 < half)
    ]
    assert found.rows.tolist() == ends
    known = [k + 2 < table.rows and (k < half) == (k + 2 < half) and bool(level[k + 2])
             for k in ends]  # fmt: skip
    np.testing.assert_array_equal(np.isfinite(found.label), known)
    assert not known[-1]
    for k, time, label in zip(ends, found.time, found.label, strict=True):
        if k + 2 < table.rows and (k < half) == (k + 2 < half):
            assert time == f"{when[k + 2]}:00"
        if np.isfinite(label):
            assert label == float(level[k + 2])
    assert found.time[-1] == "2024-03-01 21:05:00"  # ten minutes after the last reading


def test_readings_at_another_step_are_no_windows(made):
    """A forecast from hourly readings by a model of five minutes would be silently wrong."""
    data, folder = made("series")
    table = read_delimited(data)
    hourly = [f"2024-03-{1 + k // 24:02} {k % 24:02}:00" for k in range(100)]
    rows = {"when": hourly, "level": table.column("level")[40:140]}
    with pytest.raises(DataError, match=r"^No 4 readings in a row"):
        load_model(folder).predict(rows)


@pytest.mark.parametrize("name", [CONFIG, WEIGHTS, METRICS])
def test_a_missing_file(name, model):
    (model / name).unlink()
    with pytest.raises(DataError, match=rf"{name} is missing: give a folder that ranksim fit"):
        load_model(model)


def test_no_model_at_all(tmp_path):
    with pytest.raises(DataError, match=r"^There is no model .*nowhere: give a folder"):
        load_model(tmp_path / "nowhere")


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_damaged_weights(cut, model):
    content = bytearray((model / WEIGHTS).read_bytes())
    if cut:
        content = content[:cut]
    else:
        content[-1] ^= 1  # one bit
    (model / WEIGHTS).write_bytes(content)
    with pytest.raises(DataError, match=r"model\.safetensors is damaged: get the model again"):
        load_model(model)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format": 2}, r"has model format 2, and this version of ranksim reads 1: use ranksim 0"),
        ({"kind": "voxels"}, r"cannot make \(no 'voxels'\): get the model again"),
        ({"reader": {"kind": "voxels"}}, r"cannot make \(kind must be one of table, text"),
        ({"reader": None}, r"describes what this version of ranksim cannot make"),
        ({"recipe": {}}, r"cannot make \(The recipe lacks label_scale"),
        ({"density": {}}, r"cannot make \(no 'named'\)"),
        ({"target": ...}, r"cannot make \(no 'target'\)"),
        ({"format": ...}, r"config\.json is not that of a model"),
    ],
)
def test_a_description_that_makes_no_sense(change, sentence, model):
    config = read_verified_json(model / CONFIG) | change
    config = {name: value for name, value in config.items() if value is not ...}
    (model / CONFIG).write_text(json.dumps(config))
    with pytest.raises(DataError, match=sentence):
        load_model(model)


@pytest.mark.parametrize("content", ["{", "[]", "\x00"])
def test_a_damaged_description(content, model):
    (model / CONFIG).write_text(content)
    with pytest.raises(DataError, match=r"config\.json is damaged: get the model again"):
        load_model(model)


def test_weights_of_another_network(model, made):
    config = read_verified_json(model / CONFIG)
    config["recipe"]["hidden"] = 9
    (model / CONFIG).write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"are not the weights of the network that config\.json"):
        load_model(model).predict(made("table")[0])


def test_a_folder_appears_whole_and_replaces_models_alone(tmp_path):
    out = tmp_path / "m"
    with pytest.raises(ZeroDivisionError), written_folder(out) as folder:
        (folder / CONFIG).write_text(f"{1 / 0}")
    assert not list(tmp_path.iterdir())
    for text in ("first", "second"):
        with written_folder(out) as folder:
            for name in (CONFIG, WEIGHTS):
                (folder / name).write_text(text)
        assert [path.name for path in tmp_path.iterdir()] == ["m"]
        assert (out / CONFIG).read_text() == text
    (out / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds what is no model \(notes\.txt\)"):
        refuse_other_folder(out)
    assert (out / "notes.txt").read_text() == "mine"


def test_density_and_back():
    bins = LabelBins(np.array([0.1, 0.7, 2.3, 9.9]))
    named = {"low": LabelRange(None, 0.5, strict=True), "mid": LabelRange(-1, 2)}
    regions = ShotRegions.from_counts(bins, [0.2] * 7 + [0.8] * 3, many=6, few=2, named=named)
    again = regions_of(json.loads(json.dumps(density_of(regions, many=6, few=2))))
    assert again.bins == bins
    assert (again.names, again.named) == (regions.names, regions.named)
    assert again.counts.tolist() == [7, 3, 0]


@pytest.mark.parametrize("labels", [[0.1, 9.9], [-3.0, 5.0], [11.0], [-1e30, 1e30], [9.9000015]])
def test_labels_beyond_the_bins_were_never_seen(labels):
    bins = LabelBins(np.array([0.1, 0.7, 2.3, 9.9]))
    regions = ShotRegions.from_counts(bins, [0.2] * 7 + [0.8] * 3 + [3.0] * 9, many=6, few=2)
    every = [*labels, 0.1, 0.5, 0.7, 5.0, 9.9]
    masks = covering(regions, every).masks(every)
    for k, label in enumerate(np.array(every, dtype=np.float32)):
        inside = bins.edges[0] <= label <= bins.edges[-1]
        own = regions.masks([label]) if inside else {"zero": [True], "few": [True]}
        for name in ("zero", "few"):
            assert masks[name][k] == own[name][0], (label, name)


def test_predictions_as_a_table(tmp_path):
    seen = ShotRegions.from_counts(
        LabelBins.uniform(0.0, 2.0, 2), [0.5] * 30, named={"high": LabelRange(1.5, None)}
    )
    made = Predictions.of(
        np.array([0, 2]), np.array([0.1, 1.75]), seen, np.array([np.nan, 1.5]), ["a", "b, c"]
    )
    made.write(tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text() == (
        "row,time,prediction,region,zero_shot,in_high,label,error\n"
        "1,a,0.1,medium,false,false,,\n"
        '3,"b, c",1.75,few,true,true,1.5,0.25\n'
    )
    made.write(tmp_path / "p.parquet")
    assert parquet.read_table(tmp_path / "p.parquet").to_pydict() == made.columns()
    assert made.counts() == {"many": 0, "medium": 1, "few": 1, "zero": 1, "high": 1}
    with pytest.raises(UsageError, match=r"^--out must name a \.csv or \.parquet file, got p\.txt"):
        made.write(Path("p.txt"))


def test_error_intervals_against_a_loop():
    error = np.random.default_rng(5).normal(0.3, 1, 40)
    found, draw = error_intervals(error), np.random.default_rng(9)
    drawn = [draw.integers(0, 40, 40) for _ in range(4_000)]
    size = abs(error)
    for name, each in {"mae": size, "mse": size**2, "gm": np.log(size)}.items():
        ratios = [(each[d].mean() - each.mean()) / each[d].std() for d in drawn]
        ends = each.mean() - each.std() * np.quantile(ratios, [0.975, 0.025])
        plain = np.quantile([each[d].mean() for d in drawn], [0.025, 0.975])
        ends = [min(ends[0], plain[0]), max(ends[1], plain[1])]
        wanted = np.exp(ends) if name == "gm" else ends
        np.testing.assert_allclose(found[name], wanted, rtol=0.06)
    assert error_intervals(np.array([0.0, 1.0]))["mae"][0] == 0.0
    assert error_intervals(np.array([0.0, 1.0]))["gm"] is None
    assert error_intervals(np.array([2.0])) == {"mae": None, "mse": None, "gm": None}
