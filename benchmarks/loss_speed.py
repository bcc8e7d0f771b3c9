"""Speed of RankSim's forward and backward pass, with what it should reach.

Usage: ``make bench``, or ``python -m benchmarks.loss_speed [--against DIR] [--json FILE]``
(float32, one thread). All implementations of a row take turns.

The *floor* are the two matrix products that the gradient needs, in PyTorch. The *loop* is the same
mathematics, one anchor at a time, in plain PyTorch; the *reference* runs on every device.
``--against`` also times another checkout of this repository. *Busy* are times beside two other busy
processes, with PyTorch's default threads. Memory is the peak of one process beyond the features
and their gradient.
"""

import argparse
import io
import json
import platform
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.loss_process import ROOT, LossProcess
from benchmarks.timing import Step, time_in_turns
from ranksim.functional import ranksim_loss
from ranksim.functional._kernels import RankSimInputs, RankSimParams, reference
from ranksim.functional._kernels.cpu import cpu_term
from tests.oracles.loop import ranksim_loop

Row = dict[str, Any]

WIDTH = 2048
SIZES, LARGE = (64, 100, 256, 512), (4096, 16384)
# M, D, times as fast as commit b2fd5d2, times as fast as the reference: falling short of the last
# one on any machine means that something has become slower
GOALS = (
    *((16, 64, 6, 2.5), (16, 1024, 6, 2.5), (64, 64, 6, 4), (64, 128, 6, 4), (64, 512, 6, 4)),
    *((128, 64, 4, 8), (128, 512, 4, 6), (256, 128, 3, 8), (256, 512, 3, 6)),
    *((512, 128, 1, 8), (512, 512, 1, 5), (1024, 512, 1, 4)),
)
FLOOR_GOAL, BUSY_GOAL, BUSY_FROM = 1.5, 3.0, ((16, 64), (64, 128), (128, 512), (256, 512))
ROUNDS = 5  # turns of each process


def make_batch(size: int, device: str = "cpu", width: int = WIDTH) -> tuple[Tensor, Tensor]:
    """Return random features and ages."""
    draw = torch.Generator().manual_seed(size)
    features = torch.randn(size, width, generator=draw).to(device).requires_grad_()
    return features, torch.randint(0, 101, (size,), generator=draw).to(device)


def make_step(features: Tensor, labels: Tensor, loss: Callable[..., Tensor] = ranksim_loss) -> Step:
    """Return a function that runs one forward and backward pass."""

    def run() -> None:
        features.grad = None
        loss(features, labels, unique_labels=False).backward()

    return run


def loop_loss(features: Tensor, labels: Tensor, **_: Any) -> Tensor:
    """Compute the loss one anchor at a time."""
    loss: Tensor = ranksim_loop(features, labels, 100.0, 2.0)
    return loss


def make_reference_step(features: Tensor, labels: Tensor) -> Step:
    """Return a function that computes value and gradient by the reference implementation."""
    inputs = RankSimInputs(features, labels.unsqueeze(1), None, None, len(features))
    params = RankSimParams(100.0, 2.0, "min", "neg_l1", per_anchor=False)
    return lambda: reference.compute_term(inputs, params, with_gradient=True)


def floor_steps(features: Tensor) -> dict[str, Step]:
    """Return the parts of the floor: Z Zᵀ and A Z."""
    z = features.detach()
    square = torch.randn(len(z), len(z), device=z.device)
    return {"similarities": lambda: z @ z.T, "gradient": lambda: square @ z}


def measure_cpu(size: int, width: int, min_seconds: float, with_loop: bool) -> Row:
    """Return milliseconds of the loop, the floor, the reference and the CPU implementation."""
    features, labels = make_batch(size, width=width)
    steps = {
        "eager": make_reference_step(features, labels),
        "ranksim": make_step(features, labels),
        **floor_steps(features),
    }
    if with_loop:
        steps["loop"] = make_step(features, labels, loop_loss)
    row = {name: seconds * 1e3 for name, seconds in time_in_turns(steps, min_seconds).items()}
    return {"M": size, "D": width, **row, "floor": row["similarities"] + row["gradient"]}


def compare_checkouts(other: Path, seconds: float) -> list[Row]:
    """Return the shortest milliseconds of another checkout and of this one, timed in turns."""
    processes = {"other": LossProcess(other / "src", 1), "ranksim": LossProcess(ROOT / "src", 1)}
    rows = []
    for size, width, *_ in GOALS:
        times: dict[str, list[float]] = {name: [] for name in processes}
        for _ in range(ROUNDS):
            for name, process in processes.items():
                times[name].append(process.time_loss(size, width, seconds / ROUNDS)["shortest"])
        rows.append({"M": size, "D": width, **{name: min(each) for name, each in times.items()}})
    for process in processes.values():
        process.stop()
    return rows


def measure_busy(seconds: float) -> list[Row]:
    """Return milliseconds in one idle thread, and mean ones beside two busy processes.

    ``control`` is a mean of one thread beside them: how much of the processor is left.
    """
    processes = [LossProcess(ROOT / "src", n) for n in (1, torch.get_num_threads())]
    rows: list[Row] = [
        {"M": size, "D": width, "idle": processes[0].time_loss(size, width, seconds)["shortest"]}
        for size, width in BUSY_FROM
    ]
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        for row in rows:
            for name, process in zip(("control", "busy"), processes, strict=True):
                row[name] = process.time_loss(row["M"], row["D"], seconds)["mean"]
    finally:
        for each in busy:
            each.kill()
            each.wait()
        for process in processes:
            process.stop()
    return rows


