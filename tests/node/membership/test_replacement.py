"""A node that lost its disk gets its seat back under the operator's word, and is filled first (rule T8)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.register import Incr
from ringmill.cluster.errors import Conflict, RingmillError, WrongEpoch
from ringmill.cluster.ids import DiskId, Epoch, KeyspaceId, NodeId
from ringmill.cluster.ports import Priority
from ringmill.cluster.ring.replacement import replaced
from ringmill.cluster.ring.topology import Topology
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.cluster.wire.stubs.members_pb2 import ReplaceDiskRequest
from ringmill.node.membership import room
from ringmill.node.membership.epoch_proposer import TopologyChanged
from ringmill.node.membership.room import fence_copies
from ringmill.node.replica.registers.register_messages import ACCEPT, PREPARE, RegisterAnswer, RegisterRequest
from ringmill.node.replica.room import Replica
from ringmill.node.replica.stored_key import Kind, kind_prefix
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead
from ringmill.node.services.figures import figures_of
from ringmill.node.services.members_service import MembersService
from ringmill.node.services.table import Call
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.patching import function, patched
from tests.node.repair.healing_world import HealingWorld, run

KEYS = [b"key %d" % number for number in range(60)]


async def lose(world: HealingWorld, name: str) -> DiskId:
    """The machine stops, and comes back with an empty disk; that disk's id."""
    process = world.world.nodes[name]
    process.kill(CrashModel.PREFIX)
    process.disk.replace()
    process.start()
    return (await process.up()).identity.disk


async def replace(world: HealingWorld, by: str, name: str, disk: DiskId) -> TopologyChanged:
    former = world[by].membership.topology.serving_topology().member(NodeId(name)).disk

    def change(topology: Topology, _: bool) -> Topology | None:
        return replaced(topology, NodeId(name), former, disk)

    return await world.inside(by, world[by].membership.epochs.change(change, 10))


