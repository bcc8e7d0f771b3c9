"""Detect how the numbers of a column are written: decimal comma, thousands separators, units."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

from ranksim.data.cells import is_missing, parse_number

MAJORITY = 0.9  # share of the values that decides the kind of a column
STRICT_UNITS = frozenset(("%", "‰", "k", "K", "m", "M", "B", "T", "bn", "mn", "mio", "tsd"))
"""Units that are factors, so that a number without the unit might be meant in another one."""

_CURRENCIES = frozenset(
    (
        "aud", "brl", "cad", "chf", "cny", "czk", "dkk", "eur", "fr", "gbp", "huf", "inr", "jpy",
        "kr", "mxn", "nok", "nzd", "pln", "rs", "rub", "sek", "try", "usd", "zar", "zł",
    )
)  # fmt: skip
_ORDINALS = frozenset(("st", "nd", "rd", "th"))
_MIN_EVIDENCE = 3  # numbers that support a reading
_POINT_OR_WHOLE = re.compile(r"[-+]?(?:0|[1-9]\d{0,2}(?P<point>\.\d{3})?)")  # 0, 12 or 12.345
_SPACES = str.maketrans({"\u00a0": " ", "\u202f": " ", "\u2009": " ", "’": "'", "−": "-"})
_CELL = re.compile(
    r"(?P<open>\()?\s*(?P<sign>[-+])?\s*(?P<prefix>[^\d\s.,+\-()'\"]{1,4}\.?)?\s*(?P<inner>[-+])?"
    r"(?P<number>[.,]?\d(?:[\d.,' ]*\d)?[.,]?(?:[eE][-+]?\d+)?)"
    r"\s*(?P<suffix>(?:[^\W\d_]|[%‰°]|[^\w\s.,;:+\-()'\"<>=~*/\\|#@&!?])[^\d()]{0,14}[23]?)?\s*"
    r"(?P<close>\))?"
)


@dataclass(frozen=True)
class NumberFormat:
    """The form of the numbers in a column: ``1,234.5 kg`` has thousands separators and a unit."""

    decimal: str = "."
    thousands: str = ""  # none
    unit: str = ""  # of the values, such as %, $ or km; it changes no value

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        point, mark = re.escape(self.decimal), re.escape(self.thousands)
        middle = r"\d{2,3}" if self.thousands == "," else r"\d{3}"  # 12,34,567 is usual in India
        whole = rf"[1-9]\d{{0,2}}(?:{mark}{middle})*{mark}\d{{3}}|\d+" if mark else r"\d+"
        return re.compile(rf"(?:(?:{whole})(?:{point}\d*)?|{point}\d+)(?:[eE][-+]?\d+)?")

    def parse(self, text: str) -> float | None:
        """Parse the text of a number in this form; return None if it has another form or unit."""
        cell = split_cell(text)
        if cell is None or (cell.unit != self.unit and (cell.unit or self.unit in STRICT_UNITS)):
            return None
        return self.parse_digits(cell)

    def parse_digits(self, cell: NumberCell) -> float | None:
        """Parse the digits of a cell, whatever its unit; return None if they have another form."""
        if not self._pattern.fullmatch(cell.digits):
            return None
        digits = cell.digits.replace(self.thousands, "") if self.thousands else cell.digits
        return cell.sign * float(digits.replace(self.decimal, "."))

    def describe(self) -> str:
        """Describe what distinguishes this form from plain numbers such as 1234.5."""
        parts = ["decimal commas"] * (self.decimal == ",")
        parts += ["thousands separators"] * bool(self.thousands)
        parts += [f"the unit {self.unit}"] * bool(self.unit)
        return " and ".join(parts)


PLAIN = NumberFormat()


@dataclass(frozen=True)
class NumberCell:
    """The parts of a cell that contains one number: sign, digits with separators, and unit."""

    text: str
    sign: int
    digits: str
    unit: str
    count: int = 1  # how often the cell occurs


@dataclass(frozen=True)
class FormatProblem:
    """The reason why numbers of a column cannot be read, with the cells that show it."""

    kind: Literal["ambiguous", "mixed", "units", "option"]
    cells: tuple[NumberCell, ...]


@dataclass(frozen=True)
class NumberSigns:
    """The decimal sign and thousands separator of a table, as far as they are given."""

    decimal: str | None = None
    thousands: str | None = None

    @property
    def allow_plain(self) -> bool:
        """Return True if 1.5 may be a number with a decimal point."""
        return self.decimal in (None, ".") and self.thousands != "."

    def list_formats(self, unit: str = "") -> list[NumberFormat]:
        """Return the formats to try, the simplest first."""
        decimals = (".", ",") if self.decimal is None else (self.decimal,)
        marks = ("", ",", ".", " ", "'") if self.thousands is None else (self.thousands,)
        pairs = [(point, mark) for mark in marks for point in decimals if point != mark]
        return [NumberFormat(*pair, unit) for pair in pairs]


def split_cell(text: str) -> NumberCell | None:
    """Split a text into sign, digits and unit; return None if it is not one number."""
    match = _CELL.fullmatch(text.translate(_SPACES).strip())
    if match is None or bool(match["open"]) != bool(match["close"]):
        return None
    signs = [sign for sign in (match["sign"], match["inner"], match["open"]) if sign]
    prefix, suffix = (match[part] or "" for part in ("prefix", "suffix"))
    if len(signs) > 1 or (prefix and not is_currency(prefix)):
        return None
    sign = 1 if signs in ([], ["+"]) else -1
    return NumberCell(text, sign, match["number"], _normalize_unit(prefix + suffix))


def is_currency(unit: str) -> bool:
    """Return True for the symbol or code of a currency."""
    is_symbol = any(unicodedata.category(char) == "Sc" for char in unit)
    return is_symbol or unit.rstrip(".").lower() in _CURRENCIES


def _normalize_unit(unit: str) -> str:
    """Return a unit without a plural's s and a final point, and ordinals as ``th``."""
    unit = unit.strip().rstrip(".")
    if unit.lower() in _ORDINALS:
        return "th"
    return unit[:-1] if len(unit) > 2 and unit.endswith("s") else unit


