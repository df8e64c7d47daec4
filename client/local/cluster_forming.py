"""Forms a cluster: waits until all nodes listen, asks who they are, gives them the first topology.

Each step can be repeated: nodes that already belong to the cluster keep their document, and a node without
one gets the first document here, and a later one from the members.  A node on another disk than the document
names gets none, whatever is repeated, so it is told apart.  A node that has just started may be busy, so a
call that timed out is made again until the deadline of the whole. Rule T4: docs/protocol/topology.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from ringmill.client.dialling.node_links import open_link
from ringmill.client.routing.links import HEALTH, IDENTIFY, INIT, STATUS, TOPOLOGY, Link, Method
from ringmill.cluster.errors import Conflict, DeadlineExceeded, InvalidArgument, RingmillError, Unavailable
from ringmill.cluster.ids import FIRST_EPOCH, DiskId, NodeId
from ringmill.cluster.ring.topology import Member, Owner, Topology, first_topology
from ringmill.cluster.wire.stubs.membership_pb2 import StatusRequest
from ringmill.cluster.wire.stubs.topology_pb2 import (
    GetTopologyRequest,
    IdentifyRequest,
    IdentifyResponse,
    InitRequest,
)

__all__ = ["Effort", "Formed", "Shape", "form", "have_cluster", "wait_ready"]

T = TypeVar("T")
Answer = TypeVar("Answer", bound=Message)
POLL_S = 0.015
UNFORMED_S = 5.0
CALL_S = 2.0


@dataclass(frozen=True, slots=True)
class Shape:
    """The settings of a new cluster.

    `zones` maps addresses to zones; a node not in it keeps its own zone.
    """

    name: str
    replicas: int
    partitions: int
    zones: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Formed:
    """The cluster's topology, and the nodes that received it now: none when it was already formed."""

    topology: Topology
    joined: tuple[str, ...]


class _Stray(NamedTuple):
    """A node on another disk than the document names."""

    topology: Topology
    found: IdentifyResponse


def _no_process(address: str) -> None:
    """No process to check: this command did not start the node."""


@dataclass(slots=True)
class Effort:
    """One try to get nodes to serve: their addresses, the deadline, and what is still missing.

    `check` is called with each address while waiting for it, and raises when the node's process has ended.
    `pids` are the processes that must answer: two clusters that start at the same time may choose the same
    ports, and a node of the other cluster would be mistaken for ours.
    """

    addresses: Sequence[str]
    timeout_s: float
    names: Mapping[str, str] = field(default_factory=dict)
    pids: Mapping[str, int] = field(default_factory=dict)
    check: Callable[[str], None] = _no_process
    dial: Callable[[str], Link] = open_link
    waiting: dict[str, str] = field(default_factory=dict)
    unformed: list[str] = field(default_factory=list)  # restarted nodes whose folders belong to no cluster


async def form(effort: Effort, shape: Shape) -> Formed:
    """Form one cluster of the nodes, and wait until each is ready to serve.

    Raises RingmillError when another process answers; InvalidArgument when nodes belong to different
    clusters, or to one that does not name them all; what `effort.check` raises; DeadlineExceeded, which names
    what was still missing, when time ran out; Conflict, with `other_disks` in its detail, when all but nodes
    on other disks than the cluster names are ready, or when time ran out and there are such nodes.
    """
    strays: list[_Stray] = []
    try:
        formed = await _form_beside_strays(effort, shape, strays)
    except DeadlineExceeded as error:
        if strays:  # the others may wait for these
            raise _other_disks(strays, error) from None
        raise
    if strays:
        raise _other_disks(strays)
    return formed


async def _form_beside_strays(effort: Effort, shape: Shape, strays: list[_Stray]) -> Formed:
    """Form the cluster of the nodes on its own disks; nodes on other disks are added to `strays`."""
    async with _links(effort) as links:
        await _all(_listens(effort, address) for address in effort.addresses)
        await _all(_check_process(effort, links, address) for address in effort.addresses)
        asked = IdentifyRequest()
        identities = await _all(_ask(effort, links, one, IDENTIFY, asked) for one in effort.addresses)
        _check_distinct(effort, identities)
        topology = await _document(effort, links, identities, shape)
        by_address = dict(zip(effort.addresses, identities, strict=True))
        seated = {address: one for address, one in by_address.items() if topology.has_seat(_seat(one))}
        lacking = {address: one for address, one in seated.items() if not one.cluster}
        if topology.epoch == FIRST_EPOCH:  # a later one is offered by the members
            document = InitRequest(document=topology.encode())
            await _all(_ask(effort, links, address, INIT, document) for address in lacking)
        strays += [_Stray(topology, one) for address, one in by_address.items() if address not in seated]
        for address in by_address.keys() - seated.keys():
            effort.waiting.pop(address, None)
        await _all(_ready(effort, links, address) for address in seated)
    return Formed(topology, tuple(one.node for one in lacking.values()))


