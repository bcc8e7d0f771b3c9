"""The section on faults sees what it looks for."""

import json
from pathlib import Path

import numpy as np

from tests.reliability import faults, faults_units


def test_a_reader_that_believes_everything_fails(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"content")
    draw = np.random.default_rng(0)
    assert faults_units._flipped("x", path, Path.read_bytes, draw, 9)["failed"] == 9
    assert path.read_bytes() == b"content"


def test_a_reader_that_crashes_fails(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}')

    def read(at):
        return json.loads(at.read_text())["a"]

    found = faults_units._flipped("x", path, read, np.random.default_rng(0), 60)
    assert found["failed"] > 5  # a KeyError, or another number
    assert "KeyError" in found["note"] or "unseen" in found["note"]


def test_every_kind_of_file_is_verified(tmp_path):
    checks = faults_units.measure(np.random.default_rng(1), tmp_path, 60)
    assert [each["failed"] for each in checks] == [0] * 4


def test_a_trial_that_goes_wrong_is_counted_without_folders(tmp_path):
    def crash(place):
        raise RuntimeError(f"in {place}")

    found = faults._check("a b", [("one", crash), ("two", lambda _: "")], tmp_path)
    assert (found["tried"], found["failed"]) == (2, 1)
    assert found["note"] == "one: RuntimeError: in …/a-b-0"


def test_the_page_says_how_much_was_tried():
    checks = [
        {"what": "kill -9 while training", "tried": 12},
        {"what": "kill -9 while caching", "tried": 8},
        {"what": "flipped bit in a record", "tried": 1000},
    ]
    said = faults.text({"checks": checks})
    assert "at 20 moments" in said
    assert "1,000 bits" in said
