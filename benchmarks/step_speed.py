"""Steps per second of a sweep's training against a plain PyTorch loop, in one run.

Usage: ``python -m benchmarks.step_speed --data-dir ../shared/data [--json FILE]`` (STS-B-DIR,
preset small; prints a table).

One side is the training that ``ranksim bench`` runs: Lightning, callbacks, logs, checkpoints. The
other is what one would write by hand: the same network, loss, batches, optimiser and clipping in
a ``for``, nothing kept but the best weights. Both start from one seed and must come to the same
validation scores. Each repetition times one right after the other, so that other work slows both;
of each the second epoch counts.
"""

import argparse
import dataclasses
import itertools
import statistics
import tempfile
import time
from pathlib import Path

import lightning.pytorch as L
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import write_json
from ranksim.data.spec import DataLocation, StsBSpec
from ranksim.training.data_loader import EVAL_BATCH_SIZE, SeededSampler, make_loader
from ranksim.training.factory import (
    make_fds,
    make_loss,
    make_ranksim,
    make_weights,
    resolve_defaults,
)
from ranksim.training.fit import TrainingOptions, fit
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.task_loading import DataSource, load_task
from ranksim.training.trainer_config import TrainerConfig

METHODS = ("vanilla", "vanilla+ranksim", "inv+lds+fds+ranksim")
EPOCHS, SEED = 2, 0
SHOWN = {  # of the figures
    "steps": "steps/s",
    "steps_by_hand": "plain loop",
    "steps_ratio": "ratio",
    "undisturbed_ratio": "undisturbed",
    "epoch_ratio": "of an epoch",
}


@dataclasses.dataclass
class Timed:
    """One training: seconds of each step and of all of its last epoch, and validation scores."""

    each: list[float]
    epoch: float
    scores: list[float]

    @property
    def steps(self):
        """Steps a second."""
        return len(self.each) / sum(self.each)


class Clock(L.Callback):
    """When the last epoch began, its first and last step ended, and the training did."""

    def on_train_epoch_start(self, trainer=None, pl_module=None):
        self.ends, self.began = [], time.perf_counter()

    def on_train_batch_end(self, *step):
        self.ends.append(time.perf_counter())

    def on_train_end(self, trainer=None, pl_module=None):
        self.ended = time.perf_counter()

    def timed(self, scores):
        """What it comes to; steps count from the end of one to the end of the next."""
        each = [end - start for start, end in itertools.pairwise(self.ends)]
        return Timed(each, self.ended - self.began, scores)


def by_sweep(task, recipe, technique):
    """The training of ``ranksim bench``."""
    clock = Clock()
    recipe = dataclasses.replace(recipe, max_validations=EPOCHS)
    options = TrainingOptions(seed=SEED, trainer_config=TrainerConfig("cpu"), callbacks=[clock])
    with tempfile.TemporaryDirectory() as folder:
        outcome = fit(task, recipe, technique, Path(folder), options)
    return clock.timed(outcome.curves["val"])


def by_hand(task, recipe, technique):
    """The same training as a plain loop."""
    torch.use_deterministic_algorithms(False)  # Lightning has set it
    torch.manual_seed(SEED)
    model, labels = task.build_model(), task.train.labels.numpy()
    recipe = resolve_defaults(recipe, labels)
    criterion = make_loss(recipe, technique)
    weights = make_weights(recipe, technique, task.bins, labels)
    fds = make_fds(recipe, technique, task.bins, model.width)
    ranksim = make_ranksim(recipe, technique, SEED)
    adam = torch.optim.Adam(model.parameters(), lr=recipe.lr, weight_decay=recipe.weight_decay)
    order = SeededSampler(len(task.train), SEED)
    training = make_loader(task.train, recipe.batch_size, order)
    everything = make_loader(task.train, 256, task.train.length_order().tolist())
    validation = make_loader(task.val, EVAL_BATCH_SIZE)
    clock, scores = Clock(), []
    with tempfile.TemporaryDirectory() as folder:
        for epoch in range(EPOCHS):
            clock.on_train_epoch_start()
            if fds is not None and epoch:
                model.eval()
                pairs = ((batch["inputs"], batch["label"]) for batch in everything)
                fds.fit_epoch(lambda inputs: model.encoder(*inputs), pairs)
            model.train()
            order.set_epoch(epoch)
            for batch in training:
                label, index = batch["label"], batch["index"]
                features = model.encoder(*batch["inputs"])
                smoothed = features if fds is None else fds(features, label)
                prediction = model.head(smoothed).squeeze(-1)
                target = (label / recipe.label_scale).float()
                loss = criterion(prediction, target, None if weights is None else weights[index])
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
    return clock.timed(scores)


