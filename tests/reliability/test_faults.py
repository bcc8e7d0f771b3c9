"""The fault injection detects readers and trials that fail."""

import json
from pathlib import Path

import numpy as np

from tests.reliability import faults, faults_units


def test_reader_without_verification_fails(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"content")
    draw = np.random.default_rng(0)
    assert faults_units._flip_bits("x", path, Path.read_bytes, draw, 9)["failures"] == 9
    assert path.read_bytes() == b"content"


def test_crashing_reader_fails(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')

    def read(at):
        return json.loads(at.read_text())["a"]

    row = faults_units._flip_bits("x", path, read, np.random.default_rng(0), 60)
    assert row["failures"] > 5  # a KeyError, or another number
    assert "KeyError" in row["note"] or "not detected" in row["note"]


def test_all_kinds_of_files_are_verified(tmp_path):
    checks = faults_units.measure(np.random.default_rng(1), tmp_path, 60)
    assert [row["failures"] for row in checks] == [0] * 4


def test_failing_trials_are_counted_without_folders(tmp_path):
    def crash(place):
        raise RuntimeError(f"in {place}")

    row = faults._run_trials("a b", [("one", crash), ("two", lambda _: "")], tmp_path)
    assert (row["cases"], row["failures"]) == (2, 1)
    assert row["note"] == "one: RuntimeError: in …/a-b-0"


def test_description_counts_cases():
    checks = [
        {"check": "kill -9 while training", "cases": 12},
        {"check": "kill -9 while caching", "cases": 8},
        {"check": "flipped bit in a record", "cases": 1000},
    ]
    text = faults.describe({"checks": checks})
    assert "20 seeded random moments" in text
    assert "1,000 bits" in text
