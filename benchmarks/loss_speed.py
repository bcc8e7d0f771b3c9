"""Forward and backward of RankSim against a plain PyTorch loop over anchors, in one run.

Usage: ``python -m benchmarks.loss_speed`` (float32, D = 2,048, two threads; prints a table).
"""

import torch
from rich.console import Console
from rich.table import Table

from benchmarks.timing import seconds
from ranksim.functional import ranksim_loss
from tests.oracles.loop import ranksim_loop

SIZES, WIDTH = (16, 64, 100, 256, 512), 2048


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

        slow, fast = seconds(loop), seconds(ours)
        table.add_row(str(size), f"{slow * 1e3:.2f}", f"{fast * 1e3:.2f}", f"{slow / fast:.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
