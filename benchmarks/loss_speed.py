"""Speed of RankSim's forward and backward pass against a loop over anchors and a lower bound.

Usage: ``make bench``, or ``python -m benchmarks.loss_speed [--json FILE]`` (float32, D = 2,048, two
threads; also on a GPU if there is one). All implementations of a row are timed in turns.

The *loop* is the same mathematics, one anchor at a time, in plain PyTorch. The *floor* is the two
matrix products that the gradient needs, in PyTorch, and three sorts of M × M float32 in NumPy.
Memory is the peak of one process beyond the features and their gradient.
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
from unittest import mock

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.timing import Step, time_in_turns
from ranksim.functional import ranksim_loss
from ranksim.functional._kernels import dispatch, reference
from ranksim.functional._kernels.cpu import cpu_term
from tests.oracles.loop import ranksim_loop

Row = dict[str, Any]

WIDTH, THREADS = 2048, 2
SIZES, LARGE, GPU_SIZES = (16, 64, 100, 256, 512), (4096, 16384), (64, 100, 256, 1024, 4096, 16384)
LOOP_GOALS = {16: 10, 64: 12, 100: 12, 256: 9, 512: 7}  # times as fast as the loop
FLOOR_GOAL, FLOOR_GOAL_FROM = 1.5, 64  # times the floor, from this size on


def make_batch(size: int, device: str = "cpu") -> tuple[Tensor, Tensor]:
    """Return random features and ages."""
    draw = torch.Generator().manual_seed(size)
    features = torch.randn(size, WIDTH, generator=draw).to(device).requires_grad_()
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


def reference_loss(features: Tensor, labels: Tensor, **settings: Any) -> Tensor:
    """Compute the loss by the reference implementation, whatever the device."""
    with mock.patch.object(dispatch, "path_for", return_value=reference.compute_term):
        return ranksim_loss(features, labels, **settings)


def floor_steps(features: Tensor) -> dict[str, Step]:
    """Return the parts of the floor: Z Zᵀ, A Z and one sort of M × M."""
    z = features.detach()
    square = torch.randn(len(z), len(z), device=z.device)

    def sort() -> object:
        return square.sort(dim=1) if z.is_cuda else np.sort(square.numpy(), axis=1)

    return {"similarities": lambda: z @ z.T, "gradient": lambda: square @ z, "sort": sort}


def measure_cpu(size: int, min_seconds: float) -> Row:
    """Return milliseconds of the loop, the floor, the reference and the CPU implementation."""
    features, labels = make_batch(size)
    steps = {
        "loop": make_step(features, labels, loop_loss),
        "eager": make_step(features, labels, reference_loss),
        "ranksim": make_step(features, labels),
        **floor_steps(features),
    }
    row = {name: seconds * 1e3 for name, seconds in time_in_turns(steps, min_seconds).items()}
    row["floor"] = row["similarities"] + row["gradient"] + 3 * row["sort"]
    return {"M": size, **row}


def measure_gpu(size: int, min_seconds: float) -> Row:
    """Return milliseconds on a GPU: loop (up to 256), floor, implementation, captured graph."""
    from benchmarks.cuda_graph import time_captured_step

    features, labels = make_batch(size, "cuda")
    steps = {"ranksim": make_step(features, labels), **floor_steps(features)}
    if size <= 256:
        steps["loop"] = make_step(features, labels, loop_loss)
    row = {name: seconds * 1e3 for name, seconds in time_in_turns(steps, min_seconds).items()}
    row["floor"] = row["similarities"] + row["gradient"] + row["sort"]
    if size <= 1024:
        row["graph"] = time_captured_step(features, labels) * 1e3
    return {"M": size, **row}


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


def make_tables(results: Row) -> Iterator[Table]:
    """Yield the tables of docs/speed.md."""
    names = ("loop", "eager", "floor", "ranksim")
    titles = ("loop, ms", "reference, ms", "floor, ms", "ranksim, ms")
    table = new_table("M", *titles, "× the loop", "× the floor", "goals reached")
    for row in results["cpu"]:
        speedup, floors = row["loop"] / row["ranksim"], row["ranksim"] / row["floor"]
        goal = LOOP_GOALS[row["M"]]
        missed = [f"{goal} × loop"] * (speedup < goal)
        missed += [f"{FLOOR_GOAL} × floor"] * (row["M"] >= FLOOR_GOAL_FROM and floors > FLOOR_GOAL)
        times = [f"{row[name]:.2f}" for name in names]
        verdict = "not " + ", ".join(missed) if missed else "yes"
        table.add_row(str(row["M"]), *times, f"{speedup:.1f}", f"{floors:.2f}", verdict)
    yield table
    if results["large"]:
        table = new_table("M", "in blocks, s", "GiB", "in one, s", "GiB")
        for row in results["large"]:
            figures = [f"{r[name]:.2f}" for r in (row, row["whole"]) for name in ("seconds", "GiB")]
            table.add_row(str(row["M"]), *figures)
        yield table
    if results["gpu"]:
        names = ("loop", "floor", "ranksim", "graph")
        table = new_table("M", *(f"{name}, ms" for name in names))
        for row in results["gpu"]:
            figures = [f"{row[name]:.3f}" if name in row else "" for name in names]
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
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--large-sizes", type=int, nargs="*", default=LARGE)
    parser.add_argument("--min-seconds", type=float, default=2.0, help="time per implementation")
    parser.add_argument("--large", type=int, nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    torch.set_num_threads(THREADS)
    if arguments.large:
        print(json.dumps(measure_large_here(*arguments.large)))
        return
    results: Row = {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": THREADS,
        "machine": platform.processor() or platform.machine(),
        "cpu": [measure_cpu(size, arguments.min_seconds) for size in arguments.sizes],
        "large": [
            measure_large(size, cpu_term.PRODUCT_BLOCK)
            | {"whole": measure_large(size, size * size)}
            for size in arguments.large_sizes
        ],
        "gpu": [],
    }
    if torch.cuda.is_available():
        results["device"] = torch.cuda.get_device_name()
        results["gpu"] = [measure_gpu(size, arguments.min_seconds) for size in GPU_SIZES]
    print(format_tables(results))
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
