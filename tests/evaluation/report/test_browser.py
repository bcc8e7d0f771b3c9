"""The page as a browser shows it; each test is skipped where there is no browser."""

import re

import pytest

from tests.evaluation.report.test_page import evil
from tests.helpers.results import results

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
from ranksim.evaluation.report.results_page import write_page

METHODS = ("vanilla", "vanilla+fds", "vanilla+ranksim", "inv")


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    content = results(METHODS, bins=100, dropped=[(1.5, 2.5)], seeds=2, failed=[("inv", 1)])
    for row in content["summary"]:
        if row["method"] == "inv":  # what has no value stays last
            row["test"]["all"]["mse"] = {"mean": None, "sd": None, "n": 0}
    return write_page(content, tmp_path_factory.mktemp("browser") / "report.html")


@pytest.fixture
def shown(browser):
    """Opens a page, and says at the end whether the browser complained or asked for anything."""
    complaints, contexts = [], []

    def show(path, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("requestfailed", lambda request: complaints.append(request.url))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith("data:") or request.url == path.as_uri()
                else complaints.append(request.url)
            ),
        )
        page.goto(path.as_uri())
        return page

    yield show
    for context in contexts:
        context.close()
    assert complaints == []


def test_every_figure_is_there(shown, page_file):
    page = shown(page_file, viewport={"width": 1280, "height": 900})
    figures = page.locator("figure svg")
    assert figures.count() == 8
    for k in range(8):
        box = figures.nth(k).bounding_box()
        assert box["width"] > 600
        assert box["height"] > 90
    assert page.locator("section").count() == 7
    assert page.locator("section h2").count() == 7
    assert page.locator("h1").inner_text() == "No method is better than vanilla here."


def test_the_table_sorts(shown, page_file):
    page = shown(page_file)
    table = page.locator("table.sortable").first

    def column(k):
        return table.locator(f"tbody tr > :nth-child({k})").evaluate_all(
            "cells => cells.map(cell => cell.dataset.v)"
        )

    first = table.locator("thead th").nth(1)
    assert first.get_attribute("aria-sort") == "none"
    first.locator("button").click()
    assert first.get_attribute("aria-sort") == "ascending"
    known = [float(value) for value in column(2)[:-1]]
    assert known == sorted(known)
    assert column(2)[-1] == ""
    first.locator("button").focus()
    page.keyboard.press("Enter")
    assert first.get_attribute("aria-sort") == "descending"
    assert [float(value) for value in column(2)[:-1]] == known[::-1]
    assert column(2)[-1] == ""
    page.keyboard.press("Space")
    assert [float(value) for value in column(2)[:-1]] == known
    names = table.locator("thead th").first
    names.locator("button").click()
    assert column(1) == sorted(METHODS)
    assert first.get_attribute("aria-sort") == "none"


def test_another_score_is_chosen_with_the_keyboard(shown, page_file):
    page = shown(page_file)
    assert page.locator("table.sortable:visible").get_attribute("data-board") == "mse"
    page.locator("#pick-1").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("table.sortable:visible").get_attribute("data-board") == "pearson"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_sideways_scrolling(shown, page_file, scheme):
    page = shown(page_file, viewport={"width": 390, "height": 844}, color_scheme=scheme)
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (colour == "rgb(255, 255, 255)") == (scheme == "light")


def test_it_prints(shown, page_file):
    page = shown(page_file)
    printed = page.pdf(format="A4")
    assert printed.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", printed)) <= 20


def test_nothing_from_the_data_runs(shown, tmp_path):
    page = shown(write_page(evil(), tmp_path / "report.html"))
    assert page.evaluate("window.ran") is None
    assert page.locator("script").count() == 1
    assert "window.ran" in page.locator("h1").inner_text()
