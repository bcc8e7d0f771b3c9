"""How every picture of the page looks, and how it becomes SVG and PNG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ranksim.exceptions import require_optional

COLOURS = {"many": "#4c78a8", "medium": "#f2a541", "few": "#d1495b"}
# the page turns these four over where the reader's screen is dark
INK, SOFT, LINE, PAPER = "#1c2733", "#66717e", "#e3e6ea", "#ffffff"
BASELINE, RANKSIM, RANKSIM_PALE, REST = "#3d4650", "#1b998b", "#9fd4cd", "#ccd1d7"
OTHERS = ("#5b5bd6", "#c2571a", "#b0368c", "#6b8e23", "#2b7bba", "#8d6e4b")
BETTER, WORSE = RANKSIM, COLOURS["few"]
WIDTH = 7.6  # inches of a picture as wide as the page
_FONTS = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_NO_XML = "[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]"
_LOOK = {
    "axes.axisbelow": True,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": SOFT,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 8,
    "axes.titlelocation": "left",
    "axes.unicode_minus": True,
    "font.size": 7.5,
    "hatch.color": "#b9c0c8",
    "hatch.linewidth": 0.6,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # names are names, whatever they hold
    "xtick.color": SOFT,
    "xtick.major.width": 0.6,
    "ytick.color": SOFT,
    "ytick.major.width": 0.6,
}


@dataclass(frozen=True)
class Picture:
    """A picture in both forms.

    Args:
        name: of its files, without the ending.
        told: what it shows, for whoever cannot see it.
        svg: a document of its own that can also stand inside a page: no style, no fixed size, its
            identifiers begin with its name.
        png: the same as pixels.
    """

    name: str
    told: str
    svg: str
    png: bytes


def picture(
    name: str, told: str, size: tuple[float, float], paint: Callable[[Any], None]
) -> Picture:
    """Draw a picture; the same numbers give the same bytes.

    Args:
        name: see :class:`Picture`.
        told: see :class:`Picture`.
        size: width and height in inches.
        paint: draws on the matplotlib figure that it is given.
    """
    matplotlib, figures = (
        require_optional("matplotlib", "plot"),
        require_optional("matplotlib.figure", "plot"),
    )
    svg, png = io.StringIO(), io.BytesIO()
    with matplotlib.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a script that the font lacks
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_LOOK | {"svg.hashsalt": name})
        figure = figures.Figure(figsize=size)
        paint(figure)
        about = {"Date": None, "Creator": "ranksim"}
        figure.savefig(svg, format="svg", dpi=200, metadata=about)
        figure.savefig(png, format="png", dpi=160, metadata={"Software": None})
    return Picture(name, told, _plain(svg.getvalue(), name, told), png.getvalue())


def short(text: str, most: int = 36) -> str:
    """A name that fits into a picture, on one line.

    Example:
        >>> short("a name"), short("similarity of sentences", 12)
        ('a name', 'similarity …')
    """
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean if len(clean) <= most else clean[: most - 1] + "…"


def spread(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near to ``values`` as lets neighbours be ``gap`` apart, between low and high.

    Neighbours that are too close share their mean place: isotonic regression of value − order·gap.

    Example:
        >>> [round(place, 2) for place in spread([1.0, 1.5, 5.0], 1.0, 0.0, 4.5)]
        [0.75, 1.75, 4.5]
    """
    order = sorted(range(len(values)), key=values.__getitem__)
    blocks: list[list[float]] = []
    for k, i in enumerate(order):
        blocks.append([values[i] - k * gap])
        while len(blocks) > 1 and _mean(blocks[-2]) > _mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    most = high - gap * (len(order) - 1)
    shared = [max(min(_mean(block), most), low) for block in blocks for _ in block]
    places = [0.0] * len(order)
    for k, i in enumerate(order):
        places[i] = shared[k] + k * gap
    return places


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _plain(svg: str, name: str, told: str) -> str:
    """Without comments, metadata, style and long decimals: a strict page lets it in as it is."""
    svg = re.sub(_NO_XML, " ", svg[svg.index("<svg") :])
    svg = re.sub(r"<!--.*?-->|<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.S)
    svg = re.sub(r"<[^>]+>", lambda tag: _plain_tag(tag[0], name), svg)
    head, body = svg.split(">", 1)
    head = re.sub(r' (width|height|version)="[^"]*"', "", head)
    body = re.sub(r"\s*\n\s*", "\n", body)
    escaped = told.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return (
        f'{head} role="img" font-family="{_FONTS}" stroke-linejoin="round">'
        f"<title>{escaped}</title>{body}"
    )


def _plain_tag(tag: str, name: str) -> str:
    tag = re.sub(r' transform="rotate\(-0 [^"]*"', "", tag)
    tag = re.sub(r' style="([^"]*)"', _attributes, tag)
    tag = re.sub(r' id="', f' id="{name}-', tag)
    tag = re.sub(r"(url\(|href=\")#", rf"\1#{name}-", tag)
    return re.sub(r"-?\d+\.\d{3,}", lambda n: f"{float(n[0]):.2f}".rstrip("0").rstrip("."), tag)


def _attributes(style: re.Match[str]) -> str:
    told = {}
    for part in style[1].split(";"):
        key, _, value = (half.strip() for half in part.partition(":"))
        if key == "font":
            size = re.search(r"([\d.]+)px", value)
            told["font-size"] = size[1] if size else "8"
            told |= {"font-weight": "700"} if "700" in value or "bold" in value else {}
        elif key == "image-rendering":
            told[key] = "pixelated"
        elif key:
            told[key] = value
    return "".join(f' {key}="{value}"' for key, value in told.items())
