"""Coordinates changes and reads of registers: rounds of prepare and accept with the owners of a key.

Any node may, an owner or not: what is agreed is kept by the owners alone.  Requests of one key take turns
here, so that those of one node do not preempt each other.  Rules R1, R3 and R4: docs/protocol/registers.md;
V6: docs/protocol/versions.md; B4: docs/protocol/backups.md; J29, by which some registers of the cluster
itself are refused: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final, NamedTuple

from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.preemption import MOST_PREEMPTED, PreemptionPause
from ringmill.cluster.consensus.register import AppliedChange, Cas, Change, Refused, Register, changed
from ringmill.cluster.consensus.register_codec import decode_register, encode_register
from ringmill.cluster.consensus.remains import is_own, with_remains
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.errors import (
    Conflict,
    CorruptData,
    DeadlineExceeded,
    InvalidArgument,
    QuorumNotReached,
    RingmillError,
)
from ringmill.cluster.ids import Epoch, NodeId, Start
from ringmill.cluster.ports import Clock, Entropy
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.hybrid_time import HybridClock
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.contracts import TimeKeeper
from ringmill.node.replica.registers.forgotten_store import ForgottenStore
from ringmill.node.replica.registers.register_messages import ACCEPT, PREPARE, READ_REGISTER, TELL_PROMISE
from ringmill.node.replica.routes import REGISTERS, Route, Routes
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.operations.own_operations import OwnOperations
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead, RegisterResult
from ringmill.node.requests.registers.round_trace import RegisterTrace
from ringmill.node.requests.registers.rounds import Rounds
from ringmill.node.requests.request_limits import check_birth, check_key, check_value, time_allowed

__all__ = ["RegisterCoordinator"]

_PAUSE: Final = PreemptionPause(first_s=0.01, longest_s=0.5, longest_questions=4)
_MAJORITY_HINT: Final = "see `ringmill cluster status`; a register needs most of its owners"
_NO_TURN: Final = "no turn or no round came before the deadline"


class RegisterCoordinator:
    def __init__(
        self,
        node: NodeId,
        start: Start,
        *,
        routes: Routes,
        rounds: Rounds,
        timekeeper: TimeKeeper,
        operations: OwnOperations,
        hybrid: HybridClock,
        clock: Clock,
        entropy: Entropy,
        kept_operations: int,
        forgotten: ForgottenStore,
    ) -> None:
        self._routes = routes
        self._rounds = rounds
        self._timekeeper = timekeeper
        self._operations = operations
        self._hybrid = hybrid
        self._clock = clock
        self.forgotten = forgotten
        self._ballots = _Ballots(node, start)
        self._tools = _RegisterTools(self._ballots, routes, rounds, hybrid, clock, entropy, kept_operations)
        self._turns: dict[tuple[str, bytes], tuple[asyncio.Lock, list[None]]] = {}

    async def read(self, request: RegisterRead, trace: RegisterTrace | None = None) -> RegisterResult:
        """What the register holds at some moment of this call (rule R3).  `trace` notes how it goes.

        Raises QuorumNotReached, DeadlineExceeded, InvalidArgument, WrongEpoch, Unavailable; NotFound for a
        register of a journal that is forgotten.
        """
        route, deadline = await self._admitted(request)
        more = b"" if trace is None else TELL_PROMISE
        tally = await self._rounds.ask(READ_REGISTER, route, deadline, value=more, is_read=True, trace=trace)
        if tally.is_met:
            present, stands = _register_in(tally)
            if stands:
                return self._result(route, present)
        sometimes("a read of a register has to finish a change")
        self._ballots.note(tally)
        attempt = _Attempt(self._tools, route, deadline, None, trace=trace)
        async with self._turn(request, deadline):
            register, _ = await attempt.go_on()
        return self._result(attempt.route, register)

    async def finish(self, request: RegisterRead) -> None:
        """Leave a register as it is by a round whose accept goes to all owners, as one may have missed it
        (rule R5).  Raises what `read` raises."""
        route, deadline = await self._admitted(request)
        async with self._turn(request, deadline):
            await _Attempt(self._tools, route, deadline, None, is_for_all=True).go_on()

    async def bring(self, request: RegisterRead, encoded: bytes) -> None:
        """Set a register to the version that a backup holds of it, unless it has a later one (rule B4).

        Raises InvalidArgument for what is not a register, else what `read` raises.
        """
        try:
            brought = decode_register(encoded)
        except CorruptData as error:
            raise InvalidArgument(f"what is no register: {error.message}") from error
        route, deadline = await self._admitted(request)
        async with self._turn(request, deadline):
            await _Attempt(self._tools, route, deadline, None, is_for_all=True, brought=brought).go_on()

    async def change(self, request: ChangeRequest) -> RegisterResult:
        """Apply a change once, whatever was sent of it before (rule R4).

        Raises Conflict when its condition is false, with what the register holds; QuorumNotReached and
        DeadlineExceeded, with outcome "unknown" if it may have been applied or may still be; InvalidArgument,
        WrongEpoch, Unavailable.
        """
        check_birth(request.operation, self._hybrid)
        route, deadline = await self._admitted(request.where)
        if isinstance(change := request.change, Cas):
            check_value(change.value)
            check_value(change.expect if isinstance(change.expect, bytes) else None)
        asked = _NamedChange(change, request.operation or self._operations.next(), request.attempt)
        attempt = _Attempt(self._tools, route, deadline, asked)
        await self._timekeeper.wait_judged(deadline.left_s)
        if not request.attempt:  # what came of an earlier one only a round tells (rule R4)
            self._hybrid.refuse_after_jump()
        try:
            async with self._turn(request.where, deadline):
                register, applied = await attempt.go_on()
        except RingmillError as error:
            if isinstance(error, Conflict | InvalidArgument) or not attempt.may_be_under_way:
                raise
            raise error.with_outcome("unknown") from error
        assert applied is not None, "a change that is neither applied nor refused"
        result = self._result(attempt.route, register)
        return result._replace(version=applied.version, number=applied.number)

    async def _admitted(self, request: RegisterRead) -> tuple[Route, Deadline]:
        check_key(request.key)
        deadline = Deadline.after(time_allowed(request.timeout_s, request.left_s), self._clock)
        route = await self._routes.register_by_name(
            request.keyspace, request.key, request.epoch, deadline.left_s
        )
        if is_own(route.keyspace, route.key):
            self.forgotten.check(route.key)
        return route, deadline

    @asynccontextmanager
    async def _turn(self, request: RegisterRead, deadline: Deadline) -> AsyncIterator[None]:
        """Raises DeadlineExceeded when those before took all the time."""
        key = request.keyspace or REGISTERS, request.key
        lock, waiting = self._turns.setdefault(key, (asyncio.Lock(), []))
        waiting.append(None)
        try:
            try:
                async with asyncio.timeout(deadline.left_s):
                    await lock.acquire()
            except TimeoutError:
                raise DeadlineExceeded(_NO_TURN, outcome="failed") from None
            try:
                yield
            finally:
                lock.release()
        finally:
            waiting.pop()
            if not waiting:
                del self._turns[key]

    def _result(self, route: Route, register: Register) -> RegisterResult:
        return RegisterResult(register.version, register.value, route.epoch, self._hybrid.now())


class _Ballots:
    """The ballots of this start of the node: each is higher than all that it has seen."""

    def __init__(self, node: NodeId, start: Start) -> None:
        self._node = node
        self._start = start
        self._counter = 0

    def next(self) -> Ballot:
        self._counter += 1
        return Ballot(self._counter, self._node, self._start.number, self._start.boot)

    def note(self, tally: RoundTally) -> None:
        """Note the ballots that owners have named in a round."""
        self._counter = max(self._counter, tally.highest_counter)


@dataclass(frozen=True, slots=True)
class _RegisterTools:
    """What every attempt at a register uses."""

    ballots: _Ballots
    routes: Routes
    rounds: Rounds
    hybrid: HybridClock
    clock: Clock
    entropy: Entropy
    kept_operations: int


class _NamedChange(NamedTuple):
    """A change with the name of its operation; `attempt` counts the sends of it before this one."""

    change: Change
    operation: OperationId
    attempt: int


class _Attempt:
    """A request on its way through as many rounds as it takes."""

    def __init__(
        self,
        tools: _RegisterTools,
        route: Route,
        deadline: Deadline,
        request: _NamedChange | None,
        *,
        is_for_all: bool = False,
        brought: Register | None = None,
        trace: RegisterTrace | None = None,
    ) -> None:
        self._tools = tools
        self.route = route
        self._deadline = deadline
        self._request = request
        self._is_for_all = is_for_all
        self._brought = brought
        self._trace = trace
        self._question_s = 0.0  # that the last question took
        self._made_version = 0  # the lowest version that this operation may have made
        self.has_proposed = False

    @property
    def may_be_under_way(self) -> bool:
        """Whether an owner may have accepted the change already."""
        return self.has_proposed or (self._request is not None and self._request.attempt > 0)

    async def go_on(self) -> tuple[Register, AppliedChange | None]:
        """The register with the change in it, or as it is when none is asked for; a majority has accepted it.

        Raises Conflict, QuorumNotReached, DeadlineExceeded, InvalidArgument.
        """
        preempted = 0
        while True:
            if self._deadline.left_s <= 0:
                raise DeadlineExceeded(_NO_TURN, outcome="failed")
            ballot = self._tools.ballots.next()
            tally = await self._ask(PREPARE, ballot)
            if tally.is_met:
                present, stands = _register_in(tally)
                register, applied, error = self._judge(present)
                # What is told has to stand.  If that is a refusal, an owner that has accepted the change
                # in an earlier round, above the ballot of the majority, must not bring it up later.
                is_open = error is not None and self.may_be_under_way
                if register is not present or not stands or is_open or self._is_for_all:
                    value = encode_register(register)
                    tally = await self._ask(ACCEPT, ballot, value)
                if tally.is_met:
                    if error is not None:
                        raise error
                    return register, applied
            preempted = await self._pause_or_give_up(tally, preempted)

    async def _ask(self, method: str, ballot: Ballot, value: bytes = b"") -> RoundTally:
        tools, began_s = self._tools, self._tools.clock.boottime()
        tally = await tools.rounds.ask(
            method, self.route, self._deadline, ballot=ballot, value=value, trace=self._trace
        )
        self._question_s = tools.clock.boottime() - began_s
        tools.ballots.note(tally)
        return tally

    def _judge(self, present: Register) -> tuple[Register, AppliedChange | None, RingmillError | None]:
        """What to propose after `present`, and what to tell once it stands."""
        request = self._request
        if request is None:
            return present if self._brought is None else _newer(present, self._brought), None, None
        known = present.find(request.operation)
        if known is not None:
            sometimes("a change of a register is found to be done")
            return present, known, None
        if self._may_be_forgotten(present, request):
            sometimes("nobody can tell whether a change of a register was done")
            unknown = DeadlineExceeded(
                "an earlier attempt of this change may have been applied and forgotten since, so it is not "
                "applied again",
                hint="read the register to see what it holds now",
                outcome="unknown",
            )
            return present, None, unknown
        try:
            time = self._tools.hybrid.stamp(above=request.operation.birth)
            outcome = changed(
                present,
                request.change,
                request.operation,
                time,
                is_retry=request.attempt > 0,
                kept=self._tools.kept_operations,
            )
        except RingmillError as error:
            return present, None, error
        if isinstance(outcome, Refused):
            return present, None, _conflict(present)
        register, applied = outcome
        self.has_proposed = True
        self._made_version = min(self._made_version or applied.version, applied.version)
        return register, applied, None

    def _may_be_forgotten(self, present: Register, request: _NamedChange) -> bool:
        """Whether the operation may have been applied, though the register does not remember it."""
        if self.has_proposed and present.forgotten_version >= self._made_version:
            return True
        return request.attempt > 0 and 0 < present.forgotten >= request.operation.birth

    async def _pause_or_give_up(self, tally: RoundTally, preempted: int) -> int:
        """Pause before another round.  Raises QuorumNotReached, DeadlineExceeded when there can be none."""
        deadline = self._deadline
        if not tally.is_preempted and await self._goes_over(Epoch(tally.newer_epoch)):
            sometimes("a request of a register goes on with the owners that have changed")
            return preempted
        if not tally.is_preempted:
            silent = f"no answer within {deadline.allowed_s - deadline.left_s:.2f} s"
            verb = "a read of a register" if self._request is None else "a change of a register"
            reasons = tally.reasons(silent)
            raise QuorumNotReached.of(
                verb,
                tally.majority,
                tally.agreed,
                reasons,
                outcome="failed",
                hint=_MAJORITY_HINT,
                newer_epoch=tally.newer_epoch,
                is_late=deadline.left_s <= 0,
            )
        sometimes("a round of a register is preempted")
        most_s = min(_PAUSE.most_s(self._question_s, preempted), deadline.left_s)
        share = self._tools.entropy.uniform("register.pause")
        await asyncio.sleep(most_s * share)
        return min(preempted + 1, MOST_PREEMPTED)

    async def _goes_over(self, epoch: Epoch) -> bool:
        """Whether the register has another route by now, as an owner that refused has told (rule T5).

        The next round is as one of a further attempt: what was accepted of this one has the same name (R4).
        Who settles a register for owners that it knows (M5, R5) does not go over.
        """
        left_s = self._deadline.left_s
        if epoch <= self.route.epoch or left_s <= 0 or self._is_for_all:
            return False
        try:
            self.route = await self._tools.routes.of_register_again(self.route, epoch, left_s)
        except RingmillError:
            return False
        return True


def _register_in(tally: RoundTally) -> tuple[Register, bool]:
    """What a majority tells of a register, and whether that stands without another round (rule R3).

    A version that comes from remains does not: a round that was promised its ballot before they were kept
    may still make a lower one (rule R5).
    """
    accepted = decode_register(tally.value)
    present = with_remains(accepted, tally.remains)
    return present, tally.is_chosen and present is accepted


def _newer(present: Register, brought: Register) -> Register:
    """What a register is to hold to which a backup brings a version: its versions never go back."""
    if present.version < brought.version:
        return brought
    if present.value is None and brought.value is not None:  # the rest of one that was removed here
        return brought._replace(version=present.version + 1)
    return present


def _conflict(present: Register) -> Conflict:
    shown = "no value" if present.value is None else f"{present.value[:40]!r}"
    return Conflict(
        f"the register holds {shown} in version {present.version}",
        detail={"current": present.value, "version": present.version},
        hint="read it again and decide anew",
        outcome="failed",
    )
