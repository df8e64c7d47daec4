"""Requests that came in one frame: applied as one, each ended once, and none of them when it is too late."""

from __future__ import annotations

import asyncio
import gc
from dataclasses import dataclass
from typing import Any

import pytest

from ringmill.cluster.errors import DeadlineExceeded, DiskFull, RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import Clock
from ringmill.cluster.wire.stubs.kv_pb2 import OperationId
from ringmill.node.requests import write
from ringmill.node.requests.owners.read_in_flight import ReadInFlight
from ringmill.node.requests.write_in_flight import WriteInFlight
from tests.node.one_key import get as read
from tests.node.one_key import put as written
from tests.node.one_key import read_request, values, write_request
from tests.node.requests.arrivals import Call, delete, get, hand_over, put
from tests.node.small_world import Node, World

STOPPED_S = 60.0


async def handed_over(node: Node, calls: list[Call], wait_s: float = 1.0) -> list[Call]:
    hand_over(node, calls)
    await asyncio.sleep(wait_s)
    return calls


async def held(world: World, at: str, key: bytes) -> list[bytes | None]:
    return values(await world.on(at, world.nodes[NodeId(at)].requests.get(read_request(key))))


def test_the_writes_of_a_frame_are_one_batch_of_the_engine_and_each_is_answered_once() -> None:
    world = World()

    async def story() -> None:
        node = world.nodes[NodeId("n1")]
        before = len(node.engine._log)
        calls = [put(node, b"a", b"1"), put(node, b"b", b"2"), put(node, b"a", b"3"), delete(node, b"b")]
        await world.on("n1", handed_over(node, calls))
        assert [len(call.ended) for call in calls] == [1, 1, 1, 1]
        assert all(isinstance(call.ended[0], bytes) for call in calls)
        assert len(node.engine._log) == before + 1
        assert (await held(world, "n2", b"a"), await held(world, "n2", b"b")) == ([b"3"], [])

    world.run(story())


@dataclass
class StoppedClock:
    """The clocks of a process that was stopped between two looks."""

    clock: Clock
    ahead_s: float = 0.0

    def wall(self) -> float:
        return self.clock.wall() + self.ahead_s

    def monotonic(self) -> float:
        return self.clock.monotonic() + self.ahead_s

    def boottime(self) -> float:
        return self.clock.boottime() + self.ahead_s


def stopped_clock(node: Node, monkeypatch: pytest.MonkeyPatch) -> StoppedClock:
    """The clock of the node's writes, which can be set ahead."""
    clock = StoppedClock(node.clock)
    monkeypatch.setattr(node.service, "_clock", clock)
    monkeypatch.setattr(node.requests._writer, "_clock", clock)
    return clock


