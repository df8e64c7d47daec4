"""The state machine of one job: decides where attempts run, whose output counts, and when the job is over.

Pure: events in, instructions out; `now` is an argument.  The caller owns slots and network.  It passes every
event to `handle`, offers free slots with `offer`, carries out every instruction in the given order, and calls
`offer` again when `next_wakeup` has passed.  Nothing else changes it: a machine that handles the same events
at the same times, an AttemptStarted for each attempt that was offered, is in the same state (rule J12).

    PENDING -> RUNNING (maps, then reduces) -> COMMITTING -> SUCCEEDED; of a chain PLANNING -> RUNNING
                  \\-> FAILED or KILLED            \\-> FAILED

Rules J2 and J4 (docs/protocol/jobs.md): the first commit of a task wins; a finished map runs again only when
its output is lost and a reduce still needs it; a re-run whose checksums differ makes every reduce that read
the former output stale; once winners are named nothing changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from ringmill.cluster.errors import RingmillError
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, too_many_bad
from ringmill.cluster.mapreduce.job_story import JobStory
from ringmill.cluster.mapreduce.machine.backups import slow_from, slow_task, told_of_backup
from ringmill.cluster.mapreduce.machine.canary import Canary
from ringmill.cluster.mapreduce.machine.job_events import (
    NOT_LOADED,
    AttemptFailed,
    AttemptId,
    AttemptProgressed,
    AttemptStarted,
    CancelAttempt,
    CommitDelayed,
    CommitDone,
    CommitFailed,
    CommitJob,
    EndJob,
    Event,
    Instruction,
    JobPhase,
    KillRequested,
    LoadMoved,
    MapDone,
    NodeDown,
    NodeUp,
    PauseRequested,
    PlanStage,
    ReduceDone,
    ResumeRequested,
    StagePlanned,
    StageRefused,
    StagingLost,
    StartMap,
    StartReduce,
    TakenOver,
)
from ringmill.cluster.mapreduce.machine.job_plan import JobPlan
from ringmill.cluster.mapreduce.machine.locality import Locality
from ringmill.cluster.mapreduce.machine.lost_output import FetchReports
from ringmill.cluster.mapreduce.machine.open_tasks import OpenTasks
from ringmill.cluster.mapreduce.machine.stage_totals import (
    StageChain,
    set_aside_by,
    source_of,
    winners_of,
)
from ringmill.cluster.mapreduce.machine.task_state import Attempt, AttemptState, Task
from ringmill.cluster.mapreduce.machine.workers import Workers, is_of_the_node, suits
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput
from ringmill.cluster.sometimes import sometimes

__all__ = ["JobMachine"]


@dataclass(slots=True)
class JobMachine:
    """See the module's docstring.  Reading its fields is fine; only `handle` and `offer` change them."""

    plan: JobPlan
    state: JobPhase = "PENDING"
    maps: list[Task] = field(init=False)
    reduces: list[Task] = field(init=False)
    error: RingmillError | None = None
    story: JobStory = field(default_factory=JobStory)  # one line an event worth telling
    retried: int = 0
    takeovers: int = 0
    is_paused: bool = False  # it begins no attempt (rule J21)
    load: LoadMoved = field(default=NOT_LOADED)  # how far the output is in its keyspace (rule J18)
    chain: StageChain = field(init=False)  # where the job is among its stages (rule J24)
    locality: Locality = field(default_factory=Locality, compare=False)  # what is told to it decides nothing
    workers: Workers = field(default_factory=Workers)  # others tell its `has_slots` and `had_slots`
    _reports: FetchReports = field(default_factory=FetchReports)
    _canary: Canary = field(default_factory=Canary)
    _looked_at: OpenTasks = field(default_factory=OpenTasks, compare=False)  # of the stage; _open() gives it

    def __post_init__(self) -> None:
        self.chain = StageChain(self.plan.links)
        self._lay_out()

    def _lay_out(self) -> None:
        """The tasks of the plan, of which nothing has run."""
        self.story += self.plan.notes
        self.maps = [Task("map", split.index, split.size) for split in self.plan.splits]
        self.reduces = [Task("reduce", partition, 0) for partition in range(self.plan.reducers)]

    @property
    def last_tasks(self) -> list[Task]:
        """Those whose files become the output: the maps, where nothing reduces (rule J6)."""
        return self.reduces if self.plan.reducers else self.maps

    @property
    def _is_showing(self) -> bool:
        """The output is being made visible: nobody can stop that."""
        return self.state == "COMMITTING" and not self._goes_on

    @property
    def _goes_on(self) -> bool:
        """Whether another stage follows the present one, whose tasks are done."""
        return self.chain.goes_on((*self.maps, *self.reduces))

    @property
    def is_over(self) -> bool:
        return self.state in ("SUCCEEDED", "FAILED", "KILLED")

    @property
    def maps_done(self) -> bool:
        """Every split has a committed output that can be read."""
        return self.chain.are_done(self.maps)

    @property
    def bad_records(self) -> int:
        """How many records the maps that count have set aside."""
        return set_aside_by(self.maps) if self.plan.bad_records else 0

    @property
    def workers_up(self) -> list[NodeId]:
        """The nodes that were up by the last word of them."""
        return self.workers.seen_up()

    def has_met(self, node: NodeId, start: str) -> bool:
        """Whether a NodeUp with this start would say nothing new."""
        return self.workers.is_here(node, start)

    def handle(self, event: Event, now: float) -> list[Instruction]:  # noqa: PLR0912 - one arm an event
        """Handle an event.  Returns the instructions to carry out, in order."""
        if self.is_over:
            return []
        said: list[Instruction] = []
        if isinstance(event, MapDone | ReduceDone | AttemptFailed):
            self._measured(event)
        match event:
            case NodeUp(node, start):
                said = self._node_up(node, start, now)
            case NodeDown(node):
                said = self._node_down(node, now)
            case TakenOver(node):
                said = self._taken_over(node)
            case CommitDelayed(error):
                self.story.tell_once(f"the commit is repeated after {error.code}: {error}")
            case LoadMoved():
                self._load_moved(event)
            case CommitDone() | CommitFailed():
                said = self._commit_ended(event, now)
            case StagePlanned() | StageRefused():
                said = self._stage_planned(event, now)
            case PauseRequested() | ResumeRequested() if not self._is_showing:
                self._hold(is_paused=isinstance(event, PauseRequested))
            case KillRequested() if not self._is_showing:
                sometimes("a job is killed")
                said = self._end("KILLED", now)
            case _ if self.state in ("COMMITTING", "PLANNING"):
                pass  # once the winners are named, nothing changes any more
            case AttemptStarted():
                said = self._started(event, now)
            case AttemptProgressed(attempt_id, bytes_done, status):
                if (attempt := self._attempt(attempt_id)) is not None:
                    attempt.moved(bytes_done, status)
            case MapDone(attempt_id, output):
                said = self._map_done(attempt_id, output, now)
            case ReduceDone(attempt_id, output):
                said = self._reduce_done(attempt_id, output, now)
            case AttemptFailed():
                said = self._attempt_failed(event, now)
            case StagingLost(error):
                sometimes("a job has lost the folder of its parts")
                said = self._end("FAILED", now, error)
        return said

    def offer(self, node: NodeId, now: float) -> StartMap | StartReduce | None:
        """A slot is free on a node: the attempt to start there, or None to leave it to others."""
        if not self._may_begin(now) or node not in (usable := self.workers.usable()):
            return None
        ready = (task for task in self._startable(now) if suits(task, node, usable, now))
        task = self.locality.pick(ready, node, self.plan.splits, self._stage(), usable, now)
        task = task or self._slow_task(node, now)
        if task is None:
            return None
        attempt = task.next_attempt(self.chain.attempts_from(self.takeovers))
        is_near = self.locality.is_near(task, node, self.plan.splits)
        [started] = self.handle(AttemptStarted(attempt, node, is_near), now)
        assert isinstance(started, StartMap | StartReduce)
        return started

    def wants_a_slot(self, now: float) -> bool:
        """Whether there is an attempt to start now, on one node or another."""
        if not self._may_begin(now):
            return False
        if any(True for _ in self._startable(now)):
            return True
        return any(at <= now for at in self._slow_at())

    def _may_begin(self, now: float) -> bool:
        """Whether the job may begin attempts now, if there are any to begin."""
        if self.state not in ("PENDING", "RUNNING") or self.is_paused:
            return False
        return self._canary.free_at(self.maps, now) <= now

    def next_wakeup(self, now: float) -> float | None:
        """When slots should be offered again though no event comes, or None: a task's pause ends, the canary
        has run for long enough, or a task counts as slow."""
        if self.is_over or self.is_paused or self.state in ("COMMITTING", "PLANNING"):
            return None
        times = [self._canary.free_at(self.maps, now), *self._open().pauses(now), *self._slow_at()]
        times += self.locality.wakeups(self._stage())
        return min((at for at in times if at > now), default=None)

    @property
    def not_begun(self) -> int:  # of the present stage's tasks
        return self._open().not_begun

    def _startable(self, now: float) -> Iterable[Task]:
        ready = self._open().ready(now)
        if not self.maps_done:
            return self._canary.ready(ready, self.maps)
        return sorted(ready, key=lambda task: (-task.size, task.index))

    def _stage(self) -> list[Task]:
        return self.reduces if self.maps_done else self.maps

    def _open(self) -> OpenTasks:
        if self._looked_at.tasks is not (stage := self._stage()):
            self._looked_at = OpenTasks(stage)
        return self._looked_at

    def _slow_at(self) -> list[float]:
        """When tasks of the stage count as slow; none while one waits."""
        return [] if self._open().not_begun else [each.at for each in slow_from(self._open())]

    def _slow_task(self, node: NodeId, now: float) -> Task | None:
        """That gets a backup attempt (rule J17)."""
        if self._open().not_begun:
            return None
        return slow_task(self._open(), (*self.maps, *self.reduces), node, now)

    def _started(self, event: AttemptStarted, now: float) -> list[Instruction]:
        self.state, attempt_id, node = "RUNNING", event.attempt, event.node
        task, start = self._task(attempt_id), self.workers.start_of(node)
        self._open().begins(task)
        if task.is_running:
            sometimes("a slow task gets a backup attempt")
            self.story.tell(told_of_backup(task, self._open(), f"{attempt_id} on {node}", now))
        else:
            self.retried += bool(task.attempts)
        if task.stage == "map":
            task.begin(attempt_id, node, start, now, is_near=event.is_near)
            return [StartMap(attempt_id, node, task.reads(self.plan.splits[task.index]), task.memory_factor)]
        sources = tuple(source_of(each, task.index) for each in self.maps)
        task.begin(attempt_id, node, start, now, tuple(each.attempt for each in sources))
        return [StartReduce(attempt_id, node, task.index, sources, task.memory_factor)]

    def _hold(self, *, is_paused: bool) -> None:
        """A paused job begins nothing; what runs already goes on to its end and counts (rule J21)."""
        if is_paused and not self.is_paused:
            sometimes("a job is paused")
            self.story.tell("the job is paused: it begins no more attempts")
        elif self.is_paused and not is_paused:
            sometimes("a paused job goes on")
            self.story.tell("the job goes on")
        self.is_paused = is_paused

    def _taken_over(self, node: NodeId) -> list[Instruction]:
        """The new coordinator's attempts have names of their own; a commit under way is its to carry out."""
        self.takeovers += 1
        self.story.tell(f"{node} has taken the job over")
        if self.state == "PLANNING":
            return [PlanStage()]
        return [CommitJob(winners_of(self.last_tasks))] if self.state == "COMMITTING" else []

    def _measured(self, event: MapDone | ReduceDone | AttemptFailed) -> None:
        """What an attempt took is told, and decides nothing."""
        attempt = self._attempt(event.attempt)
        if attempt is not None and attempt.is_open:
            attempt.figures = event.figures

    def _map_done(self, attempt_id: AttemptId, output: MapOutput, now: float) -> list[Instruction]:
        attempt = self._attempt(attempt_id)
        if attempt is None or not attempt.is_open:
            return []
        if self.plan.reducers and not self.workers.is_here(attempt.node, attempt.start):
            return []  # what it has left is gone; a part that is staged is not
        task = self.maps[attempt_id.task]
        instructions = self._win(task, attempt, output, now)
        if self.bad_records > self.plan.bad_records:
            return instructions + self._end("FAILED", now, too_many_bad(self.plan.bad_records))
        instructions += self._make_stale(task, attempt, output, now)
        self.chain.inputs.note(self.maps, task)
        if self.maps_done:
            self.chain.maps_end(self.maps, self.reduces, self.plan, self.locality, self.story)
        return instructions + self._maybe_commit(now)

    def _reduce_done(self, attempt_id: AttemptId, output: ReduceOutput, now: float) -> list[Instruction]:
        attempt = self._attempt(attempt_id)
        if attempt is None or not attempt.is_open:
            return []
        task = self.reduces[attempt_id.task]
        wanted = sum(self._read_by(attempt, number).partitions[task.index].records
                     for number in range(len(self.maps)))  # fmt: skip
        if output.records_in != wanted:
            message = f"{output.records_in} records went into {attempt_id}, maps gave it {wanted}"
            return self._fail(task, attempt, TaskFailed(Cause.CORRUPT_DATA, message), now)
        return self._win(task, attempt, output, now) + self._maybe_commit(now)

    def _win(
        self, task: Task, attempt: Attempt, output: MapOutput | ReduceOutput, now: float
    ) -> list[Instruction]:
        """Commit an attempt."""
        task.winner, attempt.output, attempt.state = attempt, output, AttemptState.DONE
        attempt.bytes_done, attempt.ended_at = task.size, now
        return self._close_others(task, now)

    def _close_others(self, task: Task, now: float) -> list[Instruction]:
        """Cancel the other attempts: the first commit wins, and later results are dropped."""
        return self._cancel([other for other in task.attempts if other.is_open], now)

    def _make_stale(self, task: Task, attempt: Attempt, output: MapOutput, now: float) -> list[Instruction]:
        """Run every reduce again that read another output of this map than the one that counts now."""
        instructions: list[Instruction] = []
        for reduce in self.reduces:
            wanted = output.partitions[reduce.index].crc32c
            readers = [each for each in reduce.attempts if each.is_open or each is reduce.winner]
            stale = [
                each
                for each in readers
                if self._read_by(each, task.index).partitions[reduce.index].crc32c != wanted
            ]
            if stale:
                sometimes("a reduce runs again as it read another output")
                self.story.tell(f"{reduce.name} runs again: {attempt.id} differs from the output it read")
            if reduce.winner in stale:
                reduce.winner = None
                self._looked_at.opens_again(reduce)
            instructions += self._cancel(stale, now)
        return instructions

    def _maybe_commit(self, now: float) -> list[Instruction]:
        if not all(task.winner for task in reversed(self.last_tasks)):  # the last are done last
            return []
        self.state = "COMMITTING"
        if self.reduces:
            self._count_maps_that_were_read()
        running = [a for task in self.maps for a in task.attempts if a.is_open]
        return [*self._cancel(running, now), CommitJob(winners_of(self.last_tasks))]

    def _count_maps_that_were_read(self) -> None:
        """Count maps whose output was lost after every reduce had read it: they need not run again."""
        reader = self.reduces[0].winner
        assert reader is not None
        for task in self.maps:
            if task.winner is None:
                sometimes("a map that all had read is lost")
                task.winner = winner = self._attempt(reader.sources[task.index])
                assert winner is not None
                winner.state, winner.failure = AttemptState.DONE, None

    def _load_moved(self, mark: LoadMoved) -> None:
        if self.load == NOT_LOADED:
            records = sum(winner.output.records_out for winner in winners_of(self.last_tasks))
            self.story.tell(f"loading {records:,} records into the keyspace of the output")
        self.load = mark

    def _commit_ended(self, event: CommitDone | CommitFailed, now: float) -> list[Instruction]:
        assert self.state == "COMMITTING", f"a commit ended while the job was {self.state}"
        if isinstance(event, CommitFailed):
            return self._end("FAILED", now, event.error)
        if not self._goes_on:
            return self._end("SUCCEEDED", now)
        sometimes("a chain goes on with its next stage")
        self.story.tell(self.chain.finish(self.maps, self.reduces, now))
        self.state = "PLANNING"
        return [PlanStage()]

    def _stage_planned(self, event: StagePlanned | StageRefused, now: float) -> list[Instruction]:
        if self.state != "PLANNING":
            return []
        if isinstance(event, StageRefused):
            return self._end("FAILED", now, event.error)
        self.chain.place = event.place
        self.locality = self.locality.of_next_stage(self.last_tasks, event.place.passed)
        self.plan = replace(self.plan, splits=event.splits, reducers=event.reducers, notes=event.notes)
        self._reports, self._canary, self.state = FetchReports(), Canary(), "RUNNING"
        self._lay_out()
        return [] if self.last_tasks else self._maybe_commit(now)

    def _attempt_failed(self, event: AttemptFailed, now: float) -> list[Instruction]:
        attempt = self._attempt(event.attempt)
        if attempt is None or attempt.state is not AttemptState.RUNNING:
            return []
        instructions = self._fail(self._task(event.attempt), attempt, event.failure, now)
        if event.source is not None and not self.is_over:
            is_corrupt = event.failure.cause is Cause.CORRUPT_DATA
            self._fetch_reported(event.attempt, event.source, is_corrupt, now)
        return instructions

    def _fail(self, task: Task, attempt: Attempt, failure: TaskFailed, now: float) -> list[Instruction]:
        attempt.state, attempt.failure, attempt.ended_at = AttemptState.FAILED, failure, now
        self._looked_at.attempt_ends()
        self.story.tell(f"{attempt.id} on {attempt.node} failed, {failure}")
        if is_of_the_node(failure.cause):
            self.workers.blame(attempt.node, task.name)
        if task.charge(failure, now):
            sometimes("a task is tried again")
            return []
        sometimes("a task fails its job")
        return self._end("FAILED", now, failure.as_job_error(task.name, attempt.id.number))

    def _fetch_reported(self, reader: AttemptId, source: AttemptId, is_corrupt: bool, now: float) -> None:
        task = self.maps[source.task]
        if task.winner is None or task.winner.id != source:
            return  # it runs again already, or has
        if self._reports.is_lost(source, reader.task, is_corrupt=is_corrupt, now=now):
            self._blame_for_output(task, task.winner, is_corrupt=is_corrupt)
            self._revoke(task, "its output cannot be read")

    def _blame_for_output(self, task: Task, attempt: Attempt, *, is_corrupt: bool) -> None:
        """Others go before a node whose outputs nobody can read."""
        cause = Cause.CORRUPT_DATA if is_corrupt else Cause.FETCH_FAILED
        attempt.state, attempt.failure = AttemptState.FAILED, TaskFailed(cause, "its output cannot be read")
        self.workers.blame(attempt.node, task.name)

    def _revoke(self, task: Task, why: str) -> None:
        assert task.winner is not None
        sometimes("a finished map runs again")
        self.story.tell(f"{task.winner.id} on {task.winner.node} runs again: {why}")
        task.winner = None
        self.chain.opens_again(task)
        self._looked_at.opens_again(task)

    def _node_up(self, node: NodeId, start: str, now: float) -> list[Instruction]:
        said = self._node_down(node, now) if self.workers.has_restarted(node, start) else []
        self.workers.up(node, start)
        is_empty = self.state == "PENDING" and not self.last_tasks  # nothing to map: nothing runs
        return said + self._maybe_commit(now) if is_empty else said

    def _node_down(self, node: NodeId, now: float) -> list[Instruction]:
        """Restart the node's attempts elsewhere, and also its finished maps while a reduce needs them."""
        self.workers.down(node)
        if self.state in ("COMMITTING", "PLANNING"):
            return []
        failure = TaskFailed(Cause.LOST_NODE, f"node {node} is down")
        for task in self.maps if self.plan.reducers else ():  # a part is no file of its node (rule J4)
            if task.winner is not None and task.winner.node == node:
                self._revoke(task, failure.message)
        for task in (*self.maps, *self.reduces):
            running = [a for a in task.attempts if a.node == node and a.state is AttemptState.RUNNING]
            for attempt in running:
                if over := self._fail(task, attempt, failure, now):
                    return over
                sometimes("an attempt is lost with its node")
                attempt.state = AttemptState.LOST
        return []

    def _end(self, state: JobPhase, now: float, error: RingmillError | None = None) -> list[Instruction]:
        self.state, self.error = state, error
        tasks = (*self.maps, *self.reduces)
        running = [attempt for task in tasks for attempt in task.attempts if attempt.is_open]
        return [*self._cancel(running, now), EndJob(state, error)]

    def _cancel(self, attempts: Sequence[Attempt], now: float) -> list[Instruction]:
        for attempt in attempts:
            if attempt.state is not AttemptState.LOST:  # which ended with its node
                attempt.ended_at = now
            attempt.state = AttemptState.CANCELLED
            self._looked_at.attempt_ends()
        return [CancelAttempt(attempt.id, attempt.node) for attempt in attempts]

    def _read_by(self, reader: Attempt, map_task: int) -> MapOutput:
        """The output of a map task that a reduce attempt was told to read."""
        source = self._attempt(reader.sources[map_task])
        assert source is not None
        assert isinstance(source.output, MapOutput)
        return source.output

    def _task(self, attempt_id: AttemptId) -> Task:
        return (self.maps if attempt_id.stage == "map" else self.reduces)[attempt_id.task]

    def _attempt(self, attempt_id: AttemptId) -> Attempt | None:
        tasks = self.maps if attempt_id.stage == "map" else self.reduces
        is_known = attempt_id.task < len(tasks)  # else it is of a former stage
        return tasks[attempt_id.task].attempt(attempt_id.number) if is_known else None
