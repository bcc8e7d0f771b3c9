"""Processes side by side, one thread each, that never outlive what started them.

They are this machine's, or those of a Ray cluster (:mod:`ranksim.experiments.ray_executor`).
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch

from ranksim.exceptions import RankSimError, UsageError, require_optional
from ranksim.training.trainer_config import TrainerConfig, check_trainer_config

T = TypeVar("T")
KILLED = (
    "A run's process was killed, perhaps for lack of memory: the same command goes on where it "
    "stopped, with fewer --jobs if need be."
)
_news: Any = None  # a worker's way to tell the process that started it


class TaskExecutor(Protocol):
    """Processes that are given work, each one piece at a time."""

    def submit(self, work: Callable[..., T], /, *given: Any) -> Future[T]:
        """Have a function called in one of them."""

    def news(self) -> Iterator[tuple[Any, ...]]:
        """What :func:`report_progress` was told in them since the last call."""


def check_engine(engine: str, hardware: TrainerConfig, jobs: int) -> None:
    """Refuse what an engine cannot do, before anything is read or written.

    Raises:
        UsageError: saying what to give instead.
        MissingExtraError: Ray is not installed.
    """
    if engine == "ray":
        require_optional("ray", "ray")
        if hardware.is_distributed:
            raise UsageError(
                "--engine ray trains each run on one device: leave it out with --devices or "
                "--num-nodes."
            )
        if hardware.requires_gpu:
            return  # the cluster has it, and this machine need not: each worker looks
    check_trainer_config(hardware, jobs)


def open_executor(
    engine: str, count: int, hardware: TrainerConfig, shared: Path
) -> AbstractContextManager[TaskExecutor]:
    """So many processes. When the block is left, by an error or Ctrl-C too, they are ended.

    Args:
        engine: ``processes`` of this machine, or ``ray``.
        count: at most so many at a time.
        hardware: what each of them trains on.
        shared: a file that all of them must see.

    Raises:
        RankSimError: a process was killed.
    """
    if engine == "ray":
        from ranksim.experiments.ray_executor import tasks

        return tasks(count, hardware, shared)
    return _processes(count)


@dataclass(frozen=True)
class _Pool:
    executor: ProcessPoolExecutor
    queue: Any

    def submit(self, work: Callable[..., T], /, *given: Any) -> Future[T]:
        return self.executor.submit(work, *given)

    def news(self) -> Iterator[tuple[Any, ...]]:
        while True:
            try:
                yield self.queue.get_nowait()
            except queue.Empty:
                return


@contextmanager
def _processes(count: int) -> Iterator[TaskExecutor]:
    context = multiprocessing.get_context("spawn")
    news = context.Queue()
    pool = ProcessPoolExecutor(count, context, initializer=_settle, initargs=(news,))
    try:
        yield _Pool(pool, news)
    except BrokenProcessPool as error:
        raise RankSimError(KILLED) from error
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()


@contextmanager
def one_thread() -> Iterator[None]:
    """The same in this process: one thread, so that the number of jobs changes no result."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def report_progress(*what: Any) -> None:
    """From a worker to the process that started it."""
    _news.put(what)


def set_progress_queue(news: Any) -> None:
    """In a worker: what :func:`report_progress` puts its words into."""
    global _news
    _news = news


def _settle(news: Any) -> None:
    """In a worker: one thread, and no life beyond that of its parent."""
    set_progress_queue(news)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its workers
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave_with_parent() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
