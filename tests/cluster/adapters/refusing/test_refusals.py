"""Calls that a node has no room for are refused before anything is made of them, many by one answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from ringmill.cluster.adapters.network.answered_stream import Dialler
from ringmill.cluster.adapters.network.answering import Answering
from ringmill.cluster.adapters.network.frame_link import FrameLink
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Overloaded, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.overload.gate import Gate
from ringmill.cluster.overload.work_limit import WorkLimitOptions
from ringmill.cluster.ports import Arrival, Priority
from ringmill.cluster.wire.error_bytes import decode_error, encode_error
from ringmill.cluster.wire.frames import decode_answers, decode_operations, encode_answers, encode_operations

WRITE = Priority.WRITE


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_calls_that_are_refused_together_each_hear_of_it_and_others_do_not(memory_streams: Any) -> None:
    ours, theirs = memory_streams

    async def dial() -> Any:
        return ours

    told: dict[int, bytes | RingmillError] = {}
    link = FrameLink("n2", dial, clock=SystemClock(), entropy=OsEntropy())
    for number in range(1, 7):
        link.send("kv.put", b"", 30, WRITE, partial(told.__setitem__, number))
    frame = await theirs.read()
    assert frame is not None
    assert [operation[0] for operation in decode_operations(frame)[0]] == [1, 2, 3, 4, 5, 6]
    refusal = encode_error(Overloaded("too much", detail={"retry_after": 0.5}))
    await theirs.write(encode_answers([(2, b"", refusal, 4), (5, b"five"), (6, b"", refusal, 2**64 - 1)]))
    for _ in range(20):
        await settled()
    await link.close()
    assert {number: type(each) for number, each in told.items()} == {
        1: Unavailable, 2: Overloaded, 3: Overloaded, 4: Overloaded, 5: bytes, 6: Overloaded,
    }  # fmt: skip


@pytest.mark.parametrize("takes_runs", [False, True])
async def test_a_gate_refuses_before_a_handler_is_asked(memory_streams: Any, takes_runs: bool) -> None:
    ours, theirs = memory_streams
    begun: list[bytes] = []

    def keep(arrivals: Sequence[Arrival]) -> None:
        begun.extend(arrival.body for arrival in arrivals)

    few = WorkLimitOptions(first_limit=2, least_limit=2, most_limit=2, least_queue=1, first_rate=1)
    gate = Gate("n2", SystemClock(), few)
    async with asyncio.TaskGroup() as group:
        handlers = {"kv.get": gate.guard(keep, Priority.READ)}
        answering = Answering({}, batch_handlers=handlers, name="n2", clock=SystemClock(), group=group)
        answering.gate = gate
        dialler = Dialler(NodeId(""), "kv.", Priority.WRITE, takes_runs=takes_runs, is_screened=True)
        serving = group.create_task(answering.serve(theirs, dialler))
        calls = [(number, "kv.get", 1_000_000, int(Priority.READ), b"%d" % number) for number in range(6)]
        await ours.write(encode_operations(calls))
        frame = await ours.read()
        serving.cancel()
        await answering.close()
    answers = decode_answers(frame)[0]
    assert begun == [b"0", b"1"]
    assert [answer[0] for answer in answers] == ([3] if takes_runs else [3, 4, 5])
    assert all(isinstance(decode_error(answer[2]), Overloaded) for answer in answers if len(answer) > 2)
    assert [answer[3] for answer in answers if len(answer) == 4] == ([5] if takes_runs else [])
