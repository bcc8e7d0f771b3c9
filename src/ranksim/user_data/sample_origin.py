"""Where samples come from: row and line of the file, image, group."""

from __future__ import annotations

from typing import Any

from ranksim.data.arrow_cells import take_cells
from ranksim.data.cells import is_missing
from ranksim.data.table import Ints, Table


def describe_origin(
    table: Table, rows: Ints, *, image: str | None = None, group: str | None = None
) -> dict[str, list[Any]]:
    """Return the row from 1 and the line of samples in the file, their image path and their group.

    Args:
        table: the table of the samples.
        rows: table row of each sample ``(N,)``, from 0.
        image: column of the image paths, if there is one.
        group: column of the groups, if there is one.
    """
    origin: dict[str, list[Any]] = {"row": (rows + 1).tolist()}
    if table.line_unit == "line":
        origin["line"] = [table.lines[row] for row in rows]
    return origin | read_origin(table, rows, image=image, group=group)


def read_origin(
    table: Table, rows: Ints, *, image: str | None = None, group: str | None = None
) -> dict[str, list[Any]]:
    """Return the image path and the group of samples; see :func:`describe_origin`."""
    origin: dict[str, list[Any]] = {}
    for name, column in (("image", image), ("group", group)):
        if column is not None and column in table.names:
            values = take_cells(table.column(column), rows)
            origin[name] = ["" if is_missing(value) else str(value) for value in values]
    return origin
