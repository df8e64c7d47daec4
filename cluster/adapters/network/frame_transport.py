"""The Transport door: three long-lived streams of frames to each peer, dialled by the side that asks.

Control has a connection of its own, and so has bulk, so that a probe never waits behind data and a long
frame never stands before a short one.  Streams are dialled when first used.  Everything that does not depend
on what carries the frames is here: who may ask, links and their backoff, the end.  A carrier only dials
(`Carrier`) and accepts: it asks `admit_peer` or `admit_client`, says the introduction of what it was given,
then calls `answer`.

Rules F1, F6, F7 and F9: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType
from typing import Final, Self

from ringmill.cluster.access.callers import Permissions
from ringmill.cluster.adapters.network.access.client_door import ClientDoor
from ringmill.cluster.adapters.network.answered_stream import Dialler
from ringmill.cluster.adapters.network.answering import Answering
from ringmill.cluster.adapters.network.frame_link import FrameLink
from ringmill.cluster.adapters.network.frame_stream import Carrier, FrameStream
from ringmill.cluster.adapters.network.handshake import Introduction
from ringmill.cluster.adapters.network.link_proofs import (
    BETWEEN_NODES,
    WITH_CLIENT,
    DialledProof,
    LinkSecret,
)
from ringmill.cluster.complaints import Complaints
from ringmill.cluster.errors import PermissionDenied, ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.ids import ClusterId, NodeId
from ringmill.cluster.limits import MAX_CLIENT_MESSAGE_BYTES
from ringmill.cluster.meters.request_meter import RequestMeter
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.overload.told_loads import ToldLoads
from ringmill.cluster.ports import BatchHandler, Clock, Ended, Entropy, Handler, Priority
from ringmill.cluster.traces.spans import CallTracer
from ringmill.cluster.wire.frames import MAX_FRAME_BYTES, decode_proof
from ringmill.cluster.wire.sending_time import microseconds

__all__ = ["CLIENT_PREFIX", "Welcome", "FrameTransport"]

CLIENT_PREFIX: Final = "kv."  # methods that a client may call on its session
BETWEEN_CLUSTERS: Final = ("topology.pull", "topology.offer")
"""What a node may ask that has not gone over to the cluster made of its own yet, and be asked (rule T9)."""

PROOF_TIMEOUT_S: Final = 5.0  # for an admitted node to prove itself
RETIRING_S: Final = 30.0  # for what is under way on a link that a newer one has replaced
ENDING_S: Final = 1.0  # the same on a stream of somebody who may not go on
DIAL_TIMEOUT_S: Final = 1.5  # well below a request's deadline, so that there is time to turn to another peer
CONTROL_DIAL_TIMEOUT_S: Final = 4.0  # nobody turns to another one there; a first dial is seven round trips

_log = logging.getLogger(__name__)

_CONTROL: Final = "control"
_CLASSES: Final = (_CONTROL, "data", "bulk")
_CLASS_OF: Final = {
    Priority.CONTROL: 0,
    Priority.WRITE: 1,
    Priority.READ: 1,
    Priority.REPAIR: 2,
    Priority.BULK: 2,
}


@dataclass(frozen=True, slots=True)
class Welcome:
    """Who dialled a stream, and what this side answers."""

    dialler: Dialler
    introduction: Introduction
    is_proof: Callable[[bytes], bool] | None = None  # of the dialler's first frame; None: nothing to prove
    keys_shown: Callable[[bytes], frozenset[bytes]] = lambda _: frozenset()
    """By the same frame: of which of the cluster's secrets."""


