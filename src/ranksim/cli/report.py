"""``ranksim report``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranksim.cli.options import AsJson, print_json


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
    as_json: AsJson = False,
) -> None:
    """Write the page of a sweep: one HTML file, and its pictures as SVG and PNG."""
    from ranksim.evaluation.report.results_page import report as write

    made = write(runs, out)
    print_json(made, as_json)
    if not as_json:
        typer.echo(f"Page: {made['page']}")
