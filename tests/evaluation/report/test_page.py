import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.page_truth import PICTURES, check_page, head, read, rows
from tests.helpers.results import evil_results, make_results, without_diagnostics
from tests.helpers.sentence_truth import Tracer

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
from ranksim.evaluation.record import read_results
from ranksim.evaluation.report import plotting
from ranksim.evaluation.report.page.elements import SweepResults
from ranksim.evaluation.report.page.features import chance_agreement
from ranksim.evaluation.report.page.label_axis import gaps_section
from ranksim.evaluation.report.page.scores import _axis_reach, scores_section
from ranksim.evaluation.report.results_page import write_page

DRAWS_PICTURES = True
ROOT = Path(__file__).resolve().parents[3]
NAMED = {"hypoglycaemia": (None, 0.7), "severe": (4.2, None)}
PAIR = ("vanilla", "vanilla+ranksim")
SWEEPS = {
    "all sections": lambda: make_results(
        (*PAIR, "inv"), bins=100, dropped=[(1.5, 2.5)], named=NAMED, unit="mg/dL"
    ),
    "failures": lambda: make_results(
        (*PAIR, "inv"), seeds=2, failed=[("vanilla", 0), ("vanilla", 1), ("inv", 1)], bins=9
    ),
    "all failed": lambda: make_results(("vanilla",), seeds=1, failed=[("vanilla", 0)]),
    "one seed, few samples": lambda: make_results(
        ("inv",), seeds=1, bins=2, samples=7, tsne=False, epochs=1, published=False,
        thresholds=(None, 20),
    ),
    "judged": lambda: make_results(
        (*PAIR, "inv", "trees"), bins=30, named=NAMED, samples=200, test_set="balanced",
        factors={"inv": {"few": 0.5, "many": 1.4}}, num_groups=40, dropped=[(1.5, 2.5)],
    ),
    "no diagnostics": lambda: without_diagnostics(make_results()),
}  # fmt: skip
FAST = ("all sections", "judged")  # other tests need these pages, too


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Return results and page by name; each page is built once."""
    cache = {}

    def build(name):
        if name not in cache:
            content, out = SWEEPS[name](), tmp_path_factory.mktemp("page") / "report.html"
            before = json.dumps(content)
            with pytest.MonkeyPatch.context() as patch:
                if name != "failures":  # which has PNG files
                    patch.setattr(plotting, "_render_png", lambda figure: b"\x89PNG")
                assert write_page(content, out) == out
            assert json.dumps(content) == before
            cache[name] = content, out
        return cache[name]

    return build


@pytest.fixture
def without_drawing(monkeypatch):
    """Pictures are empty: drawing them takes most of the time of a page."""

    def render(name, description, size, paint):
        return plotting.Picture(name, description, "<svg></svg>", b"")

    monkeypatch.setattr(plotting, "render_picture", render)


@pytest.fixture
def without_png(monkeypatch):
    monkeypatch.setattr(plotting, "_render_png", lambda figure: b"\x89PNG")


def check_files(html, folder):
    page = read(html)
    names = sorted(path.name for path in folder.glob("*")) if folder.is_dir() else []
    assert names == sorted(f"{name}.{end}" for name in page.figures for end in ("png", "svg"))
    for path in folder.glob("*.svg"):
        ElementTree.fromstring(path.read_text(encoding="utf-8"))
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in FAST)) for name in SWEEPS]
)
def test_page_matches_results(name, pages):
    content, out = pages(name)
    html = out.read_text(encoding="utf-8")
    check_page(html, content)
    check_files(html, out.with_suffix(""))


def test_page_names_file_date_groups_and_test_set(pages):
    content, out = pages("judged")
    page = read(out.read_text(encoding="utf-8"))
    facts = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert (facts["data"], facts["date"]) == ("scores.csv", "2026-11-28")
    assert facts["intervals over"].startswith("groups of the test set: 40 in all,")
    assert "scores.csv, similarity, 2026-11-28" in page.texts["p"]
    heads = page.tables["mse"][0]
    assert "all, balanced" in heads[1]["text"]
    assert heads[1]["data-region"] == "all"
    assert [each["data-region"] for each in heads if "data-region" in each][-1] == "balanced"
    assert heads[-1]["text"].startswith("balanced bins")
    assert any("Balanced bins: each label bin with test" in text for text in page.texts["p"])
    assert [each.get("data-region") for each in page.tables["ccc"][0]][1:] == ["all"]
    assert content["largest_errors"]["methods"] == ["inv", "vanilla"]
    assert "line of scores.csv" in head(page, "largest")
    assert any("all, balanced: the test set is balanced" in text for text in page.texts["p"])


def test_each_sentence_states_numbers_of_the_results(pages):
    content, out = pages("judged")
    page = read(out.read_text(encoding="utf-8"))
    assert Tracer(page, content).check() > 60


@pytest.mark.parametrize(
    ("number", "other"),
    [
        ("densest near", "densest near 9"),
        ("is lowest for", "is lowest for inv, 99"),
        ("took", "took 99"),
        ("in bins without", "9 in bins without"),
        ("smallest from", "9 smallest from"),
    ],
)
def test_tracer_detects_wrong_number(number, other, pages):
    content, out = pages("judged")
    html = out.read_text(encoding="utf-8").replace(number, other)
    with pytest.raises(AssertionError):
        Tracer(read(html), content).check()


@pytest.mark.parametrize(
    "path",
    [
        ("summary", 1, "views", "as_is", "mse", "mean"),
        ("summary", 2, "vs_baseline", "views", "inverse", "mse", "ci_total", 1),
        ("largest_errors", "samples", 2, "label"),
        ("largest_errors", "samples", 3, "predictions", 1),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_check_of_judged_page_detects_wrong_number(path, pages):
    detect_wrong_number(path, *pages("judged"))


@pytest.mark.parametrize(
    "path",
    [
        ("labels", "train", 3),
        ("labels", "edges", 3),
        ("runs", 1, "result", "metrics", "test", "all", "mae"),
        ("summary", 1, "published", "mse", "few"),
        ("summary", 1, "vs_baseline", "test", "few", "mse", "ci_total", 0),
        ("runs", 2, "result", "error_by_bin", "mse", 40),
        ("runs", 2, "result", "gaps", "mse", 2),
        ("runs", 2, "result", "gaps", "n", 2),
        ("runs", 1, "result", "ranks", "feature", 3, 4),
        ("runs", 1, "result", "ranks", "agreement"),
        ("runs", 0, "result", "projection", "pca", 3, 1),
        ("runs", 3, "result", "projection", "tsne", 3, 1),
        ("runs", 4, "result", "curves", "val", 3),
        ("runs", 5, "result", "seconds"),
        ("runs", 5, "result", "peak_memory_mb"),
    ],
    ids=lambda path: ".".join(map(str, path)),
)
def test_check_of_page_detects_wrong_number(path, pages):
    detect_wrong_number(path, *pages("all sections"))


def detect_wrong_number(path, content, out):
    wrong = inner = json.loads(json.dumps(content))
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = 1.01 * inner[path[-1]] + 1
    with pytest.raises(AssertionError):
        check_page(out.read_text(encoding="utf-8"), wrong)


@pytest.mark.slow
@pytest.mark.usefixtures("without_png")
@pytest.mark.parametrize("name", ["sts-b-dir/all", "sts-b-dir/yang", "glucose"])
def test_committed_results_have_page(name, tmp_path):
    content = read_results(ROOT / "results" / name)
    html = write_page(content, tmp_path / "report.html").read_text(encoding="utf-8")
    check_page(html, content)
    check_files(html, tmp_path / "report")
    if "mse" in content["headline"]:
        lowest = min(content["summary"], key=lambda row: row["test"]["all"]["mse"]["mean"])
        key = lowest.get("alias_of", lowest["method"])
        assert f"lowest for {key}" in " ".join(read(html).texts["h1"] + read(html).texts["p"])


@pytest.mark.slow
@pytest.mark.usefixtures("without_png")
def test_largest_sweep_is_below_5_mb(tmp_path):
    content = make_results("all", bins=200, epochs=60, dropped=[(1.5, 2.5)])
    page = write_page(content, tmp_path / "report.html")
    assert page.stat().st_size < 5e6
    html = page.read_text(encoding="utf-8")
    check_page(html, content)
    assert set(read(html).figures) - set(PICTURES) == {"05-ranks-rest"}


@pytest.mark.slow
def test_equal_results_give_equal_bytes(pages, tmp_path):
    content, first = pages("failures")
    write_page(content, tmp_path / "report.html")
    files = sorted(first.parent.rglob("*.*"))
    assert len(files) > 10
    for path in files:
        other = tmp_path / path.relative_to(first.parent)
        assert path.read_bytes() == other.read_bytes(), path.name


def test_pictures_of_earlier_page_are_removed(tmp_path):
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "04-gaps.svg").write_text("of an earlier page")
    (folder / "mine.svg").write_text("mine")
    write_page(SWEEPS["all failed"](), tmp_path / "page.html")
    assert not (folder / "04-gaps.svg").exists()
    assert (folder / "mine.svg").is_file()
    assert not list(tmp_path.rglob(".*"))


@pytest.mark.usefixtures("without_drawing")
def test_gaps_of_other_sweeps_are_shown_with_their_commands(tmp_path):
    first = without_diagnostics(make_results("all", seeds=1))
    other = make_results(PAIR, bins=100, seeds=2, dropped=[(1, 2)])
    other["command"] += " --drop-labels 1-2"
    html = write_page(first, tmp_path / "report.html", [other]).read_text(encoding="utf-8")
    check_page(html, first, [other])
    page = read(html)
    assert any("1-2 dropped" in text for text in page.texts["summary"])
    assert page.texts["pre"].count(other["command"]) == 2  # sections 4 and 7
    (note,) = [text for text in page.texts["p"] if text.startswith("Means over seeds")]
    assert "other method" not in note  # all methods with gaps are named


@pytest.mark.usefixtures("without_drawing")
def test_page_without_gaps_gives_command_to_make_one():
    content = make_results(("vanilla",), bins=10)
    section = gaps_section(SweepResults(content), [])
    assert "no gap" in section.findings[0]
    assert section.commands == (f"{content['command']} --drop-labels 2-3",)


@pytest.mark.usefixtures("without_drawing")
def test_findings_claim_no_more_than_intervals_allow():
    def findings(content):
        return " ".join(scores_section(SweepResults(content))[0].findings)

    content = make_results(("vanilla", "inv"), bins=9)
    effect = content["summary"][1]["vs_baseline"]["test"]["all"]["mse"]
    effect |= {"ci_total": [-0.2, -0.1], "ci_adjusted": [-0.3, 0.1], "seeds_needed": 12}
    assert "below zero for 1 (inv) and above zero for none." in findings(content)
    assert "Corrected for 1 comparison, it is below zero for none." in findings(content)
    assert findings(content).endswith("approximately: 12 for inv.")
    effect |= {"ci_adjusted": [-0.3, -0.05]}
    assert "Corrected for 1 comparison, it is below zero for 1 (inv)." in findings(content)
    effect |= {"ci_total": [-0.2, 0.1]}
    assert "below zero for none and above zero for none." in findings(content)
    assert "at least 3" in findings(make_results(("vanilla", "inv"), seeds=1, bins=9))
    two_seeds = make_results(("vanilla", "inv"), seeds=2, bins=9)
    assert "Two seeds are too few" in findings(two_seeds)
    _, tables = scores_section(SweepResults(two_seeds))
    bars = [score.bar for table in tables for row in table.rows for score in row.scores]
    assert {bar.kind for bar in bars if bar} == {"unsure"}


@pytest.mark.slow
@pytest.mark.usefixtures("without_png")
def test_markup_in_data_is_escaped(tmp_path):
    html = write_page(evil_results(), tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("<script") == 1
    assert "<img" not in html
    assert "{{7*7}}" in html
    assert "&lt;img src=x" in html
    check_files(html, tmp_path / "report")


def test_security_policy_allows_only_own_style_and_script(pages):
    html = pages("all sections")[1].read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"<[^>]+\sstyle=", html)
    assert not re.search(r"""(?:src|href)=["'](?:https?:|//)""", html)
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert len(ids) == len(set(ids))


