"""Speed of FDS compared with loops over labels: 50 bins, 2,048 features, float32.

Usage: ``python -m benchmarks.fds_speed [--device cuda] [--threads 1]``. The NumPy
loop is the float64 oracle on one CPU thread. Use ``--threads 1`` if other processes use the CPU.
"""

import argparse

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.timing import time_step
from ranksim.imbalance import FDS, LabelBins
from tests.oracles import fds as oracle

BINS, WIDTH, SAMPLES, BATCH = LabelBins.integers(0, 49), 2048, 12_000, 64


def loop_statistics(features: Tensor, labels: Tensor) -> dict[float, tuple[Tensor, Tensor]]:
    """Return the mean and variance of each label, in plain torch."""
    statistics = {}
    for label in labels.unique():
        rows = features[labels == label]
        statistics[label.item()] = rows.mean(0), rows.var(0)
    return statistics


def loop_calibrate(features: Tensor, labels: Tensor, tables: list[Tensor]) -> Tensor:
    """Calibrate the samples of each label in turn, in plain torch."""
    mean, var, smooth_mean, smooth_var = tables
    out = features.clone()
    for label in labels.unique():
        k, mask = label.long(), labels == label
        factor = (smooth_var[k] / var[k]).clamp(0.1, 10.0).sqrt()
        out[mask] = (features[mask] - mean[k]) * factor + smooth_mean[k]
    return out


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    device = parser.parse_args().device
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    table = Table("FDS", "loop", "loop, ms", "FDS, ms", "ratio")

    def add(name: str, loop: str, slow: float, fast: float) -> None:
        table.add_row(name, loop, f"{slow * 1e3:.2f}", f"{fast * 1e3:.2f}", f"{slow / fast:.1f}")

    features = torch.randn(SAMPLES, WIDTH, device=device)
    labels = torch.randint(0, len(BINS), (SAMPLES,), device=device)
    fds = FDS(WIDTH, BINS).to(device)

    def update() -> None:
        fds.accumulate(features, labels)
        fds.update()

    z, ages = features.double().cpu().numpy(), labels.cpu().numpy()
    reference = oracle.FDS(WIDTH, BINS.edges)
    reference.update(z, ages)
    tables = [torch.from_numpy(t).float().to(device) for t in reference.tables]
    fast = time_step(update)
    add("update", "NumPy, float64", time_step(lambda: reference.update(z, ages)), fast)
    add(
        "update",
        "torch, statistics only",
        time_step(lambda: loop_statistics(features, labels)),
        fast,
    )

    batch, batch_labels = features[:BATCH].clone().requires_grad_(), labels[:BATCH]
    upstream = torch.randn_like(batch)
    np.testing.assert_allclose(
        fds.calibrate(batch, batch_labels).detach().cpu(),
        loop_calibrate(batch, batch_labels, tables).detach().cpu(),
        atol=1e-4,
    )
    functions = (
        lambda: fds.calibrate(batch, batch_labels),
        lambda: loop_calibrate(batch, batch_labels, tables),
    )
    with torch.no_grad():
        fast, slow = map(time_step, functions)
    add("calibrate", "torch, forward", slow, fast)
    fast, slow = (time_step(lambda f=f: f().backward(upstream)) for f in functions)  # type: ignore[misc]
    add("calibrate", "torch, forward and backward", slow, fast)
    Console().print(table)


if __name__ == "__main__":
    main()
