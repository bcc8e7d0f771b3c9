"""Small sweeps on generated data, in this process or as commands that may be killed."""

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from ranksim._utils.storage import read_verified_json
from ranksim.datasets import sts_b_dir
from tests.helpers.requests import make_request
from tests.helpers.trained_models import CONTEXT

SMALL = ("hidden=8", "ranksim_weight=0.1")
ENDLESS = ("--max-epochs", "5000", "--set", "patience=5000")


def sts_request(data, out, **values):
    """Return a request for two methods and two seeds on generated STS-B-DIR data."""
    defaults = {
        "options": {"split": "borealis", "regions_from": "published"},
        "methods": "vanilla,vanilla+ranksim",
        "seeds": "2",
        "data_dir": data,
        "changes": SMALL,
        "max_epochs": 2,
    }
    return make_request("sts-b-dir", out, **defaults | values)


def sweep_command(data, out, *options, jobs=2):
    """Return the words of a small sweep's command after ``ranksim``."""
    words = [
        "bench", "sts-b-dir",
        "--data-dir", data, "--out", out, "--seeds", "2", "--jobs", jobs, "--accelerator", "cpu",
        *(word for change in SMALL for word in ("--set", change)), *options,
    ]  # fmt: skip
    return [str(word) for word in words]


class Command:
    """A ranksim command in its own process group, forked from a server that has imported it."""

    def __init__(self, words, output):
        environment = os.environ | {"RANKSIM_TEST_CHECKSUMS": json.dumps(sts_b_dir.CHECKSUMS)}
        arguments = words, dict(environment), Path.cwd(), output
        self.process = CONTEXT.Process(target=_run_command, args=arguments)
        self.process.start()
        self.pid, self.output = self.process.pid or 0, Path(output)

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        """Return the exit code, or None while the command runs."""
        return self.process.exitcode

    def wait(self, timeout=None):
        """Wait until the command has ended, and return its output."""
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise TimeoutError(f"the command still runs: {self.output.read_text()}")
        return self.output.read_text()

    def kill(self):
        """Kill the command but not the processes that it started."""
        self.process.kill()
        self.process.join()

    def kill_group(self):
        """Kill the command and all processes that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.kill()


def _run_command(words, environment, folder, output):
    """Run the command line ``words`` as the script ``sweep_driver.py`` of a new session."""
    from tests.helpers import sweep_driver

    os.setsid()
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(folder)
    os.environ.clear()
    tempfile.tempdir = None  # the server has read that of its own environment
    os.environ.update(environment)
    sys.argv = ["ranksim", *words]
    sys.modules["__main__"] = sweep_driver  # which the workers of the command import again
    sweep_driver.run()


@contextlib.contextmanager
def start_command(words):
    """Start a command in its own process group, which is killed at the end."""
    with tempfile.NamedTemporaryFile("r", encoding="utf-8") as output:
        command = Command(words, output.name)
        try:
            yield command
        finally:
            command.kill_group()


def finish_command(words):
    """Run a command to its end and return its output."""
    with start_command(words) as process:
        output = process.wait(timeout=300)
        assert process.returncode == 0, output
        return output


def read_comparable_results(out):
    """Read results.json without timing, memory, digest and date."""
    content = read_verified_json(out / "results.json")
    del content["date"]
    for run in content["runs"]:
        del run["result"]["seconds"], run["result"]["peak_memory_mb"]
    for row in content["summary"]:
        del row["seconds_median"]
    return content


def count_trainings(out):
    """Count how often each run was started: every start has its own log."""
    return {
        str(logs.parent.relative_to(out / "runs")): len(list(logs.rglob("metrics.csv")))
        for logs in out.rglob("logs")
    }


def wait_until_training(process, out, runs=1, lines=1):
    """Wait until some runs have logged some lines."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and process.poll() is None:
        # unlike rglob, os.walk expects folders to disappear while it reads them
        logs = [Path(folder, name) for folder, _, names in os.walk(out) for name in names]
        logs = [path for path in logs if path.name == "metrics.csv"]
        if len(logs) >= runs and sum(p.read_text().count("\n") for p in logs) >= lines:
            return
        time.sleep(0.05)
    assert process.poll() is None, process.wait()


def wait_until_group_ends(group):
    """Wait until no process of a group is alive."""
    deadline = time.monotonic() + 20
    while is_group_alive(group) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not is_group_alive(group)


def is_group_alive(group):
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
