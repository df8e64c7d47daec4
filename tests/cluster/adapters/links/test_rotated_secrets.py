"""The secret of nodes that talk is rotated: nobody is refused, and the former one opens nothing (F9)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ringmill.cluster.adapters.network import frame_transport
from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.handshake import Introduction
from ringmill.cluster.adapters.network.link_proofs import LinkSecret
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.errors import InvalidArgument, PermissionDenied, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.cluster.wire.stubs.topology_pb2 import IdentifyRequest, IdentifyResponse
from ringmill.node.services.table import Call, Service, Unary

N1, N2 = NodeId("n1"), NodeId("n2")
STEPS = ("old\nnext new", "new\nformer old", "new")


async def identify(_body: bytes, _call: Call) -> bytes:
    return b""


TABLES = (Service("ringmill.v1.Topology", {"Identify": Unary(identify)}),)


def echo(incoming: Incoming) -> bytes:
    return incoming.body


async def ask(transport: FrameTransport, to: NodeId) -> bytes:
    return await transport.call(to, "do", b"x", timeout_s=5, priority=Priority.WRITE)


def link(stack: AsyncExitStack, address: str, token: str | Callable[[], str]) -> ClientLink:
    link = ClientLink(address, token=token)
    stack.push_async_callback(link.close)
    return link


async def put(link: ClientLink) -> bytes:
    return await link.session_call("kv.put", b"x", 5)


async def test_nodes_that_are_a_step_apart_talk_both_ways_and_the_last_step_ends_who_knows_the_former(
    nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frame_transport, "RETIRING_S", 1.0)
    nodes.secret, nodes.tables = "old", TABLES
    n1 = await nodes.start("n1", handlers={"do": echo, "kv.put": echo})
    n2 = await nodes.start("n2", handlers={"do": echo})
    text = "old"
    async with AsyncExitStack() as stack:
        stale, following = (link(stack, nodes.addresses[N1], token) for token in ("old", lambda: text))
        for step in STEPS:
            text = step if step != "new" else text  # who follows has read the file at some step before
            for changed in (n2, n1):
                assert await ask(n1, N2) == await ask(n2, N1) == await put(following) == b"x"
                if changed is n1 or step != "new":
                    assert await put(stale) == b"x"
                changed.change_secret(step)
                assert await ask(n1, N2) == await ask(n2, N1) == b"x"
            assert await put(following) == b"x"
            await following.unary("/ringmill.v1.Topology/Identify", IdentifyRequest(), IdentifyResponse, 5)
        with pytest.raises(Unavailable):
            async with asyncio.timeout(10):
                while True:  # until the session that is open is ended, and the next one is refused
                    await put(stale)
                    await asyncio.sleep(0.02)
        with pytest.raises(RingmillError, match="did not prove"):
            await put(stale)
        with pytest.raises(Unavailable, match="did not prove"):
            await stale.unary("/ringmill.v1.Topology/Identify", IdentifyRequest(), IdentifyResponse, 5)
        with pytest.raises(PermissionDenied, match="is wrong"):
            n1.door.caller_of({"ringmill-token": "old"}, "/x")
        assert n1.door.caller_of({"ringmill-token": "new"}, "/x").has_cluster_token
    stranger = await nodes.start("n3", secret="old")
    with pytest.raises((Unavailable, PermissionDenied)):
        await ask(stranger, N1)


async def test_a_followed_token_that_is_damaged_is_told_to_each_caller_until_it_is_whole(nodes: Any) -> None:
    text = nodes.secret = "old"
    nodes.tables = TABLES
    await nodes.start("n1", handlers={"kv.put": echo})
    told: list[bytes | RingmillError] = []
    async with AsyncExitStack() as stack:
        following = link(stack, nodes.addresses[N1], lambda: text)
        assert await put(following) == b"x"
        text = "rm1_damaged"
        for _ in range(2):
            following.session_send("kv.put", b"x", 5, told.append)()
            with pytest.raises(InvalidArgument, match="is damaged"):
                await following.unary(
                    "/ringmill.v1.Topology/Identify", IdentifyRequest(), IdentifyResponse, 5
                )
        text = "old"
        assert await put(following) == b"x"
    assert [type(each) for each in told] == [InvalidArgument] * 2


async def test_what_is_under_way_at_a_step_ends_well(nodes: Any) -> None:
    nodes.secret = "old"
    may_end = asyncio.Event()

    async def slow(incoming: Incoming) -> bytes:
        await may_end.wait()
        return incoming.body

    n1, n2 = await nodes.start("n1"), await nodes.start("n2", handlers={"do": slow})
    asked = [asyncio.create_task(ask(n1, N2)) for _ in range(3)]
    await asyncio.sleep(0.1)
    for step in STEPS[:2]:
        n2.change_secret(step), n1.change_secret(step)
        asked.append(asyncio.create_task(ask(n1, N2)))
        await asyncio.sleep(0.1)
    assert not any(each.done() for each in asked)
    may_end.set()
    assert await asyncio.gather(*asked) == [b"x"] * 5


def test_a_side_that_knows_two_secrets_proves_by_both_and_takes_either() -> None:
    ours, theirs = Introduction("n1", nonce="1"), Introduction("n2", nonce="2")
    old, both, new, other = (LinkSecret(text, OsEntropy()) for text in ("old", STEPS[0], "new", "other"))
    for one, another in ((old, both), (both, new), (both, both)):
        assert one.is_proof(another.proof("answering", ours, theirs), "answering", ours, theirs)
        assert another.is_proof(one.proof("answering", ours, theirs), "answering", ours, theirs)
    for one in (old, new, other):
        for another in {old, new, other} - {one}:
            assert not one.is_proof(another.proof("answering", ours, theirs), "answering", ours, theirs)
    call = both.caller_proof("00", "/path", "h:1", "challenge")
    assert new.is_caller_proof(call, "00", "/path", "h:1", "challenge")
    assert not other.is_caller_proof(call, "00", "/path", "h:1", "challenge")
