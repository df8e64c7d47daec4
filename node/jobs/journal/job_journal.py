"""Writes the journal of one job: many events an entry, and no entry before the one before it is decided.

Nothing waits for most events.  Who has to know that what was noted is kept calls `flush`; meanwhile further
events gather for the next entry.  A snapshot is followed by at least as many entries of events as it takes
itself.  Rules J12 and J13: docs/protocol/jobs.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from ringmill.cluster.mapreduce.machine.job_events import AttemptProgressed, Event
from ringmill.cluster.mapreduce.machine.journal_entries import JournalEntry, cut, events_batch
from ringmill.cluster.sometimes import sometimes
from ringmill.node.jobs.journal.cells import Cells, Fenced, entry_key

__all__ = ["JobJournal"]

_LAZY_S: Final = 0.05  # how long an event may wait for others that nobody waits for


class JobJournal:
    """`snapshot` gives the whole job as it is now.  `write` has to run while anybody waits in `flush`."""

    def __init__(
        self,
        cells: Cells,
        name: str,
        *,
        term: int,
        number: int,
        base: int,
        snapshot: Callable[[], bytes],
        snapshot_every: int,
    ) -> None:
        self.name = name
        self.number = number  # of the next entry
        self._cells = cells
        self._term = term
        self._base = base
        self._snapshot = snapshot
        self._snapshot_every = snapshot_every
        self._snapshot_entries = 0  # of the newest one; 0 when a former coordinator has written it
        self._events: list[tuple[float, Event]] = []
        self._noted = self._decided = 0
        self._is_new = number == 0
        self._fenced: Fenced | None = None
        self._woken = asyncio.Event()
        self._wake_soon: asyncio.TimerHandle | None = None
        self._changed = asyncio.Event()

    def note(self, at: float, event: Event) -> None:
        """Keep an event; progress is told again and not kept."""
        if isinstance(event, AttemptProgressed):
            return
        self._events.append((at, event))
        self._noted += 1
        if self._wake_soon is None:
            self._wake_soon = asyncio.get_running_loop().call_later(_LAZY_S, self._woken.set)

    async def flush(self) -> None:
        """Returns once everything noted so far is kept.  Raises Fenced."""
        wanted = self._noted
        while self._decided < wanted or self._is_new:
            if self._fenced is not None:
                raise self._fenced
            self._woken.set()
            await self._changed.wait()

    async def write(self) -> None:
        """Write until cancelled.  Raises Fenced when somebody with a higher term has written."""
        try:
            while True:
                await self._woken.wait()
                self._woken.clear()
                while self._events or self._is_new:
                    await self._write_batch()
        except Fenced as fenced:
            self._fenced = fenced
            raise
        finally:
            self._fenced = self._fenced or Fenced(
                f"the journal {self.name} is written no more", outcome="failed"
            )
            self._tell()

    async def _write_batch(self) -> None:
        if self._wake_soon is not None:
            self._wake_soon.cancel()
            self._wake_soon = None
        events, noted, first = self._events, self._noted, self.number
        self._events = []
        wanted = max(self._snapshot_every, 2 * self._snapshot_entries)
        is_whole = self._is_new or first - self._base >= wanted
        kind, data = ("snapshot", self._snapshot()) if is_whole else ("events", events_batch(events))
        pieces = cut(data)
        for at, piece in enumerate(pieces):
            if is_whole and at == len(pieces) - 1:
                self._base, self._snapshot_entries = first, len(pieces)
            entry = JournalEntry(self._term, self.number, self._base, kind, at, len(pieces), piece)
            await self._append(entry)
        if is_whole and not self._is_new:
            sometimes("a job's journal begins anew with a snapshot")
        self._is_new, self._decided = False, noted
        self._tell()

    async def _append(self, entry: JournalEntry) -> None:
        key = entry_key(self.name, entry.slot)
        found = await self._cells.write(key, entry.encode(), entry.former_version)
        if found is not None:
            sometimes("a former coordinator finds the journal sealed")
            raise Fenced(f"somebody else has written entry {entry.number} of {self.name}", outcome="failed")
        self.number += 1

    def _tell(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
