"""``ranksim inspect``: the labels of user data."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from ranksim.cli import options as texts
from ranksim.cli.options import AsJson, Data, Group, option, with_options
from ranksim.exceptions import UsageError


@dataclass(kw_only=True)
class InspectOptions(Group):
    """The target, and how its labels are divided."""

    target: str = option("Column of the number to predict.", ..., "COLUMN")
    bin_width: float | None = option("Width of label bins. Default: chosen for the labels.")
    many: int | None = option(texts.MANY, min=1)
    few: int | None = option(texts.FEW, min=1)
    drop_labels: str | None = option(texts.DROP_LABELS, None, "RANGES")
    region: texts.Regions = option(texts.REGION, None, "NAME=RANGE")


@with_options(InspectOptions, first=("data",))
def inspect(
    chosen: InspectOptions,
    *,
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder for the figure and inspect.json.")] = Path(
        "runs/inspect"
    ),
    as_json: AsJson = False,
) -> None:
    """Show how labels are distributed: rare and missing values, suitable bins and regions."""
    from rich.console import Console

    from ranksim._utils.storage import atomic_write
    from ranksim.data.label_report import make_label_report
    from ranksim.data.reading import load_table
    from ranksim.evaluation.report.label_report import draw_label_report, print_label_report
    from ranksim.imbalance.label_range import parse_named_range, parse_ranges

    try:
        dropped = parse_ranges(chosen.drop_labels) if chosen.drop_labels else ()
    except ValueError as error:
        raise UsageError(f"--drop-labels: {error}.") from error
    try:
        named = dict(map(parse_named_range, chosen.region or ()))
    except ValueError as error:
        raise UsageError(f"--region: {error}.") from error
    try:
        content = make_label_report(
            load_table(data), chosen.target, width=chosen.bin_width, many=chosen.many,
            few=chosen.few, drop=dropped, named=named,
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(f"These bins or thresholds cannot be used: {error}.") from error
    command = _next_command(content, chosen)
    content["next"] = shlex.join(["ranksim", "compare", data, *command])
    path = Path(data).expanduser()
    name = path.resolve().name if path.exists() else data  # results name no folders
    recorded = {"data": name, "next": shlex.join(["ranksim", "compare", name, *command])}
    figure = draw_label_report(content)
    for suffix, written in (
        ("json", f"{_to_json(content | recorded)}\n".encode()),
        ("svg", figure.svg.encode()),
        ("png", figure.png),
    ):
        with atomic_write(out / f"inspect.{suffix}") as temporary:
            temporary.write_bytes(written)
    if as_json:
        print(_to_json(content))
        return
    console = Console(highlight=False)
    print_label_report(content, console)
    written_to = f"Figure: {out / 'inspect.png'} (and .svg, .json)"
    console.print(written_to, soft_wrap=True, markup=False)


def _to_json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False)


def _next_command(content: dict[str, Any], chosen: InspectOptions) -> list[str]:
    """Return the words that ``ranksim compare`` needs after the data.

    Suggested thresholds count all rows, and compare counts the training rows, so that only
    thresholds given by the user are repeated.
    """
    import numpy as np

    width, edges = content["suggestion"]["width"], content["bins"]["edges"]
    words = ["--target", content["target"]]
    if np.allclose(np.diff(edges), width, rtol=0.1):  # otherwise outliers have their own bins
        words += ["--bin-width", f"{width:g}"]
    for name in ("many", "few", "drop_labels"):
        if (value := getattr(chosen, name)) not in (None, ""):
            words += ["--" + name.replace("_", "-"), str(value)]
    words += [word for text in chosen.region or () for word in ("--region", text)]
    return words + ["--skip-missing"] * bool(content["missing"]["count"])
