"""The test views of a sweep, against weights computed from the user's table alone."""

import csv
from collections import Counter

import numpy as np
import pytest

from ranksim.evaluation.predictions import PREDICTIONS, read_predictions
from ranksim.experiments.sweep_request import run_benchmark
from tests.helpers import user_data
from tests.helpers.requests import make_request

METHODS = "linear,knn,median"  # fitted in a moment


def write_counts(folder):
    """Write labels 0 to 9, of which each larger one is rarer; 9 occurs twice and 8 once."""
    rng = np.random.default_rng(0)
    counts = (300, 150, 90, 60, 40, 25, 12, 7, 1, 2)
    label = rng.permutation(np.repeat(np.arange(10), counts))
    path = folder / "counts.csv"
    lines = [
        f"{rng.normal(y, 1):.3f},{rng.normal():.3f},g{k % 40},{2000 + k},{y}"
        for k, y in enumerate(label)
    ]
    path.write_text("\n".join(["a,b,site,year,y", *lines]) + "\n")
    return path


def read_labels(path, target):
    with path.open(encoding="utf-8", newline="") as file:
        return [float(row[target]) for row in csv.DictReader(file)]


def expected_scores(table, test, error, is_random, is_balanced):
    """Return the error under each view from labels of all rows and of the test samples ``(N,)``.

    Each label is a bin of its own.
    """
    rows, counts = Counter(table), Counter(test.tolist())
    n_rows, n_test = (np.array([c[y] for y in test.tolist()], float) for c in (rows, counts))
    limit = np.inf if is_balanced else min(30, int(np.median(list(counts.values()))))
    drawn = np.minimum(n_test, limit) / n_test
    weights = {"balanced": drawn, "inverse": drawn / n_rows}
    weights["as_is"] = np.ones(len(test)) if is_random else n_rows / n_test
    return {view: np.average(error, weights=weight) for view, weight in weights.items()}


def check_views(results, out, table, target, is_random=False, is_balanced=True):
    labels = read_labels(table, target)
    for row in results["summary"]:
        path = out / "runs" / row["method"] / f"seed-{row['seeds'][0]}" / PREDICTIONS
        preds = read_predictions(path)
        error = np.abs(preds.preds - preds.labels)
        expected = expected_scores(labels, preds.labels, error, is_random, is_balanced)
        for view, score in expected.items():
            assert row["views"][view]["mae"]["mean"] == pytest.approx(score, rel=1e-9)
        main = "as_is" if is_random else "balanced" if is_balanced else None
        if main:
            assert row["views"][main]["mae"]["mean"] == pytest.approx(
                row["test"]["all"]["mae"]["mean"]
            )
    compared = [row for row in results["summary"] if "vs_baseline" in row]
    assert compared
    for row in compared:
        for effects in row["vs_baseline"]["views"].values():
            low, high = effects["mae"]["ci_adjusted"]
            assert low < effects["mae"]["mean"] < high


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "test_set"),
    [
        ({}, "balanced"),
        ({"balanced": False}, "random"),
        ({"group": "site", "features": ("a", "b")}, "balanced"),
        ({"split_by": "time", "time": "year", "balanced": False}, "latest"),
        ({"split_by": "time", "time": "year", "features": ("a", "b")}, "balanced"),
    ],
    ids=["balanced", "random", "groups", "latest", "latest, balanced"],
)
def test_views_equal_weights_of_the_table(options, test_set, tmp_path):
    table = write_counts(tmp_path)
    options = {"target": "y", "features": ("a", "b")} | options
    request = make_request(table, tmp_path / "out", options=options, methods=METHODS)
    results = run_benchmark(request)
    assert results["labels"]["views"]["test_set"] == test_set
    assert sum(results["labels"]["views"]["rows"]) == 687
    balanced = test_set == "balanced"
    check_views(results, tmp_path / "out", table, "y", test_set == "random", balanced)


def test_views_of_a_given_split_leave_out_unused_rows(tmp_path):
    table = user_data.write_table(tmp_path, rows=200)
    header, *lines = table.read_text().splitlines()
    parts = ["unused" if k < 20 else ("train", "val", "test")[k % 3] for k in range(len(lines))]
    marked = [f"{line},{part}" for line, part in zip(lines, parts, strict=True)]
    table.write_text("\n".join([f"{header},split", *marked]) + "\n")
    request = make_request(
        table, tmp_path / "out", options={"target": "price", "bin_width": 1.0}, methods=METHODS
    )
    results = run_benchmark(request)
    assert results["labels"]["views"]["test_set"] == "given"
    table.write_text("\n".join([f"{header},split", *marked[20:]]) + "\n")
    check_views(results, tmp_path / "out", table, "price", is_balanced=False)


@pytest.mark.slow
def test_views_of_abalone_equal_weights_of_the_table(shared_data, tmp_path):
    table = shared_data / "tables/abalone.csv"
    if not table.is_file():
        pytest.skip("abalone.csv is not here: put it into ../shared/data/tables")
    request = make_request(table, tmp_path, options={"target": "rings"}, methods=METHODS)
    check_views(run_benchmark(request), tmp_path, table, "rings")