def detect_number_format(
    values: Sequence[Any], signs: NumberSigns = NumberSigns(), counts: Sequence[int] | None = None
) -> NumberFormat | FormatProblem | None:
    """Detect the form of the numbers in a column; return None if it does not contain numbers.

    A column contains numbers if at least 90 % of its values are numbers in one form. Numbers that
    are not text, as in Parquet, are plain. ``counts`` says how often each value occurs, by default
    once.

    Returns:
        The form; or a problem if the numbers have two possible readings or several forms.
    """
    pairs = zip(values, counts or [1] * len(values), strict=True)
    present = [(value, count) for value, count in pairs if not is_missing(value)]
    texts = [(value, count) for value, count in present if isinstance(value, str)]
    numbers = [(value, count) for value, count in present if parse_number(value) is not None]
    n_present, n_plain = (sum(count for _, count in cells) for cells in (present, numbers))
    if n_plain == n_present and (signs.allow_plain or not texts):
        return check_plain_numbers((value for value, _ in texts), signs)
    n_objects = sum(count for value, count in numbers if not isinstance(value, str))
    min_texts = MAJORITY * n_present - n_objects
    split = ((split_cell(value), count) for value, count in texts)
    cells = [replace(cell, count=count) for cell, count in split if cell is not None]
    unit = _choose_unit(cells)
    cells = [cell for cell in cells if cell.unit in ("", unit)]
    choice = _choose_format(cells, signs.list_formats(unit), min_texts)
    if isinstance(choice, NumberFormat) and unit in STRICT_UNITS:
        first = {bool(cell.unit): cell for cell in reversed(cells)}
        return choice if len(first) == 1 else FormatProblem("units", (first[True], first[False]))
    if choice is None and signs.allow_plain and n_plain >= MAJORITY * n_present:
        return PLAIN  # infinite numbers, which are reported
    return choice or _find_mixed_forms(cells, signs, unit, min_texts)


def check_plain_numbers(
    texts: Iterable[str], signs: NumberSigns = NumberSigns()
) -> NumberFormat | FormatProblem:
    """Return the plain form, or a problem if the points of numbers may separate thousands."""
    cell = _find_thousands_point(texts) if signs == NumberSigns() else None
    return PLAIN if cell is None else FormatProblem("ambiguous", (cell,))


