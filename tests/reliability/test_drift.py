"""Updates of real trainings beside a loop from the equations: tests/reliability has the rest of them."""

import pytest

from tests.reliability import drift
from tests.reliability.drift_battery import cell, one_thread
from tests.reliability.drift_cells import CONDITIONS, TECHNIQUES
from tests.reliability.drift_wrong import WRONG

# every technique under one, and those that have most to lose under each
CELLS = [
    *((row, "float32") for row in TECHNIQUES),
    *(
        (row, condition)
        for row in ("ranksim", "inv+lds+fds+ranksim, published", "rrt+fds, published")
        for condition in ("accumulate 4", "bf16-mixed", "16-mixed, scaler")
    ),
    ("ranksim", "16-mixed, overflow at first"),
    ("vanilla, MSE, gradient clipped", "16-mixed, accumulate 4"),
]
FAST = ("float32", "accumulate 4", "bf16-mixed", "16-mixed, scaler")


@pytest.fixture(autouse=True)
def alone():
    with one_thread():
        yield


def limits(name):
    condition = CONDITIONS[name]
    return [each for each in (condition.tolerance, condition.rounded) if each is not None]


@pytest.mark.parametrize(("row", "name"), CELLS)
def test_an_update_is_that_of_the_equations(tmp_path, row, name):
    found = cell(TECHNIQUES[row], CONDITIONS[name], tmp_path)
    assert all(each <= most for each, most in zip(found, limits(name), strict=True)), found


@pytest.mark.parametrize("what", [name for name, (_, at, _) in WRONG.items() if at in FAST])
def test_what_is_wrong_is_noticed(tmp_path, what):
    row, name, make = WRONG[what]
    with make():
        found = cell(TECHNIQUES[row], CONDITIONS[name], tmp_path)
    assert any(each > 3 * most for each, most in zip(found, limits(name), strict=True)), found


def test_the_page_shows_every_cell():
    deviations = {
        "float32": {"inv": [1.25e-7], "rrt": [None]},
        "bf16-mixed": {"inv": [2e-3, 0.0], "rrt": [4e-3, 1e-7]},
    }
    shown = drift.text({"deviations": deviations, "wrong": {"a": 12.0, "b": None}, "updates": 1234})
    assert "| technique | float32 ≤ 1e-06 | bf16-mixed ≤ 3e-02 | bf16-mixed, rounding" in shown
    assert "| inv | 1.2e-07 | 2.0e-03 | 0 |" in shown
    assert "| rrt | other samples | 4.0e-03 | 1.0e-07 |" in shown
    assert "1,234 updates" in shown
    assert "at least 12 times" in shown
