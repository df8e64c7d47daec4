"""Coordinators and workers of this release and an earlier one understand each other's polls."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import msgpack
import pytest

from ringmill.cluster.errors import ProtocolMismatch, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.messages.worker_messages import Machine, Poll, PollAnswer
from ringmill.node.jobs.surroundings import Surroundings
from ringmill.node.jobs.workers.worker_polls import WorkerPolls

N1 = NodeId("n1")
HOST = Machine("host", 2)
ANSWER = PollAnswer("1.boot", 3, (), HOST)
UNASKED = PollAnswer("1.boot", 3, ())
LACKING = PollAnswer("1.boot", 0, (), HOST, "its machine has no memory left")


class WorkerNode:
    def __init__(self, *, knows: int) -> None:
        self.knows, self.is_down = knows, False
        self.asked: list[int] = []  # fields of each poll

    async def ask(self, node: NodeId, method: str, body: bytes, timeout_s: float) -> bytes:
        if self.is_down:
            raise Unavailable("nobody answers")
        fields: list[Any] = msgpack.unpackb(body)
        self.asked.append(len(fields))
        if len(fields) > self.knows:
            raise ProtocolMismatch("not a poll: too many values to unpack (expected 2)")
        poll = Poll.decode(body)
        return (LACKING if poll.asks_why else ANSWER if poll.asks_machine else UNASKED).encode()


def polling(worker: WorkerNode) -> WorkerPolls:
    return WorkerPolls(cast("Surroundings", SimpleNamespace(ask=worker.ask)))


async def test_a_worker_tells_its_machine_and_what_it_lacks_when_asked() -> None:
    worker = WorkerNode(knows=6)
    assert await polling(worker).poll(N1, "j-1", 1) == LACKING
    assert worker.asked == [6]


async def test_a_worker_of_an_earlier_release_is_polled_as_it_knows_until_it_may_be_another_one() -> None:
    worker = WorkerNode(knows=3)
    polls = polling(worker)
    for _ in range(2):
        assert (await polls.poll(N1, "j-1", 1)).machine is None
    assert worker.asked == [6, 5, 4, 3, 3]
    worker.knows = 6
    polls.forget(N1)
    assert (await polls.poll(N1, "j-1", 1)).machine == HOST
    assert worker.asked[5:] == [6]


@pytest.mark.parametrize(("knows", "asked"), [(4, [6, 5, 4, 4]), (5, [6, 5, 5])])
async def test_a_worker_that_knows_less_still_tells_its_machine(knows: int, asked: list[int]) -> None:
    """Of the release before heavy keys, and of the one before it says what it lacks."""
    worker = WorkerNode(knows=knows)
    polls = polling(worker)
    for _ in range(2):
        assert await polls.poll(N1, "j-1", 1) == ANSWER
    assert worker.asked == asked


async def test_one_that_does_not_answer_is_not_taken_for_one_of_an_earlier_release() -> None:
    worker = WorkerNode(knows=6)
    polls, worker.is_down = polling(worker), True
    with pytest.raises(Unavailable):
        await polls.poll(N1, "j-1", 1)
    worker.is_down = False
    assert (await polls.poll(N1, "j-1", 1)).machine == HOST


def test_a_coordinator_of_an_earlier_release_reads_an_answer_without_the_machine() -> None:
    assert not Poll.decode(msgpack.packb([5, "j-1", 1])).asks_machine, "as it polls"
    version, start, slots, running = msgpack.unpackb(UNASKED.encode())  # as it reads
    assert (version, start, slots, running) == (5, "1.boot", 3, [])


@pytest.mark.parametrize("answer", [ANSWER, UNASKED, LACKING, replace(ANSWER, why="")])
def test_an_answer_is_read_as_it_was_told(answer: PollAnswer) -> None:
    assert PollAnswer.decode(answer.encode()) == answer


def test_what_is_behind_the_term_of_a_poll_is_true() -> None:
    for wrong in ([False], [1], [1, 2], ["x"], [True, False], [True, True, True, True]):
        with pytest.raises(ProtocolMismatch, match="a poll"):
            Poll.decode(msgpack.packb([5, "j-1", 1, *wrong]))
