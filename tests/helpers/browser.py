"""Headless Chromium for tests of pages; one browser for all tests, because two would not start."""

import shutil

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def browser():
    """Start a browser, or skip the test if there is none."""
    playwright_api = pytest.importorskip("playwright.sync_api")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"no browser is installed: none of {', '.join(NAMES)} is on the PATH")
    with playwright_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Open pages; fail at the end if the browser reported an error or requested anything else."""
    complaints, contexts = [], []

    def open_path(path, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: check_url(request.url, path.as_uri()))
        page.goto(path.as_uri())
        return page

    def check_url(url, page_url):
        if url != page_url and not url.startswith("data:"):
            complaints.append(url)

    yield open_path
    for context in contexts:
        context.close()
    assert complaints == []
