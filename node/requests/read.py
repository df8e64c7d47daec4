"""Coordinates one read: asks `r` owners, merges their answers, repairs differences, and only then answers.

Reads never go backwards: before a client sees a result, N - R + 1 owners are known to hold it, by equal
answers or by a synced write-back, so no later read of R owners can miss it.  Where R is no majority, a read
asks too few for that, and its answer is weak (rule G2).  Expiry is decided once, here, by the median of the
cluster's clocks (rule G3).  The keyspace says which siblings are shown (rule V3).  An answer tells whether
the key is hot (rule G7).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from ringmill.cluster.errors import QuorumNotReached, RingmillError, WrongEpoch, reason_of
from ringmill.cluster.hot.key_heat import KeyHeat, Work
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Clock
from ringmill.cluster.quorum.levels import holders_for_a_strict_read, parse_level
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.ring.topology import Row
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.context_token import ContextSeal, ContextToken
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.versions.lone_value import LoneValue
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.cluster.versions.objects import StoredObject
from ringmill.cluster.versions.seen import Needed
from ringmill.node.contracts import TimeKeeper
from ringmill.node.node_options import RequestOptions
from ringmill.node.replica.routes import Route, Routes
from ringmill.node.requests.background import Background
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.owner_calls import OwnerCalls
from ringmill.node.requests.owners.read_dispatcher import ReadDispatcher
from ringmill.node.requests.owners.read_in_flight import OwnerAnswers, QuestionBatcher, ReadTurn
from ringmill.node.requests.owners.read_trace import ReadTrace
from ringmill.node.requests.owners.session_needs import level_for, need_of
from ringmill.node.requests.request_limits import check_key, check_shown, time_allowed
from ringmill.node.requests.request_values import LoneResult, ReadRequest, ReadResult

__all__ = ["ReadBatch", "OnReadDone", "Reader", "holders_needed", "strict_level"]

OnReadDone: TypeAlias = Callable[[ReadResult | LoneResult | Exception], None]
"""Called once, with what the client of a read is answered: what `Reader.read` returns, as a LoneResult where
that is enough, or raises."""


@dataclass(slots=True)
class ReadRepair:
    """The write-backs of one read: the owners asked, those that now hold the merged object, and the
    failures.  Of each of `sets` as many have to hold it as `needed` says (rule M1)."""

    needed: tuple[int, ...]
    sets: tuple[tuple[NodeId, ...], ...]
    holders: list[NodeId]
    asked: list[NodeId] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    written: int = 0
    moved: asyncio.Event = field(default_factory=asyncio.Event)
    newer_epoch: int = 0  # of the topology by which an owner refused

    @property
    def is_enough(self) -> bool:
        held = (sum(node in self.holders for node in each) for each in self.sets)
        return all(number >= needed for number, needed in zip(held, self.needed, strict=True))

    @property
    def is_over(self) -> bool:
        return self.written + len(self.failures) == len(self.asked)

    def reasons(self, silent: str) -> dict[str, str]:
        """Why each owner that was asked does not hold it; `silent` is the reason of those that did not
        answer."""
        return {node: self.failures.get(node, silent) for node in self.asked if node not in self.holders}


class Reader:
    def __init__(
        self,
        *,
        routes: Routes,
        dispatcher: ReadDispatcher,
        owner_calls: OwnerCalls,
        background: Background,
        hybrid: HybridClock,
        timekeeper: TimeKeeper,
        clock: Clock,
        options: RequestOptions,
        heat: KeyHeat,
        seal: ContextSeal,
    ) -> None:
        self._routes = routes
        self._dispatcher = dispatcher
        self._owners = owner_calls
        self._background = background
        self._hybrid = hybrid
        self._timekeeper = timekeeper
        self._clock = clock
        self._options = options
        self._heat = heat
        self._seal = seal
        self.repaired = 0
        """Copies of owners that reads have repaired since the start."""

    async def read(self, request: ReadRequest, trace: ReadTrace | None = None) -> ReadResult:
        """Read a key.  The result has no siblings when the key is not found; that is not an error.  `trace`
        notes how it goes.

        Raises InvalidArgument, WrongEpoch, Unavailable; QuorumNotReached, which names the owners that
        answered and why the others did not.
        """
        deadline = self._checked(request, self._clock.boottime())
        route = await self._routes.by_name(request.keyspace, request.key, request.epoch, deadline.left_s)
        r = _asked_of(route, request)
        needed = need_of(request.options.seen, route, self._seal)
        answers = await self._dispatcher.ask_owners(
            route,
            level_for(needed, r, route),
            deadline,
            needed,
            trace,
            is_strict=not route.keyspace.is_sloppy,
        )
        return await self._finish(route, r, answers, deadline, trace)

    def batch(self) -> ReadBatch:
        """A batch for reads that came together.  No await between this and its `send`."""
        batcher = self._dispatcher.new_batcher()
        start = partial(self._start, self._clock.boottime(), self._dispatcher.turn(), batcher)
        return ReadBatch(start, batcher)

    def _start(
        self,
        now: float,
        turn: ReadTurn,
        batcher: QuestionBatcher,
        request: ReadRequest,
        on_done: OnReadDone,
    ) -> bool:
        """Start a read that is taken in at `now`, a reading of the boot clock; its first questions wait in
        the batcher.  Returns False when this node has to catch up first: then nothing was done.

        Raises InvalidArgument, WrongEpoch, Unavailable.
        """
        deadline = self._checked(request, now)
        route = self._routes.by_name_now(request.keyspace, request.key, request.epoch)
        if route is None:
            return False
        r = level = _asked_of(route, request)
        needed: Needed | None = None
        if request.options.seen is not None:
            needed = need_of(request.options.seen, route, self._seal)
            level = level_for(needed, r, route)
        on_answers = partial(self._on_answers, route, r, deadline, on_done)
        is_strict = not route.keyspace.is_sloppy
        self._dispatcher.start_read(
            route, level, deadline, on_answers, turn, needed, None, batcher, is_strict=is_strict
        )
        return True

    def _checked(self, request: ReadRequest, now: float) -> Deadline:
        """The deadline of a read that is taken in at `now`, a reading of the boot clock."""
        check_key(request.key)
        allowed_s = time_allowed(request.options.timeout_s, request.left_s)
        return Deadline(allowed_s, now + allowed_s, self._clock)

    def _on_answers(
        self,
        route: Route,
        r: int,
        deadline: Deadline,
        on_done: OnReadDone,
        outcome: OwnerAnswers | QuorumNotReached,
    ) -> None:
        """Answer the client if all owners say the same, else finish the read in a task."""
        if isinstance(outcome, QuorumNotReached):
            on_done(outcome)
            return
        answers = outcome
        agreed = None if route.row.is_joint else answers.agreed  # both sets of owners have to hold it (M1)
        if agreed is not None and (lone := agreed.lone) is not None and lone.is_plain:
            on_done(self._lone_result(route, r, answers, lone))
            return
        if agreed is None or any(each.expires_at_ms for each in agreed.stored.siblings):
            try:
                self._background.start(self._finish_and_answer(route, r, deadline, on_done, answers))
            except RingmillError as error:
                on_done(error)
            return
        self._hybrid.observe(agreed.stored.newest)
        try:
            check_shown(agreed.stored)
        except RingmillError as error:
            on_done(error)
        else:
            on_done(self._result(route, r, answers, agreed.stored, repaired=0))

    async def _finish_and_answer(
        self, route: Route, r: int, deadline: Deadline, on_done: OnReadDone, answers: OwnerAnswers
    ) -> None:
        try:
            result = await self._finish(route, r, answers, deadline)
        except Exception as error:  # noqa: BLE001  whatever goes wrong is the client's to hear
            on_done(error)
        else:
            on_done(result)

    async def _finish(
        self,
        route: Route,
        r: int,
        answers: OwnerAnswers,
        deadline: Deadline,
        trace: ReadTrace | None = None,
    ) -> ReadResult:
        """Merge the answers, repair what differs, and judge what has expired."""
        merged = answers.merged
        self._hybrid.observe(merged.newest)
        repaired = await self._repair(route, answers, merged, deadline, trace)
        check_shown(merged)
        if any(sibling.expires_at_ms for sibling in merged.siblings):
            await self._timekeeper.wait_compared(deadline.left_s / 2)
        return self._result(route, r, answers, merged, repaired)

    def _result(
        self, route: Route, r: int, answers: OwnerAnswers, merged: StoredObject, repaired: int
    ) -> ReadResult:
        seen = ContextToken(merged.context, merged.newest)
        token = self._seal.token(seen, route.keyspace.id, route.key, merged.siblings, route.owners)
        now_ms = self._hybrid.expiry_ms()
        shown = merged.shown(route.keyspace.policy, now_ms)
        judged_at_ms = now_ms if any(sibling.expires_at_ms for sibling in shown) else 0
        is_weak, is_hot = self._note(route, r, answers)
        return ReadResult(
            shown,
            token,
            tuple(answers.by_owner),
            repaired,
            is_weak,
            route.epoch,
            self._hybrid.now(),
            judged_at_ms,
            is_hot,
        )

    def _lone_result(self, route: Route, r: int, answers: OwnerAnswers, lone: LoneValue) -> LoneResult:
        """The result of a read of one plain value that all owners hold."""
        time, keyspace = lone.time, route.keyspace
        self._hybrid.observe(time)
        token = self._seal.token_of(time, lone.vector, keyspace.id, route.key, lone.fields[:1], route.owners)
        is_weak, is_hot = self._note(route, r, answers)
        answered = tuple(answers.by_owner)
        return LoneResult(lone, token, answered, is_weak, route.epoch, self._hybrid.now(), is_hot)

    def _note(self, route: Route, r: int, answers: OwnerAnswers) -> tuple[bool, bool]:
        """Count a read that is answered.  Returns whether it is weak, and whether its key is hot."""
        heat, keyspace = self._heat, route.keyspace
        if heat.passes():
            size_bytes = len(next(iter(answers.by_owner.values())).encoded)
            heat.note(Work.READ, keyspace.id, route.key, route.partition, size_bytes)
        is_weak = r < strict_level(route.row, keyspace.r)
        if keyspace.is_sloppy and not is_weak:
            is_weak = sum(node in route.owners for node in answers.by_owner) < r  # others answered (rule G5)
        return is_weak, bool(heat.turns) and heat.is_hot(keyspace.id, route.key)

    async def _repair(
        self,
        route: Route,
        answers: OwnerAnswers,
        merged: StoredObject,
        deadline: Deadline,
        trace: ReadTrace | None,
    ) -> int:
        """Write the merged object back to owners whose answer differed.  Returns how many were written to.

        A weak read, which asks too few owners for rule G2, begins with the owners that it asked; others are
        written to when those do not ack.  Fallbacks that answered hold it for owners, and are not written to.
        """
        of_owners = {node: held for node, held in answers.objects.items() if node in route.owners}
        stale = [node for node, stored in of_owners.items() if stored != merged]
        if not stale and not route.row.is_joint:
            return 0
        equal = [node for node in of_owners if node not in stale]
        needed = holders_needed(route.row, route.keyspace.r, asked=len(of_owners))
        repair = ReadRepair(needed, route.row.sets, equal)
        encoded = encode_object(merged)
        self._write_back(stale, route, encoded, repair, deadline)
        patience_s = min(self._options.repair_patience_s, deadline.left_s / 2)
        await _wait_for_repair(repair, patience_s, is_all_wanted=True)
        if not repair.is_enough:
            sometimes("a read asks further owners to hold what it shows")
            others = [node for node in route.owners if node not in answers.objects]
            self._write_back(others, route, encoded, repair, deadline)
            await _wait_for_repair(repair, deadline.left_s, is_all_wanted=False)
        if trace is not None:
            reasons = repair.reasons("no ack yet")
            trace.written_back = {node: reasons.get(node, "") for node in repair.asked}
        if not repair.is_enough:
            sometimes("a read fails as too few hold what it would show")
            failed = repair.reasons(f"no ack within {deadline.allowed_s:.2f} s")
            raise QuorumNotReached.of(
                "get (write-back)",
                max(repair.needed),
                repair.holders,
                failed,
                outcome="failed",
                newer_epoch=repair.newer_epoch,
                is_late=deadline.left_s <= 0,
            )
        self.repaired += repair.written
        return repair.written

    def _write_back(
        self, nodes: Sequence[NodeId], route: Route, encoded: bytes, repair: ReadRepair, deadline: Deadline
    ) -> None:
        repair.asked += nodes
        for node in nodes:
            self._background.start(self._write_one(node, route, encoded, repair, deadline))

    async def _write_one(
        self, node: NodeId, route: Route, encoded: bytes, repair: ReadRepair, deadline: Deadline
    ) -> None:
        try:
            _, row_epoch = await self._owners.apply(node, route, encoded, Durability.SYNCED, deadline.left_s)
            if row_epoch != route.row.row_epoch:
                repair.failures[node] = f"answered under row epoch {row_epoch}"
                return
            sometimes("a read writes back to an owner")
            repair.written += 1
            repair.holders.append(node)
        except RingmillError as error:
            repair.failures[node] = reason_of(error)
            repair.newer_epoch = max(repair.newer_epoch, WrongEpoch.epoch_of(error))
        finally:
            repair.moved.set()


class ReadBatch:
    """Reads that came together: what they ask another owner first travels in one message."""

    def __init__(self, start: Callable[[ReadRequest, OnReadDone], bool], batcher: QuestionBatcher) -> None:
        """`start` starts a read, or returns False for one that has to wait first."""
        self._start = start
        self._batcher = batcher

    def add(self, request: ReadRequest, on_done: OnReadDone) -> bool:
        """Start a read, without a task as long as all owners say the same; `on_done` is called with its
        outcome, perhaps before this returns.  Returns False when this node has to catch up first: then
        nothing was done, and the read is for `Reader.read`.

        Raises InvalidArgument, WrongEpoch, Unavailable.
        """
        return self._start(request, on_done)

    def send(self) -> None:
        """Ask the other owners."""
        self._batcher.flush()


def holders_needed(row: Row, default_r: int, *, asked: int) -> tuple[int, ...]:
    """How many of each set of owners have to hold what a read of `asked` owners shows (rules G2, M1).

    The new set may be larger by one than the old one, and N is that of each.
    """
    return tuple(min(holders_for_a_strict_read(len(each), default_r), asked) for each in row.sets)


def strict_level(row: Row, default_r: int) -> int:
    """How many owners a read has to ask, so that it is not weak: R, and those that have to hold what it
    shows (rule G2).  The latter are more only where R is no majority."""
    level = row.readers_for(row.level(default_r))
    if 2 * default_r > len(row.nodes):
        return level
    return max(level, *(holders_for_a_strict_read(len(each), default_r) for each in row.sets))


def _asked_of(route: Route, request: ReadRequest) -> int:
    """How many owners have to answer.  Raises InvalidArgument."""
    row, level = route.row, request.options.level
    wanted = parse_level(level, row.size, route.keyspace.r) if level else row.level(route.keyspace.r)
    return row.readers_for(wanted)


async def _wait_for_repair(repair: ReadRepair, wait_s: float, *, is_all_wanted: bool) -> None:
    """Wait until all owners asked have answered or time is up; unless `is_all_wanted`, only until enough
    hold it."""
    try:
        async with asyncio.timeout(wait_s):
            while not repair.is_over and (is_all_wanted or not repair.is_enough):
                await repair.moved.wait()
                repair.moved.clear()
    except TimeoutError:
        return
