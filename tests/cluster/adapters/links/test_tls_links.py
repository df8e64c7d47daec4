"""With TLS a node is who its certificate says, and whoever shows no such certificate is refused (rule F7)."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeAlias

import pytest
import uvloop
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from ringmill.client.local.authority.authority import Authority
from ringmill.client.local.authority.certificates import make_authority, make_certificate, pem_key
from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.sockets import socket_listener
from ringmill.cluster.adapters.network.tls.certificate_names import Holder
from ringmill.cluster.adapters.network.tls.tls_files import TlsFiles
from ringmill.cluster.errors import PermissionDenied, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.cluster.wire.offers import CarrierName
from ringmill.cluster.wire.stubs.topology_pb2 import IdentifyRequest, IdentifyResponse
from ringmill.node.services.table import Call, Service, Unary
from tests.cluster.adapters.conftest import SECRET, Nodes
from tests.log_records import own_records

Signer: TypeAlias = tuple[Certificate, EllipticCurvePrivateKey]
N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
IDENTIFY = "/ringmill.v1.Topology/Identify"
HOST = "127.0.0.1"


class _Shy(TlsFiles):
    """Dials without showing its certificate."""

    def client_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(self._paths.ca)
        return context


@dataclass
class Certificates:
    """An authority that has issued certificates to n1, n2, n3 and a client."""

    folder: Path
    authority: Authority

    def of(
        self, name: str, *, crl: bool = False, demands: bool = False, kind: type[TlsFiles] = TlsFiles
    ) -> TlsFiles:
        files = self.authority.files
        revoked = files.revocations if crl else ""
        paths = {"ca": files.bundle, "cert": files.certificate(name), "key": files.key(name), "crl": revoked}
        return kind(**paths, demands=demands)

    def client(self) -> TlsFiles:
        return TlsFiles(ca=self.authority.files.bundle)

    def bad(self, name: str, made_by: Signer, *, days_ago: int = 0) -> TlsFiles:
        """Shows n3's certificate as `made_by` made it, for two days."""
        return self.signed(name, Holder("prod", "n3"), made_by, days_ago=days_ago)

    def signed(self, name: str, holder: Holder, made_by: Signer, *, days_ago: int = 0) -> TlsFiles:
        """Trusts the authority, and shows a certificate of `holder`."""
        when = datetime.now(UTC) - timedelta(days=days_ago)
        certificate, key = make_certificate(holder, [HOST], 2, made_by, when)
        path = self.folder / name
        path.with_suffix(".pem").write_bytes(certificate.public_bytes(Encoding.PEM))
        path.with_suffix(".key").write_bytes(pem_key(key))
        path.with_suffix(".key").chmod(0o600)
        bundle = self.authority.files.bundle
        return TlsFiles(ca=bundle, cert=str(path.with_suffix(".pem")), key=str(path.with_suffix(".key")))


@pytest.fixture(scope="module")
def issued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    authority = Authority(str(tmp_path_factory.mktemp("tls") / "ca"))
    authority.init("prod")
    for name in ("n1", "n2", "n3"):
        authority.issue(name, [HOST])
    authority.issue("app", is_node=False)
    return Path(authority.files.path)


@pytest.fixture
def certificates(issued: Path, tmp_path: Path) -> Certificates:
    """A copy for one test, which may change it."""
    shutil.copytree(issued, tmp_path / "ca")
    return Certificates(tmp_path, Authority(str(tmp_path / "ca")))


@asynccontextmanager
async def nodes_over_tcp() -> AsyncIterator[Nodes]:
    async def identify(_body: bytes, _call: Call) -> bytes:
        return IdentifyResponse(node="n1").SerializeToString()

    service = Service("ringmill.v1.Topology", {"Identify": Unary(identify)})
    async with AsyncExitStack() as stack:
        yield Nodes(stack, "tcp", tables=(service,))


@pytest.fixture
async def over_tcp() -> AsyncIterator[Nodes]:
    async with nodes_over_tcp() as nodes:
        yield nodes


def _do(incoming: Incoming) -> bytes:
    return incoming.body


