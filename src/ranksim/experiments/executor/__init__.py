"""Workers that execute tasks: this process, processes of this machine, or tasks of a Ray cluster."""

from ranksim.experiments.executor.base import (
    Task,
    TaskExecutor,
    one_thread,
    report_progress,
    run_tasks,
    set_progress_queue,
)
from ranksim.experiments.executor.select import check_engine, open_executor

__all__ = [
    "Task",
    "TaskExecutor",
    "check_engine",
    "one_thread",
    "open_executor",
    "report_progress",
    "run_tasks",
    "set_progress_queue",
]
