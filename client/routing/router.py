"""Sends one request to the right node, and again to another where the rules allow it.

client/routing/retries.py decides what may follow a failure, client/routing/candidates.py decides which node
comes next. This file acts on both, always within the caller's deadline.  Rules W4 and W5:
docs/protocol/writes.md; D1: docs/protocol/requests.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, TypeVar, cast

from google.protobuf.message import Message

from ringmill.client.lifetime import closed
from ringmill.client.routing.attempts import Attempts, AwaitedAttempt, FirstAttempt, RequestAttempt
from ringmill.client.routing.balanced_watch import BalancedWatch
from ringmill.client.routing.directory import STAGGER_S, Directory
from ringmill.client.routing.hot_reads import HotReads
from ringmill.client.routing.links import GET, Method, SendingLink, read_answer
from ringmill.client.routing.retries import (
    SILENCE_SHARE,
    Next,
    attempt_timeout_s,
    is_outdated,
    is_worth_sending,
    may_go_further,
    may_retry,
    next_step,
    pause_s,
    slow_after_s,
    told_time_s,
)
from ringmill.client.routing.throttle import Throttle
from ringmill.client.routing.tracing import Tracing, begun_span, no_tracer
from ringmill.cluster.errors import (
    DeadlineExceeded,
    InvalidArgument,
    Overloaded,
    QuorumNotReached,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.ids import PartitionId
from ringmill.cluster.overload.budget import FURTHER_SAVED, Budget
from ringmill.cluster.ports import Entropy
from ringmill.cluster.silence import SilenceWatch
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.traces.spans import Span, spanned
from ringmill.cluster.wire.stubs.kv_pb2 import GetResponse

__all__ = ["Prepare", "Router", "Target"]

THROTTLED_S: Final = 1.0

Answer = TypeVar("Answer", bound=Message)
Prepare = Callable[[int, int, int], Message]
"""Makes the message of one attempt from (epoch routed by, milliseconds left, earlier attempts that may have
been done)."""


class Target(NamedTuple):
    """The key of a request, and its keyspace: all that routing needs to know.

    A request about a part of a partition names the partition in place of a key.  One that any node may answer
    but some is for `others_than` these addresses.
    """

    keyspace: str
    key: bytes
    partition: PartitionId | None = None
    others_than: frozenset[str] = frozenset()


class Router:
    """Requests to a cluster: by key to a good coordinator, or to any node."""

    def __init__(
        self, directory: Directory, entropy: Entropy, timeout_s: float, tracing: Tracing = no_tracer
    ) -> None:
        """`tracing` tells what records the spans of requests; it is asked before each."""
        self.directory = directory
        self.tracing = tracing
        self.timeout_s = timeout_s
        balancer = directory.balancer
        self.watch = SilenceWatch(directory) if balancer is None else BalancedWatch(directory, balancer)
        self.entropy = entropy
        self._retry_budget = Budget()
        self._further_budget = Budget(limit=FURTHER_SAVED)
        self._throttle = Throttle()
        self._hot = HotReads()

    async def ask(
        self,
        method: Method[Answer],
        prepare: Prepare,
        *,
        target: Target | None = None,
        timeout_s: float | None = None,
    ) -> Answer:
        """Send the request to the best node, then to others as far as the rules and the deadline allow.

        Raises the last error; its `detail["tried"]` lists the addresses asked, in order.
        """
        self.directory.lifetime.check()
        whole_s = self.timeout_s if timeout_s is None else timeout_s
        now = asyncio.get_running_loop().time()
        if method.frame_name:
            self._check_throttle(now)
        self._earn()
        if (tracer := self.tracing()) is None:
            return await self._ask(method, prepare, target, whole_s, now, None)
        span = begun_span(tracer, method.path, target.keyspace if target is not None else "")
        with spanned(span):
            return await self._ask(method, prepare, target, whole_s, now, span)

    async def _ask(
        self,
        method: Method[Answer],
        prepare: Prepare,
        target: Target | None,
        whole_s: float,
        now: float,
        span: Span | None,
    ) -> Answer:
        """Ask the best node, which is all for nearly all requests, and then others as `_answer` does."""
        address = self._choose(method, target, ())
        attempts: Attempts | None = None
        first = self._send_first(address, method, prepare, whole_s, now)
        if first is not None:
            try:
                outcome = await first.outcome
            except BaseException:
                first.take_back()
                raise
            if isinstance(outcome, bytes):
                if span is not None:
                    span.note({"ringmill.attempts": 1})
                return self._taken(method, address, target, outcome)
            attempts = outcome
        attempts = attempts or Attempts(whole_s, now + whole_s)
        try:
            return await self._answer(method, prepare, target, attempts, None, address)
        finally:
            if span is not None:
                span.note({"ringmill.attempts": len(attempts.tried)})

    def _send_first(
        self, address: str, method: Method[Answer], prepare: Prepare, whole_s: float, now: float
    ) -> AwaitedAttempt | None:
        """Send the first attempt at once.  None when something has to come before it, or to go wrong, and
        where the link has no session."""
        if not method.frame_name:
            return None
        try:
            sender = self.directory.sender(address)
        except RingmillError:
            return None
        if sender is None or (method.is_write and not self.directory.is_proved(address)):
            return None
        if whole_s <= 0:
            return None
        slow_at = now + slow_after_s(whole_s, is_write=method.is_write, retries=0)
        attempt = AwaitedAttempt(self.watch, address, now, slow_at, whole_s)
        self.hand_over(sender, attempt, method, prepare, 0, whole_s, whole_s)
        return attempt

    def hand_over(
        self,
        sender: SendingLink,
        attempt: FirstAttempt | RequestAttempt,
        method: Method[Answer],
        prepare: Prepare,
        unsure: int,
        timeout_s: float,
        whole_s: float,
    ) -> None:
        """Give an attempt to its link, with `timeout_s` of the time that the request has; `unsure` counts the
        earlier ones that may have been done."""
        message = self._message(method, prepare, unsure, timeout_s, whole_s)
        self.watch.begin(attempt.address, attempt)
        attempt.abandon = sender.send(method, message, timeout_s, attempt.ended)

    def _message(
        self, method: Method[Answer], prepare: Prepare, unsure: int, timeout_s: float, whole_s: float
    ) -> Message:
        """What an attempt sends; a read tells less time than it has (rule D1)."""
        is_read = bool(method.frame_name) and not method.is_write
        told_s = told_time_s(timeout_s, whole_s) if is_read else timeout_s
        return prepare(self.directory.asked_epoch, max(1, int(told_s * 1000)), unsure)

    def _taken(
        self, method: Method[Answer], address: str, target: Target | None, result: bytes | Message
    ) -> Answer:
        """The answer of a node.  Raises ProtocolMismatch, outcome unknown."""
        self.note_accepted(address)
        answer = read_answer(method, address, result) if isinstance(result, bytes) else cast("Answer", result)
        self.note_answer(address, target, answer)
        return answer

    def _check_throttle(self, now: float) -> None:
        """Raises Overloaded for a request that nodes would refuse most likely (rule O6)."""
        chance = self._throttle.refusal_chance(now)
        if chance and self.entropy.uniform("client.throttle") < chance:
            self._throttle.refused(now)
            raise Overloaded(
                f"nodes refuse most requests: this client sends {1 - chance:.0%} of its own, not this one",
                detail={"retry_after": THROTTLED_S},
                hint="send less at a time",
            )

    def first(self, method: Method[Message], target: Target) -> str:
        """The node that a request goes to first."""
        return self._choose(method, target, ())

    def candidates(self, target: Target) -> list[tuple[str, bool]]:
        """All nodes in the order in which they would be asked, and whether each was silent lately."""
        return [(address, self.directory.is_silent(address)) for address in self._candidates(target)]

    def note_accepted(self, address: str) -> None:
        """The node at an address has taken a request on, and answered it (rule O6)."""
        now = asyncio.get_running_loop().time()
        self.directory.well(address, now)
        self._throttle.accepted(now)

    def note_answer(self, address: str, target: Target | None, answer: Message) -> None:
        """A node has answered, under an epoch of its own, and perhaps that the key is hot (rule G7)."""
        self.directory.hear_epoch(getattr(answer, "epoch", 0), address)
        if isinstance(answer, GetResponse) and answer.hot and target is not None:
            self._hot.heard(target.keyspace, target.key, asyncio.get_running_loop().time())

    def count(self) -> None:
        """One request is sent without `ask`.  Should it fail, `go_on` tells the rest of the story."""
        self._earn()

    async def go_on(
        self,
        method: Method[Answer],
        prepare: Prepare,
        target: Target,
        attempts: Attempts,
        error: RingmillError | None,
    ) -> Answer:
        """Go on with a request whose first attempt was made elsewhere, and has failed or is silent.

        `error` is why nothing could be sent; None when something was, and `attempts` hear of it.
        """
        if error is not None:
            self._note_failure(attempts.tried[0], error)
        return await self._answer(method, prepare, target, attempts, error)

    async def _answer(
        self,
        method: Method[Answer],
        prepare: Prepare,
        target: Target | None,
        attempts: Attempts,
        error: RingmillError | None,
        chosen: str = "",
    ) -> Answer:
        """The first answer to any attempt.

        `error` is what the last one has come to, if there was one; where there was none, the first one goes
        to the address that was `chosen`.
        """
        why: QuorumNotReached | None = None  # what a coordinator of a read has found out at the end
        try:
            while True:
                if attempts.has_news:
                    pass
                elif error is None or await self._may_go_on(error, method, target, attempts):
                    address = self._choose(method, target, attempts.tried) if attempts.tried else chosen
                    error = await self._begin(address, method, prepare, attempts)
                    if error is not None:
                        continue
                elif not attempts.are_under_way or (
                    why is not None and not is_worth_sending(attempts.left_s, attempts.whole_s)
                ):
                    is_lateness = isinstance(error, DeadlineExceeded | Unavailable)
                    raise self._final(why if why and is_lateness else error, method, target, attempts)
                attempt, result = await attempts.news()
                if isinstance(result, RingmillError):
                    is_end = result is not attempt.lateness
                    self._note_failure(attempt.address, result, is_write=method.is_write, is_end=is_end)
                    error = result
                    if isinstance(error, QuorumNotReached) and error.is_late and not method.is_write:
                        why = error
                    continue
                if len(attempts.tried) > 1 and attempt.address == attempts.tried[0]:
                    sometimes("a silent node answers before the node that was asked instead")
                return self._taken(method, attempt.address, target, result)
        finally:
            for late in attempts.late:  # nobody will hear its end
                self.directory.unwell(late)
            attempts.close()

    async def _begin(
        self, address: str, method: Method[Answer], prepare: Prepare, attempts: Attempts
    ) -> RingmillError | None:
        """Send one more attempt, unless another one has brought news meanwhile.

        The error when nothing could be sent.
        """
        attempts.tried.append(address)
        timeout_s = attempts.left_s
        if not method.frame_name:
            timeout_s = attempt_timeout_s(
                timeout_s, attempts.whole_s, is_write=method.is_write, retries=attempts.retries
            )
        if timeout_s <= 0:
            return DeadlineExceeded("the deadline passed before anything was sent", outcome="failed")
        try:
            if method.is_write:
                patience_s = min(timeout_s, self._patience_s(address, attempts))
                if not self.directory.is_proved(address):
                    await attempts.meanwhile(self.directory.prove(address, patience_s))
                timeout_s = attempts.left_s
            if not attempts.has_news:
                self._send(address, method, prepare, attempts, timeout_s)
        except RingmillError as error:
            self._note_failure(address, error)
            return error
        return None

    def _send(
        self, address: str, method: Method[Answer], prepare: Prepare, attempts: Attempts, timeout_s: float
    ) -> None:
        directory, unsure, now = self.directory, attempts.unsure, asyncio.get_running_loop().time()
        link, sender = directory.link(address), directory.sender(address)
        attempt = attempts.begin(self.watch, address, now)
        if method.frame_name:
            attempt.slow_at = now + slow_after_s(
                attempts.whole_s, is_write=method.is_write, retries=attempts.retries
            )
            if sender is not None:
                self.hand_over(sender, attempt, method, prepare, unsure, timeout_s, attempts.whole_s)
                return
        message = self._message(method, prepare, unsure, timeout_s, attempts.whole_s)
        self.watch.begin(address, attempt)
        attempts.run(attempt, link.call(method, message, timeout_s))

    def _note_failure(
        self, address: str, error: RingmillError, *, is_write: bool = False, is_end: bool = True
    ) -> None:
        """Unless it `is_end`, the attempt is slow: how it ends counts once, when that is known (rule O6)."""
        error.detail.setdefault("address", address)
        if is_end and isinstance(error, Unavailable | DeadlineExceeded | Overloaded):
            self.directory.unwell(address)
        if isinstance(error, Overloaded):
            self._throttle.refused(asyncio.get_running_loop().time())
        is_slow = isinstance(error, DeadlineExceeded) and not (is_write and error.came_late)
        is_refusal = error.was_told and error.outcome == "failed" and not is_slow
        if isinstance(error, Unavailable | DeadlineExceeded) and not is_refusal:
            self.directory.blame(address)  # but whoever refuses has answered

    @staticmethod
    def _patience_s(address: str, attempts: Attempts) -> float:
        """How long an address may take to show that it answers: short the first time it is asked, longer the
        second time."""
        share_s = attempts.whole_s * SILENCE_SHARE
        return min(STAGGER_S, share_s) if attempts.tried.count(address) == 1 else share_s

    async def _may_go_on(
        self, error: RingmillError, method: Method[Answer], target: Target | None, attempts: Attempts
    ) -> bool:
        """Pause or refresh the topology before another attempt.  False when no other attempt is allowed.

        Raises ClientClosed.
        """
        if self.directory.lifetime.is_closed and isinstance(error, Unavailable):
            is_open = method.is_write and (attempts.unsure or error.outcome != "failed")
            raise closed("unknown" if is_open else "failed") from error
        step = next_step(error, is_write=method.is_write)
        if step is Next.GIVE_UP or not is_worth_sending(attempts.left_s, attempts.whole_s):
            return False
        if step is Next.REFRESH or is_outdated(error):
            await attempts.meanwhile(self.directory.refresh(attempts.heard_from, attempts.left_s))
        if step is Next.RETRY:
            retries = attempts.retries + 1
            pause = pause_s(retries, self.entropy.uniform("client.retry"), error)
            is_in_time = is_worth_sending(attempts.left_s - pause, attempts.whole_s)
            if not may_retry(retries) or not is_in_time or not self._retry_budget.spend():
                return False
            attempts.retries = retries
            sometimes("a client retries")
            await attempts.pause(pause)
            return True
        if step is Next.FURTHER:
            has_next = attempts.are_expected  # made when the node of this attempt fell silent
            attempts.further += not has_next
            if has_next or not may_go_further(attempts.further) or not self._further_budget.spend():
                return False
            sometimes("a client sends a request again that may have been done")
            return True
        sometimes("a client turns to another node")
        return len(attempts.tried) < 2 * len(self._candidates(target))

    def _final(
        self, error: RingmillError, method: Method[Answer], target: Target | None, attempts: Attempts
    ) -> RingmillError:
        """What the caller is told when all attempts have ended without an answer."""
        if method.is_write and error.outcome == "failed" and attempts.unsure and attempts.doubt is not None:
            error = attempts.doubt
        if isinstance(error, InvalidArgument) and target and not self.directory.knows(target.keyspace):
            error.detail.pop("address", None)  # the caller's mistake, and no refusal by that node
        error.detail["tried"] = list(attempts.tried)
        return error

    def _choose(self, method: Method[Answer], target: Target | None, tried: Sequence[str]) -> str:
        """The best address among those asked least often; the owners of a hot key in turn (rule G7)."""
        turn = 0
        if method is GET and target is not None:
            turn = self._hot.next_turn(target.keyspace, target.key, asyncio.get_running_loop().time())
        candidates = self._candidates(target, turn)
        return min(candidates, key=tried.count) if tried else candidates[0]

    def _candidates(self, target: Target | None, turn: int = 0) -> list[str]:
        if target is None:
            return self.directory.addresses()
        if target.others_than:
            everybody = self.directory.addresses()
            return [each for each in everybody if each not in target.others_than] or everybody
        if target.partition is not None:
            return self.directory.addresses_of(target.partition)
        return self.directory.addresses_for(target.keyspace, target.key, turn)

    def _earn(self) -> None:
        self._retry_budget.earn()
        self._further_budget.earn()
