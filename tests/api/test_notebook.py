"""The notebook runs, and its numbers are those of the command line."""

import json
from pathlib import Path

import pytest

import ranksim
from ranksim.cli import main
from tests.helpers.api import read_numbers
from tests.helpers.notebooks import run_notebook

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "api.ipynb"
SHORT = {
    "budget=\"10m\"": "max_steps=20, progress=False",
    "seeds=5": "seeds=3",
    "estimators={\"lgbm\": LGBMRegressor()})": "estimators={\"lgbm\": LGBMRegressor()}, "
    "max_steps=20, progress=False)",
    "df.head()": "df = df.head(400)\ndf.head()",
    "sample(500": "sample(100",
}  # fmt: skip


@pytest.mark.slow
def test_notebook_equals_the_command(tmp_path, monkeypatch):
    scope, values = run_notebook(NOTEBOOK, SHORT)
    result, model = scope["result"], scope["model"]
    assert result.methods == ["vanilla", "inv", "vanilla+ranksim", "lgbm", "lgbm+sqinv"]
    displayed = [value for value in values if hasattr(value, "_repr_html_")]
    kinds = {type(value) for value in displayed}
    assert {ranksim.LabelReport, ranksim.Comparison, ranksim.Evaluation} <= kinds
    assert all(value._repr_html_() for value in displayed)
    assert model.method == result.best
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own_trees.py").write_text(
        "from lightgbm import LGBMRegressor\nlgbm = LGBMRegressor()\n"
    )
    scope["df"].to_csv("diamonds.csv", index=False)
    words = "compare diamonds.csv --target price --methods vanilla,inv,vanilla+ranksim --seeds 3 "
    words += "--max-steps 20 --estimator own_trees:lgbm --out sweep"
    monkeypatch.setattr("sys.argv", ["ranksim", *words.split()])
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    command = json.loads(Path("sweep/results.json").read_text())
    assert read_numbers(command) == read_numbers(result.results)
