import base64
import hashlib
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.page_truth import PICTURES, check_page, read, rows
from tests.helpers.results import results

pytest.importorskip("matplotlib")
pytest.importorskip("jinja2")
from ranksim.evaluation.report.page.errors import gaps_part
from ranksim.evaluation.report.page.ranks import chance_agreement
from ranksim.evaluation.report.page.sweep import Sweep
from ranksim.evaluation.report.page.table import table_part
from ranksim.evaluation.report.results_page import read_results, write_page

ROOT = Path(__file__).resolve().parents[3]
EVIL = "</script><script>window.ran = 1</script><img src=x onerror=window.ran=1>\"' $x$ \0 {{7*7}}"
NAMED = {"hypoglycaemia": (None, 0.7), "severe": (4.2, None)}
PAIR = ("vanilla", "vanilla+ranksim")
SWEEPS = {
    "first version": lambda: bare(results()),
    "four": lambda: results(bins=20),
    "gaps and own regions": lambda: results(
        PAIR, bins=100, dropped=[(1.5, 2.5)], named=NAMED, unit="mg/dL"
    ),
    "one seed, nothing published": lambda: results(
        PAIR, seeds=1, bins=20, published=False, thresholds=(None, 20)
    ),
    "failures": lambda: results(PAIR, seeds=2, failed=[(PAIR[0], 0), (PAIR[1], 1)], bins=9),
    "the baseline failed": lambda: results(
        (*PAIR, "inv"), seeds=2, failed=[("vanilla", 0), ("vanilla", 1)], bins=9
    ),
    "all failed": lambda: results(("vanilla",), seeds=1, failed=[("vanilla", 0)]),
    "one method, few samples": lambda: results(("inv",), bins=2, samples=7, tsne=False, epochs=1),
}


def bare(content):
    """The same without what the first versions of results.json did not hold."""
    kept = ("metrics", "epochs", "best_epoch", "steps", "seconds")
    runs = [
        run | {"result": {name: value for name, value in run["result"].items() if name in kept}}
        for run in content["runs"]
    ]
    rows = [{k: v for k, v in row.items() if k != "vs_baseline"} for row in content["summary"]]
    missing = dict.fromkeys(("labels", "baseline", "conclusion"))
    return content | missing | {"runs": runs, "summary": rows}


