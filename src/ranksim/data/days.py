"""Days of the times in a table: local ones where the times have offsets."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np

from ranksim.data.cells import parse_datetime
from ranksim.data.table import (
    Floats,
    Ints,
    Table,
    contains_dates,
    day_index,
    find_time_scale,
    parse_calendar_numbers,
    read_times,
)

_FIRST_DAY = date(1970, 1, 1).toordinal()
_SERIAL_DAYS = (29_221, 73_051)  # 1980 and 2100 as a spreadsheet counts days
_SERIAL_FIRST_DAY = 25_569  # 1970-01-01
_MIN_SERIALS = 2  # different days


def read_days(table: Table, name: str) -> Ints:
    """Read the day of each time in a column as days since 1970 ``(N,)``.

    A time with an offset belongs to the day at its place, all others to the day that they name,
    or to the day of UTC if they are numbers since 1970. Numbers that would be seconds of a single
    day, and are days between 1980 and 2100 as spreadsheets count them, are read as these days.
    """
    times = read_times(table, name)
    if contains_dates(table, name):
        moments = [parse_datetime(value) for value in table.column(name)]
        days = [moment.date().toordinal() - _FIRST_DAY for moment in moments if moment is not None]
        return np.array(days, dtype=np.int64)
    if _are_serial_days(times):
        return np.floor(times).astype(np.int64) - _SERIAL_FIRST_DAY
    return day_index(times)


def _are_serial_days(times: Floats) -> bool:
    first, last = _SERIAL_DAYS
    is_inside = (times >= first) & (times < last)
    return bool(is_inside.all()) and len(np.unique(np.floor(times))) >= _MIN_SERIALS


def describe_days(table: Table, name: str) -> str:
    """Describe to which days the times in a column belong; empty if that is evident."""
    if contains_dates(table, name):
        moments = (parse_datetime(value) for value in table.column(name))
        offsets = {moment.utcoffset() for moment in moments if moment is not None} - {None}
        if not offsets:
            return ""
        if offsets == {timedelta(0)}:
            return f"of UTC, in which column {name!r} is written"
        return f"local ones, by the offsets in column {name!r}"
    times = read_times(table, name)
    if _are_serial_days(times):
        first = float(times[0])
        day = date.fromordinal(int(first) - _SERIAL_FIRST_DAY + _FIRST_DAY)
        return f"numbers of column {name!r}, as spreadsheets count days: {first:g} is on {day}"
    is_calendar = parse_calendar_numbers(table.parse_numbers(name).values) is not None
    is_elapsed = find_time_scale(table, name) == 0
    return "" if is_calendar or is_elapsed else f"of UTC, as column {name!r} counts from 1970"
