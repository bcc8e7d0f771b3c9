"""Time RankSim beside what else a user could take, and write the table of docs/speed.md.

    python -m benchmarks.alternatives            # prints the tables
    python -m benchmarks.alternatives --write    # also writes results/speed and docs/speed.md

Two of the alternatives are no dependencies of this project. Where they are missing, their rows say
so; to measure them, install them in an environment for this purpose alone, beside the project:

    pip install wheel "setuptools<81" pytorch-metric-learning
    pip install --no-build-isolation torchsort

torchsort is compiled against the installed PyTorch, which takes a C++ compiler and a minute; with
a PyTorch without CUDA, nvcc must not be on the PATH.

All times are processor time of one thread, taken in turns, so that other programs hardly change
their ratios; the shortest counts.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmarks.loss_speed import loop_loss, make_batch
from benchmarks.table_step import SHAPE, make_task
from benchmarks.timing import Step, time_in_turns
from ranksim import RankSimLoss
from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import atomic_write, write_json
from ranksim.data.batch import VectorDataset
from ranksim.functional import rank
from ranksim.training.fit import fit
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.task import TrainingOptions, TrainingTask
from ranksim.training.trainer_config import TrainerConfig

Floats = NDArray[np.float64]
Loss = Callable[[Tensor, Tensor], Tensor]
ROOT = Path(__file__).resolve().parents[1]
FILE, PAGE = ROOT / "results" / "speed" / "alternatives.json", ROOT / "docs" / "speed.md"
MARKS = "<!-- made by benchmarks/alternatives.py -->", "<!-- until here -->"
SIZES, WIDTH = (64, 256), 128
TABLE, EPOCHS, BATCH = (3_600, 400, 1_000), 20, 64  # rows for training, validation and test
TURNS = 3  # fits of each model
GAMMA, SOFTNESS = 100.0, 0.01  # of RankSim, and of soft ranks
OURS = "`RankSimLoss`"
PACKAGES = {"torchsort": "torchsort", "pytorch_metric_learning": "pytorch-metric-learning"}


def list_losses() -> dict[str, Loss | str]:
    """Return each loss, or why it cannot be measured here."""
    ranksim = RankSimLoss(GAMMA, unique_labels=False)
    return {
        OURS: ranksim,
        "the official algorithm, a loop over anchors": loop_loss,
        "`torchsort`: soft ranks of all similarities": load("torchsort", make_soft_rank_loss),
        "`pytorch-metric-learning`: `FastAPLoss`, ages as classes": load(
            "pytorch_metric_learning", make_metric_loss
        ),
    }


def load(module: str, make_loss: Callable[[], Loss]) -> Loss | str:
    """Return the loss of a package, or that the package is missing."""
    if importlib.util.find_spec(module) is None:
        return f"{PACKAGES[module]} is not installed"
    return make_loss()


def make_soft_rank_loss() -> Loss:
    """Return RankSim's equation with the soft ranks of Blondel et al. in place of the ranks."""
    import torchsort  # type: ignore[import-not-found]

    def compute(features: Tensor, labels: Tensor) -> Tensor:
        unit = torch.nn.functional.normalize(features, dim=1)
        ranks = torchsort.soft_rank(-unit @ unit.T, regularization_strength=SOFTNESS) / len(labels)
        targets = rank(-(labels[:, None] - labels).abs().float(), normalize=True)
        loss: Tensor = GAMMA * (ranks - targets).square().mean(dim=1).sum()
        return loss

    return compute


def make_metric_loss() -> Loss:
    """Return the nearest loss of the package, which ranks neighbors but knows classes alone."""
    from pytorch_metric_learning.losses import FastAPLoss  # type: ignore[import-not-found]

    loss: Loss = FastAPLoss()
    return loss


def measure_losses(size: int, seconds: float) -> dict[str, float]:
    """Return the milliseconds of value and gradient of each loss that is installed."""
    features, labels = make_batch(size, width=WIDTH)

    def run(loss: Loss) -> None:
        features.grad = None
        loss(features, labels).backward()

    losses = {name: loss for name, loss in list_losses().items() if not isinstance(loss, str)}
    steps: dict[str, Step] = {name: functools.partial(run, loss) for name, loss in losses.items()}
    times = time_in_turns(steps, seconds, clock=time.process_time)
    return {name: 1e3 * each for name, each in times.items()}


def list_models(task: TrainingTask) -> dict[str, Callable[[], Floats]]:
    """Return functions that fit a model and return its test predictions."""
    from lightgbm import LGBMRegressor
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.neural_network import MLPRegressor
    from sklearn.preprocessing import StandardScaler

    assert isinstance(task.train, VectorDataset)
    assert isinstance(task.test, VectorDataset)
    train, test = task.train.features.numpy(), task.test.features.numpy()
    labels = task.train.labels.numpy()
    network = MLPRegressor(
        hidden_layer_sizes=(SHAPE["hidden"],) * int(SHAPE["layers"]),
        batch_size=BATCH,
        learning_rate_init=3e-3,
        max_iter=EPOCHS,
        tol=0.0,
        n_iter_no_change=EPOCHS,
        alpha=0.0,
        random_state=0,
    )
    scaled = TransformedTargetRegressor(network, transformer=StandardScaler())
    trees = LGBMRegressor(n_jobs=1, verbose=-1, random_state=0)

    def fit_other(model: Any) -> Floats:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the network has not converged
            preds: Floats = model.fit(train, labels).predict(test)
        return preds

    return {
        "`ranksim`, vanilla": functools.partial(fit_network, task, "vanilla"),
        "`ranksim`, vanilla+ranksim": functools.partial(fit_network, task, "vanilla+ranksim"),
        "scikit-learn `MLPRegressor`, same widths and epochs": lambda: fit_other(scaled),
        "LightGBM, its defaults": lambda: fit_other(trees),
    }