@pytest.mark.usefixtures("without_png")
def test_constant_and_missing_values_can_be_drawn(tmp_path):
    content = make_results(PAIR, seeds=2, bins=9)
    for run in content["runs"]:
        result = run["result"]
        result["error_by_bin"]["mse"] = [0.0 if n else None for n in result["error_by_bin"]["n"]]
        result["curves"]["val"] = [None] * len(result["curves"]["val"])
        result |= {"seconds": 0.0, "peak_memory_mb": None}
        result["ranks"]["agreement"] = None
        if "projection" in result:
            points = [[0.0, 0.0]] * 120
            result["projection"] |= {"pca": points, "tsne": None, "labels": [1.0] * 120}
    html = write_page(content, tmp_path / "report.html").read_text(encoding="utf-8")
    assert set(np.ravel([row[4:] for row in rows(read(html), "error")])) == {0.0}


@pytest.mark.usefixtures("without_drawing")
def test_huge_and_tiny_errors_are_formatted():
    content = make_results(("vanilla", "inv"), seeds=2, bins=9)
    for row in content["summary"]:
        row["test"]["all"]["mse"]["mean"] *= 1e12
        row["test"]["all"]["mae"]["mean"] *= 1e-7
    section, tables = scores_section(SweepResults(content))
    assert "e+11" in section.findings[0]
    texts = {table.metric: table.rows[0].scores[0].text for table in tables}
    assert texts["mse"].endswith("e+11")
    mean = content["summary"][0]["test"]["all"]["mae"]["mean"]
    assert float(texts["mae"]) == pytest.approx(mean, 0.01)