def measure_large(size: int, block: int) -> Row:
    """Return seconds and peak GiB of a pass in a new process, by blocks of similarities."""
    command = [sys.executable, "-m", "benchmarks.loss_speed", "--large", str(size), str(block)]
    row: Row = json.loads(
        subprocess.run(command, check=True, capture_output=True, text=True).stdout
    )
    return row


def measure_large_here(size: int, block: int) -> Row:
    """Measure in this process: the shortest time of a few passes, and the peak memory of any."""
    cpu_term.PRODUCT_BLOCK = block
    features, labels = make_batch(size)
    features.grad = torch.zeros_like(features)
    make_step(*make_batch(64))()
    before = int(Path("/proc/self/statm").read_text().split()[1]) * 4096
    seconds = time_in_turns({"ranksim": make_step(features, labels)}, min_seconds=0.0, rounds=1)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"M": size, "seconds": seconds["ranksim"], "GiB": (peak - before) / 2**30}


def verdict(reached: bool) -> str:
    """Return a word for the last column."""
    return "reached" if reached else "not reached"


def make_tables(results: Row) -> Iterator[Table]:
    """Yield the tables of docs/speed.md."""
    guards = {(size, width): guard for size, width, _, guard in GOALS}
    table = new_table("M", "D", "reference, ms", "floor, ms", "ranksim, ms", "× reference", "guard")
    for row in results["small"]:
        speedup, guard = row["eager"] / row["ranksim"], guards[row["M"], row["D"]]
        times = [f"{row[name]:.3f}" for name in ("eager", "floor", "ranksim")]
        mark = f"{guard} × {verdict(speedup >= guard)}"
        table.add_row(str(row["M"]), str(row["D"]), *times, f"{speedup:.1f}", mark)
    yield table
    if results["against"]:
        goals = {(size, width): goal for size, width, goal, _ in GOALS}
        table = new_table("M", "D", "other, ms", "ranksim, ms", "× as fast", "goal")
        for row in results["against"]:
            speedup, goal = row["other"] / row["ranksim"], goals[row["M"], row["D"]]
            times = [f"{row[name]:.3f}" for name in ("other", "ranksim")]
            mark = f"{goal} × {verdict(speedup >= goal)}"
            table.add_row(str(row["M"]), str(row["D"]), *times, f"{speedup:.2f}", mark)
        yield table
    table = new_table("M", "D", "idle, ms", "busy, ms", "busy, one thread", "× idle", "goal")
    for row in results["busy"]:
        times = [f"{row[name]:.3f}" for name in ("idle", "busy", "control")]
        ratio = row["busy"] / row["idle"]
        mark = f"{BUSY_GOAL:.0f} × {verdict(ratio <= BUSY_GOAL)}"
        table.add_row(str(row["M"]), str(row["D"]), *times, f"{ratio:.1f}", mark)
    yield table
    names = ("loop", "eager", "floor", "ranksim")
    titles = ("loop, ms", "reference, ms", "floor, ms", "ranksim, ms")
    table = new_table("M", *titles, "× the loop", "× the floor", "goal")
    for row in results["wide"]:
        speedup, floors = row["loop"] / row["ranksim"], row["ranksim"] / row["floor"]
        mark = f"{FLOOR_GOAL} × floor {verdict(floors <= FLOOR_GOAL)}"
        times = [f"{row[name]:.2f}" for name in names]
        table.add_row(str(row["M"]), *times, f"{speedup:.1f}", f"{floors:.2f}", mark)
    yield table
    if results["large"]:
        table = new_table("M", "in blocks, s", "GiB", "in one, s", "GiB")
        for row in results["large"]:
            figures = [f"{r[name]:.2f}" for r in (row, row["whole"]) for name in ("seconds", "GiB")]
            table.add_row(str(row["M"]), *figures)
        yield table


def new_table(*columns: str) -> Table:
    """Return an empty Markdown table."""
    table = Table(box=box.MARKDOWN)
    for column in columns:
        table.add_column(column, justify="right")
    return table


def format_tables(results: Row) -> str:
    """Return the tables as Markdown."""
    output = io.StringIO()
    console = Console(width=140, file=output, color_system=None)
    for table in make_tables(results):
        console.print(table)
    return "\n".join(line.strip() for line in output.getvalue().splitlines())


def main() -> None:
    """Measure, print the tables, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to a file")
    parser.add_argument("--against", metavar="DIR", type=Path, help="time another checkout too")
    parser.add_argument("--large-sizes", type=int, nargs="*", default=LARGE)
    parser.add_argument("--min-seconds", type=float, default=1.0, help="time per implementation")
    parser.add_argument("--large", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.large:
        print(json.dumps(measure_large_here(*arguments.large)))
        return
    seconds = arguments.min_seconds
    busy, against = measure_busy(seconds), []
    if arguments.against:
        against = compare_checkouts(arguments.against, seconds)
    torch.set_num_threads(1)
    results: Row = {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.processor() or platform.machine(),
        "small": [measure_cpu(size, width, seconds, False) for size, width, *_ in GOALS],
        "against": against,
        "busy": busy,
        "wide": [measure_cpu(size, WIDTH, seconds, True) for size in SIZES],
        "large": [
            measure_large(size, cpu_term.PRODUCT_BLOCK)
            | {"whole": measure_large(size, size * size)}
            for size in arguments.large_sizes
        ],
    }
    print(format_tables(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
