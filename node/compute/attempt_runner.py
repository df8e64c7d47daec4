"""One attempt on this node: fetches its inputs, runs it in a task process, reports how it ended.

Every failure gets one cause here (ringmill.cluster.mapreduce.failures), with the known details: exit code or
signal, the position of the last record, the end of the printed output.

See: docs/architecture.md, "Task processes".
"""

from __future__ import annotations

import asyncio
import posixpath
import signal
from collections.abc import Awaitable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from typing import Any, Final, TypeVar

from ringmill.cluster.errors import CorruptData, DiskFull, InvalidArgument, NotFound, RingmillError
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.attempt_figures import AttemptFigures, PhaseTimes, measured
from ringmill.cluster.mapreduce.commit.output_commit import attempt_folder, staged_part
from ringmill.cluster.mapreduce.failures import Cause, TaskFailed, at_record, last_printed
from ringmill.cluster.mapreduce.file_errors import failure_of
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.kernel.map_kernel import RUN_NAME
from ringmill.cluster.mapreduce.machine.job_events import AttemptId
from ringmill.cluster.mapreduce.messages.reach import TaskContainment, parts_folder
from ringmill.cluster.mapreduce.messages.task_messages import RunAttempt, Said
from ringmill.cluster.mapreduce.messages.task_service import NeedsAnotherProcess
from ringmill.cluster.mapreduce.messages.worker_messages import Assignment, MapAssignment, ReduceAssignment
from ringmill.cluster.mapreduce.outputs import MapOutput, ReduceOutput
from ringmill.cluster.mapreduce.progress import RECORD_MARK, AttemptProgress, record_at
from ringmill.cluster.ports import FileSystem, TaskProcess, Transport
from ringmill.cluster.traces.spans import carried_text
from ringmill.node.compute.bundles import BundleNotKept, BundleStore
from ringmill.node.compute.fetch_window import FetchWindow
from ringmill.node.compute.keyspace_spool import spooled
from ringmill.node.compute.shuffle_client import fetch_slices
from ringmill.node.compute.task_pool import PooledProcess, ProcessKind, TaskPool
from ringmill.node.compute.workplace import Workplace, take_out
from ringmill.node.contracts import KeyspaceAccess
from ringmill.node.node_options import AttemptTimeouts

__all__ = ["AttemptRunner", "StintLeftOff"]

_FETCHED: Final = "in"
_LEFT: Final = "out"  # what a contained process has left, once it is out of its reach
_FETCHING: Final = 0.2  # of the work of a reduce
_LAST_WORDS_S: Final = 5.0
_MOST_MARK_BYTES: Final = 64
_IN_ONE_TURN: Final = 16  # messages of progress, of which an honest process sends two a second
_AT_ONCE, _A_SECOND = 1000, 100

Result = TypeVar("Result", bound=MapOutput | ReduceOutput)


class StintLeftOff(Exception):
    """The process has not begun the attempt, and will not by itself."""