@pytest.mark.parametrize("taken_in", [1, 2])
def test_a_node_that_is_stopped_within_a_batch_applies_nothing_of_it_that_is_late(
    taken_in: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World()

    async def story() -> None:
        node = world.nodes[NodeId("n1")]
        writer, clock = node.requests._writer, stopped_clock(node, monkeypatch)
        calls, add = [put(node, b"a", b"1"), put(node, b"b", b"2")], writer._write_into
        added = 0

        def add_and_stop(*given: Any) -> WriteInFlight | None:
            nonlocal added
            done, added = add(*given), added + 1
            clock.ahead_s += STOPPED_S if added == taken_in else 0.0
            return done

        monkeypatch.setattr(writer, "_write_into", add_and_stop)
        await world.on("n1", handed_over(node, calls))
        told = [call.ended[0] for call in calls]
        assert all(isinstance(each, DeadlineExceeded) for each in told)
        assert {each.outcome for each in told if isinstance(each, RingmillError)} == {"failed"}
        assert await held(world, "n2", b"a") == await held(world, "n2", b"b") == []

    world.run(story())


def test_a_write_that_runs_out_of_time_takes_no_other_of_its_frame_with_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    async def story() -> None:
        node = world.nodes[NodeId("n1")]
        writer, clock = node.requests._writer, stopped_clock(node, monkeypatch)
        times = {b"a": 60.0, b"b": 1.0, b"c": 60.0}
        calls, add = (
            [put(node, key, b"1", timeout_s=time_s) for key, time_s in times.items()],
            writer._write_into,
        )

        def add_slowly(*given: Any) -> WriteInFlight | None:
            done = add(*given)
            clock.ahead_s += 0.6
            return done

        monkeypatch.setattr(writer, "_write_into", add_slowly)
        await world.on("n1", handed_over(node, calls))
        (late,) = calls[1].ended
        assert isinstance(late, DeadlineExceeded) and late.outcome == "failed"
        assert [[type(told) for told in calls[number].ended] for number in (0, 2)] == [[bytes], [bytes]]
        assert [await held(world, "n2", key) for key in times] == [[b"1"], [], [b"1"]]

    world.run(story())


def full(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise DiskFull("no space")

    monkeypatch.setattr(node.engine, "apply", refuse)


def test_a_batch_that_the_engine_refuses_fails_each_of_its_writes_but_not_one_that_was_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    async def story() -> None:
        node, name = world.nodes[NodeId("n1")], OperationId(session=7, sequence=1, birth=1)
        first = put(node, b"a", b"1", operation=name)
        await world.on("n1", handed_over(node, [first]))
        assert isinstance(first.ended[0], bytes)
        full(node, monkeypatch)
        again, other = put(node, b"a", b"1", operation=name), put(node, b"b", b"2")
        await world.on("n1", handed_over(node, [again, other]))
        told = again.ended[0]
        assert isinstance(told, bytes) or (isinstance(told, DiskFull) and told.outcome == "unknown")
        assert isinstance(other.ended[0], DiskFull)
        assert other.ended[0].outcome == "failed"

    world.run(story())


def test_a_read_that_has_ended_keeps_nothing_for_an_owner_that_stays_silent(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    async def story() -> None:
        await written(world, "n1", b"x" * 1000, level="3")
        node = world.nodes[NodeId("n1")]
        monkeypatch.setattr(world.nodes[NodeId("n3")].transport, "_begin", lambda *_: None)
        for _ in range(5):
            call = get(node, b"key", timeout_s=60.0)
            await world.on("n1", handed_over(node, [call]))
            assert isinstance(call.ended[0], bytes)
        ended = [
            each for each in gc.get_objects() if isinstance(each, ReadInFlight) and each._on_done is None
        ]
        assert not any(each._answers or each._decoded or each.message for each in ended)

    world.run(story())


def writes_in_flight() -> list[WriteInFlight]:
    """All of the process, those of other tests among them."""
    return [each for each in gc.get_objects() if isinstance(each, WriteInFlight)]


def test_a_write_beside_a_dead_owner_is_gone_from_memory_without_the_collector() -> None:
    world = World()

    async def story() -> None:
        world.kill("n3")
        gc.collect()
        gc.disable()
        try:
            former = writes_in_flight()  # held, so that no new one has the id of one of them
            for _ in range(5):
                await written(world, "n1", b"x")
            await asyncio.sleep(10)
            known = set(map(id, former))
            alive = sum(id(each) not in known for each in writes_in_flight())
        finally:
            gc.enable()
        assert alive <= 1

    world.run(story())


def test_a_write_that_is_applied_after_the_room_was_left_makes_the_stop_no_clean_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()

    async def story() -> None:
        node = world.nodes[NodeId("n1")]
        world.kill("n3")
        monkeypatch.setattr(node.requests._writer._dispatcher._background, "_is_over", True)
        await world.on("n1", node.requests.write(write_request("", b"key", b"v", level="2")))
        await asyncio.sleep(6)
        assert node.hints.counts() == {"n3": 1} or not node.hints.is_whole

    world.run(story())


def test_what_has_to_wait_leaves_the_batch_and_is_answered_all_the_same() -> None:
    world = World()

    async def story() -> None:
        node = world.nodes[NodeId("n1")]
        calls = [
            put(node, b"a", b"1", ttl_ms=60_000),
            put(node, b"b", b"2"),
            put(node, b"c", b"3", attempt=1),
        ]
        await world.on("n1", handed_over(node, calls))
        assert [len(call.ended) for call in calls] == [1, 1, 1]
        assert [await held(world, "n2", key) for key in (b"a", b"b")] == [[b"1"], [b"2"]]

    world.run(story())


def test_a_write_of_a_frame_gives_a_receipt_that_names_all_who_hold_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the long way as by the short one."""
    for is_short in (True, False):
        world = World()
        keep = write.Writer._write_into if is_short else lambda *_: None
        monkeypatch.setattr(write.Writer, "_write_into", keep)

        async def story(world: World = world) -> None:
            node = world.nodes[NodeId("n1")]
            call = put(node, b"key", b"v", w="3")
            await world.on("n1", handed_over(node, [call]))
            assert isinstance(call.ended[0], bytes)
            assert values(await read(world, "n2")) == [b"v"]

        world.run(story())
