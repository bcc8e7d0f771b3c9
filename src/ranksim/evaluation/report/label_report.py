"""Print and draw the report of a label distribution (``ranksim inspect``)."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ranksim._utils.formatting import format_count
from ranksim.data.data_report import WARNING, format_data_report
from ranksim.evaluation.report import plotting as plot

Content = Mapping[str, Any]  # of make_label_report
_MAX_LINES = 24  # of the histogram
_BAR_WIDTH = 40  # characters
_OUTLIER_GAP = 4  # times the total width of filled bins: a wider gap cuts off outliers
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LOG_RATIO = 100  # of the fullest bin to the rarest one, for a logarithmic axis
_FAULTS = {
    "missing": "missing",
    "absent": "left out by --missing-target",
    "not_numbers": "not a number",
    "infinite": "infinite",
}


def print_label_report(report: Content, console: Console) -> None:
    """Print a label report and the command that it suggests, in about 40 lines."""
    labels, bins = report["labels"], report["suggestion"]
    five, median, ninety_five = (_format_label(labels["quantiles"][q]) for q in ("5", "50", "95"))
    title = Text.assemble((report["data"], "bold"), ", column ", (report["target"], "bold"))
    title.append(
        f": {report['rows']:,} rows, {labels['count']:,} labels, {labels['distinct']:,} distinct"
    )
    span = f"From {_format_label(labels['min'])} to {_format_label(labels['max'])}"
    span += f", median {median}; 90\u202f% lie between {five} and {ninety_five}."
    suggestion = (
        f"[bold]Bins of {_format_label(bins['width'])}[/], many-shot above {bins['many']:,} "
        f"samples, few-shot below {bins['few']:,}: {bins['reason']}."
    )
    first, *others = report["proposals"]
    commands = [Text.assemble(("Next: ", "bold"), first["command"]), Text(f"  {first['reads']}")]
    for other in others:
        commands += [Text.assemble(("or ", "bold"), other["command"]), Text(f"  {other['reads']}")]
    faults = (Text(fault, style="yellow") for fault in _list_faults(report))
    for line in (title, span, *faults):
        console.print(line, soft_wrap=True)
    for topic, text in format_data_report(report.get("data_report", {})):
        style = "yellow" if topic == WARNING else ""
        console.print(Text(f"{topic}: {text}", style=style), soft_wrap=True)
    console.print("", _histogram(report["bins"], bins["width"]), "", sep="\n")
    facts = (Text.assemble((f"{name}: ", "bold"), text) for name, text in _list_rare(report))
    for line in (*_list_regions(report), *facts, suggestion, *commands):
        console.print(line, soft_wrap=True)


def draw_label_report(report: Content) -> plot.Picture:
    """Draw a histogram of labels in the colors of their regions, and hatch empty ranges.

    Outliers beyond a gap that would fill most of the axis are described in words.
    """
    height = 3.2 + 0.18 * len(report["named"])

    def paint(figure: Any) -> None:
        axis = figure.add_axes((0.08, 0.45 / height, 0.83, 2.15 / height))
        paint_label_report(axis, report)
        figure.text(
            0.012, 1 - 0.08 / height, title_histogram(report), fontsize=10, weight="bold", va="top"
        )
        figure.legend(
            loc="upper left", bbox_to_anchor=(0.0, 1 - 0.25 / height), ncols=4, handlelength=1.0,
            borderaxespad=0.3, handletextpad=0.5, columnspacing=1.6,
        )  # fmt: skip

    description = (
        f"Labels of column {report['target']}: samples per bin, colored by region; ranges without "
        "samples are hatched."
    )
    return plot.render_picture("inspect", description, (plot.WIDTH, height), paint)


def title_histogram(report: Content) -> str:
    """Return the title of the histogram: number of samples, and width of the bins."""
    width = _format_label(report["suggestion"]["width"])
    suffix = ", logarithmic axis" * _is_log(report)
    return f"{sum(report['bins']['counts']):,} samples in bins of {width}{suffix}"


def _is_log(report: Content) -> bool:
    return bool(report["imbalance_ratio"] > _LOG_RATIO)


def paint_label_report(axis: Any, report: Content) -> None:
    """Draw the histogram of :func:`draw_label_report` on an axis."""
    edges, counts, regions = (np.asarray(report["bins"][k]) for k in ("edges", "counts", "regions"))
    first, last = _visible_range(edges, counts)
    visible = np.arange(first, last)
    is_log = _is_log(report)
    for name, color in plot.REGION_COLORS.items():
        bars = visible[(regions[visible] == name) & (counts[visible] > 0)]
        axis.bar(
            edges[bars], counts[bars], width=edges[bars + 1] - edges[bars], align="edge",
            color=color, edgecolor="#ffffff", linewidth=0.4 if len(visible) <= 80 else 0,
            label=_describe_region(f"{name}-shot", report["regions"][name]),
        )  # fmt: skip
    axis.set_xlim(edges[first], edges[last])
    axis.set_yscale("log" if is_log else "linear")
    axis.set_ylim(0.7 if is_log else 0, counts.max() * (1.5 if is_log else 1.06))
    for k, gap in enumerate(report["gaps"]):
        plot.draw_hatching(axis, gap["low"], gap["high"], "no samples" if k == 0 else None)
    _draw_thresholds(axis, report["suggestion"], int(counts.max()))
    _describe_outliers(axis, edges, counts, first, last)
    height = axis.figure.get_figheight() * axis.get_position().height
    for row, (name, region) in enumerate(report["named"].items()):
        text = f"{plot.shorten(name)} {region['range']}"
        plot.draw_bracket(axis, region["low"], region["high"], 1.05 + 0.18 * row / height, text)
    plot.finish_axes(axis)
    axis.minorticks_off()
    axis.set_xlabel(plot.shorten(report["target"]))


def _list_faults(report: Content) -> Iterator[str]:
    for key, title in _FAULTS.items():
        fault = report[key]
        count, lines = fault["count"], fault["lines"]
        if count:
            place = f"{report['line_unit']}{'s' * (count > 1)} {', '.join(map(str, lines))}"
            more = f" and {count - len(lines):,} more" if count > len(lines) else ""
            values = f" ({', '.join(fault['values'])})" if key != "missing" else ""
            yield f"{count:,} {title}: {place}{more}{values}"
    if report["duplicates"]:
        yield f"{report['duplicates']:,} duplicates: rows that equal an earlier one"
    dropped = report["dropped"]
    if dropped["ranges"]:
        yield f"{dropped['count']:,} dropped: labels in {', '.join(dropped['ranges'])}"


def _histogram(bins: Content, width: float) -> Table:
    """Return a text histogram; if there are many bins, neighbors share a line.

    Edges are rounded to a hundredth of the width of the bins.
    """
    decimals = 2 - math.floor(math.log10(width))
    edges, counts, regions = bins["edges"], np.asarray(bins["counts"]), np.asarray(bins["regions"])
    bins_per_line = -(-len(counts) // _MAX_LINES)
    starts = range(0, len(counts), bins_per_line)
    longest = max(int(counts[k : k + bins_per_line].sum()) for k in starts)
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    for side in ("right", "right", "left"):
        table.add_column(justify=side, no_wrap=True)
    for start in starts:
        end = min(start + bins_per_line, len(counts))
        n, names = counts[start:end], regions[start:end]
        shares = [n[names == name].sum() / longest for name in plot.REGION_COLORS]
        table.add_row(
            " … ".join(_format_label(round(edges[k], decimals)) for k in (start, end)),
            f"{n.sum():,}",
            _bar(shares) if any(shares) else Text("no samples", style="dim"),
        )
    return table


def _bar(shares: Sequence[float]) -> Text:
    """Return a text bar with a colored segment per region; shares are of the longest bar."""
    eighths = max(1, round(sum(shares) * _BAR_WIDTH * 8))
    blocks = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
    bar, ends = Text(blocks), np.cumsum(shares) * _BAR_WIDTH
    for start, end, color in zip((0, *ends), ends, plot.REGION_COLORS.values(), strict=False):
        bar.stylize(color, round(start), max(round(end), len(blocks) * (end == ends[-1])))
    return bar


def _list_regions(report: Content) -> Iterator[Text]:
    for name, color in plot.REGION_COLORS.items():
        region = report["regions"][name]
        bins = f" in {format_count(region['bins'], 'bin')}"
        yield Text.assemble(("■ ", color), _describe_region(f"{name}-shot", region), bins)
    for name, region in report["named"].items():
        yield Text("□ " + _describe_region(f"{name} ({region['range']})", region))


def _describe_region(name: str, region: Content) -> str:
    percent = 100 * region["share"]
    share = f"{percent:.{2 if percent < 10 else 3}g}\u202f%"
    return f"{name}: {format_count(region['count'], 'sample')}, {share}"


def _list_rare(report: Content) -> Iterator[tuple[str, str]]:
    yield (
        "Imbalance",
        f"the fullest bin has {_format_label(report['imbalance_ratio'])} times as many samples as "
        f"the rarest and {report['max_to_median']:.3g} times as many as the median bin.",
    )
    bins = (
        f"{_format_label(rare['low'])} … {_format_label(rare['high'])} ({rare['count']:,})"
        for rare in report["rarest_bins"]
    )
    yield "Rarest bins", "; ".join(bins)
    if rarest := report["rarest_labels"]:
        labels = (f"{_format_label(rare['label'])} ({rare['count']:,})" for rare in rarest)
        yield "Rarest labels", "; ".join(labels)
    if gaps := report["gaps"]:
        more = f"; and {len(gaps) - 5:,} narrower ones" if len(gaps) > 5 else ""
        yield "No samples", "; ".join(map(_describe_gap, gaps[:5])) + more


def _describe_gap(gap: Content) -> str:
    if gap["below"] is None:
        return f"below {_format_label(gap['above'])}"
    if gap["above"] is None:
        return f"above {_format_label(gap['below'])}"
    return f"between {_format_label(gap['below'])} and {_format_label(gap['above'])}"


def _format_label(value: float) -> str:
    """Format a label: with commas if whole or large, else with at most six digits."""
    is_whole = float(value).is_integer() or abs(value) >= 1e5
    return f"{value:{',.0f' if is_whole and abs(value) < 1e12 else '.6g'}}".replace("-", "−")


def _visible_range(edges: plot.Floats, counts: NDArray[np.int64]) -> tuple[int, int]:
    """Return the first and last edge to draw, leaving out outliers beyond a very wide gap."""
    first, last = 0, len(counts)
    while True:
        filled = np.flatnonzero(counts[first:last]) + first
        starts, ends = np.append(first, filled + 1), np.append(filled, last)  # of empty ranges
        widths = edges[ends] - edges[starts]
        k = int(np.argmax(widths))
        if widths[k] <= _OUTLIER_GAP * (edges[filled + 1] - edges[filled]).sum():
            return first, last
        if counts[first : starts[k]].sum() > counts[ends[k] : last].sum():
            last = int(starts[k])
        else:
            first = int(ends[k])


def _draw_thresholds(axis: Any, bins: Content, most: int) -> None:
    for name, sign in (("many", ">"), ("few", "<")):
        if bins[name] < most:
            axis.axhline(bins[name], color=plot.GRAY, linewidth=0.7, linestyle=(0, (2, 2)))
            axis.annotate(
                f"{name} {sign} {bins[name]:,}", (1.0, bins[name]), (4, 0), fontsize=7,
                xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
                color=plot.REGION_COLORS[name], annotation_clip=False,
            )  # fmt: skip


def _describe_outliers(
    axis: Any, edges: plot.Floats, counts: NDArray[np.int64], first: int, last: int
) -> None:
    """Annotate each end of the axis with the number of outliers that are not drawn."""
    for x, side, start, end in ((0.01, "left", 0, first), (0.99, "right", last, len(counts))):
        filled = np.flatnonzero(counts[start:end]) + start
        if len(filled):
            outliers = format_count(int(counts[filled].sum()), "far outlier")
            text = f"{outliers}\nnear {_format_label(edges[filled[-1]])}"
            axis.text(
                x, 0.97, f"← {text}" if side == "left" else f"{text} →",
                transform=axis.transAxes, ha=side, va="top", fontsize=7, color=plot.INK,
                bbox=plot.WHITE_BOX,
            )  # fmt: skip
