"""The command line over generated data: its checksums come from the environment.

A script of its own, because workers of a sweep are new processes that import it again. Tasks of Ray
do not: they are sent what they need.
"""

import json
import os
import sys
from pathlib import Path

from ranksim.datasets import sts_b_dir

if "RANKSIM_TEST_CHECKSUMS" in os.environ:
    sts_b_dir.CHECKSUMS = json.loads(os.environ["RANKSIM_TEST_CHECKSUMS"])


def in_a_task(work, *args):
    """Perform a run as ever, with the checksums; it is told on which node."""
    import ray

    sts_b_dir.CHECKSUMS = json.loads(os.environ["RANKSIM_TEST_CHECKSUMS"])
    Path(os.environ["RANKSIM_TEST_NODES"], ray.get_runtime_context().get_node_id()).touch()
    return work(*args)


if __name__ == "__main__":
    from functools import partial

    from ranksim.cli import main

    if "ray" in sys.argv:
        from ranksim.experiments import sweep

        sweep._execute_and_report = partial(in_a_task, sweep._execute_and_report)
    main()
