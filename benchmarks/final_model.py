"""Measure what ``fit --refit`` and ``fit --ensemble`` bring on rows that no training has seen.

    python -m benchmarks.final_model homes.csv --target price

For each holdout, a fifth of the rows, drawn at random with the number of the holdout as seed, is
taken away. ``ranksim fit`` splits the others as always, and its models are scored on the holdout:
the mean absolute error over all of its rows, and over those whose label is few-shot among the
others. ``fit`` and ``fit --refit`` are means over the members of the ensembles, which differ in
their seed alone. The table has means over the holdouts, and the mean change against ``fit`` with
its 95 % interval over holdouts (Student's t). A method that gives the same model with every seed
has no ensembles.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ranksim.data.spec import DataLocation
from ranksim.evaluation.intervals import quantile
from ranksim.experiments.sweep_request import resolve_user_data
from ranksim.experiments.sweep_settings import SweepRequest
from ranksim.inference.fit import fit_model
from ranksim.inference.fit_request import FitRequest
from ranksim.inference.saved_model import Model, load_model
from ranksim.metrics.shot_regions import extend_regions
from ranksim.training.limits import TrainingLimits
from ranksim.training.method import parse_method
from ranksim.training.method_rules import depends_on_seed
from ranksim.training.trainer_config import TrainerConfig

_HOLDOUT = 0.2  # of the rows
REGIONS = ("all", "few")
Floats = NDArray[np.float64]


def split_table(table: Path, folder: Path, seed: int) -> tuple[Path, Path]:
    """Write a random fifth of the rows and the other rows to two files."""
    with table.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    order = np.random.default_rng(seed).permutation(len(rows))
    count = round(_HOLDOUT * len(rows))
    paths = folder / "rest.csv", folder / "holdout.csv"
    for path, part in zip(paths, (order[count:], order[:count]), strict=True):
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([header, *(rows[k] for k in np.sort(part))])
    return paths


def fit_members(
    data: Path, out: Path, args: argparse.Namespace, method: str, *, refit: bool
) -> Model:
    """Fit a model, with several members if the seed matters."""
    source = resolve_user_data(DataLocation(str(data)), {"target": args.target})
    technique = parse_method(method, "inverse").technique
    request = SweepRequest(
        source,
        methods=method,
        seeds="0,",
        out=out,
        trainer=TrainerConfig("cpu"),
        limits=TrainingLimits(epochs=args.max_epochs),
    )
    count = args.ensemble if depends_on_seed(technique) else 1
    fit_model(FitRequest(request, method, 0, refit=refit, ensemble=count))
    return load_model(out)


def score_holdout(args: argparse.Namespace, method: str, seed: int) -> dict[str, Floats]:
    """Return the errors, over all and few-shot rows ``(2,)``, of each way to fit a method."""
    errors: dict[str, Floats] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rest, holdout = split_table(args.table, folder, seed)
        models = {
            "fit" + " --refit" * refit: fit_members(
                rest, folder / "model", args, method, refit=refit
            )
            for refit in (False, True)
        }
        regions = models["fit --refit"].regions  # by the labels of all other rows
        for title, model in models.items():
            alone = [replace(model, members=(each,)).predict(holdout) for each in model.members]
            labels = alone[0].labels
            assert labels is not None
            few = extend_regions(regions, labels).masks(labels)["few"]
            masks = np.stack([np.ones_like(few), few])

            def score(
                preds: Floats, labels: Floats = labels, masks: NDArray[np.bool_] = masks
            ) -> Floats:
                sizes = np.abs(preds - labels)
                return np.array([sizes[mask].mean() if mask.any() else np.nan for mask in masks])

            errors[title] = np.mean([score(each.preds) for each in alone], axis=0)
            if len(alone) > 1:
                mean = np.mean([each.preds for each in alone], axis=0)
                errors[f"{title} --ensemble {len(alone)}"] = score(mean)
    return errors


def format_rows(method: str, holdouts: list[dict[str, Floats]]) -> Iterator[str]:
    """Yield the rows of the table of a method."""
    base = np.stack([errors["fit"] for errors in holdouts])
    for title in holdouts[0]:
        values = np.stack([errors[title] for errors in holdouts])  # (H, 2)
        means = np.nanmean(values, axis=0)
        cells = [f"{mean:,.0f}" if mean >= 1000 else f"{mean:.4g}" for mean in means]
        for k in range(len(REGIONS)):
            change = 100 * (values[:, k] / base[:, k] - 1)
            change = change[np.isfinite(change)]
            if title == "fit" or len(change) < 2:
                cells.insert(2 * k + 1, "")
                continue
            half = quantile(0.95, len(change) - 1) * change.std(ddof=1) / len(change) ** 0.5
            mean = change.mean()
            cells.insert(2 * k + 1, f"{mean:+.1f} % ({mean - half:+.1f} to {mean + half:+.1f})")
        yield f"| {' | '.join([f'`{method}`', f'`{title}`', *cells])} |"


def main() -> None:
    """Print the table of the methods as Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("table", type=Path, help="CSV file")
    parser.add_argument("--target", required=True, help="column of the label")
    parser.add_argument("--methods", default="sqinv,trees", help="names separated by commas")
    parser.add_argument("--holdouts", type=int, default=5, help="number of holdouts")
    parser.add_argument("--ensemble", type=int, default=5, help="number of members")
    parser.add_argument("--max-epochs", type=int, help="end each training after so many epochs")
    args = parser.parse_args()
    print("| method | command | MAE, all | change | MAE, few | change |")
    print("| --- | --- | ---: | --- | ---: | --- |")
    for method in args.methods.split(","):
        holdouts = [score_holdout(args, method, seed + 1) for seed in range(args.holdouts)]
        print("\n".join(format_rows(method, holdouts)), flush=True)


if __name__ == "__main__":
    main()
