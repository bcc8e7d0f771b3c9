"""``ranksim inspect``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranksim.cli.options import AsJson, DropLabels, Named


def inspect(
    data: Annotated[
        str,
        typer.Argument(
            help="CSV, TSV or Parquet file, folder with one, or Hugging Face data set (owner/name)."
        ),
    ],
    target: Annotated[str, typer.Option(help="Column of the number to predict.")],
    bin_width: Annotated[
        float | None, typer.Option(help="Width of label bins. Default: chosen for the labels.")
    ] = None,
    many: Annotated[
        int | None, typer.Option(min=1, help="Bins with more samples are many-shot.")
    ] = None,
    few: Annotated[
        int | None, typer.Option(min=1, help="Bins with fewer samples are few-shot.")
    ] = None,
    drop_labels: DropLabels = None,
    region: Named = None,
    out: Annotated[Path, typer.Option(help="Folder for the picture and inspect.json.")] = Path(
        "runs/inspect"
    ),
    as_json: AsJson = False,
) -> None:
    """Show how labels are spread: what is rare, what is missing, which bins and regions suit."""
    from ranksim.cli._inspect import InspectRequest, inspect_data

    inspect_data(
        InspectRequest(
            data=data,
            target=target,
            bin_width=bin_width,
            many=many,
            few=few,
            drop_labels=drop_labels,
            region=tuple(region or ()),
            out=out,
            as_json=as_json,
        )
    )
