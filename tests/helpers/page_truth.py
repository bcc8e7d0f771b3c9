"""Check a report page against its ``results.json`` by computing each number again, slowly."""

import functools
import math
import re
from collections import defaultdict
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from ranksim.evaluation.conclusion import draw_conclusion

PICTURES = (
    "01-labels", "02-change", "03-error", "04-gaps", "05-ranks", "06-features", "07-curves",
    "07-cost",
)  # fmt: skip
ERRORS = ("mae", "mse")


class _Reader(HTMLParser):
    """Collect the tables, texts by tag and pictures of a page."""

    def __init__(self):
        super().__init__()
        self.tables, self.heads, self.texts, self.figures = {}, {}, defaultdict(list), []
        self.table = self.cell = None
        self.open = []

    def handle_starttag(self, tag, attributes):
        a = dict(attributes)
        if tag == "table":
            self.table = a.get("data-table") or a.get("data-metric")
            self.tables[self.table], self.heads[self.table] = [], []
        if tag == "tr" and self.table:
            self.tables[self.table].append([])
        if tag in ("td", "th") and self.table:
            self.cell = dict(a, text="", title="", tag=tag)
            self.tables[self.table][-1].append(self.cell)
        if tag == "figure":
            self.figures.append(a["id"].removeprefix("figure-"))
        if tag in ("h1", "p", "pre", "dt", "dd", "title", "summary"):
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
        for tag in ("h1", "p", "pre", "dt", "dd", "title", "summary"):
            if tag in self.open and self.texts[tag]:
                self.texts[tag][-1] += data


@functools.lru_cache(4)
def read(html):
    """Parse a page."""
    reader = _Reader()
    reader.feed(html)
    return reader


def rows(page, name):
    """Return the body of a table as texts and numbers."""
    return [[_value(cell) for cell in row] for row in page.tables[name][1:]]


def head(page, name):
    return [cell["text"] for cell in page.tables[name][0]]


def _value(cell):
    if "data-v" not in cell:
        return cell["text"]
    return math.nan if cell["data-v"] == "" else float(cell["data-v"])


def check_page(html, results, others=()):
    """Check each section of a page against the results that it was built from."""
    page = read(html)
    done = [run for run in results["runs"] if run["status"] == "done"]
    error = next((m for m in results["headline"] if m in ERRORS), "mse")
    _check_head(page, results)
    _check_labels(page, results.get("labels"))
    _check_scores(page, results, done)
    _check_views(page, results, error)
    _check_errors(page, results, done, error)
    _check_largest_errors(page, results)
    sweeps = [sweep for sweep in (results, *others) if _has(sweep["runs"], "gaps")]
    for i, sweep in enumerate(sweeps):
        _check_gaps(page, "gaps" if sweep is results else f"gaps-{i}", sweep, error)
    _check_ranks(page, done)
    _check_features(page, done)
    _check_training(page, results, done)
    _check_lines(html, page, results, error)
    for name in PICTURES:
        assert (name in page.figures) == _is_expected(name, results, sweeps, done), name


def _has(runs, field):
    return any(run["result"].get(field) for run in runs)


def _is_expected(name, results, sweeps_with_gaps, done):
    fields = {"03": "error_by_bin", "05": "ranks", "06": "projection", "07": "curves"}
    if name == "01-labels":
        return bool(results.get("labels"))
    if name == "02-change":
        base = results["baseline"] or "vanilla"
        identities = [run["identity"] for run in done]
        seeds = {run["seed"] for run in identities if run["method"] == base}
        return any(run["seed"] in seeds and run["method"] != base for run in identities)
    if name == "04-gaps":
        return bool(sweeps_with_gaps)
    if name == "07-cost":
        return bool(done)
    return _has(done, fields[name[:2]])


def _close(actual, expected, tolerance=1e-5):
    __tracebackhide__ = True
    assert actual == pytest.approx(expected, rel=tolerance, abs=1e-9, nan_ok=True)


