"""What happens to a job on its way: one fault a run, at a moment drawn from a seed.

    task_in_map         a task process is killed in the midst of a map
    task_in_reduce      the same of a reduce
    step_in_commit      the process that shows the output, or that of a stage, is killed
    coordinator_in_commit   its node is; half of the time the step is stopped before
    node_in_shuffle     a node is killed when the first reduce fetches: the one that does, or another one
    node_killed         a node that does not coordinate the job is killed while maps run
    node_paused         the same, stopped for 0.5 to 8 s
    coordinator_killed  the coordinator is killed while maps run
    coordinator_paused  the same, stopped for 1 to 9 s: others take its lease after 6 s
    shuffle_flipped     a bit turns in what a map has left for the reduces
    shuffle_changed     another value stands there, under a right checksum of its own
    shuffle_lost        the file is removed
    file_limit          a task process may write no file beyond 4 or 64 KiB: its write fails

A full disk is not among them: it takes a file system of its own, and so the rights of root.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

from chaos.jobs.job_scene import JobScene
from chaos.jobs.job_shapes import JobShape
from chaos.jobs.run_damage import flip_bit, is_finished, replace_value
from chaos.jobs.task_sight import Doing, SeenTask, bound_files, caught, killed, seen_tasks
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.mapreduce.kernel.map_kernel import RUN_NAME

__all__ = ["JOB_FAULTS", "LEFT_OUT", "JobFault", "faults_of"]

LEFT_OUT: Final = {"disk_full": "it takes a file system of its own; file_limit stands for it"}
LATEST_SHARE: Final = 0.8  # of the maps that are done before a fault
LATEST_LINK: Final = 3  # of a chain: as many stages are over before it
NODE_PAUSES_S: Final = (0.5, 3.0, 8.0)
COORDINATOR_PAUSES_S: Final = (1.0, 4.0, 9.0)
FILE_BYTES: Final = (4 << 10, 64 << 10)
Damage = Callable[[Path, Random], bool]


async def _task_killed(scene: JobScene, doing: Doing) -> str:
    await _moment(scene)
    task = await scene.when(lambda: _any_caught(scene, doing))
    return f"{task.pid} of {task.node}" if task is not None and killed(task) else ""


async def _step_killed(scene: JobScene) -> str:
    task = await scene.when(partial(_committing, scene, is_stopped=True))
    return f"{task.pid} of {task.node}" if task is not None and killed(task) else ""


async def _committer_killed(scene: JobScene) -> str:
    is_stopped = scene.chance.random() < 0.5  # else the step may show the output just before its node's end
    task = await scene.when(partial(_committing, scene, is_stopped=is_stopped))
    return _node_gone(scene, task.node) if task is not None else ""


async def _killed_in_shuffle(scene: JobScene) -> str:
    fetching = await scene.when(partial(_fetching, scene))
    if fetching is None:
        return ""
    others = [name for name in scene.nodes.names if name not in (fetching, scene.coordinator)]
    return _node_gone(scene, scene.chance.choice([fetching, scene.chance.choice(others)]))


async def _node_killed(scene: JobScene, *, is_coordinator: bool) -> str:
    await _moment(scene)
    if scene.is_over.is_set():
        return ""
    return _node_gone(scene, scene.coordinator if is_coordinator else scene.other_node())


async def _node_paused(scene: JobScene, pauses_s: Sequence[float], *, is_coordinator: bool) -> str:
    await _moment(scene)
    seconds = scene.chance.choice(pauses_s)
    if scene.is_over.is_set():
        return ""
    name = scene.coordinator if is_coordinator else scene.other_node()
    scene.nodes.pause(name)
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await scene.is_over.wait()
    scene.nodes.resume(name)
    return f"{name} for {seconds:g} s"


async def _run_damaged(scene: JobScene, damage: Damage) -> str:
    await _moment(scene)
    found = await scene.when(partial(_finished_run, scene))
    with suppress(OSError, RingmillError):  # the job may be over, and its files gone
        if found is not None and damage(found[1], scene.chance):
            return f"{_attempt(found[1])} of {found[0]}"
    return ""


async def _files_bounded(scene: JobScene) -> str:
    await _moment(scene)
    most_bytes = scene.chance.choice(FILE_BYTES)
    task = await scene.when(lambda: _any_caught(scene, scene.chance.choice(("map", "reduce"))))
    if task is None or not bound_files(task, most_bytes):
        return ""
    return f"{most_bytes >> 10} KiB for {task.pid} of {task.node} ({task.doing})"


async def _moment(scene: JobScene) -> None:
    """The drawn one, or the end of the job."""
    share, link = scene.chance.random() * LATEST_SHARE, scene.chance.randrange(LATEST_LINK + 1)
    await scene.when(lambda: scene.has_reached(link, share) or None)


def _any_caught(scene: JobScene, doing: Doing) -> SeenTask | None:
    """One that does this, stopped."""
    seen = seen_tasks(scene.nodes, scene.nodes.names, scene.inputs)
    tasks = [task for task in seen if task.doing == doing]
    scene.chance.shuffle(tasks)
    return next((task for task in tasks if caught(task, scene.inputs)), None)


def _committing(scene: JobScene, *, is_stopped: bool) -> SeenTask | None:
    """A step at the coordinator, once there are parts to show."""
    seen = seen_tasks(scene.nodes, [scene.coordinator] if scene.coordinator else [], scene.inputs)
    steps = [task for task in seen if task.doing == "step"]
    if not steps or not scene.has_staged():
        return None
    return next((step for step in steps if not is_stopped or caught(step, scene.inputs)), None)


def _fetching(scene: JobScene) -> str | None:
    """A node at which a reduce fetches, or has begun with what it has fetched."""
    for name in scene.nodes.names:
        with suppress(OSError):  # folders come and go
            if any((scene.nodes.scratch_of(name) / scene.job).glob("reduce-*/in")):
                return name
    return None


def _finished_run(scene: JobScene) -> tuple[str, Path] | None:
    """The output of a map, with its node."""
    found = list[tuple[str, Path]]()
    for name in scene.nodes.names:
        for pattern in (f"map-*/{RUN_NAME}", f"map-*/out/{RUN_NAME}"):
            with suppress(OSError):  # folders come and go
                paths = (scene.nodes.scratch_of(name) / scene.job).glob(pattern)
                found += [(name, path) for path in paths if is_finished(path)]
    return scene.chance.choice(found) if found else None


def _attempt(run: Path) -> str:
    return next(name for name in run.parts if name.startswith("map-"))


def _node_gone(scene: JobScene, name: str) -> str:
    scene.nodes.kill(name)
    return name


def _removed(path: Path, _: Random) -> bool:
    path.unlink()
    return True


@dataclass(frozen=True, slots=True)
class JobFault:
    """`strike` returns what it did, "" when it came to nothing; it ends with the job at the latest."""

    strike: Callable[[JobScene], Awaitable[str]]
    needs_shuffle: bool = False


JOB_FAULTS: Final[Mapping[str, JobFault]] = {
    "task_in_map": JobFault(partial(_task_killed, doing="map")),
    "task_in_reduce": JobFault(partial(_task_killed, doing="reduce"), needs_shuffle=True),
    "step_in_commit": JobFault(_step_killed),
    "coordinator_in_commit": JobFault(_committer_killed),
    "node_in_shuffle": JobFault(_killed_in_shuffle, needs_shuffle=True),
    "node_killed": JobFault(partial(_node_killed, is_coordinator=False)),
    "node_paused": JobFault(partial(_node_paused, pauses_s=NODE_PAUSES_S, is_coordinator=False)),
    "coordinator_killed": JobFault(partial(_node_killed, is_coordinator=True)),
    "coordinator_paused": JobFault(partial(_node_paused, pauses_s=COORDINATOR_PAUSES_S, is_coordinator=True)),
    "shuffle_flipped": JobFault(partial(_run_damaged, damage=flip_bit), needs_shuffle=True),
    "shuffle_changed": JobFault(partial(_run_damaged, damage=replace_value), needs_shuffle=True),
    "shuffle_lost": JobFault(partial(_run_damaged, damage=_removed), needs_shuffle=True),
    "file_limit": JobFault(_files_bounded),
}


def faults_of(shape: JobShape, names: Sequence[str]) -> list[str]:
    """Those of these faults that can befall a job of this shape."""
    return [name for name in names if shape.has_shuffle or not JOB_FAULTS[name].needs_shuffle]
