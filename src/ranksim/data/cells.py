"""Parse single cells of a table: missing values, numbers, dates and names."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from numbers import Real
from typing import Any

import numpy as np

# in lower case: empty cells, and what pandas, R, SAS, SQL and spreadsheets write for them
MISSING_WORDS = frozenset(
    (
        "", "na", "n/a", "n.a.", "nan", "-nan", "nat", "null", "(null)", "none", "-", "?", ".",
        "<na>", "#na", "#n/a", "#n/a n/a", "#null!", "#div/0!", "#value!", "#ref!", "#name?",
        "#num!",
    )
)  # fmt: skip
BOOLEAN_WORDS = {
    **dict.fromkeys(("true", "yes", "t", "y", "1", "on"), True),
    **dict.fromkeys(("false", "no", "f", "n", "0", "off"), False),
}
_WHOLE = re.compile(r"(?P<whole>-?(?:0|[1-9]\d*))\.0*")  # not 007.0
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ].*)?")  # not 20200131
_INVISIBLE = frozenset("\u115f\u1160\u2800\u3164\uffa0")  # blank letters and a blank symbol
_MAX_EXACT = 2**53  # float64 holds all integers up to it


def is_missing(value: Any) -> bool:
    """Return True if a cell has no value: None, NaN, or a word such as ``n/a``."""
    if isinstance(value, str):
        return value.strip().lower() in MISSING_WORDS
    try:
        return value is None or bool(value != value)
    except (TypeError, ArithmeticError):  # pandas' NA, a signaling NaN
        return True
    except ValueError:  # an array
        return False


def parse_number(value: Any) -> float | None:
    """Parse a number such as ``1``, ``1e3`` or `` 3.5 ``; None for all else, booleans included."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool) or not isinstance(value, str | Real | Decimal):
        return None
    if isinstance(value, str) and "_" in value:
        return None  # only Python reads 1_000 as a number
    try:
        number = float(value)
    except ValueError:
        return None
    except OverflowError:  # a huge int
        return float("inf")
    return None if number != number else number


def parse_boolean(value: Any) -> bool | None:
    """Parse a boolean or a word such as ``True`` or ``yes``; None for all else."""
    return BOOLEAN_WORDS.get(to_canonical_text(value).lower())


def parse_seconds(value: Any) -> float | None:
    """Parse an ISO date or time (by default UTC) as seconds since 1970; return None if invalid."""
    moment = parse_datetime(value)
    if moment is None:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def parse_datetime(value: Any) -> datetime | None:
    """Parse an ISO date or time, as text or as an object; return None if invalid."""
    if isinstance(value, str):
        try:
            return datetime.fromisoformat(value.strip())
        except ValueError:
            return None
    if isinstance(value, np.datetime64):
        value = value.astype("datetime64[us]").item()
    if isinstance(value, date) and not isinstance(value, datetime):
        return datetime(value.year, value.month, value.day)
    return value if isinstance(value, datetime) and not is_missing(value) else None


def have_time_zone(values: Iterable[Any]) -> bool | None:
    """Return whether the dates among cells have a time zone, by the first; None if none is one."""
    moments = (parse_datetime(value) for value in values if not is_missing(value))
    moment = next((moment for moment in moments if moment is not None), None)
    return None if moment is None else moment.tzinfo is not None


def describe_time_zones(name: str, trained: bool | None, new: bool | None) -> str | None:
    """Return a warning if the dates of a column have a time zone in training or new data alone.

    ``trained`` and ``new`` are results of :func:`have_time_zone`.
    """
    if None in (trained, new) or trained == new:
        return None
    zones = {True: "a time zone", False: "no time zone"}
    return (
        f"The dates of column {name!r} have {zones[bool(new)]}, those of the training data "
        f"{zones[bool(trained)]}, so that those without one were read as UTC: write them as in the "
        "training data."
    )


def to_canonical_text(value: Any) -> str:
    """Return the text of a value that all of its forms share, in any file format and type.

    Whole numbers have no decimals, booleans are ``true`` and ``false``, dates are in ISO format
    without a time at midnight, and texts are without outer spaces and in Unicode's form NFC.

    Example:
        >>> [to_canonical_text(value) for value in (3, 3.0, " 3.0 ", True, "TRUE", "007", "3.10")]
        ['3', '3', '3', 'true', 'true', '007', '3.10']
    """
    if isinstance(value, bytes):
        value = value.decode("utf-8", errors="replace")
    if isinstance(value, str):
        text = unicodedata.normalize("NFC", value.strip())
        if text.lower() in ("true", "false"):
            return text.lower()
        if match := _WHOLE.fullmatch(text):
            return "0" if match["whole"] == "-0" else match["whole"]
        moment = parse_datetime(text) if _DATE.fullmatch(text) else None
        return text if moment is None else _format_datetime(moment)
    if isinstance(value, bool | np.bool_):
        return str(value).lower()
    if isinstance(value, date | np.datetime64):
        moment = parse_datetime(value)
        return str(value) if moment is None else _format_datetime(moment)
    if isinstance(value, Decimal | Real):
        number = float(value)
        if number.is_integer() and abs(number) <= _MAX_EXACT:
            return str(int(number))
        # float32 has a shorter text than its float64 value
        return format(value.normalize(), "f") if isinstance(value, Decimal) else str(value)
    return str(value).strip()


def simplify_characters(text: str) -> str:
    """Return a text without invisible characters, and with full-width ones as usual ones.

    Example:
        >>> simplify_characters("fl\u00adat１２．５")
        'flat12.5'
    """
    return "".join("" if _is_invisible(c) else _to_usual_width(c) for c in text)


def describe_odd_character(text: Any) -> str | None:
    """Describe the first invisible or full-width character of a text; None if there is none."""
    for char in text if isinstance(text, str) and not text.isascii() else "":
        if _is_invisible(char):
            name = unicodedata.name(char, "without a name").lower()
            return f"the invisible character U+{ord(char):04X} ({name})"
        if _to_usual_width(char) != char:
            return f"the full-width character {char!r}"
    return None


def _is_invisible(char: str) -> bool:
    return unicodedata.category(char) == "Cf"


def _to_usual_width(char: str) -> str:
    is_other = unicodedata.decomposition(char).startswith(("<wide>", "<narrow>"))
    return unicodedata.normalize("NFKC", char) if is_other else char


def _format_datetime(moment: datetime) -> str:
    if moment.tzinfo is not None:
        return moment.astimezone(UTC).isoformat(sep=" ")
    if moment.time() == datetime.min.time():
        return moment.date().isoformat()
    return moment.isoformat(sep=" ")


def is_blank(text: Any) -> bool:
    """Return True if a cell is missing or contains no visible character."""
    if not isinstance(text, str):
        return is_missing(text)
    return not any(
        letter.isprintable() and not letter.isspace() and letter not in _INVISIBLE
        for letter in text
    )
