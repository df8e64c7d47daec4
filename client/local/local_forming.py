"""Forms a cluster of local processes, and shows the end of the log of a process that ended meanwhile.

The steps are in client/local/cluster_forming.py; this file adds what a local cluster knows: names, zones,
logs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from subprocess import Popen

from ringmill.client.administration.second_looks import SEEN_WITHIN_S
from ringmill.client.dialling.node_links import open_link
from ringmill.client.local import cluster_forming, local_cluster
from ringmill.client.local.cluster_forming import Effort, Shape
from ringmill.client.local.local_state import LocalCluster, LocalNode, read_token
from ringmill.client.local.log_files import tail
from ringmill.cluster.errors import Conflict, DeadlineExceeded, RingmillError
from ringmill.cluster.ring.topology import Topology

__all__ = ["RESTART_TIMEOUT_S", "are_formed", "form_local", "start_again", "wait_local_ready"]

RESTART_TIMEOUT_S = 30.0

Processes = Mapping[str, "Popen[bytes]"]


async def form_local(cluster: LocalCluster, started: Processes, timeout_s: float) -> Topology:
    """Form one cluster of the nodes of `cluster`, and wait until each is ready to serve.

    Raises RingmillError with the end of its log when a process ended; DeadlineExceeded when time ran out;
    Conflict as `cluster_forming.form`.
    """
    zones = {node.address: node.zone for node in cluster.nodes}
    shape = Shape(cluster.name, cluster.replicas, cluster.partitions, zones)
    try:
        return (
            await cluster_forming.form(_effort(cluster, cluster.nodes, started, timeout_s), shape)
        ).topology
    except DeadlineExceeded as error:
        raise _too_slow(cluster, error) from None
    except Conflict as error:
        if names := error.detail.get("other_disks"):
            error.hint = _lost_hint(cluster, names)
            if "waiting" in error.detail:
                program = f"ringmill --cluster {cluster.name} cluster"
                error.hint += (
                    f"; if the others cannot serve without, `{program} kill {' '.join(names)}` and "
                    f"`{program} recover {' '.join(names)}` first"
                )
        raise


async def are_formed(cluster: LocalCluster, timeout_s: float) -> bool:
    """Whether each node says in time that it belongs to a cluster, ready to serve or not."""
    return await cluster_forming.have_cluster(_effort(cluster, cluster.nodes, {}, timeout_s))


async def wait_local_ready(
    cluster: LocalCluster, nodes: Sequence[LocalNode], started: Processes, timeout_s: float
) -> None:
    """Wait until restarted nodes serve again.  Raises what `form_local` raises."""
    effort = _effort(cluster, nodes, started, timeout_s)
    try:
        await cluster_forming.wait_ready(effort)
    except DeadlineExceeded as error:
        slow = _too_slow(cluster, error)
        if effort.unformed:
            names = [effort.names[address] for address in effort.unformed]
            slow.detail["empty"] = names
            slow.hint = (
                f"{_lost_hint(cluster, names)}; a node that was never a member is added by "
                f"`cluster add {names[0]}`"
            )
        raise slow from None


async def start_again(
    cluster: LocalCluster, nodes: Sequence[LocalNode], timeout_s: float = RESTART_TIMEOUT_S
) -> LocalCluster:
    """Start nodes that have stopped, on their data, and wait until they serve.

    Then, for SEEN_WITHIN_S at most, until the other nodes that run and answer see them up: whoever ends
    another node next would else leave too few that know each other.  Returns the cluster with its new pids.
    Raises what `form_local` raises.
    """
    until = asyncio.get_running_loop().time() + timeout_s
    cluster, started = local_cluster.start_nodes(cluster, nodes)
    handles = {one.node.id: one.process for one in started}
    try:
        await wait_local_ready(cluster, nodes, handles, timeout_s)
    except RingmillError as error:
        error.detail["changed"] = f"{' '.join(handles)} started again and left running"
        error.outcome = "unknown"
        raise
    left_s = min(SEEN_WITHIN_S, until - asyncio.get_running_loop().time())
    running = [node for node in cluster.nodes if local_cluster.node_state(node) == "running"]
    if left_s > 0:
        effort = _effort(cluster, running, handles, left_s)
        await cluster_forming.wait_seen(effort, [node.id for node in nodes])
    return cluster


def _effort(
    cluster: LocalCluster, nodes: Sequence[LocalNode], started: Processes, timeout_s: float
) -> Effort:
    by_address = {node.address: node for node in nodes}
    effort = Effort(
        addresses=list(by_address),
        timeout_s=timeout_s,
        names={node.address: node.id for node in nodes},
        pids={node.address: cluster.node(node.id).pid for node in nodes},
        check=_watch(cluster, by_address, started),
    )
    if cluster.tls:
        from ringmill.client.local.authority.local_tls import tls_files_of

        token = read_token(cluster.folder)
        effort.dial = partial(open_link, tls=tls_files_of(cluster), token=token)
    return effort


def _watch(
    cluster: LocalCluster, by_address: Mapping[str, LocalNode], started: Processes
) -> Callable[[str], None]:
    """Raises for an address whose process, started by this command, has ended."""

    def check(address: str) -> None:
        node = by_address[address]
        process = started.get(node.id)
        if process is None or process.poll() is None:
            return
        path = cluster.log_path(node)
        last = "\n    ".join(tail(path, 5)) or "(the log is empty)"
        raise RingmillError(
            f"{node.id} ended while starting (exit code {process.returncode}); its log ends:\n    {last}",
            detail={"node": node.id, "exit_code": process.returncode, "log": path},
            hint=f"the whole log: {path}",
        )

    return check


def _lost_hint(cluster: LocalCluster, nodes: Sequence[str]) -> str:
    return (
        f"the folder of {' '.join(nodes)} is empty or another one: give the former one back, or if "
        f"it is lost `ringmill --cluster {cluster.name} cluster replace {nodes[0]}`"
    )


def _too_slow(cluster: LocalCluster, error: DeadlineExceeded) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"cluster {cluster.name} was {error.message}",
        detail=error.detail,
        hint=f"`ringmill --cluster {cluster.name} cluster logs` shows the logs of its nodes",
        outcome=error.outcome,
    )
