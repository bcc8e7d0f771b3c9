"""The command line on generated data, whose checksums come from the environment.

Workers of a sweep are new processes, which import this main module again. Tasks of Ray do not
import it, so they receive :func:`execute_in_task`.
"""

import json
import os
import sys
from pathlib import Path

from ranksim.datasets import sts_b_dir


def load_checksums():
    sts_b_dir.CHECKSUMS = json.loads(os.environ["RANKSIM_TEST_CHECKSUMS"])


def prepare():
    """Prepare the process of a command, or of one of its workers, which skip pictures."""
    from tests.helpers.small_runs import skip_pictures

    load_checksums()
    skip_pictures()


if "RANKSIM_TEST_CHECKSUMS" in os.environ:
    prepare()


def execute_in_task(function, *args):
    """Call a function with the checksums, and create a file named by the node."""
    import ray

    load_checksums()
    Path(os.environ["RANKSIM_TEST_NODES"], ray.get_runtime_context().get_node_id()).touch()
    return function(*args)


def run():
    """Run the command line of this process."""
    from functools import partial

    from ranksim.cli import main

    prepare()

    if "ray" in sys.argv:
        from ray import cloudpickle

        from ranksim.experiments import sweep

        cloudpickle.register_pickle_by_value(sys.modules[__name__])  # nodes cannot import tests

        sweep._execute_and_report = partial(execute_in_task, sweep._execute_and_report)
    main()
