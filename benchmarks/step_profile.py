"""Profile of a training step and an epoch, part by part: STS-B-DIR, and AgeDB-DIR.

Usage: ``python -m benchmarks.step_profile --data-dir ../shared/data``; prints Markdown, and
``--write docs/profile.md`` replaces the part of that page between two marks.

It times the parts of the training of ``ranksim bench``, preset small, on STS-B-DIR and on AgeDB-DIR
with drawn faces. The second epoch of the training with the shortest steps counts, because other
programs can only slow steps down. Operators are profiled in a separate training, because
``torch.profiler`` slows it down.
"""

import argparse
import contextlib
import dataclasses
import io
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import lightning.pytorch as L
import torch
from torch.profiler import ProfilerActivity, profile

from benchmarks.step_speed import EPOCHS, SEED, Training, load_sts_b_dir
from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import atomic_write
from ranksim.data.spec import AgeDbSpec, DataLocation
from ranksim.datasets.image_benchmarks import prepare_split
from ranksim.training.data_source import DataSource
from ranksim.training.fit import fit
from ranksim.training.method import parse_method
from ranksim.training.presets import load_network_recipe
from ranksim.training.task import TrainingOptions
from ranksim.training.task_loading import load_task
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
    "optimiser": "clipping and optimizer",
    "rest": "Lightning, loader, other",
}
EPOCH = {
    "steps": "training steps",
    "refresh": "FDS, features of all samples and update",
    "network": "validation, network",
    "scores": "validation, scores",
    "rest": "checkpoints, logs, Lightning, other",
}
NUM_OPERATORS, PROFILED_STEPS = 6, 20
MARKS = "<!-- made by benchmarks/step_profile.py -->", "<!-- until here -->"


class PartTimer(L.Callback):
    """Times the parts of the steps of an epoch, and the parts of the epoch."""

    def on_train_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        model, self.data = pl_module.model, trainer.train_dataloader.dataset  # type: ignore[union-attr]
        parts = {"encoder": model.encoder, "head": model.head, "loss": pl_module.loss}
        parts |= {"fds": pl_module.fds, "ranksim": pl_module.ranksim}
        for name, part in parts.items():
            if part is not None:
                self.time_method(part, "forward", name)
        self.time_method(pl_module, "_add_loss", "means")
        for method in ("update", "compute"):
            self.time_method(pl_module.metrics, method, "scores")
        if pl_module.augment is not None:
            self.time_method(pl_module, "augment", "augment")
        if pl_module.fds is not None:
            self.time_method(pl_module.fds, "fit_epoch", "refresh")
        self.time_method(self.data, "__getitems__", "data")
        trainer.optimizers[0].register_step_post_hook(lambda *step: self.add_time("optimiser"))

    def time_method(self, owner: Any, method: str, name: str) -> None:
        """Add the time of each call of a method to a part."""
        function = getattr(owner, method)

        def timed(*args: Any, **kwargs: Any) -> Any:
            start = time.perf_counter()
            result = function(*args, **kwargs)
            self.spent[name] += time.perf_counter() - start
            return result

        setattr(owner, method, timed)

    def add_time(self, name: str) -> None:
        """Add the time since the last hook to a part."""
        self.spent[name] += time.perf_counter() - self.since

    def on_train_epoch_start(self, *_: Any) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.epoch_start = time.perf_counter()

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self.refresh = self.spent["refresh"]
            self.spent, self.first_step = defaultdict(float), time.perf_counter()

    def on_before_backward(self, *_: Any) -> None:
        self.since = time.perf_counter()

    def on_after_backward(self, *_: Any) -> None:
        self.add_time("backward")

    def on_before_optimizer_step(self, *_: Any) -> None:
        self.since = time.perf_counter()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == trainer.num_training_batches:
            self.steps, total = batch_idx + 1, time.perf_counter() - self.first_step
            self.step = {**self.spent, "rest": total - sum(self.spent.values())}
            self.spent = defaultdict(float)

    def on_train_end(self, *_: Any) -> None:
        total, spent = time.perf_counter() - self.epoch_start, self.spent
        self.epoch = {"steps": sum(self.step.values()), "refresh": self.refresh}
        self.epoch |= {"network": spent["encoder"] + spent["head"], "scores": spent["scores"]}
        self.epoch["rest"] = total - sum(self.epoch.values())
        del self.data.__getitems__  # the next training uses the same data


class OperatorProfiler(L.Callback):
    """Profiles the operators of some steps after the first."""

    def __init__(self) -> None:
        self.profiler = profile(activities=[ProfilerActivity.CPU])

    def on_train_batch_end(self, trainer: L.Trainer, *_: Any) -> None:
        if trainer.global_step == 1:
            self.profiler.start()
        elif trainer.global_step == 1 + PROFILED_STEPS:
            self.profiler.stop()


def train(training: Training, callback: L.Callback) -> None:
    """Train as ``ranksim bench`` does, in a temporary folder."""
    task, recipe, technique = training
    recipe = dataclasses.replace(recipe, max_validations=EPOCHS)
    options = TrainingOptions(seed=SEED, trainer_config=TrainerConfig("cpu"), callbacks=[callback])
    with tempfile.TemporaryDirectory() as folder:
        fit(task, recipe, technique, Path(folder), options)


