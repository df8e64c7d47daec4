"""The jobs that this node coordinates: accepts submissions, drives each job to its end, answers questions
about it.

The coordinator of a new job is the first live member in the topology that can have task processes, so that
all nodes choose the same one; any other node passes the submission on.  A job lives in the memory of its
coordinator and fails with that node: its clients see this, and its workers stop by themselves.

See: docs/architecture.md, "Life of a job".
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Final, Self

import msgpack

from ringmill.cluster.errors import InvalidArgument, NotFound, RingmillError, Unavailable
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.messages.well_formed import well_formed
from ringmill.cluster.mapreduce.messages.worker_messages import TASK_REPORT, AttemptReport
from ringmill.cluster.ports import Clock, FileSystem, Handler, Incoming, Priority, TaskStarter, Transport
from ringmill.node.contracts import BundleSource, LivenessView, TopologyView
from ringmill.node.jobs.job_driver import JobDriver, Surroundings
from ringmill.node.jobs.job_step_runner import JobStepRunner
from ringmill.node.jobs.slots import Slots
from ringmill.node.jobs.views import AttemptLog, JobView
from ringmill.node.node_options import CoordinatorOptions

__all__ = ["JOB_KNOWN", "JOB_SUBMIT", "JobCoordinator"]

JOB_SUBMIT: Final = "job.submit"
JOB_KNOWN: Final = "job.known"
_log = logging.getLogger(__name__)
_MAX_KEPT: Final = 100
_SUBMIT_TIMEOUT_S: Final = 10.0
_KNOWN_TIMEOUT_S: Final = 1.0
_WATCH_PAUSE_S: Final = 0.1


class JobCoordinator:
    """`async with` it; register `handlers` with the transport."""

    def __init__(
        self,
        node: NodeId,
        *,
        topology: TopologyView,
        liveness: LivenessView,
        bundles: BundleSource,
        clock: Clock,
        files: FileSystem,
        spawner: TaskStarter,
        transport: Transport,
        options: CoordinatorOptions,
    ) -> None:
        self._job_steps = JobStepRunner(spawner)
        self._world = Surroundings(
            node=node,
            topology=topology,
            liveness=liveness,
            clock=clock,
            files=files,
            job_steps=self._job_steps,
            transport=transport,
            slots=Slots(),
            slot_freed=self.wake,
            options=options,
        )
        self._bundles = bundles
        self._jobs: dict[str, JobDriver] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._planning = asyncio.Lock()
        self._is_closing = False
        self._group = asyncio.TaskGroup()
        liveness.on_change(lambda node, state: self.wake())

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing = True
        for task in self._tasks.values():
            task.cancel()
        await self._group.__aexit__(kind, error, trace)

    def handlers(self) -> Mapping[str, Handler]:
        return {JOB_SUBMIT: self._on_submit, JOB_KNOWN: self._on_known, TASK_REPORT: self._on_report}

    def wake(self) -> None:
        for job in self._jobs.values():
            job.wake()

    @property
    def taker(self) -> NodeId | None:
        """The first member that seems up; it passes a job on when it has no task processes."""
        return next(iter(self._world.members_up()), None)

    async def submit(self, job: str, spec: bytes) -> NodeId:
        """Submit a job; returns its coordinator.  A repeated submission is the same job.

        Raises InvalidArgument for a description, input or output that is not valid; NotFound when the code
        was not uploaded before; Unavailable when no member could accept it.
        """
        if JobSpec.decode(spec).job != job:
            raise InvalidArgument(f"job {job!r} is submitted with the description of another")
        keeper = await self._keeper(job)
        if keeper is not None:
            return keeper
        for node in self._world.members_up():
            try:
                return await self._hand_to(node, job, spec)
            except Unavailable as error:
                if error.outcome != "failed":
                    raise
        raise Unavailable("no member of the cluster can take a job now", outcome="failed")

    def view(self, job: str) -> JobView:
        """Raises NotFound."""
        return self._job(job).view()

    def views(self) -> list[JobView]:
        """All jobs kept here, newest first."""
        return [job.view() for job in reversed(self._jobs.values())]

    async def watch(self, job: str) -> AsyncIterator[JobView]:
        """Yield the job now, then at every change (at most ten times a second), until it is over."""
        run = self._job(job)
        while True:
            changed = run.changed
            view = run.view()
            yield view
            if view.is_over:
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_WATCH_PAUSE_S):
                    await run.over.wait()
            await changed.wait()

    def logs(self, job: str, task: str) -> list[AttemptLog]:
        """The output of ended attempts of a task, or of all tasks if it is "".  Raises NotFound."""
        return self._job(job).logs(task)

    async def kill(self, job: str) -> JobView:
        """Stop a job.  A job that is over or is committing its output does not change.  Raises NotFound."""
        run = self._job(job)
        run.kill()
        return run.view()

    async def _keeper(self, job: str) -> NodeId | None:
        """The node that coordinates this job already, or None."""
        if job in self._jobs:
            return self._world.node
        others = [node for node in self._world.members_up() if node != self._world.node]
        answers = await gather_all(self._knows(node, job) for node in others)
        return next((node for node, knows in zip(others, answers, strict=True) if knows), None)

    async def _knows(self, node: NodeId, job: str) -> bool:
        try:
            return bool(await self._ask(node, JOB_KNOWN, job.encode(), _KNOWN_TIMEOUT_S))
        except RingmillError:
            return False  # a node that does not answer could not accept the job either

    async def _hand_to(self, node: NodeId, job: str, spec: bytes) -> NodeId:
        await self._ask(node, JOB_SUBMIT, msgpack.packb([job, spec]), _SUBMIT_TIMEOUT_S)
        return node

    async def _on_submit(self, incoming: Incoming) -> bytes:
        with well_formed("a submission"):
            _, encoded = msgpack.unpackb(incoming.body)
            spec = JobSpec.decode(encoded)
        await self._accept(spec, incoming.sender)
        return b""

    async def _on_known(self, incoming: Incoming) -> bytes:
        return b"1" if incoming.body in {job.encode() for job in self._jobs} else b""

    def _on_report(self, incoming: Incoming) -> bytes:
        report = AttemptReport.decode(incoming.body)
        run = self._jobs.get(report.job)
        if run is None or run.is_over:
            raise NotFound(f"job {report.job} does not run on {self._world.node}")
        run.hear(report)
        return b""

    async def _accept(self, spec: JobSpec, bundle_from: NodeId) -> NodeId:
        """Accept the job; every check that can refuse it is made here."""
        if spec.job not in self._jobs:
            await self._bundles.ensure(spec.bundle_sha256, bundle_from)
            async with self._planning:  # each makes its staging folder anew: never two of one job
                if spec.job not in self._jobs:
                    run = JobDriver(spec, await self._job_steps.plan(spec), self._world)
                    if self._is_closing:
                        raise Unavailable(f"{self._world.node} stops and takes no job", outcome="failed")
                    self._begin(run)
        if self._jobs[spec.job].spec != spec:
            raise InvalidArgument(f"job id {spec.job!r} is taken by another job")
        return self._world.node

    def _begin(self, run: JobDriver) -> None:
        over = [name for name, kept in self._jobs.items() if kept.is_over]
        for name in over[: max(0, len(over) - _MAX_KEPT + 1)]:
            del self._jobs[name]
        self._jobs[run.spec.job] = run
        self._tasks[run.spec.job] = self._group.create_task(self._run(run))

    async def _run(self, run: JobDriver) -> None:
        try:
            await run.run()
        except Exception as error:  # noqa: BLE001 - the fault of one job must not end the node
            _log.error("job %s ends by a fault of its coordinator", run.spec.job, exc_info=error)
            run.crash(error)
        finally:
            self._tasks.pop(run.spec.job, None)
            self.wake()  # its slots are free

    def _job(self, job: str) -> JobDriver:
        run = self._jobs.get(job)
        if run is None:
            raise NotFound(f"no job {job!r} on {self._world.node}", hint="see `ringmill job list`")
        return run

    async def _ask(self, node: NodeId, method: str, body: bytes, timeout_s: float) -> bytes:
        return await self._world.transport.call(
            node, method, body, timeout_s=timeout_s, priority=Priority.CONTROL
        )
