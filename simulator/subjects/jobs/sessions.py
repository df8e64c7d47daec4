"""Clients that have jobs run: the production job client over simulated links."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, TypeVar

import msgpack
from google.protobuf.message import Message

from ringmill.client.jobs.job_values import JobState, job_state
from ringmill.client.jobs.jobs import AsyncJobs
from ringmill.client.routing.directory import Directory
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.bundle import Bundle
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.ports import BatchTransport, Entropy, FileSystem, Priority, Transport
from ringmill.cluster.wire.stubs.jobs_pb2 import JobStatus
from ringmill.simulator.job_history import JobRecord, JobReport
from ringmill.simulator.subjects.objects.sessions import SimulatedLink

__all__ = ["JobSession", "PlannedJob"]

Answer = TypeVar("Answer", bound=Message)
_LOOK_EVERY_S: Final = 0.1
_SUBMITS: Final = 3
_ASKS: Final = 20


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """A job that a client will submit.  `kill_after_s` is None for one that may end by itself."""

    index: int
    spec: JobSpec
    pause_s: float
    kill_after_s: float | None
    pause_after_s: float | None = None
    pause_for_s: float = 0.0
    is_repeated: bool = False  # asked for again, under the same id, while its fate is unknown


class SimulatedJobLink:
    """A node's Jobs service.  `stream` looks again and again until the job is over; the real one is told."""

    def __init__(self, transport: Transport, node: NodeId) -> None:
        self._transport = transport
        self._node = node

    async def unary(self, path: str, request: Message, answer: type[Answer], timeout_s: float) -> Answer:
        return answer.FromString(await self._call(path, request.SerializeToString(), timeout_s))

    async def upload(
        self, path: str, requests: AsyncIterable[Message], answer: type[Answer], timeout_s: float
    ) -> Answer:
        chunks = [each.SerializeToString() async for each in requests]
        return answer.FromString(await self._call(path, msgpack.packb(chunks), timeout_s))

    async def stream(
        self, path: str, request: Message, answer: type[Answer], timeout_s: float | None
    ) -> AsyncIterator[Answer]:
        while True:
            seen = await self.unary("/Status", request, answer, 1.0)
            yield seen
            if isinstance(seen, JobStatus) and job_state(seen).is_over:
                return
            await asyncio.sleep(_LOOK_EVERY_S)

    async def _call(self, path: str, body: bytes, timeout_s: float) -> bytes:
        method = f"jobs.{path.rpartition('/')[2]}"
        return await self._transport.call(
            self._node, method, body, timeout_s=timeout_s, priority=Priority.CONTROL
        )


