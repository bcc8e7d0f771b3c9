"""An executor on a Ray cluster: the cluster of this machine, or a temporary local one.

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
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ranksim.exceptions import RankSimError, UsageError, require_optional
from ranksim.experiments.executor.local import (
    WORKER_KILLED,
    TaskExecutor,
    one_thread,
    set_message_sender,
)
from ranksim.training.hardware import check_trainer_config
from ranksim.training.trainer_config import TrainerConfig

_OBJECT_STORE_BYTES = 100 * 2**20  # tasks return little


@dataclass(frozen=True)
class _TaskContext:
    """The settings of the submitting process that each Ray task adopts.

    All nodes must see the ``shared`` file. ``mailbox`` is the actor that collects messages.
    """

    folder: Path
    environment: dict[str, str]
    shared: Path
    trainer_config: TrainerConfig
    mailbox: Any


@contextmanager
def open_ray_executor(
    count: int, trainer_config: TrainerConfig, shared: Path, on_message: Callable[..., None]
) -> Iterator[TaskExecutor]:
    """Yield an executor on the cluster of ``RAY_ADDRESS`` or ``ray start``, else on a local one.

    All tasks are cancelled at the end of the block; a local cluster, which has ``count`` CPUs, is
    shut down. The other arguments are those of :func:`ranksim.experiments.executor.open_executor`.
    """
    ray = require_optional("ray", "ray")
    with contextlib.ExitStack() as stack:
        if not ray.is_initialized():
            _connect(ray, count)
            stack.callback(ray.shutdown)
        try:
            gpus = _count_task_gpus(ray, trainer_config)
            mailbox = _start_mailbox(ray)
            stack.callback(ray.kill, mailbox)
            settings = {k: v for k, v in os.environ.items() if k.startswith("RANKSIM_")}
            context = _TaskContext(Path.cwd(), settings, shared, trainer_config, mailbox)
            task = ray.remote(
                num_cpus=1, num_gpus=gpus, max_retries=0, scheduling_strategy="SPREAD"
            )(_execute_task)

            def submit(function: Callable[..., Any], /, *args: Any) -> Any:
                reference = task.remote(context, function, args)
                stack.callback(ray.cancel, reference, force=True)
                return reference.future()

            def deliver_messages() -> None:
                for message in ray.get(mailbox.take.remote()):
                    on_message(*message)

            yield TaskExecutor(submit, deliver_messages)
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, ray.exceptions.RayError):  # the task cannot be unpickled
                raise RankSimError(
                    f"A node of the Ray cluster cannot run tasks ({_first_line(error.cause)}): "
                    "install the same version of ranksim, with the extra ray, on all nodes."
                ) from error
            raise error.cause from error
        except ray.exceptions.RayError as error:
            raise RankSimError(WORKER_KILLED) from error


def _connect(ray: ModuleType, cpus: int) -> None:
    """Connect to this machine's Ray cluster, or start a local cluster if there is none."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    silent = {"log_to_driver": False, "logging_level": logging.ERROR}
    ray._private.worker._worker_logs_enabled = False  # we report killed workers ourselves
    local = {"object_store_memory": _OBJECT_STORE_BYTES, "include_dashboard": False}
    host, _, port = os.environ.get("RAY_ADDRESS", "").removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():  # fail at once; Ray would retry for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        with warnings.catch_warnings(action="ignore"):
            try:
                ray.init(num_cpus=cpus, **local, **silent)
            except ValueError:  # an existing cluster has its own number of CPUs
                ray.init(**silent)
    except Exception as error:  # Ray raises many types
        raise RankSimError(
            f"Ray could not be started ({_first_line(error)}): set RAY_ADDRESS to a cluster that "
            "this machine belongs to, or unset it and run `ray stop` to use a local cluster."
        ) from error


def _first_line(error: Exception) -> str:
    """Return the first line of an error message, without the final period."""
    return str(error).strip().partition("\n")[0].rstrip(".")


def _count_task_gpus(ray: ModuleType, trainer_config: TrainerConfig) -> int:
    """Return how many GPUs a task needs, 0 or 1; raise an error if the cluster has too few."""
    resources = ray.cluster_resources()
    on_gpu = trainer_config.requires_gpu or (
        trainer_config.accelerator == "auto" and resources.get("GPU", 0) > 0
    )
    for kind in ["CPU"] + ["GPU"] * on_gpu:
        if resources.get(kind, 0) < 1:
            raise RankSimError(f"The Ray cluster has no {kind}: add a node that has one.")
    return int(on_gpu)


def _start_mailbox(ray: ModuleType) -> Any:
    """Start a Ray actor on this node that collects progress messages from all tasks."""

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
    return ray.remote(num_cpus=0, scheduling_strategy=here)(Mailbox).remote()


def _execute_task(
    context: _TaskContext, function: Callable[..., Any], args: tuple[Any, ...]
) -> Any:
    """Call a function in a Ray task with the folder and settings of the submitting process."""
    os.environ.update(context.environment)
    with contextlib.suppress(OSError):  # absolute paths may be shared even if this folder is not
        os.chdir(context.folder)
    if not context.shared.is_file():
        raise UsageError(
            f"The Ray node {platform.node()} cannot see the folder of results: choose a path with "
            "--out that all nodes can access."
        )
    check_trainer_config(context.trainer_config)
    last: list[Any] = []

    def send(message: tuple[Any, ...]) -> None:
        last[:] = [context.mailbox.put.remote(message)]  # messages arrive in order

    set_message_sender(send)
    with one_thread():
        result = function(*args)
    # wait for the last message, so that all arrive before the result
    require_optional("ray", "ray").get(last)
    return result
