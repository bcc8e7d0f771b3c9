"""Strings of the data are shown as text in the report page, its pictures and a model card."""

import numpy as np
import pytest

from ranksim.data.table import Table
from ranksim.evaluation.report.label_report import draw_label_report
from ranksim.evaluation.report.results_page import write_page
from ranksim.imbalance.bins import LabelRange
from ranksim.inference.card import model_card
from ranksim.inference.saved_model import density_to_dict
from ranksim.metrics import ShotRegions
from ranksim.user_data.label_report import make_label_report
from tests.helpers.results import make_results

PAYLOADS = {
    "script": "</script><script>window.ran=1</script>",
    "comment": "<!--<script>window.ran=1</script>-->",
    "handler": "<img src=x onerror=window.ran=1>",
    "attribute": "\" onmouseover=\"window.ran=1\" x='",
    "svg": "]]></text></svg><svg onload=window.ran=1><title>",
    "link": "<a href=\"javascript:window.ran=1\">x</a>javascript:window.ran=1",
    "template": "{{7*7}}{% raw %}${window.ran=1}",
    "style": "</style><style>*{display:none}</style>",
    "page": "</title></head><body onload=window.ran=1>",
}  # fmt: skip
EVIL = "".join(PAYLOADS.values())


def make_malicious_results(evil):
    """Return results in which every string that may come from data is ``evil``."""
    content = make_results(
        ("vanilla", "vanilla+ranksim", "inv", "rrt"), named={evil: (None, 1.0)}, name=evil,
        unit=evil, failed=[("rrt", 1)], seeds=2,
    )  # fmt: skip
    for run in content["runs"]:
        run["identity"]["recipe"] = {evil: evil}
        run["provenance"]["data"] = {"name": evil, evil: evil}
        if run["status"] == "failed":
            run["result"] |= {
                "error": evil,
                "diverged": {"step": 1, "lr": 0.1, "ids": [evil], "loss": evil},
            }
        if run["identity"]["method"] == "inv":
            run["identity"]["method"] = evil
    for row in content["summary"]:
        if row["method"] == "inv":
            row["method"] = evil
    keys = ("benchmark", "command", "published_note", "preset")
    content |= dict.fromkeys(keys, evil)
    content["options"] = dict.fromkeys(("split", "target", "data_name"), evil)
    content["provenance"]["commit"] = evil
    content["conclusion"] = content["conclusion"] | {
        "headline": evil,
        "points": [{"title": evil, "sentence": evil}],
        "regions": {evil: {"sentence": evil}},
    }
    return content


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return the paths of a page with malicious and a page with plain strings."""
    folder = tmp_path_factory.mktemp("pages")
    names = {"evil": EVIL, "plain": "plain"}
    return {
        name: write_page(make_malicious_results(text), folder / f"{name}.html")
        for name, text in names.items()
    }


def assert_harmless(page, text):
    """Assert that no script ran, no active element was added, and the text is shown unchanged."""
    assert page.evaluate("window.ran") is None
    active_parts = page.evaluate(
        """() => [...document.querySelectorAll('*')].flatMap(element => [
            ...(['IMG', 'IFRAME', 'OBJECT', 'EMBED', 'FORM', 'BASE'].includes(element.tagName)
                ? [element.tagName] : []),
            ...[...element.attributes].filter(each => /^on/i.test(each.name)
                || /^javascript:/i.test(each.value)).map(each => each.name)])"""
    )
    assert active_parts == []
    assert text in page.evaluate("document.documentElement.textContent")


def use_all_controls(page):
    page.locator("details").evaluate_all("all => all.forEach(one => { one.open = true; })")
    picks = page.locator("input.pick")
    for k in range(picks.count()):
        picks.nth(k).focus()
        page.keyboard.press("Space")
        for button in page.locator("table.sortable:visible button").all():
            button.click()
    for link in page.locator("nav a").all():
        link.click()
    page.locator("h1").hover()
    page.mouse.wheel(0, 5_000)


@pytest.mark.slow
def test_page_runs_no_script_of_the_data(open_page, pages):
    page = open_page(pages["evil"])
    dialogs = []
    page.on("dialog", lambda dialog: dialogs.append(dialog.dismiss()))
    assert_harmless(page, EVIL)
    scripts, styles = page.locator("script").count(), page.locator("style").count()
    use_all_controls(page)
    assert_harmless(page, EVIL)
    assert dialogs == []
    assert (scripts, page.locator("script").count()) == (1, 1)
    plain = open_page(pages["plain"])
    assert styles == plain.locator("style").count()  # those of the page and of its pictures
    count = "document.querySelectorAll('*').length"
    assert abs(page.evaluate(count) - plain.evaluate(count)) <= plain.evaluate(count) * 0.1


@pytest.mark.slow
def test_page_blocks_inserted_scripts(browser, pages):
    page = browser.new_page()
    page.goto(pages["plain"].as_uri())
    page.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = 'window.ran = 1';
            document.body.append(script);
            document.body.setAttribute('onclick', 'window.ran = 1');
            document.body.click();
        }"""
    )
    assert page.evaluate("window.ran") is None
    page.close()


