"""What a coordinator knows of the orders it has given (rule J5)."""

from __future__ import annotations

from collections.abc import Coroutine
from contextlib import AbstractContextManager, nullcontext
from types import SimpleNamespace
from typing import Any, cast

from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.machine.job_events import AttemptFailed, AttemptId, Event, StartMap
from ringmill.cluster.mapreduce.machine.task_state import Attempt
from ringmill.cluster.mapreduce.messages.worker_messages import PollAnswer, decode_assignments
from ringmill.node.jobs.surroundings import Surroundings
from ringmill.node.jobs.workers.orders import Orders

N1, N2 = NodeId("n1"), NodeId("n2")
FIRST, SECOND = AttemptId("map", 0, 1), AttemptId("map", 1, 1)


class Job:
    """One whose attempts all run on n1; it sends nothing by itself."""

    def __init__(self) -> None:
        self.lost: list[AttemptId] = []
        world = cast("Surroundings", SimpleNamespace(ask=None))
        self.orders = Orders(self, world, self._begin)

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        work.close()

    def feed(self, event: Event) -> None:
        assert isinstance(event, AttemptFailed)
        self.lost.append(event.attempt)

    def attempt(self, attempt: AttemptId) -> Attempt | None:
        return Attempt(attempt, N1, "1")

    def meet(self, node: NodeId, answered: PollAnswer) -> None: ...

    def lose(self, node: NodeId) -> None: ...

    def wake(self) -> None: ...

    def ordering(self, stage: str) -> AbstractContextManager[None]:
        return nullcontext()

    def order_form(self) -> tuple[str, int, NodeId, bytes]:
        return "job-1", 1, N2, b"spec"

    def polled(self, *running: AttemptId) -> None:
        self.orders.compare(N1, self.orders.at(N1), PollAnswer("1", 1, running))


def given(job: Job) -> None:
    for attempt in (FIRST, SECOND):
        job.orders.add(StartMap(attempt, N1, Split(attempt.task, ()), 1))
    assert job.orders.with_answer(N2) == b""
    orders = decode_assignments(job.orders.with_answer(N1))
    assert [each.attempt for each in orders] == [FIRST, SECOND]
    assert job.orders.with_answer(N1) == b""


def test_an_order_that_came_with_an_answer_is_lost_when_two_polls_do_not_tell_of_it() -> None:
    job = Job()
    given(job)
    before = job.orders.at(N1)
    job.orders.heard_of(FIRST, N1, has_ended=False)
    job.polled(FIRST)
    assert job.lost == [], "the answer may be behind the first poll"
    job.polled(FIRST)
    assert job.lost == [SECOND]
    job.polled()
    assert job.lost == [SECOND, FIRST], "a worker that has told of an attempt has forgotten it at once"
    job.orders.compare(N1, before, PollAnswer("1", 1, ()))
    assert job.lost == [SECOND, FIRST]


def test_an_order_of_which_a_poll_or_an_end_tells_has_arrived() -> None:
    job = Job()
    given(job)
    job.polled(FIRST, SECOND)
    job.orders.heard_of(FIRST, N1, has_ended=True)
    job.polled(SECOND)
    assert job.lost == []
    job.polled()
    assert job.lost == [SECOND]
