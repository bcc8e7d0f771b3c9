"""HTML of tables and pictures, for notebooks and for single pages."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

_BOX = (
    "max-width:60em;padding:.6em 1em;background:#fff;color:#1c2733;"
    "font-family:system-ui,sans-serif;font-size:90%"
)
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
</head>
<body>
{body}
</body>
</html>
"""


def render_table(names: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return an HTML table; all columns but the first are aligned on the right."""
    aligns = ["left"] + ["right"] * (len(names) - 1)

    def row(tag: str, cells: Sequence[str]) -> str:
        parts = (
            f'<{tag} style="text-align:{align};padding:.1em .7em">{escape(cell)}</{tag}>'
            for align, cell in zip(aligns, cells, strict=True)
        )
        return f"<tr>{''.join(parts)}</tr>"

    body = "\n".join(row("td", cells) for cells in rows)
    return (
        '<table style="border-collapse:collapse;margin:.6em 0;color:inherit">\n'
        f"<thead>{row('th', names)}</thead>\n<tbody>{body}</tbody>\n</table>"
    )


def render_box(*parts: str) -> str:
    """Return parts of HTML in a light box, readable on light and dark pages."""
    return f'<div style="{_BOX}">\n' + "\n".join(parts) + "\n</div>"


def render_text(text: str, *, is_bold: bool = False) -> str:
    """Return text as a paragraph."""
    content = escape(text)
    return f"<p><b>{content}</b></p>" if is_bold else f"<p>{content}</p>"


def render_page(title: str, body: str) -> str:
    """Return a whole HTML page."""
    return _PAGE.format(title=escape(title), body=body)
