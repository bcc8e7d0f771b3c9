"""The command line over generated data: its checksums come from the environment.

A script of its own, because workers of a sweep are new processes that import it again.
"""

import json
import os

from ranksim.data import sts_b_dir

if "RANKSIM_TEST_CHECKSUMS" in os.environ:
    sts_b_dir.CHECKSUMS = json.loads(os.environ["RANKSIM_TEST_CHECKSUMS"])

if __name__ == "__main__":
    from ranksim.cli import main

    main()
