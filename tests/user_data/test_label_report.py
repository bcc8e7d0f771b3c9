import json
import time

import numpy as np
import pytest

from ranksim.data.binning import suggest_bins
from ranksim.data.reading import read_delimited
from ranksim.data.table import Table
from ranksim.exceptions import DataError
from ranksim.imbalance.bins import parse_ranges
from ranksim.user_data.label_report import make_label_report
from tests.helpers.errors import raises_with


def table(**columns):
    return Table.from_columns("data", columns)


@pytest.fixture
def messy(tmp_path):
    rows = ["1", "", "2", "NA", "x", "2", "inf", "2", "9", "True", "?", "-", "null", "nan", "1"]
    path = tmp_path / "t.csv"
    path.write_text("k,y\n" + "".join(f"{k % 3},{y}\n" for k, y in enumerate(rows)))
    return read_delimited(path)


def test_unusable_targets_are_counted_by_line(messy):
    report = make_label_report(messy, "y")
    assert report["rows"] == 15
    assert report["line_unit"] == "line"
    assert report["labels"]["count"] == 6
    assert report["missing"]["count"] == 6
    assert report["missing"]["lines"] == [3, 5, 12, 13, 14]
    assert report["missing"]["values"] == ["''", "'NA'", "'?'", "'-'", "'null'"]
    assert (report["not_numbers"]["count"], report["not_numbers"]["lines"]) == (2, [6, 11])
    assert report["not_numbers"]["values"] == ["'x'", "'True'"]
    assert report["infinite"] == {"count": 1, "lines": [8], "values": ["'inf'"]}
    assert report["duplicates"] == 1  # the row 2,2 stands twice


def slow_gaps(edges, counts, labels):
    """Every run of empty bins between the first and the last bin of a label."""
    gaps, k = [], 0
    while k < len(counts):
        end = k
        while end < len(counts) and counts[end] == 0:
            end += 1
        if end > k:
            low, high = edges[k], edges[end]
            below = [label for label in labels if np.float32(label) < np.float32(low)]
            above = [label for label in labels if np.float32(label) >= np.float32(high)]
            gaps.append({"low": low, "high": high, "below": max(below, default=None),
                         "above": min(above, default=None)})  # fmt: skip
        k = end + 1
    return gaps


@pytest.mark.parametrize(
    ("seed", "drop"), [(0, ""), (1, "3-5"), (2, ">6,<0.5"), (3, "1..2,4..5"), (0, "3-5"), (3, "")]
)
def test_report_matches_plain_counting(seed, drop):
    draw = np.random.default_rng(seed)
    labels = np.round(draw.exponential(2, 400), seed).tolist()
    ranges = parse_ranges(drop) if drop else ()
    report = make_label_report(
        table(y=labels), "y", width=0.5, many=20, few=5, drop=ranges,
        named=dict(zip(("low", "high"), parse_ranges("<1,>=3"), strict=True)),
    )  # fmt: skip
    remaining = [x for x in labels if not any(each.contains([x])[0] for each in ranges)]
    assert report["dropped"] == {
        "ranges": [each.text for each in ranges],
        "count": len(labels) - len(remaining),
    }
    edges, counts = report["bins"]["edges"], report["bins"]["counts"]
    assert edges == [0.5 * k for k in range(len(edges))]
    assert edges[-2] <= max(labels) < edges[-1]
    for k, count in enumerate(counts):
        assert count == sum(edges[k] <= x < edges[k + 1] for x in remaining)
        name = "many" if count > 20 else "few" if count < 5 else "medium"
        assert report["bins"]["regions"][k] == name
    for name, region in report["regions"].items():
        counts_of_region = [
            n for n, r in zip(counts, report["bins"]["regions"], strict=True) if r == name
        ]
        assert region["bins"] == sum(n > 0 for n in counts_of_region)
        assert region["count"] == sum(counts_of_region)
        assert region["share"] == sum(counts_of_region) / len(remaining)
    assert report["named"]["low"]["count"] == sum(x < 1 for x in remaining)
    assert report["named"]["high"]["share"] == sum(x >= 3 for x in remaining) / len(remaining)
    assert (report["named"]["high"]["low"], report["named"]["high"]["high"]) == (3, None)
    counted = sorted(n for n in counts if n)
    assert report["imbalance_ratio"] == counted[-1] / counted[0]
    assert report["max_to_median"] == counted[-1] / np.median(counted)
    assert [each["count"] for each in report["rarest_bins"]] == counted[:5]
    for each in report["rarest_bins"]:
        assert each["count"] == counts[edges.index(each["low"])]
        assert each["high"] == each["low"] + 0.5
    gaps = slow_gaps(edges, counts, remaining)
    assert sorted(report["gaps"], key=lambda gap: gap["low"]) == gaps
    widths = [gap["high"] - gap["low"] for gap in report["gaps"]]
    assert widths == sorted(widths, reverse=True)
    if len(set(remaining)) <= len(remaining) / 2:
        times = {x: remaining.count(x) for x in set(remaining)}
        assert [each["count"] for each in report["rarest_labels"]] == sorted(times.values())[:5]
        assert all(times[each["label"]] == each["count"] for each in report["rarest_labels"])
        assert report["rarest_labels"][0]["label"] == max(remaining)
    else:
        assert report["rarest_labels"] == []
    assert report["labels"]["distinct"] == len(set(labels))
    assert (report["labels"]["min"], report["labels"]["max"]) == (min(labels), max(labels))
    ordered = sorted(labels)
    assert report["labels"]["quantiles"]["50"] == ordered[199]
    assert report["labels"]["quantiles"]["95"] == ordered[379]


