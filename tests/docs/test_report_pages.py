"""The committed pages say what the committed results say."""

import json
from pathlib import Path

import pytest

from tests.helpers.page_truth import check_page

ROOT = Path(__file__).resolve().parents[2]
PAGES = {  # each page, and the sweeps it was made from
    "sts-b-dir-report": ("sts-b-dir/report", "sts-b-dir/report-gaps"),
    "glucose-report": ("glucose",),
}


@pytest.mark.parametrize("page", PAGES)
def test_seven_parts_true_to_the_data(page):
    html = (ROOT / "docs" / f"{page}.html").read_text(encoding="utf-8")
    results, *more = (
        json.loads((ROOT / "results" / folder / "results.json").read_text(encoding="utf-8"))
        for folder in PAGES[page]
    )
    assert len(html.encode()) < 5_000_000
    assert results["format"] == 3
    assert "-dirty" not in json.dumps([run["provenance"]["commit"] for run in results["runs"]])
    check_page(html, results, more)


def test_the_page_of_sts_b_dir_has_all_seven():
    results, gaps = (
        json.loads((ROOT / "results" / folder / "results.json").read_text(encoding="utf-8"))
        for folder in PAGES["sts-b-dir-report"]
    )
    assert any(row["published"] for row in results["summary"])
    assert all(run["result"]["ranks"] and run["result"]["curves"] for run in results["runs"])
    assert any("embedding" in run for run in results["runs"])
    assert all(run["result"]["gaps"] for run in gaps["runs"])