async def have_cluster(effort: Effort) -> bool:
    """Whether each node says in time that it belongs to a cluster, whichever."""
    try:
        async with _links(effort) as links:
            asked = IdentifyRequest()
            identities = await _all(_ask(effort, links, one, IDENTIFY, asked) for one in effort.addresses)
            return all(one.cluster for one in identities)
    except DeadlineExceeded:
        return False


async def wait_ready(effort: Effort) -> None:
    """Wait until restarted nodes serve again.

    For one whose folder is empty only a while: the others tell a member of its cluster, but wait for the
    operator's word when its disk is another one.  Raises what `form` raises.
    """
    async with _links(effort) as links:
        await _all(_listens(effort, address) for address in effort.addresses)
        await _all(_check_process(effort, links, address) for address in effort.addresses)
        asked = IdentifyRequest()
        identities = await _all(_ask(effort, links, one, IDENTIFY, asked) for one in effort.addresses)
        found = list(zip(effort.addresses, identities, strict=True))
        effort.unformed += [address for address, one in found if not one.cluster]
        await _all(_ready(effort, links, address) for address, one in found if one.cluster)
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(UNFORMED_S):
                await _all(_ready(effort, links, address) for address in effort.unformed)
        except TimeoutError:
            raise _too_slow(effort, asyncio.get_running_loop().time() - began) from None


@asynccontextmanager
async def _links(effort: Effort) -> AsyncIterator[Mapping[str, Link]]:
    """A link to each node until the deadline of the effort.  Raises DeadlineExceeded after it."""
    links = {address: effort.dial(address) for address in effort.addresses}
    loop = asyncio.get_running_loop()
    began = loop.time()
    try:
        async with asyncio.timeout(effort.timeout_s):
            yield links
    except TimeoutError:
        raise _too_slow(effort, loop.time() - began) from None
    finally:
        for link in links.values():
            await link.close()


def _check_distinct(effort: Effort, identities: Sequence[IdentifyResponse]) -> None:
    """Raise InvalidArgument when two addresses lead to one node, two nodes have the same id, or a node has
    another id than it is said to have."""
    seen: dict[str, str] = {}
    for address, one in zip(effort.addresses, identities, strict=True):
        if one.node != effort.names.get(address, one.node):
            raise InvalidArgument(
                f"{address} is {one.node}, not {effort.names[address]}",
                hint="a node has the name that its --id gives it",
            )
        if one.node in seen:
            raise InvalidArgument(
                f"{seen[one.node]} and {address} are both called {one.node}",
                hint="each node needs an --id and a data folder of its own",
            )
        seen[one.node] = address


async def _document(
    effort: Effort, links: Mapping[str, Link], identities: Sequence[IdentifyResponse], shape: Shape
) -> Topology:
    """The newest document that some node holds already, or a new one of epoch 1."""
    holders = {address: one.cluster for address, one in zip(effort.addresses, identities, strict=True)}
    holders = {address: cluster for address, cluster in holders.items() if cluster}
    if holders:
        known = GetTopologyRequest()
        answers = await _all(_ask(effort, links, address, TOPOLOGY, known) for address in holders)
        topology = max((Topology.decode(answer.document) for answer in answers), key=lambda each: each.epoch)
        if len({*holders.values()}) > 1:
            raise _apart(effort, holders, topology)
        _check_members(topology, identities)
        return topology
    members = [
        Member(
            id=NodeId(one.node),
            disk=DiskId(one.disk),
            address=one.address,
            zone=shape.zones.get(address) or one.zone or "default",
        )
        for address, one in zip(effort.addresses, identities, strict=True)
    ]
    quorum = shape.replicas // 2 + 1
    return first_topology(
        shape.name, members, partitions=shape.partitions, n=shape.replicas, r=quorum, w=quorum
    )


def _seat(one: IdentifyResponse) -> Owner:
    return Owner(NodeId(one.node), DiskId(one.disk))


def _check_members(topology: Topology, identities: Sequence[IdentifyResponse]) -> None:
    """Raise InvalidArgument for a node that the cluster's document does not know."""
    strangers = [one.node for one in identities if not topology.has_member(NodeId(one.node))]
    if strangers:
        raise InvalidArgument(
            f"cluster {topology.name} does not name {', '.join(strangers)}; its nodes are "
            f"{', '.join(topology.addresses())}",
            detail={"strangers": strangers},
            hint="`ringmill cluster add` gives a cluster that was formed another node",
        )


