"""The rows of a table of scores by region."""

import pytest

from ranksim.evaluation.region_table import BALANCED_TITLE, find_balanced, list_region_rows

SCORES = {
    "all": {"n": 1200, "mae": 2.0, "mse": 8.0, "pearson": 50.0},
    "many": {"n": 1000, "mae": 1.0, "mse": 2.0, "pearson": None},
    "medium": {"n": 0, "mae": None, "mse": None, "pearson": None},
    "few": {"n": 200, "mae": 7.0, "mse": 50.0, "pearson": 10.0},
    "zero": {"n": 0, "mae": None, "mse": None, "pearson": None},
    "seen": {"n": 1200, "mae": 2.0, "mse": 8.0, "pearson": 50.0},
    "high [x]": {"n": 5, "mae": 9.0, "mse": 81.0, "pearson": 1.0},
}
BALANCED = SCORES | {"all": SCORES["all"] | {"balanced_mae": 4.0, "balanced_mse": 20.0}}


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (("mae",), ["4.00"]),
        (("mse", "pearson"), ["20.000", ""]),
        (("mae", "mse"), ["4.00", "20.000"]),
    ],
)
def test_mean_over_label_bins_follows_all_samples(metrics, expected):
    rows = list(list_region_rows(BALANCED, metrics, "balanced"))
    assert [row[0] for row in rows[:3]] == ["all, balanced", BALANCED_TITLE, "many"]
    assert rows[1] == (BALANCED_TITLE, "", *expected)
    assert len({len(row) for row in rows}) == 1


@pytest.mark.parametrize("scores", [SCORES, BALANCED])
def test_scores_without_it_have_no_such_row(scores):
    metrics = ("pearson",) if scores is BALANCED else ("mae", "mse")
    assert find_balanced(scores, metrics) is None
    names = [row[0] for row in list_region_rows(scores, metrics, None)]
    assert names == ["all", "many", "few", "high [x]"]


def test_regions_without_samples_are_left_out():
    with_zero = BALANCED | {"zero": SCORES["many"]}
    names = [
        row[0] for row in list_region_rows(with_zero, ("mae",), None, lambda name: f"`{name}`")
    ]
    assert names == ["all", BALANCED_TITLE, "many", "few", "zero", "seen", "`high [x]`"]
    rows = {row[0]: row[1:] for row in list_region_rows(SCORES, ("mae", "pearson"), None)}
    assert rows["many"] == ("1,000", "1.00", "–")
