"""A Ray cluster on this machine: a head without CPUs and two nodes with one CPU each.

It prints its address and runs until its standard input is closed.
"""

import sys
from typing import Any

from ray.cluster_utils import Cluster

if __name__ == "__main__":
    small: dict[str, Any] = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    for _ in range(2):
        cluster.add_node(num_cpus=1, **small)
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()
