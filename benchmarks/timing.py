"""Timing of training steps."""

import time
from collections.abc import Callable, Mapping

import torch

Step = Callable[[], object]


def time_step(step: Step, min_seconds: float = 0.5) -> float:
    """Return the shortest time of a step in seconds, over at least five repetitions."""
    return time_in_turns({"step": step}, min_seconds, rounds=1)["step"]


def time_in_turns(
    steps: Mapping[str, Step],
    min_seconds: float = 0.5,
    rounds: int = 5,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Return the shortest time of each step in seconds, timed in turns.

    The shortest, because other programs can only slow a step down; in turns, so that they slow all
    steps alike. A step runs for ``min_seconds / rounds`` per turn, and at least five times in all.
    ``time.process_time`` as the clock leaves out what other programs run meanwhile.
    """
    synchronize = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    for step in steps.values():
        step()
    shortest = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds):
        for name, step in steps.items():
            spent, count = 0.0, 0
            while spent < min_seconds / rounds or count * rounds < (5 if min_seconds else 1):
                seconds = _time_once(step, synchronize, clock)
                shortest[name] = min(shortest[name], seconds)
                spent, count = spent + seconds, count + 1
    return shortest


def _time_once(step: Step, synchronize: Callable[[], None], clock: Callable[[], float]) -> float:
    """Return the seconds of one step."""
    synchronize()
    start = clock()
    step()
    synchronize()
    return clock() - start
