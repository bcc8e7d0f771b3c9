"""Style, axes and SVG output shared by all figures. Needs the extra ``plot`` (matplotlib)."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from ranksim._utils.formatting import format_compact
from ranksim.exceptions import require_optional

Floats = NDArray[np.float64]
REGION_COLORS = {"many": "#4c78a8", "medium": "#f2a541", "few": "#d1495b"}
# style.css replaces these colors on dark screens
INK, GRAY, LINE, PAPER = "#1c2733", "#66717e", "#e3e6ea", "#ffffff"
BASELINE, RANKSIM, RANKSIM_PALE, BACKGROUND = "#3d4650", "#1b998b", "#9fd4cd", "#ccd1d7"
METHOD_COLORS = ("#5b5bd6", "#c2571a", "#b0368c", "#6b8e23", "#2b7bba", "#8d6e4b")
BETTER, WORSE = RANKSIM, REGION_COLORS["few"]
WIDTH = 7.6  # inches of a figure as wide as the page
WHITE_BOX = {"facecolor": PAPER, "linewidth": 0, "pad": 1.5}
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_SVG, _XLINK = "{http://www.w3.org/2000/svg}", "{http://www.w3.org/1999/xlink}"
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_STYLE = {
    **dict.fromkeys(("axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), GRAY),
    **dict.fromkeys(("axes.linewidth", "hatch.linewidth"), 0.6),
    **dict.fromkeys(("xtick.major.width", "ytick.major.width"), 0.6),
    **dict.fromkeys(("axes.spines.right", "axes.spines.top", "legend.frameon"), False),
    "axes.axisbelow": True,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "font.size": 7.5,
    "hatch.color": "#b9c0c8",
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # user text may hold $
}


@dataclass(frozen=True)
class Picture:
    """A figure as SVG, which can be embedded under a strict content policy, and as PNG."""

    name: str  # of its files
    description: str  # alternative text
    svg: str
    png: bytes


@dataclass(frozen=True)
class Curve:
    """A method's line, with NaN where it has no value; an empty name makes it a background line."""

    name: str
    color: str
    x: Floats
    y: Floats
    width: float = 1.6


def render_picture(
    name: str, description: str, size: tuple[float, float], paint: Callable[[Any], None]
) -> Picture:
    """Call ``paint`` on a figure of a size in inches, and save it as reproducible SVG and PNG."""
    style = require_optional("matplotlib.style", "plot")
    figures = require_optional("matplotlib.figure", "plot")
    svg = io.StringIO()
    settings = ["default", _STYLE | {"svg.hashsalt": name}]
    with style.context(settings), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a script that the font lacks
        figure = figures.Figure(figsize=size)
        paint(figure)
        no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        figure.savefig(svg, format="svg", dpi=200, metadata=no_metadata)
        png = _render_png(figure)
    return Picture(name, description, _clean_svg(svg.getvalue(), description), png)


