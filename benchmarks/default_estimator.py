"""Measure which method :class:`RankSimRegressor` should use by default, on tables.

    python -m benchmarks.default_estimator --out results.json \
        abalone.csv:rings ames.csv:SalePrice:Id homes.csv:price:id,name

Each table is written as ``FILE:TARGET[:COLUMNS TO LEAVE OUT]``; "," leaves out a column without a
name. Its rows, at most ``--max-rows`` drawn at random, are divided at random into five holdouts.
For each holdout, every method is trained on the other rows with the estimator's defaults and the
same seeds, and scored by the mean absolute error in three regions of the holdout: all rows, which
have labels as in the data; those with few-shot labels; and the tenth with the fewest training
labels nearby. A change is the mean, over holdouts, of the relative difference of two methods on
the same holdout, with its 95 % interval over holdouts (Student's t); the last lines have the mean
over tables and its interval over tables. Tables that the file has already are not measured again.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.plain_trees import find_rarest, format_error
from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import read_verified_json, with_digest, write_json
from ranksim.data.binning import make_label_bins
from ranksim.data.reading import load_table
from ranksim.data.table import read_labels
from ranksim.evaluation.intervals import quantile
from ranksim.metrics import ShotRegions
from ranksim.sklearn import RankSimRegressor
from ranksim.user_data.features import TableFeatures

METHODS = ("vanilla", "sqinv", "vanilla+ranksim", "sqinv+ranksim")
PAIRS = (  # method, compared with
    ("sqinv", "vanilla"),
    ("vanilla+ranksim", "vanilla"),
    ("sqinv+ranksim", "vanilla"),
    ("sqinv+ranksim", "sqinv"),
)
REGIONS = {"all": "labels as in the data", "few": "few-shot", "rarest": "rarest tenth"}
HOLDOUTS = 5
Floats = NDArray[np.float64]


def divide_rows(num_rows: int, max_rows: int) -> list[NDArray[np.int64]]:
    """Return the rows of each holdout: a random division of at most ``max_rows`` rows."""
    order = np.random.default_rng(0).permutation(num_rows)[:max_rows]
    return [np.sort(part) for part in np.array_split(order, HOLDOUTS)]


def find_regions(train: Floats, labels: Floats) -> dict[str, NDArray[np.bool_]]:
    """Return a mask of the labels of a holdout for each region, by the training labels."""
    regions = ShotRegions.from_counts(make_label_bins(train), train)
    few = regions.masks(np.clip(labels, train.min(), train.max()))["few"]
    return {
        "all": np.ones(len(labels), dtype=bool),
        "few": few,
        "rarest": find_rarest(labels, train),
    }


def score_holdout(
    features: tuple[Floats, Floats], labels: tuple[Floats, Floats], seeds: int
) -> dict[str, dict[str, float | None]]:
    """Return the error of each method in each region, averaged over seeds.

    ``features`` and ``labels`` are those of the training rows and of the holdout. A region without
    a row has the error None.
    """
    masks = find_regions(*labels)
    errors: dict[str, dict[str, float | None]] = {}
    for method in METHODS:
        models = [RankSimRegressor(method, random_state=seed) for seed in range(seeds)]
        preds = [model.fit(features[0], labels[0]).predict(features[1]) for model in models]
        sizes = np.abs(np.stack(preds) - labels[1]).mean(axis=0)
        errors[method] = {
            name: float(sizes[mask].mean()) if mask.any() else None for name, mask in masks.items()
        }
    return errors


def measure_table(spec: str, seeds: int, max_rows: int) -> dict[str, Any]:
    """Return the settings of a table, and the sizes and errors of each holdout."""
    file, target, left_out = [*spec.split(":"), ""][:3]
    table = load_table(file)
    labels = read_labels(table, target, missing="nan")
    names = [name for name in table.names if name != target]
    if left_out:
        names = [name for name in names if name not in left_out.split(",")]
    parts = divide_rows(len(labels), max_rows)
    holdouts = []
    for rows in parts:
        others = np.sort(np.concatenate([part for part in parts if part is not rows]))
        features = TableFeatures.fit(table, names, others)(table).astype(np.float64)
        pair = labels[others], labels[rows]
        sizes = {name: int(mask.sum()) for name, mask in find_regions(*pair).items()}
        errors = score_holdout((features[others], features[rows]), pair, seeds)
        holdouts.append({"training_rows": len(others), "rows": sizes, "mae": errors})
    return {"target": target, "seeds": seeds, "max_rows": max_rows, "holdouts": holdouts}


def list_changes(
    holdouts: Sequence[Mapping[str, Any]], pair: tuple[str, str], region: str
) -> Floats:
    """Return the relative change of the error in each holdout with rows of a region."""
    errors = [[holdout["mae"][method][region] for method in pair] for holdout in holdouts]
    return np.array([ours / theirs - 1 for ours, theirs in errors if ours is not None])


def describe_change(changes: Floats) -> str:
    """Format the mean change and its 95 % interval; bold if the interval excludes zero."""
    if not len(changes):
        return "–"
    mean = 100 * changes.mean()
    if len(changes) < 2:
        return f"{mean:+.1f} %"
    half = 100 * quantile(0.95, len(changes) - 1) * changes.std(ddof=1) / len(changes) ** 0.5
    text = f"{mean:+.1f} % ({mean - half:+.1f} to {mean + half:+.1f})"
    return f"**{text}**" if abs(mean) > half else text


def format_tables(tables: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield the lines of a Markdown table: the error of ``vanilla``, and changes."""
    pairs = [f"`{method}` against `{other}`" for method, other in PAIRS]
    yield f"| region | table | `vanilla` | {' | '.join(pairs)} |"
    yield "| --- | --- | ---: |" + " --- |" * len(pairs)
    for region, title in REGIONS.items():
        means: list[list[float]] = [[] for _ in PAIRS]
        for name, table in tables.items():
            holdouts = table["holdouts"]
            errors = [each["mae"]["vanilla"][region] for each in holdouts]
            present = [error for error in errors if error is not None]
            changes = [list_changes(holdouts, pair, region) for pair in PAIRS]
            for values, change in zip(means, changes, strict=True):
                values += [float(change.mean())] * bool(len(change))
            mean = format_error(float(np.mean(present))) if present else "–"
            cells = [title, name, mean, *map(describe_change, changes)]
            yield f"| {' | '.join(cells)} |"
        cells = [title, f"mean of {len(means[0])} tables", ""]
        cells += [describe_change(np.array(values)) for values in means]
        yield f"| {' | '.join(cells)} |"


def main() -> None:
    """Measure the tables and print the changes as a Markdown table."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("tables", nargs="*", help="FILE:TARGET[:COLUMNS TO LEAVE OUT]")
    parser.add_argument("--out", type=Path, required=True, help="file of the results")
    parser.add_argument("--seeds", type=int, default=1, help="trainings of each method and holdout")
    parser.add_argument("--max-rows", type=int, default=10_000, help="rows of a table to use")
    args = parser.parse_args()
    if args.out.exists():
        content = read_verified_json(args.out)
    else:
        content = {"provenance": collect_provenance(), "tables": {}}
    for spec in args.tables:
        name = Path(spec.split(":")[0]).stem
        if name not in content["tables"]:
            content["tables"][name] = measure_table(spec, args.seeds, args.max_rows)
            write_json(args.out, with_digest(content))
    print("\n".join(format_tables(content["tables"])))


if __name__ == "__main__":
    main()
