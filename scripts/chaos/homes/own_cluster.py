"""A local cluster for one chaos script, in a temporary folder that goes when all has held."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable

from ringmill.client.local import local_cluster
from ringmill.client.local.bringing_up import bring_up
from ringmill.client.local.local_state import LocalCluster, load_cluster
from ringmill.client.local.processes import end_as_by_ctrl_c
from ringmill.client.local.tcp_ports import free_base
from ringmill.cluster.wire.offers import CarrierName

__all__ = ["judge_on_cluster"]


def judge_on_cluster(
    name: str,
    *,
    nodes: int,
    lowest_port: int,
    run_and_judge: Callable[[LocalCluster], bool],
    transport: CarrierName = "grpc",
    partitions: int = 256,
) -> int:
    """Start a cluster, run and judge something on it, and stop it.  Returns 0 when it held, else 1.

    Data and logs are kept when it has not held.  The nodes talk by `transport`, and offer it to clients.
    They end with this, also after SIGTERM and where the terminal is closed.
    """
    end_as_by_ctrl_c()
    home = tempfile.mkdtemp(prefix=f"ringmill-{name}-")
    folder = f"{home}/{name}"
    is_sound = False
    try:
        plan = {"nodes": nodes, "base_port": free_base(nodes, lowest_port), "partitions": partitions}
        cluster, _ = bring_up(name, folder, plan, None, peer_transport=transport, client_transport=transport)
        is_sound = run_and_judge(cluster)
    finally:
        left = load_cluster(folder)
        if left is not None:
            local_cluster.stop_nodes(left.nodes)
        if is_sound:
            shutil.rmtree(home)
        else:
            print(f"data and logs are kept in {folder}", file=sys.stderr)
    return 0 if is_sound else 1