@contextmanager
def open_axis(
    axis: Any = None,
    size: tuple[float, float] = (WIDTH, 3.5),
    place: tuple[float, float, float, float] = (0.09, 0.15, 0.7, 0.72),
) -> Iterator[Any]:
    """Yield an axis in the style of all figures.

    By default it is the only one of a new figure of pyplot, of a size in inches and at a place in
    fractions of it: left, bottom, width and height, with room for names at the right.
    """
    style = require_optional("matplotlib.style", "plot")
    pyplot = require_optional("matplotlib.pyplot", "plot")
    with style.context(["default", _STYLE]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a script that the font lacks
        if axis is None:
            _, axis = pyplot.subplots(figsize=size)
            axis.set_position(place)
        yield axis


def _render_png(figure: Any) -> bytes:
    png = io.BytesIO()
    figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    return png.getvalue()


def shorten(text: str, length: int = 36) -> str:
    """Shorten text to at most ``length`` characters, and replace unprintable ones by spaces."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean if len(clean) <= length else clean[: length - 1] + "…"


def spread_apart(values: Sequence[float], gap: float, low: float, high: float) -> Floats:
    """Move values by as little as possible to be ``gap`` apart and within [low, high].

    This is isotonic regression of ``value - rank * gap``.
    """
    isotonic_regression = require_optional("scipy.optimize", "train").isotonic_regression
    order, shifts = np.argsort(values, kind="stable"), np.arange(len(values)) * gap
    pooled = isotonic_regression(np.asarray(values)[order] - shifts).x
    places = np.empty(len(order))
    places[order] = np.maximum(np.minimum(pooled, high - shifts[-1]), low) + shifts
    return places


def draw_curves(axis: Any, curves: Sequence[Curve]) -> None:
    """Draw curves on an axis, the first one on top; background lines are thin."""
    for order, curve in enumerate(reversed(curves)):
        axis.plot(
            curve.x, curve.y, color=curve.color, linewidth=curve.width if curve.name else 0.7,
            marker="o" if curve.name else None, markersize=2.6, solid_capstyle="round",
            zorder=3 + order / 100,
        )  # fmt: skip


def label_curves(axis: Any, curves: Sequence[Curve], size: float = 7.0) -> None:
    """Write each curve's name at its right end, without overlap; set the axis limits before."""
    ends = []
    for curve in curves:
        finite = np.flatnonzero(np.isfinite(curve.y))
        if curve.name and len(finite):
            ends.append((curve, float(curve.x[finite[-1]]), float(curve.y[finite[-1]])))
    if not ends:
        return
    low, high = axis.get_ylim()
    height = axis.figure.get_figheight() * axis.get_position().height * 72
    gap = (high - low) * size * 1.25 / height
    places = spread_apart([y for _, _, y in ends], gap, low, high)
    for (curve, x, y), place in zip(ends, places, strict=True):
        axis.annotate(
            shorten(curve.name, 30), (x, min(max(y, low), high)), (1.025, place),
            textcoords=("axes fraction", "data"), color=curve.color, fontsize=size, va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-", "color": curve.color, "linewidth": 0.4, "relpos": (0, 0.5),
                "shrinkB": 3,
            },
        )  # fmt: skip


def draw_counts(
    axis: Any, edges: Floats, counts: NDArray[np.int64], regions: Sequence[str] = ()
) -> None:
    """Draw a pale histogram behind the curves, which takes up a third of the axis height."""
    background = axis.twinx()
    draw_bars(background, edges, counts, regions, alpha=0.28, linewidth=0)
    background.set_ylim(0, 3 * max(int(counts.max(initial=0)), 1))
    background.set_yticks([])
    background.spines[:].set_visible(False)
    axis.set_zorder(background.get_zorder() + 1)
    axis.patch.set_visible(False)


def draw_bars(
    axis: Any,
    edges: Floats,
    counts: NDArray[np.int64],
    regions: Sequence[str] = (),
    **style: Any,
) -> None:
    """Draw a histogram whose bars have the colors of their regions, or gray without regions."""
    filled = np.flatnonzero(counts)
    names = regions or [""] * len(counts)
    axis.bar(
        edges[filled], counts[filled], width=np.diff(edges)[filled], align="edge",
        color=[REGION_COLORS.get(names[int(k)], BACKGROUND) for k in filled], **style,
    )  # fmt: skip


def draw_hatching(axis: Any, low: float, high: float, label: str | None = None) -> None:
    """Hatch a range of the x axis, such as labels without samples."""
    axis.axvspan(low, high, facecolor="none", hatch="////", linewidth=0, zorder=0, label=label)


def draw_bracket(axis: Any, low: float | None, high: float | None, y: float, text: str) -> None:
    """Mark a range by a line with a name above the axis; ``y`` is in fractions of its height."""
    first, last = axis.get_xlim()
    start = first if low is None else max(first, low)
    end = last if high is None else min(last, high)
    if start > end:
        return
    transform, is_left = axis.get_xaxis_transform(), start + end < first + last
    axis.plot([start, end], [y, y], color=INK, linewidth=1.6, transform=transform, clip_on=False)
    axis.annotate(
        text, (end if is_left else start, y), (4 if is_left else -4, 0), xycoords=transform,
        textcoords="offset points", ha="left" if is_left else "right", va="center", fontsize=7,
        annotation_clip=False,
    )  # fmt: skip


