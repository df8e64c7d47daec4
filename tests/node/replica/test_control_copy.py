"""Control state outlives damage of the engine's copy, and of its own file."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping
from dataclasses import replace

import pytest

from ringmill.cluster.errors import CorruptData, DiskFull, Unavailable
from ringmill.node.identity import guarded_file
from ringmill.node.identity.guarded_file import decode_copies, encode_copies
from ringmill.node.replica.control import ControlStore
from ringmill.node.replica.control_copy import FILE_NAME, ControlCopy, decode_control, encode_control
from ringmill.node.replica.stored_key import Kind, kind_prefix
from ringmill.node.storage.engine import Batch, Engine
from ringmill.node.storage.storage_errors import CorruptRange
from ringmill.simulator.disk.engine_trace import TINY, TurnSpawner
from ringmill.simulator.disk.lossy import LossyDisk
from tests.node.forgetful_engine import ForgetfulEngine

VALUES = {"actors": b"\x01\x02", "topology": b"t" * 40}


def flipped(data: bytes, *bits: int) -> bytes:
    spoiled = bytearray(data)
    for bit in bits:
        spoiled[bit // 8] ^= 1 << bit % 8
    return bytes(spoiled)


def test_any_one_flipped_bit_costs_nothing() -> None:
    data = encode_control(VALUES)
    for bit in range(8 * len(data)):
        assert decode_control(flipped(data, bit)) == VALUES


def test_any_two_flipped_bits_cost_nothing_and_damage_of_all_copies_is_reported() -> None:
    data = encode_copies(b"ab")
    for one, other in itertools.combinations(range(0, 8 * len(data), 7), 2):
        assert decode_copies(flipped(data, one, other)) == b"ab"
    third = 8 * len(data) // 3
    with pytest.raises(CorruptData):
        decode_copies(flipped(data, 100, 100 + third, 100 + 2 * third))
    for size in (0, 1, 30):
        with pytest.raises(CorruptData):
            decode_copies(data[:size])


@pytest.fixture
def disk() -> LossyDisk:
    disk = LossyDisk()
    disk.mkdir("data")
    return disk


async def test_a_node_goes_on_with_the_second_copy_and_puts_it_back(disk: LossyDisk) -> None:
    engine = ForgetfulEngine()
    store = await ControlStore.open(engine.as_engine(), ControlCopy("data", disk))
    for name, value in VALUES.items():
        await store.put_synced(name, value)
    lost = ForgetfulEngine()
    lost.scan_failure = CorruptRange("versions up to 7 may be lost")
    again = await ControlStore.open(lost.as_engine(), ControlCopy("data", disk))
    assert {name: again.get(name) for name in VALUES} == VALUES
    await again.put_back()
    lost.scan_failure = None
    third = await ControlStore.open(lost.as_engine(), ControlCopy("data", LossyDisk()))
    assert {name: third.get(name) for name in VALUES} == VALUES


async def test_a_second_copy_that_is_damaged_or_old_is_written_again(disk: LossyDisk) -> None:
    engine = ForgetfulEngine()
    store = await ControlStore.open(engine.as_engine(), ControlCopy("data", disk))
    await store.put_synced("topology", b"one")
    former = disk.read_bytes(f"data/{FILE_NAME}")
    third = 8 * len(former) // 3
    for number in range(3):
        disk.flip(f"data/{FILE_NAME}", (200 + number * third) // 8, 1)
    assert await ControlCopy("data", disk).read() is None
    await ControlStore.open(engine.as_engine(), ControlCopy("data", disk))
    assert disk.read_bytes(f"data/{FILE_NAME}") == former


def spoil(disk: LossyDisk, bytes_of_it: range) -> None:
    for offset in bytes_of_it:
        disk.spoil(f"data/{FILE_NAME}", offset)


@pytest.mark.parametrize("is_engine_damaged", [False, True])
async def test_a_sector_of_it_that_the_disk_cannot_read_costs_one_copy_of_three(
    disk: LossyDisk, is_engine_damaged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_file, "READ_AGAIN_S", (0.0, 0.0))
    engine = ForgetfulEngine()
    store = await ControlStore.open(engine.as_engine(), ControlCopy("data", disk))
    await store.put_synced("topology", b"t" * 20_000)
    engine.scan_failure = CorruptRange("versions up to 7 may be lost") if is_engine_damaged else None
    spoil(disk, range(30_000, 30_001))
    again = await ControlStore.open(engine.as_engine(), ControlCopy("data", disk))
    assert again.get("topology") == b"t" * 20_000
    assert disk.read_bytes(f"data/{FILE_NAME}")  # a new file, on other sectors


async def test_one_that_cannot_be_read_at_all_is_written_again_and_waited_for_first(
    disk: LossyDisk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_file, "READ_AGAIN_S", (0.0, 0.2))
    engine = ForgetfulEngine()
    store = await ControlStore.open(engine.as_engine(), ControlCopy("data", disk))
    await store.put_synced("topology", b"one")
    spoil(disk, range(disk.size(f"data/{FILE_NAME}")))
    assert (await ControlStore.open(engine.as_engine(), ControlCopy("data", disk))).get("topology") == b"one"
    spoil(disk, range(disk.size(f"data/{FILE_NAME}")))
    engine.scan_failure = CorruptRange("versions up to 7 may be lost")
    asyncio.get_running_loop().call_later(0.1, disk.mend)
    assert (await ControlStore.open(engine.as_engine(), ControlCopy("data", disk))).get("topology") == b"one"


async def test_without_any_readable_copy_the_start_is_refused(disk: LossyDisk) -> None:
    engine = ForgetfulEngine()
    engine.scan_failure = CorruptRange("versions up to 7 may be lost")
    with pytest.raises(CorruptData):
        await ControlStore.open(engine.as_engine(), ControlCopy("data", disk))


async def test_a_value_that_the_second_copy_did_not_take_is_not_shown(disk: LossyDisk) -> None:
    store = await ControlStore.open(ForgetfulEngine().as_engine(), ControlCopy("gone", disk))
    with pytest.raises(Unavailable, match="second copy"):
        await store.put_synced("topology", b"one")
    assert store.get("topology") is None


class HeldCopy(ControlCopy):
    """Its disk takes its time."""

    def __init__(self, folder: str, files: LossyDisk) -> None:
        super().__init__(folder, files)
        self.may_write = asyncio.Event()

    async def write(self, values: Mapping[str, bytes]) -> None:
        await self.may_write.wait()
        await super().write(values)


async def test_both_copies_are_written_at_once_and_a_value_is_shown_when_both_have_it(
    disk: LossyDisk,
) -> None:
    engine, second = ForgetfulEngine(), HeldCopy("data", disk)
    store = await ControlStore.open(engine.as_engine(), second)
    putting = asyncio.create_task(store.put_synced("topology", b"one"))
    while engine.synced_sequence == 0:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0.001)
    assert engine.get_nowait(kind_prefix(Kind.META) + b"topology") == b"one"
    assert store.get("topology") is None and not putting.done()
    second.may_write.set()
    await putting
    assert store.get("topology") == b"one" and second.holds({"topology": b"one"})


async def test_damage_of_one_part_is_mended_by_the_next_start_and_never_adds_up(disk: LossyDisk) -> None:
    engine = ForgetfulEngine()
    store = await ControlStore.open(engine.as_engine(), ControlCopy("data", disk))
    await store.put_synced("topology", b"one")
    size = disk.size(f"data/{FILE_NAME}")
    for is_engine_damaged in (False, True):
        engine.scan_failure = CorruptRange("versions may be lost") if is_engine_damaged else None
        for number in range(6):
            disk.flip(f"data/{FILE_NAME}", (number % 3) * size // 3 + 20, 1)
            again = await ControlStore.open(engine.as_engine(), ControlCopy("data", disk))
            assert again.get("topology") == b"one"


async def test_control_state_is_kept_while_the_disk_is_too_full_for_anything_else(disk: LossyDisk) -> None:
    options = replace(TINY, memtable_bytes=4000, reserve_bytes=100_000)
    async with await Engine.open("data/store", options, files=disk, spawner=TurnSpawner()) as engine:
        store = await ControlStore.open(engine, ControlCopy("data", disk))
        disk.capacity = disk.used + 90_000
        with pytest.raises(DiskFull, match="read-only"):
            for number in range(10_000):
                batch = Batch()
                batch.put(b"key%05d" % number, bytes(100))
                await engine.wait_writable()
                engine.apply(batch)
        await store.put_synced("topology", b"epoch 2")
        disk.capacity = None
    async with await Engine.open("data/store", options, files=disk, spawner=TurnSpawner()) as engine:
        assert (await ControlStore.open(engine, ControlCopy("data", disk))).get("topology") == b"epoch 2"
