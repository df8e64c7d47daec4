"""A node that asks itself gets what anybody else would get from it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import DeadlineExceeded, NotFound, ProtocolMismatch
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.node.calls_to_self import CallsToSelf

N1, N2 = NodeId("n1"), NodeId("n2")


async def answer(incoming: Incoming) -> bytes:
    match incoming.body:
        case b"refuse":
            raise NotFound("there is none")
        case b"wait":
            await asyncio.sleep(10)
    return b"%s to %s" % (incoming.body, incoming.sender.encode())


@pytest.fixture
def n1(wire: Any) -> CallsToSelf:
    """With a method that answers at once and one that takes its time."""
    transport = CallsToSelf(N1, wire.end(N1), SystemClock())
    transport.serve("soon", answer)
    transport.serve("now", lambda incoming: incoming.body)
    return transport


async def ask(transport: CallsToSelf, method: str, body: bytes) -> bytes:
    return await transport.call(N1, method, body, timeout_s=0.05, priority=Priority.WRITE)


async def test_it_is_answered_by_the_handler_that_answers_peers(n1: CallsToSelf, wire: Any) -> None:
    peer = CallsToSelf(N2, wire.end(N2), SystemClock())
    assert await ask(n1, "soon", b"this") == b"this to n1"
    assert await ask(peer, "soon", b"this") == b"this to n2"
    assert await ask(n1, "now", b"this") == b"this"


async def test_what_the_handler_raises_and_a_late_answer_are_errors_as_from_any_node(n1: CallsToSelf) -> None:
    with pytest.raises(NotFound):
        await ask(n1, "soon", b"refuse")
    with pytest.raises(DeadlineExceeded) as late:
        await ask(n1, "soon", b"wait")
    assert late.value.outcome == "unknown"
    with pytest.raises(ProtocolMismatch):
        await ask(n1, "never served", b"")


async def test_an_answer_may_wait_any_number_of_times(n1: CallsToSelf) -> None:
    async def patient(incoming: Incoming) -> bytes:
        for _ in range(3):
            await asyncio.sleep(0)
        async with asyncio.timeout(5):
            return await asyncio.to_thread(lambda: incoming.body)

    n1.serve("patient", patient)
    assert await ask(n1, "patient", b"this") == b"this"


@pytest.mark.parametrize("waits", [0, 1, 2])
async def test_a_caller_that_gives_up_ends_the_answer_wherever_it_waits(n1: CallsToSelf, waits: int) -> None:
    ended: list[str] = []
    waiting = asyncio.Event()

    async def endless(incoming: Incoming) -> bytes:
        for _ in range(waits):
            await asyncio.sleep(0)
        try:
            waiting.set()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append("in order")
        return b""

    n1.serve("endless", endless)
    call = asyncio.create_task(n1.call(N1, "endless", b"", timeout_s=5, priority=Priority.READ))
    await waiting.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    assert ended == ["in order"]