def limit_height(axis: Any, values: Floats) -> None:
    """Set the limits of the y axis to zero and the largest value without extreme outliers."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return
    usual, top = float(np.quantile(finite, 0.98)), float(finite.max())
    axis.set_ylim(0, (top if top < 1.6 * usual or usual <= 0 else 1.25 * usual) * 1.06 or 1)


def finish_axes(axis: Any, direction: str = "y") -> None:
    """Format the tick labels of both axes, and draw faint grid lines in one direction."""
    axis.xaxis.set_major_formatter(format_tick)
    if direction == "y":
        axis.yaxis.set_major_formatter(format_tick)
        axis.spines["left"].set_visible(False)
        axis.tick_params(axis="y", length=0)
    axis.grid(axis=direction, color=LINE, linewidth=0.6)


def format_tick(value: float, _: int | None = None) -> str:
    """Format a tick label; matplotlib passes the value and the position of the tick."""
    return format_compact(value)


def draw_colorbar(
    figure: Any, mappable: Any, caption: str, box: tuple[float, float, float], **options: Any
) -> Any:
    """Draw a color bar and its caption; ``box`` is left, bottom and width in inches."""
    width, height = figure.get_size_inches()
    left, bottom, length = box
    bar = figure.add_axes((left / width, bottom / height, length / width, 0.09 / height))
    figure.colorbar(mappable, cax=bar, orientation="horizontal", **options)
    bar.tick_params(length=0, pad=2, labelsize=6.5)
    bar.spines[:].set_visible(False)
    place = ((left + length + 0.25) / width, bottom / height)
    figure.text(*place, caption, color=GRAY, fontsize=7)
    return bar


def _clean_svg(svg: str, description: str) -> str:
    """Clean an SVG: replace inline styles by attributes, drop group ids, round coordinates."""
    ElementTree.register_namespace("", _SVG[1:-1])
    ElementTree.register_namespace("xlink", _XLINK[1:-1])
    text = _NOT_XML.sub(" ", svg[svg.index("<svg") :])
    root = ElementTree.fromstring(text)  # noqa: S314 (written by matplotlib above)
    for parent in root.iter():
        for style in parent.findall(f"{_SVG}style"):
            parent.remove(style)
        attributes = parent.attrib
        if parent.tag == f"{_SVG}g":
            attributes.pop("id", None)  # other identifiers are hashes of the picture's name
        for pair in attributes.pop("style", "").split(";"):
            key, _, value = (half.strip() for half in pair.partition(":"))
            if key == "font":
                size = re.search(r"([\d.]+)px", value)
                attributes["font-size"] = size[1] if size else "8"
                if "700" in value or "bold" in value:
                    attributes["font-weight"] = "700"
            elif key:
                attributes[key] = "pixelated" if key == "image-rendering" else value
        for key, value in attributes.items():
            if key not in ("id", f"{_XLINK}href"):
                attributes[key] = re.sub(r"-?\d+\.\d{3,}", _round_coordinate, value)
        if attributes.get("transform", "").startswith("rotate(-0 "):
            del attributes["transform"]
    for key in ("width", "height", "version"):
        del root.attrib[key]
    root.attrib |= {"role": "img", "font-family": _FONTS, "stroke-linejoin": "round"}
    title = ElementTree.Element(f"{_SVG}title")
    title.text = _NOT_XML.sub(" ", description)
    root.insert(0, title)
    return re.sub(r"\s*\n\s*", "\n", ElementTree.tostring(root, encoding="unicode"))


def _round_coordinate(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}".rstrip("0").rstrip(".")
