"""Server that forks the command line with injected faults, so that imports happen once.

``python -m tests.reliability.faults_driver`` reads one JSON request per line and answers on stdout.
Workers of a sweep import this module again, which injects the same faults into them.
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

FAULT = "RANKSIM_TEST_FAULT"


def inject(fault: dict[str, Any]) -> None:
    """Inject a fault into this process.

    Args:
        fault: ``steps``: file that records the name of each renamed file; ``kill``: number of the
            rename at which all processes are killed, ``when``: ``before``, ``half`` (written) or
            ``after``. ``clock``: seconds by which the clock jumps after every 50 readings.
            ``origin`` and ``checksums`` of the downloaded benchmark. ``largest``: maximum file
            size in bytes. ``page``: false to skip the report page and t-SNE, which take longer than
            all else.
    """
    if "steps" in fault:
        os.replace = _counting_replace(os.replace, fault)
    if "clock" in fault:
        read = [0]
        time.time = _jumping_clock(time.time, fault["clock"], read)
        time.time_ns = _jumping_clock(time.time_ns, fault["clock"] * 10**9, read)
    if "origin" in fault:
        from ranksim.datasets import sts_b_dir

        sts_b_dir.ORIGINS = {"borealis": fault["origin"]}
        sts_b_dir.CHECKSUMS = {"borealis": fault["checksums"]}
    if not fault.get("page", True):
        from ranksim.evaluation import diagnostics
        from ranksim.evaluation.report import results_page

        diagnostics._tsne = lambda features, points: points
        results_page.write_page = lambda results, out: out  # type: ignore[misc,assignment]
    if "largest" in fault:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (fault["largest"],) * 2)


def _counting_replace(replace: Callable[..., None], fault: dict[str, Any]) -> Callable[..., None]:
    def replace_or_die(source: Any, target: Any, **options: Any) -> None:
        handle = os.open(fault["steps"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(handle, f"{Path(target).name}\n".encode())
        os.close(handle)
        count = len(Path(fault["steps"]).read_bytes().splitlines())
        if count != fault.get("kill"):
            replace(source, target, **options)
            return
        if fault["when"] == "half":
            os.truncate(source, Path(source).stat().st_size // 2)
        if fault["when"] == "after":
            replace(source, target, **options)
        os.killpg(0, signal.SIGKILL)

    return replace_or_die


def _jumping_clock(clock: Callable[[], Any], by: int, read: list[int]) -> Callable[[], Any]:
    def jumped() -> Any:
        read[0] += 1
        return clock() + by * (read[0] // 50 % 2)

    return jumped


def _run_command(request: dict[str, Any]) -> None:
    """Run one command in this forked process and exit."""
    os.setsid()
    code = 70
    try:
        with Path(request["output"]).open("wb") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.chdir(request["folder"])
        os.environ.update(request["environment"])
        os.environ[FAULT] = json.dumps(request["fault"])
        inject(request["fault"])
        sys.argv = ["ranksim", *request["words"]]
        from ranksim.cli import main

        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    """Answer requests to start commands and to wait for them."""
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        else:
            answer = os.fork()
            if answer == 0:
                _run_command(request)
        print(answer, flush=True)


if __name__ == "__main__":
    # modules that take seconds to import and start no thread
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
    inject(json.loads(os.environ[FAULT]))
