"""Has a job planned and its output published in a task process, so that the node's loop waits for no file.

One fresh process each time: it runs no user code and is gone after its answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from cluster.errors import RingmillError, from_wire
from cluster.mapreduce.input_plan import InputPlan
from cluster.mapreduce.output_commit import StagedPart
from cluster.mapreduce.spec import JobSpec
from cluster.mapreduce.task_messages import Chore, Said
from cluster.ports import TaskProcess

__all__ = ["Chores", "TaskStarter"]

_PLAN_TIMEOUT_S: Final = 60.0
_PUBLISH_TIMEOUT_S: Final = 600.0
_TRIES: Final = 3
_LIMITS: Final = {"as_bytes": 2 * 1024 * 1024 * 1024}


class TaskStarter(Protocol):
    """The half of the Spawner door that is needed here."""

    async def start_task(
        self, *, workdir: str, environment: Mapping[str, str], limits: Mapping[str, int]
    ) -> TaskProcess: ...


@dataclass(frozen=True, slots=True)
class Chores:
    spawner: TaskStarter

    async def plan(self, spec: JobSpec) -> InputPlan:
        """As chores.plan_job (cluster.mapreduce)."""
        return InputPlan.from_wire(await self._have_done(Chore("plan", spec.encode()), _PLAN_TIMEOUT_S))

    async def publish(self, spec: JobSpec, parts: Sequence[StagedPart]) -> None:
        """As chores.publish_output (cluster.mapreduce); tried again when its process was killed."""
        rows = [[part.partition, part.path, part.size, part.crc32c, part.records] for part in parts]
        for attempt in range(_TRIES):
            try:
                await self._have_done(Chore("publish", spec.encode(), rows, attempt > 0), _PUBLISH_TIMEOUT_S)
            except _Interrupted:
                if attempt == _TRIES - 1:
                    raise
            else:
                return

    async def _have_done(self, chore: Chore, timeout_s: float) -> Any:
        try:
            process = await self.spawner.start_task(workdir="/", environment={}, limits=_LIMITS)
        except ChildProcessError as error:
            raise _Interrupted(f"no process to {chore.what} the job: {error}") from error
        try:
            async with asyncio.timeout(timeout_s):
                await process.send(chore.encode())
                said = Said.decode(await process.receive())
        except TimeoutError as error:
            raise RingmillError(f"{chore.what} of the job took longer than {timeout_s:g} s") from error
        except (EOFError, BrokenPipeError, ValueError) as error:
            raise _Interrupted(f"{chore.what} of the job broke off: {error}") from error
        finally:
            process.kill()
            await process.wait()
        if said.kind == "refused":
            raise from_wire(said.body)
        return said.body


class _Interrupted(RingmillError):
    """The process ended before it answered."""
