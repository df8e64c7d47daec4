"""A stint: attempts of maps that one task process runs one after the other for one message.

A map of a millisecond costs less than a message to its process, a look for what it has left behind, and a
turn of a thread for its folder.  So these are shared, and nothing else is: each attempt has its folder, its
limits of time, its figures, what it printed, and its own end.  One that fails or is stopped ends the process;
those behind it, and those that the process leaves undone, are run later by themselves.

See: docs/architecture.md, "Task processes".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from ringmill.cluster.mapreduce.failures import Cause, TaskFailed
from ringmill.cluster.mapreduce.file_errors import failure_of
from ringmill.cluster.mapreduce.messages.task_messages import RunAttempt, RunStint
from ringmill.cluster.mapreduce.messages.task_service import NeedsAnotherProcess
from ringmill.cluster.mapreduce.messages.worker_messages import Assignment, MapAssignment
from ringmill.cluster.mapreduce.outputs import MapOutput
from ringmill.cluster.sometimes import sometimes
from ringmill.node.compute.attempt_runner import AttemptRunner, StintLeftOff
from ringmill.node.compute.stints.at_work import AtWork
from ringmill.node.compute.task_pool import PooledProcess
from ringmill.node.compute.workplace import Workplace, take_out

__all__ = ["MOST_TOGETHER", "Ended", "Stint", "are_alike", "told_apart"]

MOST_TOGETHER: Final = 32
_LONGEST_S: Final = 0.1
"""How long a process begins further ones: twice as long as they are expected to take together."""
_LATE_S: Final = 0.25
"""After which the attempts that are done are told, though one of the stint is not."""

Ended: TypeAlias = MapOutput | TaskFailed


def are_alike(one: Assignment, other: Assignment) -> bool:
    """Whether two attempts of maps can be in one stint."""
    are_maps = isinstance(one, MapAssignment) and isinstance(other, MapAssignment)
    forms = [(each.job, each.term, each.coordinator, each.memory_factor, each.spec) for each in (one, other)]
    return are_maps and forms[0] == forms[1]


def told_apart(printed: bytes, mark: bytes, count: int) -> list[bytes]:
    """What each of the last `count` attempts has printed that are over.

    Each ends with a mark; of what was printed in all, the beginning may be missing.
    """
    pieces = printed.split(mark)[:-1][-count:] if count else []
    return [b""] * (count - len(pieces)) + pieces


@dataclass(slots=True)
class _Done:
    """An attempt that its process has done, and that nobody was told of."""

    runner: AttemptRunner
    run: RunAttempt
    output: MapOutput


@dataclass(slots=True, kw_only=True)
class Stint:
    """`run` it once.  `ended` is told how each attempt ended; those that it is not told of have left nothing.
    `begin` runs a coroutine in a task of the worker."""

    runners: Sequence[AttemptRunner]
    at_work: AtWork
    ended: Callable[[AttemptRunner, Ended], None]
    begin: Callable[[Coroutine[Any, Any, None]], object]
    over: asyncio.Event = field(default_factory=asyncio.Event)
    has_left_off: bool = False  # the process has left the rest undone, of which nothing else is known
    _done: list[_Done] = field(default_factory=list)
    _told: int = 0  # attempts that `ended` was told of
    _settling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _process: PooledProcess | None = None
    _place: Workplace | None = None
    _is_broken: bool = False

    async def run(self) -> None:
        """Returns when the process has ended, or is free for others.  Cancelling kills it."""
        sometimes("short maps run in a stint")
        try:
            with suppress(
                Exception
            ):  # of what they have in common: each meets it by itself again, and tells it
                await self._run()
        finally:
            self.over.set()

    async def break_off(self) -> None:
        """One of its attempts is stopped.  Returns when none of them writes any more."""
        self._is_broken = True
        if self._process is not None:
            self._process.process.kill()
        await self.over.wait()

    async def _run(self) -> None:
        first = self.runners[0]
        bundle = await first.bundle_here()
        kind = first.process_kind(bundle)
        first.files.mkdir(first.folder)
        self._process = pooled = await first.take_process(kind)
        is_kept = False
        try:
            runs = await first.files.off_loop(self._placed, bundle, pooled)
            if not self._is_broken:
                await pooled.process.send(RunStint(runs, pooled.process.mark, _LONGEST_S).encode())
                is_kept = await self._hear_all(runs)
        except BrokenPipeError:
            pass  # nothing has begun
        finally:
            if not is_kept:
                await self._bury(pooled)
        if is_kept:
            await first.pool.give_back(pooled)

    async def _hear_all(self, runs: Sequence[RunAttempt]) -> bool:
        """Hear how each ended; returns whether the process may be kept."""
        assert self._process is not None
        process, runner = self._process.process, self.runners[0]
        late = asyncio.get_running_loop().call_later(_LATE_S, self._settle_soon)
        try:
            for runner, run in zip(self.runners, runs, strict=True):
                self.at_work.begins(runner)
                output = await runner.run_in_stint(process, run.folder)
                assert isinstance(output, MapOutput)
                self.at_work.rests(runner)
                self._done.append(_Done(runner, run, output))
        except StintLeftOff:
            sometimes("a process leaves the rest of a stint")
            self.has_left_off = True
        except NeedsAnotherProcess:
            return False
        except TaskFailed as failure:
            if self._is_broken:  # the process was killed for the one that is stopped
                sometimes("a stint is broken off")
            else:
                await self._fail(runner, failure)
            return False
        finally:
            self.at_work.rests(runner)
            late.cancel()
        is_well = await self._settle(await process.finish_work())
        if unbegun := [run.folder for run in runs[self._told :]]:
            await runner.files.off_loop(self._remove, unbegun)
        return is_well

    async def _fail(self, runner: AttemptRunner, failure: TaskFailed) -> None:
        """The attempt that the process was at has failed."""
        assert self._process is not None
        await runner.bury(self._process.process)
        printed = runner.output
        runner.output = printed.rpartition(self._process.process.mark)[2]
        if failure.cause is Cause.OUT_OF_MEMORY:
            failure = runner.with_limit(failure, self._process.kind)
        await self._settle(printed)
        self.ended(runner, failure)

    async def _bury(self, pooled: PooledProcess) -> None:
        """Those that are done count; of all others nothing stays."""
        first = self.runners[0]
        await first.pool.end(pooled.process)
        await self._settle(pooled.process.output())
        left = [runner.folder for runner in self.runners[self._told :]]
        left += self._place.folders if self._place is not None else ()
        await first.files.off_loop(self._remove, left)

    def _remove(self, folders: Sequence[str]) -> None:
        for folder in folders:
            self.runners[0].files.remove_tree(folder)

    def _placed(self, bundle: str, pooled: PooledProcess) -> tuple[RunAttempt, ...]:
        """What the process is to run, in folders that it may write.  It waits for their disk."""
        first, reach = self.runners[0], pooled.kind.reach
        if reach is not None:
            self._place = first.workplace(pooled)
        wire = () if reach is None or self._place is None else reach.writing(*self._place.folders).to_wire()
        runs = []
        for runner in self.runners:
            order = runner.assignment
            assert isinstance(order, MapAssignment)
            if self._place is None:
                runner.files.mkdir(folder := runner.folder)
            else:
                folder, _ = self._place.begin(runner.files, str(order.attempt), is_part=False)
            task, number, factor = order.attempt.task, order.attempt.number, order.memory_factor
            run = RunAttempt(
                "map", task, number, order.spec, bundle, folder, folder, factor, order.split, wire
            )
            runs.append(run)
        return tuple(runs)

    def _settle_soon(self) -> None:
        self.begin(self._settle_some())

    async def _settle_some(self) -> None:
        """Tell of those that are done while another one takes long, if all that they printed has come."""
        assert self._process is not None
        printed, over = self._process.process.output(), self._told + len(self._done)
        if self._done and printed.count(self._process.process.mark) == over:
            sometimes("the first attempts of a stint are told early")
            await self._settle(printed)

    async def _settle(self, printed: bytes) -> bool:
        """Tell of those that are done; returns whether each has left what it should."""
        assert self._process is not None
        async with self._settling:
            done, self._done = self._done, []
            for each, output in zip(
                done, told_apart(printed, self._process.process.mark, len(done)), strict=True
            ):
                each.runner.output = output
            self._told += len(done)
            files = self.runners[0].files
            results: Sequence[Ended] = [each.output for each in done]
            if done and self._place is not None:
                results = await files.off_loop(_taken_out, done)
            for each, result in zip(done, results, strict=True):
                self.ended(each.runner, result)
        return not any(isinstance(result, TaskFailed) for result in results)


def _taken_out(done: Sequence[_Done]) -> list[Ended]:
    """Move what they have left out of the reach of their process.  It waits for the disk."""
    return [_moved(each) for each in done]


def _moved(done: _Done) -> Ended:
    runner, files = done.runner, done.runner.files
    try:
        if not any(each.length for each in done.output.partitions):  # there is no file that anybody reads
            files.remove_tree(done.run.folder)
            return runner.taken_out(done.output)
        files.mkdir(runner.folder)
        if files.is_link(runner.folder):
            return TaskFailed(Cause.USER_ERROR, f"the job's code has put a link at {runner.folder}")
        take_out(files, done.run.folder, runner.left_in)
        return runner.taken_out(done.output)
    except TaskFailed as failure:
        return failure
    except OSError as error:
        return failure_of(error, "the attempt's folder")
