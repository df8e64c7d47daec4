"""While it is open whether a watermark was proven, an owner refuses only what the outcome decides, and finds
out at once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill.cluster.errors import DiskFull, QuorumNotReached, WrongEpoch
from ringmill.cluster.ids import Actor, Epoch, NodeId, PartitionId
from ringmill.cluster.ports import Incoming, Priority
from ringmill.cluster.quorum.watermark import Fate, Note
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.object_codec import encode_object
from ringmill.cluster.versions.objects import OperationId, Sibling, StoredObject
from ringmill.cluster.wire.request_options import ReadOptions, Seen, WriteOptions
from ringmill.node.node_options import PurgeOptions
from ringmill.node.replica.purging.purge_messages import AskKeep, KeepAnswer
from ringmill.node.replica.purging.purge_serving import PurgeServing
from ringmill.node.replica.purging.watermarks import Watermarks
from ringmill.node.replica.replica_messages import DELIVER, Deliver, DeliverAnswer, HintItem
from ringmill.node.replica.stored_key import Copy
from ringmill.node.requests.request_values import ReadRequest, WriteRequest
from ringmill.simulator.world.world import DEFAULT_KEYSPACE
from tests.node.repair.healing_world import HealingWorld, run
from tests.node.repair.test_purging import KEYS, NAMES, SOON, VALUE, fill, tombstones, until

BY_HAND = PurgeOptions(after_s=5.0, every_s=1000.0, settle_s=1000.0)
OLD, OPEN = HybridTime(5 << 16), HybridTime(9 << 16)


def sibling(actor: str, value: bytes | None, time: HybridTime) -> Sibling:
    return Sibling(Dot(Actor(actor), 1), value, time, OperationId(len(actor), 1, HybridTime(0)))


def keep_open(world: HealingWorld, name: str, partition: PartitionId) -> None:
    """Have an owner keep an attempt that no other one has heard of."""
    mark = world[name].replica.watermarks.of(partition)
    mark.write_down(Note("n1.9", OPEN, Epoch(1), "token"))
    mark.keep("n1.9")


async def deliver(world: HealingWorld, name: str, *siblings: Sibling) -> str:
    """Why the owner refuses an object with these siblings, or ""."""
    dots = VersionVector.of(one.dot for one in siblings)
    item = HintItem(DEFAULT_KEYSPACE, b"k", encode_object(StoredObject(dots, siblings)))
    call = world["n1"].core.transport.call(
        NodeId(name), DELIVER, Deliver(Epoch(1), (item,)).encode(), timeout_s=5, priority=Priority.REPAIR
    )
    return DeliverAnswer.decode(await world.inside("n1", call), 1).refusals[0]


async def nobody_asks(partition: PartitionId) -> None:
    return


@pytest.mark.parametrize("is_asked", [True, False])
def test_an_older_version_is_taken_as_soon_as_the_others_say_that_the_attempt_is_dead(is_asked: bool) -> None:
    async def story(world: HealingWorld) -> None:
        watermarks = world["n2"].replica.watermarks
        if not is_asked:
            watermarks.find_out = nobody_asks
        keep_open(world, "n2", world.world.partition(b"k"))
        await world.put("n1", b"k", b"new", "all")
        refusal = await deliver(world, "n2", sibling("n9#1.0", b"old", OLD))
        told = (
            ""
            if is_asked
            else "UNAVAILABLE: an older version is not taken while a watermark is being settled"
        )
        assert refusal == told
        await world.put("n1", b"k", b"newer", "all")  # no fresh write is concerned

    run(story, purge=BY_HAND)


def test_a_new_value_beside_a_delete_that_is_forgotten_is_taken_while_an_attempt_is_open() -> None:
    async def story(world: HealingWorld) -> None:
        partition = world.world.partition(b"k")
        mark = world["n2"].replica.watermarks.of(partition)
        world["n2"].replica.watermarks.find_out = nobody_asks
        mark.kept = mark.kept._replace(proven=OLD)
        keep_open(world, "n2", partition)
        gone, new = sibling("n9#1.0", None, OLD), sibling("n8#1.00", b"new", HybridTime(99 << 16))
        assert not await deliver(world, "n2", new, gone)
        assert b"new" in [one.value for one in (await world.held("n2", b"k")).siblings]
        assert await deliver(world, "n2", sibling("n7#1.000", None, OPEN))  # it may be one that nobody has

    run(story, purge=BY_HAND)


def test_of_a_hint_with_a_forgotten_version_the_rest_is_taken() -> None:
    async def story(world: HealingWorld) -> None:
        mark = world["n2"].replica.watermarks.of(world.world.partition(b"k"))
        mark.kept = mark.kept._replace(proven=OLD)
        old, new = sibling("n9#1.0", b"old", OLD), sibling("n8#1.00", b"new", HybridTime(99 << 16))
        assert not await deliver(world, "n2", new, old)
        held = await world.held("n2", b"k")
        assert [one.value for one in held.siblings] == [b"new"] and not held.context.covers(old.dot)
        assert (await deliver(world, "n2", new, old)).startswith("STALE")
        assert world["n2"].replica.watermarks.refused == 2

    run(story, purge=BY_HAND)


@pytest.mark.parametrize("is_timed", [True, False])
def test_a_session_goes_on_with_a_key_that_it_deleted_and_that_is_forgotten(is_timed: bool) -> None:
    """Though the receipt of its delete had no context, so that no vector names it."""

    async def story(world: HealingWorld) -> None:
        await world.put("n1", b"k", VALUE, "all")
        await world.delete("n1", b"k", "all")
        own = (await world.held("n2", b"k")).siblings[0]
        await until(lambda: not tombstones(world))
        seen = Seen(dots=(str(own.dot),), times=(own.time,) if is_timed else ())
        get = ReadRequest("", b"k", ReadOptions("", 0.5, seen))
        put = WriteRequest("", b"k", b"again", WriteOptions("all", timeout_s=0.5, seen=seen))
        for name in NAMES:
            if not is_timed:
                with pytest.raises(QuorumNotReached, match="the session has seen"):
                    await world.inside(name, world[name].requests.get(get))
                continue
            assert not (await world.inside(name, world[name].requests.get(get))).siblings[1:]
            await world.inside(name, world[name].requests.write(put))

    run(story, purge=SOON)


def test_an_answer_that_nobody_can_read_keeps_no_other_partition_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def rubbish(self: PurgeServing, incoming: Incoming) -> bytes:
        return b"\xc1"

    monkeypatch.setattr(PurgeServing, "fate", rubbish)

    async def story(world: HealingWorld) -> None:
        await fill(world)
        bad = world.world.partition(KEYS[0])
        for name in NAMES:
            keep_open(world, name, bad)
        for key in KEYS:
            await world.delete("n2", key, "all")
        stay = sum(world.world.partition(key) == bad for key in KEYS)
        assert 0 < stay < len(KEYS)
        await until(lambda: tombstones(world) == stay * len(NAMES))

    run(story, purge=SOON)


def test_what_cannot_be_stored_of_earlier_attempts_keeps_no_delete_waiting() -> None:
    async def no_room(document: Topology) -> None:
        raise DiskFull("no space left")

    async def story(world: HealingWorld) -> None:
        for name in NAMES:
            world[name].repair.purging._kept_attempts.round = no_room  # type: ignore[method-assign]
        await fill(world)
        for key in KEYS:
            await world.delete("n2", key, "all")
        await until(lambda: not tombstones(world))

    run(story, purge=SOON)


async def test_an_owner_that_has_kept_an_attempt_says_so_again_though_its_copy_is_damaged() -> None:
    row, partition, damaged = SimpleNamespace(row_epoch=Epoch(1)), PartitionId(3), list[Copy]()

    async def row_of(*_: Any, **__: Any) -> Any:
        if len(damaged) == 2:
            raise WrongEpoch("owners have changed")
        return row

    async def done(*_: Any, **__: Any) -> None:
        return

    copy: Any = Copy(partition, Epoch(1))
    of_no_use: Any = SimpleNamespace()
    unswept: list[Copy] = []
    watermarks = Watermarks(cast("Any", SimpleNamespace(get=lambda _: None, put_synced=done)))
    serving = PurgeServing(
        of_no_use,
        routes=cast(
            "Any", SimpleNamespace(row_of=row_of, copy_of=lambda *_: copy, check_partitions=lambda _: None)
        ),
        engine=cast("Any", SimpleNamespace(may_lack=lambda *_: bool(damaged))),
        objects=cast(
            "Any",
            SimpleNamespace(
                gone=SimpleNamespace(unswept=unswept),
                sums=SimpleNamespace(of=lambda _: b"sums"),
                wait_synced=done,
            ),
        ),
        hints=of_no_use,
        watermarks=watermarks,
        hybrid=of_no_use,
        after_s=5.0,
        may_owe=lambda _: False,
    )
    watermarks.of(partition).write_down(Note("n1.9", OPEN, Epoch(1), "token"))

    async def keep(attempt: str, partition: PartitionId = partition) -> tuple[str, ...]:
        asked = AskKeep(Epoch(1), attempt, ((partition, "token"),)).encode()
        incoming = cast("Any", SimpleNamespace(body=asked, sender=NodeId("n1")))
        return KeepAnswer.decode(await serving.keep(incoming), 1).refusals

    assert await keep("n1.9") == ("",)
    for _ in range(2):
        damaged.append(copy)
        assert await keep("n1.9") == ("",)
        assert await keep("n1.8") != ("",)
    assert watermarks.of(partition).fate("n1.9") is Fate.OPEN
    other = PartitionId(partition + 1)
    watermarks.of(other).write_down(Note("n1.10", OPEN, Epoch(1), "token"))
    damaged.pop()
    assert await keep("n1.10", other) == ("damaged meanwhile",)
    unswept.append(copy)
    watermarks.of(other).write_down(Note("n1.11", OPEN, Epoch(1), "token"))
    assert await keep("n1.11", other) == ("what a dropped keyspace has left is removed there first",)
