"""Commands on data: ``inspect`` and ``data prepare``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

from ranksim.api.options import READING, Values
from ranksim.cli.options import AsJson, Data, print_json, with_options
from ranksim.data.spec import option
from ranksim.exceptions import UsageError

_MAX_UNPACKED = 64 << 30  # bytes per archive; the larger one of IMDB-WIKI has 7 GB
data_app = typer.Typer(help="Prepare data sets.", no_args_is_help=True)


@data_app.callback()
def data() -> None:
    """Prepare data sets."""


@dataclass(kw_only=True)
class PrepareOptions:
    """The options of ``data prepare``: image folder, split file and archives of a benchmark."""

    root: Path = option("Folder with AgeDB, or with imdb_crop and wiki_crop.", ...)
    split_file: Path | None = option("Split file (age,path,split). Default: draw a split.")
    seed: int = option("Seed of a drawn split.", 666, min=0)
    test_per_bin: int = option("Test images per age under --protocol.", 50, min=1)
    archive: tuple[Path, ...] = option(
        "Unpack this tar or zip first; repeatable.", (), "PATH", repeat=True
    )
    download: bool = option("Download the archives of IMDB-WIKI first (8 GB).", False)


@data_app.command("prepare")
@with_options(
    "benchmark password as_json root split_file protocol skip_broken seed test_per_bin archive "
    "download",
    owner=PrepareOptions,
)
def prepare(
    values: Values,
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
    from ranksim._utils.progress import progress_counter
    from ranksim.data.images.decode import check_images
    from ranksim.datasets import imdb_wiki_dir
    from ranksim.datasets.archives import extract
    from ranksim.datasets.image_benchmarks import describe, prepare_split

    console, root = Console(stderr=as_json, highlight=False), values["root"]
    archives, download = values.pop("archive"), values.pop("download")
    if download and benchmark != imdb_wiki_dir.NAME:
        raise UsageError(
            f"{benchmark} cannot be downloaded: ask the authors of AgeDB for the archive and its "
            "password, then use --archive AgeDB.zip --password."
        )
    archives += tuple(imdb_wiki_dir.download_archives(root) if download else ())
    if archives:
        with progress_counter("unpacking, bytes") as on_progress:
            unpack = partial(
                extract, limit_bytes=_MAX_UNPACKED, password=password, on_progress=on_progress
            )
            count = sum(unpack(path, root) for path in archives)
        console.print(f"Unpacked {count:,} files below {root}.")

    def check(root: Path, paths: Sequence[str]) -> dict[str, str]:
        with progress_counter("checking images") as on_progress:
            return check_images(root, paths, on_progress=on_progress)

    prepared = prepare_split(benchmark, **values, check=check)
    train = f"Train: ranksim bench {benchmark} --data-dir {root}"
    train += f" --protocol {values['protocol']}" if values["protocol"] else ""
    for line in (*describe(prepared), train):
        console.print(line, soft_wrap=True)
    print_json(prepared.to_dict(), as_json)


@with_options(
    "data out as_json target bin_width many few drop_labels region missing_target keep strict",
    READING,
)
def inspect(
    values: Values,
    *,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the figure and inspect.json.")] = Path(
        "runs/inspect"
    ),
    as_json: AsJson = False,
) -> None:
    """Show how labels are distributed: rare and missing values, suitable bins and regions.

    It also shows what the columns contain, and proposes commands that read them.
    """
    from ranksim.data.reading import require_source

    require_source(data)

    from ranksim.api.label_report import inspect_labels
    from ranksim.evaluation.report.label_report import print_label_report

    report = inspect_labels(data, values)
    report.save(out)
    print_json(report.content, as_json)
    if not as_json:
        console = Console(highlight=False)
        print_label_report(report.content, console)
        figure_path = out / "inspect.png"
        console.print(f"Figure: {figure_path} (and .svg, .json)", soft_wrap=True, markup=False)
