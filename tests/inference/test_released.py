import json
import os
from pathlib import Path

import numpy as np
import pytest

from ranksim._utils.storage import with_digest, write_json
from ranksim.api import model as api_model
from ranksim.api.model import Model
from ranksim.datasets import sts_b_dir
from ranksim.exceptions import DataError, UsageError
from ranksim.experiments.run import execute_run
from ranksim.experiments.sweep_request import make_runs
from ranksim.experiments.sweep_settings import SweepSettings
from ranksim.inference import released
from ranksim.inference.benchmark_model import save_run, score_on_benchmark
from ranksim.inference.prediction import ScoreRequest, score_predictions
from ranksim.inference.released import DIGESTS, find_released, list_released
from ranksim.inference.saved_model import WEIGHTS, load_model
from scripts.release_weights import MAX_BYTES, MODELS, TOLERANCE
from tests.conftest import SHARED
from tests.helpers.requests import make_request
from tests.helpers.sweeps import sts_request

PAIRS = {
    "sentence1": ["A man plays the guitar.", "A dog runs."],
    "sentence2": ["A man is playing a guitar.", "Shares fell on Wall Street."],
}
ROOT = os.environ.get("RANKSIM_DATA")


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """A folder of released models with one model, made of small files."""
    root = tmp_path / "weights"
    (root / "small").mkdir(parents=True)
    (root / "small" / "config.json").write_text("{}")
    digest = "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    write_json(root / DIGESTS, with_digest({"models": {"small": {"config.json": digest}}}))
    monkeypatch.setattr(released, "_PLACES", (tmp_path / "absent", root))
    return root


def test_all_models_are_here_small_and_without_word_vectors():
    assert list_released() == sorted(f"ranksim/{name}" for name in MODELS)
    for name in list_released():
        folder = find_released(name)
        files = sorted(folder.iterdir())
        content = json.loads((folder.parent / DIGESTS).read_text())["models"][folder.name]
        assert [path.name for path in files] == sorted(content)
        assert sum(path.stat().st_size for path in files) < MAX_BYTES
        model = load_model(name)
        assert model.path == folder
        assert not any("vectors" in key for key in model.weights)
        assert model.config["method"] == MODELS[folder.name][2]
        assert f'ranksim.Model.load("{name}")' in (folder / "README.md").read_text()


def test_names(copied):
    assert find_released("ranksim/small") == copied / "small"
    assert list_released() == ["ranksim/small"]
    for name in ("owner/small", "small", "ranksim/small/more", str(copied)):
        assert find_released(name) is None
    with pytest.raises(DataError, match=r"^There is no model ranksim/other: choose from ranksim/s"):
        load_model("ranksim/other")
    with pytest.raises(
        DataError, match=r"^The model nothing does not exist: .* ranksim/glucose\.$"
    ):
        load_model("nothing")


@pytest.mark.parametrize("damage", ["changed", "missing", "list"])
def test_damaged_models(copied, damage):
    path = copied / "small" / "config.json"
    if damage == "changed":
        path.write_text("{} ")
    elif damage == "missing":
        path.unlink()
    else:
        path = copied / DIGESTS
        path.write_text(path.read_text().replace("small", "big"))
    with pytest.raises(DataError, match="damaged: install ranksim again") as error:
        load_model("ranksim/small")
    assert str(path) in str(error.value)


def test_models_that_are_not_installed(monkeypatch, tmp_path):
    monkeypatch.setattr(released, "_PLACES", (tmp_path,))
    assert list_released() == []
    with pytest.raises(DataError, match="^The model ranksim/glucose is not installed"):
        load_model("ranksim/glucose")


