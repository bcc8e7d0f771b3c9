"""Docstrings of reStructuredText as Markdown, for the documentation site.

Roles such as ``:func:`name``` become links, ``:math:`` and ``.. math::`` formulas between the
delimiters of ``pymdownx.arithmatex``.
"""

import re
import textwrap
from typing import Any

import griffe

_BLOCK = re.compile(
    r"^(?P<indent> *)\.\. math::[ ]*(?P<first>[^\n]*)\n(?P<rest>(?:(?P=indent) +[^\n]*\n|[ ]*\n)*)",
    re.MULTILINE,
)
_INLINE = re.compile(r":math:`([^`]+)`")
_ROLE = re.compile(r":(?:func|class|meth|mod|attr|data):`~?([^`]+)`")
_LITERAL_BLOCK = re.compile(r"::$", re.MULTILINE)
_EXAMPLE = re.compile(r"^( *)Example:$", re.MULTILINE)


def convert_docstring(text: str, path: str = "") -> str:
    """Return a docstring as Markdown; names without a module belong to ``path``."""

    def convert_block(match: re.Match[str]) -> str:
        indent, lines = match["indent"], textwrap.dedent(match["rest"]).strip()
        formula = " ".join(f"{match['first']} {lines}".split())
        return f"{indent}\\[ {formula} \\]\n\n"

    def convert_role(match: re.Match[str]) -> str:
        name = match[1]
        target = name if name.startswith("ranksim") else f"{path}.{name}"
        short = name.removeprefix("ranksim.")
        # without a page of the name, the text alone is shown
        return f'<autoref optional identifier="{target}"><code>{short}</code></autoref>'

    text = _BLOCK.sub(convert_block, text + "\n")
    text = text.replace("\\bigl", "\\left").replace("\\bigr", "\\right")  # latex2mathml
    text = _INLINE.sub(r"\\(\1\\)", text)
    text = _EXAMPLE.sub(r"\1Examples:", text)  # a section whose content is code
    return _LITERAL_BLOCK.sub(":", _ROLE.sub(convert_role, text)).rstrip("\n")


class MarkdownDocstrings(griffe.Extension):
    """Converts each docstring when its object was read."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Convert the docstring of an object, in place."""
        if obj.docstring is not None:
            parent = obj if obj.is_class or obj.is_module else obj.parent or obj
            obj.docstring.value = convert_docstring(obj.docstring.value, parent.path)
