"""``ranksim data``: raw data sets to what the benchmarks read."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from ranksim.cli.options import PROTOCOL, SKIP_BROKEN, AsJson, ProtocolName, print_json

data_app = typer.Typer(help="Prepare data sets.", no_args_is_help=True)


@data_app.callback()
def data() -> None:
    """Prepare data sets."""


@data_app.command("prepare")
def prepare(
    benchmark: Annotated[
        Literal["agedb-dir", "imdb-wiki-dir"], typer.Argument(help="Which one it is.")
    ],
    root: Annotated[Path, typer.Option(help="Folder with AgeDB, or with imdb_crop and wiki_crop.")],
    split_file: Annotated[
        Path | None,
        typer.Option(help="The published split (age,path,split). Default: drawn by its rule."),
    ] = None,
    protocol: Annotated[ProtocolName | None, typer.Option(help=PROTOCOL)] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help=SKIP_BROKEN)] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of a split that is drawn.")] = 666,
    per_bin: Annotated[
        int, typer.Option(min=1, help="Of a protocol that is drawn: test images of an age.")
    ] = 50,
    archive: Annotated[
        list[Path] | None, typer.Option(help="Unpack this archive (tar, zip) there first.")
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            envvar="RANKSIM_PASSWORD",
            prompt=True,
            prompt_required=False,
            hide_input=True,
            help="Of the archive; asked for where no value follows.",
        ),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the archives of IMDB-WIKI first (8 GB).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check every image and write the split that training reads."""
    from ranksim.cli._prepare import PrepareRequest, prepare_data

    prepared = prepare_data(
        PrepareRequest(
            benchmark,
            root,
            split_file=split_file,
            protocol=protocol,
            skip_broken=skip_broken,
            seed=seed,
            per_bin=per_bin,
            archives=tuple(archive or ()),
            password=password,
            download=download,
        ),
        as_json=as_json,
    )
    print_json(prepared.to_dict(), as_json)