async def until(condition: Any, timeout_s: float = 120.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # noqa: ASYNC110  virtual time costs nothing
            await asyncio.sleep(0.05)


def is_filled(world: HealingWorld, name: str) -> bool:
    node = world.world.nodes[name].node
    if node is None or not node.membership.topology.serving:
        return False
    return not (node.replica.engine.corrupt_ranges() or node.repair.healing.now)


async def incr(world: HealingWorld, name: str, key: bytes, number: int) -> int | None:
    request = ChangeRequest(RegisterRead("", key), Incr(1), OperationId(1, number, HybridTime(0)))
    return (await world.inside(name, world[name].requests.change_register(request))).number


def test_a_replaced_node_holds_all_that_was_acknowledged() -> None:
    async def story(world: HealingWorld) -> None:
        for number, key in enumerate(KEYS):
            await world.put(f"n{1 + number % 3}", key, b"v%d" % number)
            await incr(world, "n1", key, number)
        disk = await lose(world, "n1")
        assert not world["n1"].membership.topology.serving
        made = await replace(world, "n2", "n1", disk)
        assert made.was_made and made.topology.epoch == 2
        assert not (await replace(world, "n3", "n1", disk)).was_made
        await until(lambda: is_filled(world, "n1"))
        await world.down("n3")
        for number, key in enumerate(KEYS):
            assert await world.get("n1", key) == [b"v%d" % number]
            assert await incr(world, "n1", key, 1000 + number) == 2

    run(story)


def test_a_disk_that_is_not_filled_answers_for_nothing() -> None:
    """While one of its sources is down it fills nothing, also after a kill and a start."""

    async def story(world: HealingWorld) -> None:
        for number, key in enumerate(KEYS):
            await world.put("n2", key, b"v%d" % number)
            await incr(world, "n2", key, number)
        disk = await lose(world, "n1")
        world.world.nodes["n3"].kill(CrashModel.PREFIX)
        await world.up("n3")
        await replace(world, "n2", "n1", disk)
        world.world.nodes["n3"].kill(CrashModel.PREFIX)
        for _ in range(2):
            await until(lambda: world["n1"].membership.topology.serving)
            assert world["n1"].repair.healing.unfilled == world["n1"].repair.healing.owned > 0
            assert "partitions are not filled" in " ".join(told(world, "n1"))
            for key in KEYS[:5]:
                with pytest.raises(RingmillError):
                    await world.get("n1", key, "2")
                with pytest.raises(RingmillError):
                    await world.put("n2", key, b"never", "2")
                with pytest.raises(RingmillError):
                    await incr(world, "n2", key, 5000)
            world.world.nodes["n1"].kill(CrashModel.PREFIX)
            world.world.nodes["n1"].start()
            await world.world.nodes["n1"].up()
        await world.up("n3")
        await until(lambda: is_filled(world, "n1"))
        assert await world.get("n1", KEYS[-1], "2") == [b"v%d" % (len(KEYS) - 1)]

    run(story)


def test_a_message_of_the_former_row_comes_too_late() -> None:
    """What counts the lost disk's promise must not come about once the new one agrees to other things."""

    async def story(world: HealingWorld) -> None:
        key = KEYS[0]
        await incr(world, "n2", key, 1)
        late = Ballot(500, NodeId("n3"), 9, "late")
        promised = await ask(world, "n2", PREPARE, key, "n3", late)
        assert not promised.refused_counter
        disk = await lose(world, "n1")
        await replace(world, "n2", "n1", disk)
        await until(lambda: is_filled(world, "n1"))
        assert world["n1"].replica.registers.floor >= late.counter
        with pytest.raises(WrongEpoch):
            await ask(world, "n2", ACCEPT, key, "n3", late, promised.value)
        assert await incr(world, "n2", key, 2) == 2

    run(story)


def test_a_kill_of_all_at_each_step_delays_and_nothing_more() -> None:
    async def story(world: HealingWorld) -> None:
        for number, key in enumerate(KEYS):
            await world.put("n3", key, b"v%d" % number)
        disk = await lose(world, "n1")
        await replace(world, "n3", "n1", disk)
        for _ in range(4):
            for name in world.world.nodes:
                world.world.nodes[name].kill(CrashModel.PREFIX)
            for name in world.world.nodes:
                world.world.nodes[name].start()
            for name in world.world.nodes:
                await world.world.nodes[name].up()
            await asyncio.sleep(0.3)
        await until(lambda: is_filled(world, "n1"))
        assert world["n1"].identity.disk == disk
        for number, key in enumerate(KEYS):
            assert await world.get("n1", key, "2") == [b"v%d" % number]

    run(story)


def told(world: HealingWorld, name: str) -> list[str]:
    node = world[name]
    figures = figures_of(node.replica, node.membership, node.repair, node.jobs, complaints=())
    return list(figures.reasons)


async def ask(
    world: HealingWorld, by: str, method: str, key: bytes, of: str, ballot: Ballot, value: bytes = b""
) -> RegisterAnswer:
    """One message to one owner, made under the first epoch."""
    request = RegisterRequest(Epoch(1), KeyspaceId(1, 1), key, ballot, value)
    call = world[by].core.transport.call(
        NodeId(of), method, request.encode(), timeout_s=5, priority=Priority.WRITE
    )
    return RegisterAnswer.decode(await world.inside(by, call))


async def fence_nothing(replica: Replica) -> None:
    return


async def fence_objects(replica: Replica) -> None:
    await replica.engine.fence(kind_prefix(Kind.OBJECT), kind_prefix(Kind.REGISTER))


async def beside_one_that_missed_it(world: HealingWorld, key: bytes, write: Any) -> str:
    """n1 and b acknowledge, a misses it; n1 loses its disk and gets another; b falls silent, a is back."""
    a, b = (name for name in world.world.row(key).nodes if name != "n1")
    world.world.nodes[a].kill(CrashModel.PREFIX)
    await write(b)
    disk = await lose(world, "n1")
    await replace(world, b, "n1", disk)
    world.world.nodes[b].kill(CrashModel.PREFIX)
    await world.up(a)
    await until(lambda: world["n1"].membership.topology.serving)
    await asyncio.sleep(20)  # until b is seen down, and healing has tried
    return a


def owned_key(world: HealingWorld) -> bytes:
    return next(key for key in KEYS if "n1" in world.world.row(key).nodes)


@pytest.mark.parametrize("is_fenced", [True, False])
def test_an_acknowledged_write_is_never_missed_for_a_disk_that_is_not_filled(is_fenced: bool) -> None:
    """Without the fence it is."""

    async def story(world: HealingWorld) -> None:
        key = owned_key(world)
        a = await beside_one_that_missed_it(world, key, lambda by: world.put(by, key, b"v", "2"))
        if is_fenced:
            with pytest.raises(RingmillError):
                await world.get(a, key, "2")
        else:
            assert await world.get(a, key, "2") == []

    with patched(*(() if is_fenced else (function(room, fence_copies, fence_nothing),))):
        run(story, nodes=5)


@pytest.mark.parametrize("abstains", [True, False])
def test_a_change_is_never_lost_for_an_acceptor_that_is_not_filled(abstains: bool) -> None:
    """Without its abstaining it is."""

    async def story(world: HealingWorld) -> None:
        topology = world.world.topology
        row = topology.row

        def owners(key: bytes) -> tuple[NodeId, ...]:
            return row(topology.partition_of(KeyspaceId(1, 1), key)).nodes

        key = next(key for key in KEYS if owners(key) == world.world.row(key).nodes and "n1" in owners(key))
        a = await beside_one_that_missed_it(world, key, lambda by: incr(world, by, key, 1))
        if abstains:
            with pytest.raises(RingmillError):
                await incr(world, a, key, 2)
        else:
            assert await incr(world, a, key, 2) == 1, "the first one is lost"

    with patched(*(() if abstains else (function(room, fence_copies, fence_objects),))):
        run(story, nodes=5)


def test_a_former_disk_is_refused_also_by_a_member_that_has_forgotten_it() -> None:
    """n4 has lost its own disk since, and with it what it remembered."""

    async def story(world: HealingWorld) -> None:
        topology = world["n1"].membership.topology.serving_topology()
        former = {name: topology.member(NodeId(name)).disk for name in ("n1", "n4")}
        for name in ("n1", "n4"):
            disk = await lose(world, name)
            await replace(world, "n2", name, disk)
            await until(lambda name=name: is_filled(world, name))
        starts = world["n4"].membership.starts
        assert starts.remembered(former["n1"]) is None
        now = world["n1"].identity.disk
        request = ReplaceDiskRequest(node="n1", former=now, disk=former["n1"], timeout_ms=5000)
        service = MembersService(world["n4"].membership, world["n4"].moves)
        with pytest.raises(Conflict, match="was in the cluster before"):
            await world.inside("n4", service._replace_disk(request, Call(left_s=5.0)))
        request.disk, request.former = now, former["n1"]
        again = await world.inside("n4", service._replace_disk(request, Call(left_s=5.0)))
        assert not again.changed, "the disk that is named is none of them"

    run(story, nodes=4)
