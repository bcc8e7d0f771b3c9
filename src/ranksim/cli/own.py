"""``ranksim compare``: methods on anyone's data."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ranksim.cli.options import (
    AsJson,
    Budgeted,
    ComparedOwn,
    Dropped,
    Group,
    Machine,
    Out,
    OwnInputs,
    OwnSplit,
    Trained,
    request,
    taking,
    tell,
)

Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="CSV, TSV, Parquet, a folder of images with a table, or a Hugging Face data set.",
        show_default=False,
    ),
]


@taking(ComparedOwn, OwnInputs, OwnSplit, Dropped, Budgeted, Trained, Machine)
def compare(
    what: ComparedOwn,
    *groups: Group,
    data: Data,
    out: Out = Path("runs/compare"),
    as_json: AsJson = False,
) -> None:
    """Train every method on the same splits and seeds of your data, and say which one helps."""
    from ranksim.bench.command import bench, brief
    from ranksim.bench.own import own_request

    asked = own_request(data, request("own", out, what.methods, what.seeds, *groups))
    tell(brief(bench(asked, as_json=as_json), out), as_json)
