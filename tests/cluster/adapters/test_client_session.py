"""A client's session, whatever carries it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.adapters.network import answering
from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.handshake import Introduction
from ringmill.cluster.errors import NotFound, ProtocolMismatch, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.node.requests.forward import FORWARDS

N1 = NodeId("n1")


def echo(incoming: Incoming) -> bytes:
    assert incoming.sender == ""
    return incoming.body


def session(nodes: Any) -> ClientLink:
    return ClientLink(nodes.addresses[N1], transport=nodes.carrier)


async def streams_are(node: FrameTransport, count: int) -> None:
    """Return once clients have this number of streams to this node."""
    async with asyncio.timeout(5):
        while node.streams() != (count, 0):  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.01)


async def test_a_session_carries_calls_of_clients_into_the_handlers(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    n1.serve("kv.get", echo)
    async with session(nodes) as link:
        bodies = [bytes([number]) for number in range(200)]
        assert await asyncio.gather(*(link.session_call("kv.get", body, 5) for body in bodies)) == bodies


async def test_a_session_asks_nothing_of_a_node_that_its_check_refuses(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    asked: list[Incoming] = []

    def noted(incoming: Incoming) -> bytes:
        asked.append(incoming)
        return b""

    n1.serve("kv.get", noted)

    def check(told: Introduction) -> None:
        raise Unavailable(f"{told.node} is of another cluster", outcome="failed")

    async with ClientLink(nodes.addresses[N1], transport=nodes.carrier, check=check) as link:
        with pytest.raises(Unavailable, match="n1 is of another cluster"):
            await link.session_call("kv.get", b"", 5)
    assert not asked


async def test_a_session_takes_no_methods_of_peers(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    n1.serve("replica.apply", echo)
    async with session(nodes) as link:
        with pytest.raises(ProtocolMismatch, match=r"'replica\.apply' on this stream"):
            await link.session_call("replica.apply", b"", 5)


async def test_a_session_hands_no_write_on_for_a_node(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    n1.serve(FORWARDS["put"], echo)
    async with session(nodes) as link:
        with pytest.raises(ProtocolMismatch, match="on this stream"):
            await link.session_call(FORWARDS["put"], b"", 5)


async def test_a_session_takes_no_control_class(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    n1.serve("kv.get", echo)
    async with session(nodes) as link:
        with pytest.raises(ProtocolMismatch, match="class 0"):
            await link.session_call("kv.get", b"", 5, priority=Priority.CONTROL)


async def test_a_handlers_error_is_the_sessions_error(nodes: Any) -> None:
    n1 = await nodes.start("n1")

    def missing(_: Incoming) -> bytes:
        raise NotFound("no such key")

    n1.serve("kv.get", missing)
    async with session(nodes) as link:
        with pytest.raises(NotFound, match="no such key"):
            await link.session_call("kv.get", b"", 5)


async def test_a_session_that_broke_is_dialled_again(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    n1.serve("kv.get", echo)
    async with session(nodes) as link:
        assert await link.session_call("kv.get", b"1", 5) == b"1"
        await nodes.crash(N1)
        await nodes.start("n1", at=nodes.addresses[N1], handlers={"kv.get": echo})
        async with asyncio.timeout(20):
            while True:
                try:
                    assert await link.session_call("kv.get", b"2", 5) == b"2"
                    break
                except Unavailable:
                    await asyncio.sleep(0.02)


async def test_an_idle_session_is_ended_when_asked_and_dialled_anew_for_the_next_call(
    nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    n1, began, may_end = await nodes.start("n1"), asyncio.Event(), asyncio.Event()

    async def wait(incoming: Incoming) -> bytes:
        began.set()
        await may_end.wait()
        return incoming.body

    n1.serve("kv.get", echo)
    n1.serve("kv.put", wait)
    async with session(nodes) as idle, session(nodes) as busy:
        await idle.session_call("kv.get", b"1", 5)
        putting = asyncio.create_task(busy.session_call("kv.put", b"2", 5))
        await began.wait()
        await streams_are(n1, 2)  # those over gRPC go once the sessions are where the node offered
        assert n1.end_idle(9) == 0, "it was heard of a moment ago"
        monkeypatch.setattr(answering, "IDLE_S", 0.0)
        assert n1.end_idle(0) == 0
        assert n1.end_idle(9) == 1, "the other one has a call under way"
        await streams_are(n1, 1)
        may_end.set()
        assert await putting == b"2"
        assert await idle.session_call("kv.get", b"3", 5) == b"3"


async def test_clients_hear_that_a_node_is_about_to_stop_and_what_they_ask_is_still_done(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    n1.serve("kv.get", echo)
    heard = asyncio.Event()
    async with session(nodes) as link:
        link.leaving = heard.set
        await link.session_call("kv.get", b"1", 5)
        assert n1.say_leaving() >= 1  # a stream that was dialled anew may still be there
        async with asyncio.timeout(5):
            await heard.wait()
        assert await link.session_call("kv.get", b"2", 5) == b"2"


async def test_peers_are_sent_no_notice_as_the_failure_detector_tells_them(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")

    def body(incoming: Incoming) -> bytes:
        return incoming.body

    n2.serve("echo", body)
    await n1.call(NodeId("n2"), "echo", b"", timeout_s=5, priority=Priority.WRITE)
    assert n2.say_leaving() == 0
    assert await n1.call(NodeId("n2"), "echo", b"3", timeout_s=5, priority=Priority.WRITE) == b"3"
