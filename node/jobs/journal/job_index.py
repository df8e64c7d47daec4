"""The list of the jobs that the cluster has accepted, in one register that their coordinator alone changes.

Each change names the term of its coordinator and expects the version that this one has written last, so that
the first change of a new coordinator shuts out all former ones (rule J13, docs/protocol/jobs.md).
Layout: docs/formats/job.md, "Journal".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Final, Self

import msgpack

from ringmill.cluster.errors import CorruptData, InvalidArgument, Overloaded, ProtocolMismatch
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.summary.job_flow import JobFlow
from ringmill.node.jobs.journal.cells import INDEX, Cells, Fenced, SeenCell

__all__ = ["IndexRow", "JobIndex", "listed_jobs"]

_VERSION: Final = 2
_KNOWN: Final = (1, 2)  # rows of version 1 end with the number of entries
_MAX_OVER_BYTES: Final = 128 << 10  # of those that are over: each change of the list writes all of it
_MAX_WHY_CHARS: Final = 200
_MAX_TOLD_BYTES: Final = 8 << 10  # module, name and output of one job
_MAX_OPEN_BYTES: Final = 704 << 10  # of those that are open: a register has room for 1 MiB
_ROW_BYTES: Final = 256  # of a row beside what its job is told as
_ROOM_AGAIN_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A job that was accepted.  From `state` on it is what there is to tell of its end, once it has ended;
    `why` is the first line of the error of one that failed."""

    job: str
    journal: str
    title: str
    output: str
    submitted_at: float
    is_over: bool = False
    state: str = ""
    node: str = ""
    seconds: float = 0.0
    entries: int = 0
    retried: int = 0
    records_in: int = 0
    bytes_in: int = 0
    records_out: int = 0
    bytes_out: int = 0
    why: str = ""

    @property
    def flow(self) -> JobFlow:
        return JobFlow(self.records_in, self.bytes_in, self.records_out, self.bytes_out)

    def ended(self, node: NodeId, state: str, seconds: float, why: str = "") -> Self:
        """The row of a job that is over, of which nothing more is known."""
        short = why.partition("\n")[0][:_MAX_WHY_CHARS]
        return replace(self, is_over=True, node=node, state=state, seconds=seconds, why=short)

    def counted(self, entries: int, retried: int, flow: JobFlow) -> Self:
        """The same with what went through the job, and the length of its journal."""
        return replace(self, entries=entries, retried=retried, **flow._asdict())


def listed_jobs(value: bytes | None) -> tuple[int, dict[str, IndexRow]]:
    """The term of the last coordinator, and its jobs, oldest first.  Raises CorruptData, ProtocolMismatch."""
    if value is None:
        return 0, {}
    try:
        version, term, rows = msgpack.unpackb(value, unicode_errors="surrogatepass")
        if version not in _KNOWN:
            raise ProtocolMismatch(f"a list of jobs of version {version}; this side knows {_KNOWN}")
        found = [IndexRow(*row) for row in rows]
    except (ValueError, TypeError) as error:
        raise CorruptData(f"{len(value)} bytes are no list of jobs: {error}") from error
    return int(term), {row.job: row for row in found}


class JobIndex:
    """The list as the coordinator of a term keeps it."""

    def __init__(self, cells: Cells, term: int, seen: SeenCell, *, most_over: int) -> None:
        """`most_over`: jobs that are kept once they are over."""
        self._most_over = most_over
        self._cells = cells
        self._term = term
        self._version = seen.version
        former, self.rows = listed_jobs(seen.value)
        if former > term:
            raise Fenced(f"a coordinator of term {former} has the jobs", outcome="failed")
        self._turn = asyncio.Lock()

    async def seal(self) -> None:
        """From now on no former coordinator changes it.  Raises Fenced."""
        async with self._turn:
            await self._write(self.rows)

    async def put(self, row: IndexRow) -> list[IndexRow]:
        """Keep a row; returns those of old jobs that need not be kept any more.  Raises Fenced.

        Their journals are deleted first, and they are dropped then: what is in no list has no owner.  Where
        that fails again and again, up to twice as much is kept.
        """
        async with self._turn:
            rows = {**self.rows, row.job: row}
            over = [each for each in rows.values() if each.is_over]
            dropped = _too_many(over, 2 * self._most_over, 2 * _MAX_OVER_BYTES)
            await self._write({name: each for name, each in rows.items() if each not in dropped})
            return _too_many(over[len(dropped) :], self._most_over, _MAX_OVER_BYTES)

    def check_room(self, spec: JobSpec, beginning: Iterable[JobSpec]) -> None:
        """Before a job is accepted, beside those `beginning`, which may not be in the list yet.

        Raises InvalidArgument for one whose row would be too large; Overloaded when too many jobs are open.
        """
        wanted = _told_bytes(spec.title, spec.shown_output)
        if wanted > _MAX_TOLD_BYTES:
            raise InvalidArgument(
                f"module, name and output of a job have {wanted} bytes together; "
                f"{_MAX_TOLD_BYTES} are allowed"
            )
        told = {row.job: _told_bytes(row.title, row.output) for row in self.rows.values() if not row.is_over}
        told |= {each.job: _told_bytes(each.title, each.shown_output) for each in beginning}
        if sum(told.values()) + wanted + _ROW_BYTES * (len(told) + 1) > _MAX_OPEN_BYTES:
            raise Overloaded(
                f"{len(told)} jobs are open, as many as the cluster's list of jobs has room for",
                detail={"retry_after": _ROOM_AGAIN_S},
                hint="submit it again when some of them have ended",
                outcome="failed",
            )

    async def drop(self, row: IndexRow) -> bool:
        """Forget a job, unless its row is another one by now, as it was submitted again; whether it was its.

        Raises Fenced.
        """
        async with self._turn:
            if self.rows.get(row.job) != row:
                return False
            await self._write({name: each for name, each in self.rows.items() if name != row.job})
            return True

    async def _write(self, rows: dict[str, IndexRow]) -> None:
        value = _packed([_VERSION, self._term, [astuple(row) for row in rows.values()]])
        if await self._cells.write(INDEX, value, self._version) is not None:
            raise Fenced("another coordinator has the jobs", outcome="failed")
        self._version, self.rows = self._version + 1, rows


def _told_bytes(title: str, output: str) -> int:
    return len(f"{title}{output}".encode(errors="surrogatepass"))


def _too_many(over: list[IndexRow], most: int, most_bytes: int) -> list[IndexRow]:
    """Those of the jobs that are over, oldest first, that are beyond the bounds; the last one never is."""
    left_bytes = most_bytes
    for kept, row in enumerate(reversed(over)):
        left_bytes -= len(_packed(astuple(row)))
        if kept and (kept == most or left_bytes < 0):
            return over[: len(over) - kept]
    return []


def _packed(value: Sequence[object]) -> bytes:
    return bytes(msgpack.packb(value, unicode_errors="surrogatepass"))
