import io
import re

import numpy as np
import pytest
from rich.console import Console

from ranksim.data.table import Table
from ranksim.evaluation.report.label_report import draw_label_report, print_label_report
from ranksim.evaluation.report.plotting import REGION_COLORS
from ranksim.imbalance.bins import parse_ranges
from ranksim.user_data.label_report import make_label_report

pytest.importorskip("matplotlib")
DRAWS_PICTURES = True
generator = np.random.default_rng(0)
NORMAL = generator.normal(0, 1, 500)
LABELS = {
    "exponential": np.round(generator.exponential(10, 3000), 2),
    "ages": np.rint(generator.normal(42, 16, 12_000)).clip(0, 101),
    "far outliers": np.r_[-5e5, NORMAL, 1e6, 999_999],
    "two": np.array([0.0, 1.0]),
    "huge": np.array([-1e308, 0.0, 1e308]),
    "tiny": np.array([1e-320, 2e-320]),
}
PROPOSALS = [
    {"command": "ranksim compare", "reads": "reads x"},
    {"command": "ranksim compare --text said", "reads": "reads said"},
]
GLUCOSE = np.rint(np.r_[NORMAL * 25 + 110, generator.normal(230, 45, 100)]).clip(40, 400)


def make_report(labels, target="y", **options):
    table = Table.from_columns("data.csv", {target: np.asarray(labels, dtype=float).tolist()})
    return make_label_report(table, target, **options) | {"proposals": PROPOSALS}


def printed(report, width=100):
    file = io.StringIO()
    print_label_report(report, Console(file=file, width=width, highlight=False))
    return file.getvalue().replace("\u202f%", "%").splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("name", LABELS)
def test_report_of_any_labels(name):
    report = make_report(LABELS[name])
    lines = printed(report)
    assert len(lines) <= 42
    counts = [re.search(r" … \S+ +([\d,]+)  \S", line) for line in lines]
    total = sum(int(count[1].replace(",", "")) for count in counts if count)
    assert total == len(LABELS[name])  # the histogram has all samples
    picture = draw_label_report(report)
    assert picture.png.startswith(b"\x89PNG")
    assert f"{len(LABELS[name]):,} samples in bins of" in picture.svg
    assert ("logarithmic" in picture.svg) == (report["imbalance_ratio"] > 100)
    assert (">no samples<" in picture.svg) == bool(report["gaps"])


def test_bars_are_proportional_to_counts():
    report = make_report([0] * 100 + [1] * 50 + [3] * 1, width=1, many=60, few=10)
    lines = [line.rstrip() for line in printed(report) if "…" in line][:4]
    assert lines == [
        f"0 … 1  100  {'█' * 40}",
        f"1 … 2   50  {'█' * 20}",
        "2 … 3    0  no samples",
        "3 … 4    1  ▍",
    ]


def test_text_has_all_facts():
    column = ["0"] * 99 + ["1"] * 9 + ["4", "", "NA", "x", "inf"]
    table = Table.from_columns("data.csv", {"y": column, "k": ["1"] * 113})
    report = make_label_report(table, "y", width=1, many=60, few=10)
    report["proposals"] = [{"command": "run it", "reads": "reads x"}]
    text = "\n".join(printed(report, 300))
    for facts in (
        "data.csv, column y: 113 rows, 109 labels, 3 distinct",
        "From 0 to 4, median 0; 90% lie between 0 and 1",
        "2 missing: rows 110, 111",
        "1 not a number: row 112 ('x')",
        "1 infinite: row 113 ('inf')",
        "106 duplicates",
        "many-shot: 99 samples, 90.8% in 1 bin",
        "medium-shot: 0 samples, 0% in 0 bins",
        "few-shot: 10 samples, 9.2% in 2 bins",
        "99 times as many samples as the rarest and 11 times",
        "Rarest bins: 4 … 5 (1); 1 … 2 (9); 0 … 1 (99)",
        "Rarest labels: 4 (1); 1 (9); 0 (99)",
        "No samples: between 1 and 4",
        "Bins of 1, many-shot above 60 samples, few-shot below 10",
        "Next: run it",
    ):
        assert facts in text, facts


def test_markup_in_names_is_text():
    report = make_report([1, 2, 2], target="[red]$y_1$<script>&")
    assert "column [red]$y_1$<script>&:" in printed(report)[0]
    svg = draw_label_report(report).svg
    assert "[red]$y_1$&lt;script&gt;&amp;" in svg
    assert "<script>" not in svg


def test_equal_reports_give_equal_pictures():
    report = make_report(GLUCOSE)
    assert draw_label_report(report) == draw_label_report(report)


def test_picture_has_regions_thresholds_and_outliers():
    report = make_report(LABELS["far outliers"])
    svg = draw_label_report(report).svg
    assert "1 far outlier<" in svg
    assert "2 far outliers<" in svg
    assert "near 999,999" in svg
    for name, color in REGION_COLORS.items():
        assert f"{name}-shot: {report['regions'][name]['count']:,} samples" in svg
        assert color in svg
    assert f"many &gt; {report['suggestion']['many']}" in svg
    assert f"few &lt; {report['suggestion']['few']}" in svg


def test_named_regions_and_dropped_labels():
    named = dict(zip(("low", "high", "none"), parse_ranges("<70,>250,>900"), strict=True))
    report = make_report(GLUCOSE, named=named, drop=parse_ranges("150-180,>280"))
    svg = draw_label_report(report).svg
    assert "low &lt;70" in svg
    assert "high &gt;250" in svg
    assert "none &gt;900" not in svg  # beyond the axis
    text = "\n".join(printed(report, 300))
    assert f"{report['dropped']['count']:,} dropped: labels in 150-180, >280" in text
    assert "No samples: above " in text
    assert f"□ low (<70): {report['named']['low']['count']:,} samples" in text
