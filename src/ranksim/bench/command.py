"""What ``ranksim bench`` and ``ranksim demo`` do with what they were given."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console

from ranksim.bench.methods import Method, parse_methods
from ranksim.bench.recipes import recipe_for
from ranksim.errors import UsageError
from ranksim.report.progress import SweepProgress
from ranksim.report.table import print_summary
from ranksim.training.recipe import parse_change


@dataclass(frozen=True)
class BenchRequest:
    """A bench command as it was given."""

    benchmark: str
    options: Mapping[str, Any]
    methods: str
    seeds: str
    jobs: int
    out: Path
    preset: str = "small"
    data_dir: Path | None = None
    shots: str = "rule"
    changes: tuple[str, ...] = field(default=())
    max_steps: int | None = None
    max_epochs: int | None = None
    accelerator: str = "auto"
    devices: str = "1"
    precision: str = "32-true"
    glove: Path | None = None

    def command(self, methods: list[Method], seeds: list[int]) -> str:
        """The command to type for the same results, without folders of this machine."""
        words = ["ranksim bench", self.benchmark]
        for name, value in self.options.items():
            words.append(f"--{name} {','.join(value) if isinstance(value, tuple) else value}")
        words.append(f"--methods {','.join(method.name for method in methods)}")
        if self.benchmark == "sts-b-dir":
            words.append(f"--preset {self.preset} --shots {self.shots}")
        listed = ",".join(map(str, seeds)) + ("," if len(seeds) == 1 else "")
        counted = str(len(seeds)) if seeds == list(range(len(seeds))) else listed
        words += [f"--seeds {counted}", f"--jobs {self.jobs}"]
        words += [f"--set {shlex.quote(change)}" for change in self.changes]
        words += [f"--max-steps {self.max_steps}"] if self.max_steps else []
        words += [f"--max-epochs {self.max_epochs}"] if self.max_epochs else []
        for name, usual in (("accelerator", "auto"), ("devices", "1"), ("precision", "32-true")):
            if (value := getattr(self, name)) != usual:
                words.append(f"--{name} {shlex.quote(value)}")
        return " ".join(words)


def bench(request: BenchRequest) -> dict[str, Any]:
    """Carry out a bench command: check it, sweep, print the tables."""
    methods, seeds = parse_methods(request.methods), parse_seeds(request.seeds)
    changes = dict(parse_change(text) for text in request.changes)
    for method in methods:
        recipe_for(request.benchmark, request.preset, method, changes)  # nonsense ends here

    # only now what takes seconds to import
    from ranksim.bench.run import Run, Source
    from ranksim.bench.sweep import RESULTS, Plan, sweep
    from ranksim.training.fit import Hardware, Limits, quiet

    quiet()
    source = Source(
        request.benchmark,
        tuple(request.options.items()),
        request.shots,
        request.data_dir,
        request.glove,
    )

    def run_of(method_name: str, seed: int) -> Run:
        (method,) = parse_methods(method_name)
        return Run(
            method,
            seed,
            recipe_for(request.benchmark, request.preset, method, changes),
            source,
            request.preset,
            Hardware(request.accelerator, request.devices, request.precision),
            Limits(request.max_steps, request.max_epochs),
            request.out,
        )

    console = Console()
    alone = request.jobs == 1
    plan = Plan(
        [run_of(method.name, seed) for seed in seeds for method in methods],
        run_of,
        request.jobs,
        request.command(methods, seeds),
        progress_bar=alone and console.is_terminal,
    )
    with SweepProgress(console, live=console.is_terminal and not alone) as watcher:
        results = sweep(plan, watcher)
    print_summary(results, console)
    console.print(f"Results: {request.out / RESULTS}", highlight=False)
    return results


def parse_seeds(text: str) -> list[int]:
    """``"5"`` to 0..4, ``"3,5"`` to those two seeds."""
    try:
        numbers = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        numbers = []
    if "," not in text and len(numbers) == 1 and numbers[0] > 0:
        return list(range(numbers[0]))
    if "," in text and numbers and 0 <= min(numbers) <= max(numbers) < 2**32:
        return list(dict.fromkeys(numbers))
    raise UsageError(
        "--seeds takes a number above 0, or a list of seeds below 2**32 such as 3,5,8, got "
        f"{text!r}."
    )
