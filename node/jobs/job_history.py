"""What any node can tell of the cluster's jobs: it reads the list, and their journals.

Of a job that runs its coordinator knows more than its journal has: how far attempts are, and what began a
moment ago.  The printed output of attempts is kept by the coordinator that a job had at its end, in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import NamedTuple

import msgpack

from ringmill.cluster.errors import JobFailed, NotFound, Unavailable, to_wire
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.chains.stage_specs import stage_of
from ringmill.cluster.mapreduce.machine.journal_entries import StoredJob
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary, attempts_of
from ringmill.cluster.mapreduce.summary.job_summary import OPEN, JobSummary
from ringmill.node.jobs.journal.cells import INDEX, Cells
from ringmill.node.jobs.journal.job_index import IndexRow, listed_jobs
from ringmill.node.jobs.journal.journal_reader import stored_job
from ringmill.node.jobs.publication import copies_left
from ringmill.node.jobs.views import JobView, ListView, view_of

__all__ = ["JobHistory", "TaskRow"]


class TaskRow(NamedTuple):
    """The description by which a map task runs, and its split, as on the wire."""

    spec: bytes
    split: bytes


class JobHistory:
    """`wall` is the clock by which jobs are timed."""

    def __init__(self, cells: Cells, wall: Callable[[], float]) -> None:
        self._cells = cells
        self._wall = wall

    async def rows(self) -> list[IndexRow]:
        """The jobs that were accepted, oldest first.  Raises RingmillError."""
        _, rows = listed_jobs((await self._cells.look(INDEX)).value)
        return list(rows.values())

    async def listed(self) -> ListView:
        """The jobs that were accepted, in brief.  Raises RingmillError."""
        term, rows = listed_jobs((await self._cells.look(INDEX)).value)
        return ListView(tuple(_brief(row) for row in reversed(rows.values())), term)

    async def view(self, job: str, *, noted: bool = False) -> JobView:
        """A job that is over; with `noted` also one that the list does not have so, as its journal has it,
        without a node.  An end that the journal has may have been told (rule J12), but for one that waits
        until copies are removed (rule J26).

        Raises NotFound; Unavailable for one that another node coordinates, or whose journal is not whole.
        """
        row, stored = await self._find(job, noted=noted)
        if stored is None:
            return _brief(row)
        stored.catch_up(self._wall())
        view = replace(view_of(stored, NodeId(row.node)), left=None)
        waits = not row.is_over and copies_left(stored.stage, stored.machine)
        return view.running() if waits else view

    async def attempts(self, job: str, *, noted: bool = False) -> Iterator[AttemptSummary]:
        """The attempts of a job, as `view` has it.  Raises like `view`."""
        _, stored = await self._find(job, noted=noted)
        return iter(()) if stored is None else attempts_of(stored)

    async def task(self, job: str, task: str) -> TaskRow:
        """What a map task of a job runs, also of one that is not over: of a chain, in its present or last
        stage.  Raises NotFound; Unavailable while the journal cannot be read whole."""
        stored = await self._whole(await self._row(job))
        maps = {each.name: each for each in stored.machine.maps}
        if task not in maps:
            last = f"map-0 to map-{len(maps) - 1}" if maps else "no maps"
            raise NotFound(f"job {job} has no map task {task!r:.80}; it has {last}")
        split = maps[task].reads(stored.machine.plan.splits[maps[task].index])
        spec = stage_of(stored.spec, stored.machine.chain.place)
        return TaskRow(spec.encode(), msgpack.packb(split.to_wire(), unicode_errors="surrogatepass"))

    async def code_in_use(self) -> set[str]:
        """The SHA-256 of the bundles of all jobs that are open.

        Raises RingmillError; Unavailable while one of them is not told whole.
        """
        code = set()
        for row in await self.rows():
            if not row.is_over:
                code.add((await self._whole(row)).spec.bundle_sha256)
        return code

    async def _find(self, job: str, *, noted: bool) -> tuple[IndexRow, StoredJob | None]:
        """A job, without its journal when it ended by a fault of its coordinator."""
        row = await self._row(job)
        stored = await stored_job(self._cells, row.journal) if row.is_over or noted else None
        if row.is_over:
            return row, stored if stored is not None and stored.machine.is_over else None
        if stored is None:
            raise Unavailable(
                f"job {job} goes on with another coordinator, or waits for one",
                detail={"open_job": job},
                outcome="failed",
            )
        return row, stored

    async def _row(self, job: str) -> IndexRow:
        row = next((each for each in await self.rows() if each.job == job), None)
        if row is None:
            raise NotFound(f"no job {job!r}", hint="see `ringmill job list`")
        return row

    async def _whole(self, row: IndexRow) -> StoredJob:
        stored = await stored_job(self._cells, row.journal)
        if stored is None:
            raise Unavailable(f"the journal of job {row.job} is not whole", outcome="failed")
        return stored


def _brief(row: IndexRow) -> JobView:
    failed = JobFailed(row.why, detail={"job": row.job}) if row.state == "FAILED" and row.why else None
    return JobView(
        job=row.job,
        title=row.title,
        node=NodeId(row.node),
        output=row.output,
        submitted_at=row.submitted_at,
        seconds=row.seconds,
        summary=JobSummary(row.state if row.is_over else OPEN, (), (), {}, {}, row.retried, ()),
        error=None if failed is None else to_wire(failed),
        flow=row.flow,
    )
