"""Nodes of one cluster know a secret; who does not know it is no node, whatever it says (rule F6)."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest

from ringmill.cluster.adapters.network import frame_transport
from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_streams import LINK
from ringmill.cluster.adapters.network.handshake import Introduction, any_node
from ringmill.cluster.adapters.network.link_proofs import LinkSecret
from ringmill.cluster.adapters.network.sockets.offered_carrier import carrier_named
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import PermissionDenied, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.cluster.wire.frames import encode_operations, encode_proof
from tests.cluster.adapters.conftest import SECRET, MemoryStream, Nodes
from tests.log_records import own_records

N1, N2 = NodeId("n1"), NodeId("n2")
ASK = encode_operations([(1, "do", 5_000_000, 0, b"")], 0)


class Doing:
    def __init__(self, transport: FrameTransport) -> None:
        self.done = 0
        transport.serve("do", self._do)

    def _do(self, incoming: Incoming) -> bytes:
        self.done += 1
        return b""


async def ask(transport: FrameTransport, to: NodeId) -> bytes:
    return await transport.call(to, "do", b"", timeout_s=5, priority=Priority.CONTROL)


async def test_nodes_that_know_the_secret_talk_and_tell_it_to_nobody(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    doing = Doing(n2)
    await ask(n1, N2)
    assert doing.done == 1
    texts = n2.admit_peer(Introduction("n9", "c1", "data", nonce="ab")).introduction.texts()
    assert "sesame" not in repr(texts)


async def test_a_process_on_the_port_of_a_member_is_not_that_member(nodes: Any) -> None:
    """It answers as n2, with another secret, with none, or with a proof that it has heard."""
    n1 = await nodes.start("n1")
    for secret in ("guessed", ""):
        squatter = Doing(await nodes.start("n2", secret=secret))
        with pytest.raises(Unavailable, match="did not prove to be n2") as refused:
            await ask(n1, N2)
        assert refused.value.outcome == "failed" and not squatter.done
        await nodes.crash("n2")
        n1.set_peers({})


async def test_a_stranger_that_knows_the_cluster_and_a_name_is_refused(
    nodes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    n2 = await nodes.start("n2")
    doing = Doing(n2)
    stranger = await nodes.start("n1", secret="")
    with (
        caplog.at_level(logging.WARNING),
        pytest.raises(PermissionDenied, match=r"n1 .*has no token"),
    ):
        await ask(stranger, N2)
    assert not doing.done and "a link of n1 was refused" in caplog.text


@pytest.mark.parametrize("first", [ASK, encode_proof(b"0" * 32), b"rubbish", b""])
async def test_whoever_gives_no_proof_before_it_asks_gets_nothing_done(nodes: Any, first: bytes) -> None:
    n2 = await nodes.start("n2")
    doing = Doing(n2)
    ours = Introduction("n1", "c1", "control", nonce="00" * 32)
    carrier = carrier_named(nodes.carrier, LINK, clock=SystemClock())
    stream = await carrier.dial(nodes.addresses[N2], ours, any_node, timeout_s=5)
    try:
        with pytest.raises(RingmillError):
            await stream.write(first)
            await stream.write(ASK)
            assert await stream.read() is None
            raise Unavailable("it hung up")
    finally:
        await stream.close()
    assert not doing.done


def test_no_more_proofs_are_looked_at_than_a_node_has_addresses_and_secrets() -> None:
    secret, ours, theirs = LinkSecret(SECRET, OsEntropy()), Introduction("n1"), Introduction("n2")
    proof = secret.proof("answering", ours, theirs)
    assert secret.is_proof(bytes(96) + proof, "answering", ours, theirs)
    assert not secret.is_proof(bytes(128) + proof, "answering", ours, theirs)


async def test_whoever_never_proves_itself_is_let_go(nodes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_transport, "PROOF_TIMEOUT_S", 0.05)
    await nodes.start("n2")
    carrier = carrier_named(nodes.carrier, LINK, clock=SystemClock())
    ours = Introduction("n1", "c1", "control", nonce="00" * 32)
    stream = await carrier.dial(nodes.addresses[N2], ours, any_node, timeout_s=5)
    try:
        async with asyncio.timeout(10):
            with pytest.raises(PermissionDenied, match="did not prove"):
                await stream.read()
    finally:
        await stream.close()


async def test_nodes_without_a_secret_ask_nobody_for_one() -> None:
    async with AsyncExitStack() as stack:
        nodes = Nodes(stack, secret="")
        n1, n2 = await nodes.start("n1"), await nodes.start("n2")
        Doing(n2)
        await ask(n1, N2)


def test_a_proof_is_of_one_side_and_of_both_introductions() -> None:
    secret, other = LinkSecret("s", OsEntropy()), LinkSecret("t", OsEntropy())
    dialling = Introduction("n1", "c", "data", nonce="11")
    answering = Introduction("n2", "c", clock_us=5, offer="tcp:7", nonce="22")
    proof = secret.proof("answering", dialling, answering)
    assert secret.is_proof(proof, "answering", dialling, answering)
    assert not other.is_proof(proof, "answering", dialling, answering)
    assert not secret.is_proof(proof, "dialling", dialling, answering)
    changed = (
        (Introduction("n3", "c", "data", nonce="11"), answering),
        (Introduction("n1", "c", "data", nonce="12"), answering),
        (dialling, Introduction("n3", "c", clock_us=5, offer="tcp:7", nonce="22")),
        (dialling, Introduction("n2", "c", clock_us=5, offer="tcp:8", nonce="22")),
        (dialling, Introduction("n2", "c", clock_us=5, offer="tcp:7", nonce="23")),
    )
    assert not any(secret.is_proof(proof, "answering", *pair) for pair in changed)


async def test_whoever_hangs_up_before_its_proof_is_not_accused(
    memory_streams: tuple[MemoryStream, MemoryStream], caplog: pytest.LogCaptureFixture
) -> None:
    """A side that is offered another carrier does so."""
    n1 = FrameTransport(
        N1,
        carrier_named("grpc", LINK, clock=SystemClock()),
        clock=SystemClock(),
        entropy=OsEntropy(),
        secret=SECRET,
    )
    there, here = memory_streams
    async with n1:
        for welcome in (
            n1.admit_peer(Introduction(N2, nonce="11")),
            n1.admit_client(Introduction(nonce="11")),
        ):
            await there.close()
            with pytest.raises(Unavailable, match="hung up"):
                await n1.answer(here, welcome)
    assert not own_records(caplog)
