"""Gets that wait for the disk of a node: what it has no time for leaves the line, and soon none joins it."""

from __future__ import annotations

import asyncio

from ringmill.cluster.errors import DeadlineExceeded, Overloaded, QuorumNotReached
from ringmill.cluster.ids import NodeId
from ringmill.node.replica.reads.cold_reads import FEW, MOST_S
from ringmill.node.replica.replica_messages import READ, Read
from ringmill.node.requests.request_values import ReadResult
from ringmill.node.storage.engine import NotCached
from tests.node.forgetful_engine import ForgetfulEngine
from tests.node.one_key import get, put, values
from tests.node.requests.arrivals import Call
from tests.node.small_world import World

BLOCK_S = 0.1


class SlowDisk(ForgetfulEngine):
    """Nothing is in memory, and four blocks are read at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.is_cold = False
        self.reads = 0
        self.waiting = 0
        self._readers = asyncio.Semaphore(4)

    def get_nowait(self, key: bytes) -> bytes | None:
        if self.is_cold:
            raise NotCached
        return super().get_nowait(key)

    async def get(self, key: bytes) -> bytes | None:
        self.waiting += 1
        try:
            async with self._readers:
                self.reads += 1
                await asyncio.sleep(BLOCK_S)
                return super().get_nowait(key)
        finally:
            self.waiting -= 1


def slow_world() -> tuple[World, list[SlowDisk]]:
    world, disks = World(3), list[SlowDisk]()
    for disk in world.disks.values():
        disk.engine = SlowDisk()
        disks.append(disk.engine)
    return world, disks


async def got(world: World, at: str, timeout_s: float) -> ReadResult | QuorumNotReached:
    try:
        return await get(world, at, timeout_s=timeout_s)
    except QuorumNotReached as error:
        return error


def test_after_more_cold_gets_than_the_disks_can_the_next_one_is_answered() -> None:
    world, disks = slow_world()

    async def story() -> None:
        await put(world, "n1", b"v")
        for disk in disks:
            disk.is_cold = True
        storm = []
        for number in range(200):
            storm.append(asyncio.ensure_future(got(world, world.names[number % 3], 1.0)))
            await asyncio.sleep(0.005)
        await asyncio.gather(*storm)
        await asyncio.sleep(0.2)
        assert [disk.waiting for disk in disks] == [0, 0, 0], "nothing is read for those that have gone"
        assert values(await get(world, "n1", timeout_s=0.5)) == [b"v"]

    world.run(story())


def test_while_the_disk_cannot_keep_up_some_are_refused_and_the_others_answered_in_time() -> None:
    world, disks = slow_world()

    async def story() -> None:
        await put(world, "n1", b"v")
        for disk in disks:
            disk.is_cold = True
        storm = []
        for number in range(400):
            storm.append(asyncio.ensure_future(got(world, world.names[number % 3], 2.0)))
            await asyncio.sleep(0.005)
        ended = await asyncio.gather(*storm)
        answered = [one for one in ended if isinstance(one, ReadResult)]
        refused = [one for one in ended if isinstance(one, QuorumNotReached) and not one.detail.get("late")]
        assert len(answered) > 80, "of about 150 that the disks can do meanwhile"
        assert len(answered) + len(refused) == len(ended), "none waits in vain"
        assert any("more to read than it can" in str(one) for one in refused)

    world.run(story())


def test_an_owner_reads_for_nobody_and_refuses_what_has_no_room() -> None:
    world, disks = slow_world()

    async def story() -> None:
        await put(world, "n1", b"v")
        node = world.nodes["n2"]
        disks[1].is_cold = True
        keyspace = world.topology.keyspaces[0].id
        body = Read(world.topology.epoch, keyspace, b"key").encode()

        def asked(timeout_s: float) -> Call:
            return Call(READ, body, node.clock.boottime() + timeout_s, NodeId("n1"))

        frame = node.transport._batch_handlers[READ]
        few = [asked(60.0) for _ in range(FEW + 60)]
        late = [asked(0.0), asked(0.05)]
        frame(few + late)
        await asyncio.sleep(MOST_S + 0.2)
        for one in late:
            assert isinstance(one.ended[0], DeadlineExceeded)
        before = disks[1].reads
        more = asked(60.0)
        frame([more])
        await asyncio.sleep(0.01)
        assert isinstance(more.ended[0], Overloaded)
        await asyncio.sleep(2.0)
        assert all(isinstance(one.ended[0], bytes) for one in few)
        assert disks[1].reads > before
        again = asked(1.0)
        frame([again])
        await asyncio.sleep(0.2)
        assert isinstance(again.ended[0], bytes)

    world.run(story())