def evil():
    """Names, units, errors and settings that want to be more than text."""
    content = results(
        (*PAIR, "inv"),
        named={EVIL: (None, 1.0)},
        name=EVIL,
        unit=EVIL,
        failed=[("inv", 1)],
        seeds=2,
    )
    content = json.loads(json.dumps(content).replace('"inv"', json.dumps("inv" + EVIL)))
    for run in content["runs"]:
        run["identity"]["recipe"] = {EVIL: EVIL}
        if run["status"] == "failed":
            run["result"]["error"] = EVIL
    content |= {"benchmark": EVIL, "options": {"split": EVIL, "target": EVIL}, "command": EVIL}
    content["provenance"]["commit"] = EVIL
    content["conclusion"]["sentence"] = content["published_note"] = EVIL
    return content


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Pages by name, each made once."""
    cache = {}

    def page(name):
        if name not in cache:
            content, out = SWEEPS[name](), tmp_path_factory.mktemp("page") / "report.html"
            before = json.dumps(content)
            assert write_page(content, out) == out
            assert json.dumps(content) == before
            cache[name] = content, out
        return cache[name]

    return page


@pytest.mark.parametrize("name", SWEEPS)
def test_the_page_is_true_to_the_results(name, made):
    content, out = made(name)
    html = out.read_text(encoding="utf-8")
    check_page(html, content)
    _check_files(html, out.with_suffix(""))


def _wrong(content, *places):
    """The same with one number changed: the last place of a path of keys and positions."""
    content = json.loads(json.dumps(content))
    inner = content
    for place in places[:-1]:
        inner = inner[place]
    inner[places[-1]] = 1.01 * inner[places[-1]] + 1
    return content


@pytest.mark.parametrize(
    "places",
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
    ids=lambda places: ".".join(map(str, places)),
)
def test_the_check_of_a_page_finds_a_wrong_number(places, made):
    content, out = made("gaps and own regions")
    html = out.read_text(encoding="utf-8")
    with pytest.raises(AssertionError):
        check_page(html, _wrong(content, *places))


@pytest.mark.parametrize("name", ["sts-b-dir/all", "sts-b-dir/yang", "drawn-faces"])
def test_committed_results_of_earlier_formats_have_a_page(name, tmp_path):
    content = read_results(ROOT / "results" / name)
    html = write_page(content, tmp_path / "report.html").read_text(encoding="utf-8")
    check_page(html, content)
    _check_files(html, tmp_path / "report")
    page = read(html)
    lowest = min(
        (row for row in content["summary"]), key=lambda row: row["test"]["all"]["mse"]["mean"]
    )
    if "mse" in content.get("headline", ["mse"]):
        assert f"lowest for {lowest.get('alias_of', lowest['method'])}" in page.texts["h1"][0]


def test_the_largest_sweep_is_small_enough(tmp_path):
    content = results("all", bins=200, epochs=60, dropped=[(1.5, 2.5)])
    page = write_page(content, tmp_path / "report.html")
    assert page.stat().st_size < 5e6
    html = page.read_text(encoding="utf-8")
    check_page(html, content)
    assert {"05-ranks-rest"} == set(read(html).figures) - set(PICTURES)


def test_the_same_results_give_the_same_bytes(made, tmp_path):
    content, first = made("four")
    write_page(content, tmp_path / "report.html")
    files = sorted(first.parent.rglob("*.*"))
    assert len(files) == 17 - 2  # no gaps
    for path in files:
        other = tmp_path / path.relative_to(first.parent)
        assert path.read_bytes() == other.read_bytes(), path.name


def test_pictures_of_an_earlier_page_go_and_nothing_else(tmp_path):
    folder = tmp_path / "page"
    folder.mkdir()
    (folder / "04-gaps.svg").write_text("of an earlier page")
    (folder / "mine.svg").write_text("mine")
    write_page(bare(results(PAIR)), tmp_path / "page.html")
    assert not (folder / "04-gaps.svg").exists()
    assert (folder / "mine.svg").is_file()
    assert not list(tmp_path.rglob(".*"))


def test_gaps_of_further_sweeps_are_shown_with_their_commands(tmp_path):
    first, other = bare(results(PAIR)), results(PAIR, bins=100, dropped=[(1, 2)])
    other["command"] += " --drop-labels 1-2"
    html = write_page(first, tmp_path / "report.html", [other]).read_text(encoding="utf-8")
    check_page(html, first, [other])
    page = read(html)
    assert any("1-2 dropped" in text for text in page.texts["summary"])
    assert page.texts["pre"].count(other["command"]) == 2  # part 4 and part 7


def test_without_a_gap_the_page_says_how_to_make_one():
    content = results(("vanilla",), bins=10)
    part = gaps_part(Sweep(content), [])
    assert "there is no gap to look into" in part.told[0]
    assert part.commands == (f"{content['command']} --drop-labels 2-3",)


def test_no_more_certainty_than_the_intervals_allow():
    def told(content):
        return " ".join(table_part(Sweep(content))[0].told)

    content = results(("vanilla", "inv"))
    effect = content["summary"][1]["vs_baseline"]["test"]["all"]["mse"]
    effect |= {"ci_total": [-0.2, -0.1], "ci_adjusted": [-0.3, 0.1]}
    assert "lies below zero for 1 (inv) and above zero for none." in told(content)
    assert "none does" in told(content)
    effect |= {"ci_adjusted": [-0.3, -0.05]}
    assert "inv still does" in told(content)
    effect |= {"ci_total": [-0.2, 0.1]}
    assert "lies below zero for none and above zero for none." in told(content)
    effect |= {"ci_adjusted": [-0.3, 0.1], "seeds_needed": 12}
    assert told(content).endswith("about so many seeds would be needed: 12 for inv.")
    assert "at least 3 are needed" in told(results(("vanilla", "inv"), seeds=1))
    two = results(("vanilla", "inv"), seeds=2)
    assert "Two seeds are too few to call a method better or worse: at least 3" in told(two)
    _, boards = table_part(Sweep(two))
    bars = [score.bar for board in boards for line in board.lines for score in line.scores]
    assert {bar.kind for bar in bars if bar} == {"unsure"}


def test_what_comes_from_data_is_text(tmp_path):
    html = write_page(evil(), tmp_path / "report.html").read_text(encoding="utf-8")
    assert html.count("<script") == 1
    assert "<img" not in html
    assert "{{7*7}}" in html
    assert "&lt;img src=x" in html
    _check_files(html, tmp_path / "report")


def test_the_policy_lets_in_the_style_and_the_script_alone(made):
    html = made("four")[1].read_text(encoding="utf-8")
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', html)[1]
    for tag in ("style", "script"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")
    assert not re.search(r"<[^>]+\sstyle=", html)
    assert not re.search(r"""(?:src|href)=["'](?:https?:|//)""", html)
    ids = re.findall(r'\sid="([^"]*)"', html)
    assert len(ids) == len(set(ids))


