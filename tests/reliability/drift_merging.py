"""Metrics of processes with uneven shares, beside those of all samples together."""

import multiprocessing
import threading
import warnings

import numpy as np
import torch
import torch.distributed as dist

from ranksim.imbalance import LabelBins
from ranksim.imbalance.label_range import LabelRange
from ranksim.metrics import RegionMetrics, ShotRegions, regression_scores

SAMPLES, BINS = 101, LabelBins.uniform(0.0, 5.0, 10)
REGIONS = ShotRegions.from_counts(
    BINS,
    np.repeat([0.2, 1.2, 2.2, 3.2], [150, 60, 10, 5]),
    named={"low": LabelRange(None, 1.0), "none": LabelRange(9.0, None)},
)
KINDS = ("even", "uneven", "a process without samples", "padded", "all of them twice")


def samples(seed):
    """Predictions and targets with ties, float32 as a network gives them, and positions."""
    draw = np.random.default_rng(seed)
    target = draw.integers(0, 50, SAMPLES) / 10
    prediction = (target + draw.normal(size=SAMPLES)).round(1)
    found = torch.from_numpy(prediction).float(), torch.from_numpy(target)
    # of a data set that is larger than what float32 counts
    return *found, torch.arange(SAMPLES) + 2**24


def shares(kind, processes, seed):
    """The rows of each process."""
    rows = np.random.default_rng(seed).permutation(SAMPLES)
    if kind == "all of them twice":
        return [rows] * processes if processes > 1 else [np.concatenate([rows, rows])]
    if kind == "padded":
        each = -(-SAMPLES // processes) + 3
        return list(np.resize(rows, (processes, each)))
    if kind == "even" or processes == 1:
        return np.array_split(rows, processes)
    cuts = [0, 90][: processes - 1] if kind == "a process without samples" else [3, 40]
    return np.split(rows, cuts[: processes - 1])


def merged(kind, processes, rank, seed, **settings):
    """What one of the processes comes to, batch by batch."""
    prediction, target, index = samples(seed)
    metrics = RegionMetrics(REGIONS, gmean_epsilon=1e-10, **settings)
    own = torch.from_numpy(np.array(shares(kind, processes, seed)[rank]))
    for rows in own.split(16) if len(own) else ():
        metrics.update(prediction[rows], target[rows], index[rows])
    with warnings.catch_warnings():  # of a process without samples
        warnings.filterwarnings("ignore", "The ``compute`` method of metric RegionMetrics")
        return metrics.compute()


def together(seed):
    """The scores of all samples, each counted once."""
    prediction, target, _ = samples(seed)
    return {
        name: regression_scores(
            prediction[torch.from_numpy(mask)], target[torch.from_numpy(mask)], gmean_epsilon=1e-10
        )
        for name, mask in REGIONS.masks(target.numpy()).items()
    }


def over_gloo(processes, seeds, folder):
    """Cases tried, and those in which any process came to other scores than all samples have."""
    context = multiprocessing.get_context("spawn")
    told = context.Queue()
    cases = [(kind, seed) for kind in KINDS for seed in range(seeds)]
    workers = [
        context.Process(target=_worker, args=(rank, processes, cases, folder, told))
        for rank in range(processes)
    ]
    for worker in workers:
        worker.start()
    every = [told.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    wrong = [any(each) for each in zip(*every, strict=True)]
    return len(cases), sum(wrong)


def _worker(rank, processes, cases, folder, told):
    torch.set_num_threads(1)
    meet = f"file://{folder}/meet-{processes}"
    dist.init_process_group("gloo", init_method=meet, rank=rank, world_size=processes)
    told.put([merged(kind, processes, rank, seed) != together(seed) for kind, seed in cases])
    dist.destroy_process_group()


def simulated(kind, processes, seed):
    """What each of so many threads comes to, which exchange tensors as processes do."""
    meet, sent = threading.Barrier(processes), [None] * processes
    found = [None] * processes

    def work(rank):
        def exchange(own, group=None):
            sent[rank] = own
            meet.wait(10)
            every = list(sent)
            meet.wait(10)
            kinds = {(each.dtype, each.shape[1:]) for each in every}
            if len(kinds) > 1:  # gloo would read one's bytes as the other's
                raise TypeError(f"processes send different tensors: {kinds}")
            return every

        found[rank] = merged(
            *(kind, processes, rank, seed),
            dist_sync_fn=exchange,
            distributed_available_fn=lambda: processes > 1,
        )

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found
