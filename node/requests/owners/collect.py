"""Asking the owners of a key, this node's own copy without a message (rules G1, G4, G6 and G7).

In a sloppy keyspace fallbacks are asked when owners do not answer (rule G5).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Final

from ringmill.cluster.callbacks import call_guarded, report_failed
from ringmill.cluster.deadline_wheel import Bucket, DeadlineWheel
from ringmill.cluster.errors import ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.hot.key_heat import KeyHeat
from ringmill.cluster.ids import NodeId
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.overload.ladder import Rung
from ringmill.cluster.ports import Clock
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.together import Together
from ringmill.cluster.versions.digests import RecentDigests
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.lone_value import lone_of
from ringmill.cluster.versions.seen import Needed
from ringmill.node.contracts import LivenessView
from ringmill.node.node_options import RequestOptions
from ringmill.node.replica.object_store import ObjectStore
from ringmill.node.replica.reads.cold_reads import ColdReads
from ringmill.node.replica.replica_messages import (
    MOST_TOGETHER,
    DigestAnswer,
    ReadAnswer,
    ReadMany,
    ReadManyAnswer,
)
from ringmill.node.replica.routes import Route, Routes
from ringmill.node.requests.background import Background
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.fallbacks.fallbacks import Fallbacks
from ringmill.node.requests.owner_calls import OwnerCalls
from ringmill.node.requests.owners.collection import (
    AskedTogether,
    Collected,
    Collection,
    CollectionEnded,
    Held,
    Question,
)
from ringmill.node.requests.owners.nearest import nearest_first
from ringmill.node.requests.owners.read_trace import ReadTrace, TracedCollection, TracingAsker
from ringmill.node.requests.owners.slow_owners import SlowOwners
from ringmill.node.storage.storage_errors import NotCached

__all__ = ["Collector"]

UNHEDGED: Final = 8.0
"""Times as late as usual an owner has to be, while this node has more to do than it can."""


class Collector:
    """Every read of a node asks through it; it keeps nothing of them but their deadlines."""

    def __init__(
        self,
        *,
        objects: ObjectStore,
        cold_reads: ColdReads,
        owner_calls: OwnerCalls,
        fallbacks: Fallbacks,
        liveness: LivenessView,
        background: Background,
        routes: Routes,
        clock: Clock,
        options: RequestOptions,
        gate: Gate,
        heat: KeyHeat,
    ) -> None:
        self._routes = routes
        self._gate = gate
        self._heat = heat
        self._objects = objects
        self._cold_reads = cold_reads
        self._owners = owner_calls
        self._fallbacks = fallbacks
        self._liveness = liveness
        self._background = background
        self._options = options
        self._wheel = DeadlineWheel()
        self._slow = SlowOwners(clock)
        self._digests = RecentDigests()
        self._without_digests: dict[NodeId, None] = {}  # of an earlier release, as far as this start knows
        self._one_by_one: dict[NodeId, None] = {}  # likewise, asked for one key at a time

    async def collect(
        self,
        route: Route,
        r: int,
        deadline: Deadline,
        needed: Needed | None = None,
        trace: ReadTrace | None = None,
        *,
        is_strict: bool = True,
    ) -> Collected:
        """The answers of `r` owners under one row epoch; of more, where `needed` is not covered else.

        `trace` notes how they came.  Unless `is_strict`, fallbacks answer for owners that do not (rule G5).

        Raises QuorumNotReached (nothing was changed) when too many fail or the deadline comes first.
        """
        waiting: asyncio.Future[Collected] = asyncio.get_running_loop().create_future()

        def ended(told: Collected | RingmillError) -> None:
            if waiting.done():
                return
            if isinstance(told, RingmillError):
                waiting.set_exception(told)
            else:
                waiting.set_result(told)

        collection = self.begin(route, r, deadline, ended, needed, trace, is_strict=is_strict)
        try:
            return await waiting
        finally:
            collection.forget()

    def begin(
        self,
        route: Route,
        r: int,
        deadline: Deadline,
        ended: CollectionEnded,
        needed: Needed | None = None,
        trace: ReadTrace | None = None,
        together: AskedTogether | None = None,
        *,
        is_strict: bool = True,
    ) -> Collection:
        """The same without waiting: `ended` is told, perhaps before this returns.

        Its first questions may wait for others `together` with which they are asked.
        """
        row = route.row
        turn = self._heat.next_turn(route.keyspace.id, route.key) if self._heat.turns else 0
        nearest = nearest_first(self._liveness, self._owners.node, row.readers, self._slow, turn)
        if row.leaver is not None:  # a value that the others hold needs no write-back to the new owners
            leaver = row.leaver.node
            nearest = sorted(nearest, key=lambda node: node == leaver)
        if not is_strict:
            nearest = [*nearest, *self._fallbacks.of(route)]
        stall_s = self._options.stall_s
        if self._gate.waiting and self._gate.step >= Rung.HEDGING:  # it is late as all are (rule O7)
            stall_s *= UNHEDGED
        collection: Collection
        if trace is None:
            collection = Collection(self, route, r, nearest, deadline, stall_s, ended, needed)
        else:
            asker = TracingAsker(self, trace)
            traced = TracedCollection(asker, route, r, nearest, deadline, stall_s, ended, needed)
            traced.trace, collection = trace, traced
        collection.together = together
        collection.ask_more()
        collection.together = None
        return collection

    def together(self) -> AskedTogether:
        """For reads that begin in one turn of the loop."""
        return Together(MOST_TOGETHER, self._ask_together)

    def ask(self, collection: Collection, node: NodeId) -> None:
        if node not in collection.route.owners:
            self._begin(collection, node, self._ask_fallback(collection, node))
            return
        if node == self._owners.node:
            collection.teller = node
            self._read_own(collection)
            return
        if collection.teller is None or node in self._without_digests:
            collection.teller = collection.teller or node
            self.ask_whole(collection, node)
        elif collection.together is None or node in self._one_by_one:
            self._ask_digest(collection, node)
        else:
            route = collection.route
            collection.together.add((node, route.keyspace.id, route.epoch), collection)

    def _begin(self, collection: Collection, node: NodeId, asking: Coroutine[Any, Any, None]) -> None:
        """Ask by a task, or by none any more: a silent owner may be replaced while this node stops."""
        try:
            self._background.start(asking)
        except Unavailable as error:
            collection.failed(node, error)

    def _ask_digest(self, collection: Collection, node: NodeId) -> None:
        left_s = collection.deadline.left_s
        told = partial(self._digested, collection, node, left_s)
        self._owners.send_digest(node, self._message(collection), left_s, told)

    def _ask_together(self, asked: Question, collections: Sequence[Collection]) -> None:
        """Each gives up at its own deadline, the message at the last."""
        node, keyspace, epoch = asked
        if len(collections) < self._options.together_least:
            for collection in collections:
                self._ask_digest(collection, node)
            return
        sometimes("reads ask an owner in one message")
        keys = [each.route.key for each in collections]
        latest = max([each.deadline for each in collections], key=attrgetter("ends_at"))
        left_s = latest.left_s
        told = partial(self._told_together, collections, node, latest, left_s)
        self._owners.send_read_many(node, ReadMany(epoch, keyspace, keys), left_s, told)

    def _told_together(
        self,
        collections: Sequence[Collection],
        node: NodeId,
        latest: Deadline,
        asked_left_s: float,
        told: bytes | RingmillError,
    ) -> None:
        """As `_digested`, to who was asked by several."""
        self._note_took(node, asked_left_s - latest.left_s, told)
        if isinstance(told, bytes):
            try:
                answer = ReadManyAnswer.decode(told, len(collections))
            except RingmillError as error:
                told = error
            else:
                for collection, row_epoch, encoded, mark in zip(collections, *answer, strict=True):
                    if encoded is not None:
                        try:
                            collection.heard(node, encoded, row_epoch, mark)
                        except Exception as error:  # noqa: BLE001 - that of one ends nobody else's wait
                            report_failed(collection.heard, error)
                    elif not collection.is_over:
                        self._ask_digest(collection, node)
                return
        if isinstance(told, ProtocolMismatch):  # one of an earlier release
            self._one_by_one[node] = None
        for collection in collections:
            if collection.is_over:
                continue
            if isinstance(told, ProtocolMismatch):
                self._ask_digest(collection, node)
            else:
                call_guarded(collection.failed, node, told)

    def ask_whole(self, collection: Collection, node: NodeId) -> None:
        left_s = collection.deadline.left_s
        told = partial(self._answered, collection, node, left_s)
        self._owners.send_read(node, self._message(collection), left_s, told)

    def _message(self, collection: Collection) -> bytes:
        """What every owner is asked."""
        if not collection.message:
            collection.message = self._owners.read_message(collection.route)
        return collection.message

    def decode(self, collection: Collection, encoded: bytes) -> Held:
        place = collection.route.place
        lone = lone_of(encoded)
        if lone is not None and self._objects.has_made(place, lone):
            return Held(encoded, lone, None, self._digests)
        return Held(encoded, None, self._owners.decoded(collection.route, encoded), self._digests)

    def wait(self, collection: Collection, patience_s: float) -> Bucket:
        return self._wheel.add(collection, patience_s)

    def silent(self, nodes: Sequence[NodeId], for_s: float) -> None:
        self._slow.silent([node for node in nodes if node != self._owners.node], for_s)

    def _note_took(self, node: NodeId, took_s: float, told: bytes | RingmillError) -> None:
        if isinstance(told, RingmillError):
            self._slow.failed(node, took_s)
        else:
            self._slow.answered(node, took_s)

    def _answered(
        self, collection: Collection, node: NodeId, asked_left_s: float, told: bytes | RingmillError
    ) -> None:
        """`asked_left_s` was left of the deadline when the owner was asked."""
        self._note_took(node, asked_left_s - collection.deadline.left_s, told)
        if isinstance(told, RingmillError):
            collection.failed(node, told)
            return
        try:
            answer = ReadAnswer.decode(told)
        except RingmillError as error:
            collection.failed(node, error)
        else:
            collection.heard(node, answer.encoded, answer.row_epoch, answer.mark)

    def _digested(
        self, collection: Collection, node: NodeId, asked_left_s: float, told: bytes | RingmillError
    ) -> None:
        """As `_answered`, to who was asked for a digest if the object is large."""
        if isinstance(told, bytes):
            if not DigestAnswer.is_one(told):
                self._answered(collection, node, asked_left_s, told)
                return
            try:
                answer = DigestAnswer.decode(told)
            except RingmillError as error:
                told = error
            else:
                self._slow.answered(node, asked_left_s - collection.deadline.left_s)
                collection.heard_digest(node, answer.digest, answer.row_epoch, answer.mark)
                return
        if isinstance(told, ProtocolMismatch):  # one of an earlier release knows no digests
            self._without_digests[node] = None
            self.ask_whole(collection, node)
        else:
            self._answered(collection, node, asked_left_s, told)

    async def _ask_fallback(self, collection: Collection, node: NodeId) -> None:
        """What a member holds for owners that do not answer; perhaps this node itself (rule G5)."""
        sometimes("a read asks a fallback")
        try:
            told = await self._fallbacks.read(node, collection.route, collection.deadline.left_s)
        except RingmillError as error:
            collection.failed(node, error)
        else:
            collection.heard(node, *told)

    def _read_own(self, collection: Collection) -> None:
        """This node's own copy: at once when it is in memory and on the disk, else as soon as it is.

        It may be asked long after the route was found, in the place of an owner that is silent (rule M6).
        The watermark is looked at first: a later one is no word about what was read (rule S1).
        """
        route = collection.route
        mark = self._objects.proven(route.place)
        try:
            if not self._routes.is_current(route):
                self._routes.check_same(route)
            encoded, commit = self._objects.read_now(route.place)
        except (NotCached, OSError):
            self._begin(collection, self._owners.node, self._fetch_own(collection))
        except RingmillError as error:
            collection.failed(self._owners.node, error)
        else:
            if commit is None:
                self._own(collection, encoded, mark, None)
            else:
                commit.tell_synced(partial(self._own, collection, encoded, mark))

    def _own(
        self, collection: Collection, encoded: bytes, mark: HybridTime, failure: RingmillError | None
    ) -> None:
        if failure is not None:
            collection.failed(self._owners.node, failure)
        else:
            collection.heard(self._owners.node, encoded, collection.route.row.row_epoch, mark)

    async def _fetch_own(self, collection: Collection) -> None:
        mark = self._objects.proven(collection.route.place)
        try:
            encoded = await self._cold_reads.read(collection.route.place, collection.deadline.left_s)
            self._routes.check_same(collection.route)  # a former owner drops its copy meanwhile
        except RingmillError as error:
            collection.failed(self._owners.node, error)
        else:
            self._own(collection, encoded, mark, None)
