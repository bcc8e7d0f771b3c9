"""``ranksim inspect``: what was read, and the commands that it proposes."""

import json
import shlex

import numpy as np
import pytest

from tests.conftest import sentence
from tests.helpers import user_data


@pytest.fixture
def inspect(run_command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return lambda *words: run_command("inspect", *words)


def test_inspect_prints_what_was_read_and_each_proposal(inspect, tmp_path):
    draw = np.random.default_rng(0)
    rows = [
        f"{sentence(draw)} {k},{draw.normal():.3f},{('train', 'test')[k // 40]},{k % 9}"
        for k in range(80)
    ]
    rows += [f"{sentence(draw)},,train,3", "a last line without label,1,train,"]
    (tmp_path / "t.csv").write_text("\n".join(["said,size,split,y", *rows]) + "\n")
    content = json.loads(inspect("t.csv", "--target", "y", "--json").out)
    report = content["data_report"]
    assert report["rows"] == {"used": 81, "left_out": {"no value in column 'y'": 1}}
    assert report["columns"] == {"numbers": ["size"], "texts": ["said"]}
    assert report["filled"] == {"size": 1}
    assert report["notes"]["Given split"] == "column 'split': 40 test, 42 train"
    first, second = content["proposals"]
    assert content["next"] == first["command"]
    expected = ["ranksim", "compare", "t.csv", "--target", "y", "--skip-missing"]
    assert shlex.split(first["command"]) == [*expected, "--text", "said"]
    assert shlex.split(second["command"]) == expected
    output = inspect("t.csv", "--target", "y").out
    for text in ("Texts: said", "Numbers: size", first["command"], first["reads"], second["reads"]):
        assert text in output


def test_strict_inspection_rejects_warnings(inspect, tmp_path):
    rows = [f"{k},{k % 9},{('train', 'test', 'exam')[k % 3]}" for k in range(80)]
    (tmp_path / "t.csv").write_text("\n".join(["x,y,split", *rows]) + "\n")
    assert inspect("t.csv", "--target", "y").code == 0
    outcome = inspect("t.csv", "--target", "y", "--strict")
    assert outcome.code == 1
    assert "--strict" in outcome.err
    assert "'exam'" in outcome.err


@pytest.mark.parametrize("kind", list(user_data.WRITERS))
def test_next_command_reads_the_kind_of_the_data(kind, inspect, tmp_path):
    data, options = user_data.WRITERS[kind](tmp_path), user_data.OPTIONS[kind]
    words = shlex.split(
        json.loads(inspect(data, "--target", options["target"], "--json").out)["next"]
    )
    selector = {"sentences": "--text", "pictures": "--image", "series": "--window"}.get(kind)
    assert selector is None or selector in words
    assert ("--text" in words) == (kind == "sentences")
