"""Journals of jobs: long ones, sealed ones, and one whose last batch was cut off."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import msgpack
import pytest

from ringmill.cluster.errors import CorruptData
from ringmill.cluster.ids import NodeId
from ringmill.cluster.mapreduce.api.spec import JobSpec
from ringmill.cluster.mapreduce.machine import journal_entries
from ringmill.cluster.mapreduce.machine.job_events import NodeUp
from ringmill.cluster.mapreduce.machine.job_machine import JobMachine
from ringmill.cluster.mapreduce.machine.job_plan import JobPlan
from ringmill.cluster.mapreduce.machine.journal_entries import StoredJob, replay
from ringmill.cluster.mapreduce.machine.machine_snapshot import snapshot
from ringmill.cluster.mapreduce.summary.job_flow import NO_FLOW, JobFlow
from ringmill.node.jobs.journal import journal_reader
from ringmill.node.jobs.journal.cells import INDEX, Cells, Fenced, SeenCell, entry_key
from ringmill.node.jobs.journal.job_index import IndexRow, JobIndex, listed_jobs
from ringmill.node.jobs.journal.job_journal import JobJournal
from ringmill.node.jobs.journal.journal_reader import read_journal, sealed, slots_used
from tests.node.jobs.registers import Registers

N1, N2 = NodeId("n1"), NodeId("n2")
SPEC = JobSpec(
    job="j-1", module="wc", name="wc", bundle_sha256="", inputs=("/in",), output="/out",
    input_format="lines", output_format="tsv", reducers=1,
)  # fmt: skip


class Writer:
    """A coordinator of the job: a machine, and the journal that tells of it."""

    def __init__(self, registers: Registers, *, term: int = 1, snapshot_every: int = 500) -> None:
        self.job = StoredJob(SPEC, 1.0, 0.0, JobMachine(JobPlan("j-1", (), 1)))
        self.journal = JobJournal(
            Cells(registers), "j-1.1.1", term=term, number=0, base=0, snapshot=self.job.encode,
            snapshot_every=snapshot_every,
        )  # fmt: skip

    async def meet(self, number: int) -> None:
        event = NodeUp(N1, f"start {number}")
        self.journal.note(float(number), event)
        self.job.machine.handle(event, float(number))
        await self.journal.flush()

    @asynccontextmanager
    async def writing(self) -> AsyncIterator[Writer]:
        task = asyncio.create_task(self.journal.write())
        yield self
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("trace", [b"", b"t" * 16 + b"submitsp" + b"\x01"])
def test_a_job_that_is_traced_tells_where_it_was_submitted_and_any_other_has_the_former_layout(
    trace: bytes,
) -> None:
    job = StoredJob(SPEC, 1.0, 0.5, JobMachine(JobPlan("j-1", (), 1)), trace)
    assert StoredJob.decode(job.encode()).trace == trace
    assert len(msgpack.unpackb(job.encode(), unicode_errors="surrogatepass")) == (5 if trace else 4)


async def test_what_was_written_is_read_also_when_slots_are_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (journal_entries, journal_reader):
        monkeypatch.setattr(module, "SLOTS", 8)
    registers = Registers()
    async with Writer(registers, snapshot_every=3).writing() as writer:
        for number in range(40):
            await writer.meet(number)
            read = await read_journal(Cells(registers), "j-1.1.1")
            job = replay(read.entries)
            assert job is not None
            assert snapshot(job.machine) == snapshot(writer.job.machine)
            assert len(read.entries) <= 4
            assert read.next_number == writer.journal.number
    assert len(registers.held) == 8


async def test_a_batch_larger_than_an_entry_counts_when_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_entries, "PIECE_BYTES", 12)
    registers = Registers()
    async with Writer(registers).writing() as writer:
        await writer.meet(1)
        before = writer.journal.number
        await writer.meet(2)
    entries = (await read_journal(Cells(registers), "j-1.1.1")).entries
    assert len(entries) > before, "one event and its time do not fit into an entry"
    whole, cut_off = replay(entries), replay(entries[:-1])
    assert whole is not None
    assert cut_off is not None
    assert whole.machine.has_met(N1, "start 2")
    assert cut_off.machine.has_met(N1, "start 1")
    assert replay(entries[: before - 2]) is None


async def test_a_snapshot_larger_than_the_entries_between_two_is_not_written_all_the_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_entries, "PIECE_BYTES", 12)
    registers = Registers()
    async with Writer(registers, snapshot_every=3).writing() as writer:
        for number in range(20):
            await writer.meet(number)
    entries = [journal_entries.JournalEntry.decode(value or b"") for _, value in registers.held.values()]
    whole = [each.number for each in entries if (each.kind, each.piece) == ("snapshot", 0)]
    assert 1 < len(whole) < 10, "of 20 batches"
    assert replay((await read_journal(Cells(registers), "j-1.1.1")).entries) is not None


async def test_a_journal_whose_snapshot_was_written_over_is_told_as_damaged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (journal_entries, journal_reader):
        monkeypatch.setattr(module, "SLOTS", 8)
    monkeypatch.setattr(journal_entries, "PIECE_BYTES", 12)
    registers = Registers()
    async with Writer(registers).writing() as writer:
        await writer.meet(1)
        assert writer.journal.number > 8, "its snapshot takes more than all slots"
    async with asyncio.timeout(5):
        with pytest.raises(CorruptData, match=r"not all since entry 0 are left"):
            await read_journal(Cells(registers), "j-1.1.1")


async def test_a_sealed_journal_has_what_its_former_coordinator_could_write_and_no_more() -> None:
    registers = Registers()
    async with Writer(registers).writing() as former:
        await former.meet(1)

        def come_between(key: bytes) -> None:
            registers.before_write = lambda key: None
            entry = journal_entries.JournalEntry(
                1, 1, 0, "events", 0, 1, journal_entries.events_batch([(2.0, NodeUp(N1, "start 2"))])
            )
            registers.held[key] = 1, entry.encode()

        registers.before_write = come_between
        found = await sealed(Cells(registers), "j-1.1.1", 2, N2)
        assert found is not None
        assert found[0].machine.has_met(N1, "start 2"), "an entry of a lower term is replayed"
        assert found[1].next_number == 3
        with pytest.raises(Fenced):
            await former.meet(3)
        with pytest.raises(Fenced):
            await sealed(Cells(registers), "j-1.1.1", 1, N1)


async def test_a_journal_in_which_nothing_is_whole_is_sealed_too() -> None:
    registers = Registers()
    assert await sealed(Cells(registers), "j-1.1.1", 2, N2) is None, "a job that was never accepted"
    async with Writer(registers).writing() as former:
        with pytest.raises(Fenced):
            await former.meet(1)
    assert await sealed(Cells(registers), "j-1.1.1", 3, N1) is None


async def test_the_list_of_jobs_is_changed_by_the_newest_coordinator_alone() -> None:
    registers = Registers()
    cells = Cells(registers)
    row = IndexRow("j-1", "j-1.1.1", "wc:wc", "/out", 1.0)
    former = JobIndex(cells, 1, await cells.read(INDEX), most_over=100)
    await former.seal()
    assert await former.put(row) == []
    newer = JobIndex(cells, 2, await cells.read(INDEX), most_over=100)
    await newer.seal()
    assert list(newer.rows) == ["j-1"]
    with pytest.raises(Fenced):
        await former.drop(row)
    with pytest.raises(Fenced):
        JobIndex(cells, 1, await cells.read(INDEX), most_over=100)
    assert listed_jobs((await cells.read(INDEX)).value) == (2, {"j-1": row})


async def test_the_list_keeps_a_bounded_history_of_the_jobs_that_are_over() -> None:
    registers = Registers()
    cells = Cells(registers)
    index = JobIndex(cells, 1, await cells.read(INDEX), most_over=100)
    rows = [IndexRow(f"j-{at}", f"j-{at}.1.1", "wc:wc", "/out", float(at)) for at in range(103)]
    await index.put(rows[0])
    dropped = []

    async def put(row: IndexRow) -> None:
        for each in await index.put(row):
            assert each.job in listed_jobs((await cells.read(INDEX)).value)[1], "its journal is deleted first"
            dropped.append(each)
            await index.drop(each)

    for row in rows[1:]:
        await put(row.ended(N1, "SUCCEEDED", 2.5).counted(7, 1, JobFlow(4, 40, 2, 20)))
    assert [row.job for row in dropped] == ["j-1", "j-2"], "j-0 is not over"
    _, kept = listed_jobs((await cells.read(INDEX)).value)
    assert list(kept) == ["j-0", *[row.job for row in rows[3:]]]
    assert (kept["j-3"].seconds, kept["j-3"].retried, kept["j-3"].flow) == (2.5, 1, JobFlow(4, 40, 2, 20))
    long = replace(rows[1], output="/" + 40_000 * "o")
    for at in range(5):
        await put(replace(long, job=f"long-{at}").ended(N1, "FAILED", 1.0, "why\nwhere"))
    _, kept = listed_jobs((await cells.read(INDEX)).value)
    assert list(kept) == ["j-0", "long-2", "long-3", "long-4"], "three have 120 KB"
    assert kept["long-4"].why == "why"


async def test_the_list_stays_bounded_where_journals_cannot_be_deleted() -> None:
    registers = Registers()
    index = JobIndex(cells := Cells(registers), 1, await Cells(registers).read(INDEX), most_over=100)
    for at in range(210):
        row = IndexRow(f"j-{at}", f"j-{at}.1.1", "wc:wc", "/out", float(at))
        left = await index.put(row.ended(N1, "SUCCEEDED", 2.5))
    assert [row.job for row in left] == [f"j-{at}" for at in range(10, 110)]
    _, kept = listed_jobs((await cells.read(INDEX)).value)
    assert list(kept) == [f"j-{at}" for at in range(10, 210)]


@pytest.mark.parametrize("number", [0, 1, 2, 3, 17, 18, 4096])
async def test_used_slots_are_counted_whatever_is_left_in_them(number: int) -> None:
    registers = Registers({entry_key("j-1.1.1", slot): (2, None) for slot in range(number)})
    assert await slots_used(Cells(registers), "j-1.1.1") == number


async def test_a_list_of_the_former_version_is_read() -> None:
    row = ["j-1", "j-1.1.1", "wc:wc", "/out", 1.0, True, "SUCCEEDED", "n1", 2.0, 3]
    _, rows = listed_jobs(bytes(msgpack.packb([1, 4, [row]])))
    assert (rows["j-1"].state, rows["j-1"].entries, rows["j-1"].flow) == ("SUCCEEDED", 3, NO_FLOW)


async def test_a_change_whose_answer_was_lost_is_found_to_be_done() -> None:
    registers = Registers()
    value = bytes(msgpack.packb([1]))
    registers.held[b"k"] = 1, value
    assert await Cells(registers).write(b"k", value, 0) is None
    assert await Cells(registers).write(b"k", b"other", 0) == SeenCell(1, value)
