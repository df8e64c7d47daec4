"""The worker of a node: accepts attempts from job coordinators, runs them in its slots, reports how they
ended.

It decides nothing about jobs.  An assignment that comes twice is one attempt (rule J1).  Orders of a former
coordinator are refused (rule J13).  A report is sent until the job's coordinator has it, whichever node that
is; further orders come with the answer.  When no coordinator is heard for 30 s, the worker stops and drops
everything of its job (rule J5).  Each start of the node wipes the scratch folder.  After either the `start`
in its answers is another one, which tells coordinators that earlier attempts and outputs are gone.

See: docs/architecture.md, "Task processes".
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial
from types import TracebackType
from typing import Any, Final, Self

from ringmill.cluster.errors import (
    Conflict,
    InvalidArgument,
    JobFailed,
    NotFound,
    Overloaded,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.attempt_figures import PhaseTimes
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.messages.worker_messages import (
    TASK_CANCEL,
    TASK_POLL,
    TASK_REPORT,
    TASK_START,
    Assignment,
    AttemptReport,
    Cancel,
    MapAssignment,
    Poll,
    PollAnswer,
    decode_assignments,
    encode_reports,
)
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput
from ringmill.cluster.mapreduce.well_formed import well_formed
from ringmill.cluster.membership.stop_time import StopTime
from ringmill.cluster.overload.giving_way import never, put_off
from ringmill.cluster.overload.node_memory import NodeMemory, nothing_told
from ringmill.cluster.ports import Clock, FileSystem, Handler, Incoming, Priority, TaskStarter, Transport
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.traces.spans import Tracer, carried_trace, spanned
from ringmill.node.compute.attempt_runner import AttemptRunner
from ringmill.node.compute.bundles import BundleStore
from ringmill.node.compute.fetch_window import FetchWindow
from ringmill.node.compute.held_job import HeldJob
from ringmill.node.compute.report_box import ReportBox
from ringmill.node.compute.scratch import put_aside
from ringmill.node.compute.shuffle_client import SliceLost
from ringmill.node.compute.shuffle_server import OutputId, ShuffleServer
from ringmill.node.compute.stints.at_work import AtWork
from ringmill.node.compute.stints.memory_watch import MemoryWatch
from ringmill.node.compute.stints.slot_queue import MOST_PUT_OFF_S, SlotQueue
from ringmill.node.compute.stints.stint import Ended
from ringmill.node.compute.task_pool import TaskPool
from ringmill.node.contracts import KeyspaceAccess
from ringmill.node.node_options import WorkerOptions

__all__ = ["Worker"]

_MOST_WAITING: Final = 64
"""Attempts that may wait for a slot; a coordinator that has a report already orders more by it."""
_REPORT_TIMEOUT_S: Final = 5.0
_STOP_TIMEOUT_S: Final = 5.0
_OUTPUT_TAIL_BYTES: Final = 64 * 1024
_LEAST_S: Final = 1e-4
_SHORT_BYTES: Final = 16 * 1024  # a longer report leaves the way of probes (rule F1)

_decoded: Final = lru_cache(maxsize=8)(JobSpec.decode)
"""All attempts of a job come with the same description."""


class Worker:
    """`async with` it; register `handlers` with the transport.  `folder` is its scratch, wiped here.

    While `is_busy` returns True, attempts that have not begun are put off.
    """

    def __init__(
        self,
        node: NodeId,
        *,
        start: str,
        folder: str,
        slots: int,
        bundles: BundleStore,
        clock: Clock,
        files: FileSystem,
        spawner: TaskStarter,
        transport: Transport,
        keyspaces: KeyspaceAccess,
        options: WorkerOptions,
        memory: NodeMemory | None = None,
        is_busy: Callable[[], bool] = never,
        is_leaving: Callable[[], bool] = never,
        tracer: Tracer | None = None,
        stop_time: StopTime | None = None,
    ) -> None:
        if not folder.startswith("/"):
            raise InvalidArgument(f"scratch folder {folder!r} must be absolute: task processes work in it")
        self._node = node
        self._start, self._folder = start, folder
        self._bundles, self._clock = bundles, clock
        self._files, self._transport = files, transport
        self._keyspaces, self._options = keyspaces, options
        self._is_busy, self._is_leaving = is_busy, is_leaving
        self._tracer = tracer
        self._stop_time = stop_time or StopTime(clock)
        self._slots = slots
        self._pool = TaskPool(
            spawner=spawner, slots=slots, limits=options.limits, within=self._stop_time.within
        )
        self._group = asyncio.TaskGroup()
        begin = self._group.create_task
        self._memory = memory or NodeMemory(nothing_told, clock)
        self._watch = watch = MemoryWatch(node, self._memory, self._pool, clock)
        self._at_work = AtWork(self._tell_progress, lambda: self._options.progress_every_s, begin, watch)
        self._queue = SlotQueue(
            slots, together=self._together, is_busy=is_busy, at_work=self._at_work, begin=begin
        )
        self._window = FetchWindow()
        self._shuffle = ShuffleServer(files.apart())  # an output that hangs holds up no other job's reduces
        self._jobs: dict[str, HeldJob] = {}
        self._is_closing = False
        self._janitor: asyncio.Task[None] | None = None
        self._busy_at = clock.monotonic()
        self._removals = self._forgotten = 0  # the latter: jobs of silent coordinators
        self.ended: Counter[tuple[str, str]] = Counter()
        """Attempts that ended here since the start, by stage and outcome: "done", or the cause of failure."""
        self._term = 0  # the highest that an order had
        self._heavy_term = self._memory_term = -1  # of the last who reads heavy keys, and NodeMemory

    async def __aenter__(self) -> Self:
        left = put_aside(self._files, self._folder, self._start)
        await self._group.__aenter__()
        self._group.create_task(self._clean(left))
        self._janitor = self._group.create_task(self._tend())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing = True
        self._at_work.close()
        if self._janitor is not None:
            self._janitor.cancel()
        left = list(self._jobs)
        for job in left:
            self._let_go(job)
        try:
            with contextlib.suppress(TimeoutError):  # what hangs is left to itself (rule T10)
                async with asyncio.timeout(self._stop_time.left_s()):
                    await self._group.__aexit__(kind, error, trace)
            for job in left:
                await self._clean(f"{self._folder}/{job}")
        finally:
            await self._pool.close()

    @property
    def running(self) -> int:
        """Attempts that run now."""
        return len(self._at_work)

    @property
    def waiting(self) -> int:
        """Attempts that wait for a slot, or until their report has arrived."""
        return sum(len(job.attempts) for job in self._jobs.values()) - self.running

    @property
    def slots(self) -> int:
        """Task processes at once that it offers now."""
        return 0 if self.lack else self._slots

    @property
    def lack(self) -> str:
        """Why it offers no slots now, a part of a sentence; "" while it does, or is to have none."""
        leaving = "it is to leave the cluster" if self._is_leaving() else ""
        able = "" if self._pool.is_able else "it could not start its last task process"
        lack = leaving or self._options.containment.refusal or able or self._memory.reason
        return lack if self._slots else ""

    @property
    def is_needed(self) -> bool:
        """Whether an attempt has not been reported, or a job may read what its maps have left here (J33)."""
        return bool(self.running or self.waiting or self._shuffle.serves_any)

    def handlers(self) -> Mapping[str, Handler]:
        return {
            TASK_START: self._on_start,
            TASK_CANCEL: self._on_cancel,
            TASK_POLL: self._on_poll,
            **self._shuffle.handlers(),
            **self._bundles.handlers(),
        }

    def _on_start(self, incoming: Incoming) -> bytes:
        self._refuse_when_closing()
        return self._about(self._begin(decode_assignments(incoming.body)))

    def _begin(self, orders: Sequence[Assignment]) -> HeldJob:
        """Begin the attempts that are not known here, all of them or none."""
        first = orders[0]
        self._check_term(first.term)
        with well_formed("an assignment"):
            spec = _decoded(first.spec)
        if spec.job != first.job:  # a checked name: it becomes a folder
            raise InvalidArgument(f"an assignment for job {first.job!r} carries another job's description")
        job = self._heard(first.job, first.coordinator)
        new = [each for each in orders if not job.knows(each.attempt)]
        accepted = sum(each.unended for each in self._jobs.values())
        most = self._slots + _MOST_WAITING
        if new and accepted + len(new) > most:
            raise Overloaded(
                f"{self._node} has accepted {accepted} attempts; at most {most}, {_MOST_WAITING} more than "
                "its slots"
            )
        if len(new) < len(orders):
            sometimes("an assignment comes twice")
        for assignment in new:
            identity = assignment.attempt
            task = self._group.create_task(self._run(assignment, spec), name=str(identity))
            job.attempts[identity] = task
            task.add_done_callback(partial(job.end, identity))  # also of one cancelled before it began
        return job

    async def _on_cancel(self, incoming: Incoming) -> bytes:
        """Cancel attempts; answers when none of them writes any more, or after 5 s."""
        self._refuse_when_closing()
        cancel = Cancel.decode(incoming.body)
        self._check_term(cancel.term)
        job = self._jobs.get(cancel.job)
        stopping: list[asyncio.Task[None]] = []
        if job is not None and cancel.attempt is None:
            stopping.append(self._drop(cancel.job))
        elif job is not None and cancel.attempt in job.attempts:
            stopping.append(job.attempts[cancel.attempt])
            stopping[0].cancel()
        if stopping:
            await asyncio.wait(stopping, timeout=_STOP_TIMEOUT_S)
        return b""

    def _on_poll(self, incoming: Incoming) -> bytes:
        poll = Poll.decode(incoming.body)
        self._check_term(poll.term)
        self._heavy_term = poll.term if poll.reads_heavy_keys else self._heavy_term
        self._memory_term = poll.term if poll.asks_why else self._memory_term
        job = self._heard(poll.job, incoming.sender) if poll.job in self._jobs else None
        return self._about(job, of_machine=poll.asks_machine, says_why=poll.asks_why)

    def _refuse_when_closing(self) -> None:
        """What runs is being stopped, and nothing begins."""
        if self._is_closing:
            raise Unavailable(f"the worker of {self._node} stops", outcome="failed")

    def _check_term(self, term: int) -> None:
        """Raises Conflict for an order of a coordinator that another one has followed."""
        if term < self._term:
            sometimes("a worker refuses an order of a former coordinator")
            raise Conflict(f"an order of term {term}: {self._node} has one of term {self._term}")
        self._term = term

    def _heard(self, job: str, coordinator: NodeId) -> HeldJob:
        known = self._jobs.get(job)
        if known is None:
            reports = ReportBox(self._send, self._group.create_task)
            known = self._jobs[job] = HeldJob(self._start_of_new(), coordinator, 0.0, reports)
        known.coordinator = coordinator  # it has the newest term
        known.trace = carried_trace() or known.trace
        known.heard_at = self._clock.monotonic()
        return known

    def _about(self, job: HeldJob | None, *, of_machine: bool = False, says_why: bool = False) -> bytes:
        start, running = (self._start_of_new(), ()) if job is None else (job.start, tuple(job.attempts))
        machine = self._options.machine if of_machine else None
        return PollAnswer(start, self.slots, running, machine, self.lack if says_why else None).encode()

    def _start_of_new(self) -> str:
        """The start for jobs that nothing is held of: another one than any job had that was forgotten."""
        return f"{self._start}.{self._forgotten}" if self._forgotten else self._start

    async def _run(self, assignment: Assignment, spec: JobSpec) -> None:
        """The life of one attempt: wait for a slot, run, report.  It stays known until it is reported."""
        attempt = self._runner(assignment, spec)
        try:
            ended = await self._queue.wait(attempt)
        except asyncio.CancelledError:
            self.ended[assignment.attempt.stage, str(Cause.CANCELLED)] += attempt.was_in_stint
            raise
        if ended is None:
            try:
                await put_off(self._is_busy, MOST_PUT_OFF_S)  # requests go first (rule O8)
                job = self._jobs.get(assignment.job)
                span = None if job is None else job.begun_span(self._tracer, assignment)
                with spanned(span):  # which also ends it when the attempt is cancelled
                    report = await self._run_alone(attempt)
                    if span is not None and report.kind != "done":
                        span.end(JobFailed(f"the attempt has {report.kind}"))
            finally:
                self._queue.free()
        else:
            report = await self._report_of(attempt, ended)
        await self._deliver(report)

    def _runner(self, assignment: Assignment, spec: JobSpec) -> AttemptRunner:
        phases = PhaseTimes(self._clock.monotonic)
        phases.enter("wait")
        return AttemptRunner(
            assignment=assignment,
            spec=spec,
            folder=f"{self._folder}/{assignment.job}/{assignment.attempt}",
            worker=f"{self._node}.{self._start}",
            bundles=self._bundles,
            pool=self._pool,
            transport=self._transport,
            keyspaces=self._keyspaces,
            files=self._files,
            window=self._window,
            timeouts=self._options.timeouts.reading(assignment.bytes_in),
            containment=self._options.containment,
            phases=phases,
        )

    def _together(self, attempt: AttemptRunner) -> int:
        """How many attempts may be in one stint with this one: maps whose input is in files, and which leave
        no part of the output."""
        job = self._jobs.get(attempt.assignment.job)
        is_plain = isinstance(attempt.assignment, MapAssignment) and not attempt.writes_part
        if job is None or not is_plain or attempt.spec.reads_keyspace:
            return 1
        is_traced = self._tracer is not None and bool(job.trace)  # each attempt has a span then
        return 1 if is_traced else int(self._options.stint_s / max(job.usual_s, _LEAST_S))

    async def _run_alone(self, attempt: AttemptRunner) -> AttemptReport:
        """Its end, which is told."""
        self._at_work.begins(attempt)
        ended: Ended | ReduceOutput | SliceLost
        try:
            ended = await attempt.run()
        except (TaskFailed, SliceLost) as error:
            ended = error
        except asyncio.CancelledError:
            self.ended[attempt.assignment.attempt.stage, str(Cause.CANCELLED)] += 1
            await self._clean_all(attempt)
            raise
        except Exception as error:  # noqa: BLE001 - the fault of one attempt must not end the node
            ended = TaskFailed(Cause.ENGINE_ERROR, repr(error))
        finally:
            self._at_work.rests(attempt)
        return await self._report_of(attempt, ended)

    async def _report_of(
        self, attempt: AttemptRunner, ended: Ended | ReduceOutput | SliceLost
    ) -> AttemptReport:
        """What is told of an attempt that is over; what nobody needs of it is removed, and its output can be
        had."""
        assignment = attempt.assignment
        if isinstance(ended, TaskFailed | SliceLost):
            failure = ended.failure if isinstance(ended, SliceLost) else ended
            self.ended[assignment.attempt.stage, str(failure.cause)] += 1
            await self._clean_all(attempt)
            lost = ended.slice if isinstance(ended, SliceLost) else None
            return self._over(attempt, "failed", failure=failure.to_wire(), lost=lost)
        self.ended[assignment.attempt.stage, "done"] += 1
        for unused in attempt.unused:
            await self._clean(unused)
        if isinstance(ended, MapOutput) and not attempt.staging:
            output = OutputId(assignment.job, assignment.attempt.task, assignment.attempt.number)
            self._shuffle.announce(output, ended.file)
        else:
            await self._clean(attempt.folder)
        return self._over(attempt, "done", body=ended.to_wire())

    def _over(self, attempt: AttemptRunner, kind: str, **fields: Any) -> AttemptReport:
        order, figures, tail = attempt.assignment, attempt.figures(), attempt.output[-_OUTPUT_TAIL_BYTES:]
        ran_s = sum(figures.phases.values()) - figures.phases.get("wait", 0.0)
        in_stint_s = ran_s - figures.phases.get("start", 0.0)  # there it finds a process that has begun
        if kind == "done" and order.attempt.stage == "map" and (job := self._jobs.get(order.job)) is not None:
            job.note_map(in_stint_s)
        fields["ran_s"] = in_stint_s if attempt.was_in_stint else ran_s
        return self._report(order, kind, figures=figures.to_wire(), output=tail, **fields)

    def _report(self, assignment: Assignment, kind: str, **fields: Any) -> AttemptReport:
        job = self._jobs.get(assignment.job)
        start = self._start if job is None else job.start
        return AttemptReport(assignment.job, assignment.attempt, self._node, start, kind, **fields)

    def _tell_progress(self, attempts: Sequence[AttemptRunner]) -> None:
        """Best effort: the next report supersedes a lost one."""
        told: dict[str, list[AttemptReport]] = {}
        for attempt in attempts:
            report = self._report(attempt.assignment, "progress", body=attempt.progress.to_wire())
            told.setdefault(report.job, []).append(report)
        for reports in told.values():
            self._group.create_task(self._try_to_send(reports))

    async def _try_to_send(self, reports: Sequence[AttemptReport]) -> None:
        with contextlib.suppress(RingmillError):
            await self._send(reports)

    async def _deliver(self, report: AttemptReport) -> None:
        """Send a report until it has arrived; `_tend` ends this when no coordinator is heard any more."""
        job = self._jobs.get(report.job)
        if job is not None:
            try:
                await job.reports.deliver(report)
            except NotFound:  # the job has ended
                sometimes("a report finds no such job")
                if report.job in self._jobs:
                    self._drop(report.job)

    async def _send(self, reports: Sequence[AttemptReport]) -> None:
        """To the coordinator of their job; what it orders in its answer is begun.

        Raises NotFound when the job was dropped here.
        """
        job = self._jobs.get(reports[0].job)
        if job is None:
            raise NotFound(f"job {reports[0].job} was dropped")
        heavy, memory = self._heavy_term == self._term, self._memory_term == self._term
        message = encode_reports(reports, with_heavy_keys=heavy, with_node_memory=memory)
        way = Priority.CONTROL if len(message) <= _SHORT_BYTES else Priority.WRITE
        answer = await self._transport.call(
            job.coordinator, TASK_REPORT, message, timeout_s=_REPORT_TIMEOUT_S, priority=way
        )
        if answer and not self._is_closing and self._jobs.get(reports[0].job) is job:
            with contextlib.suppress(RingmillError):  # its polls tell the coordinator what was not begun
                self._begin(decode_assignments(answer))

    def _drop(self, job: str) -> asyncio.Task[None]:
        """Stop the attempts of a job and serve none of its outputs; delete its files once nothing writes
        them."""
        return self._group.create_task(self._remove(job, self._let_go(job)))

    def _let_go(self, job: str) -> list[asyncio.Task[None]]:
        """Its attempts, which have been told to stop."""
        dropped = self._jobs.pop(job)
        dropped.reports.close()
        attempts = list(dropped.attempts.values())
        self._shuffle.forget(job)
        for task in attempts:
            task.cancel()
        return attempts

    async def _remove(self, job: str, attempts: list[asyncio.Task[None]]) -> None:
        if attempts:
            await asyncio.wait(attempts)
        if job not in self._jobs:
            await self._pool.end_those_of(job)
        if job not in self._jobs and self._files.exists(f"{self._folder}/{job}"):
            self._removals += 1
            removed = f"{self._folder}/.removed-{self._removals}"  # out of the way of the same job, come back
            with contextlib.suppress(OSError):  # as below: no disk of scratch ends a node
                self._files.rename(f"{self._folder}/{job}", removed)
                await self._clean(removed)

    async def _clean_all(self, attempt: AttemptRunner) -> None:
        """Everything that the attempt itself has made, and nothing else."""
        for folder in filter(None, (attempt.folder, attempt.staging, *attempt.unused)):
            await self._clean(folder)

    async def _clean(self, folder: str) -> None:
        """What cannot be removed now is left: scratch to the next start, staging to the end of the job."""
        if (left_s := self._stop_time.left_s()) != 0:
            with contextlib.suppress(OSError):  # TimeoutError is one
                async with asyncio.timeout(left_s):
                    await self._files.off_loop(self._files.remove_tree, folder)

    async def _tend(self) -> None:
        """Drop the jobs of silent coordinators, and idle processes when there has been no job for long."""
        patience = self._options.orphan_after_s
        while True:
            await asyncio.sleep(patience / 10)
            if not self._pool.is_able:
                await self._pool.try_again(self._folder)
            await self._watch.look()
            now = self._clock.monotonic()
            for name, job in list(self._jobs.items()):
                if now - job.heard_at > patience:
                    sometimes("a worker drops the job of a silent coordinator")
                    self._forgotten += 1
                    self._drop(name)
            if self._jobs:
                self._busy_at = now
            elif now - self._busy_at > self._options.warm_for_s:
                await self._pool.close()
