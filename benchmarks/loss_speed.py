"""Forward and backward of RankSim against a plain PyTorch loop over anchors, in one run.

Usage: ``python -m benchmarks.loss_speed`` (float32, D = 2,048, two threads; prints a table).
"""

import time

import torch
from rich.console import Console
from rich.table import Table
from tests.oracles.loop import ranksim_loop

from ranksim.functional import ranksim_loss

SIZES, WIDTH = (16, 64, 100, 256, 512), 2048


def seconds(step, least=0.5):
    """Median time of a step over at least ``least`` seconds and five repetitions."""
    times = []
    while len(times) < 5 or sum(times) < least:
        since = time.perf_counter()
        step()
        times.append(time.perf_counter() - since)
    return sorted(times)[len(times) // 2]


def main():
    torch.set_num_threads(2)
    table = Table("M", "loop, ms", "ranksim, ms", "ratio")
    for size in SIZES:
        features = torch.randn(size, WIDTH, requires_grad=True)
        labels = torch.randint(0, 101, (size,))

        def ours(features=features, labels=labels):
            ranksim_loss(features, labels, unique_labels=False).backward()

        def loop(features=features, labels=labels):
            ranksim_loop(features, labels, 100.0, 2.0).backward()

        ours(), loop()
        slow, fast = seconds(loop), seconds(ours)
        table.add_row(str(size), f"{slow * 1e3:.2f}", f"{fast * 1e3:.2f}", f"{slow / fast:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