def load_agedb_dir(name: str, root: Path) -> Training:
    """Load task, recipe and technique of a method of AgeDB-DIR, preset small."""
    method = parse_method(name, "sqrt_inverse")
    recipe = load_network_recipe("agedb-dir", "small", method, {})
    source = DataSource(AgeDbSpec(), DataLocation(data_dir=root))
    return load_task(source, recipe, seed=SEED)[1], recipe, method.technique


@contextlib.contextmanager
def drawn_faces(scale: float) -> Iterator[Path]:
    """Yield a folder of drawn faces in the form of AgeDB, with a separate cache."""
    with tempfile.TemporaryDirectory() as name:
        root, environment = Path(name), dict(os.environ)
        os.environ["RANKSIM_CACHE"] = str(root / "cache")
        faces.write_agedb(root, faces.count_faces(None, scale))
        with contextlib.redirect_stdout(io.StringIO()):  # it prints the next command to run
            prepare_split("agedb-dir", root)
        try:
            yield root
        finally:
            os.environ.clear()
            os.environ.update(environment)


def profile_methods(
    title: str, methods: Sequence[str], load: Callable[[str], Training], repeats: int
) -> Iterator[str]:
    """Yield Markdown of the parts of a step and of an epoch, and of the operators."""
    timers = []
    for name in methods:
        candidates = [PartTimer() for _ in range(repeats)]
        for timer in candidates:
            train(load(name), timer)
        timers.append(min(candidates, key=lambda timer: timer.epoch["steps"]))
    steps = [{k: 1e3 * v / timer.steps for k, v in timer.step.items()} for timer in timers]
    yield from ("", f"**{title}**, {timers[0].steps} steps an epoch", "")
    yield from format_table("a step, ms", methods, STEP, steps)
    yield from format_table("an epoch, s", methods, EPOCH, [timer.epoch for timer in timers])
    operators = OperatorProfiler()
    train(load("vanilla"), operators)
    events = sorted(operators.profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    total = sum(event.self_cpu_time_total for event in events)
    largest = [event for event in events if event.key.startswith("aten::")][:NUM_OPERATORS]
    shares = (f"`{e.key[6:]}` {format_percent(e.self_cpu_time_total / total)}" for e in largest)
    yield f"Operators of the vanilla step, by self time: {', '.join(shares)}."


def format_table(
    head: str, methods: Sequence[str], names: dict[str, str], columns: list[dict[str, float]]
) -> Iterator[str]:
    """Yield a row per part that any method has, with its share, and one for the total."""
    yield f"| {head} | {' | '.join(methods)} |"
    yield f"| --- |{' ---: |' * len(methods)}"
    totals = [sum(column.values()) for column in columns]
    for key, name in names.items():
        if any(column.get(key) for column in columns):
            parts = zip((column.get(key) for column in columns), totals, strict=True)
            yield f"| {name} | {' | '.join(format_cell(*pair) for pair in parts)} |"
    yield f"| **total** | {' | '.join(f'**{total:.2f}**' for total in totals)} |"
    yield ""


def format_cell(part: float | None, total: float) -> str:
    """Format a part and its share, or a dash."""
    return f"{part:.2f} ({format_percent(part / total)})" if part else "–"


def format_percent(share: float) -> str:
    """Format a share as percent with one decimal."""
    return f"{100 * share:.1f} %"


def make_markdown(data_dir: Path | None, threads: int, scale: float, repeats: int) -> Iterator[str]:
    """Yield the lines between the two marks."""
    provenance = collect_provenance()
    versions = (f"{name} {provenance['versions'][name]}" for name in ("torch", "lightning"))
    yield f"{provenance['machine']['processor']}, threads: {threads}; {', '.join(versions)}."
    yield from profile_methods(
        "STS-B-DIR, BiLSTM", TEXTS, lambda name: load_sts_b_dir(name, data_dir), repeats
    )
    with drawn_faces(scale) as root:
        title = "AgeDB-DIR on drawn faces, ResNet-18 at 32 px"
        yield from profile_methods(title, IMAGES, lambda name: load_agedb_dir(name, root), repeats)


def replace_marked_part(path: Path, lines: list[str]) -> None:
    """Write the lines between the two marks of a page."""
    before, _, rest = path.read_text(encoding="utf-8").partition(MARKS[0])
    after = rest.partition(MARKS[1])[2]
    block = "\n".join([MARKS[0], *lines, MARKS[1]])
    with atomic_write(path) as temporary:
        temporary.write_text(before + block + after, encoding="utf-8")


def main(argv: Sequence[str] | None = None) -> None:
    """Profile, and print or write the Markdown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--scale", type=float, default=0.3, help="faces, as a share of AgeDB's")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args(argv)
    default_threads = torch.get_num_threads()
    torch.set_num_threads(arguments.threads)
    lines = list(
        make_markdown(arguments.data_dir, arguments.threads, arguments.scale, arguments.repeats)
    )
    torch.set_num_threads(default_threads)
    if arguments.write is None:
        print("\n".join(lines))
    else:
        replace_marked_part(arguments.write, lines)


if __name__ == "__main__":
    main()
