"""Trainings in other processes, forked from a server that has imported all modules."""

import multiprocessing
import os
import signal
import traceback

import pytest

from ranksim.experiments.sweep_request import make_runs
from ranksim.experiments.sweep_settings import SweepSettings
from ranksim.training.method import parse_method
from tests.helpers import faces
from tests.helpers.requests import make_request
from tests.helpers.small_runs import skip_pictures, use_small_resnet

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    [
        "ranksim.experiments.sweep",
        "ranksim.training.lightning.trainer",  # Lightning takes seconds to import
        "transformers.models.resnet.modeling_resnet",
        "tests.helpers.trained_models",
    ]
)
SMALL = ("encoder=resnet18", "image_size=16", "batch_size=8", "ranksim_weight=0.01", "lr=1e-3")


def images(root, counts):
    """Write drawn faces and their table; return the path of the table."""
    return faces.write_user_data(root, counts, size=24)


def request(table, out, *changes, **more):
    """Return a request on a table of images with small settings, which ``changes`` override."""
    fields = {change.partition("=")[0]: change for change in (*SMALL, *changes)}
    defaults = {
        "options": {"target": "years", "image": "file", "max_per_bin": 2},
        "image_root": table.parent,
        "changes": tuple(fields.values()),
    }
    return make_request(table, out, **defaults | more)


def run_of(sweep_request, method, seed=0):
    """Return the run of a method under the settings of a request."""
    settings = SweepSettings.from_request(sweep_request)
    return make_runs(sweep_request, settings)(parse_method(method, settings.weighting), seed)


def _call(pipe, environment, function, args):
    import torch

    os.setpgid(0, 0)
    torch.set_num_threads(1)
    os.environ.update(environment)
    skip_pictures()
    use_small_resnet()
    try:
        result = True, function(*args)
    except BaseException as error:
        result = False, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"
    pipe.send(result)


class Process:
    """A function running in another process, with some environment variables set.

    Sweeps in it skip pictures, and its ``resnet18`` is a small network.
    """

    def __init__(self, function, *args, **environment):
        self.pipe, pipe = CONTEXT.Pipe()
        environment = {"RANKSIM_CACHE": os.environ.get("RANKSIM_CACHE", "")} | environment
        self.process = CONTEXT.Process(target=_call, args=(pipe, environment, function, args))
        self.process.start()
        pipe.close()

    def result(self, timeout=120):
        if not self.pipe.poll(timeout):
            self.kill()
            pytest.fail("a process hangs")
        done, result = self.pipe.recv()
        self.process.join()
        assert done, result
        return result

    def kill(self):
        """Kill the process and all that it started; return whether it was still running."""
        alive = not self.pipe.poll()
        try:
            os.killpg(self.process.pid or 0, signal.SIGKILL)
        except ProcessLookupError:
            alive = False
        self.process.join()
        return alive
