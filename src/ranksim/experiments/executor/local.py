"""Executors on this machine, the loop that submits tasks to them, and progress messages."""

from __future__ import annotations

import contextlib
import multiprocessing
import multiprocessing.connection
import os
import queue
import shutil
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import torch

from ranksim._utils.worker_server import get_context
from ranksim.exceptions import RankSimError
from ranksim.training.data_source import DataSource
from ranksim.training.handover import SharedObject
from ranksim.training.recipe import Recipe
from ranksim.training.task_loading import hand_over_data, use_data

K = TypeVar("K")
Task = tuple[K, Callable[..., Any], tuple[Any, ...]]  # a key, a function and its arguments
WORKER_KILLED = (
    "The process of a run was killed, perhaps for lack of memory: the same command resumes where "
    "it stopped; lower --jobs if it happens again."
)
_send_message: Callable[[tuple[Any, ...]], object]  # to the process that started this worker


@dataclass(frozen=True)
class TaskExecutor:
    """A pool of workers, each of which executes one task at a time.

    Args:
        submit: calls a function with arguments in a worker.
        deliver_messages: passes on all messages that workers have reported.
    """

    submit: Callable[..., Future[Any]]
    deliver_messages: Callable[[], None]


def run_tasks(
    executor: TaskExecutor, jobs: int, next_task: Callable[[], Task[K] | None]
) -> Iterator[tuple[K, Future[Any]]]:
    """Run at most ``jobs`` tasks at a time; yield each task's key and future once it has finished.

    ``next_task`` returns ``None`` if no task can start now. The loop ends when, in addition, no
    task runs.
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
    """Limit PyTorch to one thread within a ``with`` block, so that ``jobs`` changes no result."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def report_progress(*message: Any) -> None:
    """Send a message from a worker to the process that started it."""
    _send_message(message)


def set_message_sender(send: Callable[[tuple[Any, ...]], object]) -> None:
    """Set the function that :func:`report_progress` calls in this worker."""
    global _send_message
    _send_message = send


@contextmanager
def open_inline_executor(on_message: Callable[..., None]) -> Iterator[TaskExecutor]:
    """Yield an executor that runs each task in this process as soon as it is submitted."""

    def submit(function: Callable[..., Any], /, *args: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(function(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    set_message_sender(lambda message: on_message(*message))
    with one_thread():
        yield TaskExecutor(submit, lambda: None)


@contextmanager
def open_process_executor(
    count: int,
    on_message: Callable[..., None],
    sources: Iterable[tuple[DataSource, Recipe]] = (),
) -> Iterator[TaskExecutor]:
    """Yield an executor with ``count`` worker processes, which are killed when the block ends.

    Workers get the data of ``sources`` from this process, which has loaded it.
    """
    with hand_over_data(sources) as data:
        yield from _open_processes(count, on_message, data)


def _open_processes(
    count: int, on_message: Callable[..., None], data: SharedObject | None
) -> Iterator[TaskExecutor]:
    context = get_context()
    messages = context.Queue()
    arguments = messages, dict(os.environ), data
    pool = ProcessPoolExecutor(count, context, initializer=_init_worker, initargs=arguments)

    def deliver_messages() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                on_message(*messages.get_nowait())

    try:
        yield TaskExecutor(pool.submit, deliver_messages)
    except BrokenProcessPool as error:
        raise RankSimError(WORKER_KILLED) from error
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.kill()


def _init_worker(messages: Any, environment: dict[str, str], data: SharedObject | None) -> None:
    """Initialize a worker process: use one thread, and exit when the parent process dies.

    The environment is that of the parent; the server may have been started under another one.
    """
    os.environ.clear()
    os.environ.update(environment)
    set_message_sender(messages.put)
    use_data(data)
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and kills its workers
    parent = multiprocessing.parent_process()
    assert parent is not None

    def exit_with_parent() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        if data is not None:  # which a killed parent has not removed
            shutil.rmtree(data.path.parent, ignore_errors=True)
        os._exit(1)

    threading.Thread(target=exit_with_parent, daemon=True).start()
