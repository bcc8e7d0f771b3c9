"""Workers on this machine: this process, or processes with one thread each."""

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
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from ranksim.exceptions import RankSimError
from ranksim.experiments.executor.base import (
    WORKER_KILLED,
    T,
    TaskExecutor,
    one_thread,
    set_progress_queue,
)


@dataclass(frozen=True)
class _InlineExecutor:
    """Executes each task in this process when it is submitted; messages arrive at once."""

    on_message: Callable[..., None]

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def deliver_messages(self) -> None:
        pass

    def put(self, message: tuple[Any, ...]) -> None:
        self.on_message(*message)


@dataclass(frozen=True)
class _PoolExecutor:
    """Executes tasks in the processes of a pool."""

    pool: ProcessPoolExecutor
    queue: Any
    on_message: Callable[..., None]

    def submit(self, function: Callable[..., T], /, *args: Any) -> Future[T]:
        return self.pool.submit(function, *args)

    def deliver_messages(self) -> None:
        while True:
            try:
                self.on_message(*self.queue.get_nowait())
            except queue.Empty:
                return


@contextmanager
def open_inline_executor(on_message: Callable[..., None]) -> Iterator[TaskExecutor]:
    """Execute tasks in this process, with one thread."""
    executor = _InlineExecutor(on_message)
    set_progress_queue(executor)
    with one_thread():
        yield executor


@contextmanager
def open_process_executor(count: int, on_message: Callable[..., None]) -> Iterator[TaskExecutor]:
    """Execute tasks in processes, which are killed at the end, also after an error or Ctrl-C."""
    context = multiprocessing.get_context("spawn")
    messages = context.Queue()
    pool = ProcessPoolExecutor(count, context, initializer=_init_worker, initargs=(messages,))
    try:
        yield _PoolExecutor(pool, messages, on_message)
    except BrokenProcessPool as error:
        raise RankSimError(WORKER_KILLED) from error
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()


def _init_worker(messages: Any) -> None:
    """Use one thread, and exit when the parent process dies."""
    set_progress_queue(messages)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and kills its workers
    parent = multiprocessing.parent_process()
    assert parent is not None

    def exit_with_parent() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True).start()
