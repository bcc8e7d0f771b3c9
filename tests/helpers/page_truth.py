"""Whether a page is true to its ``results.json``: each of its parts, computed again and slowly."""

import math
import re
from collections import defaultdict
from html.parser import HTMLParser

import numpy as np
import pytest

PICTURES = (
    "01-labels", "02-change", "03-error", "04-gaps", "05-ranks", "06-features", "07-curves",
    "07-cost",
)  # fmt: skip
ERRORS = ("mae", "mse")


class _Reader(HTMLParser):
    """Tables, texts by tag, and pictures of a page."""

    def __init__(self):
        super().__init__()
        self.tables, self.heads, self.texts, self.figures = {}, {}, defaultdict(list), []
        self.table = self.cell = None
        self.open = []

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        if tag == "table":
            self.table = a.get("data-sheet") or a.get("data-board")
            self.tables[self.table], self.heads[self.table] = [], []
        if tag == "tr" and self.table:
            self.tables[self.table].append([])
        if tag in ("td", "th") and self.table:
            self.cell = dict(a, text="", title="", tag=tag)
            self.tables[self.table][-1].append(self.cell)
        if tag == "figure":
            self.figures.append(a["id"].removeprefix("figure-"))
        if tag in ("h1", "p", "pre", "dd", "title", "summary"):
            self.texts[tag].append("")
        self.open.append(tag)

    def handle_endtag(self, tag):
        while self.open and self.open.pop() != tag:
            pass
        if tag == "table":
            self.table = None
        if tag in ("td", "th"):
            self.cell = None

    def handle_data(self, data):
        if self.cell is not None:
            self.cell["title" if self.open[-1] == "title" else "text"] += data
        for tag in ("h1", "p", "pre", "dd", "title", "summary"):
            if tag in self.open and self.texts[tag]:
                self.texts[tag][-1] += data


def read(html):
    """What stands on a page."""
    reader = _Reader()
    reader.feed(html)
    return reader


def rows(page, name):
    """The body of a table: texts and numbers."""
    return [[_value(cell) for cell in row] for row in page.tables[name][1:]]


def head(page, name):
    return [cell["text"] for cell in page.tables[name][0]]


def _value(cell):
    if "data-v" not in cell:
        return cell["text"]
    return math.nan if cell["data-v"] == "" else float(cell["data-v"])


def check_page(html, results, more=()):
    """Hold each part of a page against the results that it was made from."""
    page = read(html)
    done = [run for run in results["runs"] if run["status"] == "done"]
    _check_head(page, results)
    _check_labels(page, results["labels"])
    _check_boards(page, results, done)
    error = next((m for m in results["headline"] if m in ERRORS), "mse")
    _check_along(page, results, done, error)
    for i, each in enumerate(
        each for each in (results, *more) if any(run["result"].get("gaps") for run in each["runs"])
    ):
        own = each is results
        _check_gaps(page, "gaps" if own else f"gaps-{i}", each, error)
    _check_ranks(page, done)
    _check_features(page, done)
    _check_training(page, results, done)
    _check_lines(html, page, results, done, error)
    for name in PICTURES:
        assert (name in page.figures) == _wanted(name, results, more, done), name


def _wanted(name, results, more, done):
    field = {"03": "error_by_bin", "05": "ranks", "06": "projection", "07": "curves"}.get(name[:2])
    if name == "01-labels":
        return bool(results["labels"])
    if name == "02-change":
        base = results["baseline"] or "vanilla"
        seeds = {run["identity"]["seed"] for run in done if run["identity"]["method"] == base}
        return any(
            run["identity"]["seed"] in seeds and run["identity"]["method"] != base for run in done
        )
    if name == "04-gaps":
        return any(run["result"].get("gaps") for each in (results, *more) for run in each["runs"])
    if name == "07-cost":
        return bool(done)
    return any(run["result"].get(field) for run in done)


def _close(found, expected, tolerance=1e-5):
    __tracebackhide__ = True
    assert found == pytest.approx(expected, rel=tolerance, abs=1e-9, nan_ok=True)


def _mean(values):
    return math.nan if any(v is None for v in values) else sum(values) / len(values)


def _by_method(done, field):
    found = defaultdict(list)
    for run in done:
        if run["result"].get(field):
            found[run["identity"]["method"]].append(run)
    return found


def _check_head(page, results):
    answer = results.get("answer")
    if answer:
        (first,) = page.texts["h1"]
        assert answer["sentence"] in (first, f"{first} {page.texts['p'][1]}")
        for told in answer["regions"].values():
            assert told["sentence"] in page.texts["dd"]
    else:
        assert len(page.texts["h1"][0]) > 20


