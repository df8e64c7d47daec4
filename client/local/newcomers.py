"""A node that comes to a local cluster, and one that has left it: their processes and their records."""

from __future__ import annotations

import os
import shutil
import socket
import time
from typing import Final

from ringmill.client.local import local_cluster, tcp_ports
from ringmill.client.local.local_state import LocalCluster, LocalNode, check_node_id, save_cluster
from ringmill.client.local.tcp_ports import PortTaken
from ringmill.cluster.errors import InvalidArgument, Unavailable

__all__ = ["next_node", "start_newcomer", "stop_and_forget", "take_back"]

_LOOK_S: Final = 0.1
_CONNECT_S: Final = 1.0
_PORTS: Final = 65536


def next_node(cluster: LocalCluster, name: str | None = None, zone: str | None = None) -> LocalNode:
    """The node that comes next, on the first port after the last one that nobody has, also for metrics; or
    the one of that name that is there.

    Raises InvalidArgument for what is not a name, and for one whose folder another node left: its disk was in
    the cluster before (I2).  PortTaken when no later port is free.
    """
    if name is not None:
        check_node_id(name)
    if name is not None and any(node.id == name for node in cluster.nodes):
        return cluster.node(name)
    names = [*(node.id for node in cluster.nodes), *os.listdir(cluster.folder)]
    numbers = [int(each[1:]) for each in names if each[:1] == "n" and each[1:].isdecimal()]
    port = _free_port(cluster)
    host = cluster.nodes[0].address.rpartition(":")[0]
    fresh = LocalNode(name or f"n{max(numbers, default=0) + 1}", f"{host}:{port}", zone or "")
    if not local_cluster.holds_data(cluster, fresh):
        return fresh
    folder = cluster.data_folder(fresh)
    raise InvalidArgument(
        f"{folder} holds the data of a former {fresh.id}",
        hint=f"choose another name; `ringmill node reset {folder}` frees this one",
    )


def _free_port(cluster: LocalCluster) -> int:
    taken = {port for node in cluster.nodes for port in (node.port, cluster.metrics_port(node))}
    first = max(node.port for node in cluster.nodes) + 1
    for port in range(first, tcp_ports.LIMIT):
        wanted = {port, port + cluster.metrics_shift}
        if taken.isdisjoint(wanted) and all(map(_is_free, wanted)):
            return port
    raise PortTaken(f"cluster {cluster.name} finds no free port from {first} to {tcp_ports.LIMIT - 1}")


def _is_free(port: int) -> bool:
    return 0 < port < _PORTS and tcp_ports.is_free(port)


def start_newcomer(folder: str, fresh: LocalNode, timeout_s: float) -> bool:
    """Start its process unless it runs, write it down, and wait until it listens.

    Returns whether nobody had written it down before: else it may be what another command adds.  Raises
    PortTaken; Unavailable when it does not listen in time.  Then nothing is left of one that was new, but its
    log, so that its name and port are free.
    """
    with local_cluster.exclusively(folder):
        cluster = local_cluster.required_cluster(folder)
        is_first = all(node.id != fresh.id for node in cluster.nodes)
        if is_first:
            cluster = cluster.with_new(fresh)
        ended = None
        if local_cluster.node_state(cluster.node(fresh.id)) == "stopped":
            cluster, (started,) = local_cluster.start_nodes(cluster, [cluster.node(fresh.id)])
            ended = started.process.poll
    host, _, port = fresh.address.rpartition(":")
    until = time.monotonic() + timeout_s
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_S).close()
        except OSError as error:
            if (ended is not None and ended() is not None) or time.monotonic() > until:
                if is_first:
                    take_back(folder, fresh.id)
                raise Unavailable(
                    f"{fresh.id} did not start at {fresh.address}, and was not added",
                    hint=f"the same command tries again; its log: {cluster.log_path(fresh)}",
                ) from error
            time.sleep(_LOOK_S)
        else:
            return is_first


def stop_and_forget(folder: str, name: str) -> None:
    """Stop a node that is not a member any more, if it is one of this local cluster; its folder stays.

    Raises RingmillError when its process does not end.
    """
    with local_cluster.exclusively(folder):
        cluster = local_cluster.required_cluster(folder)
        if any(node.id == name for node in cluster.nodes):
            local_cluster.stop_nodes([cluster.node(name)])
            save_cluster(cluster.without(name))


def take_back(folder: str, name: str) -> None:
    """Stop a newcomer that has come into no cluster, and delete its folder, so that its name is free again.

    Raises RingmillError when its process does not end; then the folder stays.
    """
    cluster = local_cluster.required_cluster(folder)
    fresh = cluster.node(name)
    stop_and_forget(folder, name)
    shutil.rmtree(cluster.data_folder(fresh), ignore_errors=True)