def _mean(values):
    return math.nan if any(v is None for v in values) else sum(values) / len(values)


def _by_method(runs, field):
    results = defaultdict(list)
    for run in runs:
        if run["status"] == "done" and run["result"].get(field):
            results[run["identity"]["method"]].append(run["result"])
    return results


def _check_head(page, results):
    (headline,) = page.texts["h1"]
    conclusion = results.get("conclusion")
    if not conclusion:
        assert len(headline) > 20
        return
    if "headline" not in conclusion:  # of an earlier version
        names = (results["summary"], results["baseline"], conclusion["error"], results["labels"])
        conclusion = draw_conclusion(*names)
    assert headline == conclusion["headline"]
    titles = zip(page.texts["dt"], page.texts["dd"], strict=True)
    points = [(point["title"], point["sentence"]) for point in conclusion["points"]]
    assert list(titles)[: len(points)] == points
    for region in conclusion["regions"].values():
        assert region["sentence"] in page.texts["dd"]


def _check_labels(page, labels):
    if labels is None:
        assert any("no label distribution" in text for text in page.texts["p"])
        return
    table = rows(page, "labels")
    assert len(table) == len(labels["train"])
    for k, (low, high, train, test, region) in enumerate(table):
        _close([low, high], labels["edges"][k : k + 2])
        assert (train, test) == (labels["train"][k], labels["test"][k])
        assert region == labels["regions"][k] + ("" if train else ", unseen")
    text = " ".join(page.texts["p"])
    assert f"{sum(labels['train']):,} training label" in text
    unseen = sum(t for t, n in zip(labels["test"], labels["train"], strict=True) if n == 0)
    assert f"{unseen:,} test sample" in text or "Every test sample lies in a bin" in text
    for dropped in labels["dropped"]:
        assert dropped in text


def _check_scores(page, results, done):
    scores: Any = defaultdict(lambda: defaultdict(list))
    for run in done:
        for region, metrics in run["result"]["metrics"]["test"].items():
            for metric, value in metrics.items():
                scores[run["identity"]["method"]][region, metric].append(value)
    checked = 0
    keys = [row.get("alias_of", row["method"]) for row in results["summary"]]
    for metric in ("mse", "mae", "gm", "pearson", "spearman", "ccc", "sera"):
        if metric not in page.tables:
            continue
        titles, *table = page.tables[metric]
        for key, row, cells in zip(keys, results["summary"], table, strict=True):
            assert cells[0]["data-v"] == row["method"]
            for title, cell in zip(titles[1:], cells[1:], strict=True):
                if "data-published" in title:
                    figures = (row["published"] or {}).get(metric, {})
                    figure = figures.get(title["data-published"])
                    _close(_value(cell), math.nan if figure is None else figure)
                    continue
                region, score = title["data-region"], metric
                if region == "balanced":  # the mean over label bins
                    region, score = "all", f"balanced_{metric}"
                known = [v for v in scores[key][region, score] if v is not None]
                _close(_value(cell), float(np.mean(known)) if known else math.nan)
                if len(known) > 1:
                    digits = len(cell["data-sd"].partition(".")[2])
                    assert cell["data-sd"] == f"{np.std(known, ddof=1):.{digits}f}"
                _check_bar(cell, row, region, score)
                checked += 1
        for run in results["runs"]:
            if run["status"] != "done":
                assert "failed" in table[keys.index(run["identity"]["method"])][0]["text"]
    assert checked or not done


