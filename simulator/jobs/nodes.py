"""Nodes that run jobs: task processes beside them, and a file system that all of them see at /shared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from random import Random
from typing import Final

from ringmill.cluster.ports import FileSystem
from ringmill.node.core import Doors
from ringmill.simulator.disk.folder_tree import FolderTree
from ringmill.simulator.disk.moment import CrashModel
from ringmill.simulator.door import Door
from ringmill.simulator.jobs.tasks import TaskSpawner
from ringmill.simulator.node_process import NodeProcess, NodeRun
from ringmill.simulator.seeds import stream

__all__ = ["SHARED", "JobNode", "TaskPace"]

SHARED: Final = "/shared"


@dataclass(frozen=True, slots=True)
class TaskPace:
    """How long a stop of a task lasts at most, in seconds, and how often it stops before a change."""

    pause_s: float
    stop_chance: float

    @classmethod
    def draw(cls, draws: Random, pause_s: float | None = None) -> TaskPace:
        drawn_s, stop_chance = draws.choice((0.002, 0.05, 0.3)), draws.choice((0.1, 0.4, 1.0))
        return cls(drawn_s if pause_s is None else pause_s, stop_chance)


class JobNode(NodeProcess):
    """`mount` before the first start."""

    shared: FolderTree
    pace: TaskPace
    spawner: TaskSpawner | None = None

    def mount(self, shared: FolderTree, pace: TaskPace) -> None:
        self.shared, self.pace = shared, pace

    def kill(self, model: CrashModel | None) -> None:
        super().kill(model)
        self._kill_tasks()

    async def stop(self) -> None:
        await super().stop()
        self._kill_tasks()

    def _kill_tasks(self) -> None:
        """A task process dies with its node."""
        if self.run is None and self.spawner is not None:
            self.spawner.kill_all()

    def _doors(self, run: NodeRun, number: int) -> Doors:
        doors = super()._doors(run, number)
        world = self._world

        def mounted(path: str) -> FileSystem:
            return self.shared if _is_shared(path) else run.files

        def before(path: str) -> None:
            if _is_shared(path):
                run.files.check_writable(path)

        files = Door(mounted, before)
        owner = f"{self.name}/{number}"
        self.spawner = TaskSpawner(
            stream(world.seed, f"{owner}/tasks"),
            owner=owner,
            loop=world.loop,
            files=files,
            trace=world.trace,
            pace_s=self.pace.pause_s,
            stop_chance=self.pace.stop_chance,
        )
        return replace(doors, files=files, spawner=self.spawner)


def _is_shared(path: str) -> bool:
    return f"{path}/".startswith(f"{SHARED}/")
