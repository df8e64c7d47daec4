"""The orders that one job has given to workers, until it is known that they have arrived, and what is
ended because only one side knows of it.

An order is sent by itself, or it travels with the answer to a worker's report.  That such an answer has
arrived nobody says: the worker's next word of the attempt shows it, a report or the answer to a poll.  An
attempt that a worker does not tell of is lost, and one that only the worker knows is stopped (rule J5).

Rule J5: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Final, NamedTuple, Protocol

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.machine.job_events import (
    AttemptFailed,
    AttemptId,
    Event,
    Stage,
    StartMap,
    StartReduce,
)
from ringmill.cluster.mapreduce.machine.task_state import Attempt, AttemptState
from ringmill.cluster.mapreduce.messages.worker_messages import (
    TASK_CANCEL,
    TASK_START,
    Cancel,
    PollAnswer,
    assignment_of,
    encode_assignments,
)
from ringmill.cluster.sometimes import sometimes
from ringmill.node.jobs.surroundings import Surroundings

__all__ = ["Orders", "Ordering", "Polled"]

_CALL_TIMEOUT_S: Final = 5.0
_KEPT_S: Final = 0.005  # about what an entry of the journal takes
_MOST: Final = 64  # of one message
_MOST_SLICES: Final = 4096  # the same, or pieces of splits: some 60 bytes each
_POLLS_MISSED: Final = 2  # the answer with an order may be behind the first poll


class Ordering(Protocol):
    """The job whose orders they are (ringmill.node.jobs.job_driver)."""

    def feed(self, event: Event) -> None: ...

    def attempt(self, attempt: AttemptId) -> Attempt | None: ...

    def meet(self, node: NodeId, answered: PollAnswer) -> None: ...

    def lose(self, node: NodeId) -> None:
        """A worker did not answer: nothing is ordered of it until a poll gets through."""
        ...

    def wake(self) -> None: ...

    def ordering(self, stage: Stage) -> AbstractContextManager[None]:
        """Orders for attempts of a stage are given within it."""
        ...

    def order_form(self) -> tuple[str, int, NodeId, bytes]:
        """What all orders carry: job, term, coordinator, and what its tasks run."""
        ...


class Polled(NamedTuple):
    """What was known to be at a worker when it was polled."""

    accepted: tuple[AttemptId, ...]
    given: tuple[AttemptId, ...]


@dataclass(slots=True)
class _Given:
    """An order that travels with an answer."""

    node: NodeId
    missed: int = 0  # polls whose answer did not have it


class Orders:
    """`begin` runs a coroutine in the job's own task group."""

    def __init__(
        self, job: Ordering, world: Surroundings, begin: Callable[[Coroutine[Any, Any, None]], object]
    ) -> None:
        self._job, self._world, self._ask, self._begin = job, world, world.ask, begin
        self._waiting: list[StartMap | StartReduce] = []  # that have a slot and are to be sent
        self._accepted: dict[AttemptId, NodeId] = {}  # attempts that a worker has confirmed
        self._given: dict[AttemptId, _Given] = {}  # those that it has not, and may have
        self._stopping: dict[AttemptId, None] = {}
        self._kept: set[NodeId] = set()  # whose orders are to travel with an answer

    def add(self, start: StartMap | StartReduce) -> None:
        """It has a slot: it is sent with the next ones."""
        self._waiting.append(start)

    def resume(self, attempt: AttemptId, node: NodeId) -> None:
        """A former coordinator has ordered it; the worker has to know it."""
        self._accepted[attempt] = node

    @contextmanager
    def kept_for_answer(self, node: NodeId) -> Iterator[None]:
        """While a report of a worker is handled its orders wait for the answer, a moment: the journal, for
        which the answer waits, may take longer."""
        over = asyncio.get_running_loop().call_later(_KEPT_S, self._keep_no_more, node)
        self._kept.add(node)
        try:
            yield
        finally:
            over.cancel()
            self._keep_no_more(node)

    def _keep_no_more(self, node: NodeId) -> None:
        self._kept.discard(node)
        if any(each.node == node for each in self._waiting):
            self._job.wake()

    def send(self) -> None:
        """Send what waits, a message for each worker."""
        nodes = list(dict.fromkeys(each.node for each in self._waiting))
        for node in [each for each in nodes if each not in self._kept]:
            for starts in _batches(self._taken(node)):
                self._begin(self._start(node, starts))

    def with_answer(self, node: NodeId) -> bytes:
        """The orders for a worker that are to travel with the answer to its report; empty for none."""
        starts = self._taken(node)
        first, *others = _batches(starts) or [[]]
        for each in others:
            self._waiting += each
        if not first:
            return b""
        sometimes("an order travels with the answer to a report")
        self._given.update((each.attempt, _Given(node)) for each in first)
        with self._job.ordering(first[0].attempt.stage):
            return self._encoded(first)

    def heard_of(self, attempt: AttemptId, node: NodeId, *, has_ended: bool) -> None:
        """Its worker has told of an attempt."""
        was_given = self._given.pop(attempt, None) is not None
        if has_ended:
            self._accepted.pop(attempt, None)
        elif was_given:
            self._accepted[attempt] = node

    def is_stopping(self, attempt: AttemptId) -> bool:
        """Whether an attempt is being stopped, and needs its slot for as long."""
        return attempt in self._stopping

    def at(self, node: NodeId) -> Polled:
        """What a worker that is polled now has to tell of."""
        return Polled(
            tuple(attempt for attempt, where in self._accepted.items() if where == node),
            tuple(attempt for attempt, given in self._given.items() if given.node == node),
        )

    def compare(self, node: NodeId, polled: Polled, answered: PollAnswer) -> None:
        """End what one side alone knows (rule J5)."""
        running = frozenset(answered.running)
        for attempt in polled.given:
            if (given := self._given.get(attempt)) is None or given.node != node:
                continue
            given.missed += 1
            if attempt in running:
                self.heard_of(attempt, node, has_ended=False)
            elif given.missed >= _POLLS_MISSED:
                del self._given[attempt]
                self._lost(attempt, f"{node} has not got the order")
        for attempt in polled.accepted:
            if attempt not in running and self._accepted.pop(attempt, None) is not None:
                sometimes("a worker has forgotten an attempt")
                self._lost(attempt, f"{node} does not know the attempt any more")
        for attempt in answered.running:
            if not self._may_run(attempt, node, answered.start) and attempt not in self._stopping:
                sometimes("a stray attempt is stopped")
                self.stop(attempt, node)

    def stop(self, attempt: AttemptId, node: NodeId) -> None:
        """Have a worker stop an attempt."""
        self._stopping[attempt] = None
        self._begin(self._cancel(attempt, node))

    def _taken(self, node: NodeId) -> list[StartMap | StartReduce]:
        taken = [each for each in self._waiting if each.node == node]
        self._waiting = [each for each in self._waiting if each.node != node]
        return taken

    def _encoded(self, starts: Sequence[StartMap | StartReduce]) -> bytes:
        form = self._job.order_form()
        return encode_assignments([assignment_of(each, *form) for each in starts])

    async def _start(self, node: NodeId, starts: Sequence[StartMap | StartReduce]) -> None:
        try:
            with self._job.ordering(starts[0].attempt.stage):
                answer = await self._ask(node, TASK_START, self._encoded(starts), _CALL_TIMEOUT_S)
            answered = PollAnswer.decode(answer)
        except RingmillError as error:
            self._job.lose(node)
            sometimes("a worker does not take an assignment")
            for start in starts:
                self._lost(start.attempt, f"{node} did not take the assignment: {error}")
            return
        for start in starts:
            self._accepted[start.attempt] = node
        self._job.meet(node, answered)

    async def _cancel(self, attempt: AttemptId, node: NodeId) -> None:
        job, term, _, _ = self._job.order_form()
        try:
            await self._ask(node, TASK_CANCEL, Cancel(job, term, attempt).encode(), _CALL_TIMEOUT_S)
        except RingmillError:
            self._job.lose(node)  # the next poll that gets through finds the stray and stops it
        self._stopping.pop(attempt, None)
        self._forget(attempt, node)
        started = self._job.attempt(attempt)
        if started is not None and started.state is AttemptState.RUNNING and started.node == node:
            sometimes("a stray had the name of an attempt")
            # A stray of a former coordinator had the name of an attempt that was started meanwhile.
            self._lost(attempt, f"{node} stopped it as a stray")
        self._job.wake()

    def _forget(self, attempt: AttemptId, node: NodeId) -> None:
        """What one worker stopped says nothing of the attempt of that name which another one has accepted."""
        if self._accepted.get(attempt) == node:
            del self._accepted[attempt]
        if (given := self._given.get(attempt)) is not None and given.node == node:
            del self._given[attempt]

    def _lost(self, attempt: AttemptId, why: str) -> None:
        self._job.feed(AttemptFailed(attempt, TaskFailed(Cause.LOST_NODE, why)))

    def _may_run(self, attempt_id: AttemptId, node: NodeId, start: str) -> bool:
        """Whether a worker may tell of an attempt: it runs, or its report has come and not yet the answer."""
        attempt = self._job.attempt(attempt_id)
        if attempt is None or (attempt.node, attempt.start) != (node, start):
            return False
        return attempt.is_open or attempt.state is AttemptState.DONE


def _batches(starts: Sequence[StartMap | StartReduce]) -> list[list[StartMap | StartReduce]]:
    """What may be in one message each."""
    return list(_cut(starts))


def _cut(starts: Sequence[StartMap | StartReduce]) -> Iterator[list[StartMap | StartReduce]]:
    batch: list[StartMap | StartReduce] = []
    slices = 0
    for start in starts:
        more = len(start.sources if isinstance(start, StartReduce) else start.split.pieces)
        if batch and (len(batch) >= _MOST or slices + more > _MOST_SLICES):
            yield batch
            batch, slices = [], 0
        batch.append(start)
        slices += more
    if batch:
        yield batch
