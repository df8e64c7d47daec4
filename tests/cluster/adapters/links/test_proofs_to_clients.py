"""A client that has the cluster's token asks nodes for a proof, and takes no answer without one (rule F6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.grpc_streams import SESSION_PATH
from ringmill.cluster.adapters.network.handshake import SESSION, Introduction, any_node
from ringmill.cluster.adapters.network.link_proofs import LinkSecret
from ringmill.cluster.adapters.network.sockets.offered_carrier import carrier_named
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import NotFound, PermissionDenied, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming
from ringmill.cluster.wire.frames import encode_operations, encode_proof
from ringmill.cluster.wire.offers import CarrierName
from ringmill.cluster.wire.stubs.topology_pb2 import IdentifyRequest, IdentifyResponse
from ringmill.node.services.table import Call, Method, Service, Stream, Unary, Upload
from tests.cluster.adapters.conftest import SECRET
from tests.ports import free_port

N1 = NodeId("n1")
PUT = encode_operations([(1, "kv.put", 5_000_000, 1, b"")], 0)
METHODS = ("Put", "Upload", "Watch")


class Asked:
    """What a process was asked, over sessions and in plain calls.  It answers all, a failing put too."""

    def __init__(self) -> None:
        self.of: list[str] = []

    def frames(self, transport: FrameTransport) -> None:
        def put(incoming: Incoming) -> bytes:
            self.of.append(incoming.method)
            return b""

        transport.serve("kv.put", put)

    def tables(self) -> tuple[Service, ...]:
        kv: dict[str, Method] = {
            "Put": Unary(partial(self._note, "Put")),
            "Fail": Unary(self._fail),
            "Upload": Upload(self._upload),
            "Watch": Stream(partial(self._watch, 2)),
            "WatchNothing": Stream(partial(self._watch, 0)),
        }
        return (
            Service("ringmill.v1.Kv", kv),
            Service("ringmill.v1.Topology", {"Identify": Unary(partial(self._note, "Identify"))}),
        )

    async def _note(self, method: str, _body: bytes, _call: Call) -> bytes:
        self.of.append(method)
        return b""

    async def _fail(self, _body: bytes, _call: Call) -> bytes:
        self.of.append("Fail")
        raise NotFound("no such key")

    async def _upload(self, bodies: AsyncIterator[bytes], _call: Call) -> bytes:
        self.of.append("Upload")
        async for _ in bodies:
            pass
        return b""

    async def _watch(self, count: int, _body: bytes, _call: Call) -> AsyncIterator[bytes]:
        self.of.append("Watch")
        for _ in range(count):
            yield b""


async def plain(link: ClientLink, method: str) -> None:
    """One plain call of a method of `Asked`."""
    path = f"/ringmill.v1.Kv/{method}"
    if method.startswith("Watch"):
        async for _ in link.stream(path, IdentifyRequest(), IdentifyResponse, 5):
            pass
    elif method == "Upload":
        await link.upload(path, _requests(), IdentifyResponse, 5)
    else:
        await link.unary(path, IdentifyRequest(), IdentifyResponse, 5)


async def _requests() -> AsyncIterator[IdentifyRequest]:
    yield IdentifyRequest()


def link_to(nodes: Any, token: str = SECRET) -> ClientLink:
    return ClientLink(nodes.addresses[N1], transport=nodes.carrier, token=token)


async def test_a_session_of_whoever_has_the_token_is_as_any_other(nodes: Any) -> None:
    asked = Asked()
    asked.frames(await nodes.start("n1"))
    for token in (SECRET, ""):  # who has none is trusted, as all on this machine are
        async with link_to(nodes, token) as link:
            await link.session_call("kv.put", b"", 5)
    assert len(asked.of) == 2


@asynccontextmanager
async def relay(to: str) -> AsyncIterator[str]:
    """The address of a process that forwards connections, as a container's host does with a port."""
    host, _, port = to.rpartition(":")

    async def copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while piece := await source.read(4096):
            sink.write(piece)
        sink.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward, back = await asyncio.open_connection(host, int(port))
        with suppress(OSError):
            await asyncio.gather(copy(reader, back), copy(onward, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", free_port())
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_a_node_proves_itself_at_the_address_that_it_is_known_by_and_where_it_listens(
    nodes: Any,
) -> None:
    asked, at = Asked(), f"127.0.0.1:{free_port()}"
    nodes.tables = asked.tables()
    async with relay(at) as known_as, relay(at) as unknown:
        asked.frames(await nodes.start("n1", at=at, known_as=known_as))
        for address in (known_as, at):
            async with ClientLink(address, transport=nodes.carrier, token=SECRET) as link:
                await link.session_call("kv.put", b"", 5)
                await plain(link, "Put")
        assert len(asked.of) == 2 * len(["kv.put", "Identify", "Put"])
        async with ClientLink(unknown, transport=nodes.carrier, token=SECRET) as link:
            with pytest.raises(Unavailable, match="did not prove that it is a node"):
                await link.session_call("kv.put", b"", 5)
            with pytest.raises(Unavailable, match="did not prove that it is a node"):
                await plain(link, "Put")


@pytest.mark.parametrize("secret", ["guessed", ""])
async def test_a_session_asks_nothing_of_whoever_does_not_know_the_token(nodes: Any, secret: str) -> None:
    asked = Asked()
    asked.frames(await nodes.start("n1", secret=secret))
    async with link_to(nodes) as link:
        with pytest.raises(Unavailable, match="did not prove that it is a node") as refused:
            await link.session_call("kv.put", b"", 5)
    assert refused.value.outcome == "failed" and "--token-file" in refused.value.hint
    assert not asked.of


@pytest.mark.parametrize("first", [PUT, encode_proof(b"0" * 32)], ids=["put", "proof"])
async def test_a_client_that_asked_for_a_proof_gives_one_before_it_asks(nodes: Any, first: bytes) -> None:
    asked = Asked()
    asked.frames(await nodes.start("n1"))
    carrier = carrier_named(nodes.carrier, SESSION_PATH, clock=SystemClock())
    ours = Introduction(traffic_class=SESSION, nonce="00" * 32)
    stream = await carrier.dial(nodes.addresses[N1], ours, any_node, timeout_s=5)
    try:
        with pytest.raises(RingmillError) as refused:
            await stream.write(first)
            await stream.read()
            raise Unavailable("it hung up")
    finally:
        await stream.close()
    if first != PUT:
        assert isinstance(refused.value, PermissionDenied) and "refuses a client" in str(refused.value)
    assert not asked.of


def test_a_proof_of_a_client_stands_for_none_of_a_node_and_is_for_one_address() -> None:
    secret = LinkSecret("s", OsEntropy())
    dialling, answering = Introduction(traffic_class="data", nonce="11"), Introduction("n2", nonce="22")
    address = "127.0.0.1:7101"
    shown = {side: secret.proof(side, dialling, answering) for side in ("dialling", "answering")}
    shown |= {side: secret.proof(side, dialling, answering, address) for side in ("client", "node")}
    shown |= {"call": secret.call_proof("11", "/path", address)}
    assert len(set(shown.values())) == 5
    assert secret.is_proof(shown["node"], "node", dialling, answering, "localhost:7101")
    for other in ("127.0.0.1:7102", "127.0.0.2:7101", ""):
        assert not secret.is_proof(shown["node"], "node", dialling, answering, other)
        assert not secret.is_call_proof(shown["call"], "11", "/path", other)
    assert secret.is_call_proof(shown["call"], "11", "/path", address)
    assert not secret.is_call_proof(shown["call"], "12", "/path", address)
    assert not secret.is_call_proof(shown["call"], "11", "/other", address)


class TestOverGrpc:
    """Plain calls, which go over gRPC alone."""

    @pytest.fixture
    def carrier(self) -> CarrierName:
        return "grpc"

    async def test_a_proof_made_by_another_node_proves_nothing(
        self, nodes: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who took over the port of n1 asks n2, which is alive, for a proof to what the client has said."""
        asked, prove = Asked(), FrameTransport.prove
        nodes.tables = asked.tables()
        n2 = await nodes.start("n2")
        monkeypatch.setattr(FrameTransport, "prove", lambda _, *told: prove(n2, *told))
        stranger = await nodes.start("n1", secret="")
        asked.frames(stranger)
        admit = stranger.admit_client

        def with_the_words_of_n2(told: Introduction) -> Any:
            return replace(admit(told), introduction=n2.admit_client(told).introduction)

        monkeypatch.setattr(stranger, "admit_client", with_the_words_of_n2)
        async with link_to(nodes) as link:
            with pytest.raises(Unavailable, match="did not prove that it is a node"):
                await link.session_call("kv.put", b"", 5)
            with pytest.raises(Unavailable, match="did not prove that it is a node"):
                await plain(link, "Put")
        assert set(asked.of) == {"Identify"}

    async def test_they_are_answered_with_a_proof_each(self, nodes: Any) -> None:
        asked = Asked()
        nodes.tables = asked.tables()
        await nodes.start("n1")
        async with link_to(nodes) as link:
            for method in (*METHODS, "WatchNothing"):
                await plain(link, method)
            with pytest.raises(NotFound, match="no such key"):
                await plain(link, "Fail")
        assert asked.of == ["Identify", *METHODS, "Watch", "Fail"]  # the connection was proved once

    @pytest.mark.parametrize("secret", ["guessed", ""])
    async def test_a_stranger_is_asked_nothing_but_for_its_proof(self, nodes: Any, secret: str) -> None:
        asked = Asked()
        nodes.tables = asked.tables()
        await nodes.start("n1", secret=secret)
        async with link_to(nodes) as link:
            for method in METHODS:
                with pytest.raises(Unavailable, match="did not prove that it is a node") as refused:
                    await plain(link, method)
                assert refused.value.outcome == "failed"
        assert set(asked.of) == {"Identify"}

    async def test_a_stranger_without_any_service_is_told_to_be_one(self, nodes: Any) -> None:
        await nodes.start("n1", secret="")
        async with link_to(nodes) as link:
            with pytest.raises(Unavailable, match="did not prove that it is a node"):
                await link.unary("/ringmill.v1.Topology/Get", IdentifyRequest(), IdentifyResponse, 5)

    async def test_whoever_took_over_the_port_of_a_node_that_was_proved_is_asked_anew(
        self, nodes: Any
    ) -> None:
        before, asked = Asked(), Asked()
        nodes.tables = before.tables()
        await nodes.start("n1")
        async with link_to(nodes) as link:
            await plain(link, "Put")
            await nodes.crash(N1)
            nodes.tables = asked.tables()
            await nodes.start("n1", secret="", at=nodes.addresses[N1])
            async with asyncio.timeout(20):
                while not asked.of:
                    with pytest.raises(Unavailable) as refused:
                        await plain(link, "Put")
            assert refused.value.outcome == "failed" and refused.value.detail["proved"] is False
        assert before.of == ["Identify", "Put"] and set(asked.of) == {"Identify"}

    @pytest.mark.parametrize("method", [*METHODS, "WatchNothing", "Fail"])
    async def test_an_answer_without_a_proof_is_refused_whatever_was_proved_before(
        self, nodes: Any, monkeypatch: pytest.MonkeyPatch, method: str
    ) -> None:
        """The connection was lost, and a stranger took the next one, just when the call went out."""
        asked = Asked()
        nodes.tables = asked.tables()
        await nodes.start("n1", secret="")
        monkeypatch.setattr(ClientLink, "_proved_connection", ClientLink._connected)
        async with link_to(nodes) as link:
            with pytest.raises(Unavailable, match="did not prove that it is a node") as refused:
                await plain(link, method)
        assert refused.value.outcome == "unknown" and len(asked.of) == 1
