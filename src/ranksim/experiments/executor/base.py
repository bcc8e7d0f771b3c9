"""The interface of workers, the loop that keeps them busy, and their progress messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import torch

T = TypeVar("T")
K = TypeVar("K")
Task = tuple[K, Callable[..., Any], tuple[Any, ...]]  # a key, a function and its arguments
WORKER_KILLED = (
    "The process of a run was killed, perhaps for lack of memory: the same command resumes where "
    "it stopped; lower --jobs if it happens again."
)
_progress_queue: Any = None  # a worker's connection to the process that started it


class TaskExecutor(Protocol):
    """Workers that execute one task at a time each."""

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        """Call a function in a worker."""

    def deliver_messages(self) -> None:
        """Pass on all messages that workers have reported."""


def run_tasks(
    executor: TaskExecutor, jobs: int, next_task: Callable[[], Task[K] | None]
) -> Iterator[tuple[K, Future[Any]]]:
    """Submit tasks as workers become free; yield the key and finished future of each.

    Args:
        executor: the workers.
        jobs: maximum number of tasks at a time.
        next_task: returns the next task, or ``None`` if none can start now. The loop ends when no
            task runs and none can start.
    """
    running: dict[Future[Any], K] = {}
    while True:
        while len(running) < jobs and (task := next_task()) is not None:
            key, function, args = task
            running[executor.submit(function, *args)] = key
        if not running:
            return
        finished, _ = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
        executor.deliver_messages()
        for future in finished:
            yield running.pop(future), future


@contextmanager
def one_thread() -> Iterator[None]:
    """Use one thread in this process, so that results do not depend on the number of jobs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def report_progress(*message: Any) -> None:
    """Send a message from a worker to the process that started it."""
    _progress_queue.put(message)


def set_progress_queue(queue: Any) -> None:
    """Set the queue of :func:`report_progress` in a worker."""
    global _progress_queue
    _progress_queue = queue
