from ranksim.integrations.lightning import inputs_of, labels_of
from tests.helpers.trainings import data


def test_batches_that_the_callbacks_understand():
    x, y = data()
    for key in ("label", "labels", "y"):
        assert labels_of({"x": x, key: y}) is y
    for key in ("inputs", "input", "x"):
        assert inputs_of({key: x, "y": y}) is x
    assert labels_of([x, y]) is y
    assert inputs_of((x, y)) is x
