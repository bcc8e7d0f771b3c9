"""The pages of methods quote the committed measurements, and have all their parts."""

import re

import pytest

from scripts import method_pages
from scripts.method_pages import DOCS, DRAWINGS, ROOT, SWEEPS, draw_picture, write_tables

PAGES = sorted(path for path in DOCS.glob("*.md") if path.stem != "index")


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_tables_are_those_of_the_results(path):
    text = path.read_text(encoding="utf-8")
    assert write_tables(text) == text
    measured = "<!-- measured" in text
    assert measured or "No committed\nsweep contains it yet" in text or "No committed sweep" in text
    if measured:
        table = text.partition("<!-- measured")[2].partition("<!-- end -->")[0]
        assert len(table.splitlines()) > 4


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_pages_have_equation_picture_measurement_code_and_paper(path):
    text = path.read_text(encoding="utf-8")
    assert re.search(r"^\\\[ .* \\\]$", text, re.MULTILINE)
    (picture,) = re.findall(r"!\[.+\]\((.+)\)", text)
    assert (path.parent / picture).is_file()
    for heading in ("## When it helps", "## Code", "**Paper"):
        assert heading in text


def test_index_links_every_page():
    text = (DOCS / "index.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", text)) == {path.name for path in PAGES}


def test_figures_of_an_effect_are_its_interval():
    effect = {
        "mean": -1.0, "relative": -0.25, "ci_total": [-2.0, 0.5], "ci_adjusted": [-3.0, 1.0],
    }  # fmt: skip
    text = "−25.0 % (−50.0 % to +12.5 %)"
    assert method_pages.describe_effect(effect) == text
    effect["ci_adjusted"] = [-3.0, -0.1]
    assert method_pages.describe_effect(effect) == text.replace("−25.0 %", "**−25.0 %**")
    assert method_pages.describe_effect(None) == "–"
    assert all((ROOT / "results" / folder / "results.json").is_file() for folder in SWEEPS)


@pytest.mark.slow
@pytest.mark.parametrize("name", DRAWINGS)
def test_pictures_can_be_drawn(name):
    picture = draw_picture(name)
    assert picture.svg.startswith("<svg") or "<svg" in picture.svg[:200]
    assert (ROOT / f"docs/img/method-{name}.svg").is_file()