async def ask(transport: FrameTransport, to: NodeId, body: bytes = b"") -> bytes:
    return await transport.call(to, "do", body, timeout_s=5, priority=Priority.CONTROL)


async def test_nodes_and_clients_talk(over_tcp: Nodes, certificates: Certificates) -> None:
    await talk(over_tcp, certificates)


def test_so_they_do_on_the_loop_that_nodes_run_on(
    certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    """uvloop has a TLS of its own."""

    async def both() -> None:
        async with nodes_over_tcp() as nodes:
            await talk(nodes, certificates)
            await refused(nodes, certificates.of("n2"), "ringmill://prod/n2", caplog)

    uvloop.run(both())


async def talk(over_tcp: Nodes, certificates: Certificates) -> None:
    for name in ("n1", "n2"):
        handlers = {"do": _do, "kv.get": _do}
        await over_tcp.start(name, handlers=handlers, tls=certificates.of(name, crl=True))
    large = os.urandom(3_000_000)  # more than what a socket takes at once
    assert await ask(over_tcp.transports[N1], N2, large) == large
    assert await ask(over_tcp.transports[N2], N1, b"back") == b"back"
    for tls in (certificates.client(), certificates.of("client/app")):
        for transport in ("grpc", "tcp"):
            async with ClientLink(over_tcp.addresses[N1], transport=transport, token=SECRET, tls=tls) as link:
                assert await link.session_call("kv.get", b"x", 5) == b"x"
                answer = await link.unary(IDENTIFY, IdentifyRequest(), IdentifyResponse, 5)
                assert answer.node == "n1"


@pytest.mark.parametrize(
    ("who", "told"),
    [
        ("another authority's", "unable to get local issuer certificate"),
        ("an expired one", "certificate has expired"),
        ("a client's", "shows a certificate for another: ringmill://prod/client/app"),
        ("n2's", "shows a certificate for another: ringmill://prod/n2"),
        ("a revoked one", "shows a certificate that was revoked"),
        ("none", "shows no certificate"),
    ],
)
async def test_a_bad_certificate_is_not_a_node(
    who: str, told: str, over_tcp: Nodes, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    await over_tcp.start("n1", handlers={"do": _do}, tls=certificates.of("n1", crl=True))
    await over_tcp.start("n2", tls=certificates.of("n2"))
    await refused(over_tcp, _bad(who, certificates), told, caplog)


async def refused(nodes: Nodes, bad: TlsFiles, told: str, caplog: pytest.LogCaptureFixture) -> None:
    """n3 dials n1, asks twice and is refused, with one line in the log of n1, which serves n2 as before."""
    n3 = await nodes.start("n3", tls=bad)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            with pytest.raises(RingmillError) as error:
                await ask(n3, N1)
            assert error.value.outcome == "failed"
            n3.set_peers({})
            n3.set_peers(nodes.addresses)
        async with asyncio.timeout(5):
            while not own_records(caplog):  # noqa: ASYNC110  the line has no event
                await asyncio.sleep(0.01)
    lines = [record.getMessage() for record in own_records(caplog)]
    assert len(lines) == 1 and told in lines[0], lines
    assert await ask(nodes.transports[N2], N1, b"still there") == b"still there"


def _bad(who: str, certificates: Certificates) -> TlsFiles:
    if who == "another authority's":
        return certificates.bad("other", make_authority("prod", datetime.now(UTC)))
    if who == "an expired one":
        return certificates.bad("old", certificates.authority._signer(), days_ago=9)
    if who == "a client's":
        return certificates.of("client/app")
    if who == "n2's":
        return certificates.of("n2")
    if who == "a revoked one":
        certificates.authority.revoke("n3")
        return certificates.of("n3")
    return certificates.of("n3", kind=_Shy)


@pytest.mark.parametrize("shown", ["n2", "client/app"])
async def test_whoever_listens_at_the_address_of_a_node_has_to_be_that_node(
    shown: str, over_tcp: Nodes, certificates: Certificates
) -> None:
    n1 = await over_tcp.start("n1", tls=certificates.of("n1"))
    asked: list[Incoming] = []

    def note(told: Incoming) -> bytes:
        asked.append(told)
        return b""

    await over_tcp.start("n3", handlers={"do": note}, tls=certificates.of(shown))
    with pytest.raises(Unavailable, match="cannot be reached"):
        await ask(n1, N3)
    assert not asked


async def test_a_node_is_known_to_nodes_by_its_name_and_to_clients_by_its_address(
    over_tcp: Nodes, certificates: Certificates
) -> None:
    certificates.authority.issue("n3", ["elsewhere.example"], replace=True)
    n1 = await over_tcp.start("n1", tls=certificates.of("n1"))
    await over_tcp.start("n3", handlers={"do": _do}, tls=certificates.of("n3"))
    assert await ask(n1, N3, b"moved") == b"moved"
    async with ClientLink(over_tcp.addresses[N3], token=SECRET, tls=certificates.client()) as link:
        with pytest.raises(Unavailable, match="not accepted: IP address mismatch"):
            await link.unary(IDENTIFY, IdentifyRequest(), IdentifyResponse, 5)


async def test_a_revoked_node_is_not_dialled(over_tcp: Nodes, certificates: Certificates) -> None:
    """Its port for gRPC still answers; its frames are refused."""
    n1 = await over_tcp.start("n1", tls=certificates.of("n1", crl=True))
    await over_tcp.start("n3", handlers={"do": _do}, tls=certificates.of("n3"))
    certificates.authority.revoke("n3")
    with pytest.raises(RingmillError, match="was revoked"):
        await ask(n1, N3)


async def test_a_revoked_node_loses_the_links_that_are_open(
    over_tcp: Nodes, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    tls = certificates.of("n1", crl=True)
    n1 = await over_tcp.start("n1", handlers={"do": _do}, tls=tls)
    n3 = await over_tcp.start("n3", handlers={"do": _do}, tls=certificates.of("n3"))
    n2 = await over_tcp.start("n2", tls=certificates.of("n2"))
    for transport, to in ((n1, N3), (n3, N1), (n2, N1)):
        await ask(transport, to)
    broken: list[NodeId] = []
    n1.on_break(broken.append)
    n2.on_break(broken.append)
    tls.look()
    certificates.authority.revoke("n3")
    tls.look()
    for transport, to in ((n1, N3), (n3, N1)):
        with pytest.raises(RingmillError):
            await ask(transport, to)
    assert broken == [N3], "the link of n2 goes on"
    await ask(n2, N1)
    assert len(tls._open) == 1, "what has ended is forgotten"
    assert caplog.text.count("its connections are ended") == 1, "there were several"


async def test_a_revoked_node_loses_the_links_that_it_has_by_a_certificate_of_a_former_authority(
    over_tcp: Nodes, certificates: Certificates
) -> None:
    """Nodes open links when they start, and run for longer than an authority signs."""
    tls, authority = certificates.of("n1", crl=True), certificates.authority
    await over_tcp.start("n1", handlers={"do": _do}, tls=tls)
    n3 = await over_tcp.start("n3", tls=certificates.of("n3"))
    await ask(n3, N1)
    authority.rotate()
    for name in ("n1", "n2", "n3"):
        authority.issue(name, replace=True)
    authority.revoke("client/app")
    authority.finish()
    tls.look()
    await ask(n3, N1)
    authority.revoke("n3")
    tls.look()
    with pytest.raises(RingmillError):
        await ask(n3, N1)


async def test_frames_of_nodes_do_not_go_over_grpc(over_tcp: Nodes, certificates: Certificates) -> None:
    await over_tcp.start("n1", handlers={"do": _do}, tls=certificates.of("n1"))
    over_tcp.carrier = "grpc"
    n2 = await over_tcp.start("n2", handlers={"do": _do}, tls=certificates.of("n2"))
    with pytest.raises(PermissionDenied, match="brings frames without a certificate"):
        await ask(n2, N1)
    with pytest.raises(
        Unavailable, match="does not offer tcp; with TLS, frames between nodes go by no other way"
    ):
        await ask(over_tcp.transports[N1], N2)


async def test_a_side_without_tls_and_one_with_it_say_so(over_tcp: Nodes, certificates: Certificates) -> None:
    await over_tcp.start("n1", handlers={"kv.get": _do}, tls=certificates.of("n1"))
    await over_tcp.start("n2", handlers={"kv.get": _do})
    stranger = Authority(str(certificates.folder / "other"))
    stranger.init("prod")
    other = TlsFiles(ca=stranger.files.bundle)
    cases = (
        (N1, None, "it speaks TLS, and this client does not", "--tls-ca"),
        (N2, certificates.client(), "it speaks no TLS", "leave out --tls-ca"),
        (
            N1,
            other,
            "its certificate is not accepted: unable to get local issuer",
            "is --tls-ca of this cluster",
        ),
    )
    for node, tls, told, hint in cases:
        async with ClientLink(over_tcp.addresses[node], token=SECRET, tls=tls) as link:
            calls = (
                link.unary(IDENTIFY, IdentifyRequest(), IdentifyResponse, 5),
                link.session_call("kv.get", b"", 5),
            )
            for call in calls:
                with pytest.raises(Unavailable, match=told) as refused:
                    await call
                assert hint in refused.value.hint and refused.value.outcome == "failed"


async def test_sessions_need_a_token(over_tcp: Nodes, certificates: Certificates) -> None:
    await over_tcp.start("n1", handlers={"kv.get": _do}, tls=certificates.of("n1"))
    async with ClientLink(over_tcp.addresses[N1], tls=certificates.client()) as link:
        await link.unary(IDENTIFY, IdentifyRequest(), IdentifyResponse, 5)  # a client may ask that first
        with pytest.raises(PermissionDenied, match="refuses a client"):
            await link.session_call("kv.get", b"", 5)


@pytest.mark.parametrize("transport", ["grpc", "tcp"])
async def test_clients_may_have_to_show_a_certificate(
    transport: CarrierName, over_tcp: Nodes, certificates: Certificates
) -> None:
    for name in ("n1", "n2"):
        tls = certificates.of(name, crl=True, demands=True)
        await over_tcp.start(name, handlers={"do": _do, "kv.get": _do}, tls=tls)
    assert await ask(over_tcp.transports[N2], N1, b"a node has one") == b"a node has one"

    async def plain(tls: TlsFiles) -> None:
        async with ClientLink(over_tcp.addresses[N1], token=SECRET, tls=tls) as link:
            await link.unary(IDENTIFY, IdentifyRequest(), IdentifyResponse, 5)

    async def framed(tls: TlsFiles) -> None:
        async with ClientLink(over_tcp.addresses[N1], transport=transport, token=SECRET, tls=tls) as link:
            await link.session_call("kv.get", b"", 5)

    for call in (plain, framed):
        await call(certificates.of("client/app"))
        with pytest.raises(Unavailable, match="it wants a certificate of this client, too") as refused:
            await call(certificates.client())
        assert "--tls-cert" in refused.value.hint
    certificates.authority.revoke("client/app")
    for call in (plain, framed):
        with pytest.raises(PermissionDenied, match="client/app shows a certificate that was revoked"):
            await call(certificates.of("client/app"))


async def test_a_client_of_another_cluster_of_the_same_authority_is_refused(
    over_tcp: Nodes, certificates: Certificates
) -> None:
    signer = certificates.authority._signer()
    stranger = certificates.signed("other", Holder("other", "app", is_node=False), signer)
    await over_tcp.start("n1", handlers={"kv.get": _do}, tls=certificates.of("n1", demands=True))
    async with ClientLink(over_tcp.addresses[N1], token=SECRET, tls=stranger) as link:
        with pytest.raises(PermissionDenied, match="of no cluster or another one"):
            await link.session_call("kv.get", b"", 5)


async def test_plain_bytes_on_a_port_with_tls_harm_nobody(
    over_tcp: Nodes, certificates: Certificates, caplog: pytest.LogCaptureFixture
) -> None:
    await over_tcp.start("n1", handlers={"do": _do}, tls=certificates.of("n1"))
    n2 = await over_tcp.start("n2", tls=certificates.of("n2"))
    place = over_tcp.places[N1]
    assert isinstance(place, int)
    for port in (place, int(over_tcp.addresses[N1].rpartition(":")[2])):
        for _ in range(3):
            reader, writer = await asyncio.open_connection(HOST, port)
            writer.write(b"RMFR\x01\x01" + b"x" * 100)
            assert await reader.read() in {b"", b"\x15\x03\x01\x00\x02\x02F", b"\x15\x03\x03\x00\x02\x02F"}
            writer.close()
    lines = [record.getMessage() for record in own_records(caplog)]
    assert len(lines) == 1 and "the TLS handshake failed: wrong version number" in lines[0], lines
    assert await ask(n2, N1, b"x") == b"x"


async def test_keys_and_authorities_change_under_load(over_tcp: Nodes, certificates: Certificates) -> None:
    """Each call dials anew; a rotation from its first step to its last costs none of them."""
    for name in ("n1", "n2"):
        await over_tcp.start(name, handlers={"do": _do}, tls=certificates.of(name, crl=True))
    client = certificates.client()
    is_over = asyncio.Event()
    done = 0

    async def load() -> None:
        nonlocal done
        while not is_over.is_set():
            for transport, to in ((over_tcp.transports[N1], N2), (over_tcp.transports[N2], N1)):
                transport.set_peers({})
                transport.set_peers(over_tcp.addresses)
                await ask(transport, to)
            async with ClientLink(over_tcp.addresses[N1], token=SECRET, tls=client) as link:
                await link.unary(IDENTIFY, IdentifyRequest(), IdentifyResponse, 5)
            done += 1

    async def some_more() -> None:
        until = done + 3
        while done < until and not loading.done():  # noqa: ASYNC110  as many rounds as it takes
            await asyncio.sleep(0)

    loading = asyncio.create_task(load())
    authority = certificates.authority
    before = await _served_by(over_tcp.addresses[N1], client)
    steps = (
        authority.rotate,
        lambda: authority.issue("n1", replace=True),
        lambda: authority.issue("n2", replace=True),
        lambda: authority.revoke("n3"),
        lambda: authority.issue("n3", replace=True),
        lambda: authority.issue("app", is_node=False, replace=True),
        authority.finish,
    )
    for step in steps:
        await some_more()
        step()
    await some_more()
    is_over.set()
    await loading
    assert await _served_by(over_tcp.addresses[N1], client) != before
    os.unlink(authority.files.certificate("n1"))
    assert await ask(over_tcp.transports[N2], N1) == b"", "the former files stay in force"


async def test_a_link_that_goes_on_connects_again_with_the_files_of_now(
    over_tcp: Nodes, certificates: Certificates
) -> None:
    authority, files = certificates.authority, certificates.of("n1")
    await over_tcp.start("n1", tls=files)
    address = over_tcp.addresses[N1]
    async with ClientLink(address, token=SECRET, tls=certificates.client()) as link:
        for step in (authority.rotate, lambda: authority.issue("n1", replace=True)):
            await _answered(link)
            step()
            await over_tcp.crash("n1")
            await over_tcp.start("n1", tls=files, at=address)
        await _answered(link)
        assert len(link._former) == 1, "closed later, or with the link"
    assert not link._former


async def _answered(link: ClientLink) -> None:
    """A call that gRPC has given to a connection which is just ending fails; the next one connects anew."""
    for _ in range(20):
        try:
            await link.unary(IDENTIFY, IdentifyRequest(), IdentifyResponse, 5)
        except Unavailable:
            await asyncio.sleep(0.1)
        else:
            return
    await link.unary(IDENTIFY, IdentifyRequest(), IdentifyResponse, 5)


async def _served_by(address: str, tls: TlsFiles) -> str:
    """The serial number of the certificate that is shown at the port for gRPC."""
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=tls.client_context(), server_hostname=host)
    serial: str = writer.get_extra_info("peercert")["serialNumber"]
    writer.transport.abort()
    return serial


async def test_whoever_says_nothing_is_let_go(
    over_tcp: Nodes, certificates: Certificates, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket_listener, "HANDSHAKE_S", 0.05)
    await over_tcp.start("n1", tls=certificates.of("n1"))
    place = over_tcp.places[N1]
    assert isinstance(place, int)
    reader, writer = await asyncio.open_connection(HOST, place)
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
