"""Files in the folder of a sweep are verified: damaged ones are made again or named."""

import json
import shutil

import pytest

from ranksim._utils.storage import read_verified_json
from ranksim.exceptions import DataError
from ranksim.experiments.sweep_request import run_benchmark
from tests.helpers.sweeps import sts_request


def flip_bit(path, at=0.5):
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


@pytest.fixture
def train(small_sts, tmp_path):
    """Trains one method in one folder and returns its results."""

    def run(method):
        values = {"methods": method, "seeds": "1", "max_epochs": 1, "max_steps": 2}
        return run_benchmark(sts_request(small_sts, tmp_path / "out", **values))

    return run


def test_damaged_files_of_own_runs_are_made_again(train, tmp_path):
    expected, folder = train("vanilla"), tmp_path / "out/runs/vanilla/seed-0"
    for name in ("predictions.parquet", "record.json", "started.json"):
        flip_bit(folder / name, 0.0 if name == "started.json" else 0.5)
        if name == "started.json":
            (folder / "record.json").unlink()
        content = train("vanilla")
        assert content["runs"][0]["result"]["metrics"] == expected["runs"][0]["result"]["metrics"]
        assert json.dumps(content["conclusion"]) == json.dumps(expected["conclusion"])
    flip_bit(tmp_path / "out/results.json")
    assert len(train("vanilla")["runs"]) == 1


def test_damaged_files_of_other_runs_are_named(train, tmp_path):
    train("sqinv")
    train("vanilla")
    reported = read_verified_json(tmp_path / "out/results.json")["reported_methods"]
    assert set(reported) == {"vanilla", "sqinv"}
    for file, problem in [
        ("runs/sqinv/seed-0/record.json", "record.json is damaged"),
        ("runs/sqinv/seed-0/predictions.parquet", "predictions.parquet is damaged"),
        ("results.json", "results.json, which also reports sqinv, is damaged"),
    ]:
        path = tmp_path / "out" / file
        content = path.read_bytes()
        flip_bit(path)
        with pytest.raises(DataError, match=problem):
            train("vanilla")
        path.write_bytes(content)
    flip_bit(tmp_path / "out/runs/sqinv/seed-0/record.json")
    shutil.rmtree(tmp_path / "out/runs/sqinv")
    train("vanilla")
