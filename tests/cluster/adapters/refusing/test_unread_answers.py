"""Who does not read its answers cannot ask on: their bytes are bounded on each stream."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from ringmill.cluster.adapters.network import answering as answering_module
from ringmill.cluster.adapters.network.answered_stream import (
    FIRST_ANSWER_BYTES,
    LEAST_STREAM_BYTES,
    NODE_BYTES,
    STREAM_BYTES,
    TURN_BYTES,
    Dialler,
    share_of_answers,
)
from ringmill.cluster.adapters.network.answering import Answering
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import DeadlineExceeded
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Arrival, Priority
from ringmill.cluster.wire.error_bytes import decode_error
from ringmill.cluster.wire.frames import decode_answers, encode_operations

LARGE = b"." * (1024 * 1024)
GETS = 400


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def test_a_stream_that_is_not_read_has_few_calls_begun_and_all_once_it_is(memory_streams: Any) -> None:
    ours, theirs = memory_streams
    begun: list[bytes] = []
    in_turns: list[int] = []

    def answer(arrivals: Sequence[Arrival]) -> None:
        begun.extend(arrival.body for arrival in arrivals)
        in_turns.append(len(arrivals))
        for arrival in arrivals:
            arrival.answer(LARGE)

    theirs.moves.clear()
    async with asyncio.TaskGroup() as group:
        answering = Answering(
            {}, batch_handlers={"kv.get": answer}, name="n1", clock=SystemClock(), group=group
        )
        dialler = Dialler(NodeId(""), "kv.", Priority.WRITE, is_screened=True)
        serving = group.create_task(answering.serve(theirs, dialler))
        calls = [(number, "kv.get", 60_000_000, int(Priority.READ), b"%d" % number) for number in range(GETS)]
        await ours.write(encode_operations(calls))
        await settled()
        assert 0 < len(begun) <= STREAM_BYTES // FIRST_ANSWER_BYTES
        theirs.moves.set()
        answered = 0
        async with asyncio.timeout(30):
            while answered < GETS:
                answered += len(decode_answers(await ours.read())[0])
        assert len(begun) == GETS
        assert max(in_turns) <= TURN_BYTES // FIRST_ANSWER_BYTES + 1, "others have their turn between them"
        serving.cancel()


async def test_calls_whose_answers_are_slow_hold_up_nobody_behind_them(memory_streams: Any) -> None:
    ours, theirs = memory_streams
    begun: list[Arrival] = []
    async with asyncio.TaskGroup() as group:
        answering = Answering(
            {}, batch_handlers={"kv.get": begun.extend}, name="n1", clock=SystemClock(), group=group
        )
        dialler = Dialler(NodeId(""), "kv.", Priority.WRITE, is_screened=True)
        serving = group.create_task(answering.serve(theirs, dialler))
        calls = [(number, "kv.get", 60_000_000, int(Priority.READ), b"") for number in range(40)]
        await ours.write(encode_operations(calls))
        async with asyncio.timeout(30):
            while len(begun) < len(calls):  # noqa: ASYNC110  nobody tells when they have begun
                await asyncio.sleep(0.01)
        for arrival in begun:
            arrival.answer(b"")
        serving.cancel()


class Later(SystemClock):
    """A clock that a test puts on."""

    by_s = 0.0

    def boottime(self) -> float:
        return super().boottime() + self.by_s


async def test_a_long_answer_that_waited_past_its_deadline_is_not_sent(memory_streams: Any) -> None:
    """Rule D2: what others wait for would stand behind it."""
    ours, theirs = memory_streams
    theirs.moves.clear()
    clock, answers = Later(), {b"long": LARGE, b"short": b"short"}
    async with asyncio.TaskGroup() as group:
        answering = Answering({"x": lambda asked: answers[asked.body]}, name="n1", clock=clock, group=group)
        serving = group.create_task(answering.serve(theirs, Dialler(NodeId("n2"))))
        asked = [(60, b"long"), (5, b"long"), (5, b"short"), (60, b"long")]
        calls = [
            (number, "x", limit_s * 1_000_000, int(Priority.BULK), body)
            for number, (limit_s, body) in enumerate(asked)
        ]
        await ours.write(encode_operations(calls))
        await settled()
        clock.by_s = 30.0
        theirs.moves.set()
        told: dict[int, Any] = {}
        while len(told) < len(calls):
            told.update({each[0]: each for each in decode_answers(await ours.read())[0]})
        assert (told[0], told[2], told[3]) == ((0, LARGE), (2, b"short"), (3, LARGE))
        error = decode_error(told[1][2])
        assert isinstance(error, DeadlineExceeded) and error.outcome == "unknown"
        serving.cancel()


def test_the_room_of_a_node_is_shared_by_its_streams() -> None:
    assert share_of_answers(1) == STREAM_BYTES
    assert share_of_answers(NODE_BYTES // STREAM_BYTES * 4) == STREAM_BYTES // 4
    assert share_of_answers(16_384) == LEAST_STREAM_BYTES


async def test_a_stream_is_not_idle_while_its_answer_is_being_written(
    memory_streams: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(answering_module, "IDLE_S", 0.0)
    ours, theirs = memory_streams
    theirs.moves.clear()
    async with asyncio.TaskGroup() as group:
        answering = Answering({"kv.get": lambda _: LARGE}, name="n1", clock=SystemClock(), group=group)
        dialler = Dialler(NodeId(""), "kv.", Priority.WRITE, is_screened=True)
        serving = group.create_task(answering.serve(theirs, dialler))
        await ours.write(encode_operations([(1, "kv.get", 60_000_000, int(Priority.READ), b"")]))
        await settled()
        assert answering.end_idle(9) == 0
        theirs.moves.set()
        assert decode_answers(await ours.read())[0][0][1] == LARGE
        await settled()
        assert answering.end_idle(9) == 1
        await serving
