"""The jobs of the cluster as this node sees them: it accepts submissions or passes them on, coordinates jobs
while it holds the coordinator's lease, and answers questions.

Who holds the lease (rule R6) coordinates all jobs, nobody while there is none.  The first live member in the
topology that can have task processes takes it when a job is submitted, and whoever finds that jobs are open
and nobody renews it.  Members look when they start, when one seems down, and while they know of open jobs.

See: docs/architecture.md, "Life of a job".  Rules J12, J13 and J32: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from functools import partial
from types import TracebackType
from typing import Final, Self

import msgpack

from ringmill.cluster.complaints import Complaints
from ringmill.cluster.consensus.lease import decode_lease
from ringmill.cluster.consensus.leases import AsyncLease
from ringmill.cluster.errors import DeadlineExceeded, InvalidArgument, NotFound, RingmillError, Unavailable
from ringmill.cluster.gathering import first_of
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.machine.job_events import (
    Event,
    KillRequested,
    PauseRequested,
    ResumeRequested,
)
from ringmill.cluster.mapreduce.messages.worker_messages import TASK_REPORT
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary
from ringmill.cluster.mapreduce.well_formed import well_formed
from ringmill.cluster.membership.claims import MemberState
from ringmill.cluster.membership.stop_time import StopTime
from ringmill.cluster.overload.giving_way import never, put_off
from ringmill.cluster.ports import Clock, Entropy, FileSystem, Handler, Incoming, TaskStarter, Transport
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.traces.spans import Tracer
from ringmill.node.contracts import BundleSource, KeyspaceAccess, LivenessView, RegisterAccess, TopologyView
from ringmill.node.jobs.asked.purged_jobs import PurgedJobs
from ringmill.node.jobs.asked.takers import Takers
from ringmill.node.jobs.asked.watched_job import views_of
from ringmill.node.jobs.handing_over import JOB_TAKE, TAKE_TIMEOUT_S, have_others_take
from ringmill.node.jobs.job_driver import JobDriver
from ringmill.node.jobs.job_history import JobHistory, TaskRow
from ringmill.node.jobs.job_step_runner import JobStepRunner
from ringmill.node.jobs.journal.cells import Cells, Fenced, LeaseCell, node_of
from ringmill.node.jobs.reported import own_reports
from ringmill.node.jobs.slots import Slots
from ringmill.node.jobs.surroundings import Surroundings
from ringmill.node.jobs.tenure import JOB_OPEN, Tenure
from ringmill.node.jobs.views import AttemptLog, CoordinatorView, JobView, ListView
from ringmill.node.node_options import CoordinatorOptions

__all__ = ["JOB_HANDOVER", "JOB_PURGE", "JOB_SUBMIT", "JobCoordinator"]

JOB_SUBMIT: Final = "job.submit"
JOB_PURGE: Final = "job.purge"
JOB_HANDOVER: Final = "job.handover"
_HANDOVER_TIMEOUT_S: Final = 8.0
_NOTED_TIMEOUT_S: Final = 4.0
_AGAIN_S: Final = 0.2
_MOST_PUT_OFF_S: Final = 10.0
_REPLAY_PAUSE_S: Final = 0.01
_LOOK_AGAIN_S: Final = 1.0


class JobCoordinator:
    """`async with` it; register `handlers` with the transport."""

    def __init__(
        self,
        node: NodeId,
        *,
        topology: TopologyView,
        liveness: LivenessView,
        registers: RegisterAccess,
        keyspaces: KeyspaceAccess,
        bundles: BundleSource,
        clock: Clock,
        wall: Callable[[], float],
        entropy: Entropy,
        files: FileSystem,
        spawner: TaskStarter,
        transport: Transport,
        options: CoordinatorOptions,
        is_busy: Callable[[], bool] = never,
        tracer: Tracer | None = None,
        stop_time: StopTime | None = None,
    ) -> None:
        self._cells = Cells(registers)
        self._stop_time = stop_time or StopTime(clock)
        self._world = Surroundings(
            node=node,
            topology=topology,
            liveness=liveness,
            clock=clock,
            wall=wall,
            files=files,
            job_steps=JobStepRunner(spawner, options.containment, within=self._stop_time.within),
            bundles=bundles,
            cells=self._cells,
            keyspaces=keyspaces,
            transport=transport,
            slots=Slots(clock.monotonic),
            slot_freed=self.wake,
            rest=partial(put_off, is_busy, _MOST_PUT_OFF_S),
            options=options,
            tracer=tracer,
        )
        self._ask, self._entropy, self._bundles = self._world.ask, entropy, bundles
        self._history = JobHistory(self._cells, wall)
        self._complaints = Complaints(node, clock)
        self._jobs: dict[str, JobDriver] = {}
        self._purged, self._takers = PurgedJobs(self._world, self._jobs), Takers(self._world)
        self._tenure: Tenure | None = None
        self._wanted = asyncio.Event()  # this node is to take the lease when it is free
        self._looks = asyncio.Event()  # it is to look whether jobs are open
        self._poked = asyncio.Event()  # the lease may have become free
        self._leaving = asyncio.Event()  # the lease is handed over
        self._changed = asyncio.Event()
        self._waiting = 0  # submissions that wait for this node's tenure
        self._is_closing = self._is_holding = False
        self._group = asyncio.TaskGroup()
        self._loops: list[asyncio.Task[None]] = []
        liveness.on_change(self._note_change)

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        self._loops = [
            self._group.create_task(self._hold_the_lease()),
            self._group.create_task(self._look_for_jobs()),
        ]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing = True
        for task in self._loops:
            task.cancel()
        await self._group.__aexit__(kind, error, trace)

    def handlers(self) -> Mapping[str, Handler]:
        return {
            **self._purged.handlers(),
            JOB_SUBMIT: self._on_submit,
            JOB_PURGE: self._on_purge,
            JOB_OPEN: self._on_open,
            JOB_TAKE: self._on_take,
            JOB_HANDOVER: self._on_handover,
            TASK_REPORT: self._on_report,
        }

    def wake(self) -> None:
        for job in self._jobs.values():
            job.wake()

    @property
    def taker(self) -> NodeId | None:
        """The first member that seems up; it passes a job on when it has no task processes."""
        return next(iter(self._world.members_up()), None)

    @property
    def open_jobs(self) -> int:
        """How many jobs this node coordinates."""
        return 0 if self._tenure is None else self._tenure.open_jobs

    async def submit(self, job: str, spec: bytes) -> NodeId:
        """Submit a job; returns its coordinator.  A repeated submission is the same job.

        Raises InvalidArgument for a description, input or output that is not valid; NotFound when the code
        was not uploaded before; Unavailable when no member could accept it.
        """
        if JobSpec.decode(spec).job != job:
            raise InvalidArgument(f"job {job!r} is submitted with the description of another")
        node, _ = await self._takers.have(JOB_SUBMIT, msgpack.packb([job, spec]), self._tenure is not None)
        return node

    async def view(self, job: str, *, noted: bool = False) -> JobView:
        """A job that is over or runs here; with `noted` any, by its journal.  Raises RingmillError."""
        run = self._jobs.get(job)
        return run.view() if run is not None else await self._history.view(job, noted=noted)

    def views(self) -> list[JobView]:
        """The jobs that this node coordinates or has coordinated, newest first."""
        return [job.view() for job in reversed(self._jobs.values())]

    async def all_views(self) -> ListView:
        """The same, and what the list of jobs has of all others.  Raises RingmillError."""
        mine = self.views()
        try:
            listed = await self._history.listed()
        except RingmillError:
            if not mine:
                raise
            return ListView(tuple(mine), 0)
        others = (view for view in listed.jobs if view.job not in self._jobs)
        return ListView((*mine, *others), listed.term)

    async def watch(self, job: str) -> AsyncIterator[JobView]:
        """Yield the job now, then as `views_of` says.  Raises NotFound; Unavailable once another node
        coordinates it."""
        run = self._jobs.get(job)
        if run is None:
            yield await self._history.view(job)
            return
        async with contextlib.aclosing(views_of(run)) as views:
            async for view in views:
                yield view

    async def logs(self, job: str, task: str) -> list[AttemptLog]:
        """The output of ended attempts of a task, or of all tasks if it is "".

        Raises NotFound for a job that this node has not coordinated to its end, and does not.
        """
        run = self._jobs.get(job)
        if run is None:
            view = await self._history.view(job)
            raise NotFound(f"the logs of job {job} were kept by {view.node} until it stopped")
        return run.logs(task)

    async def attempts(self, job: str, *, noted: bool = False) -> Iterator[AttemptSummary]:
        """The attempts of a job, like `view`.  Raises NotFound, Unavailable."""
        run = self._jobs.get(job)
        here = run.attempts() if run is not None else None
        return here if here is not None else await self._history.attempts(job, noted=noted)

    async def task(self, job: str, task: str) -> TaskRow:
        """What a map task of a job runs.  Raises NotFound, Unavailable."""
        return await self._history.task(job, task)

    async def kill(self, job: str) -> JobView:
        """Stop a job.  A job that is over or is committing its output does not change.

        Raises NotFound, Unavailable; DeadlineExceeded, with outcome "unknown", if that cannot be noted now.
        """
        return await self._asked(job, KillRequested(), "stop", "it may go on")

    async def pause(self, job: str) -> JobView:
        """Let a job begin nothing more (rule J21).  Like `kill` otherwise."""
        return await self._asked(job, PauseRequested(), "pause", "it may go on")

    async def resume(self, job: str) -> JobView:
        """Let a paused job go on.  Like `kill` otherwise."""
        return await self._asked(job, ResumeRequested(), "go on", "it may stay paused")

    async def purge(self, job: str) -> list[NodeId]:
        """Remove a job that is over from the history (rule J29); returns the members that did not hear of it.

        Raises NotFound; Conflict for one that is not over; Unavailable, with outcome "unknown" when some of
        it may be left.
        """
        _, answer = await self._takers.have(JOB_PURGE, job.encode(), self._tenure is not None)
        return list(msgpack.unpackb(answer))

    async def _asked(self, job: str, event: Event, what: str, or_else: str) -> JobView:
        if (run := self._jobs.get(job)) is None:
            return await self._history.view(job)
        run.ask(event)
        try:
            async with asyncio.timeout(_NOTED_TIMEOUT_S):
                await run.noted()
        except TimeoutError as error:
            raise DeadlineExceeded(
                f"job {job} was told to {what}, but too few nodes answer to note that: {or_else}",
                hint=f"`ringmill job status {job}` shows whether it runs",
                outcome="unknown",
            ) from error
        return run.view()

    async def coordinator(self) -> CoordinatorView:
        """Who coordinates.  Raises RingmillError."""
        record = decode_lease((await LeaseCell(self._cells).get(timeout=_LOOK_AGAIN_S)).value)
        is_open = [row.job for row in await self._history.rows() if not row.is_over]
        return CoordinatorView(node=node_of(record.holder), term=record.term, open_jobs=tuple(is_open))

    async def hand_over(self) -> CoordinatorView:
        """Have another member coordinate.  Raises NotFound when nobody does, else Unavailable."""
        holder = await self._takers.holder()
        if holder is None:
            raise NotFound(
                "no job is open, so no node coordinates jobs now",
                hint="there is nothing to hand over: the next job makes a node its coordinator",
            )
        await self._ask(holder, JOB_HANDOVER, b"", _HANDOVER_TIMEOUT_S)
        return await self.coordinator()

    async def _on_submit(self, incoming: Incoming) -> bytes:
        with well_formed("a submission"):
            _, encoded = msgpack.unpackb(incoming.body)
            spec = JobSpec.decode(encoded)
        self._waiting += 1
        try:
            tenure = await self._own_tenure()
            await tenure.accept(spec, incoming.sender)
        except Unavailable as error:
            if error.outcome == "failed":
                await self._step_back()
            raise
        finally:
            self._waiting -= 1
        return b""

    async def _on_purge(self, incoming: Incoming) -> bytes:
        job = incoming.body.decode("utf-8", "replace")
        self._waiting += 1
        try:
            journal = await (await self._own_tenure()).purge(job)
        except NotFound:
            return bytes(msgpack.packb(await self._purged.tell_again(job)))
        finally:
            self._waiting -= 1
        return bytes(msgpack.packb(await self._purged.tell(job, journal)))

    async def _step_back(self) -> None:
        """A node that cannot plan a job, as it stops or has no task processes, leaves all to the others."""
        if self._tenure is not None and not self._tenure.open_jobs:
            self._tenure.ended.set()
            while self._is_holding:
                await self._changed.wait()

    async def _own_tenure(self) -> Tenure:
        """This node's tenure, once it has the lease.  Raises Unavailable when another node has it."""
        while (tenure := self._tenure) is None or tenure.ended.is_set():
            if self._is_closing:
                raise Unavailable(f"{self._world.node} stops and takes no job", outcome="failed")
            holder = await self._takers.holder()
            if holder not in (None, self._world.node) and self._world.liveness.is_up(holder):
                raise Unavailable(f"{holder} coordinates the jobs", outcome="failed")
            self._wanted.set()
            await self._wait_for_change()
        return tenure

    async def _on_open(self, incoming: Incoming) -> bytes:
        """There is a job: look after it, and keep its code if that is said."""
        self._wanted.set()
        if incoming.body:
            await self._bundles.ensure(incoming.body.decode("ascii", "replace"), incoming.sender)
        return b""

    async def _on_take(self, incoming: Incoming) -> bytes:
        """The lease is free: take it.  Answers when this node has the jobs, or another one has it."""
        self._wanted.set()
        self._poked.set()
        while self._tenure is None and await self._takers.holder() is None:
            await self._wait_for_change()
        while self._tenure is not None and self._tenure.is_replaying:  # noqa: ASYNC110 - it is short
            await asyncio.sleep(_REPLAY_PAUSE_S)
        return b""

    async def leave(self) -> None:
        """The node stops: it takes no job any more, and another member gets its lease.  May take seconds."""
        self._is_closing = True
        if self._tenure is not None:
            with contextlib.suppress(Unavailable):
                await self._leave_to_others()

    async def _on_handover(self, incoming: Incoming) -> bytes:
        await self._leave_to_others()
        return b""

    async def _leave_to_others(self) -> None:
        """Release the lease and have another member take it.  Raises Unavailable."""
        if self._tenure is None:
            raise Unavailable(f"{self._world.node} does not coordinate any more", outcome="failed")
        if self._world.members_up() in ([], [self._world.node]):
            raise Unavailable("no other member is up", outcome="failed")
        self._leaving.set()
        while self._is_holding:
            await self._changed.wait()
        await have_others_take(self._world)

    async def _wait_for_change(self) -> None:
        """Of this node's tenure, for a moment."""
        changed = self._changed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_AGAIN_S):
                await changed.wait()

    async def _on_report(self, incoming: Incoming) -> bytes:
        """Answers when the journal has what was reported, so that no coordinator asks for it again."""
        reports = own_reports(incoming)
        job = reports[0].job
        if (run := self._jobs.get(job)) is None:
            raise Unavailable(f"job {job} does not run on {self._world.node}", outcome="failed")
        if run.is_over:
            raise NotFound(f"job {job} is over")
        return await run.take(reports)

    def _note_change(self, node: NodeId, state: MemberState) -> None:
        self.wake()
        if not self._world.liveness.is_up(node):
            self._looks.set()

    async def _look_for_jobs(self) -> None:
        """At the start, and whenever a member seems down: jobs that are open need a coordinator."""
        await self._world.topology.wait_formed()
        self._looks.set()
        while True:
            await self._looks.wait()
            self._looks.clear()
            try:
                rows = await self._history.rows()
            except RingmillError:
                self._looks.set()
                await asyncio.sleep(_LOOK_AGAIN_S)
                continue
            if any(not row.is_over for row in rows):
                self._wanted.set()

    async def _hold_the_lease(self) -> None:
        while True:
            await self._wanted.wait()
            try:
                await self._one_tenure()
            except Fenced:
                sometimes("a coordinator finds that another one has the jobs")
            except RingmillError as error:
                self._complaints.add("taking the coordinator's lease", error, has_trace=False)
            finally:
                self._tell()
            await self._pause(_AGAIN_S)

    async def _one_tenure(self) -> None:
        lease = self._lease()
        try:
            while not await self._acquired(lease):
                lease = self._lease()
            self._is_holding = True
            tenure = Tenure(self._world, lease, self._bundles, self._jobs)
            await tenure.open(is_wanted=bool(self._waiting))  # not inside: a group wraps what its body raises
            async with tenure:
                self._tenure = tenure
                self._leaving.clear()
                self._tell()
                await first_of(tenure.ended.wait(), lease.lost.wait(), self._leaving.wait())
                if self._leaving.is_set() and lease.is_held:
                    await tenure.wind_up()
                self._poked.clear()
                self._tenure = None
                if not tenure.open_jobs and not self._waiting:
                    self._wanted.clear()
        finally:
            self._tenure = None
            with contextlib.suppress(TimeoutError):  # it ends by itself
                async with asyncio.timeout(self._stop_time.left_s()):
                    await lease.release()
            self._is_holding = False
            self._tell()
        if self._leaving.is_set():
            self._leaving.clear()
            await self._pause(TAKE_TIMEOUT_S)  # others first

    async def _pause(self, seconds: float) -> None:
        """Leave the lease to others, unless it is handed to this node."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._poked.wait()

    async def _acquired(self, lease: AsyncLease) -> bool:
        """Whether the lease was acquired, and not before somebody said that it is free now."""
        self._poked.clear()
        return await first_of(lease.acquire(), self._poked.wait()) == 0

    def _lease(self) -> AsyncLease:
        return AsyncLease(
            "of the job coordinator",
            LeaseCell(self._cells),
            owner=self._world.node,
            duration_s=self._world.options.lease_s,
            clock=self._world.clock,
            entropy=self._entropy,
            former_term=self._cells.former_term,
        )

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
