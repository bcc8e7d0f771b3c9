import io
import re

import numpy as np
import pytest
from rich.console import Console

from ranksim.data.label_report import make_label_report
from ranksim.data.table import Table
from ranksim.evaluation.report.figures.style import COLOURS
from ranksim.evaluation.report.label_report import inspection_figure, print_inspection

pytest.importorskip("matplotlib")
draw = np.random.default_rng(0)
LABELS = {
    "exponential": np.round(draw.exponential(10, 3000), 2),
    "ages": np.rint(draw.normal(42, 16, 12_000)).clip(0, 101),
    "bimodal": np.rint(np.r_[draw.normal(110, 25, 4000), draw.normal(230, 45, 800)]).clip(40, 400),
    "few rows": np.round(draw.gamma(2, 8, 500), 2),
    "far outliers": np.r_[-5e5, draw.normal(0, 1, 500), 1e6, 999_999],
    "wide": draw.lognormal(0, 1, 5000),
    "two": np.array([0.0, 1.0]),
    "huge": np.array([-1e308, 0.0, 1e308]),
    "tiny": np.array([1e-320, 2e-320]),
}


def found(labels, target="y", **options):
    table = Table.from_columns("data.csv", {target: np.asarray(labels, dtype=float).tolist()})
    return make_label_report(table, target, **options).to_dict() | {"next": "ranksim compare"}


def printed(content, width=100):
    file = io.StringIO()
    print_inspection(content, Console(file=file, width=width, highlight=False))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("name", LABELS)
def test_a_page_of_forty_lines(name):
    content = found(LABELS[name])
    lines = printed(content)
    assert len(lines) <= 42
    counts = [re.search(r" … \S+ +([\d,]+)  \S", line) for line in lines]
    total = sum(int(count[1].replace(",", "")) for count in counts if count)
    assert total == len(LABELS[name])  # no sample is missing from the bars


def test_the_bars_are_as_long_as_they_should_be():
    content = found([0] * 100 + [1] * 50 + [3] * 1, width=1, many=60, few=10)
    lines = [line.rstrip() for line in printed(content) if "…" in line][:4]
    assert lines == [
        f"0 … 1  100  {'█' * 40}",
        f"1 … 2   50  {'█' * 20}",
        "2 … 3    0  never seen",
        "3 … 4    1  ▍",
    ]


def test_what_is_said():
    table = Table.from_columns(
        "data.csv", {"y": ["0"] * 99 + ["1"] * 9 + ["4", "", "NA", "x", "inf"], "k": ["1"] * 113}
    )
    content = make_label_report(table, "y", width=1, many=60, few=10).to_dict() | {"next": "go on"}
    text = "\n".join(printed(content, 300))
    for sentence in (
        "data.csv, column y: 113 rows, 109 labels, 3 distinct",
        "From 0 to 4, median 0; nine of ten lie between 0 and 1.",
        "2 missing: rows 110, 111",
        "1 no number: row 112 ('x')",
        "1 infinite: row 113 ('inf')",
        "106 duplicates: rows that equal an earlier one",
        "many-shot: 99 samples, 90.8 % in 1 bin",
        "medium-shot: 0 samples, 0 % in 0 bins",
        "few-shot: 10 samples, 9.2 % in 2 bins",
        "the fullest bin holds 99 times the samples of the rarest and 11 times those of the median",
        "Rarest bins: 4 … 5 (1); 1 … 2 (9); 0 … 1 (99)",
        "Rarest labels: 4 (1); 1 (9); 0 (99)",
        "Never seen: between 1 and 4",
        "Bins of 1, many-shot above 60 samples, few-shot below 10: the requested width",
        "Next: go on",
    ):
        assert sentence in text, sentence


def test_names_are_names_whatever_they_hold():
    content = found([1, 2, 2], target="[red]$y_1$<script>&")
    assert "column [red]$y_1$<script>&:" in printed(content)[0]
    svg = inspection_figure(content).svg
    assert "[red]$y_1$&lt;script&gt;&amp;" in svg
    assert "<script>" not in svg


@pytest.mark.parametrize("name", LABELS)
def test_a_picture_of_any_labels(name):
    content = found(LABELS[name])
    drawn = inspection_figure(content)
    assert drawn.png.startswith(b"\x89PNG")
    assert f"{len(LABELS[name]):,} samples in bins of" in drawn.svg
    assert ("logarithmic" in drawn.svg) == (content["imbalance_ratio"] > 100)
    assert (">never seen<" in drawn.svg) == bool(content["gaps"])


def test_one_picture_of_one_inspection():
    content = found(LABELS["few rows"])
    assert inspection_figure(content) == inspection_figure(content)


def test_the_picture_shows_regions_thresholds_gaps_and_outliers():
    content = found(LABELS["far outliers"])
    svg = inspection_figure(content).svg
    assert "1 far outlier" in svg
    assert "2 far outliers" in svg
    assert "near 999,999" in svg
    for name in ("many", "medium", "few"):
        assert f"{name}-shot: {content['regions'][name]['count']:,} samples" in svg
        assert COLOURS[name] in svg
    assert f"many &gt; {content['suggestion']['many']}" in svg
    assert f"few &lt; {content['suggestion']['few']}" in svg


def test_the_picture_shows_own_regions_and_dropped_labels():
    from ranksim.imbalance.label_range import parse_ranges

    named = dict(zip(("low", "high", "none"), parse_ranges("<70,>250,>900"), strict=True))
    content = found(LABELS["bimodal"], named=named, drop=parse_ranges("150-180,>320"))
    svg = inspection_figure(content).svg
    assert "low &lt;70" in svg
    assert "high &gt;250" in svg
    assert "none &gt;900" not in svg  # lies outside
    text = "\n".join(printed(content, 300))
    assert f"{content['dropped']['count']:,} dropped: labels in 150-180, >320" in text
    assert "Never seen: above " in text
    assert "between 149 and 181" in text
    assert f"□ low (<70): {content['named']['low']['count']:,} samples" in text
