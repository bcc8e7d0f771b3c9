"""Metrics merged over processes with uneven shares, compared with those of all samples."""

import multiprocessing
import threading
import warnings

import numpy as np
import torch
import torch.distributed as dist

from ranksim.imbalance import LabelBins
from ranksim.imbalance.bins import LabelRange
from ranksim.metrics import RegionMetrics, ShotRegions, regression_scores

SAMPLES, BINS = 101, LabelBins.uniform(0.0, 5.0, 10)
REGIONS = ShotRegions.from_counts(
    BINS,
    np.repeat([0.2, 1.2, 2.2, 3.2], [150, 60, 10, 5]),
    named={"low": LabelRange(None, 1.0), "none": LabelRange(9.0, None)},
)
KINDS = ("even", "uneven", "a process without samples", "padded", "all of them twice")


def samples(seed):
    """Return float32 predss and targets with ties, and sample indices."""
    draw = np.random.default_rng(seed)
    target = draw.integers(0, 50, SAMPLES) / 10
    preds = (target + draw.normal(size=SAMPLES)).round(1)
    index = torch.arange(SAMPLES) + 2**24  # integers that float32 cannot count
    return torch.from_numpy(preds).float(), torch.from_numpy(target), index


def shares(kind, processes, seed):
    """Return the sample indices of each process."""
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
    """Return the merged scores of one process, updated in batches."""
    preds, target, index = samples(seed)
    metrics = RegionMetrics(REGIONS, gmean_epsilon=1e-10, **settings)
    share = torch.from_numpy(np.array(shares(kind, processes, seed)[rank]))
    for rows in share.split(16) if len(share) else ():
        metrics.update(preds[rows], target[rows], index[rows])
    with warnings.catch_warnings():  # a process without samples
        warnings.filterwarnings("ignore", "The ``compute`` method of metric RegionMetrics")
        return metrics.compute()


def together(seed):
    """Return the scores of all samples, each counted once."""
    preds, target, _ = samples(seed)
    return {
        name: regression_scores(
            preds[torch.from_numpy(mask)], target[torch.from_numpy(mask)], gmean_epsilon=1e-10
        )
        for name, mask in REGIONS.masks(target.numpy()).items()
    }


def over_gloo(processes, seeds, folder):
    """Return the number of cases, and of those in which a process has other scores."""
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    cases = [(kind, seed) for kind in KINDS for seed in range(seeds)]
    workers = [
        context.Process(target=_worker, args=(rank, processes, cases, folder, queue))
        for rank in range(processes)
    ]
    for worker in workers:
        worker.start()
    results = [queue.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    wrong = [any(each) for each in zip(*results, strict=True)]
    return len(cases), sum(wrong)


def _worker(rank, processes, cases, folder, queue):
    torch.set_num_threads(1)
    init_file = f"file://{folder}/init-{processes}"
    dist.init_process_group("gloo", init_method=init_file, rank=rank, world_size=processes)
    queue.put([merged(kind, processes, rank, seed) != together(seed) for kind, seed in cases])
    dist.destroy_process_group()


def simulated(kind, processes, seed):
    """Return the merged scores of threads that exchange tensors like processes."""
    barrier, sent = threading.Barrier(processes), [None] * processes
    results = [None] * processes

    def work(rank):
        def exchange(tensor, group=None):
            sent[rank] = tensor
            barrier.wait(10)
            received = list(sent)
            barrier.wait(10)
            kinds = {(each.dtype, each.shape[1:]) for each in received}
            if len(kinds) > 1:  # gloo would misread the bytes
                raise TypeError(f"processes send different tensors: {kinds}")
            return received

        results[rank] = merged(
            *(kind, processes, rank, seed),
            dist_sync_fn=exchange,
            distributed_available_fn=lambda: processes > 1,
        )

    threads = [threading.Thread(target=work, args=(rank,)) for rank in range(processes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results
