"""Objects, hints and control state on the storage engine itself, over a clean stop and power cuts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

import pytest

from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.quorum.receipt import Durability
from ringmill.cluster.versions.hybrid_time import HybridClock, HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.identity.identity import Identity
from ringmill.node.node_options import ReplicaOptions
from ringmill.node.replica.actors import CopyActors
from ringmill.node.replica.control import ControlStore
from ringmill.node.replica.control_copy import ControlCopy
from ringmill.node.replica.hints import HintStore
from ringmill.node.replica.object_batch import wait_durable
from ringmill.node.replica.object_store import Intent, ObjectStore, Written
from ringmill.node.replica.stored_key import Copy, HintKey, Place
from ringmill.node.replica.watching.change_feed import ChangeFeed
from ringmill.node.requests.request_limits import admit_growth
from ringmill.node.storage.engine import Batch, Engine, EngineOptions
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.world.seeds import SeededEntropy, stream
from ringmill.simulator.world.spawner import InlineSpawner
from tests.node.replica.test_object_store import StillClock

N1, N3 = NodeId("n1"), NodeId("n3")
SLICE = 128
COPY = Copy(PartitionId(3), Epoch(1))
SMALL = EngineOptions(memtable_bytes=16 * 1024)


@dataclass
class Replica:
    identity: Identity
    objects: ObjectStore
    hints: HintStore
    control: ControlStore
    actors: CopyActors

    async def put(self, number: int) -> Written:
        key = b"k%d" % (number % 40)
        name = OperationId(1, number, HybridTime(0))
        intent = Intent(b"%d" % number * 50, name)
        written = await self.objects.write(Place(COPY, KeyspaceId(1, 0), key), intent, admit_growth)
        await wait_durable(written.applied.commit, Durability.SYNCED)
        return written


@asynccontextmanager
async def replica_on(disk: LossyDisk, *, stops_cleanly: bool) -> AsyncIterator[Replica]:
    spawner = InlineSpawner(stream(1, "spawner"), longest_s=0)
    engine = await Engine.open("data/store", SMALL, files=disk, spawner=spawner)
    identity = await Identity.open("data", N1, files=disk, entropy=SeededEntropy(1, "identity"))
    control = await ControlStore.open(engine, ControlCopy("data", disk))
    actors = CopyActors(N1, identity.start)
    objects = ObjectStore(
        engine,
        actors=actors,
        clock=HybridClock(StillClock()),
        options=ReplicaOptions(count_pause_s=0, count_slice=SLICE),
        feed=ChangeFeed("0" * 10, StillClock(), most_keys=100),
    )
    yield Replica(identity, objects, await HintStore.open(engine), control, actors)
    if stops_cleanly:
        await engine.close()


@pytest.mark.parametrize(
    "model", [CrashModel.PREFIX, CrashModel.ANY_ORDER, CrashModel.TORN, CrashModel.NAMES_FIRST]
)
async def test_a_power_cut_forgets_no_synced_write_and_renews_the_actor(model: CrashModel) -> None:
    disk = LossyDisk()
    async with replica_on(disk, stops_cleanly=False) as replica:
        dots = [(await replica.put(number)).sibling.dot for number in range(300)]
        hint = HintKey(COPY.partition, KeyspaceId(1, 0), b"k1")
        stored = await replica.objects.read(Place(COPY, KeyspaceId(1, 0), b"k1"))
        commit = await replica.hints.keep(hint, [N3], stored)
        assert commit is not None
        await commit.synced()
    left = disk.cut_power(model, stream(7, model))
    async with replica_on(left, stops_cleanly=True) as replica:
        assert replica.hints.counts() == {N3: 1}
        for number in range(260, 300):
            held = await replica.objects.read(Place(COPY, KeyspaceId(1, 0), b"k%d" % (number % 40)))
            assert [sibling.dot for sibling in held.siblings] == [dots[number]]
        await replica.objects.count_stored()
        assert replica.objects.keys == 40
        fresh = (await replica.put(300)).sibling.dot
        assert fresh.actor not in {dot.actor for dot in dots}
        assert fresh.counter == 1


async def test_counting_a_large_store_gives_way_after_each_slice() -> None:
    many = 20_000
    disk, spawner = LossyDisk(), InlineSpawner(stream(1, "spawner"), longest_s=0)
    async with replica_on(disk, stops_cleanly=True) as replica:
        encoded = (await replica.put(0)).applied.encoded
    async with await Engine.open("data/store", EngineOptions(), files=disk, spawner=spawner) as engine:
        for first in range(0, many, 500):
            batch = Batch()
            for number in range(first, first + 500):
                batch.put(Place(COPY, KeyspaceId(1, 0), b"many:%d" % number).stored_key, encoded)
            engine.apply(batch)
        await engine.flush()
    async with replica_on(disk, stops_cleanly=True) as replica:
        counting = asyncio.create_task(replica.objects.count_stored())
        seen = [0]
        while not counting.done():
            await asyncio.sleep(0)
            seen.append(replica.objects.keys)
        assert replica.objects.keys == many + 1
        assert max(later - former for former, later in pairwise(seen)) <= SLICE
