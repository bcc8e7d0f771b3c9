"""What ``ranksim inspect`` does with what it was given."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from ranksim._utils.storage import atomic_write
from ranksim.data.label_report import make_label_report
from ranksim.data.reading import load_table
from ranksim.evaluation.report.label_report import inspection_figure, print_inspection
from ranksim.exceptions import UsageError
from ranksim.experiments.sweep_request import data_name
from ranksim.imbalance.label_range import LabelRange, parse_named_range, parse_ranges


@dataclass(frozen=True)
class InspectRequest:
    """An inspect command as it was given; :func:`make_label_report` says what the settings are."""

    data: str
    target: str
    bin_width: float | None = None
    many: int | None = None
    few: int | None = None
    drop_labels: str | None = None
    region: tuple[str, ...] = ()
    out: Path = Path("runs/inspect")
    as_json: bool = False


def inspect_data(request: InspectRequest) -> dict[str, Any]:
    """Look at the labels, print what is seen, and write it and a picture of it."""
    drop, named = _ranges(request)
    columns = load_table(request.data)
    try:
        found = make_label_report(
            columns, request.target, width=request.bin_width, many=request.many, few=request.few,
            drop=drop, named=named,
        )  # fmt: skip
    except ValueError as error:
        raise UsageError(f"These bins or thresholds cannot be used: {error}.") from error
    content = found.to_dict()
    content["next"] = _next(request, content, request.data)
    # what is kept names no folder of this machine
    name = data_name(request.data)
    kept = content | {"data": name, "next": _next(request, content, name)}
    drawn = inspection_figure(content)
    for name, written in (
        ("json", f"{_json(kept)}\n".encode()),
        ("svg", drawn.svg.encode()),
        ("png", drawn.png),
    ):
        with atomic_write(request.out / f"inspect.{name}") as aside:
            aside.write_bytes(written)
    if request.as_json:
        print(_json(content))
    else:
        console = Console(highlight=False)
        print_inspection(content, console)
        console.print(
            f"Picture: {request.out / 'inspect.png'} (and .svg, .json)",
            soft_wrap=True,
            markup=False,
        )
    return content


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=1, ensure_ascii=False)


def _ranges(request: InspectRequest) -> tuple[tuple[LabelRange, ...], dict[str, LabelRange]]:
    try:
        drop = parse_ranges(request.drop_labels) if request.drop_labels else ()
    except ValueError as error:
        raise UsageError(f"--drop-labels: {error}.") from error
    try:
        return drop, dict(map(parse_named_range, request.region))
    except ValueError as error:
        raise UsageError(f"--region: {error}.") from error


def _next(request: InspectRequest, content: dict[str, Any], data: str) -> str:
    """The command that goes on with this data, by the name that it is given."""
    chosen = content["suggestion"]
    words = ["ranksim", "compare", data, "--target", request.target]
    widths = np.diff(content["bins"]["edges"])
    if np.allclose(widths, chosen["width"], rtol=0.1):  # else far outliers have bins of their own
        words += ["--bin-width", f"{chosen['width']:g}"]
    # what is suggested counts all rows; compare goes by those that it trains on
    for option, given in (("--many", request.many), ("--few", request.few)):
        words += [option, str(given)] if given is not None else []
    words += ["--skip-missing"] * bool(content["missing"]["count"])
    words += ["--drop-labels", request.drop_labels] if request.drop_labels else []
    words += [word for text in request.region for word in ("--region", text)]
    return shlex.join(words)
