"""The committed report pages match the committed results."""

import json
from pathlib import Path

import pytest

from ranksim.evaluation.record import read_results
from scripts.figures import PAGES
from tests.helpers.page_truth import check_page

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("name", PAGES)
def test_page_matches_results(name):
    html = (ROOT / "docs" / f"{name}.html").read_text(encoding="utf-8")
    results, *others = (read_results(ROOT / "results" / sweep) for sweep in PAGES[name])
    assert len(html.encode()) < 5_000_000
    commits = [run["provenance"]["commit"] for run in results["runs"]]
    assert "-dirty" not in json.dumps(commits)
    check_page(html, results, others)


def test_page_of_sts_b_dir_has_all_sections():
    results, gaps = (read_results(ROOT / "results" / sweep) for sweep in PAGES["sts-b-dir-report"])
    fields = [run["result"] for run in results["runs"]]
    assert any(row["published"] for row in results["summary"])
    assert all(result["ranks"] and result["curves"] for result in fields)
    assert any("projection" in result for result in fields)
    assert all(run["result"]["gaps"] for run in gaps["runs"])
