"""Reads the journal of a job, and seals it for a new coordinator.

The newest entry is found by looking at slots half way, because numbers grow from slot to slot.  Every
entry names the snapshot to begin with.  Rule J13: docs/protocol/jobs.md.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.gathering import gather_all
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.machine.job_events import TakenOver
from ringmill.cluster.mapreduce.machine.journal_entries import (
    SLOTS,
    JournalEntry,
    StoredJob,
    events_batch,
    replay,
)
from ringmill.cluster.sometimes import sometimes
from ringmill.node.jobs.journal.cells import Cells, Fenced, ForgottenJournal, entry_key

__all__ = ["JournalRead", "read_journal", "sealed", "slots_used", "stored_job"]

_AT_ONCE: Final = 16
_STEPS: Final = tuple(1 << bit for bit in range(SLOTS.bit_length()))  # most journals are short


class JournalRead(NamedTuple):
    """Entries from the newest snapshot on; empty when there are none."""

    entries: list[JournalEntry]

    @property
    def next_number(self) -> int:
        return self.entries[-1].number + 1 if self.entries else 0

    @property
    def base(self) -> int:
        return self.entries[-1].base if self.entries else 0


async def read_journal(cells: Cells, journal: str) -> JournalRead:
    """The journal as it is; somebody may go on with it meanwhile.

    Raises CorruptData when what its last entry names is gone, and nobody goes on with it.
    """
    before = -1
    while True:
        last = await _last(cells, journal)
        if last is None:
            return JournalRead([])
        if last.number == before:
            raise CorruptData(
                f"the journal {journal} ends with entry {before}, not all since entry {last.base} are left"
            )
        entries: list[JournalEntry] = []
        for start in range(last.base, last.number, _AT_ONCE):
            numbers = range(start, min(start + _AT_ONCE, last.number))
            found = await gather_all(_entry(cells, journal, number % SLOTS) for number in numbers)
            entries += [each for each in found if each is not None]
        entries.append(last)
        if [each.number for each in entries] == list(range(last.base, last.number + 1)):
            return JournalRead(entries)
        before = last.number  # if its writer has gone on, slots were used again


async def stored_job(cells: Cells, journal: str) -> StoredJob | None:
    """The job that the journal tells of now, None when it has no whole snapshot.  Raises as `read_journal`
    and `replay` do."""
    return replay((await read_journal(cells, journal)).entries)


async def sealed(cells: Cells, journal: str, term: int, node: NodeId) -> tuple[StoredJob, JournalRead] | None:
    """The job, with a TakenOver of this term as its last entry: no former coordinator adds another one.

    None for a journal that has no whole snapshot, and will not have one any more: its submission was not
    accepted.  So it is with one that was deleted or is forgotten: a coordinator that had found that out did
    not come to drop the job, or is the next one already.  Raises Fenced when one of a higher term has sealed
    it.
    """
    read = await read_journal(cells, journal)
    while True:
        job = replay(read.entries)
        if read.entries and read.entries[-1].term > term:
            raise Fenced(f"a coordinator of term {read.entries[-1].term} has {journal}", outcome="failed")
        batch = events_batch([(0.0 if job is None else job.at, TakenOver(node))])
        seal = JournalEntry(term, read.next_number, read.base, "events", 0, 1, batch)
        try:
            found = await cells.write(entry_key(journal, seal.slot), seal.encode(), seal.former_version)
        except ForgottenJournal:
            return None
        if found is None:
            read.entries.append(seal)
            return None if job is None else (job, read)
        if found.value is None and not read.entries:
            return None
        if found.value is None:
            raise Fenced(f"the journal {journal} was deleted", outcome="failed")
        other = JournalEntry.decode(found.value)
        if other.term >= term:
            raise Fenced(f"a coordinator of term {other.term} has {journal}", outcome="failed")
        sometimes("a former coordinator wrote while its journal was sealed")
        read = await read_journal(cells, journal)


async def slots_used(cells: Cells, journal: str) -> int:
    """Of how many slots something was ever written, whether it can be read or is deleted."""
    low, high = -1, SLOTS  # `low` was, `high` was not
    while high - low > 1:
        middle = low + min((high - low) // 2, low + 2)  # most journals are short
        if (await cells.read(entry_key(journal, middle))).version:
            low = middle
        else:
            high = middle
    return low + 1


async def _last(cells: Cells, journal: str) -> JournalEntry | None:
    """The newest entry."""
    first = await _entry(cells, journal, 0)
    if first is None:
        return None
    newest, low, high = first, 0, SLOTS  # the slot `low` is of this turn, `high` is not
    while high - low > 1:
        slots = [low + step for step in _STEPS if low + step < high]
        found = await gather_all(_entry(cells, journal, slot) for slot in slots)
        for slot, entry in zip(slots, found, strict=True):
            if entry is None or entry.number < first.number:
                high = min(high, slot)
            elif slot < high:
                newest, low = entry, slot
    return newest


async def _entry(cells: Cells, journal: str, slot: int) -> JournalEntry | None:
    value = (await cells.read(entry_key(journal, slot))).value
    return None if value is None else JournalEntry.decode(value)
