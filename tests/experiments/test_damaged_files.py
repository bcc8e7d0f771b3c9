"""What a sweep's folder holds is verified before it is used; nothing is silently left out."""

import json
import shutil

import pytest

from ranksim._utils.storage import read_verified_json
from ranksim.exceptions import DataError
from ranksim.experiments.run import read_record
from ranksim.experiments.sweep_request import run_benchmark
from tests.experiments.test_sweep import request


def flip(path, at=0.5):
    content = bytearray(path.read_bytes())
    content[int(len(content) * at)] ^= 1
    path.write_bytes(content)


def test_what_is_damaged_is_made_again_or_named(small_sts, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "ranksim.evaluation.report.results_page.write_page", lambda results, out: out
    )
    out = tmp_path / "out"

    def swept(methods):
        return run_benchmark(request(small_sts, out, methods=methods, seeds="1", max_epochs=1))

    swept("sqinv")
    expected = swept("vanilla")
    vanilla, other = (out / "runs" / name / "seed-0" for name in ("vanilla", "sqinv"))
    rows = dict(read_verified_json(out / "results.json")["reported_methods"])
    assert set(rows) == {"vanilla", "sqinv"}

    # of the command's own run: predictions, record and settings are made again
    for name in ("predictions.parquet", "record.json"):
        flip(vanilla / name)
        again = swept("vanilla")
        assert again["runs"][0]["result"]["metrics"] == expected["runs"][0]["result"]["metrics"]
        assert json.dumps(again["conclusion"]) == json.dumps(expected["conclusion"])
    flip(vanilla / "started.json", 0.0)
    (vanilla / "record.json").unlink()
    assert (
        swept("vanilla")["runs"][0]["result"]["metrics"] == expected["runs"][0]["result"]["metrics"]
    )

    # of another command's, it is named
    shutil.copytree(out, tmp_path / "kept")
    for path, why in (
        (other / "record.json", "record.json is damaged: start the command that trained it again"),
        (other / "predictions.parquet", "predictions.parquet is damaged: start the command that"),
        (out / "results.json", "results.json is damaged, which also held sqinv: delete it, and"),
    ):
        flip(path)
        with pytest.raises(DataError, match=why):
            swept("vanilla")
        shutil.rmtree(out)
        shutil.copytree(tmp_path / "kept", out)

    # alone in its folder, results are made again
    shutil.rmtree(other)
    swept("vanilla")
    flip(out / "results.json")
    assert (
        swept("vanilla")["runs"][0]["result"]["metrics"] == expected["runs"][0]["result"]["metrics"]
    )
    assert read_record(vanilla)
