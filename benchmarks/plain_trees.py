"""Check a comparison against untuned trees that a plain script fits on the same split.

    python -m benchmarks.plain_trees runs/compare homes.csv --target price

Each library is fitted with its defaults to the columns of the table, categories as it takes them,
on the training rows of ``split.csv``. For all test samples and for the rarest tenth of them, by the
number of training labels in a window of a hundredth of the label range, the best row of the
comparison is compared with each script: the mean change of the absolute error and its 95 % interval
over test samples. A script beats the comparison if the interval is below zero.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor

from ranksim.data.reading import load_table
from ranksim.data.table import read_labels
from ranksim.evaluation.intervals import bootstrap
from ranksim.evaluation.predictions import PREDICTIONS, read_predictions
from ranksim.exceptions import require_optional
from ranksim.user_data.features import TableFeatures

Floats = NDArray[np.float64]
RAREST = 0.1


def fit_plain_trees(
    train: Floats, labels: Floats, test: Floats, categories: tuple[int, ...]
) -> Iterator[tuple[str, Floats]]:
    """Yield the name and the test predictions of each library with its defaults."""
    catboost, lightgbm, xgboost = (
        require_optional(name, "trees") for name in ("catboost", "lightgbm", "xgboost")
    )
    is_category = np.array(categories) > 0
    model = HistGradientBoostingRegressor(categorical_features=is_category, random_state=0)
    yield "HistGradientBoosting", model.fit(train, labels).predict(test)
    names = np.flatnonzero(is_category).tolist()
    light = lightgbm.LGBMRegressor(verbose=-1, random_state=0)
    yield "LightGBM", light.fit(train, labels, categorical_feature=names).predict(test)
    kinds = ["c" if each else "q" for each in is_category]
    boosted = xgboost.XGBRegressor(enable_categorical=True, feature_types=kinds, random_state=0)
    yield "XGBoost", boosted.fit(train, labels).predict(test)
    cells = [to_catboost_cells(part, is_category) for part in (train, test)]
    cat = catboost.CatBoostRegressor(verbose=0, random_seed=0, allow_writing_files=False)
    yield "CatBoost", cat.fit(cells[0], labels, cat_features=names).predict(cells[1])


def to_catboost_cells(values: Floats, is_category: NDArray[np.bool_]) -> NDArray[np.object_]:
    """Return columns as CatBoost takes them, categories as texts."""
    cells = values.astype(object)
    for column in np.flatnonzero(is_category):
        cells[:, column] = [str(value) for value in values[:, column]]
    return cells


def find_rarest(labels: Floats, train: Floats) -> NDArray[np.bool_]:
    """Return which test labels ``(N,)`` are in the tenth with the fewest training labels nearby."""
    half, ordered = np.ptp(train) / 200, np.sort(train)
    near = np.searchsorted(ordered, labels + half) - np.searchsorted(ordered, labels - half)
    order = np.argsort(near, kind="stable")
    rarest = np.zeros(len(labels), dtype=bool)
    rarest[order[: max(1, round(RAREST * len(labels)))]] = True
    return rarest


def read_rows(out: Path) -> dict[str, Floats]:
    """Return the mean test prediction ``(N,)`` of each run of a comparison, by row and seed."""
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    preds: dict[str, list[Floats]] = {}
    for row in results["summary"]:
        key = row.get("alias_of", row["method"])
        for seed in row["seeds"]:
            read = read_predictions(out / "runs" / key / f"seed-{seed}" / PREDICTIONS)
            assert read is not None
            preds.setdefault(row["method"], []).append(read.preds)
    return {name: np.stack(runs) for name, runs in preds.items()}


def mean_error(preds: Floats, labels: Floats) -> Floats:
    """Return the absolute error of each sample ``(N,)``, averaged over seeds ``(S, N)``."""
    return np.abs(np.atleast_2d(preds) - labels).mean(axis=0)


def compare(
    out: Path, data: str, target: str, left_out: list[str]
) -> Iterator[tuple[str, str, float, str, float, tuple[float, float]]]:
    """Yield region, script, best row, their errors and the interval of the change."""
    table = load_table(data)
    with (out / "split.csv").open(encoding="utf-8", newline="") as file:
        parts = [line["split"] for line in csv.DictReader(file)]
    rows = {part: np.flatnonzero(np.array(parts) == part) for part in ("train", "test")}
    labels = read_labels(table, target, missing="nan")
    names = [name for name in table.names if name not in (target, *left_out)]
    features = TableFeatures.fit(table, names, rows["train"])
    values = features.read(table)
    for column, count in enumerate(features.num_categories):
        if count:  # categories that the training rows do not have
            values[values[:, column] < 0, column] = np.nan
    y, y_test = labels[rows["train"]], labels[rows["test"]]
    ours = read_rows(out)
    regions = {"all": np.ones(len(y_test), dtype=bool), "rarest tenth": find_rarest(y_test, y)}
    arguments = values[rows["train"]], y, values[rows["test"]], features.num_categories
    for script, preds in fit_plain_trees(*arguments):
        for region, mask in regions.items():
            errors = {name: mean_error(p, y_test)[mask] for name, p in ours.items()}
            best = min(errors, key=lambda name: errors[name].mean())
            theirs = mean_error(preds, y_test)[mask]
            low, high = bootstrap((theirs - errors[best])[:, None])
            interval = float(low[0]), float(high[0])
            yield region, script, theirs.mean(), best, errors[best].mean(), interval


def format_error(value: float, sign: str = "") -> str:
    """Format an error with three significant digits, or as a whole number from 1,000 on."""
    return f"{value:{sign},.0f}" if abs(value) >= 1_000 else f"{value:{sign}#.3g}"


def main() -> None:
    """Print the comparison as a Markdown table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of ranksim compare")
    parser.add_argument("data", help="the table")
    parser.add_argument("--target", required=True)
    parser.add_argument(
        "--leave-out", default="", help='columns, separated by commas; "," is one without a name'
    )
    arguments = parser.parse_args()
    left_out = arguments.leave_out.split(",") if arguments.leave_out else []
    print("| region | script | MAE | best row | MAE | change, 95 % | beats it |")
    print("| --- | --- | ---: | --- | ---: | ---: | --- |")
    rows = compare(arguments.out, arguments.data, arguments.target, left_out)
    for region, script, theirs, best, ours, (low, high) in rows:
        verdict = "**yes**" if high < 0 else "no"
        print(
            f"| {region} | {script} | {format_error(theirs)} | `{best}` | {format_error(ours)} | "
            f"{format_error(low, '+')} to {format_error(high, '+')} | {verdict} |"
        )


if __name__ == "__main__":
    main()
