"""What a former owner no longer holds is no absence: an answer that was begun before is not given after."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from ringmill.cluster.errors import QuorumNotReached, WrongEpoch
from ringmill.cluster.ids import Epoch, NodeId, PartitionId
from ringmill.cluster.ports import Priority
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.ring.topology_entries import JOINT_1, NORMAL, Row
from ringmill.node.replica.comparing.copy_sums import LEAVES
from ringmill.node.replica.comparing.exchange_messages import DIFFERENCE, AskDifference
from ringmill.node.replica.pages import PAGE, ReadPage
from ringmill.node.replica.registers.register_messages import REGISTER_PAGE, AskRegisters
from ringmill.node.replica.replica_messages import DIGEST, READ, Read
from ringmill.node.replica.stored_key import Copy, Place
from ringmill.node.storage.batch import Batch
from tests.node.one_key import get, put
from tests.node.small_world import World

KEY = b"key"


def partition_in(topology: Topology) -> PartitionId:
    return topology.partition_of(topology.keyspaces[0].id, KEY)


def place_at(topology: Topology, node: NodeId) -> Place:
    partition = partition_in(topology)
    return Place(Copy(partition, topology.rows[partition].copy_epoch_of(node)), topology.keyspaces[0].id, KEY)


def owners(world: World) -> tuple[NodeId, NodeId, NodeId]:
    """Who is to leave the key's partition, who stays there, and who is to join."""
    row = world.topology.rows[partition_in(world.topology)]
    (joiner,) = (name for name in world.names if name not in row.nodes)
    return row.nodes[0], row.nodes[1], joiner


def changed(topology: Topology, row: Row, later: int) -> Topology:
    """A later document, with another row of the key's partition."""
    number = partition_in(topology)
    rows = tuple(row if each == number else old for each, old in enumerate(topology.rows))
    return replace(topology, epoch=Epoch(topology.epoch + later), rows=rows)


def joint(topology: Topology, joiner: NodeId) -> Topology:
    """The first owner of the key's partition is to lose its seat."""
    row, epoch = topology.rows[partition_in(topology)], Epoch(topology.epoch + 1)
    seat = topology.member(joiner).seat
    moving = Row(row.owners, JOINT_1, epoch, (*row.copy_epochs, epoch), seat, row.owners[0])
    return changed(topology, moving, 1)


def moved(topology: Topology, joiner: NodeId) -> Topology:
    """It has lost it."""
    row, epoch = topology.rows[partition_in(topology)], Epoch(topology.epoch + 2)
    seats = (*row.owners[1:], topology.member(joiner).seat)
    return changed(topology, Row(seats, NORMAL, epoch, (*row.copy_epochs[1:], epoch)), 2)


async def leave(world: World, leaver: NodeId, joiner: NodeId) -> None:
    """As a node does that has lost its seat: it learns of that, and drops its copy."""
    node, topology = world.nodes[leaver], world.topology
    key = place_at(topology, leaver).stored_key
    assert key in node.engine.snapshot().content
    await world.on(leaver, node.membership.topology.adopt(moved(topology, joiner)))
    batch = Batch()
    batch.delete(key)
    node.engine.apply(batch)


def asked(method: str, topology: Topology) -> bytes:
    epoch, keyspace = topology.epoch, topology.keyspaces[0].id
    partition = partition_in(topology)
    if method == PAGE:
        return ReadPage(epoch, partition).encode()
    if method == REGISTER_PAGE:
        return AskRegisters(epoch, partition, 0, b"").encode()
    if method == DIFFERENCE:
        return AskDifference(epoch, partition, b"\xff" * (LEAVES // 8), b"", b"", b"").encode()
    return Read(epoch, keyspace, KEY).encode()


@pytest.mark.parametrize("method", [PAGE, DIFFERENCE, READ, DIGEST, REGISTER_PAGE])
def test_an_owner_answers_only_while_the_owners_are_those_of_the_question(method: str) -> None:
    world = World(4)

    async def story() -> None:
        leaver, stays, joiner = owners(world)
        await put(world, leaver, b"v", level="all")
        node = world.nodes[leaver]
        node.engine.cold.add(place_at(world.topology, leaver).stored_key)
        node.engine.can_read.clear()
        ask = world.nodes[stays].transport.call(
            leaver, method, asked(method, world.topology), timeout_s=60.0, priority=Priority.READ
        )
        answer = asyncio.create_task(world.on(stays, ask))
        await asyncio.sleep(1.0)
        assert not answer.done(), "the disk is slow"
        await leave(world, leaver, joiner)
        node.engine.can_read.set()
        with pytest.raises(WrongEpoch):
            await answer

    world.run(story())


def test_a_coordinator_that_reads_its_own_copy_last_reads_it_only_while_it_owns_it() -> None:
    world = World(4)

    async def story() -> None:
        leaver, _, joiner = owners(world)
        await put(world, leaver, b"v", level="all")
        for name in world.names:
            world.cut(leaver, name)
        await world.on(leaver, world.nodes[leaver].membership.topology.adopt(joint(world.topology, joiner)))
        read = asyncio.create_task(get(world, leaver, "one", 2.0))
        await asyncio.sleep(0.01)  # the leaver asks those first that stay
        await leave(world, leaver, joiner)
        with pytest.raises(QuorumNotReached, match=f"{leaver}: .*the owners of partition") as told:
            await read
        assert told.value.newer_epoch == world.topology.epoch + 2, "so a client asks again at once"

    world.run(story())
