"""The site builds strictly, has a reference of each public name, and its search works."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from scripts.gallery import EXAMPLES, PAGES, write_index, write_page

ROOT = Path(__file__).resolve().parents[2]
PUBLIC = (
    "ranksim", "ranksim.functional", "ranksim.imbalance", "ranksim.inference", "ranksim.losses",
    "ranksim.integrations.lightning", "ranksim.integrations.sklearn", "ranksim.metrics",
    "ranksim.models", "ranksim.models.estimators", "ranksim.sklearn",
)  # fmt: skip


def test_docstrings_become_markdown():
    from scripts.site_docstrings import convert_docstring

    text = (
        "Rank :math:`a_i` by :func:`ranksim.functional.rank` or :meth:`update`::\n\n    code\n\n"
        ".. math::\n    a\n    + b\n\n.. math::  c \\bigl( d \\bigr)\n\nExample:\n    >>> 1\n"
    )
    converted = convert_docstring(text, "ranksim.FDS")
    assert r"Rank \(a_i\) by" in converted
    assert '<autoref optional identifier="ranksim.functional.rank">' in converted
    assert '<autoref optional identifier="ranksim.FDS.update">' in converted
    assert "update</code></autoref>:\n\n    code" in converted
    assert "\\[ a + b \\]" in converted
    assert "\\[ c \\left( d \\right) \\]" in converted
    assert "Examples:\n    >>> 1" in converted


def test_every_example_has_a_page_with_its_output():
    assert {path.stem for path in (ROOT / "examples").glob("*.py")} == set(EXAMPLES)
    assert (PAGES / "index.md").read_text(encoding="utf-8") == write_index()
    assert {path.stem for path in PAGES.glob("*.md")} == {"index", *EXAMPLES}
    for name in EXAMPLES:
        text = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        output = text.partition("```text\n")[2].partition("\n```")[0]
        assert len(output.splitlines()) >= 1
        assert write_page(name, output) == text


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("mkdocs")
    folder = tmp_path_factory.mktemp("site")
    command = (sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder))
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr[-2000:]
    return folder


@pytest.mark.slow
def test_every_public_name_has_a_reference(site):
    text = "".join(path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html"))
    identifiers = set(re.findall(r'id="(ranksim[\w.]*)"', text))
    names = {each.rpartition(".")[2] for each in identifiers}
    index = (site / "reference/index.html").read_text(encoding="utf-8")
    for module in PUBLIC:
        package = importlib.import_module(module)
        public = set(package.__all__) - {"__version__", "functional"}
        assert public <= names, (module, public - names)
    exported = set(importlib.import_module("ranksim").__all__) - {"__version__"}
    assert {name for name in exported if f">{name}</code>" not in index} == set()


@pytest.mark.slow
def test_search_index_holds_the_words_of_the_field(site):
    documents = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))["docs"]
    for query in ("imbalanced regression", "sample weight", "LDS"):
        hits = {
            each["location"].partition("#")[0]
            for each in documents
            if query.lower() in f"{each['title']} {each['text']}".lower()
        }
        assert len(hits) >= 3, query
    assert any(each["location"] == "methods/lds.html" for each in documents)


@pytest.mark.slow
def test_pages_fetch_nothing_and_formulas_are_converted(site):
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        fetched = re.findall(r'<(?:script|img|iframe)[^>]+src="(https?:[^"]+)"', text)
        fetched += re.findall(
            r'<link[^>]+rel="(?:stylesheet|preconnect)"[^>]+href="(https?:[^"]+)"', text
        )
        assert not fetched, path
        assert 'class="arithmatex"' not in text, path
        assert not re.search(r":(?:func|class|meth|math):`", text), path
    assert "<math" in (site / "methods/ranksim.html").read_text(encoding="utf-8")
