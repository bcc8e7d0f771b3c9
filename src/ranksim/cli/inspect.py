"""``ranksim inspect``: the labels of user data."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from ranksim.cli.options import AsJson, Data, Values, with_options
from ranksim.exceptions import UsageError


@with_options("data out as_json target bin_width many few drop_labels region")
def inspect(
    values: Values,
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

    dropped = parse_ranges(",".join(values["drop_labels"])) if values["drop_labels"] else ()
    try:
        named = dict(map(parse_named_range, values["region"]))
    except ValueError as error:
        raise UsageError(f"--region: {error}.") from error
    try:
        content = make_label_report(
            load_table(data), values["target"], width=values["bin_width"], many=values["many"],
            few=values["few"], drop=dropped, named=named,
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(f"These bins or thresholds cannot be used: {error}.") from error
    command = _next_command(content, values)
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


def _next_command(content: dict[str, Any], values: Values) -> list[str]:
    """Return the words that ``ranksim compare`` needs after the data.

    Suggested thresholds count all rows, and compare counts the training rows, so that only
    thresholds given by the user are repeated.
    """
    import numpy as np

    width, edges = content["suggestion"]["width"], content["bins"]["edges"]
    words = ["--target", content["target"]]
    if np.allclose(np.diff(edges), width, rtol=0.1):  # otherwise outliers have their own bins
        words += ["--bin-width", f"{width:g}"]
    for name in ("many", "few"):
        words += [] if values[name] is None else [f"--{name}", str(values[name])]
    if values["drop_labels"]:
        words += ["--drop-labels", ",".join(values["drop_labels"])]
    words += [word for text in values["region"] for word in ("--region", text)]
    return words + ["--skip-missing"] * bool(content["missing"]["count"])
