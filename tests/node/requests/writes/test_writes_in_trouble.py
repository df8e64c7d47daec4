"""Writes while owners are down, silent or broken, nodes stop and clients leave: who acks, who gets a hint."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any

import pytest

from ringmill.cluster.errors import DeadlineExceeded, DiskFull, QuorumNotReached, RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.quorum.receipt import Role
from ringmill.node.replica.stored_key import hint_key
from ringmill.node.requests.background import Background
from ringmill.node.requests.request_values import LocateRequest
from ringmill.node.storage.storage_errors import StorageFailed
from tests.node.one_key import get, put, values, write_request
from tests.node.small_world import World


def test_all_owners_with_one_down_names_who_acked_and_keeps_the_hint() -> None:
    world = World()

    async def story() -> None:
        world.kill("n3")
        with pytest.raises(QuorumNotReached) as lost:
            await put(world, "n1", b"v", level="3")
        assert lost.value.need == 3
        assert sorted(lost.value.acked) == ["n1", "n2"]
        assert list(lost.value.failed) == ["n3"]
        assert lost.value.outcome == "unknown"
        assert world.nodes["n1"].hints.counts() == {"n3": 1}
        assert values(await get(world, "n2", "one")) == [b"v"]

    world.run(story())


def test_an_owner_seen_down_is_not_asked_while_the_others_suffice() -> None:
    world = World()

    async def story() -> None:
        world.seen("n3", "down")
        receipt = await put(world, "n1", b"v")
        await world.until(lambda: world.nodes["n1"].hints.total == 1)
        assert {ack.node for ack in receipt.replicas if ack.role is Role.OWNER} == {"n1", "n2"}
        assert world.nodes["n3"].objects.keys == 0

    world.run(story())


def test_an_owner_wrongly_seen_down_is_asked_after_all_when_another_fails() -> None:
    world = World()

    async def story() -> None:
        world.seen("n3", "down")
        world.nodes["n2"].engine.failure = StorageFailed("000007.log: I/O error")
        receipt = await put(world, "n1", b"v")
        assert {ack.node for ack in receipt.replicas if ack.role is Role.OWNER} == {"n1", "n3"}

    world.run(story())


def test_an_owner_wrongly_seen_down_is_asked_after_all_when_another_is_silent() -> None:
    world = World()

    async def story() -> None:
        world.seen("n3", "down")
        world.cut("n1", "n2")
        began = world.loop.time()
        receipt = await put(world, "n1", b"v")
        assert {ack.node for ack in receipt.replicas if ack.role is Role.OWNER} == {"n1", "n3"}
        assert world.loop.time() - began < 1.0

    world.run(story())


def test_a_level_lost_with_an_owner_seen_down_names_what_that_one_met() -> None:
    world = World()

    async def story() -> None:
        for name in ("n2", "n3"):
            world.kill(name)
        world.seen("n3", "down")
        with pytest.raises(QuorumNotReached) as lost:
            await put(world, "n1", b"v", timeout_s=0.5)
        assert set(lost.value.failed) == {"n2", "n3"}
        assert world.nodes["n1"].hints.counts() == {"n2": 1, "n3": 1}

    world.run(story())


def test_a_put_whose_client_leaves_half_way_reaches_every_owner_all_the_same() -> None:
    world = World()

    async def story() -> None:
        node = world.nodes["n1"]
        node.engine.can_sync.clear()  # nothing is acked here yet
        request = write_request("", b"key", b"v", level="all")
        asked = world.loop.spawn(node.process, node.requests.write(request))
        await world.until(lambda: node.objects.keys == 1)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        node.engine.can_sync.set()
        await world.until(lambda: all(node.objects.keys == 1 for node in world.nodes.values()))
        assert node.hints.total == 0
        for name in world.names:
            assert values(await get(world, name, "one")) == [b"v"]

    world.run(story())


def test_an_owner_wrongly_seen_down_is_asked_when_the_level_needs_it() -> None:
    world = World()

    async def story() -> None:
        world.seen("n3", "down")
        receipt = await put(world, "n1", b"v", level="all")
        assert [ack.role for ack in receipt.replicas] == [Role.OWNER] * 3

    world.run(story())


def test_a_silent_owner_gets_a_hint_when_the_request_ends_without_its_ack() -> None:
    world = World()

    async def story() -> None:
        world.cut("n1", "n3")
        await put(world, "n1", b"v", timeout_s=0.5)
        assert world.nodes["n1"].hints.total == 0  # answered at two acks, still listening
        await world.until(lambda: world.nodes["n1"].hints.counts() == {"n3": 1})

    world.run(story())


def cold_hint(world: World) -> bytes:
    """The hint of the key at n1, which the engine now has to fetch from the disk."""
    (key,) = world.nodes["n1"].hints.waiting_for(NodeId("n3"), 1)
    world.nodes["n1"].engine.cold.add(hint_key(key))
    return hint_key(key)


async def delivered_after_the_stop_of_n1(world: World) -> list[bytes | None]:
    """What n3 holds once n1 has come back and brought it what it kept."""
    await world.stop("n1")
    world.cut("n1", "n3", is_cut=False)
    world.nodes["n3"].engine.cold.clear()
    await world.start("n1")
    world.seen("n3", "up")
    await world.until(lambda: world.nodes["n1"].hints.total == 0)
    return values(await get(world, "n3", "one"))


def test_a_stop_keeps_the_write_a_silent_owner_has_not_acked_beside_a_hint_on_the_disk() -> None:
    world = World()

    async def story() -> None:
        world.cut("n1", "n3")
        await put(world, "n1", b"old", timeout_s=0.2)
        await world.until(lambda: world.nodes["n1"].hints.total == 1)
        world.seen("n3", "suspect")  # asked, and given no hints
        await put(world, "n1", b"new", timeout_s=30)
        cold_hint(world)
        assert await delivered_after_the_stop_of_n1(world) == [b"new"]

    world.run(story())


def test_a_stop_while_a_hint_is_being_kept_still_keeps_it() -> None:
    world = World()

    async def story() -> None:
        world.cut("n1", "n3")
        world.seen("n3", "down")
        await put(world, "n1", b"old")
        await world.until(lambda: world.nodes["n1"].hints.total == 1)
        cold_hint(world)
        engine = world.nodes["n1"].engine
        engine.can_read.clear()
        await put(world, "n1", b"new")
        asyncio.get_running_loop().call_later(3.5, engine.can_read.set)  # after the stop has given up
        assert await delivered_after_the_stop_of_n1(world) == [b"new"]

    world.run(story())


def test_a_write_no_quorum_answers_ends_at_its_deadline_with_hints_for_the_silent() -> None:
    world = World()

    async def story() -> None:
        world.cut("n1", "n2")
        world.cut("n1", "n3")
        began = world.loop.time()
        with pytest.raises(QuorumNotReached, match=r"no (ack|answer) within") as lost:
            await put(world, "n1", b"v", timeout_s=0.5)
        assert world.loop.time() - began < 0.6
        assert lost.value.outcome == "unknown"
        assert lost.value.acked == ["n1"]
        assert world.nodes["n1"].hints.counts() == {"n2": 1, "n3": 1}

    world.run(story())


def test_a_failing_disk_acks_nothing_but_the_other_owners_do() -> None:
    world = World()

    async def story() -> None:
        world.nodes["n2"].engine.failure = StorageFailed("000007.log: I/O error")
        receipt = await put(world, "n1", b"v")
        assert {ack.node for ack in receipt.replicas if ack.role is Role.OWNER} == {"n1", "n3"}
        with pytest.raises(StorageFailed, match="I/O error"):
            await put(world, "n2", b"v")

    world.run(story())


@pytest.mark.parametrize("kind", [StorageFailed, DiskFull])
def test_a_coordinator_whose_disk_takes_nothing_says_that_nothing_happened(kind: type[RingmillError]) -> None:
    world = World()

    async def story() -> None:
        world.nodes["n1"].engine.failure = kind("000007.log: refused", outcome="unknown")
        with pytest.raises(kind) as refused:
            await put(world, "n1", b"v")
        assert refused.value.outcome == "failed"
        assert [node.objects.keys for node in world.nodes.values()] == [0, 0, 0]

    world.run(story())


@pytest.mark.parametrize("kind", [StorageFailed, DiskFull])
def test_a_write_is_forwarded_past_an_owner_whose_disk_takes_nothing(kind: type[RingmillError]) -> None:
    world = World(5)

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        world.nodes[owners[0]].engine.failure = kind("000007.log: refused", outcome="unknown")
        receipt = await put(world, outsider, b"v")
        assert receipt.dot.actor.split("#")[0] == owners[1]

    world.run(story())


def outsider_and_owners(world: World) -> tuple[str, Sequence[str]]:
    """A node that does not own the key, and those that do."""
    owners = world.topology.owners(world.topology.partition_of(world.topology.keyspaces[0].id, b"key"))
    return next(name for name in world.names if name not in owners), owners


@pytest.mark.parametrize("silent", [1, 2])
def test_a_write_is_forwarded_past_owners_that_are_silent(silent: int) -> None:
    world = World(5)

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        for owner in owners[:silent]:
            world.cut(outsider, owner)
        began = world.loop.time()
        receipt = await put(world, outsider, b"v")
        assert receipt.dot.actor.split("#")[0] == owners[silent]
        assert world.loop.time() - began < 1.0

    world.run(story())


def test_a_write_that_no_owner_hears_has_certainly_failed() -> None:
    world = World(5)

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        for owner in owners:
            world.cut(outsider, owner)
        with pytest.raises(Unavailable, match="can be reached") as lost:
            await put(world, outsider, b"v", timeout_s=1)
        assert lost.value.outcome == "failed"

    world.run(story())


def test_a_write_is_forwarded_to_an_owner_that_answers_late_when_none_answers_soon() -> None:
    world = World(5)

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        for owner in owners:
            for link in (world.network.link(outsider, owner), world.network.link(owner, outsider)):
                link.latency_s = 0.3
        receipt = await put(world, outsider, b"v")
        assert receipt.dot.actor.split("#")[0] in owners

    world.run(story())


@pytest.mark.parametrize("others", [0, 2])
def test_a_write_is_forwarded_to_an_owner_that_needs_almost_all_of_the_time(others: int) -> None:
    """It answers 0.8 s after each question; the others, if there are any, are silent."""
    world = World(5, n=1 + others, r=1, w=1)

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        for owner in owners[1:]:
            world.cut(outsider, owner)
        for link in (world.network.link(outsider, owners[0]), world.network.link(owners[0], outsider)):
            link.latency_s = 0.4
        receipt = await put(world, outsider, b"v", timeout_s=2)
        assert receipt.dot.actor.split("#")[0] == owners[0]
        assert world.loop.time() < 1.7

    world.run(story())


def test_a_write_is_forwarded_to_an_owner_that_comes_back_after_the_first_question() -> None:
    world = World(5, n=1, r=1, w=1)

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        world.cut(outsider, owners[0])
        world.loop.call_later(2.5, lambda: world.cut(outsider, owners[0], is_cut=False))
        await put(world, outsider, b"v", timeout_s=6)
        assert world.loop.time() < 4.5

    world.run(story())


def test_an_owner_that_failed_a_write_shows_first_that_it_answers_before_it_gets_another() -> None:
    world = World(5, n=1, r=1, w=1)

    async def story() -> None:
        outsider, owners = outsider_and_owners(world)
        await put(world, outsider, b"v")
        world.cut(outsider, owners[0])
        with pytest.raises(DeadlineExceeded):
            await put(world, outsider, b"v", timeout_s=0.5)
        with pytest.raises(Unavailable) as lost:
            await put(world, outsider, b"v", timeout_s=0.3)
        assert lost.value.outcome == "failed"

    world.run(story())


def test_a_node_that_stops_has_not_sent_what_it_would_have_forwarded(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World(5, n=1, r=1, w=1)

    def over(background: Background, work: Coroutine[Any, Any, None]) -> None:
        work.close()
        raise Unavailable("this node has stopped", outcome="unknown")

    async def story() -> None:
        outsider, _ = outsider_and_owners(world)
        monkeypatch.setattr(Background, "start", over)
        with pytest.raises(Unavailable) as lost:
            await put(world, outsider, b"v")
        monkeypatch.undo()
        assert lost.value.outcome == "failed"

    world.run(story())


def test_locate_says_of_a_node_s_own_stuck_disk_that_it_does_not_answer() -> None:
    world = World()

    async def story() -> None:
        node = world.nodes["n1"]
        node.engine.can_sync.clear()
        await put(world, "n1", b"v", level="one", durability="memory")
        async with asyncio.timeout(5):
            located = await world.on("n1", node.requests.locate(LocateRequest("", b"key")))
        node.engine.can_sync.set()
        assert {copy.node: copy.error for copy in located.owners} == {
            "n1": "no answer within 1 s", "n2": "", "n3": "",
        }  # fmt: skip

    world.run(story())
