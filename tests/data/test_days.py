"""Days are those at the place of the times, and days of spreadsheets are recognized."""

import datetime

import numpy as np
import pandas as pd
import pytest

from ranksim.data.days import describe_days, read_days
from ranksim.data.spec import SeriesSpec, TableSpec
from ranksim.data.table import Table
from ranksim.user_data.split_plan import make_split_plan

# from winter to summer time of New York, 2024-03-10
MOMENTS = pd.date_range("2024-03-08 21:00", periods=96, freq="h", tz="America/New_York")
LOCAL_DAYS = [(moment.date() - datetime.date(1970, 1, 1)).days for moment in MOMENTS]
UTC_DAYS = [int(moment.timestamp() // 86_400) for moment in MOMENTS]


def make_table(cells, **columns):
    return Table.from_columns("t", {"when": list(cells), **columns})


FORMS = {
    "offsets": ([moment.isoformat() for moment in MOMENTS], LOCAL_DAYS, "local ones"),
    "time zone": (list(MOMENTS), LOCAL_DAYS, "local ones"),
    "UTC": ([f"{m.tz_convert('UTC').tz_localize(None)}Z" for m in MOMENTS], UTC_DAYS, "of UTC"),
    "as written": ([str(m.tz_localize(None)) for m in MOMENTS], LOCAL_DAYS, ""),
    "seconds": ([m.timestamp() for m in MOMENTS], UTC_DAYS, "of UTC"),
    "milliseconds": ([1e3 * m.timestamp() for m in MOMENTS], UTC_DAYS, "of UTC"),
    "YYYYMMDDHH": ([f"{m:%Y%m%d%H}" for m in MOMENTS], LOCAL_DAYS, ""),
    "YYMMDDHHMM": ([int(f"{m:%y%m%d%H%M}") for m in MOMENTS], LOCAL_DAYS, ""),
    "spreadsheet": (
        [25_569 + pd.Timestamp(m.tz_localize(None)).timestamp() / 86_400 for m in MOMENTS],
        LOCAL_DAYS,
        "as spreadsheets count days: 45359.9 is on 2024-03-08",
    ),
    "elapsed seconds": ([3_600.0 * k for k in range(96)], [k // 24 for k in range(96)], ""),
    "seconds of a day": ([28_000.0 + k for k in range(96)], [0] * 96, ""),
}


@pytest.mark.parametrize("name", FORMS)
def test_days_are_local_or_reported(name):
    cells, days, note = FORMS[name]
    table = make_table(cells)
    assert read_days(table, "when").tolist() == days
    assert note in describe_days(table, "when")
    assert bool(describe_days(table, "when")) == bool(note)


@pytest.mark.parametrize("name", ["offsets", "UTC", "spreadsheet", "YYMMDDHHMM"])
@pytest.mark.parametrize("kind", ["table", "series"])
def test_days_stay_whole_in_a_split(name, kind):
    cells, days, note = FORMS[name]
    rng = np.random.default_rng(0)
    table = make_table(cells, x=rng.normal(size=96).tolist(), y=rng.integers(0, 5, 96).tolist())
    columns = {"target": "y", "time": "when", "split_by": "day", "balanced": False}
    spec = TableSpec(**columns) if kind == "table" else SeriesSpec(**columns, window=2)
    plan = make_split_plan(table, spec)
    by_day = {}
    for day, part in zip(days, plan.parts.tolist(), strict=True):
        by_day.setdefault(day, set()).add(part)
    assert all(len(parts) == 1 for parts in by_day.values())
    assert set.union(*by_day.values()) == {"train", "val", "test"}
    assert note in plan.report.notes.get("Days", "")
    is_read = "read as YYMMDDHHMM" in plan.report.notes.get("Times", "")
    assert is_read == (name == "YYMMDDHHMM")
    groups = [days[row] for row in plan.rows[plan.split.test]]
    assert plan.groups.tolist() == groups
