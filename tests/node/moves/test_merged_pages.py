"""A page of an old owner is merged in beside the writes of the joint, which reach the copy by themselves."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from ringmill.cluster.errors import DeadlineExceeded, Overloaded
from ringmill.cluster.ids import Actor, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.object_codec import decode_object, encode_object
from ringmill.cluster.versions.objects import OperationId, Sibling, StoredObject
from ringmill.node.moves.filling import MERGE_TURN, TURNED_AWAY, Filling
from ringmill.node.replica.stored_key import Place, copy_prefix
from tests.node.forgetful_engine import ForgetfulEngine
from tests.node.replica.test_object_store import PLACE, store_on

OWNER = Actor("n2#1.bb")
PLACES = [Place(PLACE.copy, KeyspaceId(1, 0), b"key%04d" % number) for number in range(2 * MERGE_TURN)]


def written(count: int) -> StoredObject:
    """What one owner wrote at last, over all that it wrote before."""
    dot = Dot(OWNER, count)
    name = OperationId(1, count, HybridTime(count))
    return StoredObject(VersionVector.of([dot]), (Sibling(dot, b"v%d" % count, HybridTime(count), name),))


def filling_on(engine: ForgetfulEngine) -> tuple[Filling, Any]:
    nothing, objects = cast("Any", None), store_on(engine)
    filling = Filling(
        NodeId("n1"),
        engine=engine.as_engine(),
        objects=objects,
        watermarks=nothing,
        remains=nothing,
        forgotten=nothing,
        topology=nothing,
        transport=nothing,
        finish_register=nothing,
        pull=nothing,
        progress=nothing,
        steps=nothing,
        gate=nothing,
        core_time=nothing,
        clock=nothing,
        options=nothing,
    )
    return filling, objects


def page(places: list[Place]) -> tuple[tuple[bytes, bytes], ...]:
    prefix = copy_prefix(PLACE.copy)
    return tuple((place.stored_key[len(prefix) :], encode_object(written(1))) for place in places)


async def test_a_write_that_comes_while_a_page_waits_for_the_disk_stays() -> None:
    engine = ForgetfulEngine()
    filling, objects = filling_on(engine)
    first, second = PLACES[:2]
    engine.cold.add(second.stored_key)
    engine.can_read.clear()
    merging = asyncio.ensure_future(filling._merge(PLACE.copy, page([first, second])))
    await asyncio.sleep(0)
    await objects.apply(first, written(2), of_owner=True)
    engine.can_read.set()
    await merging
    held = [engine.get_nowait(place.stored_key) for place in (first, second)]
    siblings = [sibling for each in held for sibling in decode_object(each or b"").visible()]
    assert [sibling.value for sibling in siblings] == [b"v2", b"v1"]


async def test_requests_have_turns_while_a_page_is_merged() -> None:
    engine = ForgetfulEngine()
    filling, objects = filling_on(engine)
    merging = asyncio.ensure_future(filling._merge(PLACE.copy, page(PLACES)))
    seen: set[int] = set()
    while not merging.done():
        seen.add(objects.keys)
        await asyncio.sleep(0)
    assert any(0 < keys < len(PLACES) for keys in seen), "merged in one turn of the loop"
    assert objects.keys == len(PLACES)


async def test_an_old_owner_that_was_too_late_is_asked_last_by_all_other_fills() -> None:
    """It may hang, and the others are enough."""
    filling, _ = filling_on(ForgetfulEngine())
    row = cast("Any", SimpleNamespace(whole=(NodeId("n2"), NodeId("n3"), NodeId("n4"))))
    assert filling._in_turn(row, PartitionId(0)) == ["n2", "n3", "n4"]
    with pytest.raises(DeadlineExceeded), filling._crossings.within(NodeId("n2")):
        raise DeadlineExceeded("its disk hangs")
    assert filling._in_turn(row, PartitionId(0)) == ["n3", "n4", "n2"]
    assert filling._in_turn(row, PartitionId(2)) == ["n4", "n3", "n2"]


async def test_a_source_that_is_always_comparing_is_read_whole_in_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Owners may differ as long as a joint lasts, and compare the partition in each round."""
    filling, _ = filling_on(ForgetfulEngine())
    nothing, node, read = cast("Any", None), NodeId("n2"), list[str]()

    async def busy(*_: Any) -> int:
        raise Overloaded("n2 is comparing partition 12 with n3")

    async def read_whole(_: Filling, node: NodeId, *__: Any) -> None:
        read.append(node)

    filling._pull = busy
    filling._steps = cast("Any", SimpleNamespace(walked=lambda *_: None))
    filling._progress = cast("Any", SimpleNamespace(sources=lambda _: [NodeId("n3")], cursor=lambda *_: b""))
    monkeypatch.setattr(Filling, "_read_whole", read_whole)
    for _ in range(TURNED_AWAY - 1):
        with pytest.raises(Overloaded):
            await filling._fill_from(node, PLACE.copy, nothing, nothing)
    await filling._fill_from(node, PLACE.copy, nothing, nothing)
    assert read == ["n2"]
