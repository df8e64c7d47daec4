"""Ask owners for a key until enough have answered.

It asks the nearest live owners first.  An owner that fails is replaced at once, and a silent one after a
short wait, so that a stopped process costs a read a moment and not its whole deadline (rule G1).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from ringmill.cluster.errors import QuorumNotReached, RingmillError
from ringmill.cluster.ids import Epoch, NodeId
from ringmill.cluster.quorum.tally import ReadTally
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.versions.objects import StoredObject, merge_all
from ringmill.node.contracts import LivenessView
from ringmill.node.node_options import RequestOptions
from ringmill.node.replica.routes import Route
from ringmill.node.requests.background import Background
from ringmill.node.requests.deadline import Deadline
from ringmill.node.requests.replicas import Replicas

__all__ = ["Collected", "Collector"]

Reply = tuple[NodeId, StoredObject, Epoch] | tuple[NodeId, Exception, None]


@dataclass(frozen=True, slots=True)
class Collected:
    """The answer of each owner, in the order of arrival."""

    answers: dict[NodeId, StoredObject]

    @property
    def merged(self) -> StoredObject:
        return merge_all(self.answers.values())


class Collector:
    def __init__(
        self,
        *,
        replicas: Replicas,
        liveness: LivenessView,
        background: Background,
        options: RequestOptions,
    ) -> None:
        self._replicas = replicas
        self._liveness = liveness
        self._background = background
        self._options = options

    async def collect(self, route: Route, r: int, deadline: Deadline) -> Collected:
        """The answers of `r` owners under one row epoch.

        Raises QuorumNotReached (nothing was changed) when too many fail or the deadline comes first.
        """
        tally = ReadTally(r, self._nearest_first(route.owners), route.row.row_epoch)
        answers: dict[NodeId, StoredObject] = {}
        replies: asyncio.Queue[Reply] = asyncio.Queue()
        asked: list[asyncio.Task[None]] = []
        try:
            while not tally.is_met and deadline.left_s > 0:
                asked += [
                    self._background.start(self._ask(node, route, deadline, replies))
                    for node in tally.next_to_ask()
                ]
                reply = await _next_within(replies, self._patience(tally, deadline))
                if reply is not None:
                    _record(reply, tally, answers)
                elif not tally.is_lost:
                    sometimes("a read replaces a silent owner")
                    tally.record_stall()
                if tally.is_lost and (reply is None or not tally.outstanding):
                    break  # all owners that the error could name have had time to answer
        finally:
            for task in asked:
                task.cancel()
        if not tally.is_met:
            sometimes("a read does not meet its quorum")
            raise _not_reached(tally, deadline)
        return Collected(answers)

    async def _ask(
        self, node: NodeId, route: Route, deadline: Deadline, replies: asyncio.Queue[Reply]
    ) -> None:
        try:
            stored, row_epoch = await self._replicas.read(node, route, deadline.left_s)
        except RingmillError as error:
            replies.put_nowait((node, error, None))
        else:
            replies.put_nowait((node, stored, row_epoch))

    def _nearest_first(self, owners: Sequence[NodeId]) -> list[NodeId]:
        """This node first, then the others by health (rule T7)."""
        ordered = self._liveness.nearest_first(owners)
        return sorted(ordered, key=lambda node: node != self._replicas.node)

    def _patience(self, tally: ReadTally, deadline: Deadline) -> float:
        """How long to wait before asking another owner or giving up a level that cannot be met; until the
        deadline if no other owner is left."""
        if tally.has_unasked or tally.is_lost:
            return min(self._options.stall_s, deadline.allowed_s / 4, deadline.left_s)
        return deadline.left_s


def _record(reply: Reply, tally: ReadTally, answers: dict[NodeId, StoredObject]) -> None:
    node, told, row_epoch = reply
    if isinstance(told, Exception):
        tally.record_failure(node, str(told) or type(told).__name__)
    elif row_epoch is not None and tally.record_answer(node, row_epoch):
        answers[node] = told


async def _next_within(replies: asyncio.Queue[Reply], wait_s: float) -> Reply | None:
    try:
        async with asyncio.timeout(wait_s):
            return await replies.get()
    except TimeoutError:
        return None


def _not_reached(tally: ReadTally, deadline: Deadline) -> QuorumNotReached:
    silent = f"no answer within {deadline.allowed_s - deadline.left_s:.2f} s"
    return QuorumNotReached.of("get", tally.r, tally.answered, tally.reasons(silent), outcome="failed")
