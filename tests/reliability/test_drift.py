"""Updates of real trainings compared with a loop written from the equations."""

import pytest

from tests.reliability import drift
from tests.reliability.drift_battery import cell, one_thread
from tests.reliability.drift_cells import CONDITIONS, TECHNIQUES
from tests.reliability.drift_wrong import WRONG

# every method under one condition, the most sensitive methods under all fast conditions
CELLS = [
    *((row, "float32") for row in TECHNIQUES),
    *(
        (row, condition)
        for row in ("ranksim", "inv+lds+fds+ranksim, published", "rrt+fds, published")
        for condition in ("accumulate 4", "bf16-mixed", "16-mixed, scaler")
    ),
    *(
        (row, condition)
        for row in ("inv+ccc+ranksim", "gar", "bmse, bmc", "inv+dist", "dila", "sera")
        for condition in ("accumulate 4", "bf16-mixed", "16-mixed, scaler")
    ),
    *(
        (row, condition)
        for row in ("inv+oe", "srl", "conr+fds", "rnc, first stage", "bsam")
        for condition in ("accumulate 4", "bf16-mixed", "16-mixed, scaler")
    ),
    *(
        (row, condition)
        for row in ("uvote", "inv+gaussian", "quantile")
        for condition in ("accumulate 4", "bf16-mixed", "16-mixed, scaler")
    ),
    ("ranksim", "16-mixed, initial overflow"),
    ("vanilla, MSE, gradient clipped", "16-mixed, accumulate 4"),
]
FAST = ("float32", "accumulate 4", "bf16-mixed", "16-mixed, scaler")


@pytest.fixture(autouse=True)
def use_one_thread():
    with one_thread():
        yield


@pytest.mark.parametrize(("row", "name"), CELLS)
@pytest.mark.slow
def test_updates_match_the_equations(tmp_path, row, name):
    deviations = cell(TECHNIQUES[row], CONDITIONS[name], tmp_path)
    assert all(d <= t for d, t in zip(deviations, drift._tolerances(name), strict=True)), deviations


@pytest.mark.slow
@pytest.mark.parametrize("fault", [name for name, (_, at, _) in WRONG.items() if at in FAST])
def test_wrong_trainings_are_detected(tmp_path, fault):
    row, name, make_context = WRONG[fault]
    with make_context():
        deviations = cell(TECHNIQUES[row], CONDITIONS[name], tmp_path)
    tolerances = drift._tolerances(name)
    assert any(d > 3 * t for d, t in zip(deviations, tolerances, strict=True)), deviations


def test_description_lists_all_cells():
    deviations = {
        "float32": {"inv": [1.25e-7], "rrt": [None]},
        "bf16-mixed": {"inv": [2e-3, 0.0], "rrt": [4e-3, 1e-7]},
    }
    wrong = {"a": 12.0, "b": None}
    text = drift.describe({"deviations": deviations, "wrong": wrong, "updates": 1234})
    assert "| method | float32 ≤ 1e-06 | bf16-mixed ≤ 3e-02 | bf16-mixed, same rounding" in text
    assert "| inv | 1.2e-07 | 2.0e-03 | 0 |" in text
    assert "| rrt | other samples | 4.0e-03 | 1.0e-07 |" in text
    assert "1,234 updates" in text
    assert "at least 12 times" in text
