"""Faults that only jobs feel: killed task processes, damaged map outputs, a part file that somebody deletes,
and nodes that crash, stop or are not heard, or a shared disk that fails, at a moment that matters to a job.
"""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from random import Random
from typing import Final

from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.ports import MemoryLeft
from ringmill.simulator.faults.fault import (
    LOOK_EVERY_S,
    Draw,
    Fault,
    FaultKind,
    as_soon_as,
    at_some,
    drawn,
    waiting,
)
from ringmill.simulator.faults.processes import crash
from ringmill.simulator.subjects.jobs.moments import (
    attempts_at_work,
    half_way,
    idle_mappers,
    keepers,
    keepers_with_workers,
    map_outputs,
    next_part,
    parts_to_update,
    publications,
    publishers,
    staged_parts,
    tasks_at_work,
)
from ringmill.simulator.world.ground import Ground
from ringmill.simulator.world.node_process import SHARED, NodeProcess
from ringmill.simulator.world.tasks import SimulatedTask
from ringmill.simulator.world.virtual_loop import VirtualLoop

__all__ = ["KINDS"]

_RARE: Final = 0.08
_LESS_RARE: Final = 0.2
_OFTEN: Final = 0.4
_SLOW_S: Final = 1.0
_VERY_SLOW_S: Final = 10.0
_SWAPPED: Final = 0.75
_MEMORY: Final = 1 << 30


def _waiting_at_one(*effects_s: float) -> Draw:
    """Draw a fault as `waiting` does, but at one node only."""
    draw_any = waiting(*effects_s)

    def draw(draws: Random, name: str, nodes: Sequence[str], horizon_s: float) -> Fault:
        return replace(draw_any(draws, name, nodes, horizon_s), nodes=(draws.choice(nodes),))

    return draw


def _waiting_at_one_or_all(*effects_s: float) -> Draw:
    """The same, and now and then at all nodes."""
    draw_any, draw_one = waiting(*effects_s), _waiting_at_one(*effects_s)

    def draw(draws: Random, name: str, nodes: Sequence[str], horizon_s: float) -> Fault:
        return draws.choice((draw_one, draw_one, draw_any))(draws, name, nodes, horizon_s)

    return draw


def _strike(task: SimulatedTask, ground: Ground) -> None:
    if task.work is not None:
        ground.trace.struck[JobSpec.decode(task.work.spec).job] += 1
    task.kill()


async def _kill_task(fault: Fault, ground: Ground) -> None:
    """Kill a task process at work, as soon as there is one."""
    node = ground.nodes[fault.nodes[0]]

    def strikes() -> bool:
        working = tasks_at_work(node)
        if working:
            ground.trace.fault(fault.kind, node.name)
            _strike(ground.draws.choice(working), ground)
        return bool(working)

    await as_soon_as(strikes, fault)


async def _damage_shuffle(fault: Fault, ground: Ground) -> None:
    """Turn a bit of a map output, as soon as there is one."""
    node = ground.nodes[fault.nodes[0]]

    def strikes() -> bool:
        outputs = map_outputs(node)
        if outputs:
            path = ground.draws.choice(outputs)
            ground.trace.fault(fault.kind, node.name)
            disk = node.disk.lossy
            disk.flip(path, ground.draws.randrange(disk.size(path)), 1 << ground.draws.randrange(8))
        return bool(outputs)

    await as_soon_as(strikes, fault)


async def _lose_part(fault: Fault, ground: Ground) -> None:
    """Delete a part that a reduce has left in its job's hidden folder, as soon as there is one."""

    def strikes() -> bool:
        parts = list(staged_parts(ground.shared))
        if parts:
            ground.trace.fault(fault.kind, SHARED)
            ground.shared.unlink(ground.draws.choice(parts))
        return bool(parts)

    await as_soon_as(strikes, fault)