def _check_views(page, results, error):
    scored = [row for row in results["summary"] if row.get("views")]
    assert ("views" in page.tables) == bool(scored)
    if not scored:
        return
    titles, *table = page.tables["views"]
    assert [title["data-region"] for title in titles[1:]] == ["balanced", "as_is", "inverse"]
    for row, cells in zip(scored, table, strict=True):
        assert cells[0]["data-v"] == row["method"]
        for title, cell in zip(titles[1:], cells[1:], strict=True):
            view = title["data-region"]
            _close(_value(cell), row["views"][view][error]["mean"])
            _check_bar(cell, row, view, error, "views")
    counts = results["labels"]["views"]
    pairs = zip(counts["rows"], counts["test"], strict=True)
    uncovered = sum(rows for rows, test in pairs if not test)
    note = f"{uncovered:,} of {sum(counts['rows']):,} rows have labels without a test sample"
    assert any(note in text for text in page.texts["p"]) == bool(uncovered)


def _check_largest_errors(page, results):
    content = results.get("largest_errors")
    assert ("largest" in page.tables) == bool(content)
    if not content:
        return
    table = rows(page, "largest")
    assert len(table) == len(content["samples"])
    for cells, sample in zip(table, content["samples"], strict=True):
        assert str(sample.get("line", sample.get("row"))) in cells
        values = [cell for cell in cells if isinstance(cell, float)]
        _close(values, [sample["label"], *sample["predictions"]])


def _check_bar(cell, row, region, metric, part="test"):
    test = (row.get("vs_baseline") or {}).get(part, {})
    effect: Any = (test.get(region) or {}).get(metric)
    is_sure = bool(effect and effect.get("ci_adjusted")) and math.prod(effect["ci_adjusted"]) > 0
    is_better = is_sure and (effect["mean"] < 0) == (metric in (*ERRORS, "gm"))
    assert ("✓" in cell["text"]) == (is_sure and is_better)
    assert ("✗" in cell["text"]) == (is_sure and not is_better)
    if not effect or effect["ci_seeds"] is None:
        return
    ends = effect.get("ci_total") or effect["ci_seeds"]
    if not any(ends) or not cell["title"]:
        assert not any(ends)
        return
    text = cell["title"].replace("−", "-").replace(",", "")
    numbers = re.findall(r"([-+][\d.]+) to ([-+][\d.]+)", text)[0]
    digits = len(re.findall(r"to [-+]\d+\.?(\d*)", text)[0])
    assert [float(n) for n in numbers] == pytest.approx(ends, abs=0.51 * 10**-digits)


def _check_errors(page, results, done, error):
    by_method = _by_method(done, "error_by_bin")
    if not by_method or not results.get("labels"):
        assert any("no errors per label bin" in text for text in page.texts["p"])
        return
    edges, train = results["labels"]["edges"], results["labels"]["train"]
    table = rows(page, "error")
    assert 1 <= len(table) <= 30
    last = max(k for k, n in enumerate(results["labels"]["test"]) if n)
    _close(table[0][0], edges[0])
    assert min(abs(table[-1][1] - end) for end in edges[last + 1 :]) <= 1e-5 * abs(table[-1][1])
    methods = head(page, "error")[4:]
    assert sorted(methods) == sorted(by_method)
    for low, high, samples, training, *values in table:
        inside = [
            k for k in range(len(train))
            if edges[k] >= low - 1e-4 * abs(low) - 1e-9
            and edges[k + 1] <= high + 1e-4 * abs(high) + 1e-9
        ]  # fmt: skip
        assert training == sum(train[k] for k in inside)
        for method, value in zip(methods, values, strict=True):
            means = []
            for result in by_method[method]:
                n, errors = result["error_by_bin"]["n"], result["error_by_bin"][error]
                assert samples == sum(n[k] for k in inside) > 0
                means.append(sum(n[k] * errors[k] for k in inside if n[k]) / samples)
            _close(value, _mean(means))


def _check_gaps(page, name, results, error):
    by_method = _by_method(results["runs"], "gaps")
    methods = head(page, name)[3:]
    assert sorted(methods) == sorted(by_method)
    for g, (low, high, samples, *values) in enumerate(rows(page, name)):
        for method, value in zip(methods, values, strict=True):
            gaps = [result["gaps"] for result in by_method[method]]
            _close([low, high], gaps[0]["distance"][g : g + 2])
            assert {gap["n"][g] for gap in gaps} == {samples}
            _close(value, _mean([gap[error][g] for gap in gaps]))


