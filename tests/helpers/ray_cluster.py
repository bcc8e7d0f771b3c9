"""A Ray cluster on this machine: a head without CPUs, two nodes of one each.

It tells its address, and lasts until its standard input is closed.
"""

import sys

from ray.cluster_utils import Cluster

if __name__ == "__main__":
    small = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **small})
    for _ in range(2):
        cluster.add_node(num_cpus=1, **small)
    print(cluster.address, flush=True)
    sys.stdin.read()
    cluster.shutdown()
