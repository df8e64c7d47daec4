"""Faults that only jobs feel: a killed task process, a damaged map output, a part file that somebody deletes,
one power cut for everything."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from random import Random
from typing import Final

from ringmill.simulator.disk.folder_tree import FolderTree
from ringmill.simulator.disk.lossy import LossyDisk
from ringmill.simulator.faults import CLOCK, LINK, PROCESS, SPLIT, Fault, draw_faults
from ringmill.simulator.injector import Injector
from ringmill.simulator.jobs.nodes import SHARED, JobNode
from ringmill.simulator.seeds import stream

__all__ = ["JOB_KINDS", "JobInjector", "draw_job_faults"]

_RARE: Final = ("part_lost", "crash_mapper")
"""Drawn beside the others and from a stream of their own, so that seeds of former days keep their meaning."""
JOB_KINDS: Final = (
    *PROCESS, *CLOCK, *SPLIT, *LINK, "disk_error", "disk_full", "disk_slow", "task_kill", "shuffle_damage",
    *_RARE,
)  # fmt: skip
_RARE_CHANCE: Final = 0.08

_SCRATCH: Final = "/data/scratch"
_LOOK_EVERY_S: Final = 0.02


def draw_job_faults(seed: int, kinds: tuple[str, ...], nodes: list[str], horizon_s: float) -> list[Fault]:
    """The faults of a run of jobs: those of any run, then at most one of each rare kind."""
    usual = tuple(kind for kind in kinds if kind not in _RARE)
    faults = draw_faults(stream(seed, "faults"), usual, nodes, horizon_s)
    for kind in _RARE:
        draws = stream(seed, f"faults/{kind}")
        fault = _draw_rare(draws, kind, nodes, horizon_s)
        if kind in kinds and draws.random() < max(_RARE_CHANCE, 1 / (2 * len(kinds))):
            faults.append(fault)
    return faults


def _draw_rare(draws: Random, kind: str, nodes: list[str], horizon_s: float) -> Fault:
    """It strikes as soon as it can within its time."""
    return Fault(draws.random() * horizon_s, kind, (draws.choice(nodes),), draws.choice((0.5, 2.0, 8.0)))


class JobInjector(Injector):
    async def _crash_all(self, fault: Fault) -> None:
        """With the nodes the shared disk loses power: all of it is one machine."""
        model = self._crash_model()
        nodes = [self._node(name) for name in fault.nodes]
        for node in nodes:
            self._kill(node.name, model, fault.kind)
        if model is not None:
            nodes[0].shared.cut_power(model, self._draws)
        for node in nodes:
            await asyncio.sleep(fault.lasts_s * self._draws.random())
            self._start([node.name])

    async def _task_kill(self, fault: Fault) -> None:
        """Kill a task process at work, as soon as there is one."""
        node = self._node(fault.nodes[0])
        for _ in range(_looks(fault)):
            working = [task for task in node.spawner.running() if task.work] if node.spawner else []
            if node.run is not None and working:
                self._trace.fault(fault.kind, node.name)
                self._draws.choice(working).kill()
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _shuffle_damage(self, fault: Fault) -> None:
        """Turn a bit of a map output, as soon as there is one."""
        node = self._node(fault.nodes[0])
        for _ in range(_looks(fault)):
            if outputs := _map_outputs(node):
                path = self._draws.choice(outputs)
                self._trace.fault(fault.kind, node.name)
                disk = node.disk.lossy
                disk.flip(path, self._draws.randrange(disk.size(path)), 1 << self._draws.randrange(8))
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _part_lost(self, fault: Fault) -> None:
        """Delete a part that a reduce has left in its job's hidden folder, as soon as there is one."""
        shared = self._node(fault.nodes[0]).shared
        for _ in range(_looks(fault)):
            if parts := _staged_parts(shared):
                self._trace.fault(fault.kind, SHARED)
                shared.unlink(self._draws.choice(parts))
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _crash_mapper(self, fault: Fault) -> None:
        """Crash a node that has mapped while others reduce what they have fetched from it."""
        for _ in range(_looks(fault)):
            if mappers := [node.name for node in self._idle_mappers()]:
                await self._crash(replace(fault, nodes=(self._draws.choice(mappers),)))
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    def _idle_mappers(self) -> list[JobNode]:
        """Nodes with map outputs that neither reduce nor keep a job, while another reduces."""
        nodes = [self._node(name) for name in self._nodes]
        reducing = [node for node in nodes if _is_reducing(node)]
        idle = [node for node in nodes if node not in reducing and not _keeps_a_job(node)]
        return [node for node in idle if reducing and _map_outputs(node)]

    def _node(self, name: str) -> JobNode:
        node = self._nodes[name]
        assert isinstance(node, JobNode), f"{name} runs no jobs"
        return node


def _looks(fault: Fault) -> int:
    return 1 + int(fault.lasts_s / _LOOK_EVERY_S)


def _is_reducing(node: JobNode) -> bool:
    return node.spawner is not None and any(task.is_reducing for task in node.spawner.running())


def _keeps_a_job(node: JobNode) -> bool:
    return node.node is not None and not all(view.is_over for view in node.node.jobs.views())


def _map_outputs(node: JobNode) -> list[str]:
    """Files in folders of map attempts that hold anything."""
    disk = node.disk.lossy
    attempts = [inner for job in _inside(disk, _SCRATCH) for inner in _inside(disk, job)]
    found = [path for attempt in attempts if "/map-" in attempt for path in _inside(disk, attempt)]
    return [path for path in found if disk.exists(path) and not disk.is_dir(path) and disk.size(path)]


def _staged_parts(shared: FolderTree) -> list[str]:
    """Parts in the folders of reduce attempts: nothing has been moved out of there yet."""
    jobs = [job for job in _inside(shared, SHARED) if ".ringmill-" in job]
    attempts = [inner for job in jobs for inner in _inside(shared, job) if "/reduce-" in inner]
    return [path for attempt in attempts for path in _inside(shared, attempt) if "/part-" in path]


def _inside(disk: LossyDisk | FolderTree, folder: str) -> list[str]:
    return [f"{folder}/{name}" for name in disk.list(folder)] if disk.is_dir(folder) else []
