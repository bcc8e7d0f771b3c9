"""RankSim's loss of any checkout, timed in a process of its own.

``python -m benchmarks.loss_process THREADS`` reads sizes from standard input: M, D and seconds.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]


class LossProcess:
    """A process that times the loss of the package in a ``src`` folder on request."""

    def __init__(self, source: Path, threads: int) -> None:
        command = [sys.executable, str(ROOT / "benchmarks" / "loss_process.py"), str(threads)]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(source)},
        )

    def time_loss(self, size: int, width: int, seconds: float) -> dict[str, float]:
        """Return the shortest and the mean milliseconds of forward and backward passes."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([size, width, seconds]) + "\n")
        self.process.stdin.flush()
        times: dict[str, float] = json.loads(self.process.stdout.readline())
        return times

    def stop(self) -> None:
        """End the process."""
        self.process.communicate()


def main() -> None:
    """Answer requests until standard input ends."""
    from ranksim.functional import ranksim_loss

    torch.set_num_threads(int(sys.argv[1]))
    for line in sys.stdin:
        size, width, seconds = json.loads(line)
        draw = torch.Generator().manual_seed(size)
        features = torch.randn(size, width, generator=draw).requires_grad_()
        labels = torch.randint(0, 101, (size,), generator=draw)
        times: list[float] = []
        end = time.perf_counter() + seconds
        while time.perf_counter() < end or len(times) < 5:
            start = time.perf_counter()
            features.grad = None
            ranksim_loss(features, labels, unique_labels=False).backward()
            times.append(1e3 * (time.perf_counter() - start))
        print(json.dumps({"shortest": min(times), "mean": sum(times) / len(times)}), flush=True)


if __name__ == "__main__":
    main()
