"""RankSim's forward and backward pass against a loop over anchors and the floor of its arithmetic.

Usage: ``make bench``, or ``python -m benchmarks.loss_speed [--json FILE]`` (float32, D = 2,048, two
threads; a GPU's rows where there is one). All paths of a row are timed in turns in one run.

The *loop* is the same mathematics, one anchor at a time, in plain PyTorch. The *floor* is the two
matrix products that the gradient cannot do without, as PyTorch multiplies, and three sorts of
M × M float32 by NumPy. *Eager* is the reference path. Memory is the most that one process holds
beyond what it held with features and their gradient made.
"""

import argparse
import io
import json
import platform
import subprocess
import sys

import numpy as np
import torch
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.timing import in_turns
from ranksim.functional import ranksim_loss
from ranksim.functional._kernels import dispatch, reference
from ranksim.functional._kernels.cpu import cpu_term
from tests.oracles.loop import ranksim_loop

WIDTH, THREADS = 2048, 2
SIZES, LARGE, GPU_SIZES = (16, 64, 100, 256, 512), (4096, 16384), (64, 100, 256, 1024, 4096, 16384)
WANTED = {16: 10, 64: 12, 100: 12, 256: 9, 512: 7}  # times the loop
FLOOR, FROM = 1.5, 64  # times the floor, from this size on


def batch(size, device="cpu"):
    """Features of a seed, and ages."""
    draw = torch.Generator().manual_seed(size)
    features = torch.randn(size, WIDTH, generator=draw).to(device).requires_grad_()
    return features, torch.randint(0, 101, (size,), generator=draw).to(device)


def step(features, labels, loss=ranksim_loss):
    """One forward and backward pass."""

    def run():
        features.grad = None
        loss(features, labels, unique_labels=False).backward()

    return run


def by_loop(features, labels, **_):
    return ranksim_loop(features, labels, 100.0, 2.0)


def by_eager(features, labels, **settings):
    """The reference path, whatever the device."""
    known, dispatch.path_for = dispatch.path_for, lambda device: reference.compute_term
    try:
        return ranksim_loss(features, labels, **settings)
    finally:
        dispatch.path_for = known


def products_and_sorts(features):
    """Parts of the floor: Z Zᵀ, A Z and a sort of M × M, which counts three times."""
    z = features.detach()
    square = torch.randn(len(z), len(z), device=z.device)
    if z.is_cuda:
        return lambda: z @ z.T, lambda: square @ z, lambda: square.sort(dim=1)
    return lambda: z @ z.T, lambda: square @ z, lambda: np.sort(square.numpy(), axis=1)


def cpu_row(size, least):
    """Milliseconds of the loop, the floor, the reference and the CPU path."""
    features, labels = batch(size)
    paths = {
        "loop": step(features, labels, by_loop),
        "eager": step(features, labels, by_eager),
        "ranksim": step(features, labels),
    }
    names = ("similarities", "gradient", "sort")
    paths |= dict(zip(names, products_and_sorts(features), strict=True))
    found = {name: time * 1e3 for name, time in in_turns(paths, least).items()}
    found["floor"] = found["similarities"] + found["gradient"] + 3 * found["sort"]
    return {"M": size, **found}


def large_row(size, block):
    """Seconds and GiB of one pass in a process of its own; ``block`` similarities at a time."""
    words = [sys.executable, "-m", "benchmarks.loss_speed", "--large", str(size), str(block)]
    return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


def measure_large(size, block):
    """What ``large_row`` asks for: the fastest of a few passes, and the most memory of any."""
    cpu_term.PRODUCT_BLOCK = block
    features, labels = batch(size)
    features.grad = torch.zeros_like(features)
    step(*batch(64))()
    before = resident()
    run = in_turns({"ranksim": step(features, labels)}, least=0.0, rounds=1)
    return {"M": size, "seconds": run["ranksim"], "GiB": (most_resident() - before) / 2**30}


