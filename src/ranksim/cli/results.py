"""Commands on the results of a sweep: ``report`` and ``reproduce``."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ranksim.cli.options import AsJson, Values, print_json, with_options
from ranksim.data.spec import DataLocation, option


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(
            metavar="RUN...",
            help="Folder of a sweep, or its results.json; further ones add their label gaps.",
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file. Default: report.html in the first sweep's folder."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the page of a sweep: one HTML file, and its figures as SVG and PNG."""
    from ranksim.evaluation.report.results_page import write_report

    written = write_report(runs, out)
    print_json(written, as_json)
    if not as_json:
        typer.echo(f"Page: {written['page']}")


@dataclass(frozen=True, kw_only=True)
class ReproduceOptions(DataLocation):
    """The runs to train again, and the place of their data."""

    row: str | None = option("Row of its table: a number from 1, or a method's name.")
    seed: int | None = option("One seed of the row. Default: all.")


@with_options(
    "results out as_json row seed data data_dir glove image_root split_file encoder accelerator",
    owner=ReproduceOptions,
)
def reproduce(
    values: Values,
    *,
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS", help="A sweep's results.json, or its folder.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None, typer.Option(help="Folder to train in. Default: a temporary one.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Train a row of a results.json again and compare the numbers (exit code 1: they differ)."""
    from ranksim.experiments import reproduce as engine

    location = DataLocation(**{item.name: values.pop(item.name) for item in fields(DataLocation)})
    request = engine.ReproduceRequest(results, location=location, out=out, **values)
    reports, console = [], Console(stderr=as_json)
    for report in engine.reproduce(request):
        _print_report(report, console)
        reports.append(report)
    matches = all(report["matches"] for report in reports)
    print_json({"method": reports[0]["method"], "matches": matches, "runs": reports}, as_json)
    if not matches:
        raise typer.Exit(1)


def _print_report(report: dict[str, Any], console: Console) -> None:
    """Print how a run that was trained again compares with its record."""
    name = f"{report['method']} seed {report['seed']}"
    if report["matches"] is None:
        lines = [f"{name}: {report['note']}."]
    elif report["matches"]:
        lines = [f"{name}: identical to the last bit."]
    else:
        scores = ", ".join(f"{k} {v:.2g}" for k, v in report["largest"].items()) or "none"
        first, n_more = ", ".join(report["differ"][:5]), len(report["differ"]) - 5
        more = f" and {n_more} more" if n_more > 0 else ""
        lines = [
            f"{name}: different ({first}{more}); largest relative difference of a test score: "
            f"{scores}."
        ]
    for part in ("made_by", "data"):
        changes = report.get(part, {}).items()
        text = "; ".join(f"{key} was {old}, is {new}" for key, (old, new) in changes)
        lines += [f"  Changed: {text}."] if text else []
    if report.get("assumed"):
        names = ", ".join(report["assumed"])
        lines.append(f"  Not recorded, taken from the preset: {names}.")
    if report["matches"] is not None and report["note"]:
        lines.append(f"  The run failed: {report['note']}.")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
