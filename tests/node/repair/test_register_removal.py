"""Deleted registers are removed by all owners or by none, and a removed one leaves no gap (rule R5)."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

import ringmill.node.replica.registers.register_store
import ringmill.node.requests.registers.coordinator
from ringmill.cluster.consensus.acceptor import AcceptorState, accept, prepare
from ringmill.cluster.consensus.ballots import Ballot
from ringmill.cluster.consensus.register import Cas, Register
from ringmill.cluster.consensus.register_codec import decode_register, encode_register
from ringmill.cluster.consensus.remains import Remains, with_remains
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.errors import Conflict, DeadlineExceeded
from ringmill.cluster.ids import DiskId, Epoch, KeyspaceId, NodeId, PartitionId, keyspace_bytes
from ringmill.cluster.ports import Priority
from ringmill.cluster.ring.topology import Member, first_topology
from ringmill.cluster.ring.topology_entries import KeyspaceEntry
from ringmill.cluster.versions.hybrid_time import ZERO, HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.node_options import PurgeOptions
from ringmill.node.repair.register_removal import RegisterRemoval
from ringmill.node.replica.registers.register_messages import ACCEPT, PREPARE
from ringmill.node.replica.registers.register_store import RegisterStore
from ringmill.node.replica.registers.removal_messages import CLOSE, AskClose, CloseAnswer
from ringmill.node.replica.stored_key import Copy, prefix_end, registers_prefix
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead, RegisterResult
from ringmill.simulator.patching import function, method, patched
from tests.node.forgetful_engine import ForgetfulEngine
from tests.node.repair.healing_world import HealingWorld, registers_at, run
from tests.node.repair.test_register_healing import ask, healed

NAMES = ("n1", "n2", "n3")
SPACE, LATER = KeyspaceId(1, 1), KeyspaceId(1, 7)
SOON = PurgeOptions(after_s=5.0, every_s=0.5)
KEY, OTHER = b"register 1", b"register 2"
LATE = Ballot(3, NodeId("n9"), 1, "")


async def cas(
    world: HealingWorld, name: str, key: bytes, value: bytes | None, operation: int = 0, attempt: int = 0
) -> RegisterResult:
    named = OperationId(1, operation, HybridTime(0)) if operation else None
    request = ChangeRequest(RegisterRead("", key), Cas(None, value), named, attempt)
    return await world.inside(name, world[name].requests.change_register(request))


async def cas_in_vain(world: HealingWorld, name: str, key: bytes) -> None:
    request = ChangeRequest(RegisterRead("", key), Cas(b"what it never held", b"a"), None)
    with pytest.raises(Conflict):
        await world.inside(name, world[name].requests.change_register(request))


async def read(world: HealingWorld, name: str, key: bytes) -> tuple[int, bytes | None]:
    found = await world.inside(name, world[name].requests.read_register(RegisterRead("", key)))
    return found.version, found.value


async def held(world: HealingWorld, name: str, key: bytes, keyspace: KeyspaceId = SPACE) -> bool:
    topology = world.world.topology
    copy = Copy(partition := topology.partition_of(keyspace, key), topology.row(partition).copy_epochs[0])
    engine, prefix = world[name].replica.engine, registers_prefix(copy)
    stored_key = prefix + keyspace_bytes(keyspace) + key
    return await world.inside(name, engine.get(stored_key)) is not None


async def gone(
    world: HealingWorld, key: bytes, names: Sequence[str] = NAMES, keyspace: KeyspaceId = SPACE
) -> None:
    async with asyncio.timeout(60):
        while any([await held(world, name, key, keyspace) for name in names]):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


def test_a_removed_register_counts_on() -> None:
    async def story(world: HealingWorld) -> None:
        await cas(world, "n1", KEY, b"a")
        await cas(world, "n2", KEY, b"b")
        assert (await cas(world, "n3", KEY, None)).version == 3
        await gone(world, KEY)
        assert [await read(world, name, KEY) for name in NAMES] == [(3, None)] * 3
        assert (await cas(world, "n1", KEY, b"c")).version == 4
        await world.down("n2")
        await world.up("n2")
        assert [await read(world, name, KEY) for name in NAMES] == [(4, b"c")] * 3
        assert (await cas(world, "n2", KEY, None)).version == 5
        await gone(world, KEY)
        await world.down("n3")
        await world.up("n3")
        assert await read(world, "n3", KEY) == (5, None)

    run(story, purge=SOON)


def test_of_a_change_that_was_refused_before_there_was_a_register_nothing_is_left() -> None:
    async def story(world: HealingWorld) -> None:
        await asyncio.sleep(2)  # every copy was looked through
        await cas_in_vain(world, "n1", KEY)
        assert await held(world, "n2", KEY)
        await gone(world, KEY)
        assert [await read(world, name, KEY) for name in NAMES] == [(0, None)] * 3
        assert (await cas(world, "n2", KEY, b"a")).version == 1

    run(story, purge=SOON)


def test_what_reads_of_absent_keys_write_down_is_removed_long_before_what_was_deleted() -> None:
    """Each makes a register at all owners where there are remains: who may only read must not fill disks."""

    async def story(world: HealingWorld) -> None:
        topology = world.world.topology
        partition = topology.partition_of(SPACE, KEY)
        for name in NAMES:
            await world.inside(name, world[name].replica.remains.add(partition, Remains(20)))
        await asyncio.sleep(2)
        assert await read(world, "n1", KEY) == (20, None)
        assert await held(world, "n2", KEY)
        await cas(world, "n1", OTHER, b"a")
        await cas(world, "n1", OTHER, None)
        await asyncio.sleep(620)
        assert [await held(world, name, KEY) for name in NAMES] == [False] * 3
        assert [await held(world, name, OTHER) for name in NAMES] == [True] * 3
        assert await read(world, "n1", KEY) == (20, None)

    run(story, purge=PurgeOptions(after_s=86_400.0, every_s=0.5))


@pytest.mark.parametrize("is_written", [True, False])
def test_a_round_that_has_only_promises_keeps_what_was_shown_of_its_register_from_going_back(
    is_written: bool,
) -> None:
    """Owners that have accepted nothing of a register and keep the same remains may have promised it, and do
    not tell: what they keep is written down before it is shown."""

    async def story(world: HealingWorld) -> None:
        partition = world.world.topology.partition_of(SPACE, KEY)
        waiting = Ballot(50, NodeId("n9"), 1, "")
        told = [await ask(world, PREPARE, KEY, name, waiting) for name in NAMES]
        assert not any(each.value for each in told)
        for name in NAMES:
            await world.inside(name, world[name].replica.remains.add(partition, Remains(20)))
        assert await read(world, "n1", KEY) == (20, None)
        for name in NAMES:
            await ask(world, ACCEPT, KEY, name, waiting, encode_register(Register(1, b"late")))
        assert await read(world, "n1", KEY) == ((20, None) if is_written else (1, b"late"))

    coordinator = ringmill.node.requests.registers.coordinator
    with patched(*([] if is_written else [function(coordinator, coordinator._register_in, shown_at_once)])):
        run(story)


@pytest.mark.parametrize("space", [SPACE, LATER], ids=str)
def test_registers_of_the_cluster_itself_stay_and_begin_with_version_one(
    space: KeyspaceId,
) -> None:
    """The journal of a job expects version 0 of a slot that was never used.  A cluster that an earlier
    release has formed may have made the keyspace later."""

    async def story(world: HealingWorld) -> None:
        topology = world.world.topology
        own = (b"ringmill/%d" % number for number in itertools.count())
        wanted = topology.partition_of(space, KEY)
        first, second = itertools.islice((k for k in own if topology.partition_of(space, k) == wanted), 2)
        await cas(world, "n1", first, b"a")
        assert (await cas(world, "n1", first, None)).version == 2
        for value in (b"a", b"b", b"c", None):
            await cas(world, "n1", KEY, value)
        await gone(world, KEY, keyspace=space)
        request = ChangeRequest(RegisterRead("", second), Cas(None, b"a", 0), None)
        assert (await world.inside("n2", world["n2"].requests.change_register(request))).version == 1
        await asyncio.sleep(20)
        assert [await held(world, name, first, space) for name in NAMES] == [True] * 3
        assert [await read(world, name, first) for name in NAMES] == [(2, None)] * 3

    with registers_at(space):
        run(story, purge=SOON)


def test_a_delete_of_a_register_of_the_cluster_itself_has_nothing_looked_through() -> None:
    """Each entry of a journal that is forgotten is one, and a look for what it leaves reads the copy."""

    async def story(world: HealingWorld) -> None:
        for key, is_noted in ((b"ringmill/job/J.1/0", False), (KEY, True)):
            for value in (b"a", None):
                await cas(world, "n1", key, value)
            assert [bool(world[name].replica.registers.emptied) for name in NAMES] == [is_noted] * 3

    run(story, purge=PurgeOptions(after_s=3600.0, every_s=600.0))


def test_registers_of_other_keyspaces_are_removed_whatever_their_keys_begin_with() -> None:
    locks = KeyspaceEntry(KeyspaceId(1, 2), "locks", kind="registers")
    key = b"ringmill/leader"

    async def story(world: HealingWorld) -> None:
        where = RegisterRead("locks", key)
        for value in (b"a", None):
            change = ChangeRequest(where, Cas(None, value), None)
            told = await world.inside("n1", world["n1"].requests.change_register(change))
        await gone(world, key, keyspace=locks.id)
        found = await world.inside("n2", world["n2"].requests.read_register(where))
        assert (found.version, told.version) == (2, 2), "a removed register leaves no gap"

    run(story, purge=SOON, keyspaces=[locks])


def test_an_owner_that_is_away_holds_a_register_back_and_is_settled_first() -> None:
    async def story(world: HealingWorld) -> None:
        await cas(world, "n1", KEY, b"a")
        await world.down("n3")
        await cas(world, "n1", KEY, None)
        await asyncio.sleep(20)
        assert [await held(world, name, KEY) for name in ("n1", "n2")] == [True, True]
        told = "1 partition keeps its deleted registers: n3 is away"
        assert world["n1"].repair.purging.story == told
        await world.down("n1")
        await world.up("n1")
        await asyncio.sleep(5)
        assert world["n1"].repair.purging.story == told, "only what was found waits"
        await world.up("n3")
        await gone(world, KEY)
        assert [await read(world, name, KEY) for name in NAMES] == [(2, None)] * 3

    run(story, purge=SOON)


@pytest.mark.parametrize("is_closed", [True, False])
def test_what_a_removed_register_had_seen_does_not_come_late(is_closed: bool) -> None:
    """A proposer that was promised its ballot sends its accept once the register is deleted and removed."""

    def prepare_below(state: AcceptorState, ballot: Ballot, floor: int = 0) -> AcceptorState | None:
        return prepare(state, ballot)

    def accept_below(
        state: AcceptorState, ballot: Ballot, value: bytes, floor: int = 0
    ) -> AcceptorState | None:
        return accept(state, ballot, value)

    store = ringmill.node.replica.registers.register_store
    without = [function(store, prepare, prepare_below), function(store, accept, accept_below)]

    async def story(world: HealingWorld) -> None:
        for name in NAMES:
            await ask(world, PREPARE, KEY, name, LATE)
        await cas(world, "n1", KEY, b"a")
        await cas(world, "n1", KEY, None)
        await gone(world, KEY)
        late = encode_register(Register(1, b"late"))
        refused = [(await ask(world, ACCEPT, KEY, name, LATE, late)).refused_counter for name in NAMES]
        assert all(refused) == is_closed
        assert (await read(world, "n1", KEY) == (2, None)) == is_closed

    with patched(*([] if is_closed else without)):
        run(story, purge=SOON)


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_change_that_a_removed_register_may_have_remembered_is_not_applied_again(is_kept: bool) -> None:
    def without_time(register: Register, remains: Remains) -> Register:
        return with_remains(register, remains._replace(time=ZERO))

    async def story(world: HealingWorld) -> None:
        await cas(world, "n1", KEY, b"a", operation=7)
        await cas(world, "n1", KEY, None)
        await gone(world, KEY)
        if is_kept:
            with pytest.raises(DeadlineExceeded) as caught:
                await cas(world, "n2", KEY, b"a", operation=7, attempt=1)
            assert caught.value.outcome == "unknown"
        else:
            await cas(world, "n2", KEY, b"a", operation=7, attempt=1)
        assert await read(world, "n2", KEY) == ((2, None) if is_kept else (3, b"a"))

    coordinator = ringmill.node.requests.registers.coordinator
    with patched(*([] if is_kept else [function(coordinator, with_remains, without_time)])):
        run(story, purge=SOON)


def shown_at_once(tally: RoundTally) -> tuple[Register, bool]:
    """What remains is shown, and not written first."""
    return with_remains(decode_register(tally.value), tally.remains), tally.is_chosen


@pytest.mark.parametrize("is_written", [True, False])
def test_what_one_owner_alone_keeps_of_removed_registers_is_shown_permanently_or_not_at_all(
    is_written: bool,
) -> None:
    async def story(world: HealingWorld) -> None:
        partition = world.world.topology.partition_of(SPACE, KEY)
        await world.inside("n1", world["n1"].replica.remains.add(partition, Remains(20)))
        await world.down("n3")
        assert await read(world, "n1", KEY) == (20, None)
        await world.up("n3")
        await world.down("n1")
        assert await read(world, "n2", KEY) == ((20, None) if is_written else (0, None))

    coordinator = ringmill.node.requests.registers.coordinator
    with patched(*([] if is_written else [function(coordinator, coordinator._register_in, shown_at_once)])):
        run(story)


@pytest.mark.parametrize("is_written", [True, False])
def test_a_version_that_was_shown_is_not_followed_by_the_lower_one_of_a_round_that_knew_nothing_removed(
    is_written: bool,
) -> None:
    """A round has its promises before another register of the partition is removed, and its accept comes once
    the version that this leaves has been shown."""

    async def story(world: HealingWorld) -> None:
        topology = world.world.topology
        keys = (b"other %d" % number for number in itertools.count())
        other = next(k for k in keys if topology.partition_of(SPACE, k) == topology.partition_of(SPACE, KEY))
        waiting = Ballot(50, NodeId("n9"), 1, "")
        for value in (b"a", b"b", b"c", b"d", None):
            await cas(world, "n1", other, value)
        await asyncio.sleep(4)
        await cas(world, "n1", KEY, b"a")
        await cas(world, "n1", KEY, None)  # too young to be closed with the other one
        told = [await ask(world, PREPARE, KEY, name, waiting) for name in NAMES]
        assert {decode_register(each.value).version for each in told} == {2}
        await gone(world, other)
        assert await read(world, "n1", KEY) == (5, None)
        for name in NAMES:
            await ask(world, ACCEPT, KEY, name, waiting, encode_register(Register(3, b"late")))
        assert await read(world, "n1", KEY) == ((5, None) if is_written else (3, b"late"))

    coordinator = ringmill.node.requests.registers.coordinator
    with patched(*([] if is_written else [function(coordinator, coordinator._register_in, shown_at_once)])):
        run(story, purge=SOON)


def test_a_damaged_owner_takes_no_part_until_it_is_healed() -> None:
    async def story(world: HealingWorld) -> None:
        await cas(world, "n1", KEY, b"a")
        await cas(world, "n1", KEY, None)
        await world.down("n3")
        topology = world.world.topology
        partition = topology.partition_of(SPACE, KEY)
        row = topology.row(partition)
        prefix = registers_prefix(Copy(partition, row.copy_epochs[0]))
        await world.inside("n2", world["n2"].replica.engine.fence(prefix, prefix_end(prefix)))
        request = AskClose(topology.epoch, partition, row.row_epoch, 9, Remains(2), (b"",))
        transport, other = world["n1"].core.transport, NodeId("n2")
        call = transport.call(other, CLOSE, request.encode(), timeout_s=5, priority=Priority.REPAIR)
        assert "damaged" in CloseAnswer.decode(await world.inside("n1", call)).why
        await world.up("n3")
        await healed(world, "n2")
        await gone(world, KEY)
        assert [await read(world, name, KEY) for name in NAMES] == [(2, None)] * 3

    run(story, purge=SOON)


def damage_batches_of(world: HealingWorld, name: str, key: bytes) -> None:
    """In the logs each batch that names the key is lost; what tables hold of it survives."""
    disk = world.world.nodes[name].disk
    disk.is_rotten = True
    for each in disk.lossy.list("/data/store"):
        if each.endswith(".log"):
            path = f"/data/store/{each}"
            for found in re.finditer(re.escape(key), disk.lossy.read_bytes(path)):
                disk.lossy.flip(path, found.start(), 4)


@pytest.mark.parametrize("is_deleted", [True, False])
def test_damage_does_not_bring_a_removed_register_back_from_an_older_table(is_deleted: bool) -> None:
    async def kept(store: RegisterStore, key: bytes, floor: int) -> bool:
        return False

    async def story(world: HealingWorld) -> None:
        engine = world["n1"].replica.engine
        await cas(world, "n1", KEY, b"a")
        await world.inside("n1", engine.flush())
        await cas(world, "n1", KEY, None)
        await gone(world, KEY)
        await world.down("n1")
        damage_batches_of(world, "n1", KEY)
        await world.up("n1")
        await healed(world, "n1")
        assert world["n1"].repair.healing.healed
        assert await held(world, "n1", KEY) != is_deleted
        if is_deleted:
            assert [await read(world, name, KEY) for name in NAMES] == [(2, None)] * 3

    with patched(*([] if is_deleted else [method(RegisterStore.drop_survivor, kept)])):
        run(story, purge=SOON)


def removal_of_n1(around: Any) -> RegisterRemoval:
    return RegisterRemoval(
        NodeId("n1"), registers=around, engine=ForgetfulEngine().as_engine(), liveness=around,
        transport=around, hybrid=around, options=SOON, gate=around, finish_register=around,
    )  # fmt: skip


async def test_of_copies_that_moved_away_nothing_is_kept_in_memory() -> None:
    members = [
        Member(NodeId(name), DiskId(f"{n:032x}"), f"127.0.0.1:{7000 + n}") for n, name in enumerate(NAMES)
    ]
    topology = first_topology("demo", members, partitions=16)
    former = {Copy(PartitionId(3), Epoch(9)), Copy(PartitionId(4), Epoch(9))}
    around: Any = SimpleNamespace(emptied=former, unused=set(), wall_ms=lambda: 1, stretch=1.0)
    removal = removal_of_n1(around)
    removal._waiting |= former
    await removal.round(topology)
    assert set(removal._due) == {Copy(PartitionId(n), Epoch(1)) for n in range(16)}
    assert not removal._waiting


async def test_copies_that_are_looked_through_at_once_leave_turns_of_the_loop_to_requests() -> None:
    """As many are new when a node has joined; a scan that finds nothing need not wait for anything."""
    members = [
        Member(NodeId(name), DiskId(f"{n:032x}"), f"127.0.0.1:{7000 + n}") for n, name in enumerate(NAMES)
    ]
    topology = first_topology("demo", members, partitions=256)
    around: Any = SimpleNamespace(emptied=set(), unused=set(), wall_ms=lambda: 1, stretch=1.0)
    removal = removal_of_n1(around)
    turns = 0

    async def requests() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    others = asyncio.create_task(requests())
    await removal.round(topology)
    others.cancel()
    assert turns >= topology.partitions - 1