def resident():
    """Bytes that this process holds."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


def most_resident():
    """The most bytes that this process has held."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def gpu_row(size, least):
    """Milliseconds on a GPU: the loop up to 256, the floor, the path, and its captured graph."""
    from benchmarks.cuda_graph import captured_seconds

    features, labels = batch(size, "cuda")
    paths = {"ranksim": step(features, labels)}
    if size <= 256:
        paths["loop"] = step(features, labels, by_loop)
    names = ("similarities", "gradient", "sort")
    paths |= dict(zip(names, products_and_sorts(features), strict=True))
    found = {name: time * 1e3 for name, time in in_turns(paths, least).items()}
    found["floor"] = found["similarities"] + found["gradient"] + found["sort"]
    if size <= 1024:
        found["graph"] = captured_seconds(features, labels) * 1e3
    return {"M": size, **found}


def tables(results):
    """What the results say, for people."""
    columns = (
        "M",
        "loop, ms",
        "eager, ms",
        "floor, ms",
        "ranksim, ms",
        "× the loop",
        "× the floor",
    )
    told = table(*columns, "reached")
    for row in results["cpu"]:
        faster, floors = row["loop"] / row["ranksim"], row["ranksim"] / row["floor"]
        missed = [f"{WANTED[row['M']]} × loop"] * (faster < WANTED[row["M"]])
        missed += [f"{FLOOR} × floor"] * (row["M"] >= FROM and floors > FLOOR)
        times = [f"{row[name]:.2f}" for name in ("loop", "eager", "floor", "ranksim")]
        verdict = "not " + ", ".join(missed) if missed else "yes"
        told.add_row(str(row["M"]), *times, f"{faster:.1f}", f"{floors:.2f}", verdict)
    yield told
    if results["large"]:
        told = table("M", "in blocks, s", "GiB", "in one, s", "GiB")
        for row in results["large"]:
            both = (row, row["whole"])
            told.add_row(str(row["M"]), *(f"{r[n]:.2f}" for r in both for n in ("seconds", "GiB")))
        yield told
    if results["gpu"]:
        told = table("M", "loop, ms", "floor, ms", "ranksim, ms", "graph, ms")
        for row in results["gpu"]:
            names = ("loop", "floor", "ranksim", "graph")
            told.add_row(str(row["M"]), *(f"{row[n]:.3f}" if n in row else "" for n in names))
        yield told


def table(*columns):
    """A table in Markdown."""
    told = Table(box=box.MARKDOWN)
    for column in columns:
        told.add_column(column, justify="right")
    return told


def text(results):
    """The tables, as they stand in docs/speed.md."""
    console = Console(width=140, file=io.StringIO(), color_system=None)
    for told in tables(results):
        console.print(told)
    return "\n".join(line.strip() for line in console.file.getvalue().splitlines())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", metavar="FILE", help="write the figures here too")
    parser.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    parser.add_argument("--large-sizes", type=int, nargs="*", default=LARGE)
    parser.add_argument("--least", type=float, default=2.0, help="seconds each path is timed")
    parser.add_argument("--large", type=int, nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    torch.set_num_threads(THREADS)
    if given.large:
        print(json.dumps(measure_large(*given.large)))
        return
    results = {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": THREADS,
        "machine": platform.processor() or platform.machine(),
        "cpu": [cpu_row(size, given.least) for size in given.sizes],
        "large": [
            large_row(size, cpu_term.PRODUCT_BLOCK) | {"whole": large_row(size, size * size)}
            for size in given.large_sizes
        ],
        "gpu": [],
    }
    if torch.cuda.is_available():
        results["device"] = torch.cuda.get_device_name()
        results["gpu"] = [gpu_row(size, given.least) for size in GPU_SIZES]
    print(text(results))
    if given.json:
        with open(given.json, "w", encoding="utf-8") as file:
            json.dump(results, file, indent=2)
            file.write("\n")


if __name__ == "__main__":
    main()
