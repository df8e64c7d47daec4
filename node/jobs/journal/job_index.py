"""The list of the jobs that the cluster has accepted, in one register that their coordinator alone changes.

Each change names the term of its coordinator and expects the version that this one has written last, so that
the first change of a new coordinator shuts out all former ones (rule J13, docs/protocol/jobs.md).
Layout: docs/formats/job.md, "Journal".
"""

from __future__ import annotations

import asyncio
from dataclasses import astuple, dataclass
from typing import Final

import msgpack

from ringmill.cluster.errors import CorruptData, ProtocolMismatch
from ringmill.node.jobs.journal.cells import INDEX, Cells, Fenced, SeenCell

__all__ = ["IndexRow", "JobIndex", "listed_jobs"]

_VERSION: Final = 1
_MAX_OVER: Final = 100


@dataclass(frozen=True, slots=True)
class IndexRow:
    """A job that was accepted.  `state`, `node`, `seconds` and `entries` are those of its end, once it has
    ended."""

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


def listed_jobs(value: bytes | None) -> tuple[int, dict[str, IndexRow]]:
    """The term of the last coordinator, and its jobs, oldest first.  Raises CorruptData, ProtocolMismatch."""
    if value is None:
        return 0, {}
    try:
        version, term, rows = msgpack.unpackb(value, unicode_errors="surrogatepass")
        if version != _VERSION:
            raise ProtocolMismatch(f"a list of jobs of version {version}; this side knows {_VERSION}")
        found = [IndexRow(*row) for row in rows]
    except (ValueError, TypeError) as error:
        raise CorruptData(f"{len(value)} bytes are no list of jobs: {error}") from error
    return int(term), {row.job: row for row in found}


class JobIndex:
    """The list as the coordinator of a term keeps it."""

    def __init__(self, cells: Cells, term: int, seen: SeenCell) -> None:
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
        """Keep a row; returns those of old jobs that are not kept any more.  Raises Fenced."""
        async with self._turn:
            rows = {**self.rows, row.job: row}
            over = [each for each in rows.values() if each.is_over]
            dropped = over[: max(0, len(over) - _MAX_OVER)]
            await self._write({name: each for name, each in rows.items() if each not in dropped})
            return dropped

    async def drop(self, job: str) -> None:
        """Forget a job.  Raises Fenced."""
        async with self._turn:
            await self._write({name: row for name, row in self.rows.items() if name != job})

    async def _write(self, rows: dict[str, IndexRow]) -> None:
        fields = [_VERSION, self._term, [astuple(row) for row in rows.values()]]
        value = bytes(msgpack.packb(fields, unicode_errors="surrogatepass"))
        if await self._cells.write(INDEX, value, self._version) is not None:
            raise Fenced("another coordinator has the jobs", outcome="failed")
        self._version, self.rows = self._version + 1, rows
