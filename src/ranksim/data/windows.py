"""Windows of a series: what was read, and what is to be forecast."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim.data.balanced_split import PARTS, Split
from ranksim.data.cells import (
    RowErrorFactory,
    make_row_error,
    parse_finite_numbers,
    parse_finite_seconds,
)
from ranksim.data.splitting import factorize, require_nonempty_parts
from ranksim.data.table import parse_numbers
from ranksim.exceptions import DataError

_DAY = 86_400.0


@dataclass(frozen=True, eq=False)
class Windows:
    """Forecasts that a series allows.

    Args:
        ends: position of the last reading that each sees, int64 ``(N,)``.
        rows: position of the reading that it forecasts, int64 ``(N,)``; −1 where none is there yet.
        labels: the target there, float64 ``(N,)``; NaN where it is not known yet.
        times: when that is, in seconds, float64 ``(N,)``; None of a series without times.
        window: readings that a forecast sees.
        step: seconds from one reading to the next; None of a series without times.
    """

    ends: NDArray[np.int64]
    rows: NDArray[np.int64]
    labels: NDArray[np.float64]
    times: NDArray[np.float64] | None
    window: int
    step: float | None = None

    def __len__(self) -> int:
        return len(self.ends)


def make_windows(
    values: NDArray[np.float64],
    times: NDArray[np.float64] | None,
    target: NDArray[np.float64] | None,
    *,
    window: int,
    horizon: int,
    step: float | None = None,
    groups: Sequence[Hashable] | None = None,
) -> Windows:
    """All windows of ``window`` readings whose target stands ``horizon`` readings after the last.

    A window and its target count only where all readings from its first to its target are of one
    group and follow one another at the usual step, by less than half a step more or less: no
    window lies over a gap. A window that holds a NaN, or whose target is one, is none.

    Args:
        values: the readings, float64 ``(T, C)``, in the order of time within each group.
        times: when they are from, in seconds, float64 ``(T,)``. None: all at equal steps.
        target: what is to be forecast, float64 ``(T,)``. None: nothing is known of it, and a
            window needs no reading after its last.
        window: readings of a window.
        horizon: readings from the last of them to the target; 0: the target of that very moment.
        step: seconds between readings. None: the median of the times.
        groups: what each reading belongs to, T of them.

    Raises:
        DataError: no window is left.
        ValueError: a window below 1, a horizon below 0, or lengths that differ.

    Example:
        >>> clock = np.array([0.0, 60, 120, 180, 600, 660, 720])
        >>> readings = np.arange(7.0)
        >>> found = make_windows(readings[:, None], clock, readings, window=2, horizon=1)
        >>> found.ends.tolist(), found.labels.tolist()
        ([1, 2, 5], [2.0, 3.0, 6.0])
    """
    if window < 1 or horizon < 0:
        raise ValueError(f"need window >= 1 and horizon >= 0, got {window!r} and {horizon!r}")
    lengths = {len(given) for given in (values, times, target, groups) if given is not None}
    if values.ndim != 2 or len(lengths) != 1:
        raise ValueError(
            f"values must be (T, C) and all others as long, got {values.shape} and {lengths}"
        )
    count = len(values)
    series = np.zeros(count, dtype=np.int64) if groups is None else factorize(groups)
    gap = series[1:] != series[:-1]
    if times is not None:
        apart = np.diff(times)
        step = _usual(apart[~gap]) if step is None else step
        gap |= ~(np.abs(apart - step) < step / 2)
    gaps = np.concatenate([[0], np.cumsum(gap)])[:count]  # before each reading
    holes = np.concatenate([[0], np.cumsum(~np.isfinite(values).all(axis=1))])
    ends = np.arange(window - 1, count - (horizon if target is not None else 0))
    first, last = ends - window + 1, ends + (horizon if target is not None else 0)
    whole = (gaps[first] == gaps[last]) & (holes[first] == holes[ends + 1])
    if target is not None:
        whole &= np.isfinite(target[last])
    ends = ends[whole]
    if not len(ends):
        raise DataError(
            f"No {window} readings in a row and a target {horizon} readings later stand without a "
            "gap: ask for a shorter window or horizon, or fill the gaps."
        )
    rows = ends + horizon
    if target is None:
        when = None if times is None or step is None else times[ends] + horizon * step
        there = (rows < count) & (gaps[np.minimum(rows, count - 1)] == gaps[ends])
        rows = np.where(there, rows, -1)
        return Windows(ends, rows, np.full(len(ends), np.nan), when, window, step)
    when = None if times is None else times[rows]
    return Windows(ends, rows, target[rows], when, window, step)


def split_windows(
    readings: Split,
    values: NDArray[np.float64],
    times: NDArray[np.float64] | None,
    target: NDArray[np.float64],
    *,
    window: int,
    horizon: int,
    step: float | None = None,
    groups: Sequence[Hashable] | None = None,
) -> tuple[Windows, Split]:
    """The windows that lie within one part of a split of the readings, and their split.

    So no reading is seen or forecast in two parts, whichever way they were dealt.

    Args:
        readings: the split of the readings, by time, by day, by group or by a column.
        values: the readings, float64 ``(T, C)``.
        times: when they are from, float64 ``(T,)``.
        target: what is to be forecast, float64 ``(T,)``.
        window: readings of a window.
        horizon: readings from the last of them to the target.
        step: seconds between readings.
        groups: what each reading belongs to. These six as :func:`make_windows` takes them.

    Returns:
        The windows, and positions among them of each part.

    Raises:
        DataError: a part has no window.

    Example:
        >>> clock = np.arange(9.0)
        >>> dealt = Split(np.arange(4), np.arange(4, 6), np.arange(6, 9))
        >>> found, split = split_windows(dealt, clock[:, None], clock, clock, window=1, horizon=1)
        >>> [found.labels[part].tolist() for part in split]
        [[1.0, 2.0, 3.0], [5.0], [7.0, 8.0]]
    """
    part = np.full(len(values), len(PARTS))
    for number, rows in enumerate(readings):
        part[rows] = number
    ids = part.tolist()
    found = make_windows(
        values,
        times,
        target,
        window=window,
        horizon=horizon,
        step=step,
        groups=ids if groups is None else list(zip(ids, groups, strict=True)),
    )
    of = part[found.rows]
    split = Split(*(np.flatnonzero(of == number) for number in range(len(PARTS))))
    return found, require_nonempty_parts(split, "no window lies within it")


def parse_times(
    values: Sequence[Any], refuse: RowErrorFactory = make_row_error, name: str = "time"
) -> NDArray[np.float64]:
    """Times to seconds: all ISO dates and date-times, or all plain numbers, which are seconds.

    Args:
        values: T cells: text, dates or numbers.
        refuse: raises an error that names rows.
        name: of the column, for that error.

    Raises:
        DataError: a value that is neither, or both kinds in one column.

    Example:
        >>> parse_times(["2010-03-24 09:51:00", "2010-03-24 09:56:00"]).tolist()
        [1269424260.0, 1269424560.0]
    """
    dated = parse_numbers(values).text.mean() > 0.5 if len(values) else False
    found = (parse_finite_seconds if dated else parse_finite_numbers)(values, name, refuse)
    empty = np.flatnonzero(np.isnan(found)).tolist()
    refuse(empty, f"column {name!r} holds no time", "fill it in or remove these rows")
    return found


def day_index(times: NDArray[np.float64]) -> NDArray[np.int64]:
    """The day of each time in seconds, counted from 1970, to split by day.

    Example:
        >>> day_index(parse_times(["1970-01-01 23:59", "1970-01-02 00:01"])).tolist()
        [0, 1]
    """
    return np.floor(times / _DAY).astype(np.int64)


def sort_by_time(
    times: NDArray[np.float64], groups: Sequence[Hashable] | None = None
) -> NDArray[np.int64]:
    """Positions that bring readings into the order of time within each group; equal times stay.

    Example:
        >>> sort_by_time(np.array([2.0, 1.0, 3.0, 0.0]), ["a", "b", "a", "b"]).tolist()
        [0, 2, 3, 1]
    """
    series = np.zeros(len(times), dtype=np.int64) if groups is None else factorize(groups)
    return np.lexsort((times, series))


def format_times(times: NDArray[np.float64], like: Any) -> list[Any]:
    """Times in seconds in the form that a column holds them in: ISO text, or plain numbers.

    Args:
        times: float64 ``(N,)``.
        like: a value of that column.

    Example:
        >>> format_times(np.array([1269424260.0]), "2010-03-24 09:51")
        ['2010-03-24 09:51:00']
        >>> format_times(np.array([7.5]), "3")
        [7.5]
    """
    if parse_numbers([like]).text[0]:
        moment = datetime.fromisoformat(like.strip()) if isinstance(like, str) else like
        known = bool(getattr(moment, "tzinfo", None))
        moments = (datetime.fromtimestamp(time, UTC) for time in times.tolist())
        return [str(each if known else each.replace(tzinfo=None)) for each in moments]
    plain: list[Any] = times.tolist()
    return plain


def _usual(apart: NDArray[np.float64]) -> float:
    """The median time from one reading to the next."""
    ahead = apart[apart > 0]
    if not len(ahead):
        raise DataError(
            "The times of the series never go on: name the column of the time, and put readings "
            "in its order."
        )
    return float(np.median(ahead))
