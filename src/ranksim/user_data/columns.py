"""Encoders of one table column: numbers and dates, categories, lists of numbers."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from ranksim._utils.formatting import format_value, join_names
from ranksim.data.arrow_cells import (
    ArrowCells,
    EncodedCells,
    count_cells,
    find_missing,
    map_cells,
    remember_encoded,
    take_cells,
)
from ranksim.data.cells import (
    describe_odd_character,
    have_time_zone,
    is_missing,
    parse_boolean,
    parse_number,
    parse_seconds,
    simplify_characters,
    to_canonical_text,
)
from ranksim.data.number_format import MAJORITY, PLAIN, STRICT_UNITS, NumberFormat, split_cell
from ranksim.data.table import (
    DAY,
    Floats,
    Ints,
    ParsedNumbers,
    Table,
    parse_numbers,
    read_numbers,
    read_seconds,
)

Kind = Literal["number", "category", "embedding"]
MAX_CATEGORIES = 50  # values of a column with a feature each
_MIN_IDS = 10  # values that a column needs to be recognized as an identifier
_MAX_DEVIATIONS = 1e6  # clip: keeps features finite in float32
_MAX_RARE = 5_000  # rare values that a model stores
_CONSTANT = "all its values are equal"
RARELY_REPEATS = "its texts almost never repeat"  # a reason to leave out a column
_INDEX = re.compile(r"Unnamed: \d+(?:_level_\d+)?|__index_level_\d+__")  # as pandas names it
_LIST = re.compile(r"\s*\[[^\[\]{}\"']*\]\s*")  # [0.5, 2]
_OTHER_DATE = re.compile(
    r"(?:\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|\d{4}[./]\d{1,2}[./]\d{1,2}|\d{1,2} [^\W\d]{3,9} \d{4}"
    r"|[^\W\d]{3,9} \d{1,2}, \d{4})(?:[ T].*)?"
)
_SIGN_BEHIND = re.compile(r"\d[\d.,]*-")  # 12.50-, as some business programs write it
_MAX_UNITS = 3  # of numbers in several units, which are no names
_MIN_MEASURED = 10  # different numbers in such a column; 1Story and 2Story are names


@dataclass(frozen=True)
class NumberColumn:
    """A standardizing encoder for a numeric column, or for a date column (in days)."""

    name: str
    dates: bool
    median: float  # replaces missing values
    mean: float
    deviation: float  # 0 if all training values are equal
    indicator: bool  # a feature for missing values, if training rows have some
    number_format: NumberFormat = PLAIN
    binary: bool = False  # all training values are 0 or 1
    zoned: bool | None = None  # dates have a time zone; None in models of earlier versions

    @classmethod
    def fit(
        cls,
        name: str,
        values: Floats,
        *,
        dates: bool,
        number_format: NumberFormat = PLAIN,
        zoned: bool | None = None,
    ) -> NumberColumn:
        """Fit the encoder to training values (NaN means missing; not all may be missing)."""
        missing = np.isnan(values)
        k = np.count_nonzero(~missing)
        middle = [(k - 1) // 2, k // 2]
        low, high = np.partition(values[~missing], middle)[middle] / 2
        median = float(low + high)  # halved first, as sums of huge values would overflow
        filled = np.where(missing, median, values)
        unit = float(np.abs(filled).max()) or 1.0  # squares of huge values would overflow, too
        deviation = 0.0 if filled.min() == filled.max() else unit * float((filled / unit).std())
        mean = unit * float((filled / unit).mean())
        binary = bool(np.isin(values[~missing], (0.0, 1.0)).all())
        statistics = median, mean, deviation, bool(missing.any())
        return cls(name, dates, *statistics, number_format, binary, zoned)

    @property
    def features(self) -> list[str]:
        """Names of the features that this column produces."""
        return [self.name] * (self.deviation > 0) + [f"{self.name} missing"] * self.indicator

    @property
    def booleans(self) -> Mapping[bool, Any]:
        """The numbers 0 and 1 by their meaning if the column has no others, else empty."""
        return {False: 0, True: 1} if self.binary else {}

    @property
    def num_categories(self) -> tuple[int, ...]:
        """The number of categories of each column of :meth:`read`: 0, as it is a number."""
        return (0,)

    def read(self, table: Table) -> Floats:
        """Read the column of this name as numbers, float64 ``(N, 1)``, NaN where missing."""
        if self.dates:
            return read_seconds(table, self.name)[:, None] / DAY
        parsed = self._parse(table)
        return read_numbers(table, self.name, missing="nan", parsed=parsed)[:, None]

    def encode(self, columns: Floats) -> Floats:
        """Encode the numbers of :meth:`read` as features, float64 ``(N, F)``."""
        numbers = columns[:, 0]
        missing = np.isnan(numbers)
        encoded = []
        if self.deviation > 0:
            filled = np.where(missing, self.median, numbers)
            with np.errstate(over="ignore"):
                scaled = (filled / 2 - self.mean / 2) / self.deviation * 2
            encoded.append(scaled.clip(-_MAX_DEVIATIONS, _MAX_DEVIATIONS))
        if self.indicator:
            encoded.append(missing.astype(np.float64))
        return np.stack(encoded, axis=1)

    def _parse(self, table: Table) -> ParsedNumbers:
        """Parse the column in the form of the training data, or else in its own form."""
        values = spell_booleans(table.column(self.name), self.booleans)
        parsed, form = parse_numbers(values, self.number_format), self.number_format
        if parsed.text.any() and (detected := table.number_format(self.name)) is not None:
            parsed, form = parse_numbers(values, detected), detected
        self._require_unit(table, values, form)
        table.formats[self.name] = form
        return parsed

    def _require_unit(self, table: Table, values: Sequence[Any], form: NumberFormat) -> None:
        """Raise a DataError if values are in another unit than those of the training data."""
        trained = self.number_format.unit
        if form.unit != trained and form.unit and trained:
            is_wrong = map_cells(
                values, lambda value: isinstance(value, str) and not is_missing(value), np.bool_
            )
        elif {form.unit, trained} & STRICT_UNITS:
            is_wrong = map_cells(
                values, lambda value: _read_unit(value) not in (None, trained), np.bool_
            )
        else:
            return
        rows = np.flatnonzero(is_wrong)
        if len(rows):
            first = format_value(values[rows[0]])
            problem = f"column {self.name!r} contains {first}, but the training data has numbers "
            problem += f"with the unit {trained}" if trained else "without a unit"
            table.raise_for_rows(
                rows, problem, "convert the column to the form of the training data"
            )


def _read_unit(value: Any) -> str | None:
    """Return the unit of a cell, empty if it is a bare number; None if it is not a number."""
    if is_missing(value):
        return None
    if parse_number(value) is not None:
        return ""
    cell = split_cell(value) if isinstance(value, str) else None
    return None if cell is None else cell.unit


@dataclass(frozen=True)
class CategoryColumn:
    """A one-hot encoder for a categorical column.

    Values are compared by the text that all of their forms share: 3, 3.0 and ``" 3 "`` are one.
    """

    name: str
    values: tuple[str, ...]  # the most frequent names, with a feature each
    other: bool  # a feature for all others, if training rows contain some
    missing: bool  # a feature for missing values, if training rows have some
    rare: tuple[str, ...] = ()  # the others, unless they are too many

    @classmethod
    def fit(cls, name: str, values: Sequence[Any]) -> CategoryColumn:
        """Fit the encoder: the most frequent training values become categories, ties by name."""
        distinct, numbers = count_cells(values)
        values = [value for value, number in zip(distinct, numbers, strict=True) if number]
        counts: Counter[str] = Counter()
        for value, number in zip(values, numbers[numbers > 0].tolist(), strict=True):
            if not is_missing(value):
                counts[to_canonical_text(value)] += number
        ranked = sorted(counts, key=lambda value: (-counts[value], value))
        frequent, rare = tuple(sorted(ranked[:MAX_CATEGORIES])), tuple(ranked[MAX_CATEGORIES:])
        missing = any(map(is_missing, values))
        return cls(name, frequent, bool(rare), missing, rare if len(rare) <= _MAX_RARE else ())

    @property
    def features(self) -> list[str]:
        """Names of the features that this column produces."""
        names = [f"{self.name} = {value}" for value in self.values]
        return names + [f"{self.name} other"] * self.other + [f"{self.name} missing"] * self.missing

    @property
    def num_categories(self) -> tuple[int, ...]:
        """The number of categories of each column of :meth:`read`."""
        return (len(self.values) + self.other,)

    def read(self, table: Table) -> Floats:
        """Read the column of this name as codes, float64 ``(N, 1)``.

        Codes count the values from 0; the last one is that of all others. Missing values are NaN,
        unknown ones -1.
        """
        position, other = self._positions(), len(self.values) if self.other else -1

        def find_code(value: Any) -> float:
            if is_missing(value):
                return np.nan
            return next((position[key] for key in _lookup_keys(value) if key in position), other)

        return map_cells(table.column(self.name), find_code, np.float64)[:, None]

    def encode(self, columns: Floats) -> Floats:
        """Encode the codes of :meth:`read`, float64 ``(N, F)``; unknown values become zeros."""
        codes = columns[:, 0]
        encoded = np.zeros((len(codes), len(self.features)))
        known = np.flatnonzero(codes >= 0)
        encoded[known, codes[known].astype(np.int64)] = 1.0
        if self.missing:
            encoded[np.isnan(codes), -1] = 1.0
        return encoded

    @property
    def booleans(self) -> Mapping[bool, Any]:
        """The values by their meaning if they are two such as yes and no, else empty."""
        meanings = {parse_boolean(value): value for value in self.values}
        is_boolean = len(self.values) == 2 and meanings.keys() == {True, False}
        return {bool(meaning): value for meaning, value in meanings.items()} if is_boolean else {}

    def find_unknown(self, table: Table) -> Ints:
        """Return the rows with values that the training data does not have."""
        if self.other and not self.rare:
            return np.zeros(0, dtype=np.int64)  # too many were rare to be stored
        known = {*self._positions(), *self.rare}

        def is_unknown(value: Any) -> bool:
            return not is_missing(value) and not known.intersection(_lookup_keys(value))

        return np.flatnonzero(map_cells(table.column(self.name), is_unknown, np.bool_))

    def _positions(self) -> dict[str, int]:
        """Map the values, and the booleans that two values such as yes and no mean, to features."""
        # models of earlier versions store values as they were written
        position = {to_canonical_text(value): k for k, value in enumerate(self.values)}
        meanings = self.booleans.items()
        return position | {_boolean_key(key): self.values.index(value) for key, value in meanings}


def _lookup_keys(value: Any) -> tuple[str, str]:
    """Return the keys of a value: its text, and what it means as a boolean."""
    return to_canonical_text(value), _boolean_key(parse_boolean(value))


def _boolean_key(meaning: bool | None) -> str:
    return f"\0{meaning}"  # which no text equals


@dataclass(frozen=True)
class EmbeddingColumn:
    """A standardizing encoder for a column of lists of numbers, all equally long."""

    name: str
    mean: tuple[float, ...]
    deviation: tuple[float, ...]  # 0 where all training values are equal
    indicator: bool  # a feature for missing lists, if training rows have some

    @classmethod
    def fit(cls, name: str, vectors: Floats) -> EmbeddingColumn:
        """Fit the encoder to training vectors ``(N, D)``; rows of NaN are missing."""
        missing = np.isnan(vectors[:, 0])
        present = vectors[~missing]
        deviation = np.where(np.ptp(present, axis=0) > 0, present.std(axis=0), 0.0)
        mean = present.mean(axis=0)
        return cls(name, tuple(mean.tolist()), tuple(deviation.tolist()), bool(missing.any()))

    @property
    def booleans(self) -> Mapping[bool, Any]:
        """Empty, as lists are no booleans."""
        return {}

    @property
    def features(self) -> list[str]:
        """Names of the features that this column produces."""
        used = [k for k, deviation in enumerate(self.deviation) if deviation > 0]
        return [f"{self.name}[{k}]" for k in used] + [f"{self.name} missing"] * self.indicator

    @property
    def num_categories(self) -> tuple[int, ...]:
        """The number of categories of each column of :meth:`read`: 0, as they are numbers."""
        return (0,) * len(self.mean)

    def read(self, table: Table) -> Floats:
        """Read the column of this name, float64 ``(N, D)``; rows of missing lists are NaN."""
        return read_vectors(table, self.name, len(self.mean))

    def encode(self, columns: Floats) -> Floats:
        """Encode the lists of :meth:`read`, float64 ``(N, F)``; a missing one becomes the mean."""
        vectors = columns
        missing = np.isnan(vectors[:, 0])
        mean, deviation = np.array(self.mean), np.array(self.deviation)
        used = deviation > 0
        scaled = (vectors[:, used] - mean[used]) / deviation[used]
        scaled = np.where(missing[:, None], 0.0, scaled.clip(-_MAX_DEVIATIONS, _MAX_DEVIATIONS))
        return np.hstack([scaled, missing[:, None]]) if self.indicator else scaled


def read_vectors(table: Table, name: str, size: int | None = None) -> Floats:
    """Read a column of lists of numbers as ``(N, D)``; rows of missing lists are NaN.

    All lists must have ``size`` numbers, by default as many as the first one.
    """
    values = table.column(name)
    vectors = [None if is_missing_list(value) else parse_vector(value) for value in values]
    sizes = [len(vector) for vector in vectors if vector is not None]
    size = (sizes[0] if sizes else 0) if size is None else size
    wrong = [
        row
        for row, (value, vector) in enumerate(zip(values, vectors, strict=True))
        if not is_missing_list(value) and (vector is None or len(vector) != size)
    ]
    if wrong:
        first = format_value(values[wrong[0]])
        problem = f"column {name!r} contains {first}, which is not a list of {size} finite numbers"
        table.raise_for_rows(wrong, problem, "correct these values or leave them empty")
    empty = [np.nan] * size
    return np.array([v or empty for v in vectors], dtype=np.float64).reshape(len(values), size)


def parse_vector(value: Any) -> list[float] | None:
    """Parse a list of finite numbers, or its text such as ``[0.5, 2]``; return None for others."""
    if isinstance(value, list) and set(map(type, value)) == {float}:  # as Parquet gives them
        return value if all(map(math.isfinite, value)) else None
    if isinstance(value, str):
        if not _LIST.fullmatch(value):
            return None
        words = re.split(r"[\s,]+", value.strip(" []()\t\r\n,"))
        numbers = [parse_number(word) for word in words]
    elif isinstance(value, list | tuple | np.ndarray):
        numbers = [None if isinstance(item, str) else parse_number(item) for item in value]
    else:
        return None
    is_valid = numbers and all(n is not None and np.isfinite(n) for n in numbers)
    return [float(n) for n in numbers if n is not None] if is_valid else None


def is_missing_list(value: Any) -> bool:
    """Return True for a missing value or an empty list."""
    is_list = isinstance(value, list | tuple | np.ndarray)
    return len(value) == 0 if is_list else is_missing(value)


Column = NumberColumn | CategoryColumn | EmbeddingColumn


def spell_booleans(values: Sequence[Any], booleans: Mapping[bool, Any]) -> Sequence[Any]:
    """Return the cells with booleans, whatever their words, spelled as in ``booleans``."""
    is_number = isinstance(values, ArrowCells) and values.is_number
    if not booleans or (is_number and booleans == {False: 0, True: 1}):
        return values

    def spell(value: Any) -> Any:
        meaning = parse_boolean(value)
        return value if meaning is None else booleans[meaning]

    return values.replace(spell) if isinstance(values, EncodedCells) else list(map(spell, values))


def spell_booleans_alike(table: Table, columns: Iterable[Column]) -> Table:
    """Return the table with booleans spelled as in the training data of these columns."""
    booleans = {column.name: column.booleans for column in columns}
    return replace(
        table,
        read=remember_encoded(
            lambda name: spell_booleans(table.read(name), booleans.get(name, {}))
        ),
    )


def fit_column(table: Table, name: str, train: Ints, kind: Kind | None = None) -> Column | str:
    """Fit an encoder to a column, or return the reason why the column is dropped."""
    values = table.column(name)
    training = take_cells(values, train)
    if isinstance(values, ArrowCells) and values.is_number and kind in (None, "number"):
        return _fit_numbers(table, name, train, training, is_date=False)
    if kind is None and _are_plain_numbers(table, name, training):
        return _fit_numbers(table, name, train, training, is_date=False)
    cells, numbers = count_cells(training)
    is_present = [n > 0 and not is_missing_list(v) for v, n in zip(cells, numbers, strict=True)]
    present = [value for value, holds in zip(cells, is_present, strict=True) if holds]
    counts = numbers[np.array(is_present, dtype=np.bool_)]
    if not present:
        return "all its training values are missing"
    if kind == "embedding" or (kind is None and not is_scalar(present[0])):
        return _fit_embedding(table, name, train, is_required=kind is not None)
    if kind is None and (wrong := [value for value in present if not is_scalar(value)]):
        return f"some of its cells are no single value, such as {format_value(wrong[0])}"
    is_number, is_date = kind == "number", False
    if kind is None:
        is_number = _contains_numbers(table, name, present, counts)
    if kind is None and not is_number:
        is_moment = [parse_seconds(value) is not None for value in present]
        is_date = bool(counts[is_moment].sum() >= MAJORITY * counts.sum())
    if is_number or is_date:
        return _fit_numbers(table, name, train, training, is_date=is_date)
    n_distinct, n_present = len(set(map(to_canonical_text, present))), counts.sum()
    if n_distinct >= MAJORITY * n_present and n_present >= _MIN_IDS and kind is None:
        return RARELY_REPEATS
    encoding = CategoryColumn.fit(name, training)
    return encoding if len(encoding.features) > 1 else _CONSTANT


def _are_plain_numbers(table: Table, name: str, cells: Sequence[Any]) -> bool:
    """Return True for encoded cells that are plain numbers or missing, as those of most columns."""
    if not isinstance(cells, EncodedCells) or parse_numbers(cells).text.any():
        return False
    return not find_missing(cells).all() and table.number_format(name) == PLAIN


def _fit_numbers(
    table: Table, name: str, train: Ints, training: Sequence[Any], *, is_date: bool
) -> NumberColumn | str:
    """Fit an encoder to a column of numbers or dates, or return the reason why it is dropped."""
    hint = ", or pass the column with --categories"
    if is_date:
        numbers = read_seconds(table, name, hint=hint) / DAY
    else:
        if find_missing(training).all():
            return "all its training values are missing"
        numbers = read_numbers(table, name, missing="nan", hint=hint)
    form = table.formats.get(name) or PLAIN
    zoned = have_time_zone(training) if is_date else None
    column = NumberColumn.fit(name, numbers[train], dates=is_date, number_format=form, zoned=zoned)
    return column if column.features else _CONSTANT


def _contains_numbers(table: Table, name: str, present: Sequence[Any], counts: Ints) -> bool:
    """Return True if 90 % of the training values are numbers in the form of the whole column."""
    form = table.number_format(name) or PLAIN
    is_text = parse_numbers(present, form).text
    return bool(1 - counts[is_text].sum() / counts.sum() >= MAJORITY)


def has_no_name(name: str) -> bool:
    """Return True for the index column that pandas writes, and for other columns without a name."""
    return not name.strip() or _INDEX.fullmatch(name) is not None


def is_scalar(value: Any) -> bool:
    """Return False for lists, structs and texts of lists such as ``[0.5, 2]``."""
    if isinstance(value, str):
        return not _LIST.fullmatch(value)
    return not isinstance(value, list | tuple | dict | set | np.ndarray)


def _fit_embedding(
    table: Table, name: str, train: Ints, *, is_required: bool
) -> EmbeddingColumn | str:
    """Fit an encoder to a column of lists; return a reason or raise a DataError if they differ."""
    values = [value for value in table.column(name) if not is_missing_list(value)]
    if not is_required:
        if any(isinstance(value, dict) for value in values):
            return "its cells are structs of several values"
        lengths = {None if v is None else len(v) for v in map(parse_vector, values)}
        if None in lengths:
            return "its cells are lists, but not of numbers"
        if len(lengths) > 1:
            return f"its lists have from {min(lengths)} to {max(lengths)} numbers"  # type: ignore
    encoding = EmbeddingColumn.fit(name, read_vectors(table, name)[train])
    return encoding if encoding.features else "all its values are equal"


def _have_signs_behind(texts: Counter[str], n_numbers: int) -> bool:
    """Return True for texts that are numbers, many of them as 12.50-, and no grades as 2-."""
    behind = Counter({k: n for k, n in texts.items() if _SIGN_BEHIND.fullmatch(k)})
    is_majority = behind.total() + n_numbers >= MAJORITY * texts.total()
    return is_majority and len(behind) >= _MIN_MEASURED


def _find_odd_number(texts: Counter[str]) -> str | None:
    """Return a text with an odd character if nearly all texts are numbers apart from such ones."""
    odd = next((text for text in texts if describe_odd_character(text) is not None), None)
    if odd is None:
        return None
    is_number = (n for k, n in texts.items() if parse_number(simplify_characters(k)) is not None)
    return odd if sum(is_number) >= MAJORITY * texts.total() else None


def _find_odd_names(texts: Iterable[str]) -> tuple[str, str] | None:
    """Return a name with an odd character, and the name that equals it without such ones."""
    names = sorted({*texts})
    usual = {simplify_characters(name): name for name in reversed(names)}
    usual |= {name: name for name in names if describe_odd_character(name) is None}
    for name in names:
        other = usual[simplify_characters(name)]
        if other != name and describe_odd_character(name) is not None:
            return name, other
    return None


def find_column_warning(table: Table, name: str, verb: str) -> str | None:
    """Return a warning if a column of names seems to contain numbers, dates or equal names.

    ``verb`` says what was done with the column, such as "left out".
    """
    cells, counts = count_cells(table.column(name))
    pairs = zip(cells, counts.tolist(), strict=True)
    values = [(value, count) for value, count in pairs if not is_missing(value)]
    if not values:
        return None
    texts: Counter[str] = Counter()  # in order of occurrence
    for value, count in values:
        if isinstance(value, str):
            texts[value.strip()] += count
    others = [(value, count) for value, count in values if parse_number(value) is None]
    n_values, n_others = (sum(count for _, count in each) for each in (values, others))
    n_numbers, remedy = n_values - n_others, f"or confirm with --categories {name}"
    problem = None
    if sum(n for k, n in texts.items() if _OTHER_DATE.fullmatch(k)) >= MAJORITY * n_values:
        problem = f"although it contains dates such as {format_value(values[0][0])}"
        remedy = f"write them as 2010-03-24, {remedy}"
    elif n_values > n_numbers >= n_values / 2:
        first = others[0][0]
        line = f"{table.line_unit} {table.lines[table.column(name).index(first)]}"
        problem = f"as {format_value(first)} ({line}) and {n_others - 1:,} more are "
        problem += f"no numbers, although {n_numbers:,} values are"
        if (odd := describe_odd_character(first)) is not None:
            problem += f"; {format_value(first)} contains {odd}"
        remedy = f"correct them, name them with --missing if they mean no value, {remedy}"
    elif (text := _find_odd_number(texts)) is not None:
        problem = f"although its values are numbers, but for {describe_odd_character(text)} of "
        problem += format_value(text)
        remedy = f"write {simplify_characters(text)}, {remedy}"
    elif (pair := _find_odd_names(texts)) is not None:
        problem = f"and {format_value(pair[0])} differs from {format_value(pair[1])} only in "
        problem += f"{describe_odd_character(pair[0])}"
        remedy = f"write them alike, {remedy}"
    elif _have_signs_behind(texts, n_numbers):
        number = next(text for text in texts if _SIGN_BEHIND.fullmatch(text))
        problem = (
            f"as some of its numbers have the sign behind them, such as {format_value(number)}"
        )
        remedy = f"write -{number[:-1]}, {remedy}"
    elif (units := _find_units(texts, n_values)) is not None:
        problem = (
            f"as its numbers have several units ({join_names(unit or 'none' for unit in units)})"
        )
        remedy = f"convert them to one, {remedy}"
    return None if problem is None else f"Column {name!r} was {verb}, {problem}: {remedy}."


def _find_units(texts: Counter[str], n_values: int) -> list[str] | None:
    """Return the units of texts if nearly all values are numbers in a few different ones."""
    split = ((split_cell(text), count) for text, count in texts.items())
    cells = [(cell, count) for cell, count in split if cell is not None]
    units = dict.fromkeys(cell.unit for cell, _ in cells)
    is_measured = len({cell.digits for cell, _ in cells}) >= _MIN_MEASURED
    is_majority = sum(count for _, count in cells) >= MAJORITY * n_values
    return list(units) if is_majority and is_measured and 1 < len(units) <= _MAX_UNITS else None