def compare(task, recipe, technique, repeats):
    """Both in turn, so many times: median, least and most of each figure and of their ratios.

    A ratio above 1 says that the sweep's is the faster one. The undisturbed ratio takes of each
    step the shortest time it ever took on either side, to which other work only adds.
    """
    found = {by_sweep: [], by_hand: []}
    for k in range(repeats):
        for way in (by_sweep, by_hand) if k % 2 else (by_hand, by_sweep):
            found[way].append(way(task, recipe, technique))
    pairs = list(zip(*found.values(), strict=True))
    for ours, plain in pairs:
        if ours.scores != plain.scores:
            raise SystemExit(f"not the same training: {ours.scores} and {plain.scores}")
    return {
        "steps": spread([ours.steps for ours, _ in pairs]),
        "steps_by_hand": spread([plain.steps for _, plain in pairs]),
        "steps_ratio": spread([ours.steps / plain.steps for ours, plain in pairs]),
        "epoch": spread([ours.epoch for ours, _ in pairs]),
        "epoch_by_hand": spread([plain.epoch for _, plain in pairs]),
        "epoch_ratio": spread([plain.epoch / ours.epoch for ours, plain in pairs]),
        "undisturbed_ratio": shortest(found[by_hand]) / shortest(found[by_sweep]),
    }


def shortest(trainings):
    """Seconds of an epoch's steps, each in the training where it took least."""
    return sum(map(min, zip(*(training.each for training in trainings), strict=True)))


def spread(values):
    return {"median": statistics.median(values), "least": min(values), "most": max(values)}


def shown(figure):
    """``0.931 (0.912..0.950)``: the median, and least and most; or a number alone."""
    if isinstance(figure, float):
        return f"{figure:.3f}"
    digits = 3 if figure["most"] < 10 else 1
    median, least, most = (f"{figure[key]:.{digits}f}" for key in ("median", "least", "most"))
    return f"{median} ({least}..{most})"


def sts_b_dir(name, data_dir=None, split="borealis"):
    """Task, recipe and technique of a method of STS-B-DIR, preset small."""
    method = parse_method(name, "inverse")
    recipe = load_recipe("sts-b-dir", "small", method, {})
    spec = StsBSpec(split=split, regions_from="published")
    source = DataSource(spec, DataLocation(data_dir=data_dir))
    return load_task(source, recipe, seed=SEED)[1], recipe, method.technique


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(argv)
    table = Table("threads", "method", *SHOWN.values(), box=box.SIMPLE_HEAD)
    rows, before = [], torch.get_num_threads()
    for threads in given.threads:
        torch.set_num_threads(threads)
        for name in given.methods:
            figures = compare(*sts_b_dir(name, given.data_dir), given.repeats)
            rows.append({"threads": threads, "method": name, **figures})
            table.add_row(str(threads), name, *(shown(figures[figure]) for figure in SHOWN))
    torch.set_num_threads(before)
    Console(width=200).print(table)
    if given.json is not None:
        write_json(given.json, {"repeats": given.repeats, "rows": rows, **collect_provenance()})


if __name__ == "__main__":
    main()
