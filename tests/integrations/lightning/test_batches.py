from ranksim.integrations.lightning import get_inputs, get_labels
from tests.helpers.trainings import data


def test_get_labels_and_inputs():
    x, y = data()
    for key in ("label", "labels", "y"):
        assert get_labels({"x": x, key: y}) is y
    for key in ("inputs", "input", "x"):
        assert get_inputs({key: x, "y": y}) is x
    assert get_labels([x, y]) is y
    assert get_inputs((x, y)) is x
