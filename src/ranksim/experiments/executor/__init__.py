"""Executors that run trainings in this process, in other processes or on a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path

from ranksim.exceptions import UsageError, require_optional
from ranksim.experiments.executor.local import (
    Task,
    TaskExecutor,
    one_thread,
    open_inline_executor,
    open_process_executor,
    report_progress,
    run_tasks,
)
from ranksim.experiments.executor.ray import open_ray_executor
from ranksim.training.data_source import DataSource
from ranksim.training.hardware import check_trainer_config
from ranksim.training.recipe import Recipe
from ranksim.training.trainer_config import TrainerConfig

__all__ = [
    "Task",
    "TaskExecutor",
    "check_engine",
    "one_thread",
    "open_executor",
    "report_progress",
    "run_tasks",
]


def check_engine(engine: str, trainer_config: TrainerConfig, jobs: int) -> None:
    """Raise an error if an engine is not installed or cannot train with these settings."""
    if engine == "ray":
        require_optional("ray", "ray")
        if trainer_config.is_distributed:
            raise UsageError(
                "--engine ray trains each run on one device: remove --devices and --num-nodes, or "
                "train without --engine ray."
            )
        if trainer_config.requires_gpu:
            return  # each task checks its own node; this machine needs no GPU
    check_trainer_config(trainer_config, jobs)


def open_executor(
    engine: str,
    count: int,
    trainer_config: TrainerConfig,
    shared: Path,
    on_message: Callable[..., None],
    sources: Iterable[tuple[DataSource, Recipe]] = (),
) -> AbstractContextManager[TaskExecutor]:
    """Start workers, and stop them when the ``with`` block ends, also by an error or Ctrl-C.

    The engine ``processes`` uses ``count`` processes of this machine, or this one if it is 1. All
    workers must see the file ``shared``. ``on_message`` is called with the arguments of each
    :func:`report_progress`. A ``RankSimError`` is raised if a worker was killed. Processes of this
    machine get the data of ``sources`` from this one; Ray loads it on each node.
    """
    if engine == "ray":
        return open_ray_executor(count, trainer_config, shared, on_message)
    if count == 1:
        return open_inline_executor(on_message)
    return open_process_executor(count, on_message, sources)
