"""Faults that only jobs feel: a killed task process, a damaged map output, a part file that somebody deletes,
a crash of a node that others have fetched from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

from ringmill.simulator.disk.folder_tree import FolderTree
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.faults.fault import Fault, FaultKind, at_some, drawn
from ringmill.simulator.faults.processes import crash
from ringmill.simulator.world.ground import Ground
from ringmill.simulator.world.node_process import DATA, SHARED, NodeProcess

__all__ = ["KINDS"]

_SCRATCH: Final = f"{DATA}/scratch"
_LOOK_EVERY_S: Final = 0.02
_RARE: Final = 0.08


async def _as_soon_as(strikes: Callable[[], bool], fault: Fault) -> bool:
    """Try again and again within the fault's time; whether it struck."""
    for _ in range(1 + int(fault.lasts_s / _LOOK_EVERY_S)):
        if strikes():
            return True
        await asyncio.sleep(_LOOK_EVERY_S)
    return False


async def _kill_task(fault: Fault, ground: Ground) -> None:
    """Kill a task process at work, as soon as there is one."""
    node = ground.nodes[fault.nodes[0]]

    def strikes() -> bool:
        working = [task for task in node.spawner.running() if task.work] if node.spawner else []
        if working:
            ground.trace.fault(fault.kind, node.name)
            ground.draws.choice(working).kill()
        return bool(working)

    await _as_soon_as(strikes, fault)


async def _damage_shuffle(fault: Fault, ground: Ground) -> None:
    """Turn a bit of a map output, as soon as there is one."""
    node = ground.nodes[fault.nodes[0]]

    def strikes() -> bool:
        outputs = _map_outputs(node)
        if outputs:
            path = ground.draws.choice(outputs)
            ground.trace.fault(fault.kind, node.name)
            disk = node.disk.lossy
            disk.flip(path, ground.draws.randrange(disk.size(path)), 1 << ground.draws.randrange(8))
        return bool(outputs)

    await _as_soon_as(strikes, fault)


async def _lose_part(fault: Fault, ground: Ground) -> None:
    """Delete a part that a reduce has left in its job's hidden folder, as soon as there is one."""

    def strikes() -> bool:
        parts = list(_staged_parts(ground.shared))
        if parts:
            ground.trace.fault(fault.kind, SHARED)
            ground.shared.unlink(ground.draws.choice(parts))
        return bool(parts)

    await _as_soon_as(strikes, fault)


async def _crash_mapper(fault: Fault, ground: Ground) -> None:
    """Crash a node that has mapped while others reduce what they have fetched from it."""
    crashed: list[str] = []

    def strikes() -> bool:
        mappers = [node.name for node in _idle_mappers(ground)]
        crashed.extend([ground.draws.choice(mappers)] if mappers else [])
        return bool(mappers)

    if await _as_soon_as(strikes, fault):
        await crash(replace(fault, nodes=tuple(crashed)), ground)
        await asyncio.sleep(fault.lasts_s)
        ground.start(crashed)


def _idle_mappers(ground: Ground) -> list[NodeProcess]:
    """Nodes with map outputs that neither reduce nor keep a job, while another reduces."""
    nodes = list(ground.nodes.values())
    reducing = [node for node in nodes if _is_reducing(node)]
    idle = [node for node in nodes if node not in reducing and not _keeps_a_job(node)]
    return [node for node in idle if reducing and _map_outputs(node)]


def _is_reducing(node: NodeProcess) -> bool:
    return node.spawner is not None and any(task.is_reducing for task in node.spawner.running())


def _keeps_a_job(node: NodeProcess) -> bool:
    return node.node is not None and not all(view.is_over for view in node.node.jobs.views())


def _map_outputs(node: NodeProcess) -> list[str]:
    """Files in folders of map attempts that hold anything."""
    disk = node.disk.lossy
    attempts = [inner for job in _inside(disk, _SCRATCH) for inner in _inside(disk, job)]
    found = [path for attempt in attempts if "/map-" in attempt for path in _inside(disk, attempt)]
    return [path for path in found if disk.exists(path) and not disk.is_dir(path) and disk.size(path)]


def _staged_parts(shared: FolderTree) -> Iterator[str]:
    """Parts in the folders of reduce attempts: nothing has been moved out of there yet."""
    for job in _inside(shared, SHARED):
        for attempt in _inside(shared, job) if ".ringmill-" in job else ():
            if "/reduce-" in attempt:
                yield from (path for path in _inside(shared, attempt) if "/part-" in path)


def _inside(disk: LossyDisk | FolderTree, folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in disk.list(folder)] if disk.is_dir(folder) else []


KINDS: Final = (
    FaultKind("task_kill", _kill_task, draw=drawn(at_some)),
    FaultKind("shuffle_damage", _damage_shuffle, draw=drawn(at_some)),
    FaultKind("part_lost", _lose_part, chance=_RARE),
    FaultKind("crash_mapper", _crash_mapper, chance=_RARE),
)
