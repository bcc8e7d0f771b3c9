"""Steps per second of a sweep's training against a plain PyTorch loop, in one run.

Usage: ``python -m benchmarks.step_speed --data-dir ../shared/data [--json FILE]`` (STS-B-DIR,
preset small; prints a table).

One side is the training of ``ranksim bench``: Lightning, callbacks, logs, checkpoints. The other is
a hand-written loop with the same network, loss, batches, optimizer and clipping that keeps only the
best weights. Both start from one seed and must reach the same validation scores. Each repetition
times one right after the other, so that other programs slow both; the second epoch counts.
"""

import argparse
import dataclasses
import itertools
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import write_json
from ranksim.data.spec import DataLocation, StsBSpec
from ranksim.training.data_loader import EVAL_BATCH_SIZE, SeededSampler, make_loader
from ranksim.training.data_source import DataSource
from ranksim.training.factory import (
    make_fds,
    make_loss,
    make_ranksim,
    make_weights,
    resolve_defaults,
)
from ranksim.training.fit import fit
from ranksim.training.method import Technique, parse_method
from ranksim.training.presets import load_network_recipe
from ranksim.training.recipe import NetworkRecipe
from ranksim.training.task import TrainingOptions, TrainingTask
from ranksim.training.task_loading import load_task
from ranksim.training.trainer_config import TrainerConfig

METHODS = ("vanilla", "vanilla+ranksim", "inv+lds+fds+ranksim")
EPOCHS, SEED = 2, 0
COLUMNS = {
    "steps": "steps/s",
    "steps_by_hand": "plain loop",
    "steps_ratio": "ratio",
    "undisturbed_ratio": "undisturbed",
    "epoch_ratio": "of an epoch",
}

Training = tuple[TrainingTask, NetworkRecipe, Technique]


@dataclasses.dataclass
class StepTimes:
    """Seconds of each step and of the whole last epoch of a training, and validation scores."""

    each: list[float]
    epoch: float
    scores: list[float]

    @property
    def steps(self) -> float:
        """Return the number of steps per second."""
        return len(self.each) / sum(self.each)


class Clock(L.Callback):
    """Records when the last epoch began, when each of its steps ended, and when training ended."""

    def on_train_epoch_start(self, *_: Any) -> None:
        self.step_ends: list[float] = []
        self.start = time.perf_counter()

    def on_train_batch_end(self, *_: Any) -> None:
        self.step_ends.append(time.perf_counter())

    def on_train_end(self, *_: Any) -> None:
        self.end = time.perf_counter()

    def step_times(self, scores: list[float]) -> StepTimes:
        """Return the times; a step lasts from the end of one to the end of the next."""
        each = [end - start for start, end in itertools.pairwise(self.step_ends)]
        return StepTimes(each, self.end - self.start, scores)


def train_as_sweep(task: TrainingTask, recipe: NetworkRecipe, technique: Technique) -> StepTimes:
    """Train as ``ranksim bench`` does."""
    clock = Clock()
    recipe = dataclasses.replace(recipe, max_validations=EPOCHS)
    options = TrainingOptions(seed=SEED, trainer_config=TrainerConfig("cpu"), callbacks=[clock])
    with tempfile.TemporaryDirectory() as folder:
        result = fit(task, recipe, technique, Path(folder), options)
    return clock.step_times(list(result.curves["val"]))


def train_by_hand(task: TrainingTask, recipe: NetworkRecipe, technique: Technique) -> StepTimes:
    """Run the same training as a plain loop."""
    torch.use_deterministic_algorithms(False)  # Lightning has set it
    torch.manual_seed(SEED)
    model, labels = task.build_model(), task.train.labels.numpy()
    recipe = resolve_defaults(recipe, labels)
    criterion = make_loss(recipe, technique)
    weights = make_weights(recipe, technique, task.bins, labels)
    fds = make_fds(recipe, technique, task.bins, model.width)
    ranksim = make_ranksim(recipe, technique, SEED, False)
    adam = torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    order = SeededSampler(len(task.train), SEED)
    training = make_loader(task.train, recipe.batch_size, order)
    fds_loader = make_loader(task.train, 256, task.train.length_order().tolist())
    validation = make_loader(task.val, EVAL_BATCH_SIZE)
    clock, scores = Clock(), []
    with tempfile.TemporaryDirectory() as folder:
        for epoch in range(EPOCHS):
            clock.on_train_epoch_start()
            if fds is not None and epoch:
                model.eval()
                pairs = ((batch["inputs"], batch["label"]) for batch in fds_loader)
                fds.fit_epoch(lambda inputs: model.encoder(*inputs), pairs)
            model.train()
            order.set_epoch(epoch)
            for batch in training:
                label, index = batch["label"], batch["index"]
                features = model.encoder(*batch["inputs"])
                smoothed = features if fds is None else fds(features, label)
                preds = model.head(smoothed).squeeze(-1)
                target = (label / recipe.label_scale).float()
                loss = criterion(preds, target, None if weights is None else weights[index])
                if ranksim is not None:
                    loss = loss + ranksim(features, (label / recipe.label_step).round())
                adam.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.max_grad_norm)
                adam.step()
                clock.on_train_batch_end()
            model.eval()
            with torch.no_grad():
                errors = [
                    (model(*batch["inputs"])[0] * recipe.label_scale).double() - batch["label"]
                    for batch in validation
                ]
            scores.append(torch.cat(errors).square().mean().float().item())
            if scores[-1] == min(scores):
                torch.save(model.state_dict(), Path(folder) / "best.pt")
        clock.on_train_end()
    return clock.step_times(scores)


