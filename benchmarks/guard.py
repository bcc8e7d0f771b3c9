"""Compare ratios of times with those of a committed file, to notice what has become slower.

Usage: ``python -m benchmarks.guard`` (20 seconds; ``make bench`` runs it too) exits with status 1
and one sentence if a ratio is more than ``TOLERANCE`` times that of results/speed/guard.json.
``--write`` records the ratios of this commit there; run it on an idle machine.

Each ratio compares two things in one process, in turns, on one thread, by processor time, so that
other programs hardly change it. A ratio that is too high is measured again before it counts. On
another processor than the recorded one, a higher tolerance applies.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.loss_speed import floor_steps, make_batch, make_step
from benchmarks.table_step import make_task, time_fit, time_plain_loop
from benchmarks.timing import time_in_turns
from ranksim._utils.provenance import collect_provenance
from ranksim._utils.storage import write_json
from ranksim.functional._kernels.cpu.library import load_library

FILE = Path(__file__).resolve().parents[1] / "results" / "speed" / "guard.json"
TOLERANCE, OTHER_PROCESSOR_TOLERANCE = 1.5, 2.5
ATTEMPTS, RECORDED = 3, 3  # measurements before a ratio counts as too high, and of a recorded one
SIZES = ((64, 128), (128, 512), (256, 512), (1024, 512))  # M, D
TURNS, EPOCHS = 2, 2  # of a training

Ratios = dict[str, Callable[[], float]]


def measure_term(size: int, width: int, seconds: float = 0.5) -> float:
    """Return the time of the loss, forward and backward, over that of its two products."""
    features, labels = make_batch(size, width=width)
    steps = {"term": make_step(features, labels), **floor_steps(features)}
    times = time_in_turns(steps, seconds, clock=time.process_time)
    return times.pop("term") / sum(times.values())


def measure_training(batch_size: int, over: str, of: str) -> float:
    """Return the time of one training on a table over that of another one."""
    task = make_task()
    trainings: dict[str, Callable[[], float]] = {
        "plain loop": lambda: time_plain_loop(task, batch_size, EPOCHS),
        **{
            name: functools.partial(time_fit, task, name, batch_size, EPOCHS)
            for name in ("vanilla", "vanilla+ranksim")
        },
    }
    pair = {name: trainings[name] for name in (of, over)}
    times = time_in_turns(pair, 0.0, rounds=TURNS, clock=time.process_time)
    return times[of] / times[over]


RATIOS: Ratios = {
    **{
        f"loss / its two products, M = {size}, D = {width}": functools.partial(
            measure_term, size, width
        )
        for size, width in SIZES
    },
    "fit / plain PyTorch loop, batch 64": functools.partial(
        measure_training, 64, "plain loop", "vanilla"
    ),
    "fit with RankSim / without, batch 64": functools.partial(
        measure_training, 64, "vanilla", "vanilla+ranksim"
    ),
    "fit with RankSim / without, batch 256": functools.partial(
        measure_training, 256, "vanilla", "vanilla+ranksim"
    ),
}


def compare(ratios: Ratios, committed: dict[str, float], tolerance: float) -> list[str]:
    """Print a table of all ratios; return one sentence for each one that is too high."""
    print("| ratio | committed | now | limit | |\n| --- | ---: | ---: | ---: | --- |")
    sentences = []
    for name, measure in ratios.items():
        limit = tolerance * committed[name]
        value = measure()
        for _ in range(ATTEMPTS - 1):
            if value > limit:
                value = min(value, measure())
        mark = "held" if value <= limit else "too high"
        print(
            f"| {name} | {committed[name]:.2f} | {value:.2f} | {limit:.2f} | {mark} |", flush=True
        )
        if value > limit:
            sentences.append(
                f"{name} rose from {committed[name]:.2f} to {value:.2f}, more than {tolerance:g} "
                "times: find the commit that made it slower, or record the new ratio with "
                "python -m benchmarks.guard --write."
            )
    return sentences


def record(ratios: Ratios, path: Path) -> None:
    """Write the medians of a few measurements of each ratio."""
    medians = {}
    for name, measure in ratios.items():
        medians[name] = round(statistics.median(measure() for _ in range(RECORDED)), 3)
        print(f"{name}: {medians[name]:.2f}", flush=True)
    write_json(path, {"ratios": medians, **collect_provenance()})


def read_committed(path: Path, ratios: Ratios) -> dict[str, Any]:
    """Return the content of the file; exit with one sentence if it has other ratios."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if list(content["ratios"]) != list(ratios):
        sys.exit(f"{path} has other ratios: record these with python -m benchmarks.guard --write.")
    return content


def require_compiled_term() -> None:
    """Exit with one sentence unless the compiled function of the loss can be loaded."""
    try:
        load_library()
    except OSError:
        sys.exit(
            "The compiled function of the loss is missing or older than term.c: run "
            "python src/ranksim/functional/_kernels/cpu/compile.py."
        )


def main(argv: Sequence[str] | None = None) -> None:
    """Compare or record the ratios."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="record the ratios of this commit")
    parser.add_argument("--file", type=Path, default=FILE)
    arguments = parser.parse_args(argv)
    require_compiled_term()
    torch.set_num_threads(1)
    if arguments.write:
        record(RATIOS, arguments.file)
        return
    content = read_committed(arguments.file, RATIOS)
    is_same = content["machine"] == collect_provenance()["machine"]
    tolerance = TOLERANCE if is_same else OTHER_PROCESSOR_TOLERANCE
    if sentences := compare(RATIOS, content["ratios"], tolerance):
        sys.exit("\n".join(sentences))


if __name__ == "__main__":
    main()