class JobSession:
    """One client.  `async with` is inside."""

    def __init__(
        self,
        transport: BatchTransport,
        nodes: Mapping[str, NodeId],
        entropy: Entropy,
        timeout_s: float,
        *,
        directory: type[Directory] = Directory,
    ) -> None:
        self._transport = transport
        self._nodes = nodes
        self._timeout_s = timeout_s
        self._directory = directory(list(nodes), lambda at: SimulatedLink(transport, nodes[at]))
        self._jobs = AsyncJobs(self._directory, self._dial, _no_files, entropy, timeout_s)

    async def work_off(self, plan: PlannedJob, bundle: Bundle, record: JobRecord) -> None:
        """Submit, watch to the end, and keep what was told."""
        await asyncio.sleep(plan.pause_s)
        async with self._directory:
            try:
                await self._directory.learn(self._timeout_s)
            except RingmillError as error:
                record.trouble.append(str(error))
            for _ in range(_SUBMITS if plan.is_repeated else 1):
                if await self._submit_and_watch(plan, bundle, record):
                    return
                await asyncio.sleep(self._timeout_s)

    async def _submit_and_watch(self, plan: PlannedJob, bundle: Bundle, record: JobRecord) -> bool:
        """Whether the job's fate is known."""
        record.submits += 1
        try:
            await self._jobs.hand_over(bundle, plan.spec)
            record.is_accepted = True
            async with asyncio.TaskGroup() as group:
                asking = [
                    group.create_task(work(plan, record)) for work in (self._kill, self._pause_for_a_while)
                ]
                async for state in self._jobs.watch(plan.spec.job):
                    _note_change(record, state)
                for task in asking:
                    task.cancel()
        except RingmillError as error:
            record.trouble.append(f"{error.code}: {error}")
            return False
        except ExceptionGroup as errors:
            if errors.split(RingmillError)[1] is not None:
                raise  # a bug of the client
            record.trouble.append(str(errors.exceptions[0]))
            return False
        return True

    async def _pause_for_a_while(self, plan: PlannedJob, record: JobRecord) -> None:
        if plan.pause_after_s is None:
            return
        await asyncio.sleep(plan.pause_after_s)
        record.is_paused = True
        before = await self._ask_until_answered(record, self._jobs.pause)
        await asyncio.sleep(plan.pause_for_s)
        after = await self._ask_until_answered(record, self._jobs.status)
        if before is not None and after is not None:
            record.in_pauses.append((_attempts(before), _attempts(after)))
        await self._resume(record)

    async def _resume(self, record: JobRecord) -> None:
        if await self._ask_until_answered(record, self._jobs.resume) is not None:
            record.is_paused = False

    async def _ask_until_answered(
        self, record: JobRecord, ask: Callable[[str], Awaitable[JobState]]
    ) -> JobState | None:
        """Ask until somebody answers.  Returns None when nobody does for long."""
        for _ in range(_ASKS):
            try:
                return await ask(record.job)
            except RingmillError as error:
                record.trouble.append(f"{error.code}: {error}")
            await asyncio.sleep(self._timeout_s)
        return None

    async def let_go_on(self, record: JobRecord) -> None:
        """Resume a job whose client may have left it paused."""
        async with self._directory:
            await self._resume(record)

    async def look_up(self, record: JobRecord, within_s: float) -> None:
        """Ask for a job that was accepted until it is over, and note what is told of it."""
        ends_at = asyncio.get_running_loop().time() + within_s
        async with self._directory:
            while asyncio.get_running_loop().time() < ends_at:
                try:
                    state = await self._jobs.status(record.job)
                except RingmillError as error:
                    record.lost_as = f"{error.code}: {error}"
                else:
                    record.lost_as = f"{state.state} on {state.node}"
                    if state.is_over:
                        record.lost_as = ""
                        record.told.append(report_of(asyncio.get_running_loop().time(), state))
                        return
                await asyncio.sleep(1.0)

    async def _kill(self, plan: PlannedJob, record: JobRecord) -> None:
        if plan.kill_after_s is None:
            return
        await asyncio.sleep(plan.kill_after_s)
        try:
            _note_change(record, await self._jobs.kill(plan.spec.job))
        except RingmillError as error:
            record.trouble.append(f"kill: {error}")

    @asynccontextmanager
    async def _dial(self, address: str) -> AsyncIterator[SimulatedJobLink]:
        yield SimulatedJobLink(self._transport, self._nodes[address])


def _attempts(state: JobState) -> int:
    return sum(task.attempts for task in state.tasks)


def report_of(at: float, state: JobState) -> JobReport:
    error = state.error
    cause = "" if error is None else str(error.detail.get("cause", error.code))
    text = "" if error is None else f"{error.code}: {error}"
    return JobReport(at, state.node, state.state, dict(state.records), dict(state.counters), text, cause)


def _note_change(record: JobRecord, state: JobState) -> None:
    if not record.told or record.told[-1].state != state.state or record.told[-1].node != state.node:
        record.told.append(report_of(asyncio.get_running_loop().time(), state))


def _no_files() -> AbstractContextManager[FileSystem]:
    raise NotImplementedError("simulated clients hand over packed jobs")