def compare(
    task: TrainingTask, recipe: NetworkRecipe, technique: Technique, repeats: int
) -> dict[str, Any]:
    """Time both ``repeats`` times in turn: median, minimum and maximum of figures and ratios.

    A ratio above 1 means that the sweep's training is faster. The undisturbed ratio takes the
    shortest time of each step on either side.
    """
    sweeps: list[StepTimes] = []
    loops: list[StepTimes] = []
    for k in range(repeats):
        if k % 2:
            sweeps.append(train_as_sweep(task, recipe, technique))
        loops.append(train_by_hand(task, recipe, technique))
        if not k % 2:
            sweeps.append(train_as_sweep(task, recipe, technique))
    pairs = list(zip(sweeps, loops, strict=True))
    for sweep, loop in pairs:
        if sweep.scores != loop.scores:
            raise SystemExit(f"not the same training: {sweep.scores} and {loop.scores}")
    return {
        "steps": summarize([sweep.steps for sweep, _ in pairs]),
        "steps_by_hand": summarize([loop.steps for _, loop in pairs]),
        "steps_ratio": summarize([sweep.steps / loop.steps for sweep, loop in pairs]),
        "epoch": summarize([sweep.epoch for sweep, _ in pairs]),
        "epoch_by_hand": summarize([loop.epoch for _, loop in pairs]),
        "epoch_ratio": summarize([loop.epoch / sweep.epoch for sweep, loop in pairs]),
        "undisturbed_ratio": shortest_epoch(loops) / shortest_epoch(sweeps),
    }


def shortest_epoch(trainings: Sequence[StepTimes]) -> float:
    """Return the seconds of an epoch's steps, each from the training where it was shortest."""
    return float(sum(min(times) for times in zip(*(t.each for t in trainings), strict=True)))


def summarize(values: list[float]) -> dict[str, float]:
    """Return median, minimum and maximum."""
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def format_figure(figure: float | dict[str, float]) -> str:
    """Format as ``0.931 (0.912..0.950)``: median, minimum and maximum; or a number."""
    if isinstance(figure, float):
        return f"{figure:.3f}"
    digits = 3 if figure["most"] < 10 else 1
    median, least, most = (f"{figure[key]:.{digits}f}" for key in ("median", "least", "most"))
    return f"{median} ({least}..{most})"


def load_sts_b_dir(name: str, data_dir: Path | None = None) -> Training:
    """Load task, recipe and technique of a method of STS-B-DIR, preset small."""
    method = parse_method(name, "inverse")
    recipe = load_network_recipe("sts-b-dir", "small", method, {})
    spec = StsBSpec(split="borealis", regions_from="published")
    source = DataSource(spec, DataLocation(data_dir=data_dir))
    return load_task(source, recipe, seed=SEED)[1], recipe, method.technique


def main(argv: Sequence[str] | None = None) -> None:
    """Compare both trainings, print a table, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args(argv)
    table = Table("threads", "method", *COLUMNS.values(), box=box.SIMPLE_HEAD)
    rows, default_threads = [], torch.get_num_threads()
    for threads in arguments.threads:
        torch.set_num_threads(threads)
        for name in arguments.methods:
            figures = compare(*load_sts_b_dir(name, arguments.data_dir), arguments.repeats)
            rows.append({"threads": threads, "method": name, **figures})
            table.add_row(str(threads), name, *(format_figure(figures[key]) for key in COLUMNS))
    torch.set_num_threads(default_threads)
    Console(width=200).print(table)
    if arguments.json is not None:
        content = {"repeats": arguments.repeats, "rows": rows, **collect_provenance()}
        write_json(arguments.json, content)


if __name__ == "__main__":
    main()
