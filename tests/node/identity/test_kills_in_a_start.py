"""A start that is killed or loses power at any call leaves a store that the next start takes."""

from __future__ import annotations

from random import Random
from typing import cast

import pytest

from ringmill.cluster.adapters.system_clock import SystemClock
from ringmill.cluster.ids import NodeId
from ringmill.cluster.ports import BatchTransport
from ringmill.node.config import NodeConfig
from ringmill.node.core import Core, Doors
from ringmill.node.identity.identity import FILE_NAMES, FolderRefused, Identity, check_store
from ringmill.node.identity.room import open_storage
from ringmill.node.node_options import NodeOptions
from ringmill.node.storage.batch import Batch
from ringmill.node.storage.engine import Engine
from ringmill.node.storage.names import parse_name
from ringmill.simulator.disk.engine_trace import TINY, TurnSpawner
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.world.seeds import SeededEntropy, stream
from ringmill.simulator.world.spawner import InlineSpawner
from tests.node.conftest import Wire

N1 = NodeId("n1")
FOLDER, STORE = "/data", "/data/store"


async def start_and_stop(disk: LossyDisk, seed: int) -> None:
    doors = Doors(
        clock=SystemClock(),
        entropy=SeededEntropy(seed, "identity"),
        files=disk,
        spawner=InlineSpawner(stream(seed, "spawner"), longest_s=0),
        transport=cast("BatchTransport", Wire().end(N1)),  # opening the data folder asks nobody
    )
    core = Core.of(NodeConfig(N1, "127.0.0.1:7101", FOLDER), doors, NodeOptions(storage=TINY))
    async with open_storage(core) as storage:
        batch = Batch()
        batch.put(b"key", b"value")
        await storage.engine.apply(batch).synced()


async def found_after_every_call(disk: LossyDisk) -> list[tuple[str, LossyDisk]]:
    """The disk as the next start finds it: after a kill before each call, and after a power cut there."""
    found: list[tuple[str, LossyDisk]] = []
    models = [model for model in CrashModel if model is not CrashModel.LYING]

    def remember(call: str, path: str) -> None:
        left = disk.moment().crash(models[len(found) % len(models)], Random(len(found)))
        found.append((f"killed before {call} {path}", disk.after_kill()))
        found.append((f"power cut before {call} {path}", LossyDisk.after(left)))

    disk.hook = remember
    await start_and_stop(disk, seed=2)
    disk.hook = None
    return found


async def stopped(*, is_rotten: bool) -> LossyDisk:
    """With `is_rotten` no manifest can be read: the next start sets it aside and writes another."""
    disk = LossyDisk()
    await start_and_stop(disk, seed=1)
    for name in disk.list(STORE) if is_rotten else []:
        if (parsed := parse_name(name)) and parsed.kind == "manifest":
            disk.flip(f"{STORE}/{name}", 60, 1)
    return disk


async def test_nothing_is_written_without_the_lock_of_the_store() -> None:
    """Else a start, or the end of a stop, writes over the identity of another process on the folder."""
    disk = LossyDisk()
    await start_and_stop(disk, seed=1)
    unlocked: list[tuple[str, str]] = []

    def look(call: str, path: str) -> None:
        if f"{STORE}/LOCK" not in disk._locks:
            unlocked.append((call, path))

    disk.hook = look
    await start_and_stop(disk, seed=2)
    assert {call for call, _ in unlocked} <= {"mkdir", "lock"}, unlocked


async def test_a_start_on_a_folder_that_is_in_use_changes_nothing() -> None:
    disk = LossyDisk()
    await start_and_stop(disk, seed=1)
    before = [disk.read_bytes(f"{FOLDER}/{name}") for name in FILE_NAMES]
    lock = disk.lock(f"{STORE}/LOCK")
    with pytest.raises(BlockingIOError):
        await start_and_stop(disk, seed=2)
    assert [disk.read_bytes(f"{FOLDER}/{name}") for name in FILE_NAMES] == before
    lock.release()
    await start_and_stop(disk, seed=3)


@pytest.mark.parametrize("is_rotten", [False, True])
async def test_the_store_stays_its_nodes_own(is_rotten: bool) -> None:
    disk = await stopped(is_rotten=is_rotten)
    found = await found_after_every_call(disk)
    assert len(found) > 100
    for _, left in found:
        check_store(left, FOLDER)


async def test_without_forgetting_what_the_stop_left_it_would_be_refused() -> None:
    disk = await stopped(is_rotten=True)
    check_store(disk, FOLDER)
    async with await Engine.open(STORE, TINY, files=disk, spawner=TurnSpawner()):
        pass
    with pytest.raises(FolderRefused, match="the last stop left"):
        check_store(disk, FOLDER)


async def test_what_a_stop_says_is_left_survives_a_power_cut() -> None:
    disk = LossyDisk()
    await start_and_stop(disk, seed=1)
    async with await Engine.open(STORE, TINY, files=disk, spawner=TurnSpawner()):
        identity = await Identity.open(FOLDER, N1, files=disk, entropy=SeededEntropy(2, "identity"))
    manifest = next(
        name for name in disk.list(STORE) if (parsed := parse_name(name)) and parsed.kind == "manifest"
    )
    disk.open_append(f"{STORE}/{manifest}").append(b"an edit that a stop cut short")
    await identity.note_left()
    for seed, model in enumerate(model for model in CrashModel if model is not CrashModel.LYING):
        check_store(LossyDisk.after(disk.moment().crash(model, Random(seed))), FOLDER)
