"""The page on drift: its code runs, and its thresholds equal the thresholds in the code."""

import re
from pathlib import Path

from ranksim.evaluation import drift

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "drift.md").read_text(encoding="utf-8")


def test_code_runs():
    (code,) = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)
    scope = {}
    exec(code, scope)
    assert scope["drift"].moved == ["x1"]
    assert scope["drift"].verdict == "inputs moved"


def test_thresholds_are_those_of_the_code():
    text = " ".join(PAGE.split())
    assert f"index is at least {drift.MODERATE_PSI} (*moderate*; *large* from" in text
    assert f"from {drift.LARGE_PSI} on" in text
    assert f"below {drift.LEVEL} after" in text
    assert f"by a factor of {drift.MIN_RATIO} or more" in text
    assert f"if it has grown by {drift.MIN_GROWTH:.0%}".replace("%", " %") in text
    assert "seven kinds of tests" in text
    assert drift.FAMILIES == 7


def test_verdicts_are_those_of_the_code():
    from ranksim.inference import drift as engine

    names = re.findall(r"^\| `([a-z ]+)` \|", PAGE, flags=re.MULTILINE)
    assert names == [
        *(engine.STABLE, engine.INPUTS, engine.LABELS, engine.RECALIBRATE, engine.RETRAIN)
    ]
