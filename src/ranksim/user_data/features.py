"""Convert table columns to feature vectors for a network."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_value
from ranksim._utils.progress import track
from ranksim._utils.storage import validate_types
from ranksim.data.arrow_cells import ArrowCells, EncodedCells, find_missing
from ranksim.data.cells import (
    describe_odd_character,
    describe_time_zones,
    have_time_zone,
    simplify_characters,
    to_canonical_text,
)
from ranksim.data.data_report import DataReport, format_share
from ranksim.data.number_format import NumberFormat
from ranksim.data.table import Ints, Table
from ranksim.exceptions import DataError
from ranksim.user_data.columns import (
    RARELY_REPEATS,
    CategoryColumn,
    Column,
    EmbeddingColumn,
    Kind,
    NumberColumn,
    find_column_warning,
    fit_column,
    is_missing_list,
    spell_booleans_alike,
)

_MAX_UNKNOWN = 0.05  # share of values that training data does not have, above it a warning
_MIN_UNKNOWN = 5  # unknown values of a column that are an error if there are no others
_MAX_LISTED = 4  # columns in a note
_ROWS = 16_384  # that are encoded at a time
_TYPES: dict[str, type[Column]] = {
    "number": NumberColumn,
    "category": CategoryColumn,
    "embedding": EmbeddingColumn,
}
_KINDS = {encoding: kind for kind, encoding in _TYPES.items()}


@dataclass(frozen=True)
class TableFeatures:
    """An encoder that converts table columns to F features, fitted on the training rows.

    - Numbers are standardized. The median replaces missing values; if training rows have missing
      values, an indicator is added.
    - ISO dates are encoded like numbers, in days.
    - Text and booleans are one-hot encoded: a feature for each of the 50 most frequent values, one
      for all others and for unknown values, and one for missing values. The last two exist only
      if training rows need them; otherwise such a value is encoded as zeros.
    - Lists of numbers, all equally long, are standardized number by number.
    - Columns with a single value, texts that almost never repeat, such as identifiers, and other
      lists and structs are dropped.

    Numbers may have decimal commas, thousands separators and a unit; see :class:`NumberFormat`.
    Names are compared by the text that all forms of a value share.

    A column is numeric, or a date, if at least 90 % of its training values are, so that a typo in
    one row is reported with its line and does not turn the column into categories.
    """

    columns: tuple[Column, ...]
    dropped: dict[str, str] = field(default_factory=dict)  # the reason for each dropped column

    @classmethod
    def fit(
        cls,
        table: Table,
        names: Iterable[str],
        train: Ints,
        *,
        kinds: Mapping[str, Kind] | None = None,
        keep: Collection[str] = (),
    ) -> TableFeatures:
        """Fit an encoder to each column on rows ``train``.

        ``kinds`` overrides inferred kinds. Texts that almost never repeat are encoded if their
        column is among ``keep``.
        """
        encodings: list[Column] = []
        dropped: dict[str, str] = {}
        for name in track(names, "reading columns"):
            encoding = fit_column(table, name, train, (kinds or {}).get(name))
            if encoding == RARELY_REPEATS and name in keep:
                encoding = fit_column(table, name, train, "category")
            if isinstance(encoding, str):
                dropped[name] = encoding
            else:
                encodings.append(encoding)
        if not encodings:
            reasons = "; ".join(f"{name!r}: {reason}" for name, reason in dropped.items())
            raise DataError(
                f"No input column of {table.name} can be used ({reasons or 'none was given'}): "
                "choose other input columns."
            )
        return cls(tuple(encodings), dropped)

    @property
    def names(self) -> list[str]:
        """Names of the F features."""
        return [name for column in self.columns for name in column.features]

    @property
    def width(self) -> int:
        """Number of features, F."""
        return len(self.names)

    @property
    def num_categories(self) -> tuple[int, ...]:
        """The number of categories of each of the D columns of :meth:`read`, 0 for numbers."""
        return tuple(n for column in self.columns for n in column.num_categories)

    def __call__(self, table: Table) -> NDArray[np.float32]:
        """Encode all rows of a table as features, float32 ``(N, F)``."""
        return self.encode(self.read(table))

    def read(self, table: Table) -> NDArray[np.float64]:
        """Read all rows of a table as numbers and codes of categories, float64 ``(N, D)``.

        Missing values are NaN, and categories that the training rows do not have are -1.
        """
        values = np.empty((table.n_rows, len(self.num_categories)))
        for column, place in zip(self.columns, self._places, strict=True):
            values[:, place] = column.read(table)
        return values

    def encode(self, values: NDArray[np.float64]) -> NDArray[np.float32]:
        """Encode the result of :meth:`read` as features, float32 ``(N, F)``."""
        ends = np.cumsum([len(column.features) for column in self.columns])
        encoded = np.empty((len(values), self.width), dtype=np.float32)
        for start in range(0, len(values), _ROWS):  # so that few are float64 at a time
            rows = slice(start, start + _ROWS)
            for column, place, end in zip(self.columns, self._places, ends, strict=True):
                part = column.encode(values[rows, place])
                encoded[rows, end - part.shape[1] : end] = part
        return encoded

    @cached_property
    def _places(self) -> list[slice]:
        """The columns of :meth:`read` that belong to each column of the table."""
        counts = [len(column.num_categories) for column in self.columns]
        return [slice(e - n, e) for n, e in zip(counts, np.cumsum(counts).tolist(), strict=True)]

    def describe(self, table: Table) -> DataReport:
        """Report which columns are encoded and how, and the missing values of a table."""
        numbers = [each for each in self.columns if isinstance(each, NumberColumn)]
        columns: dict[str, Any] = {
            "numbers": [each.name for each in numbers if not each.dates],
            "dates": [each.name for each in numbers if each.dates],
            "categories": {
                each.name: len(each.values)
                for each in self.columns
                if isinstance(each, CategoryColumn)
            },
            "embeddings": {
                each.name: len(each.mean)
                for each in self.columns
                if isinstance(each, EmbeddingColumn)
            },
            "left_out": dict(self.dropped),
        }
        filled = {}
        for each in self.columns:
            if not isinstance(each, CategoryColumn):
                filled[each.name] = _count_missing(table.column(each.name))
        filled = {name: count for name, count in filled.items() if count}
        warnings = [
            f"All values of column {name!r} of {table.name} are missing, so that every row has "
            "the median of the training data: fill them in."
            for name, count in filled.items()
            if count == table.n_rows
        ]
        warnings += [
            f"All values of column {each.name!r} of {table.name} are missing, so that the model "
            "reads none of its names: fill them in."
            for each in self.columns
            if isinstance(each, CategoryColumn) and find_missing(table.column(each.name)).all()
        ]
        columns = {kind: names for kind, names in columns.items() if names}
        return DataReport(columns=columns, filled=filled, warnings=warnings)

    def describe_time_zones(self, table: Table) -> DataReport:
        """Report dates with a time zone if those of the training data had none, or the reverse."""
        pairs = {
            each.name: (each.zoned, have_time_zone(table.column(each.name)))
            for each in self.columns
            if isinstance(each, NumberColumn) and each.dates
        }
        texts = [describe_time_zones(name, *pair) for name, pair in pairs.items()]
        return DataReport(warnings=[text for text in texts if text])

    def spell_booleans(self, table: Table) -> Table:
        """Return a table with the booleans of the columns spelled as in the training data."""
        return spell_booleans_alike(table, self.columns)

    def describe_names(self, table: Table, confirmed: Collection[str] = ()) -> DataReport:
        """Report columns of names, unless ``confirmed``, that seem to be numbers or dates."""
        names = [each.name for each in self.columns if isinstance(each, CategoryColumn)]
        verbs = dict.fromkeys(names, "read as categories")
        verbs |= {k: "left out" for k, reason in self.dropped.items() if reason == RARELY_REPEATS}
        texts = [
            find_column_warning(table, name, verb)
            for name, verb in verbs.items()
            if name not in confirmed
        ]
        return DataReport(warnings=[text for text in texts if text])

    def describe_unknown(self, table: Table, place: str, *, is_new: bool = True) -> DataReport:
        """Report values of categories that the training data does not have.

        Args:
            table: the rows to check.
            place: where they are, such as "the test set".
            is_new: raise a DataError for new data if all values of a column, at least five, are
                unknown.
        """
        counts, warnings = [], []
        for each in self.columns:
            if not isinstance(each, CategoryColumn):
                continue
            values, unknown = table.column(each.name), each.find_unknown(table)
            n_missing = int(find_missing(values).sum())
            empty = 0 if each.missing else n_missing
            if empty:
                counts.append(f"{each.name!r}: {empty:,} missing, as in no training row")
            if not len(unknown):
                continue
            total = len(values) - n_missing
            known = ", ".join(map(repr, each.values[:3]))
            first = _describe_example(values[unknown[0]], each)
            if is_new and len(unknown) == total >= _MIN_UNKNOWN:
                problem = f"no value of column {each.name!r}, such as {first}, is in the training "
                remedy = "write them as there, or fit the model to data with these values"
                table.raise_for_rows(unknown, f"{problem}data ({known}, …)", remedy)
            line = f"{table.line_unit} {table.lines[unknown[0]]}"
            share = format_share(len(unknown), total)
            text = f"{each.name!r}: {share}, such as {first} ({line})"
            if len(unknown) > _MAX_UNKNOWN * total:
                warnings.append(
                    f"{share} of the values of column {each.name!r} in {place}, such as {first} "
                    f"({line}), are not in the training data ({known}, …): write them as there, or "
                    "train with these values."
                )
            else:
                counts.append(text)
        if len(counts) > _MAX_LISTED:
            counts[_MAX_LISTED:] = [f"{len(counts) - _MAX_LISTED} more columns"]
        notes = {f"Unknown in {place}": "; ".join(counts)} if counts else {}
        return DataReport(notes=notes, warnings=warnings)

    def to_dict(self) -> dict[str, Any]:
        """Return the fitted encoders as JSON-compatible values."""
        columns: list[dict[str, Any]] = []
        for column in self.columns:
            fields = {"kind": _KINDS[type(column)], **vars(column)}
            if isinstance(column, NumberColumn):
                fields["number_format"] = dataclasses.asdict(column.number_format)
            columns.append(fields)
        return {"columns": columns, "dropped": dict(self.dropped)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> TableFeatures:
        """Recreate the fitted encoders from the result of :meth:`to_dict`."""
        encodings: list[Column] = []
        for column in content["columns"]:
            fields: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in column.items()
            }
            if "number_format" in fields:
                fields["number_format"] = validate_types(NumberFormat(**fields["number_format"]))
            encodings.append(validate_types(_TYPES[fields.pop("kind")](**fields)))
        return validate_types(cls(tuple(encodings), dict(content["dropped"])))


def _count_missing(values: Sequence[Any]) -> int:
    """Count the missing values and empty lists."""
    is_number = isinstance(values, ArrowCells) and values.is_number
    if is_number or isinstance(values, EncodedCells):
        return int(find_missing(values).sum())
    return sum(map(is_missing_list, values))


def _describe_example(value: Any, column: CategoryColumn) -> str:
    """Describe an unknown value, and the character that distinguishes it from a known one."""
    names = {simplify_characters(name): name for name in (*column.values, *column.rare)}
    known, text = names.get(simplify_characters(to_canonical_text(value))), format_value(value)
    if known is None:
        return text
    if (odd := describe_odd_character(value)) is not None:
        return f"{text} with {odd}"
    odd = describe_odd_character(known)
    return text if odd is None else f"{text}, which is {known!r} with {odd} there,"
