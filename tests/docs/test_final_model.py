"""The guide quotes the committed measurement of refits and ensembles."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TITLES = {"abalone": "abalone", "ames": "Ames"}


@pytest.mark.parametrize("name", TITLES)
def test_guide_quotes_the_committed_measurement(name):
    page = (ROOT / "docs" / "your-data.md").read_text(encoding="utf-8")
    table = (ROOT / "results" / "tables" / name / "final_model.md").read_text(encoding="utf-8")
    rows = table.splitlines()[2:]
    assert len(rows) == 6
    for row in rows:
        assert f"| {TITLES[name]} {row}" in page.replace("**", "")
    for line in page.splitlines():  # a change is bold if its interval excludes zero
        if line.startswith(f"| {TITLES[name]} | "):
            for cell in line.split(" | "):
                if " to " in cell:
                    low, high = map(float, cell.split("(")[1].strip(") |").split(" to "))
                    assert cell.startswith("**") == (low > 0 or high < 0)
