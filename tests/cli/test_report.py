import json
import re

import pytest
from typer.testing import CliRunner

from ranksim.cli.app import app
from ranksim.exceptions import DataError, UsageError
from tests.helpers.page_truth import check_page
from tests.helpers.results import make_results

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


@pytest.fixture
def run(tmp_path):
    """A sweep's folder."""
    content = make_results(("vanilla", "vanilla+ranksim"), seeds=2, bins=9)
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "results.json").write_text(json.dumps(content))
    return tmp_path / "sweep"


def invoke(*words):
    return CliRunner().invoke(app, ["report", *map(str, words)], catch_exceptions=True)


def test_the_page_stands_in_the_folder_of_the_sweep(run):
    told = invoke(run)
    assert told.exit_code == 0, told.output
    assert "report.html" in told.output
    content = json.loads((run / "results.json").read_text())
    check_page((run / "report.html").read_text(encoding="utf-8"), content)
    assert (run / "report" / "02-change.svg").is_file()


def test_json_names_what_was_written(run, tmp_path):
    out = tmp_path / "docs" / "page.html"
    told = invoke(run / "results.json", "--out", out, "--json")
    made = json.loads(told.stdout)
    assert made["page"] == str(out)
    assert out.is_file()
    assert made["pictures"] == sorted(str(path) for path in (tmp_path / "docs" / "page").iterdir())


def test_a_further_sweep_adds_its_gaps(run, tmp_path):
    other = make_results(("vanilla",), seeds=1, bins=100, dropped=[(1, 2)])
    path = tmp_path / "other.json"
    path.write_text(json.dumps(other))
    assert invoke(run, path).exit_code == 0
    assert (run / "report" / "04-gaps.png").is_file()


@pytest.mark.parametrize(
    ("content", "error", "sentence"),
    [
        (None, DataError, "does not exist: give the folder of a sweep"),
        ("{", DataError, "is not the results.json of a sweep"),
        ("[]", DataError, "is not the results.json of a sweep"),
        ('{"format": 2}', DataError, "is not the results.json of a sweep"),
        ("\udcff", DataError, "is not the results.json of a sweep"),
        (
            '{"format": 9, "runs": [], "summary": [], "benchmark": "a"}',
            DataError,
            "written by a later version of ranksim",
        ),
        (
            '{"format": 2, "runs": [], "summary": [], "benchmark": "agedb-dir"}',
            UsageError,
            "is a sweep of agedb-dir, .* of sts-b-dir: give sweeps of one benchmark",
        ),
    ],
)
def test_what_is_no_sweep_gives_one_sentence(run, tmp_path, content, error, sentence):
    path = tmp_path / "other.json"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    told = invoke(run, path)
    assert isinstance(told.exception, error)
    assert str(told.exception).count(". ") == 0
    assert re.search(sentence, str(told.exception))
    assert not (run / "report.html").exists()


def test_the_page_is_an_html_file(run, tmp_path):
    told = invoke(run, "--out", tmp_path / "page.pdf")
    assert isinstance(told.exception, UsageError)
    assert "use a name that ends in .html" in str(told.exception)
