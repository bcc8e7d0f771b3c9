"""The command ``drift``: whether new data still is what a model was fitted with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ranksim.api.options import READING, Values, load_network
from ranksim.cli.options import AsJson, Data, print_json, with_options
from ranksim.data.spec import DataLocation, ReadOptions

if TYPE_CHECKING:
    from rich.console import Console

_MAX_COLUMNS = 10


@with_options(
    "model data image_root encoder network accelerator skip_missing strict as_json",
    READING,
    owner=DataLocation,
    skip_missing={"help": "Leave out rows without a text, a readable image, a time or a group."},
    strict={"help": "Exit with 1 if anything moved, or with a warning about the data."},
)
def drift(
    values: Values,
    *,
    model: Annotated[
        Path,
        typer.Argument(metavar="MODEL", help="Folder of ranksim fit.", show_default=False),
    ],
    data: Data,
    as_json: AsJson = False,
) -> None:
    """Compare new data, labeled or not, with the data that a model was fitted with."""
    from rich.console import Console

    from ranksim.data.reading import require_source

    require_source(data)

    from ranksim.inference.drift import STABLE, DriftRequest, find_drift

    console = Console(stderr=as_json, highlight=False)
    if values["network"] is not None:
        values["network"] = load_network(values["network"])
    names = [item.name for item in fields(ReadOptions)]
    reading = {name: value for name in names if (value := values.pop(name)) not in (None, ())}
    is_strict = values.pop("strict")
    result, report = find_drift(DriftRequest(model, data, reading=reading, **values), console)
    _print_drift(result, console)
    print_json(result, as_json)
    if is_strict:
        report.raise_warnings()
        if result["verdict"] != STABLE:
            raise typer.Exit(1)


def _print_drift(result: Mapping[str, Any], console: Console) -> None:
    """Print tables of columns, regions, errors and coverage, and then the conclusion."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    from ranksim.api.drift import DriftTable, list_tables

    def print_table(content: DriftTable) -> None:
        table = Table(title=f"\n{content.title}", box=box.SIMPLE_HEAD, title_justify="left")
        for k, name in enumerate(content.names):
            table.add_column(name, justify="right" if k and "→" not in name else "left")
        for row in content.rows[:_MAX_COLUMNS]:
            table.add_row(*map(escape, row))
        console.print(table)
        if len(content.rows) > _MAX_COLUMNS:
            console.print(f"{len(content.rows) - _MAX_COLUMNS:,} more rows in --json.")

    for content in list_tables(result):
        print_table(content)
    console.print(result["conclusion"], markup=False, soft_wrap=True)
