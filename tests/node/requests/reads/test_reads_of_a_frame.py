"""Gets that came in one frame ask an owner in one message, and each is answered as if it had come alone."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ringmill.cluster.errors import ProtocolMismatch, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Arrival
from ringmill.cluster.wire.stubs.kv_pb2 import GetResponse
from ringmill.node.replica.replica_messages import MOST_TOGETHER, READ_MANY, ReadMany, ReadManyAnswer
from ringmill.node.storage.storage_errors import StorageFailed
from tests.node.requests.arrivals import Call, asked_by, get, hand_over, put
from tests.node.small_world import World

KEYS = [b"a", b"b", b"c"]
LARGE = b"x" * 5_000
N1 = NodeId("n1")


async def written(world: World, values: dict[bytes, bytes]) -> None:
    node = world.nodes[N1]
    calls = [put(node, key, value, w="3") for key, value in values.items()]
    await world.on("n1", _handed_over(world, calls))
    assert all(isinstance(call.ended[0], bytes) for call in calls)


async def shown(world: World, keys: Sequence[bytes]) -> list[list[bytes]]:
    """The values of each key, read in one frame from three owners."""
    node = world.nodes[N1]
    calls = [get(node, key, r="3") for key in keys]
    await world.on("n1", _handed_over(world, calls))
    assert [len(call.ended) for call in calls] == [1] * len(keys)
    told = [call.ended[0] for call in calls]
    failed = [each for each in told if isinstance(each, Exception)]
    assert not failed, failed
    answers = [GetResponse.FromString(each) for each in told if isinstance(each, bytes)]
    assert all(len(answer.answered) == 3 for answer in answers)
    return [[sibling.value for sibling in answer.siblings] for answer in answers]


async def _read_many(world: World, call: Call) -> None:
    world.nodes[NodeId("n2")].core.transport._batch_handlers[READ_MANY]([call])  # type: ignore[attr-defined]
    await asyncio.sleep(0.1)


async def _handed_over(world: World, calls: list[Call]) -> None:
    hand_over(world.nodes[N1], calls)
    await asyncio.sleep(1.0)


def test_an_owner_is_asked_once_for_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    async def story() -> None:
        await written(world, {key: key * 2 for key in KEYS})
        seen = asked_by(world.nodes[N1], monkeypatch)
        assert await shown(world, [*KEYS, b"none"]) == [[b"aa"], [b"bb"], [b"cc"], []]
        assert sorted(seen) == [("n2", READ_MANY), ("n3", READ_MANY)]
        seen.clear()
        assert await shown(world, [b"a"]) == [[b"aa"]]
        assert sorted(seen) == [("n2", "replica.digest"), ("n3", "replica.digest")]
        seen.clear()
        await shown(world, [b"%d" % number for number in range(2 * MOST_TOGETHER + 1)])
        methods = [method for to, method in seen if to == "n2"]
        assert methods == [READ_MANY, READ_MANY, "replica.digest"]

    world.run(story())


def test_what_an_owner_cannot_tell_at_once_it_tells_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A large object by its digest, and one that has to be read from the disk."""
    world = World()

    async def story() -> None:
        await written(world, {b"a": b"1", b"b": LARGE, b"c": b"3"})
        engine = world.nodes[NodeId("n2")].engine
        engine.cold.update(key for key in engine._content if key.endswith(b"c"))
        seen = asked_by(world.nodes[N1], monkeypatch)
        assert await shown(world, KEYS) == [[b"1"], [LARGE], [b"3"]]
        assert not engine.cold
        assert sorted(method for to, method in seen if to == "n2") == ["replica.digest"] * 2 + [READ_MANY]

    world.run(story())


def test_an_owner_of_an_earlier_release_is_asked_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()

    def unknown(arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            arrival.fail(ProtocolMismatch(f"does not serve {READ_MANY}"))

    async def story() -> None:
        await written(world, {key: key * 2 for key in KEYS})
        world.nodes[NodeId("n2")].core.transport.serve_batch(READ_MANY, unknown)
        seen = asked_by(world.nodes[N1], monkeypatch)
        for _ in range(2):
            assert await shown(world, KEYS) == [[b"aa"], [b"bb"], [b"cc"]]
        assert [method for to, method in seen if to == "n2"] == [READ_MANY] + ["replica.digest"] * 6

    world.run(story())


@pytest.mark.parametrize(
    "wrong", [Unavailable("it is stopping"), b"\x93\x90\x90\x90"], ids=["refused", "rubbish"]
)
def test_an_owner_that_gives_no_answer_is_replaced_for_each(wrong: RingmillError | bytes) -> None:
    world = World()

    def refuse(arrivals: Sequence[Arrival]) -> None:
        for arrival in arrivals:
            if isinstance(wrong, bytes):
                arrival.answer(wrong)
            else:
                arrival.fail(wrong)

    async def story() -> None:
        await written(world, {key: key * 2 for key in KEYS})
        node = world.nodes[N1]
        for name in ("n2", "n3"):
            world.nodes[NodeId(name)].core.transport.serve_batch(READ_MANY, refuse)
        calls = [get(node, key) for key in KEYS]
        await world.on("n1", _handed_over(world, calls))
        for call, key in zip(calls, KEYS, strict=True):
            (told,) = call.ended
            assert isinstance(told, bytes)
            assert [each.value for each in GetResponse.FromString(told).siblings] == [key * 2]

    world.run(story())


@pytest.mark.parametrize("is_failing", [False, True])
def test_nothing_of_it_is_shown_before_it_is_on_the_disk(is_failing: bool) -> None:
    """Also when the log fails: then each is told by itself what became of it (rule G2)."""
    world = World()

    async def story() -> None:
        await written(world, {key: key * 2 for key in KEYS})
        node = world.nodes[NodeId("n2")]
        node.engine.can_sync.clear()
        await world.on("n1", _handed_over(world, [put(world.nodes[N1], b"b", b"new", durability="memory")]))
        topology = world.topology
        body = ReadMany(topology.epoch, topology.keyspaces[0].id, KEYS).encode()
        call = Call(READ_MANY, body, node.clock.boottime() + 5.0)
        await world.on("n2", _read_many(world, call))
        assert not call.ended
        node.engine.failure = StorageFailed("the log has failed") if is_failing else None
        node.engine.can_sync.set()
        await asyncio.sleep(0.1)
        (answer,) = call.ended
        assert isinstance(answer, bytes)
        held = ReadManyAnswer.decode(answer, len(KEYS)).encoded
        assert held == [None] * 3 if is_failing else all(held)

    world.run(story())