def fit_network(task: TrainingTask, name: str) -> Floats:
    """Fit a network as ``ranksim fit`` does, and return its test predictions."""
    method = parse_method(name, "inverse")
    changes = {**SHAPE, "batch_size": BATCH, "max_validations": EPOCHS, "patience": 0}
    recipe = load_recipe("table", "small", method, changes)
    options = TrainingOptions(seed=0, trainer_config=TrainerConfig("cpu"), write_logs=False)
    with tempfile.TemporaryDirectory() as folder:
        result = fit(task, recipe, method.technique, Path(folder), options)  # type: ignore[arg-type]
    return result.preds


def measure_models(turns: int) -> list[dict[str, Any]]:
    """Return processor seconds of each whole fit, and its test errors."""
    task = make_task(TABLE)
    labels = task.test.labels.numpy()
    few = task.regions.masks(labels)["few"]
    models = list_models(task)
    preds: dict[str, Floats] = {}

    def run(name: str) -> None:
        preds[name] = models[name]()

    steps: dict[str, Step] = {name: functools.partial(run, name) for name in models}
    times = time_in_turns(steps, 0.0, rounds=turns, clock=time.process_time)
    rows = []
    for name, seconds in times.items():
        errors = np.abs(preds[name] - labels)
        scores = {"mae": float(errors.mean()), "mae_few": float(errors[few].mean())}
        rows.append({"model": name, "seconds": seconds, **scores})
    return rows


def measure(seconds: float, turns: int) -> dict[str, Any]:
    """Return all figures."""
    missing = {name: loss for name, loss in list_losses().items() if isinstance(loss, str)}
    names = {"scikit-learn", "lightgbm", *PACKAGES.values()}
    installed = {str(each.metadata["Name"]) for each in metadata.distributions()} & names
    return {
        "losses": [{"M": size, "times": measure_losses(size, seconds)} for size in SIZES],
        "missing": missing,
        "models": measure_models(turns),
        "packages": {name: metadata.version(name) for name in sorted(installed)},
        **collect_provenance(),
    }


def format_tables(content: dict[str, Any]) -> str:
    """Return the tables of docs/speed.md as Markdown."""
    return "\n".join([*format_losses(content), "", *format_models(content["models"])])


def format_losses(content: dict[str, Any]) -> Iterator[str]:
    """Yield the lines of the table of losses."""
    rows = content["losses"]
    heads = [f"M = {row['M']}, ms | × `RankSimLoss`" for row in rows]
    yield f"| value and gradient, D = {WIDTH} | {' | '.join(heads)} |"
    yield "| --- |" + " ---: |" * 2 * len(rows)
    for name in rows[0]["times"]:
        cells = [
            f"{row['times'][name]:.2f} | {row['times'][name] / row['times'][OURS]:.1f}"
            for row in rows
        ]
        yield f"| {name} | {' | '.join(cells)} |"
    for name, reason in content["missing"].items():
        yield f"| {name} | {reason} |" + " |" * (2 * len(rows) - 1)


def format_models(models: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table of fits."""
    yield (
        f"| fit of {sum(TABLE):,} rows × 26 columns | seconds | × vanilla | MAE | MAE, few-shot |"
    )
    yield "| --- |" + " ---: |" * 4
    for row in models:
        ratio = row["seconds"] / models[0]["seconds"]
        yield (
            f"| {row['model']} | {row['seconds']:.2f} | {ratio:.2f} | {row['mae']:.2f} | "
            f"{row['mae_few']:.2f} |"
        )


def write_page(page: Path, tables: str, marks: tuple[str, str] = MARKS) -> None:
    """Replace what lies between the marks of a page."""
    start, _, rest = page.read_text(encoding="utf-8").partition(marks[0])
    text = f"{start}{marks[0]}\n{tables}\n{marks[1]}{rest.partition(marks[1])[2]}"
    with atomic_write(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print the tables, and write them."""
    description = __doc__ or ""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="write the file and the page")
    parser.add_argument("--min-seconds", type=float, default=1.0, help="time of each loss")
    parser.add_argument("--turns", type=int, default=TURNS, help="fits of each model")
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    content = measure(arguments.min_seconds, arguments.turns)
    tables = format_tables(content)
    print(tables)
    if arguments.write:
        write_json(FILE, content)
        write_page(PAGE, format_tables(json.loads(FILE.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