async def _lose_states(fault: Fault, ground: Ground) -> None:
    """Delete a part of the round before that a reduce is to update, as soon as there is one, or put the next
    part of its folder in its place: each block of that is sound, and it is in order."""

    def strikes() -> bool:
        parts = list(parts_to_update(ground))
        if parts:
            ground.trace.fault(fault.kind, SHARED)
            path = ground.draws.choice(parts)
            other = next_part(ground.shared, path) if ground.draws.random() < _SWAPPED else b""
            ground.shared.unlink(path)
            if other:
                with closing(ground.shared.create(path)) as file:
                    file.append(other)
        return bool(parts)

    await as_soon_as(strikes, fault)


async def _crash_mapper(fault: Fault, ground: Ground) -> None:
    """Crash a node that has mapped while others reduce what they have fetched from it."""
    crashed: list[str] = []

    def strikes() -> bool:
        mappers = [node.name for node in idle_mappers(ground)]
        crashed.extend([ground.draws.choice(mappers)] if mappers else [])
        return bool(mappers)

    if await as_soon_as(strikes, fault):
        await crash(replace(fault, nodes=tuple(crashed)), ground)
        with _slow_tasks(ground):
            await asyncio.sleep(fault.amount)
        ground.start(crashed)


@contextmanager
def _slow_tasks(ground: Ground) -> Iterator[None]:
    """What task processes do now outlasts what befalls the nodes."""
    slowed = [node.spawner for node in ground.nodes.values() if node.spawner is not None]
    for spawner in slowed:
        spawner.pace_s += _SLOW_S
    try:
        yield
    finally:
        for spawner in slowed:
            spawner.pace_s -= _SLOW_S


async def _slow_node(fault: Fault, ground: Ground) -> None:
    """All attempts of one node are much slower than those of others, for as long as nobody restarts it."""
    spawner = ground.nodes[fault.nodes[0]].spawner
    if spawner is not None:
        ground.trace.fault(fault.kind, fault.nodes[0])
        spawner.slow_s += _VERY_SLOW_S
        await asyncio.sleep(fault.amount)
        spawner.slow_s -= _VERY_SLOW_S


async def _kill_tasks(fault: Fault, ground: Ground) -> None:
    """For a while no task process lives long, as on machines that lack memory."""

    def strikes() -> bool:
        working = [task for node in ground.nodes.values() for task in attempts_at_work(node)]
        for task in working:
            ground.trace.fault(fault.kind, task.process.name)
            _strike(task, ground)
        return bool(working)

    if await as_soon_as(strikes, fault):
        for _ in range(int(fault.amount / LOOK_EVERY_S)):
            await asyncio.sleep(LOOK_EVERY_S)
            strikes()


async def _take_memory(fault: Fault, ground: Ground) -> None:
    """Once tasks run on some nodes, little of the memory of their machines is left for a while, or nearly
    none."""
    nodes = [ground.nodes[name] for name in fault.nodes]
    for node in nodes:
        node.memory_left = (MemoryLeft(_MEMORY, _MEMORY),)
    left = _MEMORY // ground.draws.choice((20, 100))
    if await as_soon_as(lambda: any(map(attempts_at_work, nodes)), fault):
        for node in nodes:
            ground.trace.fault(fault.kind, node.name)
            node.memory_left = (MemoryLeft(left, _MEMORY),)
        await asyncio.sleep(fault.amount)
        for node in nodes:
            node.memory_left = (MemoryLeft(_MEMORY, _MEMORY),)


def _keeper_at_a_moment(ground: Ground) -> Callable[[], list[str]]:
    """Which node keeps a job that is open at all, that others work for, or whose output is made visible."""

    def with_workers(ground: Ground) -> list[NodeProcess]:
        return [keeper for keeper, _ in keepers_with_workers(ground)]

    moment = ground.draws.choice((keepers, with_workers, publishers))
    return lambda: [node.name for node in moment(ground)[:1]]


async def _crash_keeper(fault: Fault, ground: Ground) -> None:
    """Crash a node that keeps a job at some moment of it, and start it again soon."""
    found: list[str] = []
    keeper_now = _keeper_at_a_moment(ground)

    def strikes() -> bool:
        found.extend(keeper_now())
        return bool(found)

    if await as_soon_as(strikes, fault):
        await asyncio.sleep(ground.draws.choice((0.0, 0.02, 1.0)) * ground.draws.random())
        await crash(replace(fault, nodes=tuple(found)), ground)
        await asyncio.sleep(fault.amount)
        ground.start(found)