@dataclass(slots=True, kw_only=True)
class AttemptRunner:
    """Runs `assignment`.  After `run`, `output` and `figures` tell of the process it had.

    `folder` is of this attempt; a process that is not contained works in it.  `worker` is the name of this
    start of this node, unique among all that share the folder of the output.

    `progress` of a reduce, and of a map of a keyspace, counts fetched bytes until it runs.
    """

    assignment: Assignment
    spec: JobSpec  # which the assignment carries encoded
    folder: str
    worker: str
    bundles: BundleStore
    pool: TaskPool
    transport: Transport
    keyspaces: KeyspaceAccess
    files: FileSystem
    window: FetchWindow
    timeouts: AttemptTimeouts
    containment: TaskContainment
    phases: PhaseTimes
    progress: AttemptProgress = field(default_factory=AttemptProgress)
    output: bytes = b""
    _peak_bytes: int = 0
    _fetched_bytes: int = 0
    _inside: AttemptFigures | None = None  # as the task process has measured it
    staging: str = ""  # the folder that this attempt has made beside the output; it deletes no other
    was_in_stint: bool = False  # at last
    _process: TaskProcess | None = None  # while it runs there
    ended_for: TaskFailed | None = None  # why its node has ended the process that runs it, or ran it
    unused: tuple[str, ...] = ()  # folders that it has made for its process, and that nobody needs any more

    @property
    def name(self) -> tuple[str, AttemptId]:
        """Of the attempt, among those of all jobs."""
        return self.assignment.job, self.assignment.attempt

    async def run(self) -> MapOutput | ReduceOutput:
        """Run the attempt and return the output of its task process.  Its phases begin here.

        Raises TaskFailed with its cause; SliceLost when a map output cannot be fetched.  Cancelling kills the
        process.
        """
        self.was_in_stint, self.ended_for = False, None
        return await self._within_limits(self._gather_and_run())

    async def run_in_stint(self, process: TaskProcess, run: RunAttempt) -> MapOutput | ReduceOutput:
        """The output of this attempt, which a process has been told to run next.

        Raises TaskFailed with its cause; NeedsAnotherProcess; StintLeftOff, when it has not begun it.
        """
        self.phases.enter(self.assignment.attempt.stage)
        self.was_in_stint = True
        try:
            return await self._within_limits(self._hear(process, run))
        finally:
            self.phases.enter("")

    async def _within_limits(self, work: Awaitable[MapOutput | ReduceOutput]) -> MapOutput | ReduceOutput:
        try:
            async with asyncio.timeout(self.timeouts.wall_s):
                return await work
        except TimeoutError as error:
            text = f"still running after {self.timeouts.wall_s:g} s"
            raise TaskFailed(Cause.TIMEOUT, text, (), self.progress.position) from error
        except OSError as error:  # at this node's own files
            raise failure_of(error, "the attempt's folder") from error

    def figures(self) -> AttemptFigures:
        """What it took; call it once, when it is over."""
        stage = self.assignment.attempt.stage
        figures = measured(self.phases.end(), self._inside, stage, self._peak_bytes)
        return replace(figures, containment=self.containment.level)

    def end_for(self, cause: Cause, why: str) -> bool:
        """Have the attempt fail with this cause, by the end of its process.  False when it has none now, or
        is ended already."""
        if self._process is None or self.ended_for is not None:
            return False
        self.ended_for = TaskFailed(cause, why)
        self._process.kill()
        return True

    async def _gather_and_run(self) -> MapOutput | ReduceOutput:
        self.phases.enter("fetch")
        spec = self.spec
        bundle = await self.bundle_here()
        self.files.mkdir(self.folder)
        if self.files.is_link(self.folder):
            raise TaskFailed(Cause.USER_ERROR, f"the job's code has put a link at {self.folder}")
        if self.writes_part:
            await self._make_staging(spec)
        run = await self._inputs(spec, bundle)
        self.phases.enter("start")
        kind = self.process_kind(bundle)
        pooled = await self.take_process(kind)
        try:
            self.phases.enter(self.assignment.attempt.stage)
            try:
                result = await self._have_run(pooled, run)
            except NeedsAnotherProcess:
                await self.pool.end(pooled.process)
                self.ended_for = None
                pooled = await self.take_process(kind, is_new=True)
                result = await self._have_run(pooled, run)
        except BaseException as error:
            await self.bury(pooled.process)
            if isinstance(error, TaskFailed) and error.cause is Cause.OUT_OF_MEMORY:
                raise self.with_limit(error, kind) from error
            raise
        if self.ended_for is None:
            await self.pool.give_back(pooled)
        else:  # after its last answer
            await self.pool.end(pooled.process)
        if self.staging:  # the name of its folder is as durable as the part in it (rule J6)
            await self.files.off_loop(self.files.fsync_dir, posixpath.dirname(self.staging))
        return result

    def process_kind(self, bundle: str) -> ProcessKind:
        """The kind of process that may run it."""
        spec, assignment = self.spec, self.assignment
        reach = self.containment.reach_of(spec, bundle, posixpath.dirname(self.folder))
        return ProcessKind(
            spec.bundle_sha256, assignment.memory_factor, spec.task_memory_mib, reach, assignment.job
        )

    async def take_process(self, kind: ProcessKind, *, is_new: bool = False) -> PooledProcess:
        """Raises TaskFailed."""
        try:
            return await self.pool.take(kind, self.folder, is_new=is_new)
        except ChildProcessError as error:
            raise TaskFailed(Cause.ENGINE_ERROR, f"no task process: {error}") from error

    async def _have_run(self, pooled: PooledProcess, run: RunAttempt) -> MapOutput | ReduceOutput:
        """What the process has left, where it can change it no more if it is contained."""
        run = await self._placed(pooled, run)
        result = await self._converse(pooled.process, run)
        self.phases.enter("sync" if self.staging else "")
        self.output = await pooled.process.finish_work()
        if not run.reach:
            return result
        self.unused = () if run.folder == run.scratch else (run.scratch,)
        await self.files.off_loop(self._take_out, run)
        return self.taken_out(result)

    def _take_out(self, run: RunAttempt) -> None:
        """Out of the reach of the process, which goes on: what is of use, and what is to be removed."""
        take_out(self.files, run.folder, self.left_in)
        if self.unused:
            with suppress(OSError):  # the job's code has removed or locked it
                self.files.rename(run.scratch, self.aside)
                self.unused = (self.aside,)

    @property
    def aside(self) -> str:
        """Where what nobody needs is put while its process could still write in it."""
        return f"{self.folder}.unused"

    @property
    def left_in(self) -> str:
        """The folder with what a contained process has left, once it is out of its reach."""
        return self.staging or f"{self.folder}/{_LEFT}"

    def taken_out(self, result: Result) -> Result:
        """The result of a contained process, once its file is where it is served or moved from."""
        return replace(result, file=posixpath.join(self.left_in, posixpath.basename(result.file)))

    def workplace(self, pooled: PooledProcess) -> Workplace:
        """The folders that a contained process may write."""
        scratch, name = posixpath.dirname(self.folder), f"process-{self.worker}-{pooled.number}"
        return Workplace.of(name, scratch, parts_folder(self.spec))

    async def _placed(self, pooled: PooledProcess, run: RunAttempt) -> RunAttempt:
        """With the folders that this process may write."""
        if pooled.kind.reach is None:
            return run
        place = self.workplace(pooled)
        self.unused = place.folders
        works_in, leaves_in = await self.files.off_loop(
            place.begin, self.files, str(self.assignment.attempt), is_part=bool(self.staging)
        )
        reach = pooled.kind.reach.writing(*place.folders).to_wire()
        return replace(run, reach=reach, scratch=works_in, folder=leaves_in)

    @property
    def writes_part(self) -> bool:
        """Whether what it leaves may become a part of the output."""
        return self.spec.is_map_only or isinstance(self.assignment, ReduceAssignment)

    async def _make_staging(self, spec: JobSpec) -> None:
        """Create a folder in the staging folder; no attempt writes to a folder that existed before.

        Cancelled meanwhile, it may leave one: the file system of the output may hang.
        """
        folder = attempt_folder(spec.output, spec.staging, self.assignment.attempt)
        try:
            await self.files.off_loop(self.files.make_folder, folder)
        except FileExistsError as error:
            raise TaskFailed(Cause.ENGINE_ERROR, f"{folder} was there before the attempt") from error
        self.staging = folder

    def with_limit(self, failure: TaskFailed, kind: ProcessKind) -> TaskFailed:
        """A failure for want of memory, with what there was."""
        limits = self.pool.limits_of(kind)
        said, had_mib = failure.message, limits["family_bytes"] >> 20
        text = f"{said}; this try had {had_mib} MiB, for the process and all that it started"
        if said.startswith(MemoryError.__name__):  # it reserved too much, if the machine has not run out
            text += f", and could reserve {limits['as_bytes'] >> 20} MiB"
        if self.assignment.memory_factor > 1:
            text += f"; job(task_memory_mib={2 * had_mib}) asks for more"
        return replace(failure, message=text)

    async def bundle_here(self) -> str:
        """The path of the job's code.  Raises TaskFailed."""
        try:
            return await self.bundles.ensure(self.spec.bundle_sha256, self.assignment.coordinator)
        except (CorruptData, NotFound, InvalidArgument) as error:
            raise TaskFailed(Cause.BAD_BUNDLE, str(error)) from error
        except DiskFull as error:
            raise TaskFailed(Cause.DISK_FULL, str(error)) from error
        except BundleNotKept as error:
            raise TaskFailed(Cause.ENGINE_ERROR, str(error)) from error
        except RingmillError as error:
            raise TaskFailed(
                Cause.LOST_NODE, f"bundle from {self.assignment.coordinator}: {error}"
            ) from error

    async def _inputs(self, spec: JobSpec, bundle: str) -> RunAttempt:
        assignment = self.assignment
        identity = assignment.attempt
        if isinstance(assignment, MapAssignment):
            return RunAttempt(
                "map", identity.task, identity.number, assignment.spec, bundle, self.folder,
                self.staging or self.folder,
                assignment.memory_factor, await self._split(spec, assignment.split),
            )  # fmt: skip
        self.progress = AttemptProgress(bytes_total=sum(piece.length for piece in assignment.slices))
        fetched = await fetch_slices(
            assignment.job, assignment.slices, f"{self.folder}/{_FETCHED}",
            transport=self.transport, files=self.files, window=self.window,
            arrived=self._arrived,
        )  # fmt: skip
        return RunAttempt(
            "reduce", identity.task, identity.number, assignment.spec, bundle, self.folder, self.staging,
            assignment.memory_factor, slices=tuple(fetched),
        )  # fmt: skip

    async def _split(self, spec: JobSpec, row: Sequence[Any]) -> Sequence[Any]:
        """The split as the task process gets it."""
        if not spec.reads_keyspace:
            return row
        split = Split.from_wire(row)
        if split.span is None:
            return row
        self.progress = AttemptProgress(bytes_total=split.size)
        read = await spooled(
            split, spec, self.folder,
            keyspaces=self.keyspaces, files=self.files, arrived=self._arrived,
        )  # fmt: skip
        return read.to_wire()

    def _arrived(self, size: int) -> None:
        self._fetched_bytes += size
        self.progress = replace(self.progress, bytes_done=int(self._fetched_bytes * _FETCHING))

    def _weighed(self, told: AttemptProgress) -> AttemptProgress:
        """The progress of the process, as part of that of the attempt."""
        if not isinstance(self.assignment, ReduceAssignment):
            return told
        done = told.bytes_total * _FETCHING + told.bytes_done * (1 - _FETCHING)
        return replace(told, bytes_done=int(done))

    async def _converse(self, process: TaskProcess, run: RunAttempt) -> MapOutput | ReduceOutput:
        """Send the task and listen until it is done or has failed."""
        try:
            await process.send(replace(run, trace=carried_text()).encode())
        except BrokenPipeError as error:
            raise await self._broken_off(process, run, error) from error
        return await self._hear(process, run)

    async def _hear(self, process: TaskProcess, run: RunAttempt) -> MapOutput | ReduceOutput:
        """Listen until the attempt, which the process is at, is done or has failed."""
        pace = _ProgressPace()
        self._process = process
        try:
            while True:
                said = await self._listen(process)
                if said.kind == "done":
                    body, figures = said.body
                    self._inside = AttemptFigures.from_wire(figures)
                    return self._result(body, run.folder)
                if said.kind == "failed":
                    raise TaskFailed.from_wire(said.body)
                if said.kind == "other":
                    raise NeedsAnotherProcess
                if said.kind == "rest":
                    raise StintLeftOff
                self.progress = self._weighed(AttemptProgress.from_wire(said.body))
                await pace.told()
        except EOFError as error:
            raise await self._broken_off(process, run, error) from error
        except (ValueError, TypeError, LookupError, RecursionError) as error:
            raise TaskFailed(Cause.USER_ERROR, f"wrote into the task's own pipe: {error}") from error
        finally:
            self._process = None

    def _result(self, body: Any, folder: str) -> MapOutput | ReduceOutput:
        """The output of the attempt, in the folder that it was given.

        Raises ValueError, TypeError or LookupError if the process sent another one.
        """
        name = RUN_NAME
        if self.writes_part:
            name = posixpath.basename(staged_part(self.spec, self.assignment.attempt))
        path = posixpath.join(folder, name)
        if isinstance(self.assignment, MapAssignment):
            mapped = MapOutput.from_wire(body)
            return _at(path, mapped.file, mapped)
        reduced = ReduceOutput.from_wire(body)
        return _at(path, reduced.file, reduced)

    async def _listen(self, process: TaskProcess) -> Said:
        limit = self.timeouts.no_progress_s
        try:
            async with asyncio.timeout(limit):
                return Said.decode(await process.receive())
        except TimeoutError as error:
            text = f"no record finished within {limit:g} s"
            raise TaskFailed(Cause.NO_PROGRESS, text, (), self.progress.position) from error

    async def _broken_off(self, process: TaskProcess, run: RunAttempt, error: Exception) -> TaskFailed:
        """The cause when the pipe broke: usually the process has ended, else user code wrote to the pipe."""
        if self.ended_for is not None:
            return replace(self.ended_for, position=self.progress.position)
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                ending = self._ending(process, await process.wait())
        except TimeoutError:
            return TaskFailed(
                Cause.USER_ERROR, f"spoilt the task's own pipe: {error}", (), self.progress.position
            )
        record = await self.files.off_loop(self._record_of, run) if self._leaves_mark else 0
        if not record:
            return ending
        read = f"; it had read {ending.position}" if ending.position else ""
        return replace(ending, message=ending.message + read, position=at_record(record))

    @property
    def _leaves_mark(self) -> bool:
        """Whether its process tells the record that map has (rule J19)."""
        if not self.spec.bad_records or not isinstance(self.assignment, MapAssignment):
            return False
        return self.spec.has_sure_numbers(Split.from_wire(self.assignment.split).source)

    def _record_of(self, run: RunAttempt) -> int:
        """The record that map had when the process ended; 0 for none (rule J19).

        What the job's code has put there instead, a pipe or a link, is neither waited for nor followed.
        """
        path = f"{run.scratch}/{RECORD_MARK}"
        try:
            with closing(self.files.open_below(posixpath.dirname(run.scratch), path)) as mark:
                return record_at(mark.pread(_MOST_MARK_BYTES, 0))
        except OSError:
            return 0

    def _ending(self, process: TaskProcess, code: int) -> TaskFailed:
        """The cause when the process ended without a result."""
        last = last_printed(process.output().rpartition(process.mark)[2])  # not what one before it printed
        said = f"; it last printed: {last}" if last else ""
        position = self.progress.position
        if process.breach == "family_bytes":
            return TaskFailed(Cause.OUT_OF_MEMORY, last.removeprefix("[ringmill] "), (), position)
        if code == -signal.SIGXCPU:
            return TaskFailed(Cause.TIMEOUT, "used up its processor time", (), position)
        if code < 0:
            name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
            why = ", as the kernel does when the machine's memory runs out" if code == -signal.SIGKILL else ""
            return TaskFailed(Cause.KILLED, f"the task process was ended by {name}{why}{said}", (), position)
        text = f"the task process left with exit code {code} before its task was done{said}"
        return TaskFailed(Cause.USER_ERROR, text, (), position)

    async def bury(self, process: TaskProcess) -> None:
        """Kill the process and wait; this ends soon, unless it hangs in the kernel."""
        await self.pool.end(process)
        self.output = process.output()
        self._peak_bytes = process.peak_bytes


def _at(path: str, file: str, result: Result) -> Result:
    """The result, when its file is the one that the attempt was to write: it will be served or moved."""
    if file != path:
        raise ValueError(f"the output {file!r:.200} is not {path}")
    return result


class _ProgressPace:
    """Bounds how often progress is told: user code may write it without end, and each is work of the loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._begun = self._loop.time()
        self._told = 0

    async def told(self) -> None:
        """Gives way to others now and then.  Raises ValueError when it is told too often."""
        self._told += 1
        if self._told % _IN_ONE_TURN == 0:
            await asyncio.sleep(0)
        if self._told > _AT_ONCE + _A_SECOND * (self._loop.time() - self._begun):
            raise ValueError(f"told of its progress more than {_A_SECOND} times a second")