def _other_disks(strays: Sequence[_Stray], late: DeadlineExceeded | None = None) -> Conflict:
    """Nothing gives these nodes their places but an operator's word.  `late`: what is said of the others."""
    names = [found.node for _, found in strays]
    disks = [
        f"{found.node} has disk {found.disk}, not {topology.member(NodeId(found.node)).disk}"
        for topology, found in strays
    ]
    message = f"cluster {strays[0].topology.name} names other disks: {'; '.join(disks)}"
    hint = (
        f"give {' '.join(names)} the former data folder back, or if that is lost "
        f"`ringmill cluster replace {names[0]}`"
    )
    if late is None:
        return Conflict(message, detail={"other_disks": names}, hint=hint)
    return Conflict(
        f"{message}; {late.message}",
        detail={**late.detail, "other_disks": names},
        hint=f"{hint}; if the others cannot serve without, end these and `ringmill cluster recover "
        f"{' '.join(names)}` first",
    )


async def _listens(effort: Effort, address: str) -> None:
    """Whether a process listens.

    A plain connect can be retried quickly; gRPC would wait a second between tries.
    """
    host, _, port = address.rpartition(":")
    while True:
        effort.check(address)
        try:
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        except OSError as error:
            effort.waiting[address] = f"nobody listens ({error.strerror or error})"
            await asyncio.sleep(POLL_S)
            continue
        writer.close()
        effort.waiting.pop(address, None)
        return


async def _check_process(effort: Effort, links: Mapping[str, Link], address: str) -> None:
    """Raise RingmillError when a process other than ours answers."""
    ours = effort.pids.get(address)
    if ours is None:
        return
    answering = (await _ask(effort, links, address, STATUS, StatusRequest())).pid
    if answering != ours:
        effort.check(address)  # a clearer error when ours has ended because the port was taken
        raise RingmillError(
            f"{address} is answered by pid {answering}, and {_named(effort, address)} is pid {ours}",
            hint="another cluster took the port; choose another --base-port",
        )


def _apart(effort: Effort, holders: Mapping[str, str], newest: Topology) -> InvalidArgument:
    """Why nodes of several clusters are not one: those that an operator gave up may run as before (T9)."""
    given_up = {each.address: each.id for each in newest.members if each.is_given_up}
    behind = [address for address, cluster in holders.items() if cluster in newest.formers]
    if former := sorted(given_up[address] for address in behind if address in given_up):
        return InvalidArgument(
            f"{', '.join(former)} belongs to a former cluster: the others go on without its disk",
            hint="end its process; `ringmill node reset DIR` makes its folder that of an empty disk, and "
            "`ringmill cluster replace NODE` gives that its place",
        )
    one_each = {cluster: address for address, cluster in holders.items()}
    return InvalidArgument(
        f"{' and '.join(_named(effort, one) for one in one_each.values())} belong to different clusters",
        hint="list the nodes of one cluster only, or start the others on new data folders",
    )


async def _ask(
    effort: Effort, links: Mapping[str, Link], address: str, method: Method[Answer], request: Message
) -> Answer:
    """Ask until there is an answer.  Every call here may be repeated safely."""
    effort.waiting.setdefault(address, "listens, has not answered yet")
    while True:
        effort.check(address)
        try:
            return await links[address].call(method, request, CALL_S)
        except (Unavailable, DeadlineExceeded) as error:
            effort.waiting[address] = error.message
            await asyncio.sleep(POLL_S)


async def _ready(effort: Effort, links: Mapping[str, Link], address: str) -> None:
    question = HealthCheckRequest(service="readiness")
    while (await _ask(effort, links, address, HEALTH, question)).status != HealthCheckResponse.SERVING:
        effort.waiting[address] = "answers, is not ready to serve"
        await asyncio.sleep(POLL_S)
    effort.waiting.pop(address, None)


def _too_slow(effort: Effort, took_s: float) -> DeadlineExceeded:
    late = [f"{_named(effort, address)} {why}" for address, why in effort.waiting.items()]
    return DeadlineExceeded(
        f"not ready after {took_s:.1f} s: {'; '.join(late) or 'no node answered'}",
        detail={"waiting": {_named(effort, address): why for address, why in effort.waiting.items()}},
        hint="use a longer --timeout; the logs of the nodes say what they are doing",
    )


def _named(effort: Effort, address: str) -> str:
    name = effort.names.get(address)
    return f"{name} ({address})" if name else address


async def _all(work: Iterable[Awaitable[T]]) -> list[T]:
    """All results in order; the first failure cancels the others and is raised unwrapped."""
    tasks = [asyncio.ensure_future(one) for one in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
