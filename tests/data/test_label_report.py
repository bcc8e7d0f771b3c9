import json
import re
import time

import numpy as np
import pytest

from ranksim.data.binning import suggest_bins
from ranksim.data.label_report import make_label_report
from ranksim.data.reading import read_delimited
from ranksim.data.table import Table
from ranksim.exceptions import DataError
from ranksim.imbalance.label_range import parse_ranges


def table(**columns):
    return Table.from_columns("data", columns)


@pytest.fixture
def messy(tmp_path):
    rows = ["1", "", "2", "NA", "x", "2", "inf", "2", "9", "True", "?", "-", "null", "nan", "1"]
    path = tmp_path / "t.csv"
    path.write_text("k,y\n" + "".join(f"{k % 3},{y}\n" for k, y in enumerate(rows)))
    return read_delimited(path)


def test_what_cannot_be_used_is_counted_by_its_lines(messy):
    found = make_label_report(messy, "y")
    assert found.rows == 15
    assert found.counted == "line"
    assert found.labels["count"] == 6
    assert found.missing.count == 6
    assert found.missing.lines == [3, 5, 12, 13, 14]
    assert found.missing.values == ["''", "'NA'", "'?'", "'-'", "'null'"]
    assert (found.not_numbers.count, found.not_numbers.lines) == (2, [6, 11])
    assert found.not_numbers.values == ["'x'", "'True'"]
    assert (found.infinite.count, found.infinite.lines, found.infinite.values) == (
        1,
        [8],
        ["'inf'"],
    )
    assert found.duplicates == 1  # the row 2,2 stands twice


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


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("drop", ["", "3-5", ">6,<0.5", "1..2,4..5"])
def test_every_figure_against_plain_counting(seed, drop):
    draw = np.random.default_rng(seed)
    labels = np.round(draw.exponential(2, 400), seed).tolist()
    ranges = parse_ranges(drop) if drop else ()
    found = make_label_report(
        table(y=labels), "y", width=0.5, many=20, few=5, drop=ranges,
        named=dict(zip(("low", "high"), parse_ranges("<1,>=3"), strict=True)),
    )  # fmt: skip
    kept = [x for x in labels if not any(each.contains([x])[0] for each in ranges)]
    assert found.dropped == {
        "ranges": [each.text for each in ranges],
        "count": len(labels) - len(kept),
    }
    edges, counts = found.bins["edges"], found.bins["counts"]
    assert edges == [0.5 * k for k in range(len(edges))]
    assert edges[-2] <= max(labels) < edges[-1]
    for k, count in enumerate(counts):
        assert count == sum(edges[k] <= x < edges[k + 1] for x in kept)
        name = "many" if count > 20 else "few" if count < 5 else "medium"
        assert found.bins["regions"][k] == name
    for name, region in found.regions.items():
        own = [n for n, r in zip(counts, found.bins["regions"], strict=True) if r == name]
        assert region["bins"] == sum(n > 0 for n in own)
        assert region["count"] == sum(own)
        assert region["share"] == sum(own) / len(kept)
    assert found.named["low"]["count"] == sum(x < 1 for x in kept)
    assert found.named["high"]["share"] == sum(x >= 3 for x in kept) / len(kept)
    assert (found.named["high"]["low"], found.named["high"]["high"]) == (3, None)
    seen = sorted(n for n in counts if n)
    assert found.to_rarest == seen[-1] / seen[0]
    assert found.to_median == seen[-1] / np.median(seen)
    assert [each["count"] for each in found.rarest_bins] == seen[:5]
    for each in found.rarest_bins:
        assert each["count"] == counts[edges.index(each["low"])]
        assert each["high"] == each["low"] + 0.5
    gaps = slow_gaps(edges, counts, kept)
    assert sorted(found.gaps, key=lambda gap: gap["low"]) == gaps
    widths = [gap["high"] - gap["low"] for gap in found.gaps]
    assert widths == sorted(widths, reverse=True)
    if len(set(kept)) <= len(kept) / 2:
        times = {x: kept.count(x) for x in set(kept)}
        assert [each["count"] for each in found.rarest_labels] == sorted(times.values())[:5]
        assert all(times[each["label"]] == each["count"] for each in found.rarest_labels)
        assert found.rarest_labels[0]["label"] == max(kept)
    else:
        assert found.rarest_labels == []
    assert found.labels["distinct"] == len(set(labels))
    assert (found.labels["min"], found.labels["max"]) == (min(labels), max(labels))
    ordered = sorted(labels)
    assert found.labels["quantiles"]["50"] == ordered[199]
    assert found.labels["quantiles"]["95"] == ordered[379]


def test_it_says_what_suggest_says():
    labels = np.random.default_rng(0).normal(size=300)
    found, said = make_label_report(table(y=labels.tolist()), "y"), suggest_bins(labels)
    assert found.suggestion == {
        "width": said.width, "many": said.many, "few": said.few, "reason": said.reason,
    }  # fmt: skip
    np.testing.assert_array_equal(np.float32(found.bins["edges"]), said.bins.edges)
    assert found.bins["edges"] == [round(edge, 1) for edge in found.bins["edges"]]


def test_a_far_outlier_and_the_gap_to_it():
    found = make_label_report(table(y=[*(k / 7 for k in range(300)), 1e6]), "y")
    assert found.gaps[0]["above"] == 1e6
    assert found.gaps[0]["below"] == pytest.approx(299 / 7)
    assert found.bins["counts"][-1] == 1


def test_duplicates_are_equal_in_all_columns():
    rows = {"a": [[1], [1], [1], None, None], "y": [1, 1, 2, 3, 3]}
    assert make_label_report(table(**rows), "y").duplicates == 2
    assert make_label_report(table(y=[1, 2, 3], z=["a", "a", "a"]), "y").duplicates == 0


def test_all_of_it_is_json():
    found = make_label_report(table(y=[1, 2, None, "x", float("inf"), 1e308, -1e308, 1e-320]), "y")
    again = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert again == found.to_dict()
    assert again["missing"] == {"count": 1, "lines": [3], "values": ["None"]}
    assert again["labels"]["min"] == -1e308


@pytest.mark.parametrize(
    ("values", "options", "sentence"),
    [
        ([3, 3, 3], {}, "data holds one value alone, 3 in column 'y': choose a column of labels "
         "that differ."),
        (["a", "b"], {}, "data holds no number in column 'y': choose a column of labels that "
         "differ."),
        ([], {}, "data holds no number in column 'y': choose a column of labels that differ."),
        ([1, 2], {"drop": parse_ranges(">0")}, "All labels of column 'y' of data lie in >0: drop "
         "fewer of them."),
    ],
)  # fmt: skip
def test_columns_that_say_nothing(values, options, sentence):
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        make_label_report(table(y=values), "y", **options)


def test_many_rows_are_quick():
    labels = np.random.default_rng(0).normal(size=200_000).tolist()
    start = time.process_time()
    make_label_report(table(y=labels), "y")
    assert time.process_time() - start < 10  # measured: 0.9 s