def test_models_are_loaded_by_name_without_the_hub(monkeypatch, tmp_path):
    monkeypatch.setattr(api_model, "download_model", None)
    for name in ("sts-b-dir", "sts-b-dir-ranksim"):
        for load in (Model.from_pretrained, Model.load):
            preds = load(f"ranksim/{name}").predict(PAIRS).preds
            assert 2.5 < preds[0] < 5.2
            assert preds[1] < 2
    readings = {
        "datetime": [f"2024-03-01 {k // 12:02}:{5 * (k % 12):02}" for k in range(30)],
        "glucose": [100.0 + k for k in range(30)],
        "isig": [15.0] * 30,
    }
    preds = Model.from_pretrained("ranksim/glucose").predict(readings).preds
    assert len(preds) == 7
    assert np.all((preds > 100) & (preds < 180))
    monkeypatch.chdir(tmp_path)  # a folder of that name comes first
    (tmp_path / "ranksim" / "glucose").mkdir(parents=True)
    with pytest.raises(DataError, match=r"config\.json is missing"):
        load_model("ranksim/glucose")


def test_predictions_of_a_released_model_are_scored_by_its_name(tmp_path):
    path = tmp_path / "scored.csv"
    path.write_text("prediction,label\n4.5,5\n1.5,0.5\n")
    result = score_predictions(
        ScoreRequest(path, model=Path("ranksim/sts-b-dir"), label="label", out=tmp_path)
    )
    assert result["test"]["all"]["mse"] == pytest.approx(0.625)
    assert result["model"]["name"] == "sts-b-dir"


def test_a_saved_run_predicts_a_table_with_the_scores_of_the_run(small_sts, tmp_path):
    request = sts_request(small_sts, tmp_path / "out", methods="vanilla+ranksim")
    settings = SweepSettings.from_request(request)
    run = make_runs(request, settings)(settings.parse_method(request, "vanilla+ranksim"), 1)
    record = execute_run(run)
    save_run(run, record, tmp_path / "model")
    model = load_model(tmp_path / "model")
    assert {path.name for path in model.path.iterdir()} == {
        "README.md", "config.json", "metrics.json", WEIGHTS
    }  # fmt: skip
    expected = record["result"]["metrics"]["test"]
    assert model.metrics["test"] == expected
    scores = score_on_benchmark(model, small_sts)
    assert scores["all"]["mse"] == pytest.approx(expected["all"]["mse"], rel=1e-6)
    # as rows of a table, with the texts of all parts, whose mean is the vector of unknown words
    benchmark = sts_b_dir.load(data_dir=small_sts)
    texts = [[text for part in benchmark.parts for text in part.texts[column]] for column in (0, 1)]
    preds = model.predict(dict(zip(PAIRS, texts, strict=True))).preds[-len(benchmark.test) :]
    mse = np.square(preds - benchmark.test.labels).mean()
    assert mse == pytest.approx(expected["all"]["mse"], rel=1e-5)


def test_runs_that_cannot_be_saved_or_scored(tmp_path, small_sts):
    table = tmp_path / "table.csv"
    table.write_text("x,y\n" + "".join(f"{k},{k % 9}\n" for k in range(90)))
    request = make_request(table, tmp_path / "out", options={"target": "y"})
    settings = SweepSettings.from_request(request)
    run = make_runs(request, settings)(settings.parse_method(request, "vanilla"), 0)
    with pytest.raises(UsageError, match=r"^A run of table cannot be saved .* sts-b-dir, senti"):
        save_run(run, {"provenance": {}, "result": {}}, tmp_path / "model")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sts-b-dir", "sts-b-dir-ranksim"])
def test_committed_rows_of_sts_b_dir_are_reproduced(name):
    folder = Path(ROOT) if ROOT else SHARED
    if not (folder / "sts-b-dir").is_dir():
        pytest.skip("the published files of STS-B-DIR are not here: name them with RANKSIM_DATA")
    check_row(name, folder)


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("name", ["sentiment-dir", "glucose"])
def test_committed_rows_of_downloaded_data_are_reproduced(name):
    check_row(name, None)


def check_row(name, data_dir):
    model = load_model(f"ranksim/{name}")
    scores = score_on_benchmark(model, data_dir)
    for region, values in model.metrics["test"].items():
        for metric, value in values.items():
            computed = scores[region][metric]
            if value is None:
                assert computed is None
            else:
                assert computed == pytest.approx(value, rel=10 * TOLERANCE, abs=1e-6)