def test_identical_values_make_no_picture_fail(tmp_path):
    content = results(PAIR, seeds=2, bins=9)
    for run in content["runs"]:
        run["result"]["error_by_bin"]["mse"] = [0.0 if n else None for n in run["result"]["error_by_bin"]["n"]]
        run["result"]["curves"]["val"] = [None] * len(run["result"]["curves"]["val"])
        run["result"]["seconds"], run["result"]["peak_memory_mb"] = 0.0, None
        run["result"]["ranks"]["agreement"] = None
        if "projection" in run["result"]:
            run["result"]["projection"] |= {"pca": [[0.0, 0.0]] * 120, "tsne": None, "labels": [1.0] * 120}
    html = write_page(content, tmp_path / "report.html").read_text(encoding="utf-8")
    assert set(np.ravel([row[4:] for row in rows(read(html), "error")])) == {0.0}


def test_huge_and_tiny_errors_are_told():
    content = results(("vanilla", "inv"), seeds=2)
    for row in content["summary"]:
        row["test"]["all"]["mse"]["mean"] *= 1e12
        row["test"]["all"]["mae"]["mean"] *= 1e-7
    part, boards = table_part(Sweep(content))
    assert "e+11" in part.told[0]
    texts = {board.metric: board.lines[0].scores[0].text for board in boards}
    assert texts["mse"].endswith("e+11")
    assert float(texts["mae"]) == pytest.approx(
        content["summary"][0]["test"]["all"]["mae"]["mean"], 0.01
    )


def _check_files(html, folder):
    page = read(html)
    names = sorted(path.name for path in folder.glob("*")) if folder.is_dir() else []
    assert names == sorted(f"{name}.{end}" for name in page.figures for end in ("png", "svg"))
    for path in folder.glob("*.svg"):
        ElementTree.fromstring(path.read_text(encoding="utf-8"))
    for path in folder.glob("*.png"):
        assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("bins", [3, 8, 17])
def test_agreement_by_chance(bins):
    """Of features that know nothing: an anchor is most similar to itself, the rest is drawn."""
    from scipy.stats import rankdata, spearmanr

    draw = np.random.default_rng(0)
    found = []
    for _ in range(4000):
        labels = draw.random(bins)
        by_label = rankdata(np.abs(labels - labels[0]))
        by_feature = np.concatenate([[1], 1 + rankdata(draw.random(bins - 1))])
        found.append(spearmanr(by_label, by_feature).statistic)
    assert np.mean(found) == pytest.approx(chance_agreement(bins), abs=0.02)


def test_the_note_of_gaps_speaks_of_the_methods_drawn_there(tmp_path):
    """A sweep of many methods without a gap, beside one of two with."""
    many = results("all", seeds=1)
    few = results(("vanilla", "vanilla+ranksim"), seeds=2, dropped=((2, 3),))
    html = write_page(many, tmp_path / "page.html", [few]).read_text(encoding="utf-8")
    (note,) = re.findall(
        r"A mean over seeds and over the test samples at that distance([^<]*)", html
    )
    assert "other method" not in note
