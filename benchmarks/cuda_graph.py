"""A step of RankSim on a GPU as one CUDA graph: what it takes without the host's launches."""

import torch

from ranksim.functional import ranksim_loss

WARM = 3  # steps before the capture: kernels are compiled, libraries have their room


def captured_seconds(features, labels, replays=100, rounds=5):
    """Shortest mean time of forward and backward, captured and replayed, in seconds.

    Needs a GPU: ``features`` (N, D) and ``labels`` (N,) are on it. Not timed where there was none.
    """
    features = features.detach().requires_grad_()

    def step():
        loss = ranksim_loss(features, labels, unique_labels=False)
        return torch.autograd.grad(loss, features)

    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(WARM):
            step()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    times = []
    for _ in range(rounds):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        for _ in range(replays):
            graph.replay()
        end.record()
        end.synchronize()
        times.append(begin.elapsed_time(end) / 1e3 / replays)
    return min(times)
