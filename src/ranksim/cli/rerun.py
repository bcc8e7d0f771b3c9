"""``ranksim rerun``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranksim.cli.options import AsJson, print_json


def rerun(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS", help="A sweep's results.json, or its folder.", show_default=False
        ),
    ],
    row: Annotated[
        str | None, typer.Option(help="Of its table: a number from 1, or a method's name.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="One of the row's. Default: all.")] = None,
    data: Annotated[str | None, typer.Option(help="What compare was given as DATA.")] = None,
    data_dir: Annotated[
        Path | None, typer.Option(help="Folder that holds a benchmark's data. Default: as bench.")
    ] = None,
    glove: Annotated[Path | None, typer.Option(help="As bench takes it.")] = None,
    image_root: Annotated[Path | None, typer.Option(help="Folder of the images.")] = None,
    split_file: Annotated[Path | None, typer.Option(help="As bench takes it.")] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Folder of the pretrained encoder, where it was in one.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder to train in. Default: one that is removed.")
    ] = None,
    accelerator: Annotated[str, typer.Option(help="For Lightning: auto, cpu, gpu, mps …")] = "auto",
    as_json: AsJson = False,
) -> None:
    """Train a row of a results.json again, and say whether it is the same (exit code 1: not)."""
    from ranksim.experiments.replay import RerunRequest
    from ranksim.experiments.reproduce import reproduce as again

    files: dict[str, Path | str | None] = {"data": data, "data_dir": data_dir, "glove": glove}
    files |= {"image_root": image_root, "split_file": split_file}
    asked = RerunRequest(results, row, seed, files | {"encoder": encoder}, out, accelerator)
    found = again(asked, as_json=as_json)
    print_json(found, as_json)
    if not found["matches"]:
        raise typer.Exit(1)