@pytest.mark.parametrize("bins", [3, 17])
def test_chance_agreement_equals_simulation(bins):
    generator = np.random.default_rng(0)
    labels = generator.random((4000, bins))
    by_label = np.abs(labels - labels[:, :1]).argsort(axis=1).argsort(axis=1)
    features = np.concatenate([np.zeros((4000, 1)), generator.random((4000, bins - 1))], axis=1)
    by_feature = features.argsort(axis=1).argsort(axis=1)
    a, b = by_label - (bins - 1) / 2, by_feature - (bins - 1) / 2
    agreement = (a * b).sum(axis=1) / (a * a).sum(axis=1)
    assert agreement.mean() == pytest.approx(chance_agreement(bins), abs=0.02)


def test_far_rows_do_not_set_the_scale_of_the_changes():
    """A constant may be a thousand times as far from the baseline as a technique."""
    near = [(0.02, -0.01, 0.05), (-0.05, -0.09, -0.01), (0.03, 0.0, 0.06), (0.06, 0.02, 0.1)]
    reach = _axis_reach([*near, (10.2, 9.0, 11.0), (-1.3, -1.5, -1.1)])
    assert 0.06 < reach < 0.2
    assert _axis_reach([*near, (0.2, 0.1, 0.3)]) > 0.2  # not far enough to be cut
    assert _axis_reach([near[0], (10.2, 9.0, 11.0)]) > 10.2  # two rows have no usual size
    assert _axis_reach([(0.0, -0.1, 0.1)] * 4 + [(0.5, 0.4, 0.6)]) >= 0.01
