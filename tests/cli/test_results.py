"""``ranksim report`` and ``ranksim leaderboard``: what they write, and their errors."""

import json

import pytest

from tests.helpers.page_truth import check_page
from tests.helpers.results import make_results

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")


@pytest.fixture
def sweep(tmp_path):
    """Write a sweep's folder."""
    content = make_results(("vanilla", "vanilla+ranksim"), seeds=2, bins=9)
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "results.json").write_text(json.dumps(content))
    return tmp_path / "sweep"


@pytest.mark.slow
@pytest.mark.usefixtures("real_pictures")
def test_page_is_written_to_the_folder_of_the_sweep(run_command, sweep, tmp_path):
    further = tmp_path / "other.json"
    further.write_text(json.dumps(make_results(("vanilla",), seeds=1, bins=100, dropped=[(1, 2)])))
    outcome = run_command("report", sweep, further)
    assert outcome.code == 0, outcome.err
    assert "report.html" in outcome.out
    contents = [json.loads(path.read_text()) for path in (sweep / "results.json", further)]
    check_page((sweep / "report.html").read_text(encoding="utf-8"), contents[0], contents[1:])
    assert (sweep / "report" / "02-change.svg").is_file()
    assert (sweep / "report" / "04-gaps.png").is_file()


def test_json_names_the_written_files(run_command, sweep, tmp_path):
    out = tmp_path / "docs" / "page.html"
    outcome = run_command("report", sweep / "results.json", "--out", out, "--json")
    written = json.loads(outcome.out)
    assert written["page"] == str(out)
    assert out.is_file()
    figures = sorted(str(path) for path in (tmp_path / "docs" / "page").iterdir())
    assert written["pictures"] == figures


@pytest.mark.parametrize(
    ("content", "code", "key_words"),
    [
        (None, 1, ["other.json", "does not exist"]),
        ("{", 1, ["other.json", "damaged"]),
        ("[]", 1, ["other.json", "not the results.json"]),
        ('{"format": 2}', 1, ["other.json", "not the results.json"]),
        ("\udcff", 1, ["other.json", "damaged"]),
        ('{"format": 9, "runs": [], "summary": [], "benchmark": "a"}', 1, ["later version"]),
        (
            '{"format": 2, "runs": [], "summary": [], "benchmark": "agedb-dir"}',
            2,
            ["agedb-dir", "sts-b-dir"],
        ),
    ],
)
def test_other_files_are_refused(check_error, sweep, tmp_path, content, code, key_words):
    path = tmp_path / "other.json"
    if content is not None:
        path.write_bytes(content.encode("utf-8", "surrogateescape"))
    check_error(["report", sweep, path], code, *key_words)
    assert not (sweep / "report.html").exists()


def test_page_must_be_an_html_file(check_error, sweep, tmp_path):
    check_error(["report", sweep, "--out", tmp_path / "page.pdf"], 2, "page.pdf", ".html")


def write_judged(folder):
    content = make_results(("vanilla", "inv", "inv+ranksim"), bins=9, test_set="balanced")
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps(content))


def test_leaderboard_is_printed_in_three_formats(run_command, tmp_path):
    write_judged(tmp_path / "texts")
    outcome = run_command("leaderboard", tmp_path)
    assert outcome.code == 0, outcome.err
    assert all(word in outcome.out for word in ("rare labels (few-shot)", "inv+ranksim", "texts:"))
    content = json.loads(run_command("leaderboard", tmp_path, "--json").out)
    assert [row["method"] for row in content["rows"]] == ["inv", "inv+ranksim"]
    markdown = run_command("leaderboard", tmp_path / "texts", "--markdown").out
    assert markdown.count("| `inv+ranksim` |") == 3
    change = content["rows"][0]["cells"]["texts"]["balanced"]["change"]
    assert f"| `inv` | {100 * change:+.1f} %".replace("-", "−") in markdown


def test_leaderboard_needs_results_and_one_format(check_error, tmp_path):
    check_error(["leaderboard", tmp_path], 1, str(tmp_path), "results.json")
    write_judged(tmp_path / "texts")
    check_error(["leaderboard", tmp_path, "--json", "--markdown"], 2, "--markdown", "--json")
