import datetime

import numpy as np
import pytest

from ranksim.data.cells import is_missing, parse_seconds, raise_for_rows
from ranksim.exceptions import DataError


@pytest.mark.parametrize("value", [None, "", "  ", "NA", "n/a", "NaN", "-", "?", float("nan")])
def test_missing(value):
    assert is_missing(value)
    assert is_missing(np.float32("nan"))


@pytest.mark.parametrize("value", [0, "0", False, "no", "none of these", "--"])
def test_there(value):
    assert not is_missing(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("1970-01-02", 86_400.0),
        (" 1970-01-01T00:01:00.5 ", 60.5),
        ("1970-01-01 02:00+01:00", 3_600.0),
        ("1969-12-31 23:59:59Z", -1.0),
        (datetime.date(1970, 1, 3), 172_800.0),
        (datetime.datetime(1970, 1, 1, 1), 3_600.0),
        ("12:30", None),
        ("03/24/2010", None),
        ("2010-13-01", None),
        (5, None),
        (None, None),
    ],
)
def test_moments(value, expected):
    assert parse_seconds(value) == expected


def test_a_clock_that_is_put_forward_does_not_jump(monkeypatch):
    import time

    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    try:
        assert parse_seconds("2021-03-28 04:00") - parse_seconds("2021-03-28 01:00") == 3 * 3_600
    finally:
        monkeypatch.undo()
        time.tzset()


def test_rows_without_lines():
    raise_for_rows([], "nothing", "to do")
    with pytest.raises(DataError, match="^The data, rows 1, 3, 4, 5, 6 and 2 more: odd; mend it.$"):
        raise_for_rows(iter([0, 2, 3, 4, 5, 6, 7]), "odd", "mend it")
