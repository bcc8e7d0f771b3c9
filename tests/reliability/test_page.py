"""The reliability report quotes the committed figures, and no check failed."""

from tests.reliability.__main__ import PAGE, SECTIONS, load_committed, load_section, render_page


def test_page_quotes_committed_figures():
    results = load_committed()
    assert list(results) == list(SECTIONS)
    assert PAGE.read_text(encoding="utf-8") == render_page(results)


def test_all_sections_are_full_measurements_without_failures():
    for name, figures in load_committed().items():
        assert not figures["provenance"]["short"]
        assert figures["checks"]
        assert [row["check"] for row in figures["checks"] if row["failures"]] == []
        assert callable(load_section(name).measure)
