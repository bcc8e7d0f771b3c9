"""Where the time of a training step and of an epoch goes: a step of texts, and one of images.

Usage: ``python -m benchmarks.step_profile --data-dir ../shared/data``; prints Markdown, and
``--write docs/profile.md`` puts it there between the two marks.

It is the training of ``ranksim bench``, preset small, its parts timed by the clock: STS-B-DIR, and
AgeDB-DIR on drawn faces. The second epoch counts, of the training with the shortest steps: other
work only adds to them. The operators are those that ``torch.profiler`` sees in a training of its
own, for it slows what it looks at.
"""

import argparse
import contextlib
import dataclasses
import io
import os
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import lightning.pytorch as L
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.step_speed import EPOCHS, SEED, sts_b_dir
from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import atomic_write
from ranksim.cli._prepare import PrepareRequest, prepare_data
from ranksim.data.spec import AgeDbSpec, DataLocation
from ranksim.training.fit import TrainingOptions, fit
from ranksim.training.method import parse_method
from ranksim.training.presets import load_recipe
from ranksim.training.task_loading import DataSource, load_task
from ranksim.training.trainer_config import TrainerConfig
from tests.helpers import faces

TEXTS = ("vanilla", "vanilla+ranksim")
IMAGES = ("vanilla", "vanilla+ranksim", "vanilla+fds")
STEP = {
    "data": "batch from the data set",
    "augment": "augmentation",
    "encoder": "encoder, forward",
    "fds": "FDS, calibration",
    "head": "head, forward",
    "loss": "loss",
    "ranksim": "RankSim, with its gradient",
    "means": "means of both for the curves",
    "backward": "backward",
    "optimiser": "clipping and optimiser",
    "rest": "Lightning, loader, all else",
}
EPOCH = {
    "steps": "training steps",
    "refresh": "FDS, features of all samples and update",
    "network": "validation, network",
    "scores": "validation, scores",
    "rest": "checkpoints, logs, Lightning, all else",
}
OPERATORS, PROFILED = 6, 20  # operators that are named, steps that are looked at
MARKS = "<!-- made by benchmarks/step_profile.py -->", "<!-- until here -->"


class Watch(L.Callback):
    """Times the parts of the steps of an epoch, and those of the epoch."""

    def on_train_start(self, trainer, pl_module):
        model, self.data = pl_module.model, trainer.train_dataloader.dataset
        parts = {"encoder": model.encoder, "head": model.head, "loss": pl_module.loss}
        parts |= {"fds": pl_module.fds, "ranksim": pl_module.ranksim}
        for name, part in parts.items():
            if part is not None:
                self.time(part, "forward", name)
        self.time(pl_module, "_add", "means")
        for method in ("update", "compute"):
            self.time(pl_module.metrics, method, "scores")
        if pl_module.augment is not None:
            self.time(pl_module, "augment", "augment")
        if pl_module.fds is not None:
            self.time(pl_module.fds, "refresh", "refresh")
        self.time(self.data, "__getitems__", "data")
        trainer.optimizers[0].register_step_post_hook(lambda *step: self.add("optimiser"))

    def time(self, owner, method, name):
        """Add what each call of a method takes to what has this name."""
        function = getattr(owner, method)

        def timed(*args, **kwargs):
            began = time.perf_counter()
            found = function(*args, **kwargs)
            self.spent[name] += time.perf_counter() - began
            return found

        setattr(owner, method, timed)

    def add(self, name):
        self.spent[name] += time.perf_counter() - self.since

    def on_train_epoch_start(self, trainer, pl_module):
        self.spent, self.began = defaultdict(float), time.perf_counter()

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if batch_idx == 0:
            self.refresh = self.spent["refresh"]
            self.spent, self.first = defaultdict(float), time.perf_counter()

    def on_before_backward(self, trainer, pl_module, loss):
        self.since = time.perf_counter()

    def on_after_backward(self, trainer, pl_module):
        self.add("backward")

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.since = time.perf_counter()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if batch_idx + 1 == trainer.num_training_batches:
            self.steps, whole = batch_idx + 1, time.perf_counter() - self.first
            self.step = self.spent | {"rest": whole - sum(self.spent.values())}
            self.spent = defaultdict(float)

    def on_train_end(self, trainer, pl_module):
        whole, spent = time.perf_counter() - self.began, self.spent
        self.epoch = {"steps": sum(self.step.values()), "refresh": self.refresh}
        self.epoch |= {"network": spent["encoder"] + spent["head"], "scores": spent["scores"]}
        self.epoch["rest"] = whole - sum(self.epoch.values())
        del self.data.__getitems__  # the next training has the same data


class Operators(L.Callback):
    """What ``torch.profiler`` sees of some steps after the first."""

    def __init__(self):
        self.profiler = profile(activities=[ProfilerActivity.CPU])

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == 1:
            self.profiler.start()
        elif trainer.global_step == 1 + PROFILED:
            self.profiler.stop()


