"""``Model.drift`` in Python, and its page."""

import json

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

import ranksim
from ranksim.api.drift import Drift
from tests.helpers.drift_data import draw_homes


@pytest.fixture(scope="module")
def model():
    data = draw_homes(0)
    return ranksim.fit(data, target="price", method="linear", interval=0.9, progress=False)


@pytest.fixture(scope="module")
def moved(model):
    return model.drift(draw_homes(1, growth=0.8, price=1.5))


def test_result_shows_what_moved(moved):
    assert isinstance(moved, Drift)
    assert (moved.verdict, moved.moved) == ("retrain", ["size"])
    assert repr(moved) == f"Drift({moved.conclusion})"
    page = moved.to_html()
    for text in ("column size: median", "Shares of labels", "MAE by region", "Coverage of 90"):
        assert text in page
    content = moved.to_dict()
    assert json.loads(json.dumps(content, allow_nan=False)) == content
    assert content["verdict"] == moved.verdict


def test_frame_has_a_row_per_column(moved):
    frame = moved.to_frame()
    assert sorted(frame["name"]) == ["built", "kind", "size"]
    assert frame["name"][0] == "size"
    assert frame["moved"].tolist() == [True, False, False]
    assert (np.diff(frame["psi"][1:]) <= 0).all()


def test_labels_may_be_passed_or_missing(model, moved):
    new = draw_homes(1, growth=0.8, price=1.5)
    inputs, labels = new.drop(columns="price"), new["price"]
    assert model.drift(inputs, labels).to_dict() == moved.to_dict()
    unlabeled = model.drift(inputs)
    assert unlabeled.verdict == "inputs moved"
    assert "MAE" not in unlabeled.to_html()
    with pytest.raises(TypeError, match="rare"):
        model.drift(inputs, rare=">3")


def test_names_of_columns_are_text_on_the_page():
    data = draw_homes(0).rename(columns={"size": "<b>size</b>"})
    model = ranksim.fit(data, target="price", method="linear", progress=False)
    page = model.drift(data).to_html()
    assert "&lt;b&gt;size&lt;/b&gt;" in page
    assert "<b>size" not in page


def test_an_estimator_in_memory_knows_its_data():
    data = draw_homes(0)
    model = ranksim.fit(
        data, target="price", method="line", estimators={"line": LinearRegression()}, progress=False
    )
    assert model.drift(draw_homes(2)).verdict == "stable"
    assert model.drift(draw_homes(1, growth=0.8)).moved == ["size"]
