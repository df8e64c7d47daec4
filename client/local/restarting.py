"""Starts stopped nodes of a local cluster again, on their data."""

from __future__ import annotations

from collections.abc import Sequence

from ringmill.client.local import local_cluster
from ringmill.client.local.local_state import LocalCluster, LocalNode
from ringmill.cluster.errors import RingmillError

__all__ = ["RESTART_TIMEOUT_S", "start_again"]

RESTART_TIMEOUT_S = 30.0


async def start_again(
    cluster: LocalCluster, nodes: Sequence[LocalNode], timeout_s: float = RESTART_TIMEOUT_S
) -> LocalCluster:
    """Start nodes that have stopped, on their data, and wait until they serve."""
    from ringmill.client.local.local_forming import wait_local_ready

    cluster, started = local_cluster.start_nodes(cluster, nodes)
    handles = {one.node.id: one.process for one in started}
    try:
        await wait_local_ready(cluster, nodes, handles, timeout_s)
    except RingmillError as error:
        error.detail["changed"] = f"{' '.join(handles)} started again and left running"
        raise
    return cluster