def train(task, recipe, technique, callback):
    """The training of ``ranksim bench``, in a folder that is not kept."""
    recipe = dataclasses.replace(recipe, max_validations=EPOCHS)
    options = TrainingOptions(seed=SEED, trainer_config=TrainerConfig("cpu"), callbacks=[callback])
    with tempfile.TemporaryDirectory() as folder:
        fit(task, recipe, technique, Path(folder), options)
    return callback


def agedb_dir(name, root):
    """Task, recipe and technique of a method of AgeDB-DIR, preset small, on the images there."""
    method = parse_method(name, "sqrt_inverse")
    recipe = load_recipe("agedb-dir", "small", method, {})
    source = DataSource(AgeDbSpec(), DataLocation(data_dir=root))
    return load_task(source, recipe, seed=SEED)[1], recipe, method.technique


@contextlib.contextmanager
def drawn_faces(scale):
    """A folder of drawn faces in the form of AgeDB, and a cache of their own."""
    with tempfile.TemporaryDirectory() as name:
        root, before = Path(name), dict(os.environ)
        os.environ["RANKSIM_CACHE"] = str(root / "cache")
        faces.write_agedb(root, faces.count_faces(None, scale))
        with contextlib.redirect_stdout(io.StringIO()):  # it tells of a command to type
            prepare_data(PrepareRequest("agedb-dir", root))
        try:
            yield root
        finally:
            os.environ.clear()
            os.environ.update(before)


def section(title, methods, make, repeats):
    """Markdown of the parts of a step, of those of an epoch, and of operators."""
    every = [[train(*make(name), Watch()) for name in methods] for _ in range(repeats)]
    watches = [min(own, key=lambda watch: watch.epoch["steps"]) for own in zip(*every, strict=True)]
    steps = [{k: 1e3 * v / watch.steps for k, v in watch.step.items()} for watch in watches]
    yield from ("", f"**{title}**, {watches[0].steps} steps an epoch", "")
    yield from table("a step, ms", methods, STEP, steps)
    yield from table("an epoch, s", methods, EPOCH, [watch.epoch for watch in watches])
    seen = train(*make("vanilla"), Operators()).profiler.key_averages()
    seen = sorted(seen, key=lambda one: -one.self_cpu_time_total)
    whole = sum(one.self_cpu_time_total for one in seen)
    named = [one for one in seen if one.key.startswith("aten::")][:OPERATORS]
    told = (f"`{one.key[6:]}` {percent(one.self_cpu_time_total / whole)}" for one in named)
    yield f"Operators of the vanilla step, by their own time: {', '.join(told)}."


def table(head, methods, names, columns):
    """A row for each part that any method has, with its share, and one for the whole."""
    yield f"| {head} | {' | '.join(methods)} |"
    yield f"| --- |{' ---: |' * len(methods)}"
    wholes = [sum(column.values()) for column in columns]
    for key, name in names.items():
        if any(column.get(key) for column in columns):
            parts = zip((column.get(key) for column in columns), wholes, strict=True)
            yield f"| {name} | {' | '.join(cell(*pair) for pair in parts)} |"
    yield f"| **whole** | {' | '.join(f'**{whole:.2f}**' for whole in wholes)} |"
    yield ""


def cell(part, whole):
    return f"{part:.2f} ({percent(part / whole)})" if part else "–"


def percent(share):
    return f"{100 * share:.1f} %"


def markdown(data_dir, threads, scale, repeats):
    """All that goes between the two marks."""
    made = collect_provenance()
    versions = (f"{name} {made['versions'][name]}" for name in ("torch", "lightning"))
    yield f"{made['machine']['processor']}, threads: {threads}; {', '.join(versions)}."
    yield from section("STS-B-DIR, BiLSTM", TEXTS, lambda name: sts_b_dir(name, data_dir), repeats)
    with drawn_faces(scale) as root:
        title = "AgeDB-DIR on drawn faces, ResNet-18 at 32 px"
        yield from section(title, IMAGES, lambda name: agedb_dir(name, root), repeats)


def put(path, lines):
    """Write the lines between the two marks of a page."""
    before, _, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    block = "\n".join([MARKS[0], *lines, MARKS[1]])
    with atomic_write(path) as aside:
        aside.write_text(before + block + after, encoding="utf-8")


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scale", type=float, default=0.3, help="faces, as a share of AgeDB's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", type=Path)
    given = parser.parse_args(argv)
    before = torch.get_num_threads()
    torch.set_num_threads(given.threads)
    lines = list(markdown(given.data_dir, given.threads, given.scale, given.repeats))
    torch.set_num_threads(before)
    if given.write is None:
        print("\n".join(lines))
    else:
        put(given.write, lines)


if __name__ == "__main__":
    main()
