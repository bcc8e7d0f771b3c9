"""Commands on data: ``inspect`` and ``data prepare``."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console

from ranksim.cli.options import (
    READING,
    AsJson,
    Data,
    Values,
    print_json,
    to_json,
    with_options,
)
from ranksim.data.spec import ReadOptions, option, option_name
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
    import numpy as np

    from ranksim._utils.storage import atomic_write
    from ranksim.data.data_report import DataReport
    from ranksim.data.reading import load_table, require_source, require_text_file
    from ranksim.evaluation.report.label_report import draw_label_report, print_label_report
    from ranksim.imbalance.bins import parse_named_range, parse_ranges
    from ranksim.user_data.label_report import make_label_report
    from ranksim.user_data.proposals import find_column_kinds, propose_inputs

    require_source(data)
    dropped = parse_ranges(",".join(values["drop_labels"])) if values["drop_labels"] else ()
    try:
        named = dict(map(parse_named_range, values["region"]))
    except ValueError as error:
        raise UsageError(f"--region: {error}.") from error
    reading = ReadOptions.from_options(values)
    table = load_table(data, reading)
    require_text_file(table, reading)
    try:
        content = make_label_report(
            table, values["target"], width=values["bin_width"], many=values["many"],
            few=values["few"], drop=dropped, named=named,
            absent=values["missing_target"],
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(f"These bins or thresholds cannot be used: {error}.") from error
    rows = np.flatnonzero(np.isfinite(table.parse_numbers(values["target"]).values))
    kinds = find_column_kinds(table, values["target"], rows, values["keep"])
    report = DataReport(**content["data_report"]).combine(kinds.describe(table))
    if values["strict"]:
        report.raise_warnings()
    content["data_report"] = report.to_dict()
    proposals = propose_inputs(table, kinds) or [([], "reads no column")]

    def list_commands(name: str) -> dict[str, Any]:
        """Return the proposed commands on the data of this name, the first one as the next one."""
        start = ["ranksim", "compare", name, *_list_options(content, values)]
        skips = start[-1:]  # --skip-missing comes last
        commands = [
            {
                "command": shlex.join([*start, *(word for word in words if word not in skips)]),
                "reads": reads,
            }
            for words, reads in proposals
        ]
        return {"next": commands[0]["command"], "proposals": commands}

    content |= list_commands(data)
    path = Path(data).expanduser()
    name = path.resolve().name if path.exists() else data  # results name no folders
    recorded = {"data": name, **list_commands(name)}
    figure = draw_label_report(content)
    for suffix, written in (
        ("json", f"{to_json(content | recorded)}\n".encode()),
        ("svg", figure.svg.encode()),
        ("png", figure.png),
    ):
        with atomic_write(out / f"inspect.{suffix}") as temporary:
            temporary.write_bytes(written)
    print_json(content, as_json)
    if not as_json:
        console = Console(highlight=False)
        print_label_report(content, console)
        figure_path = out / "inspect.png"
        console.print(f"Figure: {figure_path} (and .svg, .json)", soft_wrap=True, markup=False)


def _list_options(content: dict[str, Any], values: Values) -> list[str]:
    """Return the arguments of ``ranksim compare`` for labels, bins and reading.

    Only bins and thresholds given by the user are repeated: compare chooses the same bins for the
    same labels, and counts the training rows for the thresholds.
    """
    words = ["--target", content["target"]]
    given = [("bin-width", values["bin_width"])]
    given += [(name, values[name]) for name in ("many", "few")]
    given += [("drop-labels", ",".join(values["drop_labels"]))]
    given += [("region", text) for text in values["region"]]
    for item in fields(ReadOptions):
        value = values[item.name]
        text = ",".join(value) if isinstance(value, tuple) else value
        given.append((option_name(item.name)[2:], text))
    given.append(
        ("missing-target", ",".join(f"{value:.15g}" for value in values["missing_target"]))
    )
    for name, value in given:
        if value:
            words += [f"--{name}", f"{value:.15g}" if isinstance(value, float) else str(value)]
    return words + ["--skip-missing"] * bool(content["missing"]["count"])
