"""Values keep their meaning in every form: type, spelling, spaces, file format."""

import datetime
import itertools
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ranksim.data.cells import is_missing, parse_boolean, parse_number, to_canonical_text

NOON = datetime.datetime(2020, 1, 5, 12)
ONE_VALUE = {
    "3": [3, 3.0, "3", " 3 ", "3.0", "3.", "\u00a03", Decimal("3.00"), np.int8(3), np.float32(3)],
    "0": [0, -0.0, "0", "-0.0", Decimal("-0")],
    "-12": [-12, "-12.00", -12.0],
    "0.1": [0.1, "0.1", Decimal("0.10"), np.float32(0.1), np.float64(0.1)],
    "true": [True, "True", "TRUE", " true", np.True_],
    "false": [False, "False", "false", np.False_],
    "2020-01-05": [
        "2020-01-05", "2020-01-05 00:00:00", "2020-01-05T00:00", datetime.date(2020, 1, 5),
        datetime.datetime(2020, 1, 5), pd.Timestamp(2020, 1, 5), np.datetime64("2020-01-05"),
    ],
    "2020-01-05 12:00:00": ["2020-01-05 12:00", "2020-01-05T12:00:00", NOON,
                            np.datetime64("2020-01-05T12:00", "ns")],
    "2020-01-05 12:00:00+00:00": ["2020-01-05T13:00+01:00", "2020-01-05 12:00Z",
                                  NOON.replace(tzinfo=datetime.UTC)],
    "café": ["café", "cafe\u0301", " café\t", "café".encode()],
}  # fmt: skip


def test_forms_of_a_value_share_their_text():
    for text, forms in ONE_VALUE.items():
        assert {to_canonical_text(form) for form in forms} == {text}


def test_different_values_have_different_texts():
    values = ["3", "03", "3.10", "3.1", "1e3", "v3", "3 4", "20200105", "2020-01", "yes", 3.5, NOON]
    texts = list(map(to_canonical_text, values))
    assert all(a != b for a, b in itertools.combinations(texts, 2))


@given(st.integers(-(2**53), 2**53))
def test_integers_that_became_floats(number):
    forms = [number, float(number), str(number), f"{number}.0", Decimal(number), f" {number} "]
    assert {to_canonical_text(form) for form in forms} == {str(number)}


@given(st.text(max_size=8))
def test_canonical_text_is_stable(text):
    once = to_canonical_text(text)
    assert to_canonical_text(once) == once
    assert to_canonical_text(f"  {text}\n") == once


@pytest.mark.parametrize(
    "word", ["#N/A", ".", "<NA>", "?", "#DIV/0!", "N/A", "nan", "NULL", "(null)", "NaT", "n.a."]
)
def test_words_for_missing_values(word):
    assert is_missing(word)
    assert is_missing(f" {word.lower()} ")
    assert parse_number(word) is None


def test_missing_objects():
    assert all(map(is_missing, [None, float("nan"), pd.NA, pd.NaT, np.datetime64("NaT")]))


def test_booleans_and_durations():
    for words, meaning in (((True, "Yes", "t", 1, "1.0"), True), ((False, "no", "F", 0), False)):
        assert all(parse_boolean(word) is meaning for word in words)
    assert parse_boolean("maybe") is parse_boolean(2) is None
    assert parse_number(datetime.timedelta(minutes=2)) == 120
    assert parse_number(True) is None
