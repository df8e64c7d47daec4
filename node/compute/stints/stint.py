"""A stint: attempts of maps that one task process runs one after the other for one message.

A map of a millisecond costs less than a message to its process, a look for what it has left behind, and a
turn of a thread for its folder.  So these are shared, and nothing else is: each attempt has its folder, its
limits of time, its figures, what it printed, and its own end.  One that fails, or is stopped while it
runs, ends the process; those behind it are run later by themselves.  One that is stopped at another time
harms none: the process is asked to leave off.  So it is when one takes long; those that it leaves undone wait
for another turn.

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
from ringmill.cluster.mapreduce.messages.task_messages import LeaveOff, RunAttempt, RunStint
from ringmill.cluster.mapreduce.messages.task_service import NeedsAnotherProcess
from ringmill.cluster.mapreduce.messages.worker_messages import Assignment, MapAssignment
from ringmill.cluster.mapreduce.outputs import MapOutput
from ringmill.cluster.sometimes import sometimes
from ringmill.node.compute.attempt_runner import AttemptRunner, StintLeftOff
from ringmill.node.compute.stints.at_work import AtWork
from ringmill.node.compute.task_pool import PooledProcess
from ringmill.node.compute.workplace import Workplace, put_away, take_out

__all__ = ["MOST_TOGETHER", "Ended", "Stint", "are_alike", "told_apart"]

MOST_TOGETHER: Final = 32
_LONGEST_S: Final = 0.1
"""How long a process begins further ones: twice as long as they are expected to take together."""
_LATE_S: Final = 0.25
"""How often there is a look whether an attempt takes long: then those that are done are told, and those that
have not begun are given up."""
_SETTLED_S: Final = 5.0
"""For a process that is at nothing any more, until what it has left is taken out."""
_LOST: Final = b"[ringmill] what this attempt printed could not be told from the rest, and is lost\n"

Ended: TypeAlias = MapOutput | TaskFailed


def are_alike(one: Assignment, other: Assignment) -> bool:
    """Whether two attempts of maps can be in one stint."""
    are_maps = isinstance(one, MapAssignment) and isinstance(other, MapAssignment)
    forms = [(each.job, each.term, each.coordinator, each.memory_factor, each.spec) for each in (one, other)]
    return are_maps and forms[0] == forms[1]


def told_apart(printed: bytes, mark: bytes, first: int, count: int) -> list[bytes]:
    """What each of `count` attempts has printed, after the `first` of the stint.

    What each prints ends with a mark; where that is missing, the job's code has closed what it prints to.
    """
    pieces = printed.split(mark)[:-1][first : first + count]
    return pieces + [_LOST] * (count - len(pieces))


@dataclass(slots=True)
class _Done:
    """An attempt that its process has done, and that nobody was told of."""

    runner: AttemptRunner
    run: RunAttempt
    output: MapOutput


@dataclass(slots=True, kw_only=True)
class Stint:
    """`run` it once.  `ended` is told how each attempt ended, and returns whether anybody wants to know;
    `undone` is told of some that the process will not begin.  Those that neither is told of leave nothing
    behind.  `begin` runs a coroutine in a task of the worker."""

    runners: Sequence[AttemptRunner]
    at_work: AtWork
    ended: Callable[[AttemptRunner, Ended], bool]
    undone: Callable[[Sequence[AttemptRunner]], None]
    begin: Callable[[Coroutine[Any, Any, None]], object]
    over: asyncio.Event = field(default_factory=asyncio.Event)
    has_left_off: bool = False  # the process has left the rest undone, of which nothing else is known
    _done: list[_Done] = field(default_factory=list)
    _told: int = 0  # attempts that `ended` was told of
    _settling: asyncio.Lock = field(default_factory=asyncio.Lock)
    _process: PooledProcess | None = None
    _place: Workplace | None = None
    _runs: tuple[RunAttempt, ...] = ()
    _at: AttemptRunner | None = None  # which the process is at, or is about to begin, as far as is known
    _seen: AttemptRunner | None = None  # the same, at the last look
    _late: asyncio.TimerHandle | None = None
    _stopped: set[str] = field(default_factory=set)  # folders of attempts
    _was_asked: bool = False  # to leave off
    _is_broken: bool = False  # the process was killed for one that is stopped
    _is_given_back: bool = False  # others may have the process

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

    async def stop(self, runner: AttemptRunner) -> None:
        """Stop one of its attempts.  Returns when that one writes no more.

        The process is killed when it is at this one alone.  One that is done, or has not begun, is left to
        the rest of the stint: it has no part of the output.
        """
        self._stopped.add(runner.folder)
        if self._at is not None and self._at is not runner:
            await self._ask_to_leave_off()
            return
        if self._at is runner:
            self._break()
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLED_S):
                await self.over.wait()
        if not self.over.is_set() and self._process is not None and not self._is_given_back:
            self._break()  # what it has left is not to be had
        await self.over.wait()

    def _break(self) -> None:
        assert self._process is not None
        self._is_broken = True
        self._process.process.kill()

    async def _ask_to_leave_off(self) -> None:
        """After the attempt that the process is at, or the one after it."""
        if not self._was_asked and self._process is not None:
            self._was_asked = True
            with suppress(BrokenPipeError):  # it is heard by its attempt
                await self._process.process.send(LeaveOff().encode())

    async def _run(self) -> None:
        first = self.runners[0]
        bundle = await first.bundle_here()
        kind = first.process_kind(bundle)
        first.files.mkdir(first.folder)
        self._process = pooled = await first.take_process(kind)
        is_kept = False
        try:
            self._runs = await first.files.off_loop(self._placed, bundle, pooled)
            if self._stopped:
                self.has_left_off = True  # nothing has begun
            else:
                self._at = first
                await pooled.process.send(RunStint(self._runs, pooled.process.mark, _LONGEST_S).encode())
                is_kept = await self._hear_all() and not self._is_broken
        except BrokenPipeError:
            pass  # nothing has begun
        finally:
            self._at = None
            if not is_kept:
                await self._bury(pooled)
        if is_kept:
            self._is_given_back = True
            await first.pool.give_back(pooled)

    async def _hear_all(self) -> bool:
        """Hear how each ended; returns whether the process may be kept."""
        assert self._process is not None
        process, runner = self._process.process, self.runners[0]
        ended_for: TaskFailed | None = None
        self._look_later()
        try:
            for number, run in enumerate(self._runs):
                if number == len(self.runners):  # it goes on, though it was asked to leave off
                    return False
                self._at = runner = self.runners[number]
                self.at_work.begins(runner)
                runner.ended_for = ended_for  # as far as the one before it knows
                output = await runner.run_in_stint(process, run)
                ended_for = runner.ended_for
                assert isinstance(output, MapOutput)
                self.at_work.rests(runner)
                self._done.append(_Done(runner, run, output))
        except StintLeftOff:
            if not self._told and not self._done:
                said = "wrote into the task's own pipe: the end of a stint of which nothing was done"
                await self._fail(runner, TaskFailed(Cause.USER_ERROR, said))
                return False
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
            self._at = None
            if self._late is not None:
                self._late.cancel()
        if self._is_broken or ended_for is not None:  # after its last answer
            return False
        is_well = await self._settle(await process.finish_work())
        if unbegun := self.runners[self._told :]:
            await runner.files.off_loop(self._put_away, self._told, unbegun)
        return is_well

    async def _fail(self, runner: AttemptRunner, failure: TaskFailed) -> None:
        """The attempt that the process was at has failed."""
        assert self._process is not None
        self._at = None
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

    def _put_away(self, first: int, runners: Sequence[AttemptRunner]) -> None:
        """The folders of attempts from number `first` on, while their process may still write in them."""
        for runner, run in zip(runners, self._runs[first:], strict=False):
            put_away(runner.files, run.folder, runner.aside)

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

    def _look_later(self) -> None:
        self._late = asyncio.get_running_loop().call_later(_LATE_S, lambda: self.begin(self._look()))

    async def _look(self) -> None:
        """The stint takes long: whoever can go on does not wait for it."""
        if (at := self._at) is None:
            return
        self._look_later()
        is_same, self._seen = self._seen is at, at
        if is_same and at.folder in self._stopped and not self._is_broken:
            self._break()  # it was about to begin as it was stopped
            return
        await self._ask_to_leave_off()
        await self._settle_some(is_same=is_same)
        if is_same and self._at is at:
            await self._give_up(at)

    async def _settle_some(self, *, is_same: bool) -> None:
        """Tell of those that are done, if all that they printed has come: it has, after another look."""
        if self._at is None or self._process is None or not self._done:
            return
        process = self._process.process
        if is_same or process.output().count(process.mark) >= self._told + len(self._done):
            sometimes("the first attempts of a stint are told early")
            await self._settle(process.output())

    async def _give_up(self, at: AttemptRunner) -> None:
        """Those that the process will not begin, if it has been at one since it was asked to leave off.  It
        may have looked just before that: so the next one stays."""
        async with self._settling:
            left = self.runners.index(at) + 2
            if self._at is not at or left >= len(self.runners):
                return
            given = self.runners[left:]
            self.runners = self.runners[:left]
            with suppress(OSError):
                await at.files.off_loop(self._put_away, left, given)
            self.undone(given)

    async def _settle(self, printed: bytes) -> bool:
        """Tell of those that are done; returns whether each has left what it should."""
        assert self._process is not None
        async with self._settling:
            done, self._done = self._done, []
            first, self._told = self._told, self._told + len(done)
            apart = told_apart(printed, self._process.process.mark, first, len(done))
            for each, output in zip(done, apart, strict=True):
                each.runner.output = output
            files = self.runners[0].files
            results: Sequence[Ended] = [each.output for each in done]
            if done and self._place is not None:
                results = await files.off_loop(_taken_out, done)
            unwanted = [
                each.runner.folder
                for each, result in zip(done, results, strict=True)
                if not self.ended(each.runner, result)
            ]
            if unwanted:
                with suppress(OSError):
                    await files.off_loop(self._remove, unwanted)
        return not any(isinstance(result, TaskFailed) for result in results)


def _taken_out(done: Sequence[_Done]) -> list[Ended]:
    """Move what they have left out of the reach of their process.  It waits for the disk."""
    return [_moved(each) for each in done]


def _moved(done: _Done) -> Ended:
    runner, files = done.runner, done.runner.files
    try:
        if not any(each.length for each in done.output.partitions):  # there is no file that anybody reads
            put_away(files, done.run.folder, runner.aside)
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
