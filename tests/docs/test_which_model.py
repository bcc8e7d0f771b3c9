"""The page on models for skewed tables contains the committed results."""

import json
import re
from pathlib import Path

import pytest

from scripts.model_tables import PAGE, RESULTS, write_tables

TABLES = sorted(path.name for path in RESULTS.iterdir() if path.is_dir())


def test_tables_are_those_of_the_results():
    text = PAGE.read_text(encoding="utf-8")
    assert write_tables(text) == text
    assert all(f"<!-- {name} -->" in text and f"<!-- {name}-rivals -->" in text for name in TABLES)


def test_figures_of_the_summary_are_in_the_tables():
    summary, tables = PAGE.read_text(encoding="utf-8").split("## Abalone", 1)
    figures = re.findall(r"[−+]\d+\.\d %|\d+[.,]\d+(?= to)|(?<= to )\d+[.,]\d+", summary)
    assert len(figures) > 10
    assert not [figure for figure in figures if figure not in tables]


@pytest.mark.parametrize("name", TABLES)
def test_no_plain_script_beats_the_comparison(name):
    assert "**yes**" not in (RESULTS / name / "plain_trees.md").read_text(encoding="utf-8")
    results = json.loads((RESULTS / name / "results.json").read_text(encoding="utf-8"))
    assert not [run for run in results["runs"] if "-dirty" in str(run["provenance"]["commit"])]
    assert Path(RESULTS / name / "report.html").is_file()
