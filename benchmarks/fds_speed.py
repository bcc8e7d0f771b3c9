"""FDS against loops over labels, in one run: 50 bins, 2,048 features.

Usage: ``python -m benchmarks.fds_speed [--device cuda] [--threads 1]`` (float32; prints a table).
The NumPy loop is the oracle in float64, on one thread of the processor. Where other work keeps a
core busy, one thread is what can be compared.
"""

import argparse

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from benchmarks.timing import seconds
from ranksim.imbalance import FDS, LabelBins
from tests.oracles import fds as oracle

BINS, WIDTH, SAMPLES, BATCH = LabelBins.integers(0, 49), 2048, 12_000, 64


def loop_statistics(features, labels):
    """Mean and variance of each label, in plain torch."""
    found = {}
    for label in labels.unique():
        own = features[labels == label]
        found[label.item()] = own.mean(0), own.var(0)
    return found


def loop_smooth(features, labels, tables):
    """Each label's samples in turn, in plain torch."""
    mean, var, smooth_mean, smooth_var = tables
    out = features.clone()
    for label in labels.unique():
        k, own = label.long(), labels == label
        factor = (smooth_var[k] / var[k]).clamp(0.1, 10.0).sqrt()
        out[own] = (features[own] - mean[k]) * factor + smooth_mean[k]
    return out


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    device = parser.parse_args().device
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    table = Table("FDS", "loop", "loop, ms", "ours, ms", "ratio")

    def add(name, loop, slow, fast):
        table.add_row(name, loop, f"{slow * 1e3:.2f}", f"{fast * 1e3:.2f}", f"{slow / fast:.1f}")

    features = torch.randn(SAMPLES, WIDTH, device=device)
    labels = torch.randint(0, len(BINS), (SAMPLES,), device=device)
    fds = FDS(WIDTH, BINS).to(device)

    def update():
        fds.accumulate(features, labels)
        fds.update()

    z, ages = features.double().cpu().numpy(), labels.cpu().numpy()
    reference = oracle.FDS(WIDTH, BINS.edges)
    reference.update(z, ages)
    tables = [torch.from_numpy(t).float().to(device) for t in reference.tables]
    fast = seconds(update)
    add("update", "NumPy, float64", seconds(lambda: reference.update(z, ages)), fast)
    add(
        "update",
        "torch, statistics alone",
        seconds(lambda: loop_statistics(features, labels)),
        fast,
    )

    batch, own = features[:BATCH].clone().requires_grad_(), labels[:BATCH]
    upstream = torch.randn_like(batch)
    np.testing.assert_allclose(
        fds.calibrate(batch, own).detach().cpu(),
        loop_smooth(batch, own, tables).detach().cpu(),
        atol=1e-4,
    )
    ways = lambda: fds.calibrate(batch, own), lambda: loop_smooth(batch, own, tables)
    with torch.no_grad():
        fast, slow = map(seconds, ways)
    add("smooth", "torch, forward", slow, fast)
    fast, slow = (seconds(lambda way=way: way().backward(upstream)) for way in ways)
    add("smooth", "torch, forward and backward", slow, fast)
    Console().print(table)


if __name__ == "__main__":
    main()
