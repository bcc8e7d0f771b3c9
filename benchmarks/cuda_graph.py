"""A step of RankSim on a GPU as one CUDA graph: its time without kernel launches by the host."""

import torch
from torch import Tensor

from ranksim.functional import ranksim_loss

WARMUP_STEPS = 3  # before the capture, to compile kernels and allocate workspaces


def time_captured_step(
    features: Tensor, labels: Tensor, replays: int = 100, rounds: int = 5
) -> float:
    """Return the shortest mean time of a captured forward and backward pass, in seconds.

    Needs a GPU that holds ``features`` (N, D) and ``labels`` (N,). It has not been run yet.
    """
    features = features.detach().requires_grad_()

    def step() -> None:
        loss = ranksim_loss(features, labels, unique_labels=False)
        torch.autograd.grad(loss, features)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(WARMUP_STEPS):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    times = []
    for _ in range(rounds):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        for _ in range(replays):
            graph.replay()
        end.record()
        end.synchronize()
        times.append(float(start.elapsed_time(end)) / 1e3 / replays)
    return min(times)
