"""Which carrier a dialler ends up with, by what the other side offers."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from ringmill.cluster.adapters.network.grpc_client import ClientLink
from ringmill.cluster.adapters.network.grpc_streams import DialledStream
from ringmill.cluster.adapters.network.handshake import Introduction
from ringmill.cluster.adapters.network.sockets.offered_carrier import _Offer, _OfferedCarrier, carrier_named
from ringmill.cluster.adapters.network.sockets.socket_stream import SocketStream
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Priority
from ringmill.cluster.wire.offers import CARRIERS, CarrierName, Place, offer_text, offered
from tests.cluster.adapters.conftest import SECRET
from tests.log_records import own_records

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")


@pytest.fixture
def carrier() -> CarrierName:
    """What n1 dials by; the others are started over what a test likes."""
    return "tcp"


async def echo(transport: Any, to: NodeId) -> bytes:
    answer: bytes = await transport.call(to, "echo", b"hi", timeout_s=20, priority=Priority.READ)
    return answer


def dialled_by(nodes: Any, monkeypatch: pytest.MonkeyPatch, name: NodeId) -> list[type]:
    """The kinds of streams that a node dials from now on."""
    kinds: list[type] = []
    carrier = nodes.transports[name]._carrier
    dial = carrier.dial

    async def noting(*arguments: Any, **options: Any) -> Any:
        stream = await dial(*arguments, **options)
        kinds.append(type(stream))
        return stream

    monkeypatch.setattr(carrier, "dial", noting)
    return kinds


async def start_pair(nodes: Any, theirs: CarrierName) -> tuple[Any, Any]:
    n1 = await nodes.start("n1")
    nodes.carrier = theirs
    n2 = await nodes.start("n2", handlers={"echo": lambda incoming: incoming.body})
    return n1, n2


async def test_a_node_that_offers_the_carrier_is_dialled_by_it(
    nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    n1, _ = await start_pair(nodes, "tcp")
    kinds = dialled_by(nodes, monkeypatch, N1)
    assert await echo(n1, N2) == b"hi"
    assert kinds == [SocketStream]


@pytest.mark.parametrize("theirs", ["grpc", "unix"])
async def test_a_node_that_does_not_offer_it_is_talked_to_over_grpc_and_the_log_says_so_once(
    nodes: Any, theirs: CarrierName, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    n1, n2 = await start_pair(nodes, theirs)
    n1.serve("echo", lambda incoming: incoming.body)
    kinds = dialled_by(nodes, monkeypatch, N1)
    with caplog.at_level(logging.INFO):
        for priority in Priority:
            assert await n1.call(N2, "echo", b"hi", timeout_s=20, priority=priority) == b"hi"
        assert await echo(n2, N1) == b"hi"
    assert kinds == [DialledStream] * 3
    lines = [record.message for record in own_records(caplog) if nodes.addresses[N2] in record.message]
    assert lines == [f"{nodes.addresses[N2]} does not offer tcp: its frames go over gRPC"]


async def test_an_offer_that_cannot_be_reached_leaves_grpc(
    nodes: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    n1, n2 = await start_pair(nodes, "grpc")
    n2.offer(peers="tcp:9", clients="")
    kinds = dialled_by(nodes, monkeypatch, N1)
    with caplog.at_level(logging.INFO):
        assert await echo(n1, N2) == b"hi"
    assert kinds == [DialledStream]
    assert "offers tcp, which cannot be reached" in caplog.text


async def test_a_node_that_came_back_at_another_place_is_found_there(
    nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    n1, _ = await start_pair(nodes, "tcp")
    kinds = dialled_by(nodes, monkeypatch, N1)
    assert await echo(n1, N2) == b"hi"
    first = nodes.places[N2]
    await nodes.crash(N2)
    await nodes.start("n2", at=nodes.addresses[N2], handlers={"echo": lambda incoming: incoming.body})
    assert nodes.places[N2] != first
    async with asyncio.timeout(20):
        while True:
            try:
                assert await echo(n1, N2) == b"hi"
                break
            except Unavailable:
                await asyncio.sleep(0.01)
    assert kinds == [SocketStream, SocketStream]


async def test_a_dial_that_ended_at_the_socket_goes_there_at_once_the_next_time() -> None:
    """To a node that is far away: the time is over once the place is told, and before the socket answers."""
    asked, closed, is_near = list[str](), list[bool](), False

    class Asked:
        async def close(self) -> None:
            closed.append(True)

    class Grpc:
        async def dial(self, address: str, ours: Any, check: Any, **_: Any) -> Any:
            asked.append(address)
            check(Introduction(node="n2", offer="tcp:7"))
            return Asked()

    far = carrier_named("tcp", "/link", clock=SystemClock())
    assert isinstance(far, _OfferedCarrier)
    far._grpc = Grpc()

    async def by_socket(address: str, told: _Offer, *_: Any) -> Any:
        if not is_near:
            await asyncio.Event().wait()
        return told.place

    far._by_socket = by_socket  # type: ignore[method-assign, assignment]

    async def dial(timeout_s: float) -> Any:
        return await far.dial("n2:1", Introduction(), lambda _: None, timeout_s=timeout_s, node="n2")

    with pytest.raises(Unavailable, match="did not answer a handshake"):
        await dial(0.3)
    assert (asked, closed) == (["n2:1"], [True])
    is_near = True
    assert await dial(20) == 7
    assert asked == ["n2:1"], "it was told where the socket is"


async def test_another_node_at_the_place_that_was_told_is_not_taken_for_the_one_meant(
    nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    n1, n2 = await start_pair(nodes, "grpc")
    nodes.carrier = "tcp"
    n3 = await nodes.start("n3")
    n3.serve("echo", lambda _: b"I am n3")
    n1._carrier._places[nodes.addresses[N2]] = _Offer(nodes.places[N3], "n3", "c1")
    assert await echo(n1, N2) == b"hi"
    n2.offer(peers=offer_text(nodes.places[N3]), clients="")
    n1.set_peers({})
    n1.set_peers(nodes.addresses)
    with pytest.raises(Unavailable, match="is n3, not n2") as caught:
        await echo(n1, N2)
    assert caught.value.outcome == "failed"


@pytest.mark.parametrize(
    ("name", "cluster", "secret"), [("n3", "c1", ""), ("n2", "c2", ""), ("n3", "c1", SECRET)]
)
async def test_the_socket_of_another_node_on_this_machine_is_not_taken_for_that_of_one_elsewhere(
    nodes: Any, name: str, cluster: str, secret: str
) -> None:
    """The path of a Unix socket means something on the machine of its node alone."""
    nodes.carrier, nodes.secret = "unix", secret
    n2 = await nodes.start("n2", handlers={"kv.get": lambda _: b"n2"})
    address = nodes.addresses[N2]
    other = await nodes.start(name, cluster=cluster, handlers={"kv.get": lambda _: b"another"})
    n2.offer(peers="", clients=offer_text(nodes.places[NodeId(name)]))
    async with ClientLink(address, transport="unix", token=secret) as link:
        assert await link.session_call("kv.get", b"", 20) == b"n2"
        carrier: Any = link._carrier
        carrier._places[address] = _Offer(nodes.places[NodeId(name)], "n2", "c1")  # as it was told before
        assert link._session is not None
        await link._session.close()
        link._session = None
        assert await link.session_call("kv.get", b"", 20) == b"n2"
    assert other.streams() == (0, 0)


async def test_a_node_that_is_taken_into_its_cluster_between_two_handshakes_is_still_the_same(
    nodes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    n1, n2 = await start_pair(nodes, "tcp")
    kinds = dialled_by(nodes, monkeypatch, N1)
    by_socket, cluster = n1._carrier._by_socket, n2._cluster
    n2._cluster = None

    async def later(*given: Any) -> Any:
        n2._cluster = cluster
        return await by_socket(*given)

    monkeypatch.setattr(n1._carrier, "_by_socket", later)
    assert await echo(n1, N2) == b"hi"
    assert kinds == [SocketStream]


@pytest.mark.parametrize("place", [1, 41234, 65535, "/tmp/a folder/ü%/n1"])
def test_an_offer_is_read_as_it_was_made(place: Place) -> None:
    text = offer_text(place)
    assert text.isascii()
    assert [offered(text, name) for name in CARRIERS].count(place) == 1


@pytest.mark.parametrize(
    "text",
    ["", "tcp", "tcp:", "tcp:0", "tcp:65536", "tcp:-1", "tcp:٣", "tcp:99999999999", "unix:", "unix:relative",
     "unix:/a%00b", "quic:1"],
)  # fmt: skip
def test_an_invalid_offer_is_not_taken(text: str) -> None:
    assert [offered(text, name) for name in CARRIERS] == [None, None, None]
