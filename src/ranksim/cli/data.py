"""``ranksim data``: prepare raw data sets for the benchmarks."""

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
        Literal["agedb-dir", "imdb-wiki-dir"], typer.Argument(help="Name of the benchmark.")
    ],
    root: Annotated[Path, typer.Option(help="Folder with AgeDB, or with imdb_crop and wiki_crop.")],
    split_file: Annotated[
        Path | None,
        typer.Option(help="Split file (age,path,split). Default: draw by the published rule."),
    ] = None,
    protocol: Annotated[ProtocolName | None, typer.Option(help=PROTOCOL)] = None,
    skip_broken: Annotated[bool, typer.Option("--skip-broken", help=SKIP_BROKEN)] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of a drawn split.")] = 666,
    test_per_bin: Annotated[
        int, typer.Option(min=1, help="With --protocol: test images per age of a drawn split.")
    ] = 50,
    archive: Annotated[
        list[Path] | None,
        typer.Option(help="Archive (tar, zip) to unpack into the folder first; repeatable."),
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            envvar="RANKSIM_PASSWORD",
            prompt=True,
            prompt_required=False,
            hide_input=True,
            help="Password of the archive; prompts if no value follows.",
        ),
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Download the archives of IMDB-WIKI first (8 GB).")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check every image and write the split file that training reads."""
    from ranksim.cli._prepare import PrepareRequest, prepare_data

    request = PrepareRequest(
        benchmark,
        root,
        split_file=split_file,
        protocol=protocol,
        skip_broken=skip_broken,
        seed=seed,
        test_per_bin=test_per_bin,
        archives=tuple(archive or ()),
        password=password,
        download=download,
    )
    print_json(prepare_data(request, as_json=as_json).to_dict(), as_json)