def _find_thousands_point(texts: Iterable[str]) -> NumberCell | None:
    """Return a cell such as 1.234 if the points of a column may be thousands separators.

    That is, some numbers are whole and below 1,000, and all others have three decimals. Of
    measurements to three decimals, more would have one or two decimals than none.
    """
    pointed, whole = {}, set()
    for text in texts:
        kind = _POINT_OR_WHOLE.fullmatch(text.strip())
        if kind is None:
            return None
        if kind["point"] is None:
            whole.add(text)
        else:
            pointed[text] = True  # in order
    return (
        split_cell(next(iter(pointed))) if min(len(pointed), len(whole)) >= _MIN_EVIDENCE else None
    )


def _choose_unit(cells: Sequence[NumberCell]) -> str:
    """Return the unit of at least half of the cells, or no unit."""
    counts: Counter[str] = Counter()
    for cell in cells:
        if cell.unit:
            counts[cell.unit] += cell.count
    unit, count = counts.most_common(1)[0] if counts else ("", 0)
    return unit if 2 * count >= _count(cells) else ""


def _count(cells: Iterable[NumberCell]) -> int:
    return sum(cell.count for cell in cells)


def _choose_format(
    cells: Sequence[NumberCell], formats: Sequence[NumberFormat], min_cells: float
) -> NumberFormat | FormatProblem | None:
    """Return the format that reads most cells, the simplest of equal ones; None if too few."""
    readings = {each: [each.parse_digits(cell) for cell in cells] for each in formats}
    counts = {
        each: sum(cell.count for cell, n in zip(cells, numbers, strict=True) if n is not None)
        for each, numbers in readings.items()
    }
    if not cells or max(counts.values()) < min_cells:
        return None
    winners = [each for each in formats if counts[each] == max(counts.values())]
    best, plain = winners[0], NumberFormat(unit=winners[0].unit)
    if best.thousands and counts.get(plain, 0) >= min_cells and not _has_evidence(cells, best):
        return plain  # a single 1,234 among numbers with points may be a typing error
    rivals = [each for each in winners if readings[each] != readings[best]]
    if not rivals or (best == plain and not is_currency(best.unit)):
        return best
    if _has_small_numbers(cells):
        return next(each for each in (best, *rivals) if each.thousands)
    pairs = zip(cells, readings[best], readings[rivals[0]], strict=True)
    return FormatProblem("ambiguous", (next(cell for cell, a, b in pairs if a != b),))


def _has_evidence(cells: Sequence[NumberCell], form: NumberFormat) -> bool:
    """Return True if a thousands separator is certain, or occurs in several numbers."""
    marked = [cell for cell in cells if form.thousands in cell.digits]
    digits = [cell.digits for cell in marked]
    certain = [d for d in digits if d.count(form.thousands) > 1 or form.decimal in d]
    return bool(certain) or _count(marked) >= _MIN_EVIDENCE


def _has_small_numbers(cells: Sequence[NumberCell]) -> bool:
    """Return True if numbers below 1,000 are without a separator, and no larger ones are.

    Decimals of three digits would not be missing in several numbers and complete in all others.
    """
    whole = [cell for cell in cells if cell.digits.isdigit()]
    length = max((len(cell.digits) for cell in whole), default=0)
    if _count(whole) < _MIN_EVIDENCE or length > len("999"):
        return False
    return _count(cells) - _count(whole) >= _MIN_EVIDENCE or length == len("999")


def _find_mixed_forms(
    cells: Sequence[NumberCell], signs: NumberSigns, unit: str, min_cells: float
) -> FormatProblem | None:
    """Return the problem if the cells are numbers in several forms, or not in the given one."""
    formats = NumberSigns().list_formats(unit)
    readable = {each: [each.parse_digits(cell) is not None for cell in cells] for each in formats}
    numbers = [k for k in range(len(cells)) if any(each[k] for each in readable.values())]
    if not numbers or _count(cells[k] for k in numbers) < min_cells:
        return None
    given = signs.list_formats(unit)
    for k in numbers:
        if not any(readable[each][k] for each in given if each in readable):
            return FormatProblem("option", (cells[k],))
    first = max(readable.values(), key=lambda each: _count(cells[k] for k in numbers if each[k]))
    other = next(k for k in numbers if not first[k])
    return FormatProblem("mixed", (cells[first.index(True)], cells[other]))
