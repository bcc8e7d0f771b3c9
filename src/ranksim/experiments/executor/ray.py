"""Workers as tasks of a Ray cluster: one that this machine belongs to, or a temporary local one.

Each task has one CPU, one thread and, if it trains on one, one GPU, like a process on this machine,
so that results are equal. Ray does not repeat a task: the same command resumes it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import socket
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from ranksim.exceptions import RankSimError, UsageError, require_optional
from ranksim.experiments.executor.base import (
    WORKER_KILLED,
    TaskExecutor,
    one_thread,
    set_progress_queue,
)
from ranksim.training.trainer_config import TrainerConfig, check_trainer_config

_OBJECT_STORE_BYTES = 100 * 2**20  # tasks return little


@contextmanager
def open_ray_executor(
    count: int, trainer_config: TrainerConfig, shared: Path, on_message: Callable[..., None]
) -> Iterator[TaskExecutor]:
    """Execute tasks in the cluster of ``RAY_ADDRESS`` or ``ray start``, or in a local one.

    All tasks are cancelled at the end of the block; a local cluster is shut down.

    Args:
        count: number of CPUs of a local cluster.
        trainer_config: hardware settings of the trainings.
        shared: a file that all nodes must see.
        on_message: called with the arguments of each :func:`report_progress`.

    Raises:
        RankSimError: the cluster cannot be used, lacks the hardware, or a process was killed.
        UsageError: a node of the cluster does not see the file.
    """
    ray = require_optional("ray", "ray")
    connected = ray.is_initialized()
    if not connected:
        _connect(ray, count)
    executor = None
    try:
        gpus = _count_task_gpus(ray, trainer_config)
        executor = _RayExecutor(ray, gpus, trainer_config, shared, on_message)
        yield executor
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ray.exceptions.RayError):  # the node cannot unpickle the task
            raise RankSimError(
                f"A node of the Ray cluster cannot run tasks ({_first_line(error.cause)}): install "
                "the same ranksim[ray] on all nodes."
            ) from error
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise RankSimError(WORKER_KILLED) from error
    finally:
        if executor is not None:
            executor.cancel_all()
        if not connected:
            ray.shutdown()


def _connect(ray: ModuleType, cpus: int) -> None:
    """Connect to the cluster of this machine, or start a local one."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    silent = {"log_to_driver": False, "logging_level": logging.ERROR}
    ray._private.worker._worker_logs_enabled = False  # we report killed workers ourselves
    host, _, port = os.environ.get("RAY_ADDRESS", "").removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():  # fail at once; Ray would retry for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        with warnings.catch_warnings(action="ignore"):
            try:
                ray.init(
                    num_cpus=cpus,
                    object_store_memory=_OBJECT_STORE_BYTES,
                    include_dashboard=False,
                    **silent,
                )
            except ValueError:  # an existing cluster has its own number of CPUs
                ray.init(**silent)
    except Exception as error:  # Ray raises many types
        raise RankSimError(
            f"Ray could not be started ({_first_line(error)}): set RAY_ADDRESS to a cluster that "
            "this machine belongs to, or unset it and run `ray stop` to use a local cluster."
        ) from error


def _first_line(error: Exception) -> str:
    """Return the first line of an error's message."""
    return str(error).strip().partition("\n")[0].rstrip(".")


def _count_task_gpus(ray: ModuleType, trainer_config: TrainerConfig) -> int:
    """Return the number of GPUs of a task, 0 or 1.

    Raises:
        RankSimError: no node has the hardware, so that tasks would wait forever.
    """
    resources = ray.cluster_resources()
    on_gpu = trainer_config.requires_gpu or (
        trainer_config.accelerator == "auto" and resources.get("GPU", 0) > 0
    )
    for kind in ["CPU"] + ["GPU"] * on_gpu:
        if resources.get(kind, 0) < 1:
            raise RankSimError(f"No node of the Ray cluster has a {kind}: add a node with one.")
    return int(on_gpu)


@dataclass(frozen=True)
class _TaskContext:
    """The state of the submitting process that a task takes over."""

    folder: Path
    environment: dict[str, str]
    shared: Path
    trainer_config: TrainerConfig
    mailbox: Any


class _RayExecutor:
    """Submits tasks to a cluster and collects their messages in an actor on this node."""

    def __init__(
        self,
        ray: ModuleType,
        gpus: int,
        trainer_config: TrainerConfig,
        shared: Path,
        on_message: Callable[..., None],
    ) -> None:
        class Mailbox:  # local, so that Ray pickles it by value and its process need not import us
            def __init__(self) -> None:
                self.messages: list[tuple[Any, ...]] = []

            def put(self, message: tuple[Any, ...]) -> None:
                self.messages.append(message)

            def take(self) -> list[tuple[Any, ...]]:
                messages, self.messages = self.messages, []
                return messages

        node = ray.get_runtime_context().get_node_id()
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(node, soft=False)
        self.mailbox = ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox).remote()
        settings = {k: v for k, v in os.environ.items() if k.startswith("RANKSIM_")}
        self.context = _TaskContext(Path.cwd(), settings, shared, trainer_config, self.mailbox)
        self.task = ray.remote(
            num_cpus=1, num_gpus=gpus, max_retries=0, scheduling_strategy="SPREAD"
        )(_execute_task)
        self.ray, self.references, self.on_message = ray, list[Any](), on_message

    def submit(self, function: Callable[..., Any], /, *args: Any) -> Any:
        reference = self.task.remote(self.context, function, args)
        self.references.append(reference)
        return reference.future()

    def deliver_messages(self) -> None:
        for message in self.ray.get(self.mailbox.take.remote()):
            self.on_message(*message)

    def cancel_all(self) -> None:
        """Cancel all tasks and stop the mailbox."""
        for reference in self.references:
            self.ray.cancel(reference, force=True)
        self.ray.kill(self.mailbox)


@dataclass
class _MailboxQueue:
    """A queue that sends messages from a task to the mailbox."""

    mailbox: Any
    last: list[Any] = field(default_factory=list)

    def put(self, message: tuple[Any, ...]) -> None:
        self.last = [self.mailbox.put.remote(message)]  # messages arrive in order


def _execute_task(
    context: _TaskContext, function: Callable[..., Any], args: tuple[Any, ...]
) -> Any:
    """Call a function in a task as a process of the submitting machine would.

    Raises:
        UsageError: this node does not see the folder, or lacks the hardware.
    """
    os.environ.update(context.environment)
    with contextlib.suppress(OSError):  # absolute paths may be shared even if this folder is not
        os.chdir(context.folder)
    if not context.shared.is_file():
        raise UsageError(
            f"Ray's node {platform.node()} does not see the folder of results: choose a path with "
            "--out that all nodes share."
        )
    check_trainer_config(context.trainer_config)
    messages = _MailboxQueue(context.mailbox)
    set_progress_queue(messages)
    with one_thread():
        result = function(*args)
    # wait for the last message, so that all arrive before the result
    require_optional("ray", "ray").get(messages.last)
    return result