def test_suggestion_is_that_of_suggest_bins():
    labels = np.random.default_rng(0).normal(size=300).round(1)
    report, suggestion = make_label_report(table(y=labels.tolist()), "y"), suggest_bins(labels)
    assert report["suggestion"] == {
        "width": suggestion.width, "many": suggestion.many, "few": suggestion.few,
        "reason": suggestion.reason,
    }  # fmt: skip
    np.testing.assert_array_equal(np.float32(report["bins"]["edges"]), suggestion.bins.edges)
    assert report["bins"]["edges"] == [round(edge, 1) for edge in report["bins"]["edges"]]


def test_gap_before_an_outlier():
    report = make_label_report(table(y=[*(k / 7 for k in range(300)), 1e6]), "y")
    assert report["gaps"][0]["above"] == 1e6
    assert report["gaps"][0]["below"] == pytest.approx(299 / 7)
    assert report["bins"]["counts"][-1] == 1


def test_duplicates_are_counted_over_all_columns():
    rows = {"a": [[1], [1], [1], None, None], "y": [1, 1, 2, 3, 3]}
    assert make_label_report(table(**rows), "y")["duplicates"] == 2
    assert make_label_report(table(y=[1, 2, 3], z=["a", "a", "a"]), "y")["duplicates"] == 0


def test_report_is_valid_json():
    report = make_label_report(table(y=[1, 2, None, "x", float("inf"), 1e308, -1e308, 1e-320]), "y")
    again = json.loads(json.dumps(report, allow_nan=False))
    assert again == report
    assert again["missing"] == {"count": 1, "lines": [3], "values": ["None"]}
    assert again["labels"]["min"] == -1e308


@pytest.mark.parametrize(
    ("values", "options", "facts"),
    [
        ([3, 3, 3], {}, ("only the value 3", "choose a column")),
        (["a", "b"], {}, ("no numbers", "choose a column")),
        ([], {}, ("no numbers",)),
        ([1, 2], {"drop": parse_ranges(">0")}, ("All labels", "dropped by >0")),
    ],
)
def test_unusable_columns(values, options, facts):
    with raises_with(DataError, "column 'y'", *facts):
        make_label_report(table(y=values), "y", **options)


def test_many_rows_are_fast():
    labels = np.random.default_rng(0).normal(size=50_000).tolist()
    start = time.process_time()
    make_label_report(table(y=labels), "y")
    assert time.process_time() - start < 5  # measured: 0.25 s
