"""What any node can tell of the cluster's jobs: it reads the list, and the journals of those that are over.

Of a job that runs only its coordinator tells more than the list has.  The printed output of attempts is kept
by the coordinator that a job had at its end, in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

from ringmill.cluster.errors import JobFailed, NotFound, Unavailable, to_wire
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.machine.journal_entries import StoredJob, replay
from ringmill.cluster.mapreduce.summary.attempt_summary import AttemptSummary, attempts_of
from ringmill.cluster.mapreduce.summary.job_summary import OPEN, JobSummary
from ringmill.node.jobs.journal.cells import INDEX, Cells
from ringmill.node.jobs.journal.job_index import IndexRow, listed_jobs
from ringmill.node.jobs.journal.journal_reader import read_journal
from ringmill.node.jobs.views import JobView, ListView, view_of

__all__ = ["JobHistory"]


class JobHistory:
    def __init__(self, cells: Cells) -> None:
        self._cells = cells

    async def rows(self) -> list[IndexRow]:
        """The jobs that were accepted, oldest first.  Raises RingmillError."""
        _, rows = listed_jobs((await self._cells.look(INDEX)).value)
        return list(rows.values())

    async def listed(self) -> ListView:
        """The jobs that were accepted, in brief.  Raises RingmillError."""
        term, rows = listed_jobs((await self._cells.look(INDEX)).value)
        return ListView(tuple(_brief(row) for row in reversed(rows.values())), term)

    async def view(self, job: str) -> JobView:
        """A job that is over.  Raises NotFound; Unavailable for one that another node coordinates."""
        row, stored = await self._find(job)
        return _brief(row) if stored is None else view_of(stored, NodeId(row.node))

    async def attempts(self, job: str) -> Iterator[AttemptSummary]:
        """The attempts of a job that is over.  Raises like `view`."""
        _, stored = await self._find(job)
        return iter(()) if stored is None else attempts_of(stored)

    async def code_in_use(self) -> set[str]:
        """The SHA-256 of the bundles of all jobs that are open.

        Raises RingmillError; Unavailable while one of them is not told whole.
        """
        code = set()
        for row in await self.rows():
            if row.is_over:
                continue
            stored = replay((await read_journal(self._cells, row.journal)).entries)
            if stored is None:
                raise Unavailable(f"the journal of job {row.job} is not whole", outcome="failed")
            code.add(stored.spec.bundle_sha256)
        return code

    async def _find(self, job: str) -> tuple[IndexRow, StoredJob | None]:
        """A job that is over, without its journal when it ended by a fault of its coordinator."""
        row = next((each for each in await self.rows() if each.job == job), None)
        if row is None:
            raise NotFound(f"no job {job!r}", hint="see `ringmill job list`")
        if not row.is_over:
            raise Unavailable(
                f"job {job} goes on with another coordinator, or waits for one",
                detail={"open_job": job},
                outcome="failed",
            )
        stored = replay((await read_journal(self._cells, row.journal)).entries)
        return row, stored if stored is not None and stored.machine.is_over else None


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
