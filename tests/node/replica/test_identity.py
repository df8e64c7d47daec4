"""What a data folder says of itself, over clean stops, crashes at every call, and damage."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from cluster.adapters.os_files import OsFileSystem
from cluster.errors import CorruptData, InvalidArgument
from cluster.ids import DiskId, NodeId, Start
from node.replica.identity import ACTOR_BLOCK, Identity, IdentityRecord, decode_identity, encode_identity
from simulator.seeds import SeededEntropy

N1 = NodeId("n1")


class DiesAfter:
    """A file system whose process dies at its n-th change: that call and all later ones fail."""

    CHANGES = frozenset({"create", "rename", "unlink", "fsync_dir", "mkdir"})

    def __init__(self, changes: int) -> None:
        self._real = OsFileSystem()
        self.left = changes

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._real, name)
        if name not in self.CHANGES:
            return real

        def counted(*args: Any) -> Any:
            self.left -= 1
            if self.left < 0:
                raise OSError(5, "the process died")
            return real(*args)

        return counted


async def start(folder: Path, files: Any = None, *, node: NodeId = N1) -> Identity:
    return await Identity.open(
        str(folder / "data"), node, files=files or OsFileSystem(), entropy=SeededEntropy(1, "identity")
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


async def test_a_folder_of_another_node_is_refused_by_name(tmp_path: Path) -> None:
    await start(tmp_path)
    with pytest.raises(InvalidArgument, match="data of node n1, this is n2"):
        await start(tmp_path, node=NodeId("n2"))


@pytest.mark.parametrize("deaths", range(6))
async def test_a_crash_at_any_call_of_a_start_leaves_a_folder_that_starts(
    tmp_path: Path, deaths: int
) -> None:
    before = await start(tmp_path)
    number = await before.take_actor_number()
    await before.mark_clean_stop()
    files = DiesAfter(deaths)
    try:
        during = await start(tmp_path, files)
    except OSError:
        after = await start(tmp_path)
        assert after.start.number > before.start.number
    else:
        after = await start(tmp_path)
        assert after.start.number > during.start.number
        assert not after.was_clean
    assert after.disk == before.disk
    assert await after.take_actor_number() > number


def test_every_flipped_byte_of_the_file_is_noticed() -> None:
    record = IdentityRecord(N1, DiskId("ab" * 16), Start(7, "cd" * 8), 2048, is_clean_stop=True)
    data = encode_identity(record)
    assert decode_identity(data) == record
    for at in range(len(data)):
        with pytest.raises(CorruptData, match="IDENTITY"):
            decode_identity(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
        with pytest.raises(CorruptData):
            decode_identity(data[:at])
