"""Drives one job: carries out what its state machine decides, and reports events to it.

It decides nothing about tasks (cluster/mapreduce/machine/job_machine.py does): it offers free slots, has
orders sent (node/jobs/workers/orders.py), polls the workers, receives their reports, makes the output visible
and cleans up.  A poll tells whether a worker is there, whether it was restarted, and which attempts it knows;
an attempt that only one side knows is ended on that side.

Every event is noted in the job's journal.  What nobody can take back, a report that is acknowledged, an
output that is shown, an end that is told, waits until the journal has it.

Rules J5, J11, J12 and J18: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Final

from ringmill.cluster.errors import RingmillError, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import StagedPart, loss_of_staging
from ringmill.cluster.mapreduce.failures import Cause
from ringmill.cluster.mapreduce.machine.job_events import (
    AttemptFailed,
    AttemptId,
    AttemptProgressed,
    AttemptStarted,
    CancelAttempt,
    CommitDelayed,
    CommitDone,
    CommitFailed,
    CommitJob,
    Event,
    Instruction,
    LoadMoved,
    NodeDown,
    NodeUp,
    PlanStage,
    Stage,
    StagePlanned,
    StagingLost,
    Winner,
)
from ringmill.cluster.mapreduce.machine.journal_entries import StoredJob
from ringmill.cluster.mapreduce.machine.task_state import Attempt, AttemptState
from ringmill.cluster.mapreduce.messages.worker_messages import AttemptReport, PollAnswer
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary, attempts_of
from ringmill.cluster.sometimes import sometimes
from ringmill.node.jobs import reported
from ringmill.node.jobs.attempt_logs import AttemptLogs
from ringmill.node.jobs.journal.cells import Fenced
from ringmill.node.jobs.journal.job_journal import JobJournal
from ringmill.node.jobs.keyspaces.kept_snapshot import keep_snapshot, snapshot_name
from ringmill.node.jobs.keyspaces.keyspace_commit import KeyspaceCommit
from ringmill.node.jobs.publication import copies_left, publish, withdraw
from ringmill.node.jobs.stages.dropping import clean_up_after, drop_everywhere
from ringmill.node.jobs.stages.next_stage import planned_stage
from ringmill.node.jobs.surroundings import Surroundings
from ringmill.node.jobs.views import AttemptLog, JobView, view_of, without_tasks
from ringmill.node.jobs.workers.job_spans import JobSpans
from ringmill.node.jobs.workers.orders import Orders
from ringmill.node.jobs.workers.orders_ahead import OrdersAhead
from ringmill.node.jobs.workers.worker_polls import WorkerPolls

__all__ = ["JobDriver"]

_LOOK_TIMEOUT_S: Final = 2.0  # a report waits for it, and its worker waits 5 s
_SHORTEST_SLEEP_S: Final = 0.001  # the time of a job is a difference, which is rounded


class JobDriver:
    """`run` drives the job to its end; all other methods may be called at any time."""

    def __init__(
        self,
        job: StoredJob,
        world: Surroundings,
        *,
        journal: str,
        term: int,
        number: int = 0,
        base: int = 0,
        resumed: Sequence[Instruction] | None = None,
    ) -> None:
        """`number` is that of the journal's next entry.  `resumed` is what the machine said when the job was
        taken over."""
        self.spec: JobSpec = job.spec
        self.submitted_at = job.submitted_at
        self._stage = job.stage  # what its tasks run: the job itself, or a stage of it
        self._encoded_stage = self._stage.encode()
        self._world = world
        self._machine = job.machine
        self._machine.locality.owners_of = world.most_owned_by
        workers = self._machine.workers
        workers.has_slots, workers.had_slots = world.slots.are_at, world.slots.were_at
        self._term = term
        self._logs = AttemptLogs()
        self._began = world.clock.monotonic() - job.at
        self._ended: float | None = job.at if job.machine.is_over else None
        self._crash: RingmillError | None = None
        self._told: JobView | None = None  # the last one, once the rest was let go
        self._is_settled = self._is_given_up = self._is_leaving = False
        self._group = asyncio.TaskGroup()
        self._planning: asyncio.Task[None] | None = None
        self._reachable, self._up = dict[NodeId, bool](), dict[NodeId, bool]()
        self._met_at: dict[NodeId, float] = {}
        self._orders, self._polling = Orders(self, world, self._group.create_task), WorkerPolls(world)
        self._trace = job.trace
        self._spans = JobSpans.of(world.tracer, job.spec, job.trace, is_taken_over=resumed is not None)
        self._ahead = OrdersAhead.of(world.options)
        self._looked_into: dict[AttemptId, asyncio.Task[None]] = {}  # failed writers, not in the journal yet
        self.journal = JobJournal(
            world.cells, journal, term=term, number=number, base=base, snapshot=self._snapshot,
            snapshot_every=world.options.snapshot_every,
        )  # fmt: skip
        self.over = asyncio.Event()
        self.listed = asyncio.Event()
        """Set when the list of jobs has this one: who takes the jobs over then seals its journal."""
        if resumed is not None:
            self.listed.set()
        self._woken, self._may_release = asyncio.Event(), True
        self._changed = asyncio.Event()
        self._resumed = resumed

    @property
    def is_over(self) -> bool:
        """Whether the job is over, and its journal says so, or the list of jobs where it has crashed."""
        return self._is_settled

    async def run(self) -> None:
        """Run the job.  Returns when it is over and only its output is left.

        Raises a group with Fenced when another coordinator has it; cancelled, it leaves the job to one.
        """
        try:
            async with self._group:
                writing = self._group.create_task(self.journal.write())
                self._go_on()
                beside = [self._group.create_task(self._watch_workers())]
                if snapshot_name(self.spec):
                    beside.append(self._group.create_task(keep_snapshot(self.spec, self._world.keyspaces)))
                while not self._machine.is_over:
                    self._note_deaths()
                    self._release_slots()
                    self._world.slots.deal(self._world.members())
                    self._orders.send()
                    await self._sleep()
                for each in beside:
                    each.cancel()
                if self._planning is not None:  # a killed chain waits for no function
                    self._planning.cancel()
                await self.journal.flush()
                writing.cancel()
                await withdraw(self._world.job_steps, self._stage, self._machine)
                self.settle()
        finally:
            self._world.slots.leave(self.spec.job)
            self._spans.end(self._machine.state)
        await self.clean_up()

    def _go_on(self) -> None:
        """Begin where the former coordinator was: attempts have slots, and nodes that were up must answer."""
        self._world.slots.join(self.spec.job, self, self.spec.weight)
        if self._resumed is None:
            return
        for node in self._machine.workers_up:
            self._up[node], self._met_at[node] = True, self._world.clock.monotonic()
        for task in (*self._machine.maps, *self._machine.reduces):
            for attempt in task.attempts:
                if attempt.state is AttemptState.RUNNING and not self._machine.is_over:
                    self._orders.resume(attempt.id, attempt.node)
                    self._world.slots.hold(attempt.node, self.spec.job, attempt.id)
        self._carry_out(self._resumed, self._now)

    def wake(self) -> None:
        """Look again, because a slot became free or a node's state changed."""
        self._may_release = True
        self._woken.set()

    def ask(self, event: Event) -> None:
        """A user wants the job to stop, to pause or to go on."""
        if not self.is_over and self._crash is None:
            self.feed(event)

    async def noted(self) -> None:
        """Returns when what a user has asked for, or the end of the job, may be told.  Raises Fenced.

        While copies of a failed job are removed, which may take long, it is told as running.
        """
        is_over = self._machine.is_over and not copies_left(self._stage, self._machine)
        if is_over or self._crash is not None:
            await self.over.wait()
        else:
            await self.journal.flush()

    def wants_a_slot(self) -> bool:
        return not self._is_leaving and self._machine.wants_a_slot(self._now)

    def take_slot(self, node: NodeId) -> AttemptId | None:
        now = self._now
        start = self._machine.offer(node, now) if self._reachable.get(node) else None
        if start is None:
            return None
        begun = self.attempt(start.attempt)
        self.journal.note(now, AttemptStarted(start.attempt, node, begun.is_near if begun else None))
        self._orders.add(start)
        self._woken.set()
        return start.attempt

    def orders_ahead(self, node: NodeId, slots: int) -> int:
        machine = self._machine
        stage: Stage = "reduce" if machine.maps_done else "map"
        return self._ahead.at(node, stage, slots, machine.not_begun, len(machine.workers_up))

    async def take(self, reports: Sequence[AttemptReport]) -> bytes:
        """Handle a worker's reports.  Returns its next orders, if any, once the journal has what it told.

        Raises ProtocolMismatch like `hear`; Fenced.
        """
        if self._crash is not None:
            raise Unavailable(f"job {self.spec.job} is about to be told as failed", outcome="failed")
        ended = [each for each in reports if self.hear(each) and each.has_ended]
        if not any(each.has_ended for each in reports):
            return b""
        node = reports[0].node
        for each in ended:
            self._ahead.ended(node, each.attempt.stage, each.ran_s)
        with self._orders.kept_for_answer(node):
            if ended:
                self._release_slots()
                self._world.slots.deal([node])
            await self.keep_reports()
            return self._orders.with_answer(node)

    def hear(self, report: AttemptReport) -> bool:
        """Handle a worker's report on an attempt; returns whether it said something new.

        A report from an earlier start of the worker is ignored.  Raises ProtocolMismatch for a report that no
        worker sends; then nothing has changed.
        """
        attempt = self.attempt(report.attempt)
        if attempt is None or (attempt.node, attempt.start) != (report.node, report.start):
            return False
        if not attempt.is_open or report.attempt in self._looked_into:  # it comes again, or too late
            return False
        event, lines = reported.event_of(report, self._stage, len(self._machine.maps))
        self._orders.heard_of(report.attempt, report.node, has_ended=report.has_ended)
        if isinstance(event, AttemptFailed):
            self._logs.keep_failure(report, event.failure, event.figures)
            if event.failure.cause is Cause.NODE_MEMORY:
                self._world.slots.learn(report.node, 0)  # until it says what it has (rule J34)
            if self._stage.is_map_only or report.attempt.stage == "reduce":
                looking = self._group.create_task(self._writer_failed(event))
                self._looked_into[report.attempt] = looking
                looking.add_done_callback(lambda _: self._looked_into.pop(report.attempt, None))
                return True
        elif not isinstance(event, AttemptProgressed):
            self._logs.keep(report, lines=lines)
        self.feed(event)
        return True

    async def keep_reports(self) -> None:
        """Returns once the journal has all that was heard.  Raises Fenced."""
        if self._looked_into:
            await asyncio.wait(self._looked_into.values())
        await self.journal.flush()

    async def _writer_failed(self, failed: AttemptFailed) -> None:
        """Without its folder no attempt can succeed, and what each of them says of it is not the cause."""
        spec, files, lost = self._stage, self._world.files, None
        with contextlib.suppress(OSError):  # it cannot be told now, or hangs: the attempt's own word counts
            async with asyncio.timeout(_LOOK_TIMEOUT_S):
                lost = await files.off_loop(
                    loss_of_staging, files, spec.staging, spec.output, overwrite=spec.overwrite
                )
        self.feed(StagingLost(lost) if lost is not None else failed)

    def view(self) -> JobView:
        view = replace(self.last_view(), lacks=() if self.is_over else self._world.lacks())
        return view if self.is_over or not view.is_over else view.running()

    def last_view(self) -> JobView:
        """Also of an end that may not be told yet."""
        return self._told or view_of(self._stored(), self._world.node, self._crash)

    def let_go(self) -> None:
        """All is done: of the tasks their view and output are kept, and not what each attempt has told."""
        self._told, self._machine, self._resumed = self.last_view(), without_tasks(self._machine), None

    def attempts(self) -> Iterator[AttemptSummary] | None:
        return attempts_of(self._stored()) if self._told is None else None  # only the journal has them now

    def logs(self, task: str) -> list[AttemptLog]:
        return self._logs.of(task)

    @property
    def tasks(self) -> int:
        return len(self._machine.maps) + len(self._machine.reduces)

    @property
    def changed(self) -> asyncio.Event:
        """An event that is set at the next change of `view`; get it before calling `view`."""
        return self._changed

    @property
    def is_given_up(self) -> bool:
        """Whether the job goes on elsewhere, or will."""
        return self._is_given_up

    def begin_no_more(self) -> None:
        """The job is about to be handed over: whoever has it next begins further attempts."""
        self._is_leaving = True

    def give_up(self) -> None:
        """Tell the watchers that the job goes on elsewhere."""
        self._is_given_up = True
        self._tell_watchers()

    def crash(self, error: BaseException) -> None:
        """Fail the job by an internal error that `run` raised; a job that is over stays as it ended.

        It is told by `settle`.
        """
        if self._is_settled:
            return
        text = f"job {self.spec.job} hit a fault of its coordinator: {error!r}"
        self._crash = RingmillError(text)
        if self._machine.state == "COMMITTING":
            self._crash = RingmillError(f"{text}; its output may show", outcome="unknown")

    def settle(self) -> None:
        """Tell the end: it is kept."""
        self._is_settled = True
        self._tell_watchers()

    @property
    def _now(self) -> float:
        """The time of the job."""
        return self._world.clock.monotonic() - self._began

    def _stored(self) -> StoredJob:
        at = self._now if self._ended is None else self._ended
        return StoredJob(self.spec, self.submitted_at, at, self._machine, self._trace)

    def _snapshot(self) -> bytes:
        return self._stored().encode()

    def feed(self, event: Event) -> None:
        now = self._now
        if self._machine.is_over:
            return
        self.journal.note(now, event)
        self._may_release = True
        instructions = self._machine.handle(event, now)
        if isinstance(event, StagePlanned):
            self._stage, self._ahead = self._stored().stage, OrdersAhead.of(self._world.options)
            self._encoded_stage = self._stage.encode()
        self._carry_out(instructions, now)

    def _carry_out(self, instructions: Sequence[Instruction], now: float) -> None:
        for said in instructions:
            match said:
                case CancelAttempt(attempt, node):
                    self._orders.stop(attempt, node)
                case CommitJob(winners):
                    self._group.create_task(self._commit(winners))
                case PlanStage():
                    self._planning = self._group.create_task(self._plan_stage())
                case _:
                    self._ended = now
        self._woken.set()
        self._tell_watchers()

    async def _plan_stage(self) -> None:
        """Between two stages: what workers hold of the former one is of no use to the next."""
        await drop_everywhere(self._world, self.spec.job, self._term)
        self.feed(await planned_stage(self._world, self._stored()))

    def _tell_watchers(self) -> None:
        if self.is_over:
            self.over.set()
        self._changed.set()
        self._changed = asyncio.Event()

    async def _sleep(self) -> None:
        """Sleep until an event, or until the pause of a task is over."""
        now = self._now
        wakeup = self._machine.next_wakeup(now)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if wakeup is None else max(_SHORTEST_SLEEP_S, wakeup - now)):
                await self._woken.wait()
        self._woken.clear()

    def _note_deaths(self) -> None:
        for node, was_up in list(self._up.items()):
            if was_up and not self._world.liveness.is_up(node):
                self._up[node] = False
                self.feed(NodeDown(node))

    def _release_slots(self) -> None:
        """Release the slots that no attempt needs; an attempt that is being stopped still needs its slot."""
        if not self._may_release:
            return
        self._may_release = False
        for node, attempt_id in self._world.slots.held_by(self.spec.job):
            attempt = self.attempt(attempt_id)
            is_running = attempt is not None and attempt.state is AttemptState.RUNNING
            if not (is_running or self._orders.is_stopping(attempt_id)):
                self._world.slots.release(node, self.spec.job, attempt_id)

    def ordering(self, stage: Stage) -> AbstractContextManager[None]:
        return self._spans.ordering(stage, self._encoded_stage)

    def order_form(self) -> tuple[str, int, NodeId, bytes]:
        return self.spec.job, self._term, self._world.node, self._encoded_stage

    async def _watch_workers(self) -> None:
        while True:
            async with asyncio.TaskGroup() as group:
                for node in self._world.members_up():
                    group.create_task(self._poll(node))
            await asyncio.sleep(self._world.options.poll_every_s)

    async def _poll(self, node: NodeId) -> None:
        polled = self._orders.at(node)
        try:
            answered = await self._polling.poll(node, self.spec.job, self._term)
        except RingmillError:  # also a malformed answer: such a worker cannot be used either
            self.lose(node)
            self._note_silence(node)
            return
        self.meet(node, answered)
        self._orders.compare(node, polled, answered)

    def lose(self, node: NodeId) -> None:
        """A worker did not answer: it gets nothing until a poll gets through."""
        self._reachable[node] = False
        self._polling.forget(node)
        self._world.slots.lose(node)

    def _note_silence(self, node: NodeId) -> None:
        """Give up a node that is up but has not answered polls for long: it has dropped the job by itself."""
        now = self._world.clock.monotonic()
        if self._up.get(node) and now - self._met_at[node] > self._world.options.silent_after_s:
            sometimes("a silent worker is given up")
            self._up[node] = False
            self.feed(NodeDown(node))

    def meet(self, node: NodeId, answered: PollAnswer) -> None:
        """Note that a worker has answered, with its start and its slots."""
        self._reachable[node] = self._up[node] = True
        self._met_at[node] = self._world.clock.monotonic()
        self._world.slots.learn(node, answered.slots, answered.machine, answered.why)
        if not self._machine.has_met(node, answered.start):
            self._polling.forget(node)
            self.feed(NodeUp(node, answered.start))
        self._woken.set()  # it may have a free slot

    def attempt(self, attempt: AttemptId) -> Attempt | None:
        tasks = self._machine.maps if attempt.stage == "map" else self._machine.reduces
        return tasks[attempt.task].attempt(attempt.number) if attempt.task < len(tasks) else None

    async def _commit(self, winners: tuple[Winner, ...]) -> None:
        parts = [StagedPart.of(each.attempt.task, each.output, self._stage) for each in winners]
        await self.journal.flush()
        await self.listed.wait()
        is_resumed = self._resumed is not None
        try:
            if self._stage.output_keyspace:
                commit = KeyspaceCommit(
                    self._world, self.spec, parts, journal=self.journal.name, moved=self._note_load,
                    delayed=self._tell_delay,
                )  # fmt: skip
                await commit.run(self._machine.load)
            else:
                await publish(
                    self._world.job_steps, self._stage, parts, may_show=is_resumed, delayed=self._tell_delay
                )
        except Fenced:
            raise
        except RingmillError as error:
            self.feed(CommitFailed(error))
        else:
            self.feed(CommitDone())

    async def _note_load(self, mark: LoadMoved) -> None:
        self.feed(mark)
        await self.journal.flush()

    def _tell_delay(self, error: RingmillError) -> None:
        self.feed(CommitDelayed(error))

    async def clean_up(self) -> None:
        """What is left to do once the job is over."""
        await clean_up_after(self._world, self.spec, self._term)