def _check_labels(page, labels):
    if labels is None:
        assert any("holds no label distribution" in text for text in page.texts["p"])
        return
    table = rows(page, "labels")
    assert len(table) == len(labels["train"])
    for k, (low, high, train, test, region) in enumerate(table):
        _close([low, high], labels["edges"][k : k + 2])
        assert (train, test) == (labels["train"][k], labels["test"][k])
        assert region == labels["regions"][k] + ("" if train else ", never seen")
    told = " ".join(page.texts["p"])
    assert f"{sum(labels['train']):,} training label" in told
    blind = sum(t for t, n in zip(labels["test"], labels["train"], strict=True) if n == 0)
    assert f"{blind:,} test sample" in told or "Every test sample lies in a bin" in told
    for dropped in labels["dropped"]:
        assert dropped in told


def _check_boards(page, results, done):
    scores = defaultdict(lambda: defaultdict(list))
    for run in done:
        for region, metrics in run["result"]["metrics"]["test"].items():
            for metric, value in metrics.items():
                scores[run["identity"]["method"]][region, metric].append(value)
    seen = 0
    for metric in ("mse", "mae", "gm", "pearson", "spearman"):
        if metric not in page.tables:
            continue
        titles = page.tables[metric][0]
        for row, cells in zip(results["summary"], page.tables[metric][1:], strict=True):
            assert cells[0]["data-v"] == row["method"]
            own = scores[row.get("alias_of", row["method"])]
            for title, cell in zip(titles[1:], cells[1:], strict=True):
                if "data-published" in title:
                    figures = (row["published"] or {}).get(metric, {})
                    figure = figures.get(title["data-published"])
                    _close(_value(cell), math.nan if figure is None else figure)
                    continue
                region = title["data-region"]
                known = [v for v in own[region, metric] if v is not None]
                _close(_value(cell), float(np.mean(known)) if known else math.nan)
                if len(known) > 1:
                    sd = float(np.std(known, ddof=1))
                    digits = len(cell["data-sd"].partition(".")[2])
                    assert cell["data-sd"] == f"{sd:.{digits}f}"
                _check_bar(cell, row, region, metric)
                seen += 1
        for run in results["runs"]:
            if run["status"] != "done":
                names = [r["method"] for r in results["summary"]]
                keys = [r.get("alias_of", r["method"]) for r in results["summary"]]
                cells = page.tables[metric][1 + keys.index(run["identity"]["method"])]
                assert "failed" in cells[0]["text"], names
    assert seen or not done


def _check_bar(cell, row, region, metric):
    effect = ((row.get("vs_baseline") or {}).get("test", {}).get(region) or {}).get(metric)
    if not effect or effect["ci_seeds"] is None:
        return
    ends = effect.get("ci_total") or effect["ci_seeds"]
    if not any(ends) or not cell["title"]:
        assert not any(ends)
        return
    told = cell["title"].replace("−", "-").replace(",", "")
    found = [float(number) for number in re.findall(r"([-+][\d.]+) to ([-+][\d.]+)", told)[0]]
    digits = len(re.findall(r"to [-+]\d+\.?(\d*)", told)[0])
    assert found == pytest.approx(ends, abs=0.51 * 10**-digits)


def _check_along(page, results, done, error):
    runs = _by_method(done, "error_by_bin")
    if not runs or not results["labels"]:
        assert any("no error by label bin" in text for text in page.texts["p"])
        return
    edges, train = results["labels"]["edges"], results["labels"]["train"]
    table = rows(page, "error")
    assert 1 <= len(table) <= 30
    last = max(k for k, n in enumerate(results["labels"]["test"]) if n)  # that is tested
    _close(table[0][0], edges[0])
    assert min(abs(table[-1][1] - end) for end in edges[last + 1 :]) <= 1e-5 * abs(table[-1][1])
    methods = head(page, "error")[4:]
    assert sorted(methods) == sorted(runs)
    for low, high, samples, training, *values in table:
        inside = [
            k for k in range(len(train))
            if edges[k] >= low - 1e-4 * abs(low) - 1e-9
            and edges[k + 1] <= high + 1e-4 * abs(high) + 1e-9
        ]  # fmt: skip
        assert training == sum(train[k] for k in inside)
        for method, value in zip(methods, values, strict=True):
            means = []
            for run in runs[method]:
                n, errors = run["result"]["error_by_bin"]["n"], run["result"]["error_by_bin"][error]
                assert samples == sum(n[k] for k in inside) > 0
                means.append(sum(n[k] * errors[k] for k in inside if n[k]) / samples)
            _close(value, _mean(means))


