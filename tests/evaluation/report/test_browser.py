"""The report page in a browser; tests are skipped without one."""

import re

import pytest

from tests.helpers.results import evil_results, make_results

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
from ranksim.evaluation.report import plotting
from ranksim.evaluation.report.results_page import write_page

pytestmark = [pytest.mark.browser, pytest.mark.slow]
DRAWS_PICTURES = True
METHODS = ("vanilla", "vanilla+fds", "vanilla+ranksim", "inv")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    content = make_results(METHODS, bins=100, dropped=[(1.5, 2.5)], seeds=2, failed=[("inv", 1)])
    for row in content["summary"]:
        if row["method"] == "inv":  # rows without a value are sorted last
            row["test"]["all"]["mse"] = {"mean": None, "sd": None, "n": 0}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plotting, "_render_png", lambda figure: b"")  # the page shows the SVG
        return write_page(content, tmp_path_factory.mktemp("browser") / "report.html")


def test_all_figures_are_visible(open_page, page_file):
    page = open_page(page_file, viewport={"width": 1280, "height": 900})
    figures = page.locator("figure svg")
    assert figures.count() == 8
    for k in range(8):
        box = figures.nth(k).bounding_box()
        assert box["width"] > 600
        assert box["height"] > 90
    assert page.locator("section h2").count() == 7
    assert page.locator("h1").inner_text().startswith("Two seeds cannot tell a better method")


def test_table_sorts_by_mouse_and_keyboard(open_page, page_file):
    page = open_page(page_file)
    table = page.locator("table.sortable").first

    def column(k):
        return table.locator(f"tbody tr > :nth-child({k})").evaluate_all(
            "cells => cells.map(cell => cell.dataset.v)"
        )

    title = table.locator("thead th").nth(1)
    assert title.get_attribute("aria-sort") == "none"
    title.locator("button").click()
    assert title.get_attribute("aria-sort") == "ascending"
    values = [float(value) for value in column(2)[:-1]]
    assert values == sorted(values)
    assert column(2)[-1] == ""
    title.locator("button").focus()
    page.keyboard.press("Enter")
    assert title.get_attribute("aria-sort") == "descending"
    assert [float(value) for value in column(2)[:-1]] == values[::-1]
    assert column(2)[-1] == ""
    table.locator("thead th").first.locator("button").click()
    assert column(1) == sorted(METHODS)
    assert title.get_attribute("aria-sort") == "none"


def test_metric_is_chosen_with_keyboard(open_page, page_file):
    page = open_page(page_file)
    assert page.locator("table.sortable:visible").get_attribute("data-metric") == "mse"
    page.locator("#pick-1").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("table.sortable:visible").get_attribute("data-metric") == "pearson"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_phone_needs_no_horizontal_scrolling(open_page, page_file, scheme):
    page = open_page(page_file, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    color = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (color == "rgb(255, 255, 255)") == (scheme == "light")


def test_page_prints(open_page, page_file):
    pdf = open_page(page_file).pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 20


def test_markup_in_data_does_not_run(open_page, tmp_path):
    page = open_page(write_page(evil_results(), tmp_path / "report.html"))
    assert page.evaluate("window.ran") is None
    assert page.locator("script").count() == 1
    assert "window.ran" in page.locator("h1").inner_text()
