"""What a data folder says of itself, over clean stops, crashes at every call, and damage."""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from cluster.adapters.os_files import OsFileSystem
from cluster.errors import CorruptData, InvalidArgument, Unavailable
from cluster.ids import DiskId, NodeId, Start
from cluster.ports import AppendFile, Buffer
from node.replica.identity import ACTOR_BLOCK, Identity, IdentityRecord, decode_identity, encode_identity
from simulator.disk.lossy import LossyDisk
from simulator.disk.moment import CrashModel, Moment
from simulator.seeds import SeededEntropy, stream

N1 = NodeId("n1")


async def start(folder: Path, *, node: NodeId = N1) -> Identity:
    return await Identity.open(
        str(folder / "data"), node, files=OsFileSystem(), entropy=SeededEntropy(1, "identity")
    )


async def test_each_start_has_a_higher_number_and_the_same_disk(tmp_path: Path) -> None:
    starts = [await start(tmp_path) for _ in range(3)]
    assert [identity.start.number for identity in starts] == [1, 2, 3]
    assert len({identity.disk for identity in starts}) == 1
    assert len(starts[0].disk) == 32


async def test_only_a_start_after_a_clean_stop_is_clean(tmp_path: Path) -> None:
    first = await start(tmp_path)
    assert not first.was_clean
    await first.mark_clean_stop()
    assert (await start(tmp_path)).was_clean
    assert not (await start(tmp_path)).was_clean  # the second of these never stopped


async def test_no_actor_number_is_ever_given_twice(tmp_path: Path) -> None:
    given: list[int] = []
    for round_ in range(4):
        identity = await start(tmp_path)
        given += await asyncio.gather(*(identity.take_actor_number() for _ in range(ACTOR_BLOCK + 3)))
        if round_ % 2:
            await identity.mark_clean_stop()
    assert len(set(given)) == len(given)


async def test_a_request_that_ends_while_numbers_are_reserved_makes_none_be_given_twice() -> None:
    """Else the next crash would have the same numbers given again, and a dot would name two writes."""
    disk = SlowDisk()
    identity = await Identity.open("data", N1, files=disk, entropy=SeededEntropy(1, "before"))
    disk.may_sync.clear()
    request = asyncio.create_task(identity.take_actor_number())
    await asyncio.sleep(0)
    request.cancel()
    await asyncio.wait([request])
    disk.may_sync.set()
    given = [await identity.take_actor_number() for _ in range(3)]
    again = await Identity.open("data", N1, files=_after_a_crash(disk), entropy=SeededEntropy(2, "after"))
    assert await again.take_actor_number() > max(given)


async def test_numbers_that_could_not_be_reserved_are_not_given() -> None:
    disk = LossyDisk()
    identity = await Identity.open("data", N1, files=disk, entropy=SeededEntropy(1, "before"))
    disk.hook = _full
    for _ in range(2):
        with pytest.raises(Unavailable, match="No space left") as refused:
            await identity.take_actor_number()
        assert refused.value.outcome == "failed"
    disk.hook = None
    given = await identity.take_actor_number()
    again = await Identity.open("data", N1, files=_after_a_crash(disk), entropy=SeededEntropy(2, "after"))
    assert await again.take_actor_number() > given


async def test_a_folder_of_another_node_is_refused_by_name(tmp_path: Path) -> None:
    await start(tmp_path)
    with pytest.raises(InvalidArgument, match="data of node n1, this is n2"):
        await start(tmp_path, node=NodeId("n2"))


class SlowDisk(LossyDisk):
    """Syncs when it may."""

    def __init__(self) -> None:
        super().__init__()
        self.may_sync = asyncio.Event()
        self.may_sync.set()

    def create(self, path: str) -> AppendFile:
        file = super().create(path)
        sync = file.append_and_sync

        async def later(data: Buffer) -> None:
            await self.may_sync.wait()
            await sync(data)

        file.append_and_sync = later  # type: ignore[method-assign]
        return file


def _full(call: str, path: str) -> None:
    if call == "append":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)


def _after_a_crash(disk: LossyDisk) -> LossyDisk:
    return LossyDisk.after(disk.moment().crash(CrashModel.PREFIX, stream(1, "crash")))


@dataclass
class Told:
    """What a node may have acted by at some moment: all of it must be known to the next start."""

    starts: int = 0
    actors: int = 0
    has_stopped_cleanly: bool = False


async def test_a_power_cut_at_any_call_leaves_a_folder_that_knows_all_it_was_told() -> None:
    moments = await _moments_of_three_starts()
    assert len(moments) > 30
    for number, (moment, told) in enumerate(moments):
        for model in (CrashModel.PREFIX, CrashModel.ANY_ORDER, CrashModel.TORN, CrashModel.NAMES_FIRST):
            disk = LossyDisk.after(moment.crash(model, stream(number, model)))
            after = await Identity.open("data", N1, files=disk, entropy=SeededEntropy(number, "after"))
            assert after.start.number > told.starts
            assert await after.take_actor_number() > told.actors
            assert after.was_clean <= told.has_stopped_cleanly


async def _moments_of_three_starts() -> list[tuple[Moment, Told]]:
    """The disk before each of its calls, and what had been promised by then."""
    disk, told = LossyDisk(), Told()
    moments: list[tuple[Moment, Told]] = []
    disk.hook = lambda call, path: moments.append((disk.moment(), replace(told)))
    for number in range(3):
        identity = await Identity.open("data", N1, files=disk, entropy=SeededEntropy(number, "before"))
        told.starts, told.has_stopped_cleanly = identity.start.number, False
        for _ in range(ACTOR_BLOCK + 1):
            told.actors = await identity.take_actor_number()
        told.has_stopped_cleanly = True  # from here on the mark may be there
        await identity.mark_clean_stop()
    disk.hook = None
    return moments


def test_every_flipped_byte_of_the_file_is_noticed() -> None:
    record = IdentityRecord(N1, DiskId("ab" * 16), Start(7, "cd" * 8), 2048, is_clean_stop=True)
    data = encode_identity(record)
    assert decode_identity(data) == record
    for at in range(len(data)):
        with pytest.raises(CorruptData, match="IDENTITY"):
            decode_identity(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(CorruptData):
            decode_identity(data[:at])
