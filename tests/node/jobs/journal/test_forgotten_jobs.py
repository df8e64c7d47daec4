"""Of a job that is forgotten nothing stays: its journal is deleted, and then told as forgotten (rule J29)."""

import asyncio
from contextlib import suppress
from dataclasses import astuple, replace
from typing import Any

import msgpack
import pytest

from ringmill.cluster.consensus.forgotten_journals import (
    FORGOTTEN,
    NONE_FORGOTTEN,
    ForgottenJournals,
    JournalPlace,
)
from ringmill.cluster.consensus.lease import LeaseRecord, encode_lease
from ringmill.cluster.errors import NotFound, Unavailable
from ringmill.cluster.ids import NodeId
from ringmill.node.jobs.journal.cells import COORDINATOR, INDEX, entry_key
from ringmill.node.jobs.journal.job_index import IndexRow, JobIndex, listed_jobs

N1, N2 = NodeId("n1"), NodeId("n2")


def keep_jobs(cluster: Any, number: int) -> None:
    for node in cluster.nodes.values():
        world = node.coordinator._world
        object.__setattr__(world, "options", replace(world.options, kept_jobs=number))


def forgotten(cluster: Any) -> ForgottenJournals:
    _, value = cluster.held.get(FORGOTTEN, (0, None))
    return NONE_FORGOTTEN if value is None else ForgottenJournals.decode(value)


def is_over(cluster: Any, job: str) -> bool:
    row = listed_jobs(cluster.held.get(INDEX, (0, None))[1])[1].get(job)
    return row is not None and row.is_over


def packed_list(*rows: IndexRow, term: int) -> bytes:
    return bytes(msgpack.packb([2, term, [astuple(row) for row in rows]]))


async def test_a_job_leaves_the_list_once_its_journal_is_deleted(cluster: Any) -> None:
    keep_jobs(cluster, 2)
    cluster.write_input("one two\n")
    for job in ("job-1", "job-2"):
        assert (await cluster.run(cluster.spec(job, out=job))).state == "SUCCEEDED"
    registers = cluster.nodes[N1].registers
    prefix, is_away = b"ringmill/job/job-1.", [True]

    def away(key: bytes) -> None:
        if key.startswith(prefix) and is_away[0]:
            raise Unavailable("no owner answers", outcome="failed")

    registers.before_write = away

    def listed() -> list[str]:
        return sorted(listed_jobs(cluster.held[INDEX][1])[1])

    def is_over(job: str) -> bool:
        return job in listed() and listed_jobs(cluster.held[INDEX][1])[1][job].is_over

    assert (await cluster.run(cluster.spec("job-3", out="job-3"))).state == "SUCCEEDED"
    await cluster.until(lambda: is_over("job-3"))
    assert listed() == ["job-1", "job-2", "job-3"]
    is_away[0] = False
    assert (await cluster.run(cluster.spec("job-4", out="job-4"))).state == "SUCCEEDED"
    await cluster.until(lambda: listed() == ["job-3", "job-4"])
    await cluster.until(lambda: forgotten(cluster).before > (0, 0))
    names = [listed_jobs(cluster.held[INDEX][1])[1][job].journal for job in listed()]
    assert [forgotten(cluster).covers(entry_key(name, 0)) for name in names] == [False] * 2
    keys = [key for key in cluster.held if key.startswith((prefix, b"ringmill/job/job-2."))]
    assert [forgotten(cluster).covers(key) for key in keys] == [True] * len(keys)
    assert not [key for key, (_, value) in cluster.held.items() if key.startswith(prefix) and value]


