"""Keeps a task process warm between attempts of one job.

A process has run user code, so it is reused only for the same job, and never after a failure: what its
modules keep is of that job's parameters and files, and one that is contained may read no other's.  Before it
is kept, its printed output is taken and its leftover child processes are ended, so that attempts share
nothing but modules.  There is at most one idle process per slot; an attempt of another job ends the one that
has been idle longest.

See: docs/architecture.md, "Task processes".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ringmill.cluster.mapreduce.messages.reach import Reach
from ringmill.cluster.ports import TaskProcess, TaskStarter
from ringmill.node.node_options import TASK_ENVIRONMENT, family_limits

__all__ = ["END_S", "PooledProcess", "ProcessKind", "TaskPool"]

END_S: Final = 5.0


class ProcessKind(NamedTuple):
    """A kind of process; one is reused only for attempts of the same kind."""

    bundle: str  # its SHA-256
    memory_factor: int = 1  # of the memory limit
    memory_mib: int = 0  # that limit; 0 for the pool's
    reach: Reach | None = None  # what it may reach; a process cannot be given more
    job: str = ""


class PooledProcess(NamedTuple):
    """A process that the pool has started."""

    kind: ProcessKind
    number: int  # from 1; no other process of this pool has it
    process: TaskProcess


@dataclass(slots=True, kw_only=True)
class TaskPool:
    """Hands out task processes.  `close` kills the idle ones; those handed out are their holder's.

    `within` bounds the wait for the end of a process: while the node stops, by what the stop has left (rule
    T10).
    """

    spawner: TaskStarter
    slots: int
    limits: Mapping[str, int]
    within: Callable[[float], float] = lambda most_s: most_s
    is_able: bool = True  # the last start of a process did not fail
    _idle: list[PooledProcess] = field(default_factory=list)
    _started: int = 0

    async def take(self, kind: ProcessKind, folder: str, *, is_new: bool = False) -> PooledProcess:
        """An idle process of this kind, or a new one in `folder`.  Raises ChildProcessError."""
        self._idle = [each for each in self._idle if each.process.is_alive]
        for index in () if is_new else reversed(range(len(self._idle))):
            if self._idle[index].kind == kind:
                return self._idle.pop(index)
        while len(self._idle) >= self.slots:
            await self.end(self._idle.pop(0).process)
        self._started += 1
        number = self._started
        return PooledProcess(kind, number, await self._start(folder, self.limits_of(kind)))

    @property
    def has_idle(self) -> bool:
        """Whether a process waits for another attempt."""
        return bool(self._idle)

    async def try_again(self, folder: str) -> None:
        """Try to start a process; `is_able` then tells whether processes can be started."""
        with contextlib.suppress(ChildProcessError):
            await self.end(await self._start(folder, self.limits))

    async def _start(self, folder: str, limits: Mapping[str, int]) -> TaskProcess:
        try:
            process = await self.spawner.start_task(
                workdir=folder, environment=TASK_ENVIRONMENT, limits=limits
            )
        except ChildProcessError:
            self.is_able = False
            raise
        self.is_able = True
        return process

    async def give_back(self, pooled: PooledProcess) -> None:
        """Keep a process whose attempt succeeded."""
        self._idle.append(pooled)
        while len(self._idle) > self.slots:
            await self.end(self._idle.pop(0).process)

    def limits_of(self, kind: ProcessKind) -> Mapping[str, int]:
        """With the memory that this kind may use."""
        return family_limits(self.limits, kind.memory_mib, kind.memory_factor)

    async def end_those_of(self, job: str) -> None:
        """End the idle processes of a job, which is gone, or about to go."""
        of_it = [each for each in self._idle if each.kind.job == job]
        self._idle = [each for each in self._idle if each not in of_it]
        for each in of_it:
            await self.end(each.process)

    async def close(self) -> None:
        while self._idle:
            await self.end(self._idle.pop().process)

    async def end(self, process: TaskProcess) -> None:
        """Kill and bury, for END_S at most.  One that hangs in the kernel ends when that lets it go; its slot
        is of use to others meanwhile."""
        process.kill()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self.within(END_S)):
                await process.wait()
