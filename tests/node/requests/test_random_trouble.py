"""Random writes, reads, kills, pauses and cuts from a seed: what was acknowledged is never lost.

Short runs of the same story as scripts and the simulator tell at length; here for the rules of requests.
"""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.versions.context_token import NO_SECRET
from ringmill.cluster.versions.dots import Dot, VersionVector
from ringmill.cluster.versions.objects import merge_all
from ringmill.node.replica.stored_key import Copy, Place
from ringmill.simulator.world.seeds import stream
from tests.node.one_key import read_request, write_request
from tests.node.small_world import World

KEYS = [b"a", b"b", b"c"]


class Trouble:
    """A driver that hurts the world while it writes blindly and reads, and remembers what it was told."""

    def __init__(self, seed: int) -> None:
        self.world = World(4, seed=seed)
        self.draw: Random = stream(seed, "trouble")
        self.acked: dict[bytes, list[Dot]] = {key: [] for key in KEYS}
        self.seen: dict[bytes, VersionVector] = {key: VersionVector() for key in KEYS}
        self.down: set[str] = set()

    async def story(self) -> None:
        for _ in range(40):
            await self.draw.choice([self.write, self.write, self.write, self.read, self.read, self.hurt])()
        await self.heal()
        await self.everything_is_there()

    async def write(self) -> None:
        at, key = self.somebody(), self.draw.choice(KEYS)
        request = write_request("", key, b"v", is_blind=self.draw.random() < 0.5, timeout_s=0.3)
        try:
            receipt = await self.world.on(at, self.world.nodes[at].requests.write(request))
        except RingmillError:
            return
        self.acked[key].append(receipt.dot)

    async def read(self) -> None:
        at, key = self.somebody(), self.draw.choice(KEYS)
        known = list(self.acked[key]), self.seen[key]
        try:
            result = await self.world.on(
                at, self.world.nodes[at].requests.get(read_request(key, timeout_s=0.3))
            )
        except RingmillError:
            return
        context = self.context_of(key, result.context)
        assert all(context.covers(dot) for dot in known[0]), "a read missed an acknowledged write"
        assert context.join(known[1]) == context, "a read went back"
        self.seen[key] = context

    async def hurt(self) -> None:
        kind, name = self.draw.choice(["kill", "pause", "cut", "start"]), self.draw.choice(self.world.names)
        if kind == "start":
            await self.heal()
        elif not self.down:
            self.down.add(name)
            if kind == "kill":
                self.world.kill(name)
            elif kind == "pause":
                self.world.loop.pause(self.world.nodes[name].process)
            else:
                for other in self.world.names:
                    self.world.cut(name, other)
            if self.draw.random() < 0.5:
                self.world.seen(name, "down")

    async def heal(self) -> None:
        for name in sorted(self.down):
            for other in self.world.names:
                self.world.cut(name, other, is_cut=False)
            process = self.world.nodes[name].process
            self.world.loop.resume(process)
            if not process.alive:
                await self.world.start(name)
            self.world.seen(name, "up")
        self.down.clear()

    async def everything_is_there(self) -> None:
        await asyncio.sleep(1.0)  # requests under way end and leave their hints
        world = self.world
        await world.until(lambda: not sum(node.hints.total for node in world.nodes.values()))
        keyspace = world.topology.keyspaces[0].id
        for key in KEYS:
            result = await world.on("n1", world.nodes["n1"].requests.get(read_request(key, "all")))
            context = self.context_of(key, result.context)
            assert all(context.covers(dot) for dot in self.acked[key])
            partition = world.topology.partition_of(keyspace, key)
            row = world.topology.row(partition)
            place = Place(Copy(partition, row.copy_epochs[0]), keyspace, key)
            copies = [await world.nodes[owner].objects.read(place) for owner in row.nodes]
            assert copies == [merge_all(copies)] * 3

    def somebody(self) -> str:
        return self.draw.choice([name for name in self.world.names if name not in self.down])

    def context_of(self, key: bytes, token: bytes) -> VersionVector:
        return NO_SECRET.open(token, self.world.topology.keyspaces[0].id, key).vector


@pytest.mark.parametrize("seed", range(25))
def test_no_acknowledged_write_is_lost_and_no_read_goes_back(seed: int) -> None:
    trouble = Trouble(seed)
    trouble.world.run(trouble.story())