async def test_a_job_that_is_being_accepted_is_not_told_as_forgotten(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its journal may have been written before its name is in the list."""
    keep_jobs(cluster, 1)
    cluster.write_input("one two\n")
    put, goes_on = JobIndex.put, asyncio.Event()

    async def put_late(index: JobIndex, row: IndexRow) -> Any:
        if row.job == "job-1" and not row.is_over:
            await goes_on.wait()
        return await put(index, row)

    monkeypatch.setattr(JobIndex, "put", put_late)
    late = asyncio.ensure_future(cluster.submit(cluster.spec("job-1", out="job-1")))
    first = b"ringmill/job/job-1.1.1/0"
    await cluster.until(lambda: first in cluster.held)
    for job in ("job-2", "job-3"):
        await cluster.submit(cluster.spec(job, out=job))
        await cluster.until(lambda job=job: is_over(cluster, job))
    await cluster.until(lambda: not is_over(cluster, "job-2"))
    await cluster.until(lambda: forgotten(cluster) != NONE_FORGOTTEN)
    told = forgotten(cluster)
    assert (told.before, told.covers(first)) == ((1, 1), False)
    goes_on.set()
    with suppress(Unavailable):  # it took long
        await late
    assert (await cluster.finish("job-1")).state == "SUCCEEDED"
    assert (await cluster.run(cluster.spec("job-4", out="job-4"))).state == "SUCCEEDED"
    await cluster.until(lambda: forgotten(cluster).covers(first))


async def test_a_coordinator_whose_job_is_forgotten_stops(cluster: Any) -> None:
    """Its node has heard of that, and refuses the next entry of its journal: nothing is shown."""
    cluster.write_input("one two\n")
    await cluster.submit(cluster.spec(mode="wait"))
    await cluster.until(lambda: any(node.task_pids() for node in cluster.nodes.values()))
    (journal,) = {key.rpartition(b"/")[0] for key in cluster.held if key.startswith(b"ringmill/job/")}

    def refuse(key: bytes) -> None:
        if key.startswith(journal):
            raise NotFound("the journal is forgotten")

    cluster.nodes[N1].registers.before_write = refuse
    (cluster.folder / "flag").touch()
    await cluster.until(lambda: not cluster.nodes[N1].coordinator.views())
    assert not (cluster.folder / "out").exists()


async def test_what_is_in_the_list_and_forgotten_is_dropped(cluster: Any) -> None:
    """Its coordinator was stopped after it had read the list, or the list and more was lost."""
    row = IndexRow("job-1", "job-1.1.1", "trials:counting", "/out", 1.0)
    cluster.held[INDEX] = 1, packed_list(row, term=0)

    def refuse(key: bytes) -> None:
        if key.startswith(b"ringmill/job/job-1."):
            raise NotFound("the journal is forgotten")

    cluster.nodes[N1].registers.before_write = refuse
    cluster.write_input("one two\n")
    assert (await cluster.run(cluster.spec("job-2"))).state == "SUCCEEDED"
    await cluster.until(lambda: "job-1" not in listed_jobs(cluster.held[INDEX][1])[1])


async def test_a_term_is_above_those_of_forgotten_journals_where_the_lease_was_lost(cluster: Any) -> None:
    for node in cluster.nodes.values():
        node.registers.former_term = 500
    cluster.write_input("one two\n")
    assert (await cluster.run(cluster.spec())).state == "SUCCEEDED"
    journals = [key for key in cluster.held if key.startswith(b"ringmill/job/job-1.")]
    others_know = ForgottenJournals(JournalPlace(700, 57))  # this node has not heard of it yet
    assert journals and not any(others_know.covers(key) for key in journals)
    assert forgotten(cluster) == NONE_FORGOTTEN


async def test_the_list_of_a_release_before_leads_to_what_is_forgotten(cluster: Any) -> None:
    """A cluster with jobs of former terms, most of them forgotten, whose names are all that is there."""
    keep_jobs(cluster, 1)
    row = IndexRow("job-8", "job-8.3.2", "trials:counting", "/out", 1.0).ended(N2, "SUCCEEDED", 1.0)
    cluster.held[INDEX] = 7, packed_list(row, term=3)
    cluster.held[COORDINATOR] = 1, encode_lease(LeaseRecord("", 3, 0, 1000))
    cluster.held[entry_key("job-7.2.1", 0)] = 2, None
    cluster.write_input("one two\n")
    assert (await cluster.run(cluster.spec())).state == "SUCCEEDED"
    await cluster.until(lambda: forgotten(cluster).before == JournalPlace(4, 2))
    covered = [
        forgotten(cluster).covers(entry_key(name, 0)) for name in ("job-7.2.1", "job-8.3.2", "job-1.4.1")
    ]
    assert covered == [True, True, False]
