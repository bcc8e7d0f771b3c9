"""Models on the Hugging Face hub, behind a stubbed transport."""

import pytest

import ranksim
from ranksim.api.hub import make_hub_card
from ranksim.exceptions import DataError, UsageError
from tests.helpers.api import QUIET
from tests.helpers.errors import raises_with
from tests.helpers.hub import open_hub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    with open_hub() as hub:
        yield hub


@pytest.mark.parametrize("method", ["vanilla", "trees"])
def test_uploaded_model_predicts_the_same(hub, homes, method):
    limits = {"max_epochs": 1} if method == "vanilla" else {}
    model = ranksim.fit(homes, method=method, **limits, **QUIET)
    address = ranksim.push_to_hub(model, "me/prices", token="hf_test", private=True)
    assert address == "https://huggingface.co/me/prices"
    files = hub.repositories["me/prices"]
    assert {"config.json", "metrics.json", "README.md", "samples.npz"} <= files.keys()
    assert "split.csv" not in files
    card = files["README.md"].decode()
    assert card.startswith("---\nlibrary_name: ranksim\n")
    assert "pipeline_tag: tabular-regression" in card
    assert 'ranksim.Model.from_pretrained("me/prices")' in card
    loaded = ranksim.Model.from_pretrained("me/prices")
    assert loaded.predict(homes).preds.tolist() == model.predict(homes).preds.tolist()
    assert loaded.metrics == model.metrics


def test_uploaded_model_has_its_intervals_without_the_data(hub, homes):
    """Intervals need the calibration samples; nothing else of the data leaves the folder."""
    model = ranksim.fit(homes, method="linear", interval=0.8, **QUIET)
    ranksim.push_to_hub(model, "me/prices", token="hf_test")
    assert not {"reference.json", "split.csv"} & hub.repositories["me/prices"].keys()
    loaded, expected = ranksim.Model.from_pretrained("me/prices"), model.predict(homes)
    predictions = loaded.predict(homes)
    assert predictions.lower.tolist() == expected.lower.tolist()
    assert predictions.upper.tolist() == expected.upper.tolist()
    with raises_with(DataError, "no summary of its data"):
        loaded.drift(homes)


def test_folders_are_loaded_without_the_hub(hub, homes):
    model = ranksim.fit(homes, method="median", **QUIET)
    assert repr(ranksim.Model.from_pretrained(model.path)) == repr(model)
    assert not hub.requests


def test_errors_are_one_sentence(hub, homes):
    model = ranksim.fit(homes, method="median", **QUIET)
    with raises_with(DataError, "me/nothing is not a folder and could not be read"):
        ranksim.Model.from_pretrained("me/nothing")
    with raises_with(UsageError, "called owner/name", "'my prices'"):
        model.push_to_hub("my prices")
    with raises_with(UsageError, "takes a model of ranksim.fit"):
        ranksim.push_to_hub(3, "me/prices")
    hub.repositories = None  # the server fails
    with raises_with(DataError, "could not be uploaded to me/prices"):
        model.push_to_hub("me/prices", token="hf_test")


def test_card_has_metadata_of_the_hub():
    card = make_hub_card('# m\n\nmodel = ranksim.Model.load("m", model=f)\n', "me/m", "images")
    assert card.startswith("---\n")
    assert "pipeline_tag" not in card
    assert 'ranksim.Model.from_pretrained("me/m", model=f)' in card