async def _pause_keeper(fault: Fault, ground: Ground) -> None:
    """Stop a node that keeps a job for so long that another one takes it over."""
    found: list[str] = []
    keeper_now = _keeper_at_a_moment(ground)

    def strikes() -> bool:
        found.extend(keeper_now())
        return bool(found)

    if await as_soon_as(strikes, fault):
        ground.trace.fault(fault.kind, found[0])
        ground.nodes[found[0]].pause()
        await asyncio.sleep(fault.amount)
        ground.nodes[found[0]].resume()


async def _silence_worker(fault: Fault, ground: Ground) -> None:
    """Cut the link between a job's keeper and a worker, whom others still hear and call up."""
    found: list[tuple[str, str]] = []

    def strikes() -> bool:
        found.extend((keeper.name, worker.name) for keeper, worker in keepers_with_workers(ground)[:1])
        return bool(found)

    if await as_soon_as(strikes, fault):
        keeper, worker = found[0]
        pairs = [(keeper, worker), (worker, keeper)]
        ground.trace.fault(fault.kind, worker)
        ground.cut(pairs)
        await asyncio.sleep(fault.amount)
        ground.join(pairs)


async def _pause_commit(fault: Fault, ground: Ground) -> None:
    """Stop a process that makes an output visible in the midst of it, so that others may come between."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, VirtualLoop)
    if await as_soon_as(lambda: bool(half_way(ground)), fault):
        stopped = [task.process for task in half_way(ground)]
        for process in stopped:
            ground.trace.fault(fault.kind, process.name)
            loop.pause(process)
        await asyncio.sleep(fault.amount)
        for process in stopped:
            loop.resume(process)


async def _fail_commit(fault: Fault, ground: Ground) -> None:
    """From the moment that an output is made visible, changes of the shared disk fail for a while: some of
    all, or most syncs behind the rename alone."""

    def fails(path: str) -> None:
        if (chance < 0.5 or path == SHARED) and ground.draws.random() < chance:
            ground.trace.fault(fault.kind, SHARED)
            raise OSError(code, os.strerror(code), path)

    chance, code = ground.draws.choice((0.1, 0.3, 0.8)), ground.draws.choice((errno.EIO, errno.ENOSPC))
    if await as_soon_as(lambda: bool(publications(ground)), fault):
        ground.shared.before_change = fails
        try:
            await asyncio.sleep(fault.amount)
        finally:
            ground.shared.before_change = lambda path: None


KINDS: Final = (
    FaultKind("task_kill", _kill_task, draw=drawn(at_some)),
    FaultKind("shuffle_damage", _damage_shuffle, draw=drawn(at_some)),
    FaultKind("part_lost", _lose_part, chance=_RARE),
    FaultKind("kill_tasks", _kill_tasks, draw=waiting(2.0, 6.0), chance=_RARE),
    FaultKind("slow_node", _slow_node, draw=_waiting_at_one(20.0, 60.0), chance=_LESS_RARE),
    FaultKind("crash_mapper", _crash_mapper, draw=waiting(0.1, 2.0, 8.0), chance=_LESS_RARE),
    FaultKind("crash_keeper", _crash_keeper, draw=waiting(0.5, 6.0, 12.0), chance=_OFTEN),
    FaultKind("pause_keeper", _pause_keeper, draw=waiting(4.0, 8.0, 12.0), chance=_OFTEN),
    FaultKind("silent_worker", _silence_worker, draw=waiting(16.0, 45.0), chance=_RARE),
    FaultKind("commit_error", _fail_commit, draw=waiting(2.0, 8.0), chance=_LESS_RARE),
    FaultKind("pause_commit", _pause_commit, draw=waiting(2.0, 6.0), chance=_LESS_RARE),
    FaultKind("memory_taken", _take_memory, draw=_waiting_at_one_or_all(0.5, 5.0, 20.0), chance=_LESS_RARE),
    FaultKind("states_lost", _lose_states, draw=waiting(0.0), chance=_RARE),
)