def _check_gaps(page, name, results, error):
    runs = _by_method([run for run in results["runs"] if run["status"] == "done"], "gaps")
    methods = head(page, name)[3:]
    assert sorted(methods) == sorted(runs)
    for g, (low, high, samples, *values) in enumerate(rows(page, name)):
        for method, value in zip(methods, values, strict=True):
            gaps = [run["result"]["gaps"] for run in runs[method]]
            _close([low, high], gaps[0]["distance"][g : g + 2])
            assert {each["n"][g] for each in gaps} == {samples}
            _close(value, _mean([each[error][g] for each in gaps]))


def _numbers(text):
    return [math.nan if word == "–" else float(word) for word in text.split()]


def _check_ranks(page, done):
    runs = _by_method(done, "ranks")
    if not runs:
        assert any("no rank matrices" in text for text in page.texts["p"])
        return
    agreement = {method: value for method, value, _ in rows(page, "agreement")}
    matrices = defaultdict(list)
    for space, _, ranks in rows(page, "ranks"):
        matrices[space].append(_numbers(ranks))
    assert set(agreement) == set(runs) == set(matrices) - {"labels"}
    for method, own in runs.items():
        known = [v for run in own if (v := run["result"]["ranks"]["agreement"]) is not None]
        _close(agreement[method], _mean(known or [None]))
        for a, row in enumerate(matrices[method]):
            for b, value in enumerate(row):
                _close(value, _mean([run["result"]["ranks"]["feature"][a][b] for run in own]), 1e-4)
    _close(np.ravel(matrices["labels"]), np.ravel(own[0]["result"]["ranks"]["label"]), 1e-4)


def _check_features(page, done):
    found = {
        run["identity"]["method"]: run["result"]["projection"]
        for run in reversed(done)
        if run["result"].get("projection")
    }
    if not found:
        assert any("no feature map" in text for text in page.texts["p"])
        return
    titles = head(page, "features")[1:]
    assert len(titles) == 2 * min(6, len(found))
    for p, (label, *places) in enumerate(rows(page, "features")):
        for title, place in zip(titles, places, strict=True):
            method, _, kind = title.rpartition(", ")
            own = found[method]
            _close(label, own["labels"][p])
            points = own["pca" if kind == "PCA" else "tsne"]
            if points is not None:
                assert _numbers(place) == pytest.approx(points[p], rel=1e-4, abs=1e-6)


def _check_training(page, results, done):
    curves = {
        (method, seed): _numbers(values)
        for method, seed, _, values in (rows(page, "curves") if "curves" in page.tables else ())
    }
    for run in done:
        if run["result"].get("curves"):
            val = [math.nan if v is None else v for v in run["result"]["curves"]["val"]]
            _close(curves.pop((run["identity"]["method"], str(run["identity"]["seed"]))), val, 1e-4)
    assert not curves
    if done:
        costs = {(row[0], row[1]): row[2:] for row in rows(page, "cost")}
        assert len(costs) == len(done)
        for run in done:
            seconds, memory, *_ = costs[run["identity"]["method"], str(run["identity"]["seed"])]
            _close(seconds, run["result"]["seconds"])
            peak = run["result"].get("peak_memory_mb")
            _close(memory, math.nan if peak is None else peak)
    assert results["command"] in page.texts["pre"]
    made = " ".join(" ".join(row) for row in rows(page, "made"))
    for name, version in results["provenance"]["versions"].items():
        assert f"{name} {version}" in made
    assert results["provenance"]["commit"] is None or results["provenance"]["commit"] in made


def _check_lines(html, page, results, done, error):
    """The baseline's line in the picture is its row of numbers, scaled."""
    if "error" not in page.tables:
        return
    base = results["baseline"] or "vanilla"
    base = results["reported_methods"].get(base, base)
    methods = head(page, "error")[4:]
    if base not in methods:
        return
    values = [row[4 + methods.index(base)] for row in rows(page, "error")]
    picture = html[html.index('id="figure-03-error"') :]
    drawn = re.search(
        r'<path d="([^"]*)"[^>]*fill="none" stroke="#3d4650" stroke-width="2.2"', picture
    )
    y = [float(number) for number in re.findall(r"[ML] \S+ (\S+)", drawn[1])]
    assert len(y) == len(values)
    if max(values) > min(values):
        slope, start = np.polyfit(values, y, 1)
        assert slope < 0
        assert np.abs(np.polyval((slope, start), values) - y).max() < 0.05
