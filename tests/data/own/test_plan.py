"""What test samples belong to, which intervals count as one."""

import numpy as np
import pytest

from ranksim.data.own.options import OwnOptions
from ranksim.data.own.plan import plan_own
from ranksim.data.table import Columns

N = 240


def made(**options):
    draw = np.random.default_rng(0)
    when = np.datetime64("2024-01-01T00:00") + np.arange(N) * np.timedelta64(6, "h")
    columns = {
        "y": [f"{value:.3f}" for value in draw.uniform(0, 5, N)],
        "x": [f"{value:.3f}" for value in draw.normal(size=N)],
        "who": [f"p{k}" for k in draw.integers(0, 12, N)],
        "when": [str(each) for each in when],
    }
    columns = {
        name: values
        for name, values in columns.items()
        if name in ("y", "x") or name in (options.get("group"), options.get("time"))
    }
    return plan_own(
        Columns.of("data.csv", columns), OwnOptions("y", bin_width=1.0, **options)
    ), columns


@pytest.mark.parametrize(
    "options",
    [
        {"group": "who"},
        {"time": "when", "split_by": "day"},
        {"time": "when", "window": 3, "split_by": "day"},
        {"time": "when", "window": 3},
    ],
)
def test_samples_of_one_person_or_day_are_told(options):
    plan, columns = made(**options)
    rows = plan.rows[plan.split.test]
    names = [columns["who"][r] if "who" in columns else columns["when"][r][:10] for r in rows]
    assert plan.labels[plan.split.test].tolist() == [float(columns["y"][r]) for r in rows]
    assert len(set(names)) > 1
    alike = [[a == b for b in names] for a in names]
    assert (plan.groups[:, None] == plan.groups).tolist() == alike


@pytest.mark.parametrize("options", [{}, {"time": "when", "split_by": "time"}, {"window": 3}])
def test_others_stand_for_themselves(options):
    assert made(**options)[0].groups is None
