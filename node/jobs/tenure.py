"""What one node does while it holds the coordinator's lease.

It takes over the jobs that are open, accepts new ones, drives each to its end, and keeps the list of them.

A job is accepted when its description and plan are in its journal, its name is in the list, and its code is
on another member where there is one.  It begins before that: nothing it does can be seen from outside until
its name is in the list.
Rules J12, J13, J20 and J29: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import count
from types import TracebackType
from typing import Any, Final, Self

from ringmill.cluster.consensus.forgotten_journals import ForgottenJournals, JournalPlace
from ringmill.cluster.consensus.leases import AsyncLease
from ringmill.cluster.errors import (
    Conflict,
    DiskFull,
    InvalidArgument,
    NotFound,
    RingmillError,
    Unavailable,
)
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.chains.stage_specs import rounds_of, stage_of
from ringmill.cluster.mapreduce.api.chains.stages import START
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.commit.output_commit import remove_stages, remove_staging
from ringmill.cluster.mapreduce.files.input_plan import InputPlan
from ringmill.cluster.mapreduce.files.splits import Split
from ringmill.cluster.mapreduce.machine.job_events import TakenOver
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.job_plan import JobPlan
from ringmill.cluster.mapreduce.machine.journal_entries import StoredJob
from ringmill.cluster.mapreduce.summary.job_flow import NO_FLOW
from ringmill.cluster.ports import Priority
from ringmill.cluster.sometimes import sometimes
from ringmill.cluster.traces.spans import carried_trace, in_no_span
from ringmill.node.contracts import BundleSource
from ringmill.node.jobs.job_driver import JobDriver
from ringmill.node.jobs.journal.cells import INDEX, Fenced
from ringmill.node.jobs.journal.forgotten_mark import is_deleted, tell_forgotten
from ringmill.node.jobs.journal.job_index import IndexRow, JobIndex
from ringmill.node.jobs.journal.journal_reader import sealed, slots_used, stored_job
from ringmill.node.jobs.keyspaces.kept_snapshot import snapshot_name
from ringmill.node.jobs.keyspaces.keyspace_plan import all_splits, keyspace_splits, output_id
from ringmill.node.jobs.stages.planning_turns import PlanningTurns
from ringmill.node.jobs.surroundings import Surroundings

__all__ = ["JOB_OPEN", "Tenure"]

JOB_OPEN: Final = "job.open"
_log = logging.getLogger(__name__)
_SPREAD_TIMEOUT_S: Final = 0.8
_CODE_TIMEOUT_S: Final = 5.0
_KEPT_WITHIN_S: Final = 1.5  # and a turn to plan has taken 2.5 s: a client waits for 5 s
_COPIES: Final = 2
_AGAIN_S: Final = 0.05
_WIND_UP_S: Final = 1.0
_REMOVAL_TIMEOUT_S: Final = 5.0
_CODE_TRIES: Final = 120
_CODE_PAUSE_S: Final = 0.5
_DELETE_PAUSE_S: Final = 0.5
_PUT_AWAY_S: Final = 2.0


class Tenure:
    """`open` it once the lease is held, then `async with` it while that is so.

    `jobs` are those that this node can tell of, ended ones included.  What this tenure drives is added, and
    taken away when another coordinator has it.
    """

    def __init__(
        self, world: Surroundings, lease: AsyncLease, bundles: BundleSource, jobs: dict[str, JobDriver]
    ) -> None:
        self.term = lease.term
        self.ended = asyncio.Event()
        """Set when there has been nothing to do for a while, or another coordinator was met."""
        self._world = world
        self._lease = lease
        self._bundles = bundles
        self._jobs = jobs
        self._planning = PlanningTurns()
        self._work: dict[str, asyncio.Task[None]] = {}
        self._keeping: dict[str, asyncio.Task[RingmillError | None]] = {}  # jobs that are being accepted
        self._without_code: dict[str, str] = {}  # of those: why no other member has the code by now
        self._telling: set[asyncio.Task[str]] = set()
        self._busy = 0
        self._idle: asyncio.TimerHandle | None = None
        self._accepted = 0
        self._unlisted: set[str] = set()  # journals of this term that may still come into the list
        self._group = asyncio.TaskGroup()

    async def open(self, *, is_wanted: bool) -> None:
        """Shut out the former coordinator; the jobs that it has left are taken over from then on.

        `is_wanted` says that a job waits for this tenure.  Raises Fenced; CorruptData or ProtocolMismatch for
        a list of jobs that cannot be read.
        """
        cells = self._world.cells
        most_over = self._world.options.kept_jobs
        self._index = JobIndex(cells, self.term, await cells.read(INDEX), most_over=most_over)
        self._drop_forgotten()
        if is_wanted or not all(row.is_over for row in self._index.rows.values()):
            await self._index.seal()
        else:
            self.ended.set()

    def _drop_forgotten(self) -> None:
        """Of the jobs that ended here: those that another coordinator has forgotten, or had anew, since."""
        rows = self._index.rows
        for job, driver in list(self._jobs.items()):
            if driver.is_over and (job not in rows or rows[job].journal != driver.journal.name):
                del self._jobs[job]

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        for row in self._index.rows.values():
            if not row.is_over:
                self._begin_work(row.job, self._take_over(row))
        self._look_whether_idle()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._idle is not None:
            self._idle.cancel()
        for task in [*self._work.values(), *self._keeping.values(), *self._telling]:
            task.cancel()
        await self._group.__aexit__(kind, error, trace)

    @property
    def open_jobs(self) -> int:
        return len(self._work)

    @property
    def is_replaying(self) -> bool:
        """Whether jobs that were open are not yet driven."""
        return any(job not in self._jobs for job in self._work)

    async def wind_up(self) -> None:
        """Before the jobs are handed over: begin nothing more, and keep all that was begun."""
        drivers = [self._jobs[job] for job in self._work if job in self._jobs]
        for driver in drivers:
            driver.begin_no_more()
        with suppress(TimeoutError, Fenced):
            async with asyncio.timeout(_WIND_UP_S):
                await gather_all(driver.journal.flush() for driver in drivers)

    async def accept(self, spec: JobSpec, bundle_from: NodeId) -> None:
        """Accept a job; every check that can refuse it is made here.  A repeated submission is the same job.

        Raises InvalidArgument for a job that is not valid, or whose name another job has; NotFound when its
        code is nowhere; Overloaded when too many jobs are open or planned; Unavailable, with outcome
        "unknown" when it may have been accepted.
        """
        with self._being_busy():
            while spec.job in self._work and spec.job not in self._jobs:  # noqa: ASYNC110 - it is replayed
                await asyncio.sleep(_AGAIN_S)
            known = await self._known(spec.job)
            if known is None:
                await self._have_code(spec, bundle_from)
                async with self._planning.of(spec.job):
                    known = await self._known(spec.job)
                    if known is None:
                        begun = [self._jobs[each].spec for each in self._work if each in self._jobs]
                        self._index.check_room(spec, [*begun, *self._planning.planned])
                        async with self._planning.place(spec):
                            known = await self._accept_new(spec)
            if known.asked != spec.asked:
                raise InvalidArgument(f"job id {spec.job!r} is taken by another job")
            if (keeping := self._keeping.get(spec.job)) is not None:
                # whoever asked may be gone: it is kept all the same
                if not (await asyncio.wait([keeping], timeout=_KEPT_WITHIN_S))[0]:
                    raise self._not_kept(spec.job)
                if keeping.cancelled():
                    raise Unavailable(f"{self._world.node} coordinates no more", outcome="unknown")
                if (error := keeping.result()) is not None:
                    raise error.with_outcome("unknown") from error

    async def _have_code(self, spec: JobSpec, source: NodeId) -> None:
        """Raises RingmillError; Unavailable where another node may do better."""
        try:
            await self._bundles.ensure(spec.bundle_sha256, source)
        except DiskFull as error:
            if self._work:  # no other node coordinates while this one does
                raise
            raise Unavailable(error.message, hint=error.hint, outcome="failed") from error

    async def _known(self, job: str) -> JobSpec | None:
        driver = self._jobs.get(job)
        if driver is not None and (driver.is_over or job in self._work):
            return driver.spec
        row = self._index.rows.get(job)
        if row is None:
            return None
        stored = await stored_job(self._world.cells, row.journal)
        return None if stored is None else stored.spec

    async def _accept_new(self, spec: JobSpec) -> JobSpec:
        self._lease.check()
        self._accepted += 1
        spec = replace(spec, planned=f"{self.term}.{self._accepted}")
        journal = f"{spec.job}.{spec.planned}"
        self._unlisted.add(journal)
        try:
            spec = replace(spec, output_id=await output_id(spec, self._world.keyspaces))
            plan = await self._plan(spec, await keyspace_splits(spec, self._world.keyspaces))
        except BaseException:
            self._unlisted.discard(journal)
            raise
        parts, links = stage_of(spec, START).partitions, rounds_of(spec)
        machine = JobMachine(JobPlan(spec.job, plan.splits, parts, plan.notes, spec.bad_records, links))
        noted = replace(spec, noted=plan.noted)
        job = StoredJob(noted, self._world.wall(), 0.0, machine, carried_trace())
        driver = JobDriver(job, self._world, journal=journal, term=self.term)
        row = IndexRow(spec.job, journal, spec.title, spec.shown_output, job.submitted_at)
        self._jobs[spec.job] = driver
        self._begin_work(spec.job, self._drive(driver, row))
        self._keeping[spec.job] = self._group.create_task(self._keep(driver, row))
        return spec

    async def _plan(self, spec: JobSpec, of_keyspaces: tuple[Split, ...]) -> InputPlan:
        """With all that the job reads.  What is refused leaves no folder, and no snapshot held."""
        try:
            plan = await self._world.job_steps.plan(spec)
            try:
                self._check_still()
                return replace(plan, splits=all_splits(spec, plan.splits, of_keyspaces))
            except (Unavailable, InvalidArgument):
                await self._remove_folders(spec)
                raise
        except BaseException:
            if name := snapshot_name(spec):
                await self._world.keyspaces.release_snapshot(name)
            raise

    def _check_still(self) -> None:
        """Raises Unavailable when another node may have what was planned by now."""
        self._lease.check()
        if self.ended.is_set():
            raise Unavailable(f"{self._world.node} coordinates no more", outcome="failed")

    async def _remove_folders(self, planned: JobSpec) -> None:
        """Those that planning has made."""
        files = self._world.files
        with suppress(OSError):
            async with asyncio.timeout(_REMOVAL_TIMEOUT_S):
                await files.off_loop(remove_staging, files, planned.staging, planned.output)
                await files.off_loop(remove_stages, files, planned)

    async def _keep(self, driver: JobDriver, row: IndexRow) -> RingmillError | None:
        """Returns once the job outlives this node; else why it may not."""
        spreading = self._group.create_task(self._spread(driver))
        try:
            await gather_all([self._list(driver, row), driver.journal.flush()])
            await spreading
        except RingmillError as error:
            if isinstance(error, Fenced):
                self.ended.set()
            return error
        finally:
            spreading.cancel()  # whoever is fenced does not wait for members that keep the code
            self._without_code.pop(row.job, None)
        self._keeping.pop(row.job, None)
        return None

    def _not_kept(self, job: str) -> Unavailable:
        why = self._without_code.get(job) or "too few nodes answer to note it"
        return Unavailable(
            f"job {job} has begun at {self._world.node} and may not outlive that node: {why}",
            hint=f"submit it again, or look with `ringmill job status {job}`",
            outcome="unknown",
        )

    async def _list(self, driver: JobDriver, row: IndexRow) -> None:
        await self._index.put(row)
        self._unlisted.discard(row.journal)
        driver.listed.set()

    def _begin_work(self, job: str, work: Coroutine[Any, Any, None]) -> None:
        self._work[job] = in_no_span(self._group.create_task, self._guarded(work))
        self._work[job].add_done_callback(lambda _: self._end_work(job))  # also of one that never began

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Fenced:
            sometimes("a job has another coordinator")
            self.ended.set()

    def _end_work(self, job: str) -> None:
        self._work.pop(job, None)
        driver = self._jobs.get(job)
        if driver is not None and not driver.is_over:  # it goes on elsewhere
            del self._jobs[job]
            driver.give_up()
        self._look_whether_idle()

    async def _drive(self, driver: JobDriver, row: IndexRow) -> None:
        has_crashed = True
        try:
            await driver.run()
            has_crashed = False
        except BaseExceptionGroup as group:
            if group.subgroup(Fenced) is not None:
                raise Fenced(f"job {row.job} has another coordinator", outcome="failed") from group
            self._crash(driver, group)
        except Exception as error:  # noqa: BLE001 - the fault of one job must not end the node
            self._crash(driver, error)
        finally:
            self._world.slot_freed()
        view = driver.last_view()
        over = row.ended(self._world.node, view.state, view.seconds, view.why)
        entries, retried = driver.journal.number, view.summary.retried
        if has_crashed:  # an entry that was under way may have been written
            entries = await slots_used(self._world.cells, row.journal)
        try:
            dropped = await self._index.put(over.counted(entries, retried, view.flow))
        except (InvalidArgument, ValueError, OverflowError) as error:  # no figure may end the node
            _log.error("the figures of job %s are not kept: %s", row.job, error)
            dropped = await self._index.put(over.counted(entries, retried, NO_FLOW))
        if has_crashed and not driver.is_over:  # only now: another one might have gone on with it (J12)
            driver.settle()
            try:
                await driver.clean_up()
            except Exception as error:  # noqa: BLE001 - perhaps the same fault; it must not end the node
                self._leave(driver, error)
        if not has_crashed:  # else its journal may not tell how it ended
            driver.let_go()
        await self._forget(dropped)

    def _crash(self, driver: JobDriver, error: BaseException) -> None:
        _log.error("job %s ends by a fault of its coordinator", driver.spec.job, exc_info=error)
        driver.crash(error)

    def _leave(self, driver: JobDriver, error: BaseException) -> None:
        """The end of the job is told and stays: what it has left is of no use, and in nobody's way."""
        _log.error("what job %s has left is not removed, by a fault", driver.spec.job, exc_info=error)

    async def _take_over(self, row: IndexRow) -> None:
        try:
            found = await sealed(self._world.cells, row.journal, self.term, self._world.node)
            if found is None:
                await self._drop(row)
                return
            job, read = found
            resumed = job.machine.handle(TakenOver(self._world.node), job.at)
        except Fenced:
            raise
        except Exception as error:  # noqa: BLE001 - neither damage nor another version may end the node
            _log.error("job %s cannot go on: %s", row.job, error)
            why = f"its journal cannot be gone on with: {error}"
            over = row.ended(self._world.node, "FAILED", row.seconds, why)
            entries = await slots_used(self._world.cells, row.journal)
            await self._forget(await self._index.put(over.counted(entries, row.retried, row.flow)))
            return
        sometimes("a job is taken over")
        if job.machine.state in ("PENDING", "RUNNING", "PLANNING") or job.machine.chain.links:
            await self._fetch_code(job.spec)
        job.catch_up(self._world.wall())
        driver = JobDriver(
            job, self._world, journal=row.journal, term=self.term, number=read.next_number, base=read.base,
            resumed=resumed,
        )  # fmt: skip
        self._jobs[row.job] = driver
        await self._drive(driver, row)

    async def _fetch_code(self, spec: JobSpec) -> None:
        """Workers that lack the code ask this node for it.  A node that has it may be back soon."""
        for _ in range(_CODE_TRIES):
            if name := snapshot_name(spec):  # nobody else does it before the job is driven (rule J27)
                await self._world.keyspaces.keep_snapshot(name)
            with suppress(RingmillError):  # a full disk, too: workers that have the code need no other one
                await self._world.code_of(spec)
                return
            await asyncio.sleep(_CODE_PAUSE_S)

    async def _spread(self, driver: JobDriver) -> None:
        """Tell the other members that there is a job to look after; some of them keep its code as well.

        Returns when one of them has it, none of them is up, or the job is over; the others are told beside.
        """
        job, sha256 = driver.spec.job, driver.spec.bundle_sha256
        told = [self._tell(node, sha256 if at < _COPIES else "") for at, node in enumerate(self._others())]
        copies = told[:_COPIES]
        for turn in count(_COPIES):
            await _one_has_ended(copies, _SPREAD_TIMEOUT_S)
            refusals = [each.result() for each in copies if each.done()]
            if "" in refusals or driver.is_over or not (others := self._others()):
                return
            if refusals:
                self._without_code[job] = f"no other member keeps its code: {refusals[0]}"
            copies = [each for each in copies if not each.done()]  # slow, as the code may be large
            if turn >= len(others):  # all have been asked
                await (_one_has_ended(copies, _CODE_PAUSE_S) if copies else asyncio.sleep(_CODE_PAUSE_S))
            if len(copies) < len(others):
                copies.append(self._tell(others[turn % len(others)], sha256))

    def _others(self) -> list[NodeId]:
        return [node for node in self._world.members_up() if node != self._world.node]

    def _tell(self, node: NodeId, sha256: str) -> asyncio.Task[str]:
        telling = self._group.create_task(self._told(node, sha256))
        self._telling.add(telling)
        telling.add_done_callback(self._telling.discard)
        return telling

    async def _told(self, node: NodeId, sha256: str) -> str:
        """Why the member may not have heard, or may lack the code; "" if it has both."""
        timeout_s = _CODE_TIMEOUT_S if sha256 else _SPREAD_TIMEOUT_S
        try:  # who is not there now looks for jobs when it is back
            await self._world.transport.call(
                node, JOB_OPEN, sha256.encode(), timeout_s=timeout_s, priority=Priority.CONTROL
            )
        except RingmillError as error:
            return f"{node}: {error}"
        return ""

    async def _forget(self, rows: Sequence[IndexRow]) -> None:
        """Of jobs that ended long ago no value is kept; owners remove the registers of their journals (J29).

        One whose journal cannot be deleted now stays in the list, and its turn comes again with the next job
        that ends.
        """
        for row in rows:
            if await is_deleted(self._world.cells, row) and await self._index.drop(row):
                driver = self._jobs.get(row.job)
                if driver is not None and driver.journal.name == row.journal:  # not submitted again
                    del self._jobs[row.job]
        if rows:
            following = JournalPlace(self.term, self._accepted + 1)
            listed = [row.journal for row in self._index.rows.values()]
            told = ForgottenJournals.beside(following, self._unlisted, listed)
            await tell_forgotten(self._world.cells, told)

    async def purge(self, job: str) -> str:
        """Forget a job that is over now, as if many had followed it; returns the name of its journal.

        Raises NotFound; Conflict for one that is not over; Unavailable while its journal cannot be deleted,
        or what it has left is put away.
        """
        with self._being_busy():
            work, driver = self._work.get(job), self._jobs.get(job)
            if work is not None and driver is not None and driver.is_over:
                done, _ = await asyncio.wait([work], timeout=_PUT_AWAY_S)
                if not done:
                    message = f"job {job} is over, and what it has left is being put away"
                    raise Unavailable(message, hint="ask again", outcome="failed")
            row = self._index.rows.get(job)
            if job in self._work or (row is not None and not row.is_over):
                raise Conflict(f"job {job} is not over", hint=f"`ringmill job kill {job}` ends it")
            if row is None:
                raise NotFound(f"no job {job!r}", hint="see `ringmill job list`")
            await self._forget([row])
            if self._index.rows.get(job) == row:
                why = "too few nodes answer to remove its journal; some of that may be gone"
                raise Unavailable(f"job {job} stays in the history: {why}", outcome="unknown")
        return row.journal

    async def _drop(self, row: IndexRow) -> None:
        """Of a job that was never accepted: its journal goes first, or nobody would know of it any more."""
        row_of_all = replace(row, entries=await slots_used(self._world.cells, row.journal))
        while not await is_deleted(self._world.cells, row_of_all):  # noqa: ASYNC110 - nothing tells when owners are back
            await asyncio.sleep(_DELETE_PAUSE_S)
        await self._index.drop(row)

    @contextmanager
    def _being_busy(self) -> Iterator[None]:
        self._busy += 1
        try:
            yield
        finally:
            self._busy -= 1
            self._look_whether_idle()

    def _look_whether_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if not self._work and not self._busy and not self.ended.is_set():
            keep_s = self._world.options.keep_lease_s
            self._idle = asyncio.get_running_loop().call_later(keep_s, self.ended.set)


async def _one_has_ended(tasks: Sequence[asyncio.Task[str]], patience_s: float) -> None:
    if tasks:
        await asyncio.wait(tasks, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
