"""The elements of the report page, before they are rendered as HTML."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ranksim._utils.formatting import format_compact
from ranksim.evaluation.report.plotting import Picture

Cell = str | float | int | Sequence[float | None] | None


@dataclass(frozen=True)
class DataTable:
    """The numbers behind a picture, collapsed on the page.

    Args:
        name: value of the ``data-table`` attribute.
        title: the visible line while collapsed.
        columns: titles of the columns.
        rows: texts, numbers and lists of numbers.
    """

    name: str
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Section:
    """One numbered section of the page.

    Args:
        slug: its anchor.
        title: its heading.
        findings: sentences about this data.
        pictures: visible pictures.
        collapsed: pictures that a reader can unfold.
        tables: numbers behind the pictures.
        note: how to read the pictures.
        missing: the data that is not available, and how to get it.
        commands: shell commands that produce the data.
    """

    slug: str
    title: str
    findings: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    collapsed: Sequence[Picture] = ()
    tables: Sequence[DataTable] = ()
    note: str = ""
    missing: str = ""
    commands: Sequence[str] = ()


@dataclass(frozen=True)
class Bar:
    """The interval of a change, drawn in a table cell.

    Args:
        mean, low, high: positions from 0 to 100; 50 is no change.
        kind: ``better``, ``worse`` or ``unsure``.
        description: the same in words.
    """

    mean: float
    low: float
    high: float
    kind: str
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
    """The table of one metric.

    Args:
        metric: its key.
        title: its name.
        direction: of better values, ``lower`` or ``higher``.
        regions: names and test samples of the columns.
        published: regions that have a published figure.
        rows: one per method.
    """

    metric: str
    title: str
    direction: str
    regions: Sequence[tuple[str, str]]
    published: Sequence[str]
    rows: Sequence[ScoreRow]


def format_exact(cell: Cell) -> str:
    """Format a cell for machines, with six significant digits.

    Example:
        >>> format_exact(1 / 3), format_exact([1.0, None]), format_exact(None)
        ('0.333333', '1 –', '')
    """
    if cell is None or isinstance(cell, str):
        return cell or ""
    if isinstance(cell, (float, int)):
        return f"{cell:.6g}"
    return " ".join("–" if value is None else f"{value:.5g}" for value in cell)


def format_rounded(cell: Cell) -> str:
    """Format a cell for readers.

    Example:
        >>> format_rounded(1234.5678), format_rounded(None), format_rounded(12)
        ('1,235', '–', '12')
    """
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    if isinstance(cell, int):
        return f"{cell:,}"
    return format_compact(cell) if isinstance(cell, float) else format_exact(cell)


def format_number(value: float | None) -> str:
    """Format a number for a sentence, with three significant digits.

    Example:
        >>> format_number(0.61783), format_number(1234.5), format_number(None)
        ('0.618', '1,234', 'none')
    """
    return "none" if value is None else format_compact(float(value), digits=3)
