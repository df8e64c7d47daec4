"""Calls between real transports on loopback: what a caller may rely on, whatever carries the frames."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from contextlib import AsyncExitStack
from typing import Any

import psutil
import pytest

from ringmill.cluster.adapters.network.frame_transport import FrameTransport
from ringmill.cluster.adapters.network.grpc_streams import LINK
from ringmill.cluster.adapters.network.sockets.offered_carrier import carrier_named
from ringmill.cluster.adapters.os_entropy import OsEntropy
from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.errors import (
    Conflict,
    DeadlineExceeded,
    InvalidArgument,
    ProtocolMismatch,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Ended, Incoming, Priority
from tests.cluster.adapters.conftest import SECRET
from tests.log_records import own_records

N1, N2, N3 = NodeId("n1"), NodeId("n2"), NodeId("n3")
WRITE = Priority.WRITE


def echo(incoming: Incoming) -> bytes:
    return incoming.body


async def test_a_call_is_answered_in_every_class(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    n2.serve("echo", echo)
    for priority in Priority:
        assert await n1.call(N2, "echo", b"hi", timeout_s=5, priority=priority) == b"hi"


async def test_control_data_and_bulk_have_a_connection_each(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    n2.serve("echo", echo)
    place = nodes.places[N2]
    open_connections = []
    for priority in Priority:
        await n1.call(N2, "echo", b"hi", timeout_s=20, priority=priority)
        open_connections.append(dialled(place))
    assert open_connections == [1, 2, 2, 3, 3]


def dialled(place: int | str) -> int:
    """How many connections to a place are open, as seen from the side that dialled."""
    if isinstance(place, int):
        tcp = psutil.Process().net_connections("tcp")
        return len([one for one in tcp if one.raddr and one.raddr.port == place])
    unix = psutil.Process().net_connections("unix")
    accepted = [one for one in unix if str(one.laddr) == place]
    return len(accepted) - 1  # one of them listens


async def test_a_handler_sees_who_asks_and_how_much_time_is_left(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    seen: list[Incoming] = []

    def look(incoming: Incoming) -> bytes:
        seen.append(incoming)
        return b""

    n2.serve("look", look)
    before = SystemClock().boottime()
    await n1.call(N2, "look", b"", timeout_s=5, priority=Priority.READ)
    assert (seen[0].sender, seen[0].priority) == (N1, Priority.READ)
    assert before < seen[0].deadline <= SystemClock().boottime() + 5


async def test_many_calls_share_frames_and_each_gets_its_own_answer(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")

    async def later(incoming: Incoming) -> bytes:
        await asyncio.sleep(0.001 * (incoming.body[0] % 3))
        return incoming.body

    n2.serve("later", later)
    n2.serve("echo", echo)
    bodies = [number.to_bytes(2, "little") for number in range(600)]
    got = await asyncio.gather(
        *(
            n1.call(N2, "later" if body[0] % 2 else "echo", body, timeout_s=9, priority=WRITE)
            for body in bodies
        )
    )
    assert got == bodies


async def test_a_body_larger_than_a_frame_should_be_travels_alone(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    n2.serve("echo", echo)
    sizes = [10, 3_000_000, 10, 300_000]
    got = await asyncio.gather(
        *(n1.call(N2, "echo", bytes(size), timeout_s=9, priority=Priority.BULK) for size in sizes)
    )
    assert [len(body) for body in got] == sizes


async def test_a_body_over_the_frame_limit_is_refused_before_it_is_sent(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    n2.serve("echo", echo)
    with pytest.raises(InvalidArgument, match="34000000 bytes is over the frame limit"):
        await n1.call(N2, "echo", bytes(34_000_000), timeout_s=9, priority=WRITE)


async def test_an_answer_over_the_frame_limit_is_an_error_of_that_call_alone(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    n2.serve("long", lambda _: bytes(34_000_000))
    n2.serve("echo", echo)
    with pytest.raises(RingmillError, match="the answer to long has 34000000 bytes") as told:
        await n1.call(N2, "long", b"", timeout_s=9, priority=WRITE)
    assert told.value.code == "INTERNAL"
    assert await n1.call(N2, "echo", b"still here", timeout_s=9, priority=WRITE) == b"still here"


async def test_a_ringmill_error_crosses_as_itself(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")

    async def refuse(_: Incoming) -> bytes:
        raise Conflict("is 2", detail={"current": b"2"}, hint="read again", outcome="failed")

    n2.serve("refuse", refuse)
    with pytest.raises(Conflict) as caught:
        await n1.call(N2, "refuse", b"", timeout_s=5, priority=WRITE)
    assert (caught.value.detail, caught.value.hint) == ({"current": b"2"}, "read again")


async def test_an_error_with_a_path_that_is_not_utf8_ends_its_call_alone(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")

    async def refuse(_: Incoming) -> bytes:
        await asyncio.sleep(0)
        raise InvalidArgument("output /tmp/caf\udce9 exists")

    n2.serve("refuse", refuse)
    n2.serve("echo", echo)
    with pytest.raises(InvalidArgument, match=r"/tmp/caf\\udce9"):
        await n1.call(N2, "refuse", b"", timeout_s=5, priority=WRITE)
    assert await n1.call(N2, "echo", b"hi", timeout_s=5, priority=WRITE) == b"hi"


async def test_any_other_error_is_logged_once_and_crosses_as_internal(
    nodes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")

    def broken(_: Incoming) -> bytes:
        raise ZeroDivisionError("by accident")

    n2.serve("broken", broken)
    with caplog.at_level(logging.ERROR), pytest.raises(RingmillError, match="by accident") as caught:
        await n1.call(N2, "broken", b"", timeout_s=5, priority=WRITE)
    assert (caught.value.code, caught.value.outcome) == ("INTERNAL", "unknown")
    assert len([record for record in own_records(caplog) if record.exc_info]) == 1


async def test_a_fault_that_anybody_can_cause_is_traced_once_however_often_it_comes(
    nodes: Any, caplog: pytest.LogCaptureFixture
) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")

    async def broken(incoming: Incoming) -> bytes:
        return incoming.body[1000:].index(b"x").to_bytes(1, "big")

    n2.serve("broken", broken)
    calls = [n1.call(N2, "broken", b"", timeout_s=20, priority=WRITE) for _ in range(500)]
    with caplog.at_level(logging.ERROR):
        told = await asyncio.gather(*calls, return_exceptions=True)
    assert {type(error) for error in told} == {RingmillError}
    assert len(own_records(caplog)) == 1


async def test_an_unknown_method_is_a_protocol_mismatch(nodes: Any) -> None:
    n1, _ = await nodes.start("n1"), await nodes.start("n2")
    with pytest.raises(ProtocolMismatch, match="'nope'"):
        await n1.call(N2, "nope", b"", timeout_s=5, priority=WRITE)


async def test_a_silent_handler_costs_its_deadline_and_no_more(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")

    async def never(_: Incoming) -> bytes:
        await asyncio.Event().wait()
        return b""

    n2.serve("never", never)
    n2.serve("echo", echo)
    with pytest.raises(DeadlineExceeded) as caught:
        await n1.call(N2, "never", b"", timeout_s=0.2, priority=WRITE)
    assert caught.value.outcome == "unknown"
    assert await n1.call(N2, "echo", b"hi", timeout_s=5, priority=WRITE) == b"hi"


async def test_a_node_that_is_not_there_fails_at_once_and_certainly(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    n1.set_peers({N2: "127.0.0.1:9"})
    for _ in range(5):
        with pytest.raises(Unavailable) as caught:
            await n1.call(N2, "echo", b"", timeout_s=30, priority=WRITE)
        assert caught.value.outcome == "failed"


async def test_a_node_without_an_address_is_unavailable(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    with pytest.raises(Unavailable, match="no address of n3") as caught:
        await n1.call(N3, "echo", b"", timeout_s=30, priority=WRITE)
    assert caught.value.outcome == "failed"


async def test_a_peer_of_another_cluster_is_refused_by_name(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1", cluster="c1"), await nodes.start("n2", cluster="c2")
    n2.serve("echo", echo)
    with pytest.raises(ProtocolMismatch, match="n1 is of cluster c1, n2 of cluster c2") as caught:
        await n1.call(N2, "echo", b"", timeout_s=5, priority=WRITE)
    assert (caught.value.outcome, caught.value.detail["clusters"]) == ("failed", {"n1": "c1", "n2": "c2"})


async def test_a_cluster_and_the_one_that_it_was_made_of_exchange_documents_alone(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1", cluster="c1"), await nodes.start("n2", cluster="c1")
    methods = ("topology.pull", "topology.offer", "echo")
    for node in (n1, n2):
        for method in methods:
            node.serve(method, echo)
    n1.join("c2", "c1")

    async def ask(by: FrameTransport, of: NodeId, method: str, priority: Priority) -> bytes:
        return await by.call(of, method, b"hi", timeout_s=5, priority=priority)

    for by, of in ((n1, N2), (n2, N1)):
        for method in methods[:2]:
            assert await ask(by, of, method, Priority.CONTROL) == b"hi"
            with pytest.raises(RingmillError, match="of cluster"):
                await ask(by, of, method, WRITE)
        with pytest.raises(ProtocolMismatch):
            await ask(by, of, "echo", Priority.CONTROL)
    n2.join("c2", "c1")
    await asyncio.sleep(0.1)  # until the links of little use have ended
    for by, of in ((n1, N2), (n2, N1)):
        async with asyncio.timeout(10):
            while True:
                with contextlib.suppress(Unavailable, ProtocolMismatch):
                    assert await ask(by, of, "echo", Priority.CONTROL) == b"hi"
                    assert await ask(by, of, "echo", WRITE) == b"hi"
                    break
                await asyncio.sleep(0.05)
    n1.join("c3", "c2")
    n1.join("c4", "c3")
    with pytest.raises(ProtocolMismatch, match="of cluster"):
        await ask(n1, N2, "topology.pull", Priority.CONTROL)


async def test_a_node_without_a_cluster_may_be_asked(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1", cluster="c1"), await nodes.start("n2", cluster=None)
    n2.serve("echo", echo)
    assert await n1.call(N2, "echo", b"hi", timeout_s=5, priority=WRITE) == b"hi"


async def test_another_node_at_the_address_is_not_taken_for_the_one_meant(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    n2.serve("echo", echo)
    n1.set_peers({N3: nodes.addresses[N2]})
    with pytest.raises(Unavailable, match="is n2, not n3") as caught:
        await n1.call(N3, "echo", b"", timeout_s=5, priority=WRITE)
    assert caught.value.outcome == "failed"


async def test_a_node_that_dials_itself_notices(nodes: Any) -> None:
    n1 = await nodes.start("n1")
    n1.serve("echo", echo)
    n1.set_peers({N2: nodes.addresses[N1]})
    with pytest.raises(ProtocolMismatch, match="n1 was dialled by a node of the same name"):
        await n1.call(N2, "echo", b"", timeout_s=5, priority=WRITE)


async def test_a_connection_that_the_other_side_breaks_is_told_of_and_an_own_end_is_not(nodes: Any) -> None:
    n1, n2, n3 = [await nodes.start(name) for name in ("n1", "n2", "n3")]
    broken: asyncio.Queue[NodeId] = asyncio.Queue()
    n1.on_break(broken.put_nowait)
    for there in (n2, n3):
        there.serve("echo", echo)
    for node in (N2, N3):
        await n1.call(node, "echo", b"hi", timeout_s=5, priority=Priority.CONTROL)
    n1.set_peers({N2: nodes.addresses[N2]})  # which ends the connection to n3
    await nodes.crash(N2)
    async with asyncio.timeout(10):
        assert await broken.get() == N2
    assert broken.empty()


async def test_calls_reach_a_node_that_came_back_on_its_port(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    n2.serve("echo", echo)
    assert await n1.call(N2, "echo", b"1", timeout_s=5, priority=WRITE) == b"1"
    await nodes.crash(N2)
    with pytest.raises(Unavailable):
        while True:
            await n1.call(N2, "echo", b"2", timeout_s=5, priority=WRITE)
    await nodes.start("n2", at=nodes.addresses[N2], handlers={"echo": echo})
    async with asyncio.timeout(20):
        while True:
            try:
                assert await n1.call(N2, "echo", b"3", timeout_s=5, priority=WRITE) == b"3"
                break
            except Unavailable:
                await asyncio.sleep(0.02)


async def test_a_peer_that_was_met_again_is_asked_at_once_whatever_the_backoff(nodes: Any) -> None:
    n1, _ = await nodes.start("n1", handlers={"echo": echo}), await nodes.start("n2")
    await nodes.crash(N2)
    async with asyncio.timeout(20):
        while True:  # until the backoff is one that would be noticed
            with pytest.raises(Unavailable) as caught:
                await n1.call(N2, "echo", b"", timeout_s=5, priority=WRITE)
            if re.search(r"next try in 0\.[6-9]", caught.value.message):
                break
            await asyncio.sleep(0.01)
    n2 = await nodes.start("n2", at=nodes.addresses[N2], handlers={"echo": echo})
    assert await n2.call(N1, "echo", b"here I am", timeout_s=5, priority=WRITE) == b"here I am"
    assert await n1.call(N2, "echo", b"welcome", timeout_s=5, priority=WRITE) == b"welcome"


async def test_what_is_called_failed_never_happened_and_no_call_outlasts_its_deadline(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    arrived: set[bytes] = set()
    outcomes: dict[bytes, str] = {}

    def take(incoming: Incoming) -> bytes:
        arrived.add(incoming.body)
        return incoming.body

    async def caller(name: int) -> None:
        for number in range(100_000):
            body = b"%d-%d" % (name, number)
            try:
                async with asyncio.timeout(20):
                    assert await n1.call(N2, "take", body, timeout_s=5, priority=WRITE) == body
                outcomes[body] = "ok"
            except (Unavailable, DeadlineExceeded) as error:
                outcomes[body] = error.outcome
                await asyncio.sleep(0.001)

    n2.serve("take", take)
    callers = [asyncio.create_task(caller(name)) for name in range(8)]
    for _ in range(6):
        await until_more(arrived)
        await nodes.crash(N2)
        await asyncio.sleep(0.01)
        await nodes.start("n2", at=nodes.addresses[N2], handlers={"take": take})
    await until_more(arrived)
    for task in callers:
        task.cancel()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)
    assert {body for body, outcome in outcomes.items() if outcome == "ok"} <= arrived
    failed = {body for body, outcome in outcomes.items() if outcome == "failed"}
    assert failed
    assert not failed & arrived


async def until_more(things: set[bytes]) -> None:
    """Wait until 200 more have come."""
    enough = len(things) + 200
    async with asyncio.timeout(20):
        while len(things) < enough:  # noqa: ASYNC110  many callers make it so, by and by
            await asyncio.sleep(0.001)


async def test_a_call_under_way_when_the_peer_goes_has_an_unknown_outcome(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    arrived = asyncio.Event()

    async def never(_: Incoming) -> bytes:
        arrived.set()
        await asyncio.Event().wait()
        return b""

    n2.serve("never", never)
    call = asyncio.create_task(n1.call(N2, "never", b"", timeout_s=30, priority=WRITE))
    await arrived.wait()
    await nodes.crash(N2)
    with pytest.raises(Unavailable) as caught:
        await call
    assert caught.value.outcome == "unknown"


async def test_a_peer_taken_out_of_the_topology_is_disconnected(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    n2.serve("echo", echo)
    await n1.call(N2, "echo", b"", timeout_s=5, priority=WRITE)
    n1.set_peers({})
    with pytest.raises(Unavailable, match="no address of n2"):
        await n1.call(N2, "echo", b"", timeout_s=5, priority=WRITE)


async def test_a_draining_node_finishes_what_it_has_and_refuses_the_rest(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def waits(_: Incoming) -> bytes:
        arrived.set()
        await go_on.wait()
        return b"done"

    n2.serve("waits", waits)
    call = asyncio.create_task(n1.call(N2, "waits", b"", timeout_s=30, priority=WRITE))
    await arrived.wait()
    draining = asyncio.create_task(n2.drain(10))
    with pytest.raises(Unavailable, match="n2 is stopping") as caught:
        await n1.call(N2, "waits", b"", timeout_s=30, priority=WRITE)
    assert caught.value.outcome == "failed"
    go_on.set()
    await draining
    assert await call == b"done"


async def test_a_cancelled_call_leaves_nothing_behind(nodes: Any) -> None:
    n1, n2 = await nodes.start("n1"), await nodes.start("n2")
    arrived, go_on = asyncio.Event(), asyncio.Event()

    async def waits(_: Incoming) -> bytes:
        arrived.set()
        await go_on.wait()
        return b"late"

    n2.serve("waits", waits)
    n2.serve("echo", echo)
    call = asyncio.create_task(n1.call(N2, "waits", b"", timeout_s=30, priority=WRITE))
    await arrived.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    go_on.set()
    assert await n1.call(N2, "echo", b"hi", timeout_s=5, priority=WRITE) == b"hi"


async def test_a_handler_that_goes_on_asking_does_not_hold_up_the_end(nodes: Any) -> None:
    n2 = await nodes.start("n2")
    n2.serve("echo", echo)
    arrived = asyncio.Event()

    async def goes_on_asking(_: Incoming) -> bytes:
        while True:
            with contextlib.suppress(Unavailable):
                await n1.call(N2, "echo", b"", timeout_s=30, priority=WRITE)
            arrived.set()
            await asyncio.sleep(0)

    async with AsyncExitStack() as stack:
        inner = type(nodes)(stack, nodes.carrier, nodes.addresses, nodes.transports)
        n1 = await inner.start("n1", handlers={"goes on": goes_on_asking})
        asking = asyncio.create_task(n2.call(N1, "goes on", b"", timeout_s=60, priority=WRITE))
        await arrived.wait()
        ending = asyncio.create_task(stack.aclose())
        await asyncio.wait([ending], timeout=20)
        assert ending.done()
    with pytest.raises(Unavailable):
        await asking


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_transport_ends_though_the_end_of_a_call_causes_another(nodes: Any, is_known: bool) -> None:
    """As a read asks its next owner when a link to the first ends."""

    async def silent(incoming: Incoming) -> bytes:
        await asyncio.sleep(1000)
        return incoming.body

    for name in ("n2", "n3"):
        (await nodes.start(name)).serve("read", silent)
    clock, told = SystemClock(), list[bytes | RingmillError]()
    carrier = carrier_named("tcp", LINK, clock=clock)
    async with (
        asyncio.timeout(20),
        FrameTransport(N1, carrier, clock=clock, entropy=OsEntropy(), secret=SECRET) as mine,
    ):
        mine.set_peers(nodes.addresses)

        def ask(node: NodeId, ended: Ended) -> None:
            mine.send(node, "read", b"", timeout_s=60, priority=Priority.READ, ended=ended)

        if is_known:
            ask(N3, told.append)
        ask(N2, lambda _: ask(N3, told.append))
        await asyncio.sleep(0.2)
    assert {type(each) for each in told} == {Unavailable}
