"""Asking the owners of a key, this node's own copy without a message (rules G1, G4, G6 and G7).

In a sloppy keyspace fallbacks are asked when owners do not answer (rule G5).
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from functools import partial
from math import inf
from operator import attrgetter
from typing import Any

from ringmill.cluster.callbacks import call_guarded, report_failed, resolve
from ringmill.cluster.deadline_wheel import TICK_S, Bucket, DeadlineWheel
from ringmill.cluster.errors import ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.hot.key_heat import KeyHeat
from ringmill.cluster.ids import NodeId
from ringmill.cluster.message_batcher import MessageBatcher
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.overload.ladder import Rung
from ringmill.cluster.ports import Clock
from ringmill.cluster.sometimes import sometimes
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
from ringmill.node.requests.owners.hedging import Hedging
from ringmill.node.requests.owners.nearest import nearest_first
from ringmill.node.requests.owners.read_in_flight import (
    OnAnswers,
    OwnerAnswers,
    OwnerObject,
    Question,
    QuestionBatcher,
    ReadInFlight,
    ReadTurn,
)
from ringmill.node.requests.owners.read_trace import ReadTrace, TracedRead, TracingHandler
from ringmill.node.requests.owners.slow_owners import SlowOwners
from ringmill.node.storage.storage_errors import NotCached

__all__ = ["ReadDispatcher"]


class ReadDispatcher:
    """The handler of all reads in flight of a node; it keeps nothing of them but their deadlines."""

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
        self._wheel = DeadlineWheel(grace_s=options.stall_s, held_up_s=TICK_S / 2)
        """Its grace is for answers that have come while this process was held up: they are not late."""
        self._slow = SlowOwners(clock)
        self.hedging = Hedging(clock, options)
        self._digests = RecentDigests()
        self._without_digests: dict[NodeId, None] = {}
        self._one_by_one: dict[NodeId, None] = {}
        """Owners of an earlier release, which do not know DIGEST, or READ_MANY; dicts keep their order."""

    async def ask_owners(
        self,
        route: Route,
        r: int,
        deadline: Deadline,
        needed: Needed | None = None,
        trace: ReadTrace | None = None,
        *,
        is_strict: bool = True,
    ) -> OwnerAnswers:
        """The answers of `r` owners under one row epoch; of more, where `needed` is not covered else.

        `trace` notes how they came.  Unless `is_strict`, fallbacks answer for owners that do not (rule G5).

        Raises QuorumNotReached (nothing was changed) when too many fail or the deadline comes first.
        """
        waiting: asyncio.Future[OwnerAnswers] = asyncio.get_running_loop().create_future()
        read = self.start_read(
            route, r, deadline, partial(resolve, waiting), self.turn(), needed, trace, is_strict=is_strict
        )
        try:
            return await waiting
        finally:
            read.forget()

    def start_read(
        self,
        route: Route,
        r: int,
        deadline: Deadline,
        on_done: OnAnswers,
        turn: ReadTurn,
        needed: Needed | None = None,
        trace: ReadTrace | None = None,
        batcher: QuestionBatcher | None = None,
        *,
        is_strict: bool = True,
    ) -> ReadInFlight:
        """Ask `r` owners, and more where `needed` is not covered else, without waiting: `on_done` is called
        with their answers, perhaps before this returns.

        The first questions wait in the `batcher` until it is flushed.  `trace` and `is_strict` are those of
        `ask_owners`.
        """
        row, patience, nearest = route.row, turn.patience, self._nearest(route, turn)
        if row.leaver is not None:  # a value that the others hold needs no write-back to the new owners
            leaver = row.leaver.node
            nearest = sorted(nearest, key=lambda node: node == leaver)
        if not is_strict:
            nearest = [*nearest, *self._fallbacks.of(route)]
        self.hedging.begun()
        read: ReadInFlight
        if trace is None:
            read = ReadInFlight(self, route, r, nearest, deadline, patience, on_done, needed)
        else:
            handler = TracingHandler(self, trace)
            traced = TracedRead(handler, route, r, nearest, deadline, patience, on_done, needed)
            traced.trace, read = trace, traced
        read.batcher = batcher
        read.ask_more()
        read.batcher = None
        return read

    def new_batcher(self) -> QuestionBatcher:
        """For reads that begin in one turn of the loop."""
        return MessageBatcher(MOST_TOGETHER, self._ask_many)

    def turn(self) -> ReadTurn:
        """For reads that begin before the next await."""
        patience = self.hedging.patience
        if self._gate.waiting and self._gate.step >= Rung.HEDGING:  # a read is late as all are (rule O7)
            patience = self.hedging.crowded
        return ReadTurn(self._owners.busy(), patience, {})

    def _nearest(self, route: Route, turn: ReadTurn) -> Sequence[NodeId]:
        readers = route.row.readers
        shift = self._heat.next_turn(route.keyspace.id, route.key) if self._heat.turns else 0
        nearest = turn.nearest.get(readers)
        if shift or nearest is None:
            node, busy = self._owners.node, turn.busy
            nearest = nearest_first(self._liveness, node, readers, self._slow, shift, busy)
            if not shift:
                turn.nearest[readers] = nearest
        return nearest

    def ask(self, read: ReadInFlight, node: NodeId) -> None:
        if node not in read.route.owners:
            self._start_task(read, node, self._ask_fallback(read, node))
            return
        if node == self._owners.node:
            read.object_source = node
            self._read_own(read)
            return
        if read.object_source is None or node in self._without_digests:
            read.object_source = read.object_source or node
            self.ask_whole(read, node)
        elif read.batcher is None or node in self._one_by_one:
            self._ask_digest(read, node)
        else:
            route = read.route
            read.batcher.add((node, route.keyspace.id, route.epoch), read)

    def _start_task(self, read: ReadInFlight, node: NodeId, asking: Coroutine[Any, Any, None]) -> None:
        """Ask an owner by a task; none is started while this node stops, when a silent owner may still be
        replaced."""
        try:
            self._background.start(asking)
        except Unavailable as error:
            read.record_failure(node, error)

    def _ask_digest(self, read: ReadInFlight, node: NodeId) -> None:
        left_s = read.deadline.left_s
        on_answer = partial(self._on_digest, read, node, left_s)
        self._owners.send_digest(node, self._message(read), left_s, on_answer)

    def _ask_many(self, question: Question, reads: Sequence[ReadInFlight]) -> None:
        """Ask an owner for several reads by one message.  Each read gives up at its own deadline, the message
        at the last one."""
        node, keyspace, epoch = question
        if len(reads) < self._options.together_least:
            for read in reads:
                self._ask_digest(read, node)
            return
        sometimes("reads ask an owner in one message")
        keys = [each.route.key for each in reads]
        latest = max([each.deadline for each in reads], key=attrgetter("ends_at"))
        left_s = latest.left_s
        on_answer = partial(self._on_answer_to_many, reads, node, latest, left_s)
        self._owners.send_read_many(node, ReadMany(epoch, keyspace, keys), left_s, on_answer)

    def _on_answer_to_many(
        self,
        reads: Sequence[ReadInFlight],
        node: NodeId,
        latest: Deadline,
        left_s: float,
        outcome: bytes | RingmillError,
    ) -> None:
        """Record what an owner says to reads that asked it by one message.  What it did not answer there is
        asked again, alone.

        `left_s` was left of the `latest` deadline when it was asked.
        """
        self._note_took(node, left_s - latest.left_s, outcome)
        if isinstance(outcome, bytes):
            try:
                answer = ReadManyAnswer.decode(outcome, len(reads))
            except RingmillError as error:
                outcome = error
            else:
                for read, row_epoch, encoded, watermark in zip(reads, *answer, strict=True):
                    if encoded is not None:
                        try:
                            read.record_answer(node, encoded, row_epoch, watermark)
                        except Exception as error:  # noqa: BLE001 - that of one ends nobody else's wait
                            report_failed(read.record_answer, error)
                    elif not read.is_over:
                        self._ask_digest(read, node)
                return
        if isinstance(outcome, ProtocolMismatch):
            self._one_by_one[node] = None
        for read in reads:
            if read.is_over:
                continue
            if isinstance(outcome, ProtocolMismatch):
                self._ask_digest(read, node)
            else:
                call_guarded(read.record_failure, node, outcome)

    def ask_whole(self, read: ReadInFlight, node: NodeId) -> None:
        left_s = read.deadline.left_s
        on_answer = partial(self._on_object, read, node, left_s)
        self._owners.send_read(node, self._message(read), left_s, on_answer)

    def _message(self, read: ReadInFlight) -> bytes:
        """The message of a read, which is the same for all owners."""
        if not read.message:
            read.message = self._owners.read_message(read.route)
        return read.message

    def decode(self, read: ReadInFlight, encoded: bytes) -> OwnerObject:
        place = read.route.place
        lone = lone_of(encoded)
        if lone is not None and self._objects.has_made(place, lone):
            return OwnerObject(encoded, lone, None, self._digests)
        return OwnerObject(encoded, None, self._owners.decoded(read.route, encoded), self._digests)

    def call_after(self, read: ReadInFlight, patience_s: float) -> Bucket:
        return self._wheel.add(read, patience_s)

    def late_s(self, node: NodeId) -> float:
        return self.hedging.late_s(node) if self._liveness.is_up(node) else inf

    def may_hedge(self) -> bool:
        return self.hedging.may_hedge()

    def note_silent(self, nodes: Sequence[NodeId], for_s: float) -> None:
        self._slow.silent([node for node in nodes if node != self._owners.node], for_s)

    def _note_took(self, node: NodeId, took_s: float, outcome: bytes | RingmillError) -> None:
        if isinstance(outcome, RingmillError):
            self._slow.failed(node, took_s)
        else:
            self._slow.answered(node, took_s)
            self.hedging.answered(node, took_s)

    def _on_object(
        self, read: ReadInFlight, node: NodeId, left_s: float, outcome: bytes | RingmillError
    ) -> None:
        """Record what an owner says that was asked for its object; `left_s` was left of the deadline then."""
        self._note_took(node, left_s - read.deadline.left_s, outcome)
        if isinstance(outcome, RingmillError):
            read.record_failure(node, outcome)
            return
        try:
            answer = ReadAnswer.decode(outcome)
        except RingmillError as error:
            read.record_failure(node, error)
        else:
            read.record_answer(node, answer.encoded, answer.row_epoch, answer.watermark)

    def _on_digest(
        self, read: ReadInFlight, node: NodeId, left_s: float, outcome: bytes | RingmillError
    ) -> None:
        """Record what an owner says that was asked for its object, or for the digest of a large one; `left_s`
        was left of the deadline then."""
        if isinstance(outcome, bytes):
            if not DigestAnswer.is_one(outcome):
                self._on_object(read, node, left_s, outcome)
                return
            try:
                answer = DigestAnswer.decode(outcome)
            except RingmillError as error:
                outcome = error
            else:
                self._note_took(node, left_s - read.deadline.left_s, outcome)
                read.record_digest(node, answer.digest, answer.row_epoch, answer.watermark)
                return
        if isinstance(outcome, ProtocolMismatch):
            self._without_digests[node] = None
            self.ask_whole(read, node)
        else:
            self._on_object(read, node, left_s, outcome)

    async def _ask_fallback(self, read: ReadInFlight, node: NodeId) -> None:
        """Ask a member what it holds for owners that do not answer; it may be this node (rule G5)."""
        sometimes("a read asks a fallback")
        try:
            answer = await self._fallbacks.read(node, read.route, read.deadline.left_s)
        except RingmillError as error:
            read.record_failure(node, error)
        else:
            read.record_answer(node, *answer)

    def _read_own(self, read: ReadInFlight) -> None:
        """Read this node's own copy: at once when it is in memory and on the disk, else as soon as it is.

        It may be asked long after the route was found, in the place of an owner that is silent (rule M6).
        The watermark is looked at first: a later one is no word about what was read (rule S1).
        """
        route = read.route
        watermark = self._objects.watermark_of(route.place)
        try:
            if not self._routes.is_current(route):
                self._routes.check_same(route)
            encoded, commit = self._objects.read_now(route.place)
        except (NotCached, OSError):
            self._start_task(read, self._owners.node, self._fetch_own(read))
        except RingmillError as error:
            read.record_failure(self._owners.node, error)
        else:
            if commit is None:
                self._record_own(read, encoded, watermark, None)
            else:
                commit.tell_synced(partial(self._record_own, read, encoded, watermark))

    def _record_own(
        self, read: ReadInFlight, encoded: bytes, watermark: HybridTime, failure: RingmillError | None
    ) -> None:
        if failure is not None:
            read.record_failure(self._owners.node, failure)
        else:
            read.record_answer(self._owners.node, encoded, read.route.row.row_epoch, watermark)

    async def _fetch_own(self, read: ReadInFlight) -> None:
        """Read this node's own copy from the disk."""
        watermark = self._objects.watermark_of(read.route.place)
        try:
            encoded = await self._cold_reads.read(read.route.place, read.deadline.left_s)
            self._routes.check_same(read.route)  # a former owner drops its copy meanwhile
        except RingmillError as error:
            read.record_failure(self._owners.node, error)
        else:
            self._record_own(read, encoded, watermark, None)
