"""Clients that have a token of their own: they and the node prove themselves by it, and roles hold (rule F8).

The nodes know the keys of tokens, as a topology document has them; so does who reads that document.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from ringmill.cluster.access.callers import Caller
from ringmill.cluster.access.client_token import ClientToken
from ringmill.cluster.access.raw_tokens import TOKEN_KEY
from ringmill.cluster.access.scram import kept_keys
from ringmill.cluster.adapters.network.access.client_door import ClientDoor
from ringmill.cluster.adapters.network.access.token_secrets import KeptToken, secret_of
from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.grpc_streams import SESSION_PATH
from ringmill.cluster.adapters.network.handshake import PROOF_KEY, SESSION, Introduction
from ringmill.cluster.adapters.network.link_proofs import WITH_CLIENT, AskedProof
from ringmill.cluster.adapters.network.sockets.offered_carrier import carrier_named
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import PermissionDenied, RingmillError, Unavailable
from ringmill.cluster.ids import DiskId, Epoch, NodeId
from ringmill.cluster.ports import Incoming
from ringmill.cluster.ring.access.access_entries import Access, TokenEntry
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.cluster.wire.frames import encode_operations, encode_proof
from ringmill.cluster.wire.offers import CarrierName
from ringmill.cluster.wire.stubs.topology_pb2 import IdentifyRequest, IdentifyResponse
from ringmill.node.services.access.access_control import AccessControl
from ringmill.node.services.access.guarded_tables import guarded
from ringmill.node.services.table import Call, Service, Unary
from tests.cluster.adapters.conftest import SECRET

N1, N2 = NodeId("n1"), NodeId("n2")
PUT, GET, IDENTIFY = "/ringmill.v1.Kv/Put", "/ringmill.v1.Kv/Get", "/ringmill.v1.Topology/Identify"
TOKENS = {role: ClientToken(str(at) * 16, bytes([at]) * 32) for at, role in enumerate(("read", "write"), 1)}
READER, WRITER = (TOKENS[role].text for role in ("read", "write"))
STRANGER = ClientToken("1" * 16, bytes(32)).text  # knows the id of a token, and not its secret
FIRST = first_topology("demo", [Member(NodeId("n1"), DiskId("0" * 32), "127.0.0.1:7101")], partitions=16)


class Cluster:
    """What the nodes know of tokens, and what they have done for clients."""

    def __init__(self) -> None:
        self.done: list[str] = []
        entries = (
            TokenEntry(token.id, f"the-{role}", role, 1, 0, False, kept_keys(token.secret))
            for role, token in TOKENS.items()
        )
        self.topology = replace(FIRST, access=Access(False, tuple(entries)))
        self.control = AccessControl("n1", SystemClock(), lambda: self.topology, has_token=True)

    def changes(self, **changes: Any) -> None:
        """The next epoch, in which no token is another one but for these."""
        access = replace(self.topology.access, **changes)
        self.topology = replace(self.topology, epoch=Epoch(self.topology.epoch + 1), access=access)

    def revokes(self, role: str) -> None:
        tokens = self.topology.access.tokens
        self.changes(tokens=tuple(replace(each, is_revoked=each.role == role) for each in tokens))

    async def node(self, nodes: Any, name: str = "n1", **how: Any) -> FrameTransport:
        """A node of it, which answers puts and gets on sessions and, over gRPC, in plain calls."""
        nodes.tables = guarded(self._tables(), self.control, self._caller_of)
        transport: FrameTransport = await nodes.start(name, **how)
        self._door = transport.door
        transport.authorize_by(self.control)
        for method in ("kv.put", "kv.get"):
            transport.serve(method, self._answer)
        return transport

    def _caller_of(self, told: Mapping[str, str], path: str) -> Caller:
        return self._door.caller_of(told, path)

    def _answer(self, incoming: Incoming) -> bytes:
        self.done.append(incoming.method)
        return b""

    def _tables(self) -> list[Service]:
        async def note(_body: bytes, call: Call) -> bytes:
            self.done.append("plain")
            return b""

        async def identify(_body: bytes, _call: Call) -> bytes:
            return b""

        methods = {name: Unary(note) for name in ("Put", "Get")}
        return [
            Service("ringmill.v1.Kv", methods),
            Service("ringmill.v1.Topology", {"Identify": Unary(identify)}),
        ]


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


def link_to(nodes: Any, token: str, node: NodeId = N1) -> ClientLink:
    return ClientLink(nodes.addresses[node], transport=nodes.carrier, token=token)


async def test_on_a_session_a_token_opens_what_its_role_does(nodes: Any, cluster: Cluster) -> None:
    await cluster.node(nodes)
    async with link_to(nodes, WRITER) as writer, link_to(nodes, READER) as reader:
        await writer.session_call("kv.put", b"", 5)
        await reader.session_call("kv.get", b"", 5)
        with pytest.raises(
            PermissionDenied, match="needs the role write; the token the-read has the role read"
        ):
            await reader.session_call("kv.put", b"", 5)
        await reader.session_call("kv.get", b"", 5)
    assert cluster.done == ["kv.put", "kv.get", "kv.get"]


async def test_an_open_session_ends_with_its_token(nodes: Any, cluster: Cluster) -> None:
    await cluster.node(nodes)
    async with link_to(nodes, WRITER) as writer, link_to(nodes, READER) as reader:
        for link in (writer, reader):
            await link.session_call("kv.get", b"", 5)
        cluster.revokes("write")
        with pytest.raises(PermissionDenied, match="was revoked"):
            await writer.session_call("kv.get", b"", 5)
        await reader.session_call("kv.get", b"", 5)
    assert len(cluster.done) == 3


async def test_an_open_session_without_a_token_ends_once_one_is_required(
    nodes: Any, cluster: Cluster
) -> None:
    await cluster.node(nodes)
    async with link_to(nodes, "") as nobody, link_to(nodes, SECRET) as operator:
        await nobody.session_call("kv.put", b"", 5)
        cluster.changes(is_required=True)
        with pytest.raises(PermissionDenied, match="a token is missing"):
            await nobody.session_call("kv.get", b"", 5)
        await operator.session_call("kv.put", b"", 5)
        cluster.changes(is_required=False)
        await nobody.session_call("kv.get", b"", 5)


async def test_a_session_by_a_token_that_nobody_knows_is_refused(nodes: Any, cluster: Cluster) -> None:
    await cluster.node(nodes)
    async with link_to(nodes, ClientToken("9" * 16, bytes(32)).text) as link:
        with pytest.raises(PermissionDenied, match="knows no token '9999"):
            await link.session_call("kv.get", b"", 5)
    assert not cluster.done


async def test_a_client_talks_to_no_node_that_does_not_know_its_keys(nodes: Any, cluster: Cluster) -> None:
    """Its token is of the same id in another cluster, or another process took over the port."""
    await cluster.node(nodes)
    async with link_to(nodes, STRANGER) as link:
        with pytest.raises(Unavailable, match="did not prove that it is a node") as refused:
            await link.session_call("kv.put", b"", 5)
    assert refused.value.outcome == "failed" and not cluster.done


async def test_whoever_has_read_the_document_cannot_act_as_the_client(nodes: Any, cluster: Cluster) -> None:
    """All that it can make with the keys is what a node shows, which is no proof of a client."""
    await cluster.node(nodes)
    token = TOKENS["write"]
    thief = KeptToken(token.id, kept_keys(token.secret), OsEntropy())
    carrier = carrier_named(nodes.carrier, SESSION_PATH, clock=SystemClock())
    ours = Introduction(traffic_class=SESSION, nonce="00" * 32, token_id=token.id)
    told: list[Introduction] = []

    stream = await carrier.dial(nodes.addresses[N1], ours, told.append, timeout_s=5)
    try:
        shown = thief.proof(WITH_CLIENT[1], ours, told[-1], nodes.addresses[N1])
        assert thief.is_proof(told[-1].proof, WITH_CLIENT[1], ours, told[-1], nodes.addresses[N1])
        with pytest.raises(RingmillError) as refused:
            await stream.write(encode_proof(shown))
            await stream.write(encode_operations([(1, "kv.put", 5_000_000, 1, b"")], 0))
            await stream.read()
            raise Unavailable("it hung up")
    finally:
        await stream.close()
    assert isinstance(refused.value, PermissionDenied | Unavailable) and not cluster.done


def test_a_proof_of_a_caller_is_for_one_nonce_method_address_and_challenge() -> None:
    token = TOKENS["write"]
    shown = secret_of(token.text, OsEntropy()).caller_proof("11", PUT, "127.0.0.1:7101", "22")
    node = KeptToken(token.id, kept_keys(token.secret), OsEntropy())
    assert node.is_caller_proof(shown, "11", PUT, "localhost:7101", "22")
    for other in (
        ("12", PUT, "127.0.0.1:7101", "22"),
        ("11", GET, "127.0.0.1:7101", "22"),
        ("11", PUT, "127.0.0.1:7102", "22"),
        ("11", PUT, "127.0.0.1:7101", "23"),
    ):
        assert not node.is_caller_proof(shown, *other)
    assert not KeptToken("2" * 15 + "3", kept_keys(token.secret), OsEntropy()).is_caller_proof(
        shown, "11", PUT, "127.0.0.1:7101", "22"
    )


class TestOverGrpc:
    """Plain calls, which go over gRPC alone."""

    @pytest.fixture
    def carrier(self) -> CarrierName:
        return "grpc"

    async def test_a_plain_call_opens_what_a_session_does(self, nodes: Any, cluster: Cluster) -> None:
        await cluster.node(nodes)
        async with link_to(nodes, WRITER) as writer, link_to(nodes, READER) as reader:
            await self.call(writer, PUT)
            await self.call(reader, GET)
            with pytest.raises(PermissionDenied, match="the token the-read has the role read"):
                await self.call(reader, PUT)
            cluster.revokes("write")
            with pytest.raises(PermissionDenied, match="was revoked"):
                await self.call(writer, PUT)
        assert cluster.done == ["plain"] * 2 and cluster.control.denied == 2

    async def test_the_clusters_token_opens_all_when_one_is_required(
        self, nodes: Any, cluster: Cluster
    ) -> None:
        cluster.changes(is_required=True)
        await cluster.node(nodes)
        async with link_to(nodes, SECRET) as operator, link_to(nodes, "") as nobody:
            await self.call(operator, PUT)
            with pytest.raises(PermissionDenied, match="a token is missing"):
                await self.call(nobody, GET)
            await self.call(nobody, IDENTIFY)

    async def test_a_token_that_nobody_knows_is_told_so_though_the_node_can_prove_nothing(
        self, nodes: Any, cluster: Cluster
    ) -> None:
        await cluster.node(nodes)
        async with link_to(nodes, ClientToken("9" * 16, bytes(32)).text) as link:
            with pytest.raises(PermissionDenied, match="knows no token") as refused:
                await self.call(link, PUT)
        assert refused.value.outcome == "failed"

    async def test_a_generated_client_may_send_its_token_as_it_is(self, nodes: Any, cluster: Cluster) -> None:
        await cluster.node(nodes)
        async with link_to(nodes, "") as link:
            await self.call(link, PUT, {TOKEN_KEY: WRITER})
            await self.call(link, GET, {TOKEN_KEY: SECRET})
            for wrong, why in ((READER, "has the role read"), (STRANGER, "is wrong"), ("guess", "is wrong")):
                with pytest.raises(PermissionDenied, match=why):
                    await self.call(link, PUT, {TOKEN_KEY: wrong})
        assert cluster.done == ["plain"] * 2

    async def test_a_proof_is_of_no_use_for_another_method_or_another_node(
        self, nodes: Any, cluster: Cluster
    ) -> None:
        """A process that was sent one call, as it had taken over a port, sends its texts on."""
        cluster.changes(is_required=True)
        n1 = await cluster.node(nodes)
        told = self.shown(n1.door, nodes.addresses[N1], GET)
        n2 = Cluster()
        n2.topology = cluster.topology
        await n2.node(nodes, "n2")
        async with link_to(nodes, "") as to_n1, link_to(nodes, "", N2) as to_n2:
            await self.call(to_n1, GET, told)
            with pytest.raises(PermissionDenied, match="is wrong"):
                await self.call(to_n1, PUT, told)
            with pytest.raises(RingmillError):
                await self.call(to_n2, GET, told)
        assert cluster.done == ["plain"] and not n2.done

    async def test_a_proof_ends_with_the_start_of_the_node_and_its_client_goes_on(
        self, nodes: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cluster.changes(is_required=True)
        n1 = await cluster.node(nodes)
        async with link_to(nodes, WRITER) as link:
            await self.call(link, PUT)
            told = self.shown(n1.door, nodes.addresses[N1], PUT)
            door = ClientDoor(N1, SECRET, (nodes.addresses[N1],), OsEntropy())  # of its next start
            door.permissions = cluster.control
            monkeypatch.setattr(cluster, "_door", door)
            monkeypatch.setattr(n1, "door", door)
            async with link_to(nodes, "") as thief:
                with pytest.raises(Unavailable, match="was started again"):
                    await self.call(thief, PUT, told)
            with pytest.raises(Unavailable, match="was started again") as refused:
                await self.call(link, PUT)  # the connection was lost just when it went out
            assert refused.value.outcome == "failed"
            await self.call(link, PUT)
        assert cluster.done == ["plain"] * 2

    @pytest.mark.parametrize("is_earlier", [False, True], ids=["challenge", "earlier release"])
    async def test_the_clusters_token_is_sent_as_it_is_only_to_a_node_that_gives_no_challenge(
        self, nodes: Any, cluster: Cluster, monkeypatch: pytest.MonkeyPatch, is_earlier: bool
    ) -> None:
        told: list[Mapping[str, str]] = []
        find_out = ClientDoor.caller_of

        def noted(door: ClientDoor, texts: Mapping[str, str], path: str) -> Caller:
            told.append(texts)
            return find_out(door, texts, path)

        monkeypatch.setattr(ClientDoor, "caller_of", noted)
        prove = FrameTransport.prove

        def without_challenge(node: FrameTransport, texts: Mapping[str, str], path: str) -> Mapping[str, str]:
            return {key: text for key, text in prove(node, texts, path).items() if key == PROOF_KEY}

        if is_earlier:
            monkeypatch.setattr(FrameTransport, "prove", without_challenge)
        await cluster.node(nodes)
        cluster.changes(is_required=True)
        for token in (SECRET, WRITER):
            link = ClientLink(nodes.addresses[N1], token=token, tells_token=True)
            async with link:
                if is_earlier and token == WRITER:
                    with pytest.raises(PermissionDenied, match="a token is missing"):
                        await self.call(link, PUT)
                else:
                    await self.call(link, PUT)
        sent = [texts[TOKEN_KEY] for texts in told if TOKEN_KEY in texts]
        assert sent == ([SECRET] if is_earlier else []), "a client's own is never sent"

    @staticmethod
    def shown(door: ClientDoor, address: str, path: str) -> dict[str, str]:
        """The texts by which the writer shows who it is with one call."""
        asked = AskedProof(secret_of(WRITER, OsEntropy()), path, address, 1, door._challenge)
        return dict(asked.metadata)

    @staticmethod
    async def call(link: ClientLink, path: str, texts: Mapping[str, str] | None = None) -> None:
        await link.unary(path, IdentifyRequest(), IdentifyResponse, 5, tuple((texts or {}).items()))
