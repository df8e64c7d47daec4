"""Writes that came in one frame go to an owner in one message, and each is acknowledged as if it had gone
alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ringmill.cluster.errors import ProtocolMismatch, QuorumNotReached, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Arrival
from ringmill.cluster.wire.stubs.kv_pb2 import WriteReceipt
from ringmill.node.replica.replica_messages import APPLY, APPLY_MANY, MOST_TOGETHER
from ringmill.node.storage.storage_errors import StorageFailed
from tests.node.one_key import read_request, values
from tests.node.requests.arrivals import Call, asked_by, hand_over, put
from tests.node.small_world import World

KEYS = [b"a", b"b", b"c"]
LARGE = b"x" * 5_000
N1, N2 = NodeId("n1"), NodeId("n2")


def puts(world: World, written: dict[bytes, bytes], w: str = "3") -> list[Call]:
    return [put(world.nodes[N1], key, value, w=w) for key, value in written.items()]


async def taken(world: World, calls: list[Call], wait_s: float = 1.0) -> None:
    async def hand_over_and_wait() -> None:
        hand_over(world.nodes[N1], calls)
        await asyncio.sleep(wait_s)

    await world.on("n1", hand_over_and_wait())


def ackers(call: Call) -> set[str]:
    (told,) = call.ended
    assert isinstance(told, bytes), told
    return {ack.node for ack in WriteReceipt.FromString(told).replicas if ack.role == "owner"}


async def held(world: World, at: str, key: bytes) -> list[bytes | None]:
    return values(await world.on(at, world.nodes[NodeId(at)].requests.get(read_request(key, "1"))))


def test_an_owner_is_told_once_of_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    async def story() -> None:
        seen = asked_by(world.nodes[N1], monkeypatch)
        calls = puts(world, {key: key * 2 for key in KEYS})
        await taken(world, calls)
        assert [ackers(call) for call in calls] == [{"n1", "n2", "n3"}] * 3
        assert sorted(seen) == [("n2", APPLY_MANY), ("n3", APPLY_MANY)]
        assert [await held(world, "n2", key) for key in KEYS] == [[b"aa"], [b"bb"], [b"cc"]]
        seen.clear()
        await taken(world, puts(world, {b"a": b"1"}))
        assert sorted(seen) == [("n2", APPLY), ("n3", APPLY)]
        seen.clear()
        many = puts(world, {b"%d" % number: b"v" for number in range(2 * MOST_TOGETHER + 1)})
        await taken(world, many)
        assert all(ackers(call) == {"n1", "n2", "n3"} for call in many)
        assert [method for to, method in seen if to == "n2"] == [APPLY_MANY, APPLY_MANY, APPLY]

    world.run(story())


def test_writes_that_are_allowed_other_times_go_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message ends when they do, and who has not acknowledged one by then gets its hint."""
    world = World()

    async def story() -> None:
        node = world.nodes[N1]
        seen = asked_by(node, monkeypatch)
        times = {b"a": 5.0, b"b": 5.0001, b"c": 60.0}
        calls = [put(node, key, b"v", w="3", timeout_s=time_s) for key, time_s in times.items()]
        await taken(world, calls)
        assert [ackers(call) for call in calls] == [{"n1", "n2", "n3"}] * 3
        assert [method for to, method in seen if to == "n2"] == [APPLY_MANY, APPLY]

    world.run(story())


def test_what_an_owner_cannot_take_at_once_is_sent_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large object from the first, and one whose former value has to be read from the disk afterwards."""
    world = World()

    async def story() -> None:
        await taken(world, puts(world, {key: key * 2 for key in KEYS}))
        engine = world.nodes[N2].engine
        engine.cold.update(key for key in engine._content if key.endswith(b"c"))
        seen = asked_by(world.nodes[N1], monkeypatch)
        calls = puts(world, {b"a": b"1", b"b": LARGE, b"c": b"3", b"d": b"4"})
        await taken(world, calls)
        assert [ackers(call) for call in calls] == [{"n1", "n2", "n3"}] * 4
        assert sorted(method for to, method in seen if to == "n2") == [APPLY] * 2 + [APPLY_MANY]
        assert [await held(world, "n2", key) for key in (b"b", b"c")] == [[LARGE], [b"3"]]

    world.run(story())


def test_an_owner_of_an_earlier_release_is_told_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def unknown(arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            arrival.fail(ProtocolMismatch(f"does not serve {APPLY_MANY}"))

    async def story() -> None:
        world.nodes[N2].core.transport.serve_batch(APPLY_MANY, unknown)
        seen = asked_by(world.nodes[N1], monkeypatch)
        for value in (b"1", b"2"):
            calls = puts(world, dict.fromkeys(KEYS, value))
            await taken(world, calls)
            assert [ackers(call) for call in calls] == [{"n1", "n2", "n3"}] * 3
        assert [method for to, method in seen if to == "n2"] == [APPLY_MANY] + [APPLY] * 6

    world.run(story())


def test_an_owner_that_refuses_the_message_gets_a_hint_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def refuse(arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            arrival.fail(Unavailable("it is stopping"))

    async def story() -> None:
        world.nodes[N2].core.transport.serve_batch(APPLY_MANY, refuse)
        seen = asked_by(world.nodes[N1], monkeypatch)
        calls = puts(world, {key: key * 2 for key in KEYS}, w="2")
        await taken(world, calls, wait_s=5.0)
        assert [ackers(call) for call in calls] == [{"n1", "n3"}] * 3
        assert [method for to, method in seen if to == "n2"] == [APPLY_MANY]
        assert [await held(world, "n2", key) for key in KEYS] == [[b"aa"], [b"bb"], [b"cc"]]

    world.run(story())


@pytest.mark.parametrize("is_failing", [False, True])
def test_none_of_it_is_acknowledged_before_it_is_on_the_disk(is_failing: bool) -> None:
    world = World()

    async def story() -> None:
        engine = world.nodes[N2].engine
        engine.can_sync.clear()
        calls = puts(world, {key: key * 2 for key in KEYS})
        await taken(world, calls)
        assert not any(call.ended for call in calls)
        engine.failure = StorageFailed("the log has failed") if is_failing else None
        engine.can_sync.set()
        await asyncio.sleep(6.0)
        if not is_failing:
            assert [ackers(call) for call in calls] == [{"n1", "n2", "n3"}] * 3
            return
        for call in calls:
            (told,) = call.ended
            assert isinstance(told, QuorumNotReached)
            assert told.outcome == "unknown"
            assert "the log has failed" in str(told)

    world.run(story())