class FrameTransport:
    """Calls between nodes, by id.  `async with` owns its connections and tasks.

    `cluster` is the one that this node belongs to, None until it has joined one; a peer of another one is
    refused on either side, but for control links between a cluster and the one it was made of.  So is one
    that does not know the `secret`; "" asks nobody for it.  Clients may dial this node at the `addresses`
    ("host:port"); what it proves to them holds these.
    """

    def __init__(
        self,
        node_id: NodeId,
        carrier: Carrier,
        *,
        clock: Clock,
        entropy: Entropy,
        cluster: ClusterId | None = None,
        secret: str = "",
        addresses: Sequence[str] = ("",),
        max_frame_bytes: int = MAX_FRAME_BYTES,
    ) -> None:
        self._node_id = node_id
        self._carrier = carrier
        self._clock = clock
        self._entropy = entropy
        self._cluster = cluster
        self._formers: tuple[str, ...] = ()
        self._secret = LinkSecret(secret, entropy)
        self.door = ClientDoor(node_id, secret, tuple(addresses), entropy)
        """Who clients are."""
        self._complaints = Complaints(node_id, clock)
        self._max_frame_bytes = max_frame_bytes
        self._peer_offer = self._client_offer = ""
        self.clients_prove = False
        """Whether a session is refused to a client that does not prove that it knows the secret."""
        self._handlers: dict[str, Handler] = {}
        self._batch_handlers: dict[str, BatchHandler] = {}
        self._addresses: dict[NodeId, str] = {}
        self._links: dict[NodeId, tuple[FrameLink, ...]] = {}
        self._retiring: set[FrameLink] = set()
        self._on_break: list[Callable[[NodeId], None]] = []
        self._told_loads = ToldLoads()

    async def __aenter__(self) -> Self:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self._answering = Answering(
            self._handlers,
            batch_handlers=self._batch_handlers,
            name=self._node_id,
            clock=self._clock,
            group=self._group,
            max_frame_bytes=self._max_frame_bytes,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._answering.close()  # first, as a handler still at work would open a link again
        self._addresses.clear()  # a call that fails now may cause another one, which opens no link any more
        for links in [*self._links.values(), tuple(self._retiring)]:
            for link in links:
                await link.close()
        if isinstance(error, asyncio.CancelledError):
            await self._group.__aexit__(kind, error, trace)  # it knows whether it was its own doing
        else:
            await self._group.__aexit__(None, None, None)

    def join(self, cluster: ClusterId, *formers: str) -> None:
        """The node belongs to this cluster from now on, which was made of `formers`.

        When it goes over from another one, its links are replaced, and streams are ended whose diallers said
        that they were of another one, or may ask little as this node was.  So it is when it belongs to its
        first one: what began before has no limits.  Who belonged to none either dials anew itself.
        """
        former = self._cluster
        self._cluster, self._formers = cluster, formers
        if cluster != former:
            self._replace_links()
            allowed = (cluster,) if former is not None else (cluster, "")
            self._answering.end_streams(
                lambda each: (
                    bool(each.node) and (each.cluster not in allowed or each.prefix == BETWEEN_CLUSTERS)
                ),
                ENDING_S,
            )

    def change_secret(self, secret: str) -> None:
        """The cluster's secret is this one from now on (rule F9).

        Links to others are replaced by new ones, so that none rests on a proof of a secret that is given up
        later.  Streams of those who have proved no secret that is still accepted are ended.
        """
        self._secret.change(secret)
        self.door.change(secret)
        self._replace_links()
        count = self._answering.end_streams(
            lambda dialler: bool(dialler.keys) and not self._secret.knows_one_of(dialler.keys), ENDING_S
        )
        if count:
            _log.info("%s ends %d streams that the former secret had opened", self._node_id, count)

    def end_idle(self, most: int) -> int:
        """End the streams of clients that have asked nothing for long; see `Answering.end_idle`."""
        return self._answering.end_idle(most)

    def _replace_links(self) -> None:
        for node in list(self._links):
            for link in self._links.pop(node):
                self._retiring.add(link)
                self._group.create_task(self._retire(link))

    async def _retire(self, link: FrameLink) -> None:
        await link.retire(RETIRING_S)
        self._retiring.discard(link)

    def offer(self, *, peers: str, clients: str) -> None:
        """Where frames are taken beside gRPC, as cluster/wire/offers.py has it; "" nowhere."""
        self._peer_offer, self._client_offer = peers, clients

    def set_peers(self, addresses: Mapping[NodeId, str]) -> None:
        """Learn where nodes listen ("host:port"); a node not named any more is disconnected."""
        for node in list(self._links):
            if addresses.get(node) != self._addresses.get(node):
                for link in self._links.pop(node):
                    self._group.create_task(link.close())
        self._addresses = dict(addresses)

    def on_break(self, listener: Callable[[NodeId], None]) -> None:
        self._on_break.append(listener)

    def serve(self, method: str, handler: Handler) -> None:
        """Answer calls of `method`; an unknown method is refused as ProtocolMismatch."""
        assert method not in self._handlers, f"{method} has a handler already"
        self._handlers[method] = handler

    def serve_batch(self, method: str, handler: BatchHandler) -> None:
        """Answer calls of `method`, all calls of a frame at a time."""
        assert method not in self._batch_handlers, f"{method} has a handler already"
        self._batch_handlers[method] = handler

    def send(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority, ended: Ended
    ) -> None:
        """Ask a node without waiting: `ended` is told what `call` would return or raise."""
        try:
            link = (self._links.get(to) or self._open(to))[_CLASS_OF[priority]]
        except RingmillError as error:
            ended(error)
            return
        link.send(method, body, timeout_s, priority, ended)

    async def call(
        self, to: NodeId, method: str, body: bytes, *, timeout_s: float, priority: Priority
    ) -> bytes:
        """Ask a node and wait for its answer.

        Raises what the handler raised; DeadlineExceeded after `timeout_s`; Unavailable when the node cannot
        be reached ("failed": certainly nothing was sent); Overloaded when too much waits to be sent to it.
        """
        links = self._links.get(to) or self._open(to)
        return await links[_CLASS_OF[priority]].call(method, body, timeout_s, priority)

    def busy(self) -> Mapping[str, int]:
        """Nodes that say that they have much under way; see BatchTransport (ringmill.cluster.ports)."""
        return self._told_loads.quarters(self._clock.monotonic())

    def say_leaving(self) -> int:
        """Tell clients to ask another node, and answer on.  Returns how many there are (rule T10)."""
        return self._answering.say_leaving()

    async def drain(self, timeout_s: float) -> None:
        """Refuse new calls, wait up to `timeout_s` until those under way are answered, end all streams.

        The first half of stopping without an error for anyone; the second is to stop what accepts streams.
        """
        await self._answering.drain(timeout_s)

    def admit_peer(self, introduction: Introduction) -> Welcome:
        """What a stream between nodes may ask.  Raises the RingmillError that its dialler is to be told."""
        if not introduction.node:
            raise ProtocolMismatch(
                f"{self._node_id}: a link came without the name of its node (ringmill-node)"
            )
        if introduction.node == self._node_id:
            raise ProtocolMismatch(f"{self._node_id} was dialled by a node of the same name")
        self._check_cluster(introduction, introduction.traffic_class)
        dialler = Dialler(
            NodeId(introduction.node),
            BETWEEN_CLUSTERS if self._is_foreign(introduction) else "",
            gathers=introduction.traffic_class != _CONTROL,
            takes_load=introduction.takes_load,
            cluster=introduction.cluster,
        )
        return self._admitted(dialler, introduction)

    def admit_client(self, introduction: Introduction) -> Welcome:
        """What a client's session may ask: methods "kv.*" only.  Raises as `admit_peer`.

        A client that gives a nonce is given a proof, and has to prove itself, too.
        """
        dialler = Dialler(
            NodeId(""),
            CLIENT_PREFIX,
            Priority.WRITE,
            max_frame_bytes=MAX_CLIENT_MESSAGE_BYTES,
            takes_runs=introduction.takes_runs,
            takes_load=introduction.takes_load,
            is_screened=True,
            standing=self.door.standing(introduction),
        )
        return self._admitted(dialler, introduction)

    def prove(self, metadata: Mapping[str, str], path: str) -> Mapping[str, str]:
        """What the answer to a plain call of the method at `path` begins with, given the texts of the call:
        a proof for a caller that asks for one, if this node has a secret (rule F6)."""
        return self.door.prove(metadata, path)

    def authorize_by(self, permissions: Permissions) -> None:
        """Have this decide what clients may ask."""
        self.door.permissions = permissions

    def admit_by(self, gate: Gate) -> None:
        """Have a gate look at what clients ask before anything is made of it."""
        self._answering.gate = gate

    def meter_by(self, meter: RequestMeter) -> None:
        """Have this count what clients ask, on streams that begin from now on."""
        self._answering.meter = meter

    def trace_by(self, tracer: CallTracer) -> None:
        """Have this record what is asked here.  Streams that are accepted from now on take traces."""
        self._answering.tracer = tracer

    def streams(self) -> tuple[int, int]:
        """How many streams clients have open here, and how many other nodes."""
        return self._answering.streams()

    async def answer(self, stream: FrameStream, welcome: Welcome) -> None:
        """Answer an accepted stream until either side ends it.

        Raises PermissionDenied and ProtocolMismatch, which the dialler is to be told; Unavailable when the
        dialler is gone, or this node is going: what was asked for goes on.  So it does when the node has gone
        over to another cluster since it admitted a peer, which dials anew.
        """
        dialler, node = welcome.dialler, welcome.dialler.node
        if welcome.is_proof is not None:
            given = await self._await_proof(stream, welcome.is_proof, node)
            dialler = replace(dialler, keys=welcome.keys_shown(given))
        admitted_as = welcome.introduction.cluster
        if node and admitted_as != (self._cluster or ""):
            raise Unavailable(
                f"{self._node_id} has gone over to another cluster meanwhile",
                hint="dial it anew",
                outcome="failed",
            )
        if node:
            self._is_alive(node)
        await self._answering.serve(stream, dialler)

    async def answer_nothing(self, stream: FrameStream, welcome: Welcome) -> None:
        """For an accepted stream whose carrier shows no certificate: its dialler has been told where to go.

        Raises PermissionDenied when it asks for anything; Unavailable when it has gone.
        """
        try:
            async with asyncio.timeout(PROOF_TIMEOUT_S):
                frame = await stream.read()
        except TimeoutError:
            frame = b""
        if frame is None:
            raise Unavailable("the dialler has gone")
        raise self._denied(welcome.dialler.node, "brings frames without a certificate")

    async def _await_proof(
        self, stream: FrameStream, is_proof: Callable[[bytes], bool], node: NodeId
    ) -> bytes:
        """The first frame, by which the dialler has shown that it knows the secret (rule F6).

        Who hangs up before it is not accused: one that is offered another carrier goes on there.
        """
        given = b""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PROOF_TIMEOUT_S):
                frame = await stream.read()
                if frame is None:
                    raise Unavailable(f"{node or 'a client'} hung up before it proved itself")
                given = decode_proof(frame)
        if not is_proof(given):
            raise self._denied(node, "did not prove that it knows the cluster's token")
        return given

    def _denied(self, node: str, why: str) -> PermissionDenied:
        """The refusal of a node, or of a client (""), and a line in the log."""
        verdict = f"takes {node} for no node of its cluster" if node else "refuses a client"
        error = PermissionDenied(
            f"{self._node_id} {verdict}: it {why}",
            hint="start all nodes of a cluster with the same --token-file"
            if node
            else "clients of a node with TLS need the token: --token-file, token=, RINGMILL_TOKEN",
        )
        self._complaints.add("a link", error, by=node or "a client")
        return error

    def _admitted(self, dialler: Dialler, introduction: Introduction) -> Welcome:
        if (refusal := self._answering.refusal()) is not None:
            raise refusal
        ours = Introduction(
            self._node_id,
            self._cluster or "",
            formers=self._formers,
            clock_us=microseconds(self._clock.boottime()),
            offer=self._peer_offer if dialler.node else self._client_offer,
            takes_traces=self._answering.tracer is not None,
        )
        is_client = not dialler.node
        if not self._secret or (is_client and not introduction.nonce and not self.clients_prove):
            return Welcome(dialler, ours)
        if not introduction.nonce:
            raise self._denied(dialler.node, "has no token of a cluster")
        theirs, own = WITH_CLIENT if is_client else BETWEEN_NODES
        addresses = self.door.addresses if is_client else ("",)
        secret = self.door.secret_for(introduction) if is_client else self._secret
        ours = replace(ours, nonce=secret.nonce())

        def is_proof(given: bytes) -> bool:
            return any(secret.is_proof(given, theirs, introduction, ours, address) for address in addresses)

        def keys_shown(given: bytes) -> frozenset[bytes]:
            if secret.token_id:  # of a client's own token, which ends by the topology
                return frozenset()
            shown = (secret.keys_shown(given, theirs, introduction, ours, address) for address in addresses)
            return frozenset().union(*shown)

        shown = b"".join(secret.proof(own, introduction, ours, address) for address in addresses)
        return Welcome(dialler, replace(ours, proof=shown), is_proof, keys_shown)

    def _is_foreign(self, introduction: Introduction) -> bool:
        return bool(introduction.cluster and self._cluster) and introduction.cluster != self._cluster

    def _check_cluster(self, introduction: Introduction, traffic_class: str) -> None:
        """Raises ProtocolMismatch for another cluster, unless one of the two was made of the other (T9)."""
        if not self._is_foreign(introduction):
            return
        is_former = self._cluster in introduction.formers or introduction.cluster in self._formers
        if traffic_class == _CONTROL and is_former:
            return
        raise ProtocolMismatch(
            f"{introduction.node} is of cluster {introduction.cluster}, "
            f"{self._node_id} of cluster {self._cluster}",
            detail={"clusters": {introduction.node: introduction.cluster, self._node_id: self._cluster}},
            hint="one of the two addresses belongs to another cluster; see `ringmill cluster status`",
        )

    def _open(self, to: NodeId) -> tuple[FrameLink, ...]:
        """The links to a peer, not dialled yet."""
        address = self._addresses.get(to)
        if address is None:
            raise Unavailable(f"{self._node_id} knows no address of {to}")
        links = tuple(
            FrameLink(
                f"{to} ({address})",
                partial(self._dial, to, address, traffic_class),
                clock=self._clock,
                entropy=self._entropy,
                start_task=self._group.create_task,
                max_frame_bytes=self._max_frame_bytes,
                gathers=traffic_class != _CONTROL,
                broke=partial(self._broke, to),
                loaded=partial(self._heard_load, to),
            )
            for traffic_class in _CLASSES
        )
        self._links[to] = links
        return links

    async def _dial(self, to: NodeId, address: str, traffic_class: str) -> FrameStream:
        ours = Introduction(
            self._node_id, self._cluster or "", traffic_class, takes_load=True, formers=self._formers
        )
        proof = DialledProof(self._secret, ours, BETWEEN_NODES)

        def check(introduction: Introduction) -> None:
            if introduction.node != to:
                raise Unavailable(f"{address} is {introduction.node or 'no node'}, not {to}")
            self._check_cluster(introduction, traffic_class)
            if not proof.is_given_by(introduction):
                raise Unavailable(
                    f"who listens at {address} did not prove to be {to}",
                    hint="start all nodes of a cluster with the same --token-file",
                )

        within_s = CONTROL_DIAL_TIMEOUT_S if traffic_class == _CONTROL else DIAL_TIMEOUT_S
        stream = await self._carrier.dial(address, proof.ours, check, timeout_s=within_s, node=to)
        await proof.show(stream, within_s)
        self._is_alive(to)
        return stream

    def _broke(self, node: NodeId) -> None:
        for listener in self._on_break:
            listener(node)

    def _heard_load(self, node: NodeId, load: int) -> None:
        self._told_loads.heard(node, load, self._clock.monotonic())

    def _is_alive(self, node: NodeId) -> None:
        """A node that was just met is worth dialling now, whatever its links have decided before."""
        for link in self._links.get(node, ()):
            link.end_backoff()
