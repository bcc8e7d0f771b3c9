"""Work as tasks of a Ray cluster: the one that this machine is of, or else one on it alone.

Each task has one CPU, one thread and, where it trains on one, one GPU: what a process of this
machine has, so that it comes to the same. Ray does not repeat a task: the command that is given
again does, from the last validation.
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
from ranksim.experiments.executor import KILLED, TaskExecutor, one_thread, set_progress_queue
from ranksim.training.trainer_config import TrainerConfig, check_trainer_config

_OBJECTS = 100 * 2**20  # bytes for what tasks give back, which is little


@contextmanager
def tasks(count: int, hardware: TrainerConfig, shared: Path) -> Iterator[TaskExecutor]:
    """Tasks of the cluster that ``RAY_ADDRESS`` or ``ray start`` names, or of one of so many CPUs.

    When the block is left, all tasks are ended, and Ray where it was started here.

    Args:
        count: at most so many are submitted at a time.
        hardware: what each trains on.
        shared: a file that all of them must see.

    Raises:
        RankSimError: there is no such cluster, it has no such hardware, or a process was killed.
        UsageError: a node of the cluster does not see the file.
    """
    ray = require_optional("ray", "ray")
    found = ray.is_initialized()
    if not found:
        _connect(ray, count)
    tasks = None
    try:
        tasks = _Tasks(ray, _gpus(ray, hardware), hardware, shared)
        yield tasks
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, ray.exceptions.RayError):  # what was sent cannot be read
            raise RankSimError(
                f"A node of the Ray cluster cannot take part ({_first_line(error.cause)}): install "
                "the same ranksim[ray] on all nodes."
            ) from error
        raise error.cause from error
    except ray.exceptions.RayError as error:
        raise RankSimError(KILLED) from error
    finally:
        if tasks is not None:
            tasks.end()
        if not found:
            ray.shutdown()


def _connect(ray: ModuleType, cpus: int) -> None:
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
    ray._private.worker._worker_logs_enabled = False  # what nodes say of dead workers, we say
    host, _, port = os.environ.get("RAY_ADDRESS", "").removeprefix("ray://").rpartition(":")
    try:
        if port.isdigit():  # Ray would knock for minutes
            socket.create_connection((host, int(port)), timeout=10).close()
        with warnings.catch_warnings(action="ignore"):
            try:
                ray.init(
                    num_cpus=cpus, object_store_memory=_OBJECTS, include_dashboard=False, **quiet
                )
            except ValueError:  # there is a cluster, which has CPUs of its own
                ray.init(**quiet)
    except Exception as error:  # Ray raises any kind
        raise RankSimError(
            f"Ray cannot be used ({_first_line(error)}): give RAY_ADDRESS of a cluster that this "
            "machine is of, or unset it and `ray stop` to have one on this machine alone."
        ) from error


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0].rstrip(".")


def _gpus(ray: ModuleType, hardware: TrainerConfig) -> int:
    """GPUs of a task.

    Raises:
        RankSimError: tasks would wait for ever.
    """
    there = ray.cluster_resources()
    wanted = hardware.requires_gpu or (hardware.accelerator == "auto" and there.get("GPU", 0) > 0)
    for kind in ["CPU"] + ["GPU"] * wanted:
        if there.get(kind, 0) < 1:
            raise RankSimError(f"No node of the Ray cluster has a {kind}: add one that has.")
    return int(wanted)


class _Tasks:
    """What is submitted to a cluster, and what it tells."""

    def __init__(self, ray: ModuleType, gpus: int, hardware: TrainerConfig, shared: Path) -> None:
        class News:  # in here, it is sent to a process that need not import us
            def __init__(self) -> None:
                self.told: list[tuple[Any, ...]] = []

            def put(self, what: tuple[Any, ...]) -> None:
                self.told.append(what)

            def take(self) -> list[tuple[Any, ...]]:
                told, self.told = self.told, []
                return told

        here = ray.get_runtime_context().get_node_id()
        pinned = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        self.box = ray.remote(num_cpus=0, scheduling_strategy=pinned)(News).remote()
        settings = {k: v for k, v in os.environ.items() if k.startswith("RANKSIM_")}
        self.place = _Place(Path.cwd(), settings, shared, hardware, self.box)
        self.task = ray.remote(
            num_cpus=1, num_gpus=gpus, max_retries=0, scheduling_strategy="SPREAD"
        )(_do)
        self.ray, self.submitted = ray, list[Any]()

    def submit(self, work: Callable[..., Any], /, *given: Any) -> Any:
        reference = self.task.remote(self.place, work, given)
        self.submitted.append(reference)
        return reference.future()

    def news(self) -> Iterator[tuple[Any, ...]]:
        yield from self.ray.get(self.box.take.remote())

    def end(self) -> None:
        for reference in self.submitted:
            self.ray.cancel(reference, force=True)
        self.ray.kill(self.box)


@dataclass(frozen=True)
class _Place:
    """What a task must know of the process that submitted it."""

    folder: Path
    environment: dict[str, str]
    shared: Path
    hardware: TrainerConfig
    box: Any


@dataclass
class _Line:
    """From a task to what collects news."""

    box: Any
    sent: list[Any] = field(default_factory=list)

    def put(self, what: tuple[Any, ...]) -> None:
        self.sent = [self.box.put.remote(what)]  # in order: the last has come when all have


def _do(place: _Place, work: Callable[..., Any], given: tuple[Any, ...]) -> Any:
    """In a task: what a process of the machine that submitted it would do.

    Raises:
        UsageError: this node does not see the folder, or cannot train as asked.
    """
    os.environ.update(place.environment)
    with contextlib.suppress(OSError):  # absolute paths may be shared where this is not
        os.chdir(place.folder)
    if not place.shared.is_file():
        raise UsageError(
            f"Ray's node {platform.node()} does not see the folder of results: give --out a path "
            "that all nodes share."
        )
    check_trainer_config(place.hardware)
    line = _Line(place.box)
    set_progress_queue(line)
    with one_thread():
        made = work(*given)
    require_optional("ray", "ray").get(line.sent)  # what was told is heard before the result
    return made