def _numbers(text):
    return [math.nan if word == "–" else float(word) for word in text.split()]


def _check_ranks(page, done):
    by_method = {m: [r["ranks"] for r in group] for m, group in _by_method(done, "ranks").items()}
    if not by_method:
        assert any("no rank matrices" in text for text in page.texts["p"])
        return
    agreement = {method: value for method, value, _ in rows(page, "agreement")}
    matrices = defaultdict(list)
    for space, _, ranks in rows(page, "ranks"):
        matrices[space].append(_numbers(ranks))
    assert set(agreement) == set(by_method) == set(matrices) - {"labels"}
    for method, group in by_method.items():
        known = [ranks["agreement"] for ranks in group if ranks["agreement"] is not None]
        _close(agreement[method], _mean(known or [None]))
        _close(matrices[method], np.mean([ranks["feature"] for ranks in group], axis=0), 1e-4)
    _close(matrices["labels"], np.array(group[0]["label"]), 1e-4)


def _check_features(page, done):
    by_method = _by_method(done, "projection")
    if not by_method:
        assert any("no feature projections" in text for text in page.texts["p"])
        return
    titles = head(page, "features")[1:]
    assert len(titles) == 2 * min(6, len(by_method))
    for p, (label, *places) in enumerate(rows(page, "features")):
        for title, place in zip(titles, places, strict=True):
            method, _, kind = title.rpartition(", ")
            projection = by_method[method][0]["projection"]
            _close(label, projection["labels"][p])
            points = projection["pca" if kind == "PCA" else "tsne"]
            if points is not None:
                assert _numbers(place) == pytest.approx(points[p], rel=1e-4, abs=1e-6)


def _check_training(page, results, done):
    curves = {
        (method, seed): _numbers(values)
        for method, seed, _, values in (rows(page, "curves") if "curves" in page.tables else ())
    }
    costs = {tuple(row[:2]): row[2:] for row in (rows(page, "cost") if done else ())}
    assert len(costs) == len(done)
    for run in done:
        result, key = run["result"], (run["identity"]["method"], str(run["identity"]["seed"]))
        if result.get("curves"):
            val = [math.nan if v is None else v for v in result["curves"]["val"]]
            _close(curves.pop(key), val, 1e-4)
        seconds, memory, *_ = costs[key]
        _close(seconds, result["seconds"])
        peak = result.get("peak_memory_mb")
        _close(memory, math.nan if peak is None else peak)
    assert not curves
    assert results["command"] in page.texts["pre"]
    text = " ".join(" ".join(row) for row in rows(page, "provenance"))
    for name, version in results["provenance"]["versions"].items():
        assert f"{name} {version}" in text
    assert (results["provenance"]["commit"] or "") in text


def _check_lines(html, page, results, error):
    """Check that the baseline's line in the picture is its row of numbers, scaled."""
    if "error" not in page.tables:
        return
    base = results["baseline"] or "vanilla"
    base = results["reported_methods"].get(base, base)
    methods = head(page, "error")[4:]
    if base not in methods:
        return
    values = [row[4 + methods.index(base)] for row in rows(page, "error")]
    picture = html[html.index('id="figure-03-error"') :]
    path = next(
        tag
        for tag in re.findall(r"<path [^>]*>", picture)
        if all(f'{k}="{v}"' in tag for k, v in (("stroke", "#3d4650"), ("stroke-width", "2.2")))
    )
    (line,) = re.findall(r' d="([^"]*)', path)
    y = [float(number) for number in re.findall(r"[ML] \S+ (\S+)", line)]
    assert len(y) == len(values)
    if max(values) > min(values):
        slope, start = np.polyfit(values, y, 1)
        assert slope < 0
        assert np.abs(np.polyval((slope, start), values) - y).max() < 0.05
