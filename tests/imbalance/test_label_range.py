import re

import numpy as np
import pytest

from ranksim.imbalance.bins import LabelRange, parse_named_range, parse_ranges


@pytest.mark.parametrize(
    ("text", "low", "high", "strict"),
    [
        ("30-40", 30, 40, False), ("30..40", 30, 40, False), ("-4--3", -4, -3, False),
        ("-4..-3", -4, -3, False), ("-.5-.5", -0.5, 0.5, False), ("2.5..3.5", 2.5, 3.5, False),
        ("3.-4.", 3, 4, False), ("1e-3-5", 0.001, 5, False), ("+1-+2", 1, 2, False),
        (" 1 - 2 ", 1, 2, False), ("7-7", 7, 7, False), (">80", 80, None, True),
        (">= 80", 80, None, False), ("<-2", None, -2, True), ("<=-2.50", None, -2.5, False),
    ],
)  # fmt: skip
def test_parses_ranges(text, low, high, strict):
    (read,) = parse_ranges(text)
    assert (read.low, read.high, read.strict) == (low, high, strict)
    assert parse_ranges(read.text) == (read,)


@pytest.mark.parametrize(
    "text", ["30-40", "-4--3", "0.1-0.30000000000000004", ">80", ">=5", "<-2", "<=1e-07", "0-1e+20"]
)
def test_range_text_round_trip(text):
    assert parse_ranges(text)[0].text == text


@pytest.mark.parametrize("seed", range(3))
def test_random_ranges_round_trip_through_text(seed):
    draw = np.random.default_rng(seed)
    for power in range(-20, 21):
        low, high = sorted((draw.normal(size=2) * 10.0**power).tolist())
        for each in (
            LabelRange(low, high),
            LabelRange(low, None),
            LabelRange(None, high, strict=True),
        ):
            assert parse_ranges(each.text) == (each,)


def test_parses_several_ranges():
    assert [each.text for each in parse_ranges("30-40,>80, <-2")] == ["30-40", ">80", "<-2"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        *((text, f"{text!r} is not a label range: write ranges as 30-40, >80, >=80, <-2 or <=-2, "
                 "separated by commas")
          for text in ("", "5", "-5", "5-", "a-b", "1-2-3", ">", "<nan", ">inf", "=5", "5>",
                       "1_0-20", "30–40")),
        ("40-30", "a range with two ends needs low <= high and includes both, got 40.0 and 30.0"),
        (">1e999", "a range needs finite ends, got inf and None"),
        ("0-1e999", "a range needs finite ends, got 0.0 and inf"),
    ],
)  # fmt: skip
def test_rejects_invalid_range_text(text, sentence):
    for given in (text, f"1-2,{text}"):
        with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
            parse_ranges(given)


def slow(each, label):
    """In float32, as bins are."""
    label = np.float32(label)
    above = each.low is None or label > np.float32(each.low)
    below = each.high is None or label < np.float32(each.high)
    at_end = any(end is not None and label == np.float32(end) for end in (each.low, each.high))
    return bool((above and below) or (at_end and not each.strict))


@pytest.mark.parametrize("text", ["30-40", "0.1-0.3", ">80", ">=80", "<0.1", "<=0.1", "7-7"])
def test_contains(text):
    (each,) = parse_ranges(text)
    labels = np.array(
        [-1e300, -1, 0, 0.1, 0.2, 0.3, 0.30000001, 7, 29.99, 30, 35, 40, 40.01, 80, 1e300]
    )
    for given in (labels, labels.reshape(3, 5), labels.clip(-1e30, 1e30).astype(np.float32)):
        mask = each.contains(given)
        assert mask.shape == given.shape
        assert mask.dtype == bool
        assert mask.ravel().tolist() == [
            slow(each, label) for label in given.ravel().clip(-1e38, 1e38)
        ]
    assert each.contains([1, 7, 35, 90]).tolist() == [slow(each, label) for label in (1, 7, 35, 90)]
    assert not each.contains([np.nan]).any()
    assert each.contains([]).shape == (0,)


def test_labels_must_be_numbers():
    with pytest.raises(TypeError, match="^labels must be real numbers, got text$"):
        LabelRange(1, 2).contains(["a"])


@pytest.mark.parametrize(
    ("ends", "sentence"),
    [
        ((None, None), "a range needs finite ends, got None and None"),
        ((float("nan"), 1), "a range needs finite ends, got nan and 1"),
        ((2, 1), "a range with two ends needs low <= high and includes both, got 2 and 1"),
        (
            (1, 2, True),
            "a range with two ends needs low <= high and includes both, got 1 and 2, strict",
        ),
    ],
)
def test_rejects_invalid_range_ends(ends, sentence):
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        LabelRange(*ends)


def test_parses_named_ranges():
    assert parse_named_range("severe hyperglycaemia = >250") == (
        "severe hyperglycaemia",
        LabelRange(250, None, strict=True),
    )
    assert parse_named_range("old=>=80") == ("old", LabelRange(80, None))
    for text in ("<70", "=<70", "low=", "low"):
        with pytest.raises(
            ValueError, match="is not a named range: write NAME=RANGE, as in rare=>80$"
        ):
            parse_named_range(text)
    with pytest.raises(ValueError, match="^'1-2,3-4' is not a label range"):
        parse_named_range("low=1-2,3-4")