@pytest.mark.slow
def test_pictures_beside_the_page_contain_no_script(browser, pages):
    pictures = sorted(pages["evil"].with_suffix("").glob("*.svg"))
    assert len(pictures) >= 6
    page = browser.new_page()
    for path in pictures:
        page.goto(path.as_uri())
        assert page.evaluate("window.ran") is None
        assert page.locator("script").count() == 0
    page.close()


def test_picture_of_inspect_contains_no_script(browser, tmp_path):
    labels = np.random.default_rng(0).normal(0, 1, 300).round(2)
    columns = Table.from_columns(EVIL, {EVIL: labels.tolist()})
    report = make_label_report(columns, EVIL, named={EVIL: LabelRange(1.0, None)})
    picture = draw_label_report(report | {"next": EVIL})
    (tmp_path / "inspect.svg").write_text(picture.svg, encoding="utf-8")
    page = browser.new_page()
    page.goto((tmp_path / "inspect.svg").as_uri())
    assert page.evaluate("window.ran") is None
    assert page.locator("script").count() == 0
    page.close()


@pytest.mark.parametrize("evil", [EVIL, "a\n\n# b\n<script>window.ran=1</script>", "`<b>`|x"])
def test_model_card_shows_strings_of_the_data_as_text(open_page, tmp_path, evil):
    from markdown_it import MarkdownIt

    from ranksim.imbalance import LabelBins

    regions = ShotRegions.from_counts(LabelBins.uniform(0.0, 2.0, 2), [0.5] * 30)
    scores = {"n": 5, "mae": 1.0, "mse": 1.0}
    config = {
        "target": evil, "kind": "table", "method": "vanilla", "seed": 0, "ranksim": "0",
        "versions": {"torch": "0"}, "command": f"ranksim fit {evil}", "recipe": {"monitor": "mae"},
        "data": {"name": evil, "inputs": [evil], "counts": [1, 1, 1], "sha256": "0" * 64},
        "density": density_to_dict(regions, many=100, few=20),
    }  # fmt: skip
    metrics = {"best_epoch": 1, "epochs": 1, "test": {"all": scores, evil: scores}}
    card = model_card(config, metrics, ["mae", "mse"], "model")
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(card)
    (tmp_path / "card.html").write_text(f'<meta charset="utf-8">{html}', encoding="utf-8")
    page = open_page(tmp_path / "card.html")
    assert_harmless(page, " ".join(evil.replace("`", "'").split())[:40])
    assert page.locator("script, b, style, svg").count() == 0
    assert page.locator("h1").count() == 1
    assert page.locator("h2").count() == 5
