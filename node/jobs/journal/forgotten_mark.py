"""Deletes journals, and notes in one register which are forgotten, for all nodes to read.

Rule J29: docs/protocol/jobs.md.  Layout: docs/formats/job.md, "Journal".
"""

from __future__ import annotations

from contextlib import suppress

from ringmill.cluster.consensus.forgotten_journals import FORGOTTEN, NONE_FORGOTTEN, ForgottenJournals
from ringmill.cluster.errors import RingmillError
from ringmill.cluster.mapreduce.machine.journal_entries import SLOTS
from ringmill.node.jobs.journal.cells import Cells, entry_key
from ringmill.node.jobs.journal.job_index import IndexRow

__all__ = ["is_deleted", "tell_forgotten"]


async def is_deleted(cells: Cells, row: IndexRow) -> bool:
    """Whether nothing of a job's journal is left: what there is is deleted."""
    try:
        for slot in range(min(row.entries, SLOTS)):
            key = entry_key(row.journal, slot)
            seen = await cells.look(key)
            if seen.value is not None:
                await cells.set(key, None, seen.version)
    except RingmillError:
        return False
    return True


async def tell_forgotten(cells: Cells, told: ForgottenJournals) -> None:
    """Have the register say this, unless it says more.  What fails is said with the next job that is
    forgotten; so no harm is done by a coordinator that another one has followed."""
    with suppress(RingmillError):
        seen = await cells.look(FORGOTTEN)
        present = NONE_FORGOTTEN if seen.value is None else ForgottenJournals.decode(seen.value)
        if told.is_more_than(present):
            await cells.set(FORGOTTEN, told.encode(), seen.version)
