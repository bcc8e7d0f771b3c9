"""Reports of what was read from data: rows, columns, split, and likely mistakes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ranksim._utils.formatting import format_name, format_percent, join_names
from ranksim.exceptions import DataError

if TYPE_CHECKING:
    from rich.console import Console

WARNING = "Warning"  # title of a line
PART_TITLES = {"train": "training", "val": "validation", "test": "test"}
_MAX_NAMES = 8  # columns or groups in a line
_MAX_WARNINGS = 3  # in the error message of --strict


@dataclass
class DataReport:
    """A report of what was read from a data set, what was left out, and what was changed.

    All fields contain JSON values, so that a report can be recorded with results and models.

    Args:
        rows: number of rows ``used``, and ``left_out`` by reason.
        columns: names of the ``numbers`` and ``dates``, the number of values of each of the
            ``categories``, of numbers in each of the ``embeddings``, and ``left_out`` columns
            with reasons.
        filled: number of missing values that were filled in, by column.
        split: ``method``, ``seed`` if drawn, and the sizes ``train``, ``val`` and ``test``.
        notes: further sentences, by topic: texts, windows, images, number formats.
        warnings: sentences about likely mistakes, each with the remedy.
    """

    rows: dict[str, Any] = field(default_factory=dict)
    columns: dict[str, Any] = field(default_factory=dict)
    filled: dict[str, int] = field(default_factory=dict)
    split: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values, without empty fields."""
        return {name: value for name, value in vars(self).items() if value}

    def combine(self, other: DataReport) -> DataReport:
        """Return a report with the entries of both; an entry of both is that of the other one.

        Columns that were left out of one or the other are listed together.
        """
        names = ("rows", "columns", "filled", "split", "notes")
        merged = {name: getattr(self, name) | getattr(other, name) for name in names}
        if left_out := self.columns.get("left_out", {}) | other.columns.get("left_out", {}):
            merged["columns"]["left_out"] = left_out
        return DataReport(**merged, warnings=[*self.warnings, *other.warnings])

    def raise_warnings(self) -> None:
        """Raise a DataError if the report contains warnings, for ``--strict``."""
        if self.warnings:
            first = " ".join(self.warnings[:_MAX_WARNINGS])
            n_more = len(self.warnings) - _MAX_WARNINGS
            more = f" ({n_more} more)" if n_more > 0 else ""
            raise DataError(f"--strict does not accept warnings: {first}{more}")


def print_data_report(report: DataReport, console: Console) -> None:
    """Print a report as one block of titles and texts, warnings in yellow."""
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    for title, text in format_data_report(report.to_dict()):
        style = "yellow" if title == WARNING else None
        table.add_row(Text(title, style=style or "bold"), Text(text, style=style or ""))
    if table.row_count:
        console.print(table)


def format_data_report(report: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the lines of a report (see :meth:`DataReport.to_dict`), each a title and a text."""
    lines = [*_list_rows(report.get("rows", {}))]
    lines += _list_columns(report.get("columns", {}))
    if filled := report.get("filled"):
        columns = [f"{format_name(name)} {count:,}" for name, count in filled.items()]
        lines.append(("Filled", f"missing values: {join_names(columns, _MAX_NAMES)}"))
    lines += _list_split(report.get("split", {}))
    lines += [(topic, text) for topic, text in report.get("notes", {}).items()]
    return lines + [(WARNING, text) for text in report.get("warnings", ())]


def _list_rows(rows: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if rows:
        left_out = [f"{count:,} left out: {why}" for why, count in rows.get("left_out", {}).items()]
        yield "Rows", "; ".join([f"{rows['used']:,} used", *left_out])


def _list_columns(columns: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for kind, names in columns.items():
        if kind == "categories":
            counted = [f"{format_name(name)} ({count} values)" for name, count in names.items()]
            yield "Categories", _join(counted)
        elif kind == "embeddings":
            counted = [f"{format_name(name)} ({count} numbers)" for name, count in names.items()]
            yield "Embeddings", _join(counted)
        elif kind == "left_out":
            reasons: dict[str, list[str]] = {}
            for name, reason in names.items():
                reasons.setdefault(reason, []).append(format_name(name))
            yield "Left out", "; ".join(f"{_join(group)}: {why}" for why, group in reasons.items())
        else:
            yield kind.capitalize(), _join([format_name(name) for name in names])


def _list_split(split: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if split:
        sizes = ", ".join(f"{split[part]:,} {title}" for part, title in PART_TITLES.items())
        origin = split["method"]
        if split.get("seed") is not None:
            origin += f", drawn with seed {split['seed']}"
        yield "Split", f"{sizes} ({origin})"


def _join(names: Sequence[str]) -> str:
    return join_names(names, _MAX_NAMES)


def format_share(count: int, total: int) -> str:
    """Format a count with its share of a total, as in ``12 (3 %)``."""
    return f"{count:,} ({format_percent(count / max(total, 1), '', 1)})"
