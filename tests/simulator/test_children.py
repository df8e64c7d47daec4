"""A child process of a simulated node dies with it, in the midst of its work."""

import asyncio
from random import Random

import pytest

from ringmill.cluster.ports import FileSystem
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.options import SimulationOptions
from ringmill.simulator.run import run_seed
from ringmill.simulator.world.spawner import InlineSpawner


def three_files(files: FileSystem, folder: str) -> str:
    for number in range(3):
        files.create(f"{folder}/{number}").append(b"content")
    return folder


def left_by(seed: int) -> list[int]:
    """Sizes of the files that a child left that was cut short."""

    async def start_and_die() -> None:
        spawner = InlineSpawner(Random(seed), longest_s=60)
        child = asyncio.create_task(spawner.run(three_files, disk, "/d"))
        await asyncio.sleep(0)
        assert spawner.cut_short(disk, Random(seed)) == 1
        child.cancel()
        await asyncio.wait([child])
        assert spawner.cut_short(disk, Random(seed)) == 0

    disk = LossyDisk()
    disk.mkdir("/d")
    asyncio.run(start_and_die())
    return [disk.size(f"/d/{name}") for name in disk.list("/d")]


def test_a_child_that_dies_leaves_what_it_had_done_so_far() -> None:
    left = [left_by(seed) for seed in range(40)]
    assert [] in left
    assert [7, 0] in left
    assert [7, 7, 7] in left


async def test_a_child_that_is_killed_is_reported_as_dead_and_leaves_what_it_had_done() -> None:
    disk, spawner = LossyDisk(), InlineSpawner(Random(1), longest_s=0.01)
    disk.mkdir("/d")
    child = asyncio.create_task(spawner.run(three_files, disk, "/d"))
    await asyncio.sleep(0)
    assert spawner.kill_children(disk, Random(3)) == 1
    assert not spawner.is_at_work
    left = disk.list("/d")
    with pytest.raises(ChildProcessError, match="killed"):
        await child
    assert disk.list("/d") == left


def test_nodes_outlive_their_flushes_and_merges() -> None:
    runs = [run_seed(seed, SimulationOptions(faults=("child_kill",))) for seed in range(1, 6)]
    assert [run.violations for run in runs if not run.is_ok] == []
    assert sum(run.marks.get("a flush fails and is tried again", 0) for run in runs) > 0


def test_nodes_crash_in_the_midst_of_flushes_and_merges() -> None:
    runs = [run_seed(seed, SimulationOptions(faults=("crash_child",))) for seed in range(1, 6)]
    assert [run.violations for run in runs if not run.is_ok] == []
    assert sum(run.faults.get("child_cut", 0) for run in runs) > 0


def test_a_disk_that_lied_harms_nobody_but_its_own_node() -> None:
    runs = [run_seed(seed, SimulationOptions(faults=("disk_lies",))) for seed in range(1, 6)]
    assert [run.violations for run in runs if not run.is_ok] == []
    assert sum(run.faults.get("disk_lies", 0) for run in runs) > 0
    assert any(run.history.shown_by_liars for run in runs)
