"""Links of a node that goes over to the cluster that was made of its own (rule T9)."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.errors import ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.ids import ClusterId, NodeId
from ringmill.cluster.ports import Incoming, Priority

N1, N2 = NodeId("n1"), NodeId("n2")
C2, C1 = ClusterId("c2"), ClusterId("c1")


def echo(incoming: Incoming) -> bytes:
    return incoming.body


async def ask(by: FrameTransport, method: str, priority: Priority) -> bytes:
    return await by.call(N2, method, b"hi", timeout_s=5, priority=priority)


async def test_a_link_that_was_admitted_before_its_side_went_over_is_dialled_anew(
    nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    n1, n2 = await nodes.start("n1", cluster="c1"), await nodes.start("n2", cluster="c1")
    n1.join(C2, C1)
    n2.serve("echo", echo)
    proved = n2._await_proof
    has_waited = False

    async def joined_meanwhile(*given: Any) -> bytes:
        nonlocal has_waited
        has_waited = True
        n2.join(C2, C1)
        shown: bytes = await proved(*given)
        return shown

    monkeypatch.setattr(n2, "_await_proof", joined_meanwhile)
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(Unavailable, ProtocolMismatch):
                assert await ask(n1, "echo", Priority.CONTROL) == b"hi"
                break
            await asyncio.sleep(0.05)
    assert has_waited


async def test_streams_of_members_that_have_not_gone_over_end(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1", cluster="c1"), await nodes.start("n2", cluster="c1")
    for method in ("echo", "topology.pull"):
        n2.serve(method, echo)
    for priority in (Priority.WRITE, Priority.CONTROL):
        assert await ask(n1, "echo", priority) == b"hi"
    n2.join(C2, C1)
    await asyncio.sleep(0.1)
    for priority in (Priority.WRITE, Priority.CONTROL):
        with pytest.raises(RingmillError):
            await ask(n1, "echo", priority)
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(Unavailable):
                assert await ask(n1, "topology.pull", Priority.CONTROL) == b"hi"
                break
            await asyncio.sleep(0.05)


async def test_links_from_before_the_cluster_was_known_are_not_kept_to_another_one(nodes: Any) -> None:
    """A node that starts asks members for the topology before its transport knows of any cluster."""
    n1, n2 = await nodes.start("n1", cluster=None), await nodes.start("n2", cluster="c2")
    n2.join(C2, C1)
    for by in (n1, n2):
        for method in ("echo", "topology.pull"):
            by.serve(method, echo)
    assert await ask(n1, "topology.pull", Priority.CONTROL) == b"hi"
    assert await n2.call(N1, "echo", b"hi", timeout_s=5, priority=Priority.CONTROL) == b"hi"
    n1.join(C1)
    await asyncio.sleep(0.1)
    for by, to in ((n1, N2), (n2, N1)):
        with pytest.raises(RingmillError):
            await by.call(to, "echo", b"hi", timeout_s=5, priority=Priority.CONTROL)
    async with asyncio.timeout(10):
        while True:
            with contextlib.suppress(Unavailable):
                assert await ask(n1, "topology.pull", Priority.CONTROL) == b"hi"
                break
            await asyncio.sleep(0.05)


async def test_nodes_of_a_cluster_that_was_made_of_theirs_twice_are_told_its_document(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1", cluster="c1"), await nodes.start("n2", cluster="c3")
    n2.join(ClusterId("c3"), C2, C1)
    for method in ("echo", "topology.pull"):
        n2.serve(method, echo)
    n1.serve("topology.pull", echo)
    assert await ask(n1, "topology.pull", Priority.CONTROL) == b"hi"
    assert (
        await n2.call(NodeId("n1"), "topology.pull", b"hi", timeout_s=5, priority=Priority.CONTROL) == b"hi"
    )
    with pytest.raises(RingmillError):
        await ask(n1, "echo", Priority.CONTROL)
