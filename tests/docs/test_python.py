"""The code of the page about Python runs in one go, and does what it says."""

import re
from pathlib import Path

import matplotlib as mpl
import pandas as pd
import pytest

import ranksim

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_code_runs(capsys):
    mpl.use("agg")
    scope = {"__name__": "page"}
    fast = {"max_epochs=3": "max_epochs=1", "method=result.best)": "method='trees')"}
    for code in BLOCKS:
        for old, new in fast.items():
            code = code.replace(old, new)
        exec(code, scope)
    assert len(BLOCKS) == 4
    assert isinstance(scope["labels"], ranksim.LabelReport)
    assert isinstance(scope["scores"], ranksim.Evaluation)
    assert isinstance(scope["frame"], pd.DataFrame)
    assert scope["page"].startswith("<!doctype html>")
    assert scope["own"].methods == ["vanilla", "inv+fds+ranksim"]
    assert scope["rows"].methods == ["linear", "ridge", "ridge+sqinv"]
    assert "['linear', 'ridge', 'ridge+sqinv']" in capsys.readouterr().out


def test_page_names_all_public_objects_and_their_methods():
    table = re.findall(r"^\| `(\w+)` \| `[\w.]+` \| (.+) \|$", PAGE, flags=re.MULTILINE)
    assert {name for name, _ in table} == {
        *("LabelReport", "Comparison", "Model", "Evaluation", "Drift")
    }
    for name, attributes in table:
        kind = getattr(ranksim, name)
        for attribute in re.findall(r"`(\w+)(?:\(\))?`", attributes):
            fields = {*getattr(kind, "__dataclass_fields__", ()), "results"}
            known = hasattr(kind, attribute) or attribute in fields
            assert known, (name, attribute)
        assert all(hasattr(kind, shared) for shared in ("to_frame", "to_html", "_repr_html_"))
