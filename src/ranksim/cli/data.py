"""``ranksim data``: prepare raw data sets for the benchmarks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import typer

from ranksim.cli import options as texts
from ranksim.cli.options import AsJson, Group, ProtocolName, option, print_json, with_options

data_app = typer.Typer(help="Prepare data sets.", no_args_is_help=True)


@data_app.callback()
def data() -> None:
    """Prepare data sets."""


@dataclass(kw_only=True)
class PrepareOptions(Group):
    """Images, split and archives of a benchmark."""

    root: Path = option("Folder with AgeDB, or with imdb_crop and wiki_crop.", ...)
    split_file: Path | None = option("Split file (age,path,split). Default: draw a split.")
    protocol: ProtocolName | None = option(texts.PROTOCOL)
    skip_broken: bool = option(texts.SKIP_BROKEN, False)
    seed: int = option("Seed of a drawn split.", 666, min=0)
    test_per_bin: int = option("Test images per age under --protocol.", 50, min=1)
    archive: list[Path] | None = option("Unpack this tar or zip first; repeatable.", None, "PATH")
    download: bool = option("Download the archives of IMDB-WIKI first (8 GB).", False)


@data_app.command("prepare")
@with_options(PrepareOptions)
def prepare(
    options: PrepareOptions,
    *,
    benchmark: Annotated[
        Literal["agedb-dir", "imdb-wiki-dir"], typer.Argument(help="Name of the benchmark.")
    ],
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
    as_json: AsJson = False,
) -> None:
    """Check every image and write the split file that training reads."""
    from ranksim.cli._prepare import PrepareRequest, prepare_data

    values = options.values()
    archives = tuple(values.pop("archive") or ())
    request = PrepareRequest(benchmark, **values, archives=archives, password=password)
    print_json(prepare_data(request, as_json=as_json).to_dict(), as_json)
