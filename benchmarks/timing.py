"""How long a step takes."""

import time

import torch


def seconds(step, least=0.5):
    """Shortest time of a step over at least ``least`` seconds and five repetitions, after one.

    The shortest, since whatever else the machine does only adds to it.
    """
    return in_turns({"step": step}, least, rounds=1)["step"]


def in_turns(steps, least=0.5, rounds=5):
    """Shortest time of each named step, timed in turns, so that a slow spell meets all alike.

    A step is repeated for ``least / rounds`` seconds a turn, and five times in all at least.
    """
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    for step in steps.values():
        step()
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds):
        for name, step in steps.items():
            spent, count = 0.0, 0
            while spent < least / rounds or count * rounds < (5 if least else 1):
                took = _timed(step, wait)
                best[name] = min(best[name], took)
                spent, count = spent + took, count + 1
    return best


def _timed(step, wait):
    wait()
    since = time.perf_counter()
    step()
    wait()
    return time.perf_counter() - since
