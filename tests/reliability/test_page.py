"""The page of what can be relied on says what was measured, and that nothing failed."""

from tests.reliability.__main__ import PAGE, SECTIONS, committed, page, section


def test_the_page_quotes_the_committed_figures():
    results = committed()
    assert list(results) == list(SECTIONS)
    assert PAGE.read_text(encoding="utf-8") == page(results)


def test_every_section_was_measured_whole_and_nothing_failed():
    for name, found in committed().items():
        assert not found["made"]["short"]
        assert found["checks"]
        assert [each["what"] for each in found["checks"] if each["failed"]] == []
        assert callable(section(name).measure)
