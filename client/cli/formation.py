"""Makes node processes one cluster: wait until all listen, ask who they are, hand out the first topology.

Each step can be repeated: nodes that belong to the cluster already keep what they have, and a node that lacks
the document is given the one the others hold.  Rule: docs/architecture.md, "Topology".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from subprocess import Popen
from typing import TypeVar

from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from client.cli.local_state import LocalCluster, LocalNode
from client.cli.log_files import tail
from client.connection import open_link
from client.links import HEALTH, IDENTIFY, INIT, TOPOLOGY, Link
from cluster.errors import DeadlineExceeded, RingmillError, Unavailable
from cluster.ids import DiskId, NodeId
from cluster.ring.topology import Member, Topology, first_topology
from cluster.wire.topology_pb2 import GetTopologyRequest, IdentifyRequest, IdentifyResponse, InitRequest

__all__ = ["form", "wait_ready"]

Processes = Mapping[str, "Popen[bytes]"]
T = TypeVar("T")
POLL_S = 0.015
CALL_S = 2.0


async def form(cluster: LocalCluster, started: Processes, timeout_s: float) -> Topology:
    """Make the nodes of `cluster` one cluster, and wait until each is ready to serve.

    Raises RingmillError with the end of its log when a process ended, DeadlineExceeded when time ran out.
    """
    links = {node.id: open_link(node.address) for node in cluster.nodes}
    try:
        async with asyncio.timeout(timeout_s):
            await _all(_listens(cluster, node, started) for node in cluster.nodes)
            identities = await _all(_identify(links[node.id]) for node in cluster.nodes)
            topology = await _first_document(cluster, links, identities)
            document = InitRequest(document=topology.encode())
            lacking = [one.node for one in identities if not one.cluster]
            await _all(links[node].call(INIT, document, CALL_S) for node in lacking)
            await _all(_ready(cluster, node, links[node.id], started) for node in cluster.nodes)
            return topology
    except TimeoutError:
        raise _too_slow(cluster, timeout_s) from None
    finally:
        for link in links.values():
            await link.close()


async def wait_ready(
    cluster: LocalCluster, nodes: Sequence[LocalNode], started: Processes, timeout_s: float
) -> None:
    """Wait until restarted nodes serve again.  Raises as `form` does."""
    links = {node.id: open_link(node.address) for node in nodes}
    try:
        async with asyncio.timeout(timeout_s):
            await _all(_listens(cluster, node, started) for node in nodes)
            await _all(_ready(cluster, node, links[node.id], started) for node in nodes)
    except TimeoutError:
        raise _too_slow(cluster, timeout_s) from None
    finally:
        for link in links.values():
            await link.close()


async def _first_document(
    cluster: LocalCluster, links: Mapping[str, Link], identities: Sequence[IdentifyResponse]
) -> Topology:
    """The document that some node holds already, or a new one of epoch 1."""
    for identity in identities:
        if identity.cluster:
            answer = await links[identity.node].call(TOPOLOGY, GetTopologyRequest(), CALL_S)
            return Topology.decode(answer.document)
    zones = {node.id: node.zone for node in cluster.nodes}
    members = [
        Member(
            id=NodeId(one.node),
            disk=DiskId(one.disk),
            address=one.address,
            zone=zones.get(one.node) or one.zone or "default",
        )
        for one in identities
    ]
    quorum = cluster.replicas // 2 + 1
    return first_topology(
        cluster.name, members, partitions=cluster.partitions, n=cluster.replicas, r=quorum, w=quorum
    )


async def _listens(cluster: LocalCluster, node: LocalNode, started: Processes) -> None:
    host, _, port = node.address.rpartition(":")
    while True:
        _check_alive(cluster, node, started)
        try:
            _, writer = await asyncio.open_connection(host, int(port))
        except OSError:
            await asyncio.sleep(POLL_S)
            continue
        writer.close()
        return


async def _identify(link: Link) -> IdentifyResponse:
    while True:
        try:
            return await link.call(IDENTIFY, IdentifyRequest(), CALL_S)
        except Unavailable:
            await asyncio.sleep(POLL_S)


async def _ready(cluster: LocalCluster, node: LocalNode, link: Link, started: Processes) -> None:
    question = HealthCheckRequest(service="readiness")
    while True:
        _check_alive(cluster, node, started)
        try:
            answer = await link.call(HEALTH, question, CALL_S)
        except Unavailable:
            answer = HealthCheckResponse()
        if answer.status == HealthCheckResponse.SERVING:
            return
        await asyncio.sleep(POLL_S)


def _check_alive(cluster: LocalCluster, node: LocalNode, started: Processes) -> None:
    process = started.get(node.id)
    if process is None or process.poll() is None:
        return
    path = cluster.log_path(node)
    last = "\n    ".join(tail(path, 5)) or "(it said nothing)"
    raise RingmillError(
        f"{node.id} ended while starting (exit code {process.returncode}); its last words:\n    {last}",
        detail={"node": node.id, "exit_code": process.returncode, "log": path},
        hint=f"the whole log: {path}",
    )


def _too_slow(cluster: LocalCluster, timeout_s: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"cluster {cluster.name} was not ready after {timeout_s:g} s",
        hint=f"`ringmill --cluster {cluster.name} cluster logs` shows what its nodes say",
    )


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """All results in order; the first failure ends the others and is raised as itself."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
