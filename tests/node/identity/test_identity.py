"""What a data folder says of itself, over crashes at every call, and damage."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from ringmill.cluster.adapters.files.os_files import OsFileSystem
from ringmill.cluster.errors import CorruptData, InvalidArgument
from ringmill.cluster.ids import DiskId, NodeId, Start
from ringmill.cluster.membership.start_rules import EARLIER_STARTS
from ringmill.node.identity import guarded_file
from ringmill.node.identity.identity import FILE_NAMES, FolderRefused, Identity, read_identity, take_store
from ringmill.node.identity.identity_record import (
    IdentityRecord,
    newest_record,
    record_copies,
    sound_copies,
)
from ringmill.node.identity.store_name import name_store
from ringmill.simulator.disk.lossy import SECTOR_BYTES, LossyDisk
from ringmill.simulator.disk.moment import CrashModel, Moment
from ringmill.simulator.world.seeds import SeededEntropy, stream

N1 = NodeId("n1")
RECORD = IdentityRecord(
    N1, DiskId("ab" * 16), Start(7, "cd" * 8), 9, (Start(6, "ef" * 8), Start(5, "01" * 8))
)
FIRST_VERSION = b"""ringmill-identity 1
node n1
disk 4be2c1d0a7e94f6b8a55d0c3f1e2a966
start 7
boot 9f31c0aa52b7d64e
next-actor 6145
clean-stop 0
crc32 9f0b4e1f
"""


async def start(folder: Path, *, node: NodeId = N1, seed: int = 1) -> Identity:
    return await Identity.open(
        str(folder / "data"), node, files=OsFileSystem(), entropy=SeededEntropy(seed, "identity")
    )


async def test_each_start_has_a_higher_number_and_the_same_disk(tmp_path: Path) -> None:
    starts = [await start(tmp_path, seed=seed) for seed in range(3)]
    assert [identity.start.number for identity in starts] == [1, 2, 3]
    assert len({identity.disk for identity in starts}) == 1
    assert len({identity.start.boot for identity in starts}) == 3
    assert len(starts[0].disk) == 32


async def test_a_start_knows_those_before_it(tmp_path: Path) -> None:
    starts = [(await start(tmp_path, seed=seed)) for seed in range(EARLIER_STARTS + 3)]
    known = [identity.start for identity in starts[:-1]][::-1]
    assert starts[-1].earlier == tuple(known[:EARLIER_STARTS])


async def test_a_folder_of_another_node_is_refused_by_name(tmp_path: Path) -> None:
    await start(tmp_path)
    with pytest.raises(InvalidArgument, match="data of node n1, this is n2"):
        await start(tmp_path, node=NodeId("n2"))


async def test_a_folder_of_the_first_version_is_read_and_written_anew(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "IDENTITY").write_bytes(_with_checksum(FIRST_VERSION))
    identity = await start(tmp_path)
    assert (identity.disk, identity.start.number) == ("4be2c1d0a7e94f6b8a55d0c3f1e2a966", 8)
    assert identity.earlier == (Start(7, "9f31c0aa52b7d64e"),)
    assert (await start(tmp_path)).start.number == 9


def _with_checksum(data: bytes) -> bytes:
    from zlib import crc32

    body = data[: data.index(b"crc32")]
    return body + f"crc32 {crc32(body):08x}\n".encode()


@dataclass
class Told:
    """What a node may have acted by at some moment: all of it must be known to the next start."""

    starts: int = 0


async def test_a_power_cut_at_any_call_leaves_a_folder_that_knows_all_it_was_told() -> None:
    moments = await _moments_of_three_starts()
    assert len(moments) > 30
    for number, (moment, told) in enumerate(moments):
        for model in (CrashModel.PREFIX, CrashModel.ANY_ORDER, CrashModel.TORN, CrashModel.NAMES_FIRST):
            disk = LossyDisk.after(moment.crash(model, stream(number, model)))
            after = await Identity.open("data", N1, files=disk, entropy=SeededEntropy(number, "after"))
            assert after.start.number > told.starts


async def _moments_of_three_starts() -> list[tuple[Moment, Told]]:
    """The disk before each of its calls, and what had been promised by then."""
    disk, told = LossyDisk(), Told()
    moments: list[tuple[Moment, Told]] = []
    disk.hook = lambda call, path: moments.append((disk.moment(), replace(told)))
    for number in range(3):
        identity = await Identity.open("data", N1, files=disk, entropy=SeededEntropy(number, "before"))
        told.starts = identity.start.number
    disk.hook = None
    return moments


def test_every_flipped_bit_of_a_file_leaves_the_other_copy() -> None:
    data = record_copies(RECORD)
    assert sound_copies(data) == [RECORD, RECORD]
    for bit in range(8 * len(data)):
        hurt = bytearray(data)
        hurt[bit // 8] ^= 1 << bit % 8
        assert sound_copies(bytes(hurt)) == [RECORD], bit


def test_every_flipped_bit_of_a_single_copy_is_noticed() -> None:
    data = record_copies(RECORD)
    copy = data[: len(data) // 2]
    for bit in range(8 * len(copy)):
        hurt = bytearray(copy)
        hurt[bit // 8] ^= 1 << bit % 8
        assert sound_copies(bytes(hurt)) == [], bit
    for size in range(len(copy)):
        assert sound_copies(copy[:size]) == []


def test_the_newest_of_all_sound_copies_holds() -> None:
    older = replace(RECORD, start=Start(6, "ef" * 8), edition=8)
    assert newest_record([record_copies(older), record_copies(RECORD)]) == RECORD
    assert newest_record([record_copies(older), b"rubbish"]) == older
    assert newest_record([]) is None


@pytest.mark.parametrize("lost", FILE_NAMES)
@pytest.mark.parametrize("content", [b"", bytes(200), None])
async def test_a_file_that_is_lost_or_damaged_is_mended_from_the_other(
    tmp_path: Path, lost: str, content: bytes | None
) -> None:
    first = await start(tmp_path)
    path = tmp_path / "data" / lost
    path.unlink() if content is None else path.write_bytes(content)
    second = await start(tmp_path)
    assert (second.disk, second.start.number) == (first.disk, 2)
    for name in FILE_NAMES:
        assert len(sound_copies((tmp_path / "data" / name).read_bytes())) == 2


async def test_a_folder_whose_copies_are_all_damaged_is_refused(tmp_path: Path) -> None:
    await start(tmp_path)
    for name in FILE_NAMES:
        (tmp_path / "data" / name).write_bytes(bytes(400))
    with pytest.raises(CorruptData, match=r"every copy of the identity of .* is damaged"):
        await start(tmp_path)
    with pytest.raises(CorruptData, match=r"IDENTITY: 400 bytes, IDENTITY.copy: 400 bytes"):
        read_identity(OsFileSystem(), str(tmp_path / "data"))


async def on_a_disk(disk: LossyDisk, seed: int = 1) -> Identity:
    """A start as a node begins it."""
    await take_store(disk, "data")
    disk.mkdir("data/store")
    return await Identity.open("data", N1, files=disk, entropy=SeededEntropy(seed, "identity"))


def spoil(disk: LossyDisk, *names: str) -> None:
    for name in names:
        for offset in range(0, disk.size(f"data/{name}"), SECTOR_BYTES):
            disk.spoil(f"data/{name}", offset)


@pytest.mark.parametrize("name", [*FILE_NAMES, "store/STORE"])
async def test_a_file_that_the_disk_cannot_read_counts_as_damaged_and_is_written_anew(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_file, "READ_AGAIN_S", (0.0, 0.0))
    disk = LossyDisk()
    first = await on_a_disk(disk)
    await on_a_disk(disk, 2)
    spoil(disk, name)
    third = await on_a_disk(disk, 3)
    assert (third.disk, third.start.number) == (first.disk, 3)
    assert disk.read_bytes(f"data/{name}")


@pytest.mark.parametrize("names", [FILE_NAMES, (*FILE_NAMES, "store/STORE")])
async def test_an_error_that_passes_within_seconds_costs_no_identity(
    names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_file, "READ_AGAIN_S", (0.0, 0.2))
    disk = LossyDisk()
    first = await on_a_disk(disk)
    await on_a_disk(disk, 2)
    spoil(disk, *names)
    asyncio.get_running_loop().call_later(0.1, disk.mend)
    third = await on_a_disk(disk, 3)
    assert (third.disk, third.start.number) == (first.disk, 3)


async def test_a_store_of_another_disk_is_not_taken_while_its_name_cannot_be_read_for_a_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guarded_file, "READ_AGAIN_S", (0.0, 0.2))
    disk = LossyDisk()
    for seed in (1, 2):
        await on_a_disk(disk, seed)
    disk.unlink("data/store/STORE")
    await name_store(disk, "data/store", DiskId("ab" * 16))
    spoil(disk, "store/STORE")
    asyncio.get_running_loop().call_later(0.1, disk.mend)
    with pytest.raises(FolderRefused, match="it belongs to disk abab"):
        await on_a_disk(disk, 3)


async def test_a_folder_whose_copies_cannot_be_read_is_refused_by_name_and_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(guarded_file, "READ_AGAIN_S", (0.0, 0.0))
    disk = LossyDisk()
    await on_a_disk(disk)
    spoil(disk, *FILE_NAMES)
    with pytest.raises(CorruptData, match=r"IDENTITY: \d+ bytes that the disk cannot read, IDENTITY.copy: "):
        await on_a_disk(disk, 2)
    disk.mend()
    assert (await on_a_disk(disk, 3)).start.number == 2


async def test_a_folder_that_was_found_to_be_an_old_copy_stays_one(tmp_path: Path) -> None:
    """Else each try would raise its number, until it is above the one that the cluster knows."""
    identity = await start(tmp_path)
    refusal = await identity.refuse(Start(9, "cd" * 8))
    assert "old copy of n1's data" in refusal.message and "start 9" in refusal.message
    for _ in range(2):
        with pytest.raises(
            FolderRefused, match=r"old copy of n1's data: this is start 1, .* start 9"
        ) as told:
            await start(tmp_path)
        assert f"ringmill node reset {tmp_path}/data" in told.value.hint


async def test_a_start_that_is_older_than_itself_is_told_of_its_machine(tmp_path: Path) -> None:
    identity = await start(tmp_path)
    refusal = await identity.refuse(identity.start)
    assert "newer data, of this very start, so its machine was put back to a snapshot" in refusal.message
