"""Processes side by side, one thread each, that never outlive what started them."""

from __future__ import annotations

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

import torch

from ranksim.errors import RankSimError

_news: Any = None  # a worker's way to tell the process that started it


@contextmanager
def workers(count: int) -> Iterator[tuple[ProcessPoolExecutor, Any]]:
    """A pool of so many processes, and the queue that :func:`tell` in one of them writes to.

    When the block is left, by an error or Ctrl-C too, they are killed: no run goes on unseen.

    Raises:
        RankSimError: a process was killed.
    """
    context = multiprocessing.get_context("spawn")
    news = context.Queue()
    pool = ProcessPoolExecutor(count, context, initializer=_settle, initargs=(news,))
    try:
        yield pool, news
    except BrokenProcessPool as error:
        raise RankSimError(
            "A run's process was killed, perhaps for lack of memory: the same command goes on "
            "where it stopped, with fewer --jobs if need be."
        ) from error
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


def tell(*what: Any) -> None:
    """From a worker to the process that started it."""
    _news.put(what)


def _settle(news: Any) -> None:
    """In a worker: one thread, and no life beyond that of its parent."""
    global _news
    _news = news
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's, which ends its workers
    parent = multiprocessing.parent_process()
    assert parent is not None

    def leave_with_parent() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=leave_with_parent, daemon=True).start()
