"""What ``ranksim inspect`` found, as a page in the terminal and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ranksim.evaluation.report.figures.axes import grid, plain_numbers
from ranksim.evaluation.report.figures.style import (
    COLOURS,
    INK,
    SOFT,
    WIDTH,
    Picture,
    picture,
    short,
)

_LINES = 24  # of the histogram
_BAR = 40  # characters
_GAP = 4  # times all bins that hold samples: a wider one parts far outliers from the rest
_EIGHTHS = " ▏▎▍▌▋▊▉"
_LOGARITHMIC = 100  # of the fullest bin to the rarest: from here on
_FAULTS = {"missing": "missing", "not_numbers": "no number", "infinite": "infinite"}


def print_inspection(found: dict[str, Any], console: Console) -> None:
    """Print at most some 40 lines.

    Args:
        found: :meth:`Inspection.as_dict`, with the command to go on as ``next``.
        console: where to.
    """
    labels, rows = found["labels"], found["rows"]
    console.print(
        Text.assemble(
            (found["data"], "bold"), ", column ", (found["target"], "bold"),
            f": {rows:,} rows, {labels['count']:,} labels, {labels['distinct']:,} distinct",
        ),
        soft_wrap=True,
    )  # fmt: skip
    quantiles = labels["quantiles"]
    console.print(
        f"From {_plain(labels['min'])} to {_plain(labels['max'])}, median "
        f"{_plain(quantiles['50'])}; nine of ten lie between {_plain(quantiles['5'])} and "
        f"{_plain(quantiles['95'])}.",
        soft_wrap=True,
    )
    for fault in _faults(found):
        console.print(fault, style="yellow", soft_wrap=True, markup=False)
    console.print()
    console.print(_histogram(found["bins"]))
    console.print()
    for line in (*_regions(found), *_rare(found)):
        console.print(line, soft_wrap=True)
    chosen = found["suggestion"]
    console.print(
        f"[bold]Bins of {_plain(chosen['width'])}[/], many-shot above {chosen['many']:,} samples, "
        f"few-shot below {chosen['few']:,}: {chosen['reason']}.",
        soft_wrap=True,
    )
    console.print(Text.assemble(("Next: ", "bold"), found["next"]), soft_wrap=True)


def inspection_figure(found: dict[str, Any]) -> Picture:
    """Samples in each bin in the colour of its region; what is never seen is hatched.

    Far outliers, beyond a gap that would fill most of the axis, are told in words.

    Args:
        found: :meth:`Inspection.as_dict`.
    """
    edges = np.asarray(found["bins"]["edges"])
    counts = np.asarray(found["bins"]["counts"])
    regions = np.asarray(found["bins"]["regions"])
    first, last = _visible(edges, counts)
    shown = np.arange(first, last)
    logarithmic = found["imbalance_ratio"] > _LOGARITHMIC
    named = list(found["named"].items())
    height = 3.2 + 0.18 * len(named)

    def paint(figure: Any) -> None:
        axis = figure.add_axes((0.08, 0.45 / height, 0.83, 2.15 / height))
        for name, colour in COLOURS.items():
            bars = shown[(regions[shown] == name) & (counts[shown] > 0)]
            axis.bar(
                edges[bars],
                counts[bars],
                width=edges[bars + 1] - edges[bars],
                align="edge",
                color=colour,
                edgecolor="#ffffff",
                linewidth=0.4 if len(shown) <= 80 else 0,
                label=_region_text(name, found["regions"][name]),
            )
        axis.set_xlim(edges[first], edges[last])
        axis.set_yscale("log" if logarithmic else "linear")
        axis.set_ylim(0.7 if logarithmic else 0, counts.max() * (1.5 if logarithmic else 1.06))
        _gaps(axis, found["gaps"])
        _levels(axis, found["suggestion"], int(counts.max()))
        _ends(axis, edges, counts, first, last)
        for row, (name, own) in enumerate(named):
            _bracket(axis, name, own, 1.05 + 0.18 * row / 2.15)
        axis.xaxis.set_major_formatter(plain_numbers)
        axis.yaxis.set_major_formatter(plain_numbers)
        axis.minorticks_off()
        grid(axis)
        axis.set_xlabel(short(found["target"]))
        width = _plain(found["suggestion"]["width"])
        title = f"{counts.sum():,} samples in bins of {width}"
        title += ", logarithmic axis" if logarithmic else ""
        figure.text(0.012, 1 - 0.08 / height, title, fontsize=10, weight="bold", va="top")
        figure.legend(
            loc="upper left", bbox_to_anchor=(0.0, 1 - 0.25 / height), ncols=4, handlelength=1.0,
            borderaxespad=0.3, handletextpad=0.5, columnspacing=1.6,
        )  # fmt: skip

    told = (
        f"Labels of column {found['target']}: samples in each bin, coloured by region; what is "
        "never seen is hatched."
    )
    return picture("inspect", told, (WIDTH, height), paint)


def _faults(found: dict[str, Any]) -> Iterator[str]:
    for key, title in _FAULTS.items():
        fault = found[key]
        count, lines = fault["count"], fault["lines"]
        if count:
            place = f"{found['line_unit']}{'s' * (count > 1)} {', '.join(map(str, lines))}"
            more = f" and {count - len(lines):,} more" if count > len(lines) else ""
            values = f" ({', '.join(fault['values'])})" if key != "missing" else ""
            yield f"{count:,} {title}: {place}{more}{values}"
    if found["duplicates"]:
        yield f"{found['duplicates']:,} duplicates: rows that equal an earlier one"
    dropped = found["dropped"]
    if dropped["ranges"]:
        yield f"{dropped['count']:,} dropped: labels in {', '.join(dropped['ranges'])}"


def _histogram(bins: dict[str, Any]) -> Table:
    """Neighbouring bins share a line, as many as needed; colours are those of their regions."""
    edges, counts = bins["edges"], np.asarray(bins["counts"])
    regions = np.asarray(bins["regions"])
    together = -(-len(counts) // _LINES)
    starts = range(0, len(counts), together)
    most = max(int(counts[k : k + together].sum()) for k in starts)
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    for side in ("right", "right", "left"):
        table.add_column(justify=side, no_wrap=True)
    for k in starts:
        end = min(k + together, len(counts))
        shares = [counts[k:end][regions[k:end] == name].sum() / most for name in COLOURS]
        table.add_row(
            f"{_plain(edges[k])} … {_plain(edges[end])}",
            f"{counts[k:end].sum():,}",
            _bar(shares) if any(shares) else Text("never seen", style="dim"),
        )
    return table


def _bar(shares: Sequence[float]) -> Text:
    """Shares of the longest bar, each in the colour of its region."""
    eighths = max(1, round(sum(shares) * _BAR * 8))
    blocks = "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
    bar, ends = Text(blocks), np.cumsum(shares) * _BAR
    for start, end, colour in zip((0, *ends), ends, COLOURS.values(), strict=False):
        bar.stylize(colour, round(start), max(round(end), len(blocks) * (end == ends[-1])))
    return bar


def _regions(found: dict[str, Any]) -> Iterator[Text]:
    for name, colour in COLOURS.items():
        region = found["regions"][name]
        bins = f" in {region['bins']:,} bin{'s' * (region['bins'] != 1)}"
        yield Text.assemble(("■ ", colour), _region_text(name, region), bins)
    for name, own in found["named"].items():
        yield Text(f"□ {name} ({own['range']}): {_samples(own)}")


def _region_text(name: str, region: dict[str, Any]) -> str:
    return f"{name}-shot: {_samples(region)}"


def _samples(region: dict[str, Any]) -> str:
    count, per_cent = region["count"], 100 * region["share"]
    return f"{count:,} sample{'s' * (count != 1)}, {per_cent:.{2 if per_cent < 10 else 3}g} %"


def _rare(found: dict[str, Any]) -> Iterator[Text]:
    yield Text.assemble(
        ("Imbalance: ", "bold"),
        f"the fullest bin holds {_plain(found['imbalance_ratio'])} times the samples of the rarest and "
        f"{found['max_to_median']:.3g} times those of the median one.",
    )
    bins = (
        f"{_plain(b['low'])} … {_plain(b['high'])} ({b['count']:,})" for b in found["rarest_bins"]
    )
    yield Text.assemble(("Rarest bins: ", "bold"), "; ".join(bins))
    if found["rarest_labels"]:
        labels = (f"{_plain(each['label'])} ({each['count']:,})" for each in found["rarest_labels"])
        yield Text.assemble(("Rarest labels: ", "bold"), "; ".join(labels))
    gaps = found["gaps"]
    if gaps:
        more = f"; and {len(gaps) - 5:,} narrower ones" if len(gaps) > 5 else ""
        yield Text.assemble(("Never seen: ", "bold"), "; ".join(map(_gap_text, gaps[:5])) + more)


def _gap_text(gap: dict[str, Any]) -> str:
    if gap["below"] is None:
        return f"below {_plain(gap['above'])}"
    if gap["above"] is None:
        return f"above {_plain(gap['below'])}"
    return f"between {_plain(gap['below'])} and {_plain(gap['above'])}"


def _plain(value: float) -> str:
    """A label: whole ones and large ones with commas, else at most six digits."""
    whole = float(value).is_integer() or abs(value) >= 1e5
    return f"{value:{',.0f' if whole and abs(value) < 1e12 else '.6g'}}".replace("-", "−")


def _visible(edges: NDArray[Any], counts: NDArray[Any]) -> tuple[int, int]:
    """First and last edge to show: what lies beyond a gap that would fill the axis is cut off."""
    first, last = 0, len(counts)
    while True:
        seen = np.flatnonzero(counts[first:last]) + first
        # empty stretches, those at the ends too
        starts, ends = np.append(first, seen + 1), np.append(seen, last)
        widths = edges[ends] - edges[starts]
        k = int(np.argmax(widths))
        if widths[k] <= _GAP * (edges[seen + 1] - edges[seen]).sum():
            return first, last
        if counts[first : starts[k]].sum() > counts[ends[k] : last].sum():
            last = int(starts[k])
        else:
            first = int(ends[k])


def _gaps(axis: Any, gaps: Sequence[dict[str, Any]]) -> None:
    for k, gap in enumerate(gaps):
        axis.bar(
            gap["low"], 1, gap["high"] - gap["low"], align="edge", facecolor="none", hatch="////",
            linewidth=0, zorder=0, transform=axis.get_xaxis_transform(),
            label="never seen" if k == 0 else None,
        )  # fmt: skip


def _levels(axis: Any, chosen: dict[str, Any], most: int) -> None:
    """The thresholds, named at the right."""
    for name, sign in (("many", ">"), ("few", "<")):
        if chosen[name] < most:
            axis.axhline(chosen[name], color=SOFT, linewidth=0.7, linestyle=(0, (2, 2)))
            axis.annotate(
                f"{name} {sign} {chosen[name]:,}",
                (1.0, chosen[name]), (4, 0), xycoords=("axes fraction", "data"),
                textcoords="offset points", va="center", fontsize=7, color=COLOURS[name],
                annotation_clip=False,
            )  # fmt: skip


def _bracket(axis: Any, name: str, own: dict[str, Any], y: float) -> None:
    """A region of the user's own: a line above the axis, with its name."""
    low, high = axis.get_xlim()
    start = max(low, low if own["low"] is None else own["low"])
    end = min(high, high if own["high"] is None else own["high"])
    if start <= end:
        place, left = axis.get_xaxis_transform(), start + end < low + high
        axis.plot([start, end], [y, y], color=INK, linewidth=1.6, transform=place, clip_on=False)
        axis.text(
            end if left else start, y, f"  {short(name)} {own['range']}  ", transform=place,
            ha="left" if left else "right", va="center", fontsize=7,
        )  # fmt: skip


def _ends(axis: Any, edges: NDArray[Any], counts: NDArray[Any], first: int, last: int) -> None:
    """What lies far beyond the ends of the axis."""
    for place, side, part in ((0.01, "left", slice(0, first)), (0.99, "right", slice(last, None))):
        seen = np.flatnonzero(counts[part]) + (0 if side == "left" else last)
        if len(seen):
            count = int(counts[seen].sum())
            text = f"{count:,} far outlier{'s' * (count > 1)}\nnear {_plain(edges[seen[-1]])}"
            axis.text(
                place, 0.97, f"← {text}" if side == "left" else f"{text} →",
                transform=axis.transAxes, ha=side, va="top", fontsize=7, color=INK,
                bbox={"facecolor": "#ffffff", "linewidth": 0, "pad": 1.5},
            )  # fmt: skip
