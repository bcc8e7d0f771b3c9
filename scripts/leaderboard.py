"""Write ``docs/leaderboard.md`` and its picture from the committed results.

    python -m scripts.leaderboard [--write]

The tables and sentences between the markers ``<!-- NAME -->`` and ``<!-- end -->`` are those of
``ranksim leaderboard results/leaderboard``; without ``--write`` the page is printed.
"""

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from ranksim.evaluation.leaderboard import Leaderboard, read_leaderboard
from ranksim.evaluation.report.leaderboard import (
    LEGEND,
    describe_missing,
    draw_leaderboard,
    list_changes,
    list_findings,
    list_methods,
    list_setup,
)

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "results/leaderboard"
PAGE, PICTURE = ROOT / "docs/leaderboard.md", ROOT / "docs/img/leaderboard.svg"
SECTION = re.compile(r"(<!-- ([\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def list_items(sentences: Iterator[str]) -> Iterator[str]:
    """Yield sentences as items of a Markdown list."""
    return (f"- {sentence}" for sentence in sentences)


def list_picture(board: Leaderboard) -> Iterator[str]:
    """Yield the line that shows the picture."""
    yield f"![{draw_leaderboard(board).description}](img/{PICTURE.name})"


def list_legend(board: Leaderboard) -> Iterator[str]:
    """Yield what a cell holds, and why some are empty."""
    yield f"{LEGEND} {describe_missing(board)}".rstrip()


SECTIONS: dict[str, Callable[[Leaderboard], Iterator[str]]] = {
    "picture": list_picture,
    "findings": lambda board: list_items(list_findings(board)),
    "setup": lambda board: list_items(list_setup(board)),
    "legend": list_legend,
    "few": lambda board: list_changes(board, "few"),
    "balanced": lambda board: list_changes(board, "balanced"),
    "methods": list_methods,
}


def write_sections(text: str, board: Leaderboard) -> str:
    """Return the page with all sections replaced."""

    def fill(match: re.Match[str]) -> str:
        return match[1] + "\n".join(SECTIONS[match[2]](board)) + "\n" + match[3]

    return SECTION.sub(fill, text)


if __name__ == "__main__":
    leaderboard = read_leaderboard([RESULTS])
    page = write_sections(PAGE.read_text(encoding="utf-8"), leaderboard)
    if "--write" in sys.argv:
        PAGE.write_text(page, encoding="utf-8")
        PICTURE.write_text(draw_leaderboard(leaderboard).svg, encoding="utf-8")
    else:
        print(page)
