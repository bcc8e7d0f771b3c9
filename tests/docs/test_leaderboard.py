"""The page of the leaderboard contains the committed results."""

import re

import pytest

from ranksim.evaluation.leaderboard import read_leaderboard
from ranksim.evaluation.report.leaderboard import draw_leaderboard
from scripts.leaderboard import PAGE, PICTURE, RESULTS, SECTION, SECTIONS, write_sections

TEXT = PAGE.read_text(encoding="utf-8")


def test_page_has_all_sections():
    assert [match[2] for match in SECTION.finditer(TEXT)] == [
        *("picture", "findings", "setup", "legend", "few", "balanced", "methods")
    ]
    assert {match[2] for match in SECTION.finditer(TEXT)} == SECTIONS.keys()


def test_written_frame_has_no_figures_of_results():
    """Sentences with figures are made from the results, so that they stay right."""
    assert not re.findall(r"\d %|[−+]\d", SECTION.sub("", TEXT).replace("95 % interval", ""))


@pytest.mark.slow
@pytest.mark.usefixtures("real_pictures")
@pytest.mark.skipif(not RESULTS.is_dir(), reason="results/leaderboard is not committed yet")
def test_page_and_picture_are_those_of_the_results():
    board = read_leaderboard([RESULTS])
    assert write_sections(TEXT, board) == TEXT
    assert PICTURE.read_text(encoding="utf-8") == draw_leaderboard(board).svg
    assert not [row.method for row in board.rows if not row.cells]
