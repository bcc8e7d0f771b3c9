"""The command line on generated data, whose checksums come from the environment.

A script, because workers of a sweep are new processes that import it again. Tasks of Ray do not
import it, so they receive :func:`execute_in_task`.
"""

import json
import os
import sys
from pathlib import Path

from ranksim.datasets import sts_b_dir

if "RANKSIM_TEST_CHECKSUMS" in os.environ:
    sts_b_dir.CHECKSUMS = json.loads(os.environ["RANKSIM_TEST_CHECKSUMS"])


def execute_in_task(function, *args):
    """Call a function with the checksums, and create a file named by the node."""
    import ray

    sts_b_dir.CHECKSUMS = json.loads(os.environ["RANKSIM_TEST_CHECKSUMS"])
    Path(os.environ["RANKSIM_TEST_NODES"], ray.get_runtime_context().get_node_id()).touch()
    return function(*args)


if __name__ == "__main__":
    from functools import partial

    from ranksim.cli import main

    if "ray" in sys.argv:
        from ranksim.experiments import sweep

        sweep._execute_and_report = partial(execute_in_task, sweep._execute_and_report)
    main()
