"""Does to the nodes of a local cluster what a schedule says, and puts all of them back.

Only processes that the cluster's record names, by pid and start mark, are signalled
(client/local/processes.py).  The caller holds the cluster's lock.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from dataclasses import dataclass

from ringmill.client.chaos.fault_schedule import FaultStep, NodeFault
from ringmill.client.local import local_cluster, processes
from ringmill.client.local.local_cluster import KILL_PATIENCE_S
from ringmill.client.local.local_forming import RESTART_TIMEOUT_S, start_again, wait_local_ready
from ringmill.client.local.local_state import LocalNode

__all__ = ["Outage", "apply_step", "put_back"]


@dataclass(frozen=True, slots=True)
class Outage:
    """A node was away from `at_s` on for `away_s` seconds, until it served again.

    `start_s`: the part of it after the start of its new process; None for a pause, which ends no process.
    """

    at_s: float
    node: str
    kind: NodeFault
    away_s: float
    start_s: float | None


async def apply_step(folder: str, step: FaultStep, at_s: float) -> list[Outage]:
    """One step, from its fault until all of its nodes serve again.  It begins at `at_s`.

    Raises NotFound for a node that is not running, RingmillError or DeadlineExceeded for one that does not
    come back.
    """
    now = asyncio.get_running_loop().time
    nodes = local_cluster.required_cluster(folder).chosen(step.nodes)
    began = now()
    if step.kind == "pause":
        _signal_all(nodes, signal.SIGSTOP)
        await asyncio.sleep(step.lasts_s)
        _signal_all(nodes, signal.SIGCONT)
        return [Outage(at_s, node.id, step.kind, now() - began, None) for node in nodes]
    if step.kind == "kill":
        _signal_all(nodes, signal.SIGKILL)
        for node in nodes:
            await asyncio.to_thread(processes.wait_gone, node.pid, node.started, KILL_PATIENCE_S)
        await asyncio.sleep(step.lasts_s)
    else:
        await asyncio.to_thread(local_cluster.stop_nodes, nodes)
    restarted = now()
    await start_again(local_cluster.required_cluster(folder), nodes)
    ended = now()
    return [Outage(at_s, node.id, step.kind, ended - began, ended - restarted) for node in nodes]


async def put_back(folder: str, names: Sequence[str], timeout_s: float = RESTART_TIMEOUT_S) -> list[str]:
    """Resume those of the nodes that are paused, start those that are stopped, and wait until all serve.

    Returns the ids of those that were paused or stopped.  Raises RingmillError or DeadlineExceeded for those
    that do not come back.
    """
    nodes = local_cluster.required_cluster(folder).chosen(names)
    states = {node.id: local_cluster.node_state(node) for node in nodes}
    _signal_all([node for node in nodes if states[node.id] == "paused"], signal.SIGCONT)
    if stopped := [node for node in nodes if states[node.id] == "stopped"]:
        await start_again(local_cluster.required_cluster(folder), stopped, timeout_s)
    cluster = local_cluster.required_cluster(folder)
    await wait_local_ready(cluster, cluster.chosen(names), {}, timeout_s)
    return [name for name, state in states.items() if state != "running"]


def _signal_all(nodes: Sequence[LocalNode], number: signal.Signals) -> None:
    for node in nodes:
        local_cluster.signal_node(node, number)
