"""Labels that most likely mean a missing label are named, and can be left out."""

import numpy as np
import pytest

from ranksim.data.spec import TableSpec, parse_missing_target
from ranksim.data.table import Table
from ranksim.exceptions import DataError, UsageError
from ranksim.user_data.label_report import make_label_report
from ranksim.user_data.sentinels import find_sentinels
from ranksim.user_data.split_plan import make_split_plan
from tests.helpers.errors import raises_with

LABELS = np.random.default_rng(0).gamma(2, 1, 500).round(1)


def with_values(*values, share=0.1):
    labels = LABELS.copy()
    for k, value in enumerate(values):
        labels[k :: round(1 / share)] = value
    return labels


@pytest.mark.parametrize(
    "values", [(-200.0,), (-9999.0,), (9999.0,), (-1e30,), (-9999.0, 9999.0), (999.0, 9999.0)]
)
def test_values_far_from_all_others_are_named(values):
    labels = with_values(*values)
    sentinels = find_sentinels(labels)
    assert {each.value for each in sentinels} == set(values)
    for each in sentinels:
        assert each.count == (labels == each.value).sum() == round(each.share * len(labels))
    near = [each for each in sentinels if (each.low, each.high) == (LABELS.min(), LABELS.max())]
    assert "add --missing-target" in near[0].describe("co") if len(values) == 1 else True


@pytest.mark.parametrize(
    "labels",
    [
        LABELS,
        with_values(0.0),  # many zeros are common
        with_values(LABELS.max()),  # as if cut off
        np.append(LABELS, [500.0, 700.0]),  # outliers that do not repeat
        np.random.default_rng(0).lognormal(3, 1.5, 3000).round(),
        np.array([0.0] * 50 + [1.0] * 50),
        np.arange(10.0),
        np.repeat([1.0, 2.0, 100.0], 20),  # few different labels
        np.array([]),
    ],
)
def test_usual_labels_are_no_sentinels(labels):
    assert find_sentinels(labels) == []


def table(labels):
    inputs = np.random.default_rng(1).normal(size=len(labels)).tolist()
    return Table.from_columns("t", {"x": inputs, "co": labels.tolist()})


def test_inspect_names_and_leaves_out_sentinels():
    data = table(with_values(-200.0))
    report = make_label_report(data, "co")
    (warning,) = report["data_report"]["warnings"]
    facts = ("50 labels", "'co'", "10\u202f%", "exactly -200", "--missing-target -200")
    assert all(fact in warning for fact in facts)
    report = make_label_report(data, "co", absent=(-200.0,))
    assert report["data_report"] == {"rows": {"used": 450, "left_out": {"co is -200": 50}}}
    assert (report["absent"]["count"], report["absent"]["lines"][:2]) == (50, [1, 11])
    assert report["labels"]["min"] == LABELS.min()


def test_rows_of_sentinels_are_left_out():
    labels = with_values(-200.0, 9999.0)
    plan = make_split_plan(table(labels), TableSpec(target="co", missing_target=(-200.0, 9999.0)))
    np.testing.assert_array_equal(plan.rows, np.flatnonzero(np.abs(labels) < 100))
    left_out = plan.report.rows["left_out"]
    assert (left_out["co is -200"], left_out["co is 9999"]) == (50, 50)
    assert plan.report.warnings == []
    (warning, _) = make_split_plan(table(labels), TableSpec(target="co")).report.warnings
    assert "--missing-target 9999" in warning
    with_gap = Table.from_columns("t", {"x": [1, 2, 3], "co": ["1", "-200", ""]})
    with raises_with(DataError, "row 3", "'co' has no value"):
        make_split_plan(with_gap, TableSpec(target="co", missing_target=(-200.0,)))


def test_missing_targets_are_numbers():
    assert parse_missing_target("-200, 9999") == (-200.0, 9999.0)
    with raises_with(UsageError, "--missing-target", "'low'"):
        parse_missing_target("low")


@pytest.mark.parametrize("number", [-99.9, -9999999.0, 1e30])
def test_numbers_of_float32_files_are_left_out(number):
    data = table(with_values(float(np.float32(number))))
    plan = make_split_plan(data, TableSpec(target="co", missing_target=(number,)))
    assert len(plan.labels) == 450
    assert plan.report.rows["left_out"][f"co is {number:.12g}"] == 50
    assert make_label_report(data, "co", absent=(number,))["labels"]["count"] == 450


def test_numbers_that_occur_nowhere_are_a_warning():
    data, options = table(with_values(-9999.0)), TableSpec(target="co", missing_target=(-999.0,))
    inspected = make_label_report(data, "co", absent=(-999.0,))["data_report"]["warnings"]
    for warnings in (make_split_plan(data, options).report.warnings, inspected):
        assert "No value of column 'co' is -999: correct --missing-target." in warnings
        assert "--missing-target -9999" in warnings[0]


@pytest.mark.parametrize(("offset", "is_lost"), [(0, False), (1e4, False), (1.6e9, True)])
def test_labels_that_are_equal_in_float32_are_a_warning(offset, is_lost):
    data = table(LABELS + offset)
    inspected = make_label_report(data, "co")["data_report"].get("warnings", [])
    for warnings in (make_split_plan(data, TableSpec(target="co")).report.warnings, inspected):
        assert any("float32" in text and "'co'" in text for text in warnings) is is_lost
