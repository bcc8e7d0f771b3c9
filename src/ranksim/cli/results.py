"""Commands on the results of a sweep: ``report`` and ``reproduce``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from ranksim.cli.options import ACCELERATOR, DATA_DIR, AsJson, print_json


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


def reproduce(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS", help="A sweep's results.json, or its folder.", show_default=False
        ),
    ],
    row: Annotated[
        str | None, typer.Option(help="Row of its table: a number from 1, or a method's name.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="One seed of the row. Default: all.")] = None,
    data: Annotated[str | None, typer.Option(help="The DATA of ranksim compare.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help=DATA_DIR)] = None,
    glove: Annotated[Path | None, typer.Option(help="GloVe 840B.300d text file.")] = None,
    image_root: Annotated[Path | None, typer.Option(help="Folder of the images.")] = None,
    split_file: Annotated[Path | None, typer.Option(help="Split file of an age benchmark.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Folder of the pretrained encoder, if it was in a folder.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to train in. Default: a temporary one.")
    ] = None,
    accelerator: Annotated[str, typer.Option(help=ACCELERATOR)] = "auto",
    as_json: AsJson = False,
) -> None:
    """Train a row of a results.json again and compare the numbers (exit code 1: they differ)."""
    from ranksim.data.spec import DataLocation
    from ranksim.experiments import reproduce as engine

    location = DataLocation(data, data_dir, image_root, split_file, glove, encoder)
    request = engine.ReproduceRequest(results, row, seed, location, out, accelerator)
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
        fields = ", ".join(report["assumed"])
        lines.append(f"  Not recorded, taken from the preset: {fields}.")
    if report["matches"] is not None and report["note"]:
        lines.append(f"  The run failed: {report['note']}.")
    for line in lines:
        console.print(line, highlight=False, soft_wrap=True, markup=False)
