"""The elements of the report page, before they are rendered as HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ranksim._utils.formatting import format_compact
from ranksim.evaluation.report.plotting import Picture

Cell = str | float | int | Sequence[float | None] | None


@dataclass(frozen=True)
class DataTable:
    """The numbers behind a picture, collapsed on the page."""

    name: str  # value of the ``data-table`` attribute
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    @classmethod
    def from_columns(cls, name: str, title: str, columns: Mapping[str, Any]) -> DataTable:
        """Make a table from columns: arrays or sequences of equal length."""
        values = [v.tolist() if isinstance(v, np.ndarray) else v for v in columns.values()]
        return cls(name, title, list(columns), list(zip(*values, strict=True)))


@dataclass(frozen=True)
class Section:
    """One numbered section of the page."""

    slug: str
    title: str
    findings: Sequence[str] = ()  # sentences about this data
    pictures: Sequence[Picture] = ()
    collapsed: Sequence[Picture] = ()  # pictures that a reader can unfold
    tables: Sequence[DataTable] = ()
    note: str = ""  # how to read the pictures
    missing: str = ""  # which data is not available, and how to get it
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Bar:
    """The interval of a change in a table cell, as positions from 0 to 100; 50 is no change."""

    mean: float
    low: float
    high: float
    kind: str  # better, worse or unsure
    description: str


@dataclass(frozen=True)
class Score:
    """One cell of a score table."""

    value: float | None
    text: str
    sd: str = ""
    bar: Bar | None = None
    is_significant: bool = False


@dataclass(frozen=True)
class ScoreRow:
    """One method in a score table."""

    method: str
    note: str
    is_baseline: bool
    scores: Sequence[Score]
    published: Sequence[Score]
    failure: str


@dataclass(frozen=True)
class ScoreTable:
    """The table of one metric."""

    metric: str
    title: str
    direction: str  # of better values: lower or higher
    regions: Sequence[tuple[str, str]]  # names and test samples of the columns
    published: Sequence[str]  # regions that have a published figure
    rows: Sequence[ScoreRow]


def format_exact(cell: Cell) -> str:
    """Format a cell for machines, with six significant digits."""
    if cell is None or isinstance(cell, str):
        return cell or ""
    if isinstance(cell, (float, int)):
        return f"{cell:.6g}"
    return " ".join("–" if value is None else f"{value:.5g}" for value in cell)


def format_rounded(cell: Cell) -> str:
    """Format a cell for readers."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    if isinstance(cell, int):
        return f"{cell:,}"
    return format_compact(cell) if isinstance(cell, float) else format_exact(cell)


def format_number(value: float | None) -> str:
    """Format a number for a sentence, with three significant digits."""
    return "no result" if value is None else format_compact(float(value), digits=3)
