"""What the page consists of, before it is HTML."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ranksim.evaluation.report.figures.axes import plain_numbers
from ranksim.evaluation.report.figures.style import Picture

Cell = str | float | int | Sequence[float | None] | None


@dataclass(frozen=True)
class DataTable:
    """The numbers behind a picture, folded away.

    Args:
        name: what a test finds it by.
        title: what is folded away.
        head: titles of the columns.
        rows: texts, numbers and, in one cell, lists of numbers.
    """

    name: str
    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Args:
        slug: its anchor.
        title: its heading.
        told: what is seen in this data, a sentence or two each.
        pictures: shown.
        folded: shown when asked for.
        sheets: numbers behind the pictures.
        note: what a reader must know to read it.
        missing: what is not there.
        commands: what brings it, or brought what is shown, to be typed.
    """

    slug: str
    title: str
    told: Sequence[str]
    pictures: Sequence[Picture] = ()
    folded: Sequence[Picture] = ()
    sheets: Sequence[DataTable] = ()
    note: str = ""
    missing: str = ""
    commands: Sequence[str] = ()


def format_exact(cell: Cell) -> str:
    """A cell as a machine reads it: six digits that count.

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
    """A cell as people read it.

    Example:
        >>> format_rounded(1234.5678), format_rounded(0.05), format_rounded("few"), format_rounded(None), format_rounded(12)
        ('1,235', '0.05', 'few', '–', '12')
    """
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    if isinstance(cell, int):
        return f"{cell:,}"
    return plain_numbers(cell) if isinstance(cell, float) else format_exact(cell)


def format_number(value: float | None) -> str:
    """A number in a sentence.

    Example:
        >>> format_number(0.61783), format_number(1234.5), format_number(None)
        ('0.618', '1,234', 'none')
    """
    return "none" if value is None else plain_numbers(value, digits=3)


def listed(names: Iterable[str], most: int = 4) -> str:
    """Names in a sentence, the rest counted.

    Example:
        >>> listed(["a", "b", "c"]), listed("abcdef", 3)
        ('a, b and c', 'a, b, c and 3 more')
    """
    known = list(names)
    if len(known) > most:
        return f"{', '.join(known[:most])} and {len(known) - most} more"
    return " and ".join([", ".join(known[:-1]), known[-1]] if len(known) > 1 else known)


def count(number: int, thing: str) -> str:
    """``1 seed``, ``2,000 seeds``."""
    return f"{number:,} {thing}" if number == 1 else f"{number:,} {thing}s"


@dataclass(frozen=True)
class Bar:
    """An interval of a change, as a small drawing in a cell.

    Args:
        mean, low, high: where they stand, from 0 to 100; 50 is no change.
        kind: ``better``, ``worse`` or ``unsure``.
        told: in words.
    """

    mean: float
    low: float
    high: float
    kind: str
    told: str


@dataclass(frozen=True)
class Score:
    """A cell of the table of scores."""

    value: float | None
    text: str
    sd: str = ""
    bar: Bar | None = None
    sure: bool = False


@dataclass(frozen=True)
class ScoreRow:
    """A row of the table of scores."""

    method: str
    told: str
    kind: str
    scores: Sequence[Score] = field(default_factory=tuple)
    published: Sequence[Score] = field(default_factory=tuple)
    fault: str = ""


@dataclass(frozen=True)
class ScoreTable:
    """The table of one score.

    Args:
        metric: its key.
        title: its name.
        better: ``lower`` or ``higher``.
        regions: names and test samples of the columns.
        published: regions that have a published figure.
        lines: one a method.
    """

    metric: str
    title: str
    better: str
    regions: Sequence[tuple[str, str]]
    published: Sequence[str]
    lines: Sequence[ScoreRow]
