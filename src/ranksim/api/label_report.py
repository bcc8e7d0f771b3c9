"""Inspect the labels of data: how they are distributed, which are rare, and what to run next."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ranksim._utils.formatting import format_percent
from ranksim._utils.frames import make_frame
from ranksim._utils.storage import atomic_write
from ranksim.api.arguments import name_arguments, read_arguments
from ranksim.api.html import render_box, render_page, render_table, render_text
from ranksim.api.options import INSPECT_OPTIONS, Values, to_json
from ranksim.data.data_report import DataReport, format_data_report
from ranksim.data.memory import join_target, name_data, read_table
from ranksim.data.reading import require_text_file
from ranksim.data.spec import ReadOptions, option_name
from ranksim.evaluation.report.label_report import (
    draw_label_report,
    paint_label_report,
    title_histogram,
)
from ranksim.evaluation.report.plotting import open_axis
from ranksim.exceptions import DataError, UsageError
from ranksim.imbalance.bins import parse_named_range, parse_ranges
from ranksim.user_data.label_report import make_label_report
from ranksim.user_data.proposals import find_column_kinds, propose_inputs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

REPORT = "inspect.json"


@dataclass(frozen=True, eq=False)
class LabelReport:
    """The distribution of labels: histogram, shot regions, rare and missing labels, next steps.

    Attributes:
        content: all numbers as JSON values, as ``ranksim inspect --json`` writes them.

    Example:
        >>> import ranksim
        >>> ages = [20.0] * 40 + [30.0] * 30 + [70.0]
        >>> report = ranksim.inspect({"age": ages, "height": range(71)}, target="age")
        >>> report
        LabelReport(The data, target age: 71 labels from 20 to 70)
    """

    content: Mapping[str, Any]

    @property
    def target(self) -> str:
        """Name of the column of the labels."""
        return str(self.content["target"])

    @property
    def conclusion(self) -> str:
        """How imbalanced the labels are, in one sentence."""
        labels, few = self.content["labels"], self.content["regions"]["few"]
        return (
            f"The fullest of the label bins of {self.target} has "
            f"{self.content['imbalance_ratio']:,.4g} times as many samples as the rarest, and "
            f"{few['count']:,} of {labels['count']:,} labels "
            f"({format_percent(few['share'], '', 2)}) are few-shot."
        )

    @property
    def warnings(self) -> list[str]:
        """Sentences about likely mistakes in the data, each with the remedy."""
        return list(self.content.get("data_report", {}).get("warnings", ()))

    def to_frame(self) -> pd.DataFrame:
        """Return one row per label bin, with columns ``low``, ``high``, ``samples``, ``region``."""
        bins = self.content["bins"]
        return make_frame(
            {
                "low": bins["edges"][:-1],
                "high": bins["edges"][1:],
                "samples": bins["counts"],
                "region": bins["regions"],
            }
        )

    def plot_labels(self, ax: Axes | None = None) -> Axes:
        """Draw the histogram of the labels in the colors of their regions; return the axes.

        Args:
            ax: axes of matplotlib; by default those of a new figure.
        """
        with open_axis(ax) as axis:
            paint_label_report(axis, self.content)
            if ax is None:
                axis.set_title(title_histogram(self.content))
                axis.legend()
        result: Axes = axis
        return result

    def to_html(self) -> str:
        """Return a whole HTML page with table and picture."""
        return render_page(f"Labels of {self.target}", self._repr_html_())

    def save(self, folder: str | Path) -> Path:
        """Write ``inspect.json`` and the picture ``inspect.svg`` and ``.png``; return the folder.

        Results name no folders of this machine.
        """
        picture, out = draw_label_report(self.content), Path(folder)
        for suffix, written in (
            ("json", f"{to_json(self._make_portable())}\n".encode()),
            ("svg", picture.svg.encode()),
            ("png", picture.png),
        ):
            with atomic_write(out / f"inspect.{suffix}") as temporary:
                temporary.write_bytes(written)
        return out

    @classmethod
    def load(cls, folder: str | Path) -> LabelReport:
        """Read what :meth:`save` or ``ranksim inspect`` wrote."""
        import json

        path = Path(folder) / REPORT
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DataError(
                f"{path} does not exist: give a folder that save() or ranksim inspect wrote."
            ) from None
        except ValueError as error:
            raise DataError(f"{path} is damaged: inspect the data again.") from error
        if not isinstance(content, dict) or not {"labels", "bins", "regions"} <= content.keys():
            raise DataError(f"{path} is no report of labels: give another folder.")
        return cls(content)

    def _make_portable(self) -> dict[str, Any]:
        """Return the content with the name of the file instead of its path."""
        given = shlex.split(self.content["next"])[2]
        path = Path(given).expanduser()
        name = path.resolve().name if path.exists() else given
        proposals = [
            {**each, "command": _replace_data(each["command"], name)}
            for each in self.content["proposals"]
        ]
        changes = {"data": name, "next": proposals[0]["command"], "proposals": proposals}
        return {**self.content, **changes}

    def _repr_html_(self) -> str:
        rows = [
            (f"{name}-shot", f"{region['bins']:,}", f"{region['count']:,}", _format_share(region))
            for name, region in self.content["regions"].items()
        ]
        rows += [
            (f"{name} ({region['range']})", "", f"{region['count']:,}", _format_share(region))
            for name, region in self.content["named"].items()
        ]
        notes = format_data_report(self.content.get("data_report", {}))
        return render_box(
            render_text(self.conclusion, is_bold=True),
            draw_label_report(self.content).svg,
            render_table(("region", "bins", "samples", "share"), rows),
            *(render_text(f"{title}: {text}") for title, text in notes),
        )

    def __repr__(self) -> str:
        labels = self.content["labels"]
        return (
            f"LabelReport({self.content['data']}, target {self.target}: {labels['count']:,} labels "
            f"from {labels['min']:.6g} to {labels['max']:.6g})"
        )


def _format_share(region: Mapping[str, Any]) -> str:
    return format_percent(region["share"], "", 2)


@name_arguments
def inspect(data: Any, y: Any = None, *, target: str | None = None, **options: Any) -> LabelReport:
    """Report how labels are distributed: rare and missing ones, suitable bins and regions.

    Args:
        data: a pandas or polars DataFrame, a pyarrow Table, a Hugging Face Dataset, a dictionary of
            columns, the path of a table, or arrays ``(X, y)``.
        y: labels of the rows of ``data``, instead of a column ``target``.
        target: name of the column of the labels.
        **options: those of ``ranksim inspect``, under the same names: ``bin_width``, ``many``,
            ``few``, ``region``, ``drop_labels``, ``missing_target``, ``keep``, ``strict`` and the
            options of reading.

    Raises:
        DataError: the data could not be read, or the column has no two different numbers.
        UsageError: an argument is unknown or of a wrong type or kind.

    Example:
        >>> import numpy as np, ranksim
        >>> y = np.repeat([1.0, 2.0, 9.0], [50, 20, 1])
        >>> ranksim.inspect(np.arange(142.0).reshape(71, 2) % 7, y).to_frame()["samples"].max()
        np.int64(50)
    """
    data, target = join_target(data, y, target)
    values = read_arguments("inspect", INSPECT_OPTIONS, {"target": target, **options})
    return inspect_labels(data, values)


def inspect_labels(data: Any, values: Values) -> LabelReport:
    """Report the labels of data; ``values`` are the options of ``ranksim inspect``."""
    dropped = parse_ranges(",".join(values["drop_labels"])) if values["drop_labels"] else ()
    try:
        named = dict(map(parse_named_range, values["region"]))
    except ValueError as error:
        raise UsageError(f"--region: {error}.") from error
    reading = ReadOptions.from_options(values)
    table = read_table(data, reading)
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
    start = ["ranksim", "compare", name_data(data), *_list_options(content, values)]
    skips = start[-1:]  # --skip-missing comes last
    proposals = [
        {
            "command": shlex.join([*start, *(word for word in words if word not in skips)]),
            "reads": reads,
        }
        for words, reads in propose_inputs(table, kinds) or [([], "reads no column")]
    ]
    return LabelReport(content | {"next": proposals[0]["command"], "proposals": proposals})


def _replace_data(command: str, name: str) -> str:
    program, function, _, *words = shlex.split(command)
    return shlex.join([program, function, name, *words])


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
