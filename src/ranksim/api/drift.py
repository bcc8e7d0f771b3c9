"""The result of a comparison of new data with the data that a model was fitted with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ranksim._utils.formatting import format_percent
from ranksim._utils.frames import make_frame
from ranksim.api.html import render_box, render_page, render_table, render_text

if TYPE_CHECKING:
    import pandas as pd

_MAX_ROWS = 20  # of a table in a notebook


@dataclass(frozen=True)
class DriftTable:
    """A table of a result, as text."""

    title: str
    names: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


@dataclass(frozen=True, eq=False, repr=False)
class Drift:
    """What has moved since a model was fitted.

    Attributes:
        content: the result, as :meth:`to_dict` returns it.
    """

    content: Mapping[str, Any]

    @property
    def verdict(self) -> str:
        """``stable``, ``inputs moved``, ``labels moved``, ``recalibrate`` or ``retrain``."""
        return str(self.content["verdict"])

    @property
    def conclusion(self) -> str:
        """What has moved, and what to do, in two sentences."""
        return str(self.content["conclusion"])

    @property
    def moved(self) -> list[str]:
        """Names of the inputs that have moved, those that moved most first."""
        return [change["name"] for change in self.content["inputs"] if change["moved"]]

    def to_dict(self) -> dict[str, Any]:
        """Return the result as JSON values.

        ``inputs`` has one entry per column; ``predictions``, ``labels``, ``errors`` and
        ``coverage`` have ``regions``; the last three are None without labels.
        """
        return dict(self.content)

    def to_frame(self) -> pd.DataFrame:
        """Return one row per input column, those that moved most first."""
        names = ("name", "psi", "distance", "p_value", "p_adjusted", "outside", "moved", "text")
        return make_frame([{name: row[name] for name in names} for row in self.content["inputs"]])

    def to_html(self) -> str:
        """Return a whole HTML page with the tables."""
        return render_page(f"Drift of {self.content['target']}", self._repr_html_())

    def _repr_html_(self) -> str:
        parts = [render_text(self.conclusion, is_bold=True)]
        for table in list_tables(self.content):
            parts.append(render_text(table.title))
            parts.append(render_table(table.names, table.rows[:_MAX_ROWS]))
        return render_box(*parts)

    def __repr__(self) -> str:
        return f"Drift({self.conclusion})"


def list_tables(content: Mapping[str, Any]) -> list[DriftTable]:
    """Return the tables of a result: columns, regions, errors and coverage."""
    count = f"{content['samples']:,} new samples"
    changes = list(content["inputs"])
    rows = [("predictions", content["predictions"])]
    if content["labels"] is not None:
        rows.append(("labels", content["labels"]))
    changes += [part["change"] for _, part in rows]
    columns = [
        (
            change["name"],
            change["text"],
            f"{change['psi']:.2f}",
            f"{change['distance']:.2f}",
            _format_p_value(change["p_adjusted"]),
            format_percent(change["outside"], ""),
            "moved" if change["moved"] else "",
        )
        for change in changes
    ]
    names = ("column", "training → now", "PSI", "distance", "p", "outside", "")
    tables = [DriftTable(f"{count}, {len(content['inputs']):,} inputs", names, columns)]
    tables += [_tabulate_regions(noun, part["regions"]) for noun, part in rows]
    if content["errors"] is not None:
        tables.append(_tabulate_errors(content["errors"]["regions"]))
    if content["coverage"] is not None:
        tables.append(_tabulate_coverage(content["coverage"]))
    return tables


def _tabulate_regions(noun: str, regions: Mapping[str, Any]) -> DriftTable:
    rows = [
        (
            name,
            format_percent(row["before"], ""),
            _format_interval(row["before_interval"]),
            format_percent(row["after"], ""),
            _format_interval(row["after_interval"]),
            row["change"],
        )
        for name, row in regions.items()
    ]
    return DriftTable(
        f"Shares of {noun} by region", ("region", "training", "95 %", "now", "95 %", ""), rows
    )


def _tabulate_errors(regions: Mapping[str, Any]) -> DriftTable:
    rows = []
    for name, row in regions.items():
        ends = row["interval"]
        rows.append(
            (
                name,
                f"{row['samples']:,}",
                "–" if row["before"] is None else f"{row['before']:.4g}",
                "–" if row["after"] is None else f"{row['after']:.4g}",
                "–" if ends is None else " to ".join(f"{end:+.3g}" for end in ends),
                "grew" if row["grew"] else "",
            )
        )
    names = ("region", "samples", "held-out", "now", "difference", "")
    return DriftTable("MAE by region of the label", names, rows)


def _tabulate_coverage(coverage: Mapping[str, Any]) -> DriftTable:
    rows = [
        (
            name,
            f"{row['samples']:,}",
            format_percent(row["coverage"], ""),
            _format_interval(row["interval"]),
            "too low" if row["too_low"] else "",
        )
        for name, row in coverage["regions"].items()
    ]
    title = f"Coverage of {format_percent(coverage['level'], '', 0)} intervals by predicted region"
    return DriftTable(title, ("region", "samples", "coverage", "95 %", ""), rows)


def _format_interval(ends: Sequence[float]) -> str:
    return f"{100 * ends[0]:.1f} to {100 * ends[1]:.1f}"


def _format_p_value(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
