"""The command line as processes into which faults can be put: imported once, forked for each.

``python -m tests.reliability.faults_driver`` reads requests from stdin, one JSON a line, and answers them
on stdout. Workers of a sweep import this module again, which puts the same faults into them.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

FAULT = "RANKSIM_TRUST_FAULT"


def put(fault: dict[str, Any]) -> None:
    """Put a fault into this process.

    Args:
        fault: ``steps``, a file that takes the name of each file that is about to be renamed into
            its place; with ``kill``, the number of the one at which all processes of the command
            are killed, ``when`` says whether it is there ``before``, ``half`` or ``after``.
            ``clock``: seconds that it jumps by once it was read 50 times, and later again.
            ``origin`` and ``checksums`` of the benchmark that is downloaded. ``largest``: bytes of
            the largest file that can be written. ``page``: false to leave the page out.
    """
    if "steps" in fault:
        os.replace = _counted(os.replace, fault)
    if "clock" in fault:
        read = [0]
        time.time = _jumping(time.time, fault["clock"], read)
        time.time_ns = _jumping(time.time_ns, fault["clock"] * 10**9, read)
    if "origin" in fault:
        from ranksim.datasets import sts_b_dir

        sts_b_dir.ORIGINS = {"borealis": fault["origin"]}
        sts_b_dir.CHECKSUMS = {"borealis": fault["checksums"]}
    if not fault.get("page", True):
        from ranksim.evaluation.report import results_page

        results_page.write_page = lambda results, out: out  # type: ignore[misc,assignment]
    if "largest" in fault:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (fault["largest"],) * 2)


def _counted(replace: Callable[..., None], fault: dict[str, Any]) -> Callable[..., None]:
    def replace_or_die(source: Any, target: Any, **given: Any) -> None:
        handle = os.open(fault["steps"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{Path(target).name}\n".encode())
        os.close(handle)
        now = len(Path(fault["steps"]).read_bytes().splitlines())
        if now != fault.get("kill"):
            replace(source, target, **given)
            return
        if fault["when"] == "half":
            os.truncate(source, os.path.getsize(source) // 2)
        if fault["when"] == "after":
            replace(source, target, **given)
        os.killpg(0, signal.SIGKILL)

    return replace_or_die


def _jumping(clock: Callable[[], Any], by: int, read: list[int]) -> Callable[[], Any]:
    def jumped() -> Any:
        read[0] += 1
        return clock() + by * (read[0] // 50 % 2)

    return jumped


def _command(request: dict[str, Any]) -> None:
    """In a process of its own: one command of the command line."""
    os.setsid()
    code = 70
    try:
        with Path(request["told"]).open("wb") as told:
            os.dup2(told.fileno(), 1)
            os.dup2(told.fileno(), 2)
        os.chdir(request["folder"])
        os.environ.update(request["environment"])
        os.environ[FAULT] = json.dumps(request["fault"])
        put(request["fault"])
        sys.argv = ["ranksim", *request["words"]]
        from ranksim.cli import main

        main()
    except SystemExit as left:
        code = int(left.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Start commands and wait for them, as asked."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                _command(request)
        print(answer, flush=True)


if __name__ == "__main__":
    # what takes seconds to import, and starts no thread
    import importlib
    import pkgutil

    import pyarrow.parquet  # noqa: F401
    import torch

    import ranksim

    for module in pkgutil.walk_packages(ranksim.__path__, "ranksim."):
        if module.name.startswith(("ranksim.experiments", "ranksim.cli.app", "ranksim.training")):
            importlib.import_module(module.name)
    torch.set_num_threads(1)
    serve()
elif FAULT in os.environ:
    put(json.loads(os.environ[FAULT]))
