"""Registers of an owner that has lost what it had agreed to: no change that counted on it is lost (R2)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count
from types import SimpleNamespace
from typing import Any, cast

import pytest

import ringmill.node.replica.registers.register_serving
import ringmill.node.replica.registers.register_store
from ringmill.cluster.consensus.acceptor import UNTOUCHED, AcceptorState, accept, prepare
from ringmill.cluster.consensus.ballots import NO_BALLOT, Ballot
from ringmill.cluster.consensus.register import Incr
from ringmill.cluster.consensus.register_codec import decode_register, encode_register
from ringmill.cluster.consensus.round_tally import RoundTally
from ringmill.cluster.errors import CorruptData, DeadlineExceeded, QuorumNotReached, Unavailable
from ringmill.cluster.ids import Epoch, KeyspaceId, NodeId, PartitionId
from ringmill.cluster.ports import Priority
from ringmill.cluster.versions.hybrid_time import HybridTime
from ringmill.cluster.versions.objects import OperationId
from ringmill.node.repair.damage.accepted_loss import AcceptedLoss
from ringmill.node.repair.damage.parts import Part, PartKind
from ringmill.node.repair.register_healing import RegisterHealing, _newest
from ringmill.node.replica.registers.register_messages import (
    ACCEPT,
    PREPARE,
    RegisterAnswer,
    RegisterRequest,
    RegistersPage,
)
from ringmill.node.replica.registers.register_store import RegisterStore
from ringmill.node.replica.stored_key import Copy, registers_prefix
from ringmill.node.requests.registers.register_values import ChangeRequest, RegisterRead
from tests.node.repair.healing_world import HealingWorld, run

KEYS = [b"register %d" % number for number in range(40)]
SEQUENCE = count(1)
SPACE = KeyspaceId(1, 1)


async def incr(world: HealingWorld, name: str, key: bytes, by: int = 1) -> int | None:
    operation = OperationId(1, next(SEQUENCE), HybridTime(0))
    request = ChangeRequest(RegisterRead("", key), Incr(by), operation)
    return (await world.inside(name, world[name].requests.change_register(request))).number


async def read(world: HealingWorld, name: str, key: bytes) -> bytes | None:
    return (await world.inside(name, world[name].requests.read_register(RegisterRead("", key)))).value


def never() -> bool:
    return False


async def healed(world: HealingWorld, name: str) -> None:
    await world.inside(name, world[name].replica.engine.verify(bytes_per_s=1e9))
    await world.inside(name, world[name].replica.engine.wait_idle())
    async with asyncio.timeout(120):
        while world[name].replica.engine.corrupt_ranges() or world[name].repair.healing.now:  # noqa: ASYNC110
            await asyncio.sleep(0.1)


async def ask(
    world: HealingWorld, method: str, key: bytes, of: str, ballot: Ballot, value: bytes = b""
) -> RegisterAnswer:
    """One message to one owner, as a proposer sends it whose others are late."""
    request = RegisterRequest(world.world.topology.epoch, SPACE, key, ballot, value)
    transport = world["n1"].core.transport
    call = transport.call(NodeId(of), method, request.encode(), timeout_s=5, priority=Priority.WRITE)
    return RegisterAnswer.decode(await world.inside("n1", call))


@pytest.mark.parametrize("suffix", [".sst", ".log"])
def test_damaged_registers_are_filled_from_the_other_owners(suffix: str) -> None:
    async def story(world: HealingWorld) -> None:
        for number, key in enumerate(KEYS):
            await incr(world, f"n{1 + number % 3}", key, number)
        if suffix == ".sst":
            await world.inside("n1", world["n1"].replica.engine.flush())
        await world.down("n1")
        for key in KEYS[:5]:
            await incr(world, "n2", key, 100)
        if suffix == ".sst":
            assert world.damage("n1", (suffix,))
        else:
            world.damage_a_batch("n1")
        await world.up("n1")
        await healed(world, "n1")
        await world.down("n3")
        for number, key in enumerate(KEYS):
            expected = number + (100 if number < 5 else 0)
            assert await read(world, "n1", key) == b"%d" % expected
            assert await incr(world, "n2", key) == expected + 1

    run(story)


def test_without_enough_other_owners_they_stay_unreadable() -> None:
    async def story(world: HealingWorld) -> None:
        for key in KEYS:
            await incr(world, "n1", key)
        await world.down("n1")
        world.damage_a_batch("n1")
        await world.down("n3")
        await world.up("n1")
        await asyncio.sleep(20)
        assert world["n1"].replica.engine.corrupt_ranges()
        with pytest.raises(QuorumNotReached) as caught:
            await incr(world, "n2", KEYS[0])
        assert "most of its owners" in caught.value.hint, "registers have no levels"
        await world.up("n3")
        await healed(world, "n1")
        assert await incr(world, "n2", KEYS[0]) == 2

    run(story)


async def lose(world: HealingWorld, name: str) -> None:
    """Its tables are damaged from end to end while it is down; then it is up and healed."""
    await world.inside(name, world[name].replica.engine.flush())
    await world.down(name)
    for percent in range(2, 100, 2):
        world.damage(name, (".sst",), at=percent / 100)
    await world.up(name)
    await healed(world, name)


async def late_accept(world: HealingWorld) -> tuple[int, bytes | None]:
    """How many owners agreed to a change whose second accept came only after the first owner had lost the
    first and was healed; and what the others then read."""
    key = KEYS[0]
    for each in KEYS[1:]:
        await incr(world, "n1", each)
    ballot = Ballot(500, NodeId("late"), 1, "")
    for owner in ("n2", "n3"):
        assert not (await ask(world, PREPARE, key, owner, ballot)).refused_counter
    value = encode_register(decode_register(b"")._replace(version=1, value=b"chosen"))
    agreed = int(not (await ask(world, ACCEPT, key, "n2", ballot, value)).refused_counter)
    await lose(world, "n2")
    agreed += not (await ask(world, ACCEPT, key, "n3", ballot, value)).refused_counter
    await world.down("n3")
    return agreed, await read(world, "n1", key)


def test_a_change_that_counted_on_what_was_lost_cannot_come_about_later() -> None:
    async def story(world: HealingWorld) -> None:
        agreed, value = await late_accept(world)
        assert agreed == 1, "the other owner has given its word to agree to nothing so old"
        assert value is None

    run(story)


async def late_accept_of_a_copy(world: HealingWorld) -> int:
    """Whether an owner takes the accept that only its fellow had, after a third one lost its copy of it."""
    for each in KEYS[1:]:
        await incr(world, "n1", each)
    ballot = Ballot(5000, NodeId("late"), 1, "")  # far above the ceiling of n1
    for owner in ("n2", "n3"):
        assert not (await ask(world, PREPARE, KEYS[0], owner, ballot)).refused_counter
    value = encode_register(decode_register(b"")._replace(version=1, value=b"told of"))
    assert not (await ask(world, ACCEPT, KEYS[0], "n2", ballot, value)).refused_counter
    await lose(world, "n1")  # the copy counts as accepted by n1 from now on
    await lose(world, "n1")
    return (await ask(world, ACCEPT, KEYS[0], "n3", ballot, value)).refused_counter


def test_a_copy_that_is_lost_again_is_not_counted_together_with_a_late_accept() -> None:
    async def story(world: HealingWorld) -> None:
        assert await late_accept_of_a_copy(world) >= 5000

    run(story)


def test_without_a_ceiling_above_the_copy_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave(store: RegisterStore, counter: int) -> None:
        return None

    monkeypatch.setattr(RegisterStore, "raise_ceiling", leave)

    async def story(world: HealingWorld) -> None:
        assert await late_accept_of_a_copy(world) == 0

    run(story)


def test_without_the_floor_a_change_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    async def leave(store: RegisterStore, floor: int) -> None:
        return None

    monkeypatch.setattr(RegisterStore, "raise_floor", leave)

    async def story(world: HealingWorld) -> None:
        agreed, value = await late_accept(world)
        assert (agreed, value) == (2, None), "a majority has accepted it, and it is gone"

    run(story)


def healed_of(states: list[AcceptorState]) -> AcceptorState:
    pages = [RegistersPage(Epoch(1), 1000, ((b"x", each.accepted, each.value),), b"") for each in states]
    return _newest(pages, b"", b"", b"y")[b"x"]


def heard(answers: dict[str, AcceptorState]) -> RoundTally:
    tally = RoundTally([NodeId(f"n{number}") for number in range(1, 6)])
    for node, state in answers.items():
        tally.agree(NodeId(node), state.accepted, state.value)
    return tally


def test_a_copy_beside_a_higher_promise_that_was_lost_is_not_shown_as_chosen() -> None:
    low, high = Ballot(1, NodeId("n1"), 1, "b0"), Ballot(1, NodeId("n2"), 1, "b1")
    owners = {f"n{number}": UNTOUCHED for number in range(1, 6)}
    promised = {"n2": low, "n3": low, "n4": high, "n5": high}
    owners |= {node: prepare(UNTOUCHED, ballot) or UNTOUCHED for node, ballot in promised.items()}
    owners |= {node: accept(owners[node], low, b"low") or UNTOUCHED for node in ("n2", "n3")}
    owners["n5"] = accept(owners["n5"], high, b"high") or UNTOUCHED
    owners["n1"] = healed_of([owners[node] for node in ("n2", "n3", "n4")])  # n1 had promised `high`
    tally = heard({node: owners[node] for node in ("n1", "n2", "n3", "n4")})
    assert (tally.value, tally.is_chosen) == (b"low", False), "n1, n4 and n5 still go on from the other one"
    assert heard({node: owners[node] for node in ("n1", "n4", "n5")}).value == b"high"
    again = healed_of([owners["n1"], owners["n2"], owners["n4"]])
    assert again == owners["n1"], "a copy of a copy is one"


def test_a_copy_is_told_to_each_later_round_and_does_not_hide_what_was_accepted() -> None:
    ballots = [Ballot(2, NodeId("n1"), 1, boot) for boot in ("a9", "b0", "b1")]
    assert ballots[0] < ballots[1] < ballots[1].of_copy < ballots[2]
    accepted = AcceptorState(ballots[1], ballots[1], b"chosen")
    copy = healed_of([accepted])
    former = AcceptorState(ballots[0], ballots[0], b"former")
    assert heard({"n1": copy, "n4": former, "n5": UNTOUCHED}).value == b"chosen"
    tally = heard({"n1": copy, "n2": accepted, "n3": accepted, "n5": accepted})
    assert tally.is_chosen, "three have accepted it themselves"


def test_what_survived_of_a_register_stays_accepted_where_a_copy_is_not_newer() -> None:
    async def story(world: HealingWorld) -> None:
        await incr(world, "n1", KEYS[0])
        topology = world.world.topology
        partition = topology.partition_of(SPACE, KEYS[0])
        prefix = registers_prefix(Copy(partition, topology.row(partition).copy_epochs[0]))
        key = prefix + SPACE.epoch.to_bytes(8, "big") + SPACE.ordinal.to_bytes(4, "big") + KEYS[0]
        store = world["n1"].replica.registers
        state = await world.inside("n1", store.read(key))
        await world.inside("n1", store.put_healed(key, healed_of([state]), unless=never))
        after = await world.inside("n1", store.read(key))
        assert after.accepted == state.accepted != NO_BALLOT
        assert after.value == state.value

    run(story)


def test_one_damaged_block_is_healed_a_page_at_a_time_and_nothing_beside_it_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    serving = ringmill.node.replica.registers.register_serving
    monkeypatch.setattr(serving, "_PAGE_ITEMS", 4)
    asked: list[bytes] = []
    put: list[bytes] = []

    async def story(world: HealingWorld) -> None:
        topology = world.world.topology
        partition = topology.partition_of(SPACE, KEYS[0])
        keys = [k for k in (b"%04d" % n for n in range(1500)) if topology.partition_of(SPACE, k) == partition]
        for key in keys[:60]:
            await incr(world, "n2", key)
        row = topology.row(partition)
        prefix = registers_prefix(Copy(partition, row.copy_epochs[0]))
        place = prefix + SPACE.epoch.to_bytes(8, "big") + SPACE.ordinal.to_bytes(4, "big")
        part = Part(place + keys[20], place + keys[30], PartKind.REGISTERS, partition, row)
        assert part.end is not None
        store = world["n1"].replica.registers
        put_healed, page = store.put_healed, RegistersPage.encode

        async def noted(key: bytes, told: AcceptorState, *, unless: Callable[[], bool]) -> None:
            put.append(key)
            await put_healed(key, told, unless=unless)

        def noted_page(told: RegistersPage) -> bytes:
            asked.extend(key for key, _, _ in told.items)
            return page(told)

        with pytest.MonkeyPatch.context() as patch:  # ended here, as it keeps what it has patched
            patch.setattr(store, "put_healed", noted)
            patch.setattr(RegistersPage, "encode", noted_page)
            await world.inside("n1", world["n1"].replica.engine.fence(part.start, part.end))
            await healed(world, "n1")
        assert put == [place + key for key in keys[20:30]]
        assert {prefix + key for key in asked} == {place + key for key in keys[20:32]}, "three pages of four"

    run(story)


def test_healed_registers_wait_for_room_also_where_nothing_can_be_read() -> None:
    async def story(world: HealingWorld) -> None:
        store, engine = world["n1"].replica.registers, world["n1"].replica.engine
        waited: list[bytes] = []

        async def unreadable(*_: object, **__: object) -> None:
            raise CorruptData("a block that the disk had to read")

        async def wait_writable(**_: bool) -> None:
            waited.append(b"")

        topology = world.world.topology
        partition = topology.partition_of(SPACE, KEYS[0])
        prefix = registers_prefix(Copy(partition, topology.row(partition).copy_epochs[0]))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ringmill.node.replica.registers.register_store, "change", unreadable)
            patch.setattr(engine, "wait_writable", wait_writable)
            await world.inside("n1", store.put_healed(prefix + b"0" * 12 + KEYS[0], UNTOUCHED, unless=never))
        assert waited

    run(story)


async def test_an_owner_that_hangs_is_waited_for_once_a_round() -> None:
    asked: list[NodeId] = []

    async def hang(node: NodeId, *_: object, **__: object) -> bytes:
        asked.append(node)
        raise DeadlineExceeded("no answer")

    of_no_use: Any = SimpleNamespace()
    topology: Any = SimpleNamespace(serving_topology=lambda: SimpleNamespace(epoch=Epoch(1)))
    healing = RegisterHealing(
        NodeId("n1"), registers=cast("Any", SimpleNamespace(ceiling=0)), remains=of_no_use,
        forgotten=of_no_use, engine=of_no_use, topology=topology,
        transport=cast("Any", SimpleNamespace(call=hang)), loss=AcceptedLoss(), gate=of_no_use,
    )  # fmt: skip
    row: Any = SimpleNamespace(whole=("n1", "n2", "n3"), size=3, copy_epoch_of=lambda _: Epoch(1))
    silent: set[NodeId] = set()
    for number in (1, 2):
        part = Part(b"", b"z", PartKind.REGISTERS, PartitionId(number), row)
        with pytest.raises(Unavailable, match=r"n2: .*; n3: ") as caught:
            await healing.heal(part, lambda _: None, silent)
        assert caught.value.detail["missing"] == ["n2", "n3"]
    assert sorted(asked) == ["n2", "n3"] and silent == {"n2", "n3"}
