"""``ranksim report``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folder of a sweep, or its results.json; further ones add their gaps to part 4.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file. Default: report.html in the first sweep's folder."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what was written as one JSON document.")
    ] = False,
) -> None:
    """Write the page of a sweep: one HTML file, and its pictures as SVG and PNG."""
    from ranksim.bench.report import report as write

    made = write(runs, out)
    typer.echo(json.dumps(made, indent=1) if as_json else f"Page: {made['page']}")
