"""Forms a cluster: waits until all nodes listen, asks who they are, gives them the first topology.

Each step can be repeated, and taken by several at once: nodes that already belong to the cluster keep their
document, and a node without one gets the first document here, and a later one from the members.  A node on
another disk than the document names gets none, whatever is repeated, so it is told apart.  A node that has
just started may be busy, so a call that timed out is made again until the deadline of the whole.
Rule T4: docs/protocol/topology.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from google.protobuf.message import Message
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from ringmill.client.administration.second_looks import IN_SERVICE
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

__all__ = ["Effort", "Formed", "Shape", "form", "have_cluster", "wait_ready", "wait_seen"]

T = TypeVar("T")
Answer = TypeVar("Answer", bound=Message)
POLL_S = 0.015
LOOK_S = 0.05
UNFORMED_S = 5.0
CALL_S = 2.0


def _as_it_is(topology: Topology) -> None:
    """Whichever cluster the nodes are is taken."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The settings of a new cluster.

    `zones` maps addresses to zones; a node not in it keeps its own zone.  `check` is called with the document
    that nodes hold already, before others are given it, and raises InvalidArgument when another cluster is
    meant.
    """

    name: str
    replicas: int
    partitions: int
    zones: Mapping[str, str] = field(default_factory=dict)
    check: Callable[[Topology], None] = _as_it_is


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
    is_begun: bool = False  # a node was given the first document, or may have been
    unformed: list[str] = field(default_factory=list)  # restarted nodes whose folders belong to no cluster


async def form(effort: Effort, shape: Shape) -> Formed:
    """Form one cluster of the nodes, and wait until each is ready to serve.

    Raises RingmillError when another process answers; InvalidArgument when nodes belong to different
    clusters, or to one that does not name them all, or when a node refuses the document, with those that were
    given it before in its detail; what `effort.check` and `shape.check` raise; DeadlineExceeded, which names
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
        topology, by_address = await _one_document(effort, links, shape)
        seated = {address: one for address, one in by_address.items() if topology.has_seat(_seat(one))}
        lacking = {address: one for address, one in seated.items() if not one.cluster}
        if topology.epoch == FIRST_EPOCH:  # a later one is offered by the members
            await _give(effort, links, topology, lacking)
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


async def wait_seen(effort: Effort, started: Collection[str]) -> bool:
    """Wait until each node of `effort` that answers sees those that have started up, by their ids.

    Until then it asks them last, and tells clients that they are down.  One that does not answer is not
    waited for.  False when the time of the effort was over first: they serve all the same.
    """
    try:
        async with _links(effort) as links:
            await _all(_sees(links[address], started) for address in effort.addresses)
    except DeadlineExceeded:
        return False
    return True


async def _sees(link: Link, started: Collection[str]) -> None:
    while True:
        try:
            view = await link.call(STATUS, StatusRequest(), CALL_S)
        except RingmillError:
            return
        if all(each.state in IN_SERVICE for each in view.members if each.id in started):
            return
        await asyncio.sleep(LOOK_S)


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


async def _one_document(
    effort: Effort, links: Mapping[str, Link], shape: Shape
) -> tuple[Topology, dict[str, IdentifyResponse]]:
    """The document of these nodes, held by one of them at least, and who they are, by address.

    The first node by name gets a new one before all others.  When somebody else forms these nodes meanwhile,
    one of the two documents is refused there, and whoever brought it goes on with the other one, if that is
    what is meant.
    """
    asked = IdentifyRequest()
    while True:
        identities = await _all(_ask(effort, links, one, IDENTIFY, asked) for one in effort.addresses)
        _check_distinct(effort, identities)
        topology = await _document(effort, links, identities, shape)
        by_address = dict(zip(effort.addresses, identities, strict=True))
        if any(one.cluster for one in identities):
            return topology, by_address
        first = min(by_address, key=lambda address: by_address[address].node)
        try:
            await _give(effort, links, topology, {first: by_address[first]})
        except InvalidArgument:
            if not (await _ask(effort, links, first, IDENTIFY, asked)).cluster:
                raise
        else:
            return topology, by_address


async def _give(
    effort: Effort, links: Mapping[str, Link], topology: Topology, lacking: Mapping[str, IdentifyResponse]
) -> None:
    """Give nodes the first document in the order of their names, and nobody behind one that refuses it (T4).

    All who form take the nodes that they share in one order.  So a document that is refused at the first of
    them has reached none of the others.
    """
    document = InitRequest(document=topology.encode())
    given: list[str] = []
    for address in sorted(lacking, key=lambda each: lacking[each].node):
        node = lacking[address].node
        effort.is_begun = True
        try:
            await _ask(effort, links, address, INIT, document)
        except InvalidArgument as error:
            raise _refused(topology, node, given, error) from None
        given.append(node)


def _refused(topology: Topology, node: str, given: Sequence[str], why: InvalidArgument) -> InvalidArgument:
    """`given` have the document now, which nobody can take back from them."""
    message = f"{node} refuses the first document of cluster {topology.name}: {why.message}"
    if not given:
        return InvalidArgument(message, detail=why.detail, hint=why.hint)
    names = ", ".join(given)
    return InvalidArgument(
        message,
        detail={**why.detail, "given": [*given], "changed": f"{names} took it before, and no other node"},
        hint=f"form the nodes of one cluster only; if this one serves nothing, end {names} first, and "
        "`ringmill node reset DIR` frees each",
        outcome="unknown",
    )


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
        try:
            _check_members(topology, identities)
            shape.check(topology)
        except InvalidArgument as error:
            if topology.epoch == FIRST_EPOCH and not await _serve(effort, links, holders):
                error.hint = _unformed_hint(topology, [one.node for one in identities if one.cluster])
            raise
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


async def _serve(effort: Effort, links: Mapping[str, Link], holders: Iterable[str]) -> bool:
    """Whether one of the nodes at these addresses is ready."""
    question = HealthCheckRequest(service="readiness")
    answers = await _all(_ask(effort, links, address, HEALTH, question) for address in holders)
    return any(answer.status == HealthCheckResponse.SERVING for answer in answers)


def _unformed_hint(topology: Topology, holders: Sequence[str]) -> str:
    has, serves = ("has", "serves") if len(holders) == 1 else ("have", "serve")
    return (
        f"{', '.join(holders)} {has} its first document and {serves} nothing: if it was never formed, form "
        f"{', '.join(topology.addresses())} with its settings, or end {', '.join(holders)}, and "
        "`ringmill node reset DIR` frees each"
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
        outcome="unknown" if effort.is_begun else "failed",
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
