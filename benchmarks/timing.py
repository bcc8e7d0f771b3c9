"""How long a step takes."""

import time

import torch


def seconds(step, least=0.5):
    """Shortest time of a step over at least ``least`` seconds and five repetitions, after one.

    The shortest, since whatever else the machine does only adds to it.
    """
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    times = []
    step()
    while len(times) < 5 or sum(times) < least:
        wait()
        since = time.perf_counter()
        step()
        wait()
        times.append(time.perf_counter() - since)
    return min(times)
